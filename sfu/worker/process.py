"""A media worker process: sockets, one timer, and the control channel around a :class:`MediaCore`.

Four kinds of tasks, all in one nursery: control requests, UDP ingress, TCP connections, the timer. Each of
them hands bytes or time to the core, which is synchronous, and then flushes what the core wants sent.
"""

from __future__ import annotations

import datetime as dt
import gc
import signal
import socket
import time
from dataclasses import asdict
from typing import Any

import trio

from sfu.dtls.certificate import Certificate
from sfu.ice.address import TcpAddress
from sfu.ice.candidate import IceCandidate, host_candidates
from sfu.media.capabilities import router_capabilities
from sfu.media.core import MediaCore
from sfu.media.errors import MediaRefused
from sfu.media.parameters import OrtcError, to_json
from sfu.worker.messages import (
    Announce,
    Call,
    ChannelError,
    CloseDataProducer,
    CloseProducer,
    CloseRouter,
    CloseTransport,
    Configure,
    ConnectTransport,
    Consume,
    ConsumeData,
    CreateRouter,
    CreateTransport,
    GetStats,
    Notice,
    Ping,
    Produce,
    ProduceData,
    Ready,
    Request,
    RestartIce,
    Result,
    Splitter,
    call_decoder,
    encode,
)
from sfu.worker.tcp import TcpConnections
from sfu.worker.udp import UdpPort, UdpPorts

TCP_BACKLOG = 256
MAX_ERROR = 300
"""Characters of a refusal, which may quote what the client sent."""
GOODBYE_TIME = 0.2
"""Seconds for close_notify and SCTP aborts to leave when a worker stops."""


def main(control_fd: int) -> None:
    """Run a worker on an inherited control socket until the node closes it."""
    # The node decides when a worker ends; a terminal's Ctrl-C or a supervisor's SIGTERM reach it too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    control = socket.socket(fileno=control_fd)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    trio.run(_run, control)


async def _run(control: socket.socket) -> None:
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(control))
    async with stream:
        await MediaWorker(stream).run()


class MediaWorker:
    """The Trio shell of one worker."""

    def __init__(self, control: trio.abc.Stream) -> None:
        self._control = control
        self._core: MediaCore | None = None
        self._udp: UdpPorts | None = None
        self._tcp_port: int | None = None
        self._candidates: list[IceCandidate] = []
        self._tcp = TcpConnections(self._tcp_received, self._tcp_closed, self._tcp_validated)
        self._timer_scope: trio.CancelScope | None = None
        self._timer_deadline = float("inf")
        self._outbox = bytearray()
        self._outbox_wake = trio.Event()

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_control)
                await self._read_control(nursery)
                if self._core is not None:
                    self._core.close(trio.current_time())
                    self._flush()
                    if len(self._tcp):
                        await trio.sleep(GOODBYE_TIME)  # UDP has left already
                nursery.cancel_scope.cancel()
        finally:
            if self._udp is not None:
                self._udp.close()

    # ----------------------------------------------------------------- control

    async def _read_control(self, nursery: trio.Nursery) -> None:
        """Serve the node until it closes the channel."""
        splitter = Splitter()
        try:
            async for data in self._control:
                for body in splitter.feed(bytes(data)):
                    call = call_decoder.decode(body)
                    if isinstance(call.request, Configure):
                        self._send(await self._configure(call, call.request, nursery))
                    else:
                        self._send(self._answer(call))
                        self._flush()
        except (trio.BrokenResourceError, ChannelError):
            pass

    def _answer(self, call: Call) -> Result:
        if isinstance(call.request, Ping):
            return Result(call.id)
        try:
            return Result(call.id, self._execute(call.request, trio.current_time()))
        except MediaRefused as refusal:
            return Result(call.id, error=str(refusal)[:MAX_ERROR], cause=refusal.cause)
        except OrtcError as error:
            return Result(call.id, error=str(error)[:MAX_ERROR])
        except Exception as error:  # noqa: BLE001 - one client's request must not end the others' media
            if self._core is not None:
                self._core.record_fault(error, trio.current_time())
            return Result(call.id, error="error")

    def _execute(self, request: Request, now: float) -> Any:
        core = self._core
        if core is None:
            raise MediaRefused("worker not available")
        match request:
            case Announce():
                assert self._udp is not None
                self._candidates = host_candidates(request.announced, self._udp.port, self._tcp_port)
            case CreateRouter():
                core.create_router(request.router_id)
            case CloseRouter():
                core.close_router(request.router_id, now)
            case CreateTransport():
                info = core.create_transport(request.router_id, request.transport_id)
                return info | {"iceCandidates": [c.to_json() for c in self._candidates]}
            case ConnectTransport():
                core.connect_transport(request.transport_id, request.dtls_parameters, now)
            case RestartIce():
                return core.restart_ice(request.transport_id, now)
            case CloseTransport():
                core.close_transport(request.transport_id, now)
            case Produce():
                core.produce(
                    request.transport_id,
                    request.producer_id,
                    request.kind,
                    request.rtp_parameters,
                    now,
                    replaces=request.replaces,
                )
            case CloseProducer():
                core.close_producer(request.producer_id)
            case Consume():
                return core.consume(
                    request.transport_id,
                    request.consumer_id,
                    request.producer_id,
                    request.rtp_capabilities,
                    now,
                    ignore_dtx=request.ignore_dtx,
                )
            case ProduceData():
                core.produce_data(
                    request.transport_id,
                    request.data_producer_id,
                    request.sctp_stream_parameters,
                    request.label,
                    request.protocol,
                    now,
                    replaces=request.replaces,
                )
            case CloseDataProducer():
                core.close_data_producer(request.data_producer_id, now)
            case ConsumeData():
                return core.consume_data(
                    request.transport_id, request.data_consumer_id, request.data_producer_id
                )
            case GetStats():
                assert self._udp is not None
                return core.stats(asdict(self._udp.counters) | self._tcp.counters)
            case _:
                raise MediaRefused(f"unknown request {type(request).__name__}")
        return None

    async def _configure(self, call: Call, configure: Configure, nursery: trio.Nursery) -> Result:
        if self._core is not None:
            return Result(call.id, error="configured already")
        host = f"[{configure.listen_ip}]" if ":" in configure.listen_ip else configure.listen_ip
        where = f"UDP {host}:{configure.port}"
        try:
            capabilities = router_capabilities(configure.video_codecs)
            self._udp = UdpPorts(configure.listen_ip, configure.port)
            where = f"TCP {host}:{configure.tcp_port}"
            listeners: list[trio.SocketListener] = []
            tcp_port = configure.tcp_port
            if tcp_port is not None:
                for address in self._udp.hosts:
                    listeners += await trio.open_tcp_listeners(tcp_port, host=address, backlog=TCP_BACKLOG)
                    tcp_port = int(listeners[0].socket.getsockname()[1])
        except OSError as error:
            return Result(
                call.id, error=f"cannot listen on {where}: {error.strerror or error}. Is the port in use?"
            )
        except OrtcError as error:
            return Result(call.id, error=str(error))
        self._tcp.limits = configure.ice_tcp_limits
        self._tcp_port = tcp_port
        self._candidates = host_candidates(configure.announced, self._udp.port, tcp_port)
        self._core = MediaCore(
            certificate=Certificate.generate(dt.datetime.now(dt.UTC)),
            capabilities=capabilities,
            candidates=self._candidates,
            wall_offset=time.time() - trio.current_time(),
            require_binary_data_channel=configure.require_binary_data_channel,
        )
        for port in self._udp.ports:
            nursery.start_soon(self._read_udp, port)
        nursery.start_soon(self._run_timer)
        if listeners:
            nursery.start_soon(trio.serve_listeners, self._tcp.serve, listeners)
        ready = Ready(
            port=self._udp.port, tcp_port=tcp_port, rtp_capabilities=to_json(capabilities), engine="python"
        )
        return Result(call.id, ready)

    def _send(self, message: Result | Notice) -> None:
        self._outbox += encode(message)
        self._outbox_wake.set()

    async def _write_control(self) -> None:
        while True:
            await self._outbox_wake.wait()
            self._outbox_wake = trio.Event()
            chunk, self._outbox = self._outbox, bytearray()
            try:
                await self._control.send_all(chunk)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the reader sees the end too

    # ------------------------------------------------------------------- media

    async def _read_udp(self, udp: UdpPort) -> None:
        assert self._core is not None
        core = self._core
        while True:
            await trio.lowlevel.wait_readable(udp.socket)
            now = trio.current_time()
            batch = udp.drain(now)
            if batch:
                core.receive_batch(batch, now)
                self._flush()

    def _tcp_received(self, packets: list[bytes], address: TcpAddress) -> None:
        assert self._core is not None
        now = trio.current_time()
        self._core.receive_batch([(packet, address, now) for packet in packets], now)
        self._flush()

    def _tcp_closed(self, address: TcpAddress) -> None:
        assert self._core is not None
        self._core.address_closed(address, trio.current_time())
        self._flush()

    def _tcp_validated(self, address: TcpAddress) -> bool:
        assert self._core is not None
        return self._core.is_validated(address)

    def _flush(self) -> None:
        """Send what the core has ready, pass its events on, and re-arm the timer."""
        core = self._core
        if core is None:
            return
        assert self._udp is not None
        send_udp, send_tcp = self._udp.send, self._tcp.send
        for egress in core.egress(trio.current_time()):
            if isinstance(egress.address, TcpAddress):
                send_tcp(egress)
            else:
                send_udp(egress)
        while (event := core.next_event()) is not None:
            self._send(Notice(event))
        deadline = core.get_timer()
        self._timer_deadline = float("inf") if deadline is None else deadline
        if self._timer_scope is not None and self._timer_deadline < self._timer_scope.deadline:
            self._timer_scope.deadline = self._timer_deadline

    async def _run_timer(self) -> None:
        assert self._core is not None
        while True:
            with trio.CancelScope(deadline=self._timer_deadline) as self._timer_scope:
                await trio.sleep_forever()
            self._timer_scope = None
            now = trio.current_time()
            if now >= self._timer_deadline:
                self._core.handle_timer(now)
                self._flush()

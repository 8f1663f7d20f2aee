"""A room member made of our own machines on real sockets: Socket.IO over WebSocket, peers over UDP."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Request,
    TextMessage,
)

from sfu.ice.address import Address
from sfu.ice.framing import FrameDecoder, encode_frame
from tests.support.daemon import HOST, Daemon
from tests.support.peer import Peer

ANSWER_TIMEOUT = 10.0
"""Seconds for an acknowledgement, and for anything else that must happen soon."""
MAX_DATAGRAM = 65536
FLUSH_INTERVAL = 0.005
"""Seconds until what was given to a TCP peer from outside leaves."""


class Refused(Exception):
    """The server's acknowledgement was an error."""


async def eventually(what: Callable[[], Any], seconds: float = ANSWER_TIMEOUT) -> None:
    """Wait until something holds that other tasks bring about."""
    with trio.move_on_after(seconds):
        while not what():  # noqa: ASYNC110 - it happens in another process
            await trio.sleep(0.01)
    assert what()


class Signaling:
    """A connected Socket.IO client, over WebSocket alone."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._websocket = WSConnection(ConnectionType.CLIENT)
        self._next_ack = 0
        self._waiting: dict[int, trio.MemorySendChannel[list[Any]]] = {}
        self.events: list[tuple[str, list[Any]]] = []
        """What the server sent unasked, oldest first."""
        self.session = ""
        """Engine.IO's id of it."""
        self.disconnected: str | None = None
        """How it ended: ``io server disconnect``, ``closed`` and the WebSocket's code, or ``lost``."""
        self.over = trio.Event()

    async def open(self, host: str = HOST) -> None:
        """The WebSocket's handshake, with the name that the server goes by."""
        target = "/socket.io/?EIO=4&transport=websocket"
        await self._stream.send_all(self._websocket.send(Request(host=host, target=target)))
        accepted = await self._event()
        assert isinstance(accepted, AcceptConnection), accepted

    async def sign_in(self, token: str) -> None:
        """Take the Engine.IO open packet and connect the Socket.IO socket."""
        opening = await self._message()
        assert opening.startswith("0{"), opening
        self.session = json.loads(opening[1:])["sid"]
        await self.send("40" + json.dumps({"token": token}))
        answer = await self._message()
        assert answer.startswith("40{"), answer

    async def call(self, event: str, payload: Any = None) -> Any:
        """Emit and wait for ``(error, value)``; returns the value or raises :class:`Refused`."""
        answer = await self.call_raw(event, payload)
        if answer and answer[0] is not None:
            raise Refused(answer[0])
        return answer[1] if len(answer) > 1 else None

    async def call_raw(self, event: str, *args: Any) -> list[Any]:
        """Emit and wait for the acknowledgement as it comes."""
        return await self.call_text(json.dumps([event, *args]))

    async def call_text(self, body: str) -> list[Any]:
        """The same with the event's JSON given as text."""
        self._next_ack += 1
        ack_id = self._next_ack
        send, receive = trio.open_memory_channel[list[Any]](1)
        self._waiting[ack_id] = send
        await self.send(f"42{ack_id}{body}")
        with trio.fail_after(ANSWER_TIMEOUT):
            return await receive.receive()

    async def emit(self, event: str, *args: Any) -> None:
        await self.send("42" + json.dumps([event, *args]))

    async def send(self, packet: str | bytes) -> None:
        """One WebSocket message as it is."""
        event = TextMessage(packet) if isinstance(packet, str) else BytesMessage(packet)
        await self._stream.send_all(self._websocket.send(event))

    async def send_bytes(self, data: bytes) -> None:
        """Bytes on the connection, WebSocket frames or not."""
        await self._stream.send_all(data)

    def heard(self, event: str) -> list[Any]:
        """First arguments of all events of a name."""
        return [args[0] if args else None for name, args in self.events if name == event]

    async def run(self) -> None:
        """Read until the end."""
        try:
            while True:
                self._handle(await self._message())
        except _Closed as closed:
            if self.disconnected is None:
                self.disconnected = str(closed)
        finally:
            self.over.set()
            for waiting in self._waiting.values():
                waiting.close()

    def _handle(self, message: str) -> None:
        if message.startswith("41"):
            self.disconnected = "io server disconnect"
        elif message.startswith("42"):
            name, *args = json.loads(message[2:])
            self.events.append((name, args))
        elif message.startswith("43"):
            digits = message[2 : message.index("[")]
            waiting = self._waiting.pop(int(digits), None)
            if waiting is not None:
                waiting.send_nowait(json.loads(message[2 + len(digits) :]))

    async def _message(self) -> str:
        """The next whole text message that is no heartbeat. Raises :class:`_Closed`."""
        text = ""
        while True:
            event = await self._event()
            match event:
                case TextMessage(data=data, message_finished=finished):
                    text += data
                    if finished and text != "2":
                        return text
                    if finished:
                        await self.send("3")
                        text = ""
                case CloseConnection(code=code):
                    await self._answer(event.response())
                    raise _Closed(f"closed {code}")
                case Ping():
                    await self._answer(event.response())

    async def _event(self) -> Event:
        while True:
            for event in self._websocket.events():
                return event
            try:
                data = await self._stream.receive_some()
            except trio.BrokenResourceError:
                data = b""
            if not data:
                raise _Closed("lost")
            self._websocket.receive_data(bytes(data))

    async def _answer(self, event: Event) -> None:
        try:
            await self._stream.send_all(self._websocket.send(event))
        except trio.BrokenResourceError:
            pass  # it did not wait for it


class _Closed(Exception):
    """The connection has ended; the text says how."""


@asynccontextmanager
async def open_signaling(daemon: Daemon, token: str) -> AsyncIterator[Signaling]:
    """Connect a Socket.IO client."""
    async with await trio.open_tcp_stream(HOST, daemon.port) as stream, trio.open_nursery() as nursery:
        signaling = Signaling(stream)
        await signaling.open()
        await signaling.sign_in(token)
        nursery.start_soon(signaling.run)
        yield signaling
        nursery.cancel_scope.cancel()


class LivePeer:
    """A :class:`Peer` on a UDP socket of its own."""

    def __init__(self, transport_id: str, info: dict[str, Any]) -> None:
        self.transport_id = transport_id
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((HOST, 0))
        address: Address = self.socket.getsockname()
        self.peer = Peer(address, info)

    async def run(self) -> None:
        """Carry datagrams and time until cancelled."""
        peer = self.peer
        try:
            while True:
                self.flush()
                timer = peer.get_timer()
                with trio.move_on_at(float("inf") if timer is None else timer):
                    await trio.lowlevel.wait_readable(self.socket)
                await trio.lowlevel.checkpoint()
                now = trio.current_time()
                try:
                    while True:
                        data, source = self.socket.recvfrom(MAX_DATAGRAM)
                        peer.receive(data, source, peer.address, now)
                except BlockingIOError:
                    pass
                timer = peer.get_timer()
                if timer is not None and timer <= now:
                    peer.handle_timer(now)
        finally:
            self.socket.close()

    def flush(self) -> None:
        """Send what the peer has ready; after anything that was asked of it from outside."""
        for data, _, destination in self.peer.take_output(trio.current_time()):
            self.send(data, destination)

    def send(self, data: bytes, destination: Address | None = None) -> None:
        """One datagram as it is; dropped where the kernel has no room for it."""
        try:
            self.socket.sendto(data, destination or self.peer.server)
        except BlockingIOError:
            pass


class TcpLivePeer(LivePeer):
    """The same over ICE-TCP (RFC 6544): it connects, and every packet is framed (RFC 4571)."""

    def __init__(self, transport_id: str, info: dict[str, Any]) -> None:
        super().__init__(transport_id, info)
        self.socket.close()
        candidate = next(c for c in info["iceCandidates"] if c["protocol"] == "tcp")
        assert candidate["tcpType"] == "passive"
        self.peer.server = (candidate["ip"], candidate["port"])
        self._decoder = FrameDecoder()
        self._unsent = bytearray()

    async def run(self) -> None:
        peer = self.peer
        async with await trio.open_tcp_stream(*peer.server[:2]) as stream:
            peer.address = stream.socket.getsockname()
            while True:
                self.flush()
                if self._unsent:
                    chunk, self._unsent = self._unsent, bytearray()
                    await stream.send_all(chunk)
                timer = peer.get_timer()
                limit = trio.current_time() + FLUSH_INTERVAL
                data = b""
                with trio.move_on_at(limit if timer is None else min(timer, limit)):
                    data = bytes(await stream.receive_some(MAX_DATAGRAM))
                    if not data:
                        return
                now = trio.current_time()
                for packet in self._decoder.receive_data_untrusted(data):
                    peer.receive(packet, peer.server, peer.address, now)
                timer = peer.get_timer()
                if timer is not None and timer <= now:
                    peer.handle_timer(now)

    def send(self, data: bytes, destination: Address | None = None) -> None:
        self._unsent += encode_frame(data)


class Member:
    """Somebody in a room."""

    def __init__(self, signaling: Signaling, nursery: trio.Nursery) -> None:
        self.signaling = signaling
        self._nursery = nursery

    async def transport(self, *, tcp: bool = False) -> LivePeer:
        """A new transport, connected, with data channels ready."""
        info = await self.signaling.call("sfu-create-transport", {"direction": "send"})
        live = TcpLivePeer(info["id"], info) if tcp else LivePeer(info["id"], info)
        await self.signaling.call(
            "sfu-connect-transport", {"transportId": info["id"], "dtlsParameters": live.peer.dtls_parameters}
        )
        self._nursery.start_soon(live.run)
        await eventually(lambda: live.peer.connected and live.peer.established)
        return live

    async def open(self, room: str) -> None:
        await self.signaling.call("open-room", {"extra": {"room_name": room}, "maxPlayers": 4})

    async def join(self, room: str) -> None:
        await self.signaling.call("join-room", {"extra": {"room_name": room}})


@asynccontextmanager
async def open_member(daemon: Daemon, name: str) -> AsyncIterator[Member]:
    """Sign in as a guest."""
    token = await trio.to_thread.run_sync(daemon.mint, name)
    async with open_signaling(daemon, token) as signaling, trio.open_nursery() as nursery:
        yield Member(signaling, nursery)
        nursery.cancel_scope.cancel()

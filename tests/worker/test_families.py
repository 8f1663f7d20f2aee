"""A worker on real sockets of IPv4 and IPv6, UDP and TCP: handshakes, data and video from any to any."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from sfu.ice.framing import FrameDecoder, encode_frame
from sfu.sctp.ppid import BINARY
from sfu.worker.messages import (
    ConnectTransport,
    Consume,
    ConsumeData,
    CreateTransport,
    GetStats,
    Produce,
    ProduceData,
)
from tests.support.peer import Peer
from tests.support.world import VideoSource, video_parameters, viewer_capabilities
from tests.worker.test_process import worker

ANNOUNCED = ("127.0.0.1", "::1")
TIME = 20.0
"""Seconds for everything; it takes one."""


class Line:
    """Carries a peer's datagrams over a socket, and drives its clock."""

    def __init__(self, peer: Peer, send: Callable[[bytes], Any], receive: Callable[[], Any]) -> None:
        self.peer = peer
        self._send = send
        self._receive = receive
        self._stirred = trio.Event()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            while True:
                for data, _, _ in self.peer.take_output(trio.current_time()):
                    await self._send(data)
                timer = self.peer.get_timer()
                self._stirred = trio.Event()
                with trio.move_on_at(timer if timer is not None else float("inf")):
                    await self._stirred.wait()
                self.peer.handle_timer(trio.current_time())

    async def _read(self) -> None:
        while True:
            for data in await self._receive():
                self.peer.receive(data, self.peer.server, self.peer.address, trio.current_time())
            self.stir()

    def stir(self) -> None:
        self._stirred.set()


@asynccontextmanager
async def line(info: dict[str, Any], protocol: str, host: str) -> AsyncIterator[Line]:
    """A peer that uses the one candidate of this protocol and address."""
    [port] = [c["port"] for c in info["iceCandidates"] if (c["protocol"], c["ip"]) == (protocol, host)]
    family = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
    kind = trio.socket.SOCK_DGRAM if protocol == "udp" else trio.socket.SOCK_STREAM
    with trio.socket.socket(family, kind) as sock:
        await sock.bind((host, 0))
        await sock.connect((host, port))
        decoder = FrameDecoder()

        async def send(data: bytes) -> None:
            await sock.send(data if protocol == "udp" else encode_frame(data))

        async def receive() -> list[bytes]:
            data = await sock.recv(4096)
            return [data] if protocol == "udp" else decoder.receive_data_untrusted(data)

        peer = Peer(sock.getsockname(), info, server=sock.getpeername())
        async with trio.open_nursery() as nursery:
            result = Line(peer, send, receive)
            nursery.start_soon(result.run)
            yield result
            nursery.cancel_scope.cancel()


async def until(holds: Callable[[], object]) -> None:
    with trio.fail_after(TIME):
        while not holds():  # noqa: ASYNC110 - it happens on sockets
            await trio.sleep(0.01)


@pytest.mark.parametrize(
    ("host_path", "viewer_path"),
    [
        (("udp", "::1"), ("udp", "127.0.0.1")),
        (("udp", "127.0.0.1"), ("udp", "::1")),
        (("tcp", "::1"), ("udp", "::1")),
        (("udp", "127.0.0.1"), ("tcp", "::1")),
        (("udp", "::1"), ("tcp", "127.0.0.1")),
    ],
)
async def test_any_family_and_protocol_to_any_other(
    host_path: tuple[str, str], viewer_path: tuple[str, str]
) -> None:
    options = {"listen_ip": "::", "announced": ANNOUNCED, "tcp_port": 0}
    async with worker(**options) as (client, _):
        infos = [await client.call(CreateTransport("r", name)) for name in ("h", "v")]
        async with line(infos[0], *host_path) as host, line(infos[1], *viewer_path) as viewer:
            for name, end in (("h", host), ("v", viewer)):
                await client.call(ConnectTransport(name, end.peer.dtls_parameters))
                await until(partial(getattr, end.peer, "established"))
            await client.call(ProduceData("h", "d", {"streamId": 0}, "", ""))
            await client.call(ConsumeData("v", "dc", "d"))
            await client.call(Produce("h", "p", "video", video_parameters()))
            await client.call(Consume("v", "c", "p", viewer_capabilities(), ignore_dtx=False))
            host.peer.send_data(0, BINARY, b"input", trio.current_time())
            source = VideoSource(host.peer)
            for _ in range(10):
                source.frame(key=True)
            host.stir()
            await until(lambda: len(viewer.peer.rtp) == 30 and bool(viewer.peer.messages))
            assert viewer.peer.messages[0].data == b"input"
            stats = await client.call(GetStats())
            assert stats["counters"]["dropped_error"] == 0
            expected = [host_path[0], viewer_path[0]].count("tcp")
            assert (stats["counters"]["tcp_connections"], stats["counters"]["tcp_dropped"]) == (expected, 0)

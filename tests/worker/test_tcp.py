"""ICE-TCP connections: frames in, frames out, and what slow or silent peers may do."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from sfu.ice.address import TcpAddress
from sfu.ice.framing import FrameDecoder, encode_frame
from sfu.media.egress import Egress, Priority
from sfu.worker import tcp
from sfu.worker.tcp import FIRST_PACKET_TIMEOUT, IDLE_TIMEOUT, TcpConnections


class Shell:
    def __init__(self) -> None:
        self.received: list[tuple[bytes, TcpAddress]] = []
        self.closed: list[TcpAddress] = []
        self.valid = False
        self.connections = TcpConnections(
            lambda packets, address: self.received.extend((p, address) for p in packets),
            self.closed.append,
            lambda _address: self.valid,
        )
        self.done = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        await self.connections.serve(stream)
        self.done.set()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Shell, trio.SocketStream]]:
    shell = Shell()
    async with trio.open_nursery() as nursery:
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        nursery.start_soon(trio.serve_listeners, shell.serve, [listener])
        client = await trio.open_tcp_stream(*listener.socket.getsockname())
        async with client:
            yield shell, client
        nursery.cancel_scope.cancel()


async def test_frames_pass_both_ways() -> None:
    async with connected() as (shell, client):
        await client.send_all(encode_frame(b"one") + encode_frame(b"two")[:3])
        while not shell.received:
            await trio.testing.wait_all_tasks_blocked(0.01)
        await client.send_all(encode_frame(b"two")[3:])
        while len(shell.received) < 2:
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert [p for p, _ in shell.received] == [b"one", b"two"]
        address = shell.received[0][1]
        shell.connections.send(Egress(address, [b"ab", b"cd", b"ef", b"g"], Priority.VIDEO, 4, 2))
        decoder = FrameDecoder()
        frames: list[bytes] = []
        while len(frames) < 2:
            frames += decoder.receive_data_untrusted(bytes(await client.receive_some(100)))
        assert frames == [b"abcd", b"efg"]
        await client.aclose()
        await shell.done.wait()
        assert shell.closed == [address]
        assert len(shell.connections) == 0
        shell.connections.send(Egress(address, [b"late"], Priority.VIDEO))


async def test_a_frame_beyond_all_reason_ends_the_connection() -> None:
    async with connected() as (shell, client):
        await client.send_all(b"\xff\xff")
        await shell.done.wait()
        assert await client.receive_some(1) == b""


@pytest.mark.parametrize(("valid", "limit"), [(False, FIRST_PACKET_TIMEOUT), (True, IDLE_TIMEOUT)])
async def test_silence_is_limited(valid: bool, limit: float, autojump_clock: MockClock) -> None:
    # Memory would do, but getpeername wants a socket: connect before time starts to jump.
    autojump_clock.autojump_threshold = float("inf")
    async with connected() as (shell, client):
        shell.valid = valid
        await client.send_all(encode_frame(b"x"))
        while not shell.received:
            await trio.testing.wait_all_tasks_blocked(0.01)
        began = trio.current_time()
        autojump_clock.autojump_threshold = 0.05
        await shell.done.wait()
        assert limit - 1 <= trio.current_time() - began <= limit + 1


async def test_a_slow_reader_loses_packets_instead_of_memory() -> None:
    async with connected() as (shell, client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await client.send_all(encode_frame(b"x"))
        while not shell.received:
            await trio.testing.wait_all_tasks_blocked(0.01)
        address = shell.received[0][1]
        for _ in range(20_000):
            shell.connections.send(Egress(address, [bytes(1200)], Priority.VIDEO))
            assert len(shell.connections._connections[address]._buffer) <= tcp.MAX_QUEUED
        assert shell.connections.dropped > 0


async def test_connections_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "MAX_CONNECTIONS", 1)
    async with connected() as (shell, client):
        await client.send_all(encode_frame(b"x"))
        while not shell.received:
            await trio.testing.wait_all_tasks_blocked(0.01)
        host, port = client.socket.getpeername()
        async with await trio.open_tcp_stream(host, port) as second:
            assert await second.receive_some(1) == b""
        assert shell.connections.refused == 1

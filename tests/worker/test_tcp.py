"""ICE-TCP connections: frames in, frames out, and what slow or silent peers may do."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from sfu.ice.address import TcpAddress
from sfu.ice.framing import FrameDecoder, encode_frame
from sfu.media.egress import Egress, Priority
from sfu.worker import tcp
from sfu.worker.limits import IceTcpLimits
from sfu.worker.tcp import FIRST_PACKET_TIMEOUT, IDLE_TIMEOUT, STALL_TIMEOUT, TcpConnections, _client


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


async def addressed(shell: Shell, client: trio.SocketStream) -> TcpAddress:
    """The address of the one connection."""
    await client.send_all(encode_frame(b"x"))
    while not shell.received:
        await trio.testing.wait_all_tasks_blocked(0.01)
    return shell.received[0][1]


def labelled(priority: Priority, number: int, size: int = 1200) -> bytes:
    return bytes([priority]) + number.to_bytes(4, "big") + bytes(size - 5)


def label(frame: bytes) -> tuple[Priority, int]:
    return Priority(frame[0]), int.from_bytes(frame[1:5], "big")


async def test_a_slow_reader_loses_the_oldest_video_and_its_input_overtakes_the_rest() -> None:
    async with connected() as (shell, client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        address = await addressed(shell, client)
        connection = shell.connections._connections[address]
        sent: list[tuple[Priority, int]] = []

        def send(priority: Priority, number: int) -> None:
            shell.connections.send(Egress(address, [labelled(priority, number)], priority))
            sent.append((priority, number))
            assert connection._queued == sum(len(f) for q in connection._queues.values() for f in q)
            assert connection._queued <= tcp.MAX_QUEUED

        for number in range(2000):  # the kernel takes some, and then no more
            send(Priority.VIDEO, number)
            if number % 20 == 0:
                await trio.testing.wait_all_tasks_blocked(0.001)
        for number in range(10):
            send(Priority.AUDIO, number)
        for number in range(10):
            send(Priority.DATA, number)
        waiting = connection._queued
        decoder, got = FrameDecoder(), list[tuple[Priority, int]]()
        while not got or got[-1] != (Priority.VIDEO, 1999):
            got += map(label, decoder.receive_data_untrusted(bytes(await client.receive_some(65536))))
        assert decoder.buffered == 0, "no frame was cut"
        assert len(got) + shell.connections.dropped == len(sent)
        assert shell.connections.dropped > 1000
        for priority in Priority:
            numbers = [number for p, number in got if p is priority]
            assert numbers == sorted(numbers)
            if priority is not Priority.VIDEO:
                assert numbers == list(range(10)), "video made room"
        video = [number for p, number in got if p is Priority.VIDEO]
        gaps = [after - before for before, after in pairwise(video) if after != before + 1]
        assert len(gaps) <= 1 + 2000 // 20, "what was lost was the oldest that waited"
        assert video[-(tcp.MAX_QUEUED - 30 * 1202) // 1202 :] == list(
            range(2000 - (tcp.MAX_QUEUED - 30 * 1202) // 1202 - 1, 2000)
        )
        first_data = got.index((Priority.DATA, 0))
        assert got[first_data : first_data + 20] == sent[-10:] + sent[-20:-10], (
            "input, then sound, then picture"
        )
        assert len(got) - first_data > (waiting - tcp.WRITE_SIZE) // 1202 - 2, "they passed all that waited"


@pytest.mark.parametrize("flood", list(Priority))
async def test_whatever_floods_a_slow_reader_is_bounded(flood: Priority) -> None:
    async with connected() as (shell, client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        address = await addressed(shell, client)
        connection = shell.connections._connections[address]
        for number in range(10_000):
            shell.connections.send(Egress(address, [labelled(flood, number)], flood))
            assert connection._queued <= tcp.MAX_QUEUED
        dropped = shell.connections.dropped
        assert dropped > 9000
        shell.connections.send(Egress(address, [labelled(Priority.VIDEO, 0)], Priority.VIDEO))
        video = connection._queues[Priority.VIDEO]
        if flood is Priority.VIDEO:
            assert label(video[-1][2:]) == (Priority.VIDEO, 0)
        else:
            assert not video, "more urgent ones do not make room for it"
        assert shell.connections.dropped == dropped + 1


async def test_a_reader_that_stopped_is_closed(autojump_clock: MockClock) -> None:
    autojump_clock.autojump_threshold = float("inf")
    async with connected() as (shell, client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        shell.valid = True
        address = await addressed(shell, client)
        for number in range(5000):  # far more than all buffers together take
            shell.connections.send(Egress(address, [labelled(Priority.VIDEO, number)], Priority.VIDEO))
            if number % 20 == 0:
                await trio.testing.wait_all_tasks_blocked(0.001)
        began = trio.current_time()
        autojump_clock.autojump_threshold = 0.05
        await shell.done.wait()
        assert STALL_TIMEOUT - 1 <= trio.current_time() - began <= STALL_TIMEOUT + 1
        assert shell.connections.stalled == 1
        assert shell.closed == [address]


async def test_who_reads_slowly_but_reads_is_not_closed(autojump_clock: MockClock) -> None:
    autojump_clock.autojump_threshold = float("inf")
    async with connected() as (shell, client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        shell.valid = True
        address = await addressed(shell, client)
        for _ in range(3):
            for number in range(300):
                shell.connections.send(Egress(address, [labelled(Priority.VIDEO, number)], Priority.VIDEO))
            await client.send_all(encode_frame(b"still here"))
            taken = 0
            while taken < 200_000:
                taken += len(await client.receive_some(65536))
            await trio.testing.wait_all_tasks_blocked(0.01)
            autojump_clock.jump(STALL_TIMEOUT - 1)
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert (shell.connections.stalled, len(shell.connections)) == (0, 1)


@pytest.mark.parametrize(
    ("limits", "served"),
    [(IceTcpLimits(ice_tcp_connections=2), 2), (IceTcpLimits(ice_tcp_connections_per_address=3), 3)],
)
async def test_connections_are_capped(limits: IceTcpLimits, served: int) -> None:
    async with connected() as (shell, client), AsyncExitStack() as stack:
        shell.connections.limits = limits
        await addressed(shell, client)
        others = [await trio.open_tcp_stream(*client.socket.getpeername()) for _ in range(4)]
        for other in others:
            stack.push_async_exit(other)
            await other.send_all(encode_frame(b"y"))
        for refused in others[served - 1 :]:
            with contextlib.suppress(trio.BrokenResourceError):
                assert await refused.receive_some(1) == b""
        assert len(shell.connections) == served
        assert shell.connections.refused == 5 - served
        for other in others:
            await other.aclose()
        while len(shell.connections) > 1:
            await trio.testing.wait_all_tasks_blocked(0.01)
        async with await trio.open_tcp_stream(*client.socket.getpeername()) as again:
            await again.send_all(encode_frame(b"z"))
            while len(shell.connections) < 2:
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert shell.connections.refused == 5 - served, "who leaves makes room"
        await client.aclose()
        while len(shell.connections):
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert not shell.connections._per_client


def test_an_ipv6_client_is_its_network() -> None:
    assert _client("192.0.2.1") == "192.0.2.1"
    assert _client("2001:db8:0:1::1") == _client("2001:db8::1:ffff:ffff:ffff:ffff") != _client("2001:db8::1")
    assert _client("fe80::1%eth0") == _client("fe80::2")

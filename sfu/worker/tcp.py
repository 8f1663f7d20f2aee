"""ICE-TCP (RFC 6544, passive): each connection carries framed packets of one transport (RFC 4571).

TCP delivers everything, however late, so a line that is too slow must not be given everything: what waits
for it is bounded. Input and checks overtake media, and where the bound is hit the oldest video goes first.
Only whole frames are dropped; one that has begun to leave is finished, or nothing after it could be read.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter, deque
from collections.abc import Callable

import trio

from sfu.ice.address import TcpAddress
from sfu.ice.framing import FrameDecoder, FramingError, encode_frame
from sfu.media.egress import Egress, Priority
from sfu.worker.limits import IceTcpLimits

MAX_QUEUED = 256 * 1024
"""Bytes that wait for a slow reader: two seconds at 1 Mbit/s."""
WRITE_SIZE = 16 * 1024
"""Bytes handed to the kernel at a time, and that it holds unsent (``TCP_NOTSENT_LOWAT``): what has been
handed over cannot be overtaken."""
STALL_TIMEOUT = 10.0
"""Seconds without a byte taken by the peer although some wait; then the connection is closed."""
FIRST_PACKET_TIMEOUT = 10.0
"""Seconds until a connection has to have validated an ICE tuple."""
IDLE_TIMEOUT = 60.0
"""Seconds without a byte: consent checks come every few seconds."""
READ_SIZE = 16 * 1024

_LEAST_URGENT_FIRST = tuple(reversed(Priority))


class TcpConnections:
    """The ICE-TCP connections of one worker.

    ``received(packets, address)`` is called with complete packets, ``closed(address)`` once at the end, and
    ``validated(address)`` asks whether ICE accepted the peer.
    """

    def __init__(
        self,
        received: Callable[[list[bytes], TcpAddress], None],
        closed: Callable[[TcpAddress], None],
        validated: Callable[[TcpAddress], bool],
    ) -> None:
        self.limits = IceTcpLimits()
        self._received = received
        self._closed = closed
        self._validated = validated
        self._connections: dict[TcpAddress, _Connection] = {}
        self._per_client: Counter[str] = Counter()
        """Open connections by :func:`_client`; nobody has zero."""
        self._next = 0
        self.dropped = 0
        """Packets dropped because their reader was slow."""
        self.refused = 0
        """Connections turned away over a cap."""
        self.stalled = 0
        """Connections closed because their peer took nothing for :data:`STALL_TIMEOUT`."""

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def counters(self) -> dict[str, int]:
        """For statistics."""
        return {
            "tcp_connections": len(self),
            "tcp_dropped": self.dropped,
            "tcp_refused": self.refused,
            "tcp_stalled": self.stalled,
        }

    def send(self, egress: Egress) -> None:
        """Queue packets; never blocks."""
        assert isinstance(egress.address, TcpAddress)
        connection = self._connections.get(egress.address)
        if connection is None:
            return
        for packet in egress.packets():
            self.dropped += connection.queue(encode_frame(packet), egress.priority)

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, until either side ends it. For ``trio.serve_listeners``."""
        async with stream:
            try:
                peer = stream.socket.getpeername()
            except OSError:
                return  # gone already
            client = _client(peer[0])
            if (
                len(self._connections) >= self.limits.ice_tcp_connections
                or self._per_client[client] >= self.limits.ice_tcp_connections_per_address
            ):
                self.refused += 1
                return
            self._next += 1
            address = TcpAddress(peer[0], peer[1], self._next)
            connection = self._connections[address] = _Connection(stream)
            self._per_client[client] += 1
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, connection, nursery.cancel_scope)
                    await self._read(stream, address)
                    nursery.cancel_scope.cancel()
            finally:
                del self._connections[address]
                self._per_client[client] -= 1
                if not self._per_client[client]:
                    del self._per_client[client]
                self._closed(address)

    async def _read(self, stream: trio.SocketStream, address: TcpAddress) -> None:
        decoder = FrameDecoder()
        deadline = trio.current_time() + FIRST_PACKET_TIMEOUT
        while True:
            try:
                with trio.fail_at(deadline):
                    data = await stream.receive_some(READ_SIZE)
            except (trio.BrokenResourceError, trio.TooSlowError):
                return
            if not data:
                return
            try:
                packets = decoder.receive_data_untrusted(bytes(data))
            except FramingError:
                return
            if packets:
                self._received(packets, address)
            if self._validated(address):
                deadline = trio.current_time() + IDLE_TIMEOUT

    async def _write(self, connection: _Connection, scope: trio.CancelScope) -> None:
        """Write until the peer is gone or stalls, then end the connection."""
        try:
            await connection.write()
        except trio.TooSlowError:
            self.stalled += 1
        except OSError:
            pass  # gone
        scope.cancel()


class _Connection:
    """The sending side of one connection: bounded queues by urgency."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = stream.socket
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, WRITE_SIZE)
        self._queues: dict[Priority, deque[bytes]] = {priority: deque() for priority in Priority}
        self._queued = 0
        """Bytes in the queues, at most :data:`MAX_QUEUED`."""
        self._wake = trio.Event()

    def queue(self, frame: bytes, priority: Priority) -> int:
        """Let a frame wait. Returns how many were dropped: older ones, or this one if all are more urgent."""
        dropped = 0
        while self._queued + len(frame) > MAX_QUEUED:
            dropped += 1
            if not self._drop_one(priority):
                return dropped
        self._queues[priority].append(frame)
        self._queued += len(frame)
        self._wake.set()
        return dropped

    def _drop_one(self, priority: Priority) -> bool:
        """Drop the oldest frame of the least urgent, unless only more urgent ones than ``priority`` wait."""
        for candidate in _LEAST_URGENT_FIRST:
            if candidate < priority:
                return False
            if self._queues[candidate]:
                self._queued -= len(self._queues[candidate].popleft())
                return True
        return False

    async def write(self) -> None:
        """Send for ever. Raises ``OSError`` when the peer is gone, ``trio.TooSlowError`` when it stalls."""
        while True:
            await self._wake.wait()
            rest = memoryview(self._take())
            while rest:
                with trio.fail_after(STALL_TIMEOUT):
                    sent = await self._socket.send(rest)
                rest = rest[sent:]

    def _take(self) -> bytes:
        """The most urgent frames, whole ones, up to the size of one write (or one frame)."""
        frames: list[bytes] = []
        room = WRITE_SIZE
        for queue in self._queues.values():
            while queue and (len(queue[0]) <= room or not frames):
                frame = queue.popleft()
                frames.append(frame)
                room -= len(frame)
            if queue:
                break
        else:
            self._wake = trio.Event()
        self._queued -= WRITE_SIZE - room
        return b"".join(frames)


def _client(host: str) -> str:
    """Who is counted as one: an address, or the /64 network that an IPv6 client has to itself."""
    if ":" not in host:
        return host
    return str(ipaddress.IPv6Network((host.partition("%")[0], 64), strict=False))

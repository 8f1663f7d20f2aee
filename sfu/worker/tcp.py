"""ICE-TCP (RFC 6544, passive): each connection carries framed packets of one transport (RFC 4571)."""

from __future__ import annotations

from collections.abc import Callable

import trio

from sfu.ice.address import TcpAddress
from sfu.ice.framing import FrameDecoder, FramingError, encode_frame
from sfu.media.egress import Egress

MAX_CONNECTIONS = 2000
"""Open ICE-TCP connections of a worker."""
MAX_QUEUED = 512 * 1024
"""Bytes that wait for a slow reader; beyond that packets are dropped, as a full router queue would."""
FIRST_PACKET_TIMEOUT = 10.0
"""Seconds until a connection has to have validated an ICE tuple."""
IDLE_TIMEOUT = 60.0
"""Seconds without a byte: consent checks come every few seconds."""
READ_SIZE = 16 * 1024


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
        self._received = received
        self._closed = closed
        self._validated = validated
        self._connections: dict[TcpAddress, _Connection] = {}
        self._next = 0
        self.dropped = 0
        """Packets dropped because their reader was slow."""
        self.refused = 0
        """Connections turned away over the cap."""

    def __len__(self) -> int:
        return len(self._connections)

    def send(self, egress: Egress) -> None:
        """Queue packets; never blocks."""
        assert isinstance(egress.address, TcpAddress)
        connection = self._connections.get(egress.address)
        if connection is None:
            return
        for packet in egress.packets():
            if not connection.queue(encode_frame(packet)):
                self.dropped += 1

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, until either side ends it. For ``trio.serve_listeners``."""
        async with stream:
            if len(self._connections) >= MAX_CONNECTIONS:
                self.refused += 1
                return
            try:
                peer = stream.socket.getpeername()
            except OSError:
                return  # gone already
            self._next += 1
            address = TcpAddress(peer[0], peer[1], self._next)
            connection = self._connections[address] = _Connection(stream)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(connection.write)
                    await self._read(stream, address)
                    nursery.cancel_scope.cancel()
            finally:
                del self._connections[address]
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


class _Connection:
    """The sending side of one connection: a bounded queue and its writer task."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._wake = trio.Event()

    def queue(self, frame: bytes) -> bool:
        if len(self._buffer) + len(frame) > MAX_QUEUED:
            return False
        self._buffer += frame
        self._wake.set()
        return True

    async def write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            chunk, self._buffer = self._buffer, bytearray()
            try:
                await self._stream.send_all(chunk)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the reader sees the same and ends the connection

"""What waits to go out besides DATA and SACK, and the chunk that is repeated until it is answered."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from sfu.sctp.chunks import Chunk, encode_chunk
from sfu.sctp.rto import RTO_MAX

MAX_CONTROL_CHUNKS = 32
"""Control chunks that wait for the next packet; more are dropped (the peer repeats itself)."""
MAX_SINGLE_PACKETS = 8
"""Packets of their own (INIT, INIT-ACK, ABORT, SHUTDOWN-COMPLETE) that wait; more are dropped."""


class Outbox:
    """Control chunks to be bundled, and packets that must go alone (RFC 9260 6.10)."""

    __slots__ = ("control", "dropped", "singles")

    def __init__(self) -> None:
        self.control: deque[bytes] = deque()
        self.singles: list[bytes] = []
        self.dropped = 0
        """What did not fit, in total."""

    def put(self, chunk: Chunk) -> None:
        """Queue a control chunk."""
        if len(self.control) >= MAX_CONTROL_CHUNKS:
            self.dropped += 1
        else:
            self.control.append(encode_chunk(chunk))

    def put_packet(self, packet: bytes) -> None:
        """Queue a whole packet."""
        if len(self.singles) >= MAX_SINGLE_PACKETS:
            self.dropped += 1
        else:
            self.singles.append(packet)

    def take_packets(self) -> list[bytes]:
        """All waiting packets; the list is the caller's."""
        packets, self.singles = self.singles, []
        return packets

    def fill(self, body: list[bytes], room: int) -> int:
        """Append control chunks that fit into ``room`` bytes; return the room left."""
        control = self.control
        while control and len(control[0]) <= room:
            chunk = control.popleft()
            body.append(chunk)
            room -= len(chunk)
        return room


class Retry:
    """T1-init, T1-cookie and T2-shutdown in one: no two of them ever run at once."""

    __slots__ = ("_attempts", "_interval", "_send", "deadline")

    def __init__(self) -> None:
        self._send: Callable[[], None] | None = None
        self._interval = 0.0
        self._attempts = 0
        self.deadline = math.inf
        """When it expires; infinite while stopped."""

    def start(self, send: Callable[[], None], interval: float, now: float) -> None:
        """Send now, and again after ``interval`` seconds, twice that, and so on up to RTO.Max."""
        self._send = send
        self._interval = interval
        self._attempts = 0
        self.deadline = now + interval
        send()

    def replace(self, send: Callable[[], None], now: float) -> None:
        """Send something else from now on; attempts and interval go on."""
        self._send = send
        self.deadline = now + self._interval
        send()

    def restart(self, now: float) -> None:
        """Wait the present interval once more."""
        if self._send is not None:
            self.deadline = now + self._interval

    def stop(self) -> None:
        """Nothing is repeated any more."""
        self._send = None
        self.deadline = math.inf

    def expired(self, now: float, limit: int) -> bool:
        """Send again. Says ``False``, and stops, when that has been done ``limit`` times."""
        if self._send is None or self._attempts >= limit:
            self.stop()
            return False
        self._attempts += 1
        self._interval = min(2 * self._interval, RTO_MAX)
        self.deadline = now + self._interval
        self._send()
        return True

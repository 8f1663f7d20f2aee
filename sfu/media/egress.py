"""What leaves a worker: messages ready for the wire, before a socket has seen them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from sfu.ice.address import Address

MAX_SEGMENTS = 64
"""Packets in one segmented send: the kernel's own limit (UDP_MAX_SEGMENTS)."""
MAX_SEGMENTED_BYTES = 60_000
"""Bytes in one segmented send: below the largest UDP payload."""


class Priority(IntEnum):
    """Order within one flush: a game's input first, then what is heard, then what is seen."""

    DATA = 0
    AUDIO = 1
    VIDEO = 2


class Egress:
    """One datagram, or a run of equally long ones (the last may be shorter), for one destination.

    Not a dataclass: thousands are made per second.
    """

    __slots__ = ("address", "buffers", "count", "priority", "segment")

    def __init__(
        self,
        address: Address,
        buffers: list[bytes],
        priority: Priority,
        segment: int = 0,
        count: int = 1,
    ) -> None:
        self.address = address
        self.buffers = buffers
        """Pieces that follow one another on the wire."""
        self.priority = priority
        self.segment = segment
        """Bytes of each packet but the last, 0 for a single packet."""
        self.count = count
        """Packets."""

    def packets(self) -> Iterator[bytes]:
        """The packets one by one."""
        whole = b"".join(self.buffers)
        if not self.segment:
            yield whole
            return
        for start in range(0, len(whole), self.segment):
            yield whole[start : start + self.segment]

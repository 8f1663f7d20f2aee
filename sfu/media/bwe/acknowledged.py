"""The rate at which packets arrived lately, and the rate at which the same packets were sent."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW: Final = 0.5
"""Seconds of arrivals that are looked at."""
MIN_SPAN: Final = 0.1
"""Seconds that rates are taken over at least: what came in one burst says nothing of a rate."""
MAX_COMPRESSION: Final = 2.0
"""Times faster than sent that packets may be believed to arrive: more is a burst, or a lie."""
MAX_PACKETS: Final = 2048
"""Kept at most: half a second of 40 Mbit/s."""


class AcknowledgedRate:
    """Rates are over the packets in the window, so a pause of the sender does not look like a slow line."""

    def __init__(self) -> None:
        self._packets: deque[tuple[float, float, int]] = deque()
        self._bytes = 0
        self._newest = 0.0

    def clear(self) -> None:
        """Nothing is known to arrive."""
        self._packets.clear()
        self._bytes = 0

    def on_packet(self, sent: float, arrived: float, size: int) -> None:
        packets = self._packets
        if packets:
            if abs(arrived - self._newest) > 10 * WINDOW:
                self.clear()
            elif arrived < self._newest:
                arrived = self._newest  # overtaken: it counts, the order is kept
        self._newest = arrived
        packets.append((arrived, sent, size))
        self._bytes += size
        horizon = arrived - WINDOW
        while packets[0][0] < horizon or len(packets) > MAX_PACKETS:
            self._bytes -= packets.popleft()[2]

    @property
    def bitrate(self) -> int:
        """Bits/s that arrived; 0 if nothing is known."""
        packets = self._packets
        if len(packets) < 2:
            return 0
        arrived, sent = packets[-1][0] - packets[0][0], packets[-1][1] - packets[0][1]
        span = max(arrived, sent / MAX_COMPRESSION, MIN_SPAN)
        return int((self._bytes - packets[0][2]) * 8 / span)

    @property
    def sent_bitrate(self) -> int:
        """Bits/s at which those packets were sent; 0 if nothing is known."""
        packets = self._packets
        if len(packets) < 2:
            return 0
        span = max(packets[-1][1] - packets[0][1], MIN_SPAN)
        return int((self._bytes - packets[0][2]) * 8 / span)

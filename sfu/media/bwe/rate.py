"""The estimate itself: additive or multiplicative increase, multiplicative decrease.

After draft-ietf-rmcat-gcc-02 section 5.5, with two differences, both because a forwarder mostly sends less
than the line carries: the estimate does not grow beyond a multiple of what arrives (only a probe may raise
it further), and an overuse in which everything sent did arrive takes a share of the estimate, not of the
little that happened to be sent.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

from sfu.media.bwe.delay import Usage

MIN_BITRATE: Final = 50_000
"""Bits/s. Below that there is no video worth sending; audio and data are not held back by the estimate."""
MAX_BITRATE: Final = 50_000_000
"""Bits/s. Far above any layer."""
BACKOFF: Final = 0.85
"""Share of the acknowledged rate that is left after an overuse: what the queue drains with."""
UNUSED_BACKOFF: Final = 0.95
"""Share of the estimate that is left where much less is sent and all of it arrives: most likely jitter."""
GROWTH: Final = 1.08
"""Per second, while nothing is known of the line's limit."""
UNPROBED_SHARE: Final = 1.25
"""Times the acknowledged rate that the estimate may grow to by itself. Browsers take 1.5; here a layer is
chosen by it, and a probe is the better way to learn more."""
UNPROBED_EXTRA: Final = 10_000
"""Bits/s on top of that."""
DELIVERED_SHARE: Final = 0.9
"""Arrivals at this share of the sent rate or more: the line takes what is sent."""
USED_SHARE: Final = 0.8
"""Sending at this share of the estimate or more: what happens then says something of the line's limit."""
_PACKET_BITS: Final = 1200 * 8
_CAPACITY_SMOOTHING: Final = 0.05


class RateControl:
    """Holds the estimate between :data:`MIN_BITRATE` and :data:`MAX_BITRATE`."""

    def __init__(self, start_bitrate: int, now: float) -> None:
        self.bitrate = clamp(start_bitrate)
        """Bits/s."""
        self.decreased_at = -1e9
        """When the line last was too full."""
        self._updated = now
        self._capacity: float | None = None
        self._deviation = 0.4
        """Variance of the acknowledged rate at overuse over the capacity, in kbit/s as in the draft."""

    def set(self, bitrate: float) -> None:
        """The line was seen to carry ``bitrate`` bits/s, or not more."""
        self.bitrate = clamp(bitrate)

    def update(
        self, usage: Usage, acknowledged: int, sent: int, round_trip: float, now: float, *, hold: bool = False
    ) -> None:
        """Move the estimate. Rates in bits/s, 0 if unknown; times in seconds.

        ``hold`` keeps it from growing.
        """
        elapsed = min(max(now - self._updated, 0.0), 1.0)
        self._updated = now
        if usage is Usage.OVERUSE:
            wait = min(max(round_trip, 0.01), 0.2)
            if now - self.decreased_at >= wait or 0 < acknowledged < self.bitrate / 2 < sent:
                self.back_off(acknowledged, sent, now)
        elif usage is Usage.NORMAL and not hold and acknowledged:
            self._increase(acknowledged, round_trip, elapsed)

    def back_off(self, acknowledged: int, sent: int, now: float) -> None:
        """The line is too full: leave room for the queue to drain. Rates in bits/s, 0 if unknown."""
        used = sent >= USED_SHARE * self.bitrate
        delivered = acknowledged >= DELIVERED_SHARE * sent
        target = BACKOFF * (acknowledged or self.bitrate)
        if delivered:
            target = max(target, self.bitrate * (BACKOFF if used else UNUSED_BACKOFF))
        if used or not delivered:
            self._learn_capacity(acknowledged)
        self.decreased_at = now
        self.set(min(self.bitrate, target))

    def _increase(self, acknowledged: int, round_trip: float, elapsed: float) -> None:
        capacity = self._capacity
        margin = 3 * sqrt(self._deviation * (capacity or 0) / 1000) * 1000
        if capacity is not None and acknowledged > capacity + margin:
            capacity = self._capacity = None  # the line got wider
        if capacity is not None and acknowledged >= capacity - margin:
            grown = self.bitrate + max(4000.0, _PACKET_BITS / (round_trip + 0.1)) * elapsed
        else:
            grown = max(self.bitrate * GROWTH**elapsed, self.bitrate + 1000 * elapsed)
        limit = UNPROBED_SHARE * acknowledged + UNPROBED_EXTRA
        if grown > limit:
            grown = max(limit, self.bitrate)
        self.set(grown)

    def _learn_capacity(self, acknowledged: int) -> None:
        if not acknowledged:
            return
        if self._capacity is None or abs(acknowledged - self._capacity) > self._capacity / 2:
            self._capacity = acknowledged
            self._deviation = 0.4
            return
        error = acknowledged - self._capacity
        self._capacity += _CAPACITY_SMOOTHING * error
        relative = error * error / 1000 / max(self._capacity, 1)
        self._deviation += _CAPACITY_SMOOTHING * (relative - self._deviation)
        self._deviation = min(max(self._deviation, 0.4), 2.5)


def clamp(bitrate: float) -> int:
    """Between :data:`MIN_BITRATE` and :data:`MAX_BITRATE`."""
    return int(min(max(bitrate, MIN_BITRATE), MAX_BITRATE))

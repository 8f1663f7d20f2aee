"""The round-trip time of one path, smoothed, from all that tells it."""

from __future__ import annotations

from typing import Final

from sfu.rtp.rtcp.ntp import MAX_ROUND_TRIP

RISE: Final = 1 / 2
FALL: Final = 1 / 4
"""Weights of a new sample. There is one a second, not one a packet as in RFC 6298, so they are larger than
there; and to ask too early wastes a line that is short of room, to ask a little late costs little.
"""
REPORT_AGE: Final = 10.0
"""Seconds for which what reports say goes before what repairs suggest."""


class RoundTrip:
    """Reports measure the path; the time from a NACK to its repair also holds the host's pacer and encoder.

    So repairs count only while there are no reports: before the first, and with peers that write none.
    """

    __slots__ = ("_reported_at", "seconds")

    def __init__(self) -> None:
        self.seconds: float | None = None
        """Smoothed; None before the first sample."""
        self._reported_at = float("-inf")

    def on_report(self, sample: float | None, now: float) -> None:
        """Take what a report says (:func:`sfu.rtp.rtcp.round_trip_time`; None says nothing)."""
        if sample is None:
            return
        if now - self._reported_at > REPORT_AGE:
            self.seconds = None  # what repairs suggested, or another time's path
        self._reported_at = now
        self._take(sample)

    def on_repair(self, sample: float, now: float) -> None:
        """Take the seconds from the only request for a packet to its arrival."""
        if now - self._reported_at > REPORT_AGE and 0 <= sample <= MAX_ROUND_TRIP:
            self._take(sample)

    def _take(self, sample: float) -> None:
        if self.seconds is None:
            self.seconds = sample
        else:
            self.seconds += (sample - self.seconds) * (RISE if sample > self.seconds else FALL)

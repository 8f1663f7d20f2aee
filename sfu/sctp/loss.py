"""Loss found by time, where too few packets follow for three misses (after RACK and TLP, RFC 8985).

RFC 9260 has two ways to notice a loss. Three misses (7.2.4) take three later packets, which for inputs at 60
a second is 50 ms; and they count once to a chunk, so a retransmission that is lost waits for T3-rtx, a
quarter of a second. TCP's younger way fits SACKs as well: a chunk is lost if one that was *sent* later has
arrived, and a round trip and a reordering window have passed since it was sent. When nothing was sent later,
the newest chunk is sent again after two round trips of silence, so that its SACK tells.

This goes beyond RFC 9260, so it is applied where it cannot hurt the path: to *thin* flights, which fit the
least window that congestion control ever leaves, and to chunks that were fast-retransmitted already, which
then count as lost once more and halve the window once more.
"""

from __future__ import annotations

import math

from sfu.sctp.rto import RetransmissionTimeout

MAX_SPREAD = 3
"""Quarters of a round trip: the widest reordering window. It begins at one, and each round trip in which the
peer reports duplicates, which means that we were too hasty, adds one (RFC 8985 6.2, step 4)."""
QUIET_LOSSES = 16
"""Losses found without a duplicate after which the reordering window is a quarter of a round trip again."""
PROBE_ROUND_TRIPS = 2
"""Round trips of silence after which the newest chunk is sent again (RFC 8985 7.2)."""
MIN_PROBE_DELAY = 0.01
"""Seconds; the least delay of a probe."""


class LossDetection:
    """What is known about the newest chunk that arrived, and what follows for those sent before it.

    Times in seconds.
    """

    __slots__ = ("_min_rtt", "_quiet", "_rto", "_rtt", "_spread", "_widened_at", "newest")

    def __init__(self, rto: RetransmissionTimeout) -> None:
        self._rto = rto
        self.newest = 0
        """The place in the order of sending of the newest chunk that arrived."""
        self._rtt = 0.0
        self._min_rtt = math.inf
        self._spread = 1
        self._quiet = 0
        self._widened_at = -math.inf

    def delivered(self, order: int, sent_at: float, sent_count: int, now: float) -> None:
        """A chunk arrived that was last sent at ``sent_at`` as the ``order``-th of all transmissions."""
        rtt = now - sent_at
        if sent_count > 1:
            if rtt < self._min_rtt:
                return  # the answer to an earlier transmission of it
        elif rtt < self._min_rtt:
            self._min_rtt = rtt
        if order > self.newest:
            self.newest = order
            self._rtt = rtt

    def deadline(self, order: int, sent_at: float) -> float:
        """When a chunk in flight counts as lost; infinite while nothing sent after it has arrived."""
        if order >= self.newest:
            return math.inf
        return sent_at + self._rtt + self._spread * (self._rto.srtt or 0.0) / 4

    def found(self) -> None:
        """A loss was found by :meth:`deadline`."""
        self._quiet += 1
        if self._quiet >= QUIET_LOSSES:
            self._quiet = 0
            self._spread = 1

    def duplicates_reported(self, now: float) -> None:
        """A SACK says that chunks came twice: something was not lost, only late."""
        self._quiet = 0
        if now - self._widened_at >= (self._rto.srtt or 0.0):
            self._widened_at = now
            self._spread = min(self._spread + 1, MAX_SPREAD)

    def probe_delay(self) -> float:
        """From the last chunk sent to the probe; infinite before a round trip was measured."""
        srtt = self._rto.srtt
        return math.inf if srtt is None else max(PROBE_ROUND_TRIPS * srtt, MIN_PROBE_DELAY)

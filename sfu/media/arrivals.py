"""When packets of a host arrived, for transport-wide feedback to it.

A host's estimate is as fresh as its feedback. In steady state one every 50 ms is what libwebrtc sends itself
above 200 kbit/s; while a host finds its rate, each step of its search waits for the feedback on the last, so
there it is more frequent: as steps take a round trip too, less than :data:`STARTUP_INTERVAL` gains little.
"""

from __future__ import annotations

from typing import Final

from sfu.rtp.packet import SequenceUnwrapper
from sfu.rtp.rtcp import TransportFeedback, build_transport_feedback

FEEDBACK_INTERVAL: Final = 0.050
"""Seconds from the first arrival that is not told yet to the feedback on it;"""
STARTUP_INTERVAL: Final = 0.020
"""and for :data:`STARTUP_TIME` from the first packet, or the first after :data:`SILENCE`."""
STARTUP_TIME: Final = 5.0
SILENCE: Final = 1.0
"""Seconds without packets after which a host finds its rate anew."""
MAX_ARRIVALS: Final = 4096
"""Arrivals waiting for one feedback; far more than a host sends in an interval."""
TOLD_TIME: Final = 0.5
"""Seconds for which arrivals are kept once told: a late packet is told together with those behind it."""
MAX_TOLD: Final = 2048
RESTART_DISTANCE: Final = 1000
"""Numbers so far behind are no late packets: the host counts anew."""


class ArrivalLog:
    """Collects arrivals by transport-wide sequence number. Times are seconds on one clock."""

    def __init__(self) -> None:
        self.due: float | None = None
        """When feedback is to be sent; None while there is nothing to tell."""
        self._sequence = SequenceUnwrapper()
        self._arrivals: dict[int, float] = {}
        self._told: dict[int, float] = {}
        self._told_from = 0
        """What was told from this number on is still here."""
        self._next: int | None = None
        """One more than the highest number told."""
        self._count = 0
        self._latest = float("-inf")
        self._startup_until = 0.0

    def record(self, sequence_number: int, now: float) -> None:
        """A packet with this number (16 bits) came in."""
        if now - self._latest > SILENCE:
            self._startup_until = now + STARTUP_TIME
        self._latest = now
        extended = self._sequence.unwrap(sequence_number)
        if extended in self._told:
            return
        if len(self._arrivals) < MAX_ARRIVALS:
            self._arrivals.setdefault(extended, now)
        if self.due is None:
            self.due = now + (STARTUP_INTERVAL if now < self._startup_until else FEEDBACK_INTERVAL)

    def feedback(self, sender_ssrc: int, media_ssrc: int) -> list[TransportFeedback]:
        """Tell what came since the last time, and what did not.

        A packet that was told to be lost and came late is told again along with all behind it, so that no
        message calls lost what another has called received; unless it is too late for that.
        """
        self.due = None
        fresh, self._arrivals = self._arrivals, {}
        base = self._next
        if base is not None and max(fresh) < base - RESTART_DISTANCE:
            self._told.clear()
            self._told_from = 0
            base = None
        arrivals = fresh
        if base is not None and min(fresh) < base:
            fresh = {number: arrival for number, arrival in fresh.items() if number >= self._told_from}
            base = min(fresh, default=base)
            arrivals = {number: arrival for number, arrival in self._told.items() if number > base} | fresh
        if not fresh:
            return []
        messages = build_transport_feedback(sender_ssrc, media_ssrc, arrivals.items(), self._count, base=base)
        self._count = (self._count + len(messages)) & 0xFF
        self._next = max(arrivals) + 1
        self._remember(fresh)
        return messages

    def _remember(self, fresh: dict[int, float]) -> None:
        told = self._told
        told |= fresh
        horizon = self._latest - TOLD_TIME
        while told:
            number = next(iter(told))
            if told[number] > horizon and len(told) <= MAX_TOLD:
                break
            del told[number]
            self._told_from = max(self._told_from, number + 1)

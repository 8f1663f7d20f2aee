"""What was sent and is not reported on yet, and what a feedback message says of it.

Sending is the hot path: a drain is remembered as one record, and taken apart only when feedback reaches it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sfu.rtp.packet import SEQUENCE_MODULUS
from sfu.rtp.rtcp import TransportFeedback
from sfu.rtp.rtcp.transport_cc import TICK, TICKS_PER_REFERENCE

MAX_SENT_PACKETS: Final = 4096
"""Packets that wait for feedback; the oldest are forgotten first. Five seconds of 7 Mbit/s."""
MAX_SENT_AGE: Final = 5.0
"""Seconds after which nobody will report on a packet any more."""
OUTAGE_TIME: Final = 0.25
"""Seconds of sending that are lost without a gap: a line that is gone, not one that is full."""
OUTAGE_PACKETS: Final = 10
"""Packets that an outage takes at least: fewer may be the chance of random loss."""
_REFERENCE_MODULUS: Final = 1 << 24


class Arrival(NamedTuple):
    """A packet that arrived."""

    number: int
    """Transport-wide, unwrapped."""
    sent: float
    """Seconds, our clock."""
    arrived: float
    """Seconds, the receiver's clock, its wraps undone."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one feedback message says of packets that we did send."""

    arrivals: list[Arrival]
    """In the order of their numbers, each packet once in all reports."""
    lost: int
    """Packets that did not arrive, outages left out; below zero where some were reported lost before."""
    reported: int
    """Everything up to this number has been reported on."""


class SentPackets:
    """Bounded memory of what was sent."""

    def __init__(self) -> None:
        self._drains: deque[tuple[int, Sequence[int], float]] = deque()
        self._waiting_in_drains = 0
        self._sent: dict[int, tuple[float, int]] = {}
        """Number to (time, size) of drains taken apart, in the order of numbers."""
        self.bytes = 0
        """Sent so far."""
        self.newest: float | None = None
        """When the last packet was sent."""
        self._next: int | None = None
        self._reported = -1
        self._lost: set[int] = set()
        self._reference: int | None = None

    def __len__(self) -> int:
        return self._waiting_in_drains + len(self._sent)

    def append(self, first: int, sizes: Sequence[int], now: float) -> None:
        """Remember the packets of one drain, numbered from ``first`` on. ``sizes`` is kept, not copied."""
        self._drains.append((first, sizes, now))
        self.bytes += sum(sizes)
        self.newest = now
        count = len(sizes)
        if self._next is None:
            self._reported = first - 1
        self._next = first + count
        self._waiting_in_drains += count
        while self._waiting_in_drains > MAX_SENT_PACKETS:
            self._waiting_in_drains -= len(self._drains.popleft()[1])

    def forget(self, now: float) -> None:
        """Drop what is too old to be reported on."""
        horizon = now - MAX_SENT_AGE
        while self._drains and self._drains[0][2] < horizon:
            self._waiting_in_drains -= len(self._drains.popleft()[1])
        self._shrink(horizon)

    @property
    def oldest_unreported(self) -> float | None:
        """When the oldest packet after the last one reported on was sent."""
        if self._sent:
            last = next(reversed(self._sent))
            if last > self._reported:
                return self._sent[last][0]  # the rest of a drain: all of it left at one time
        return self._drains[0][2] if self._drains else None

    def on_feedback_untrusted(self, feedback: TransportFeedback) -> Report:
        """What the message says of packets we sent. Work is bounded by its length and by what we sent."""
        arrivals: list[Arrival] = []
        if self._next is None:
            return Report(arrivals, 0, self._reported)
        expected, last = self._reported + 1, self._next - 1
        # Reports are on the past only: the numbers are the newest that these 16 bits can mean.
        base = last - (last - feedback.base_sequence) % SEQUENCE_MODULUS
        end = min(base + feedback.status_count, self._next)
        self._take_apart(end)
        sent, lost = self._sent, self._lost
        recovered = 0
        ticks = self._unwrap_untrusted(feedback.reference_time) * TICKS_PER_REFERENCE
        for offset, delta in feedback.received:
            ticks += delta
            number = base + offset
            packet = sent.pop(number, None)
            if packet is not None:
                arrivals.append(Arrival(number, packet[0], ticks * TICK, packet[1]))
                if number in lost:
                    lost.discard(number)
                    recovered += 1
        newly_lost = 0
        if end > expected:
            newly_lost = self._count_lost(max(expected, base), end)
            self._reported = end - 1
        if sent:
            self._shrink(sent[next(reversed(sent))][0] - MAX_SENT_AGE)
        return Report(arrivals, newly_lost - recovered, self._reported)

    def _take_apart(self, end: int) -> None:
        sent, drains = self._sent, self._drains
        while drains and drains[0][0] < end:
            first, sizes, time = drains.popleft()
            self._waiting_in_drains -= len(sizes)
            for number, size in enumerate(sizes, first):
                sent[number] = (time, size)

    def _count_lost(self, begin: int, end: int) -> int:
        """Of the numbers from ``begin`` to ``end`` that are still there, without those of an outage."""
        sent = self._sent
        total = 0
        run: list[int] = []
        for number in range(max(begin, end - MAX_SENT_PACKETS), end + 1):
            if number in sent and number < end:
                run.append(number)
            elif run:
                lasted = sent[run[-1]][0] - sent[run[0]][0]
                if len(run) < OUTAGE_PACKETS or lasted < OUTAGE_TIME:
                    total += len(run)
                    self._lost.update(run)
                run = []
        return total

    def _shrink(self, horizon: float) -> None:
        sent = self._sent
        while sent:
            oldest = next(iter(sent))
            if sent[oldest][0] >= horizon and len(sent) <= MAX_SENT_PACKETS:
                break
            del sent[oldest]
            self._lost.discard(oldest)

    def _unwrap_untrusted(self, reference: int) -> int:
        """The reference time is 24 bits and wraps every 12 days: take the value nearest to the last."""
        if self._reference is not None:
            half = _REFERENCE_MODULUS // 2
            reference = self._reference + (reference - self._reference + half) % _REFERENCE_MODULUS - half
        self._reference = reference
        return reference

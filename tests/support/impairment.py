"""What a line does to datagrams: loss, bursts of it, duplication, delay, jitter, a narrow place, outages.

The relay of the browser tests (tests/browser/line.mjs) does the same, with the same names and units.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BurstLoss:
    """Gilbert-Elliott: a line that is good or bad, and changes between the two with every datagram."""

    enter: float
    """Probability, per datagram, that a good line becomes bad."""
    leave: float
    """Probability, per datagram, that a bad line becomes good: one by the mean length of a burst."""
    loss: float = 1.0
    """Share of datagrams that a bad line loses; a good one loses :attr:`Impairment.loss`."""


@dataclass(frozen=True, slots=True)
class Impairment:
    """What happens to a datagram on its way. Times are seconds, shares and probabilities from 0 to 1."""

    loss: float = 0.0
    burst: BurstLoss | None = None
    duplication: float = 0.0
    delay: float = 0.010
    jitter: float = 0.0
    """Up to this much more delay, evenly spread."""
    reorder: bool = True
    """Datagrams may overtake one another; otherwise jitter keeps them in order."""
    rate: float | None = None
    """Bits per second of UDP payload that the narrowest place lets through; None: any."""
    queue: float = 0.2
    """The longest wait before the narrowest place; a datagram that would wait longer is dropped."""
    outages: tuple[tuple[float, float], ...] = ()
    """Nothing comes through from, until: seconds since the impairment took effect."""

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Impairment:
        """Of a table of scenarios. Raises :class:`TypeError` for a name that is none of ours."""
        burst = fields.get("burst")
        outages = tuple((start, end) for start, end in fields.get("outages", ()))
        return cls(**{**fields, "burst": BurstLoss(**burst) if burst else None, "outages": outages})


class Line:
    """One direction of a path, with its memory."""

    def __init__(self, impairment: Impairment, chance: random.Random, now: float) -> None:
        self.impairment = impairment
        self._chance = chance
        self._since = now
        self._bad = False
        self._free_at = now
        """When the narrow place is done with all that waits."""
        self._last_arrival = now

    def arrivals(self, size: int, now: float) -> list[float]:
        """When a datagram of ``size`` bytes that is sent now arrives: not at all, once, or twice."""
        impairment, elapsed = self.impairment, now - self._since
        if any(start <= elapsed < end for start, end in impairment.outages):
            return []
        copies = 2 if self._chance.random() < impairment.duplication else 1
        arrivals = []
        for _ in range(copies):
            if self._loses():
                continue
            waiting = self._wait(size, now)
            if waiting is None:
                continue
            arrival = now + waiting + impairment.delay + self._chance.random() * impairment.jitter
            if not impairment.reorder:
                arrival = self._last_arrival = max(arrival, self._last_arrival)
            arrivals.append(arrival)
        return arrivals

    def _loses(self) -> bool:
        burst = self.impairment.burst
        if burst is not None:
            if self._chance.random() < (burst.leave if self._bad else burst.enter):
                self._bad = not self._bad
            if self._bad:
                return self._chance.random() < burst.loss
        return self._chance.random() < self.impairment.loss

    def _wait(self, size: int, now: float) -> float | None:
        """Seconds until the datagram is through the narrow place. None: its queue is full."""
        rate = self.impairment.rate
        if rate is None:
            return 0.0
        begins = max(now, self._free_at)
        if begins - now > self.impairment.queue:
            return None
        self._free_at = begins + size * 8 / rate
        return self._free_at - now


PLAIN = Impairment()
"""What a network is like that nobody impaired: 10 ms each way."""

"""What one viewer may have repeated (RFC 4585 6.2.1, RFC 4588).

Repairs come on top of what the line already cannot carry, so they are held to a share of what is sent; and a
request that crosses its own answer on the way is not answered again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

REPAIR_SHARE: Final = 0.25
"""Repairs for each packet sent, in the long run: enough for a loss of one in five, each repair included;"""
REPAIR_BURST: Final = 150.0
"""and as many at once, from the beginning or after a while without loss."""
ASSUMED_ROUND_TRIP: Final = 0.025
"""Seconds, until it is measured."""
REPEAT_MARGIN: Final = 0.8
"""Of the round trip, in which a repeated request is taken to have crossed the answer: viewers measure their
own round trip and repeat after that, so all of it would refuse some that are in earnest."""
MAX_REPEAT_TIME: Final = 0.2
"""Seconds; longer is worse to wait for than a packet sent twice."""
MAX_ANSWERED: Final = 512
"""Packets whose last repair is remembered."""


class RepairBudget:
    """Of one consumer. Times are seconds on one clock."""

    __slots__ = ("_answered", "_packets", "_tokens")

    def __init__(self) -> None:
        self._tokens = REPAIR_BURST
        self._packets = 0
        self._answered: dict[int, float] = {}

    def allow(self, lost: Iterable[int], packets: int, round_trip: float | None, now: float) -> list[int]:
        """Those of the sequence numbers (16 bits) asked for that are to be repeated now.

        ``packets`` is how many the consumer has been sent in all. What is refused is not even looked at, so
        the work is bounded as well.
        """
        self._tokens = min(REPAIR_BURST, self._tokens + (packets - self._packets) * REPAIR_SHARE)
        self._packets = packets
        if round_trip is None:
            round_trip = ASSUMED_ROUND_TRIP
        crossed = now - min(round_trip * REPEAT_MARGIN, MAX_REPEAT_TIME)
        answered = self._answered
        allowed: list[int] = []
        for number in lost:
            if self._tokens < 1:
                break
            if answered.get(number, crossed) > crossed:
                continue
            self._tokens -= 1
            answered.pop(number, None)
            answered[number] = now
            allowed.append(number)
        while len(answered) > MAX_ANSWERED:
            del answered[next(iter(answered))]
        return allowed

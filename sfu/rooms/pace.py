"""When to speak: a queue of deadlines, and a brake for messages that repeat what was said before."""

from __future__ import annotations

import heapq
import math
from enum import Enum, auto
from typing import NamedTuple


class Timer(Enum):
    """What a deadline is for."""

    GRACE = auto()
    """A member whose socket is lost goes for good."""
    OLD_MEDIA = auto()
    """Media that a member left behind on an earlier socket closes."""
    USERS = auto()
    """``users-updated`` that was held back goes out."""
    ROOMS = auto()
    """``rooms-updated`` that was held back goes out."""
    FRESH = auto()
    """A room made over HTTP that nobody plays in leaves the list."""
    CREATOR = auto()
    """A room made over HTTP waits no longer for its creator."""
    RESERVATION = auto()
    """A seat is no longer held."""
    BARRIER = auto()
    """Players who have not reached the first frame are waited for no longer."""


class Due(NamedTuple):
    """One deadline's name. Fields that a kind does not need stay empty."""

    timer: Timer
    room_id: str = ""
    userid: str = ""
    socket_id: str = ""


_SLACK = 64


class Deadlines:
    """At most one deadline per name, the earliest first; equal times in the order in which they were set."""

    def __init__(self) -> None:
        self._when: dict[Due, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, Due]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._when)

    def set(self, due: Due, when: float) -> None:
        self._serial += 1
        self._when[due] = (when, self._serial)
        heapq.heappush(self._heap, (when, self._serial, due))
        if len(self._heap) > 2 * len(self._when) + _SLACK:  # stale entries stay a bounded share
            self._heap = [(at, serial, name) for name, (at, serial) in self._when.items()]
            heapq.heapify(self._heap)

    def clear(self, due: Due) -> None:
        """Forget a deadline; nothing happens if it is not set."""
        self._when.pop(due, None)

    def when(self, due: Due) -> float | None:
        entry = self._when.get(due)
        return entry[0] if entry is not None else None

    def next(self) -> float | None:
        while self._heap:
            when, serial, due = self._heap[0]
            if self._when.get(due) == (when, serial):
                return when
            heapq.heappop(self._heap)
        return None

    def pop(self, now: float) -> Due | None:
        """Take the earliest deadline that is not after ``now``."""
        when = self.next()
        if when is None or when > now:
            return None
        due = heapq.heappop(self._heap)[2]
        del self._when[due]
        return due


MAX_INTERVAL = 10.0
"""Seconds between two messages at most, whatever they cost."""


class Pace:
    """At most one message per ``interval`` seconds: the first at once, what follows at the interval's end."""

    __slots__ = ("_last", "_least", "interval")

    def __init__(self, interval: float) -> None:
        self.interval = self._least = interval
        self._last = -math.inf

    def stretch(self, interval: float) -> None:
        """Speak less often if messages have become costly; never more often than at first."""
        self.interval = min(max(interval, self._least), MAX_INTERVAL)

    def ask(self, now: float) -> float | None:
        """None: speak now (this counts as having spoken). Otherwise the time at which to speak."""
        if now >= self._last + self.interval:
            self._last = now
            return None
        return self._last + self.interval

    def spoke(self, now: float) -> None:
        self._last = now

"""What a producer stream misses, and when to ask for it (RFC 4585 6.2.1).

A packet is asked for once it is too late to be merely out of order: when packets of this path have never been
so late, or so many places behind. It is asked for again when the answer should have come, and given up when
the picture it belongs to is worth less than a new one. Requests are held to a budget: a burst of losses is a
line that cannot take all of it again at once.
"""

from __future__ import annotations

from typing import Final

MAX_MISSING: Final = 1000
"""Packets that one stream may miss; beyond that only a key frame helps."""
MAX_GAP: Final = 200
"""Packets missing in a row that are asked for: more cost the line more than a key frame does."""
LONG_GAP: Final = 20
"""Packets missing in a row after :data:`MIN_WORTH` of silence that a key frame replaces sooner."""
MAX_RETRIES: Final = 10
MIN_REORDER_DELAY: Final = 0.010
"""Seconds that a missing packet gets to turn up by itself on a path that keeps order."""
MAX_REORDER_DELAY: Final = 0.100
MIN_REORDER_COUNT: Final = 3
"""Newer packets that come before a missing one is asked for, on a path that keeps order (RFC 5681 3.2)."""
MAX_REORDER_COUNT: Final = 100
REORDER_MARGIN: Final = 1.25
"""To what was seen of reordering."""
REORDER_DECAY: Final = 0.95
"""What is left of that after every report: about half in 15 s."""
ASSUMED_ROUND_TRIP: Final = 0.040
"""Seconds, until it is measured."""
RETRY_MARGIN: Final = 1.25
"""To the round trip, before a packet is asked for again;"""
RETRY_DELAY: Final = 0.010
"""and seconds besides: hosts pace repairs."""
MAX_RETRY_INTERVAL: Final = 0.5
MIN_WORTH: Final = 0.5
"""Seconds after which a missing packet is given up: a key frame would have come by then;"""
MAX_WORTH: Final = 1.5
"""or later where the round trip leaves time for fewer than :data:`WORTH_RETRIES` requests before that."""
WORTH_RETRIES: Final = 3
REQUEST_RATE: Final = 500.0
"""Packets per second that one stream asks for: 5 Mbit/s of repairs;"""
REQUEST_BURST: Final = 100.0
"""with as many at once, and"""
REQUEST_INTERVAL: Final = 0.020
"""seconds between requests once those are spent, so that each of them is for a few."""


class _Missing:
    __slots__ = ("asked_at", "came", "first_asked_at", "retries", "since")

    def __init__(self, since: float, came: int) -> None:
        self.since = since
        self.came = came
        self.first_asked_at = 0.0
        self.asked_at = 0.0
        self.retries = 0


class MissingPackets:
    """The holes of one stream, by extended sequence number. Times are seconds on one clock; ``came`` is
    how many packets of the stream have come in all, the present one included.

    Two queues, each in the order in which it falls due, so that nobody searches: what was never asked for, in
    the order of its numbers, and what was, in the order of the requests.
    """

    def __init__(self) -> None:
        self._new: dict[int, _Missing] = {}
        self._asked: dict[int, _Missing] = {}
        self._reorder_delay = 0.0
        self._reorder_count = 0.0
        self._retry_interval = 0.0
        self._worth = MIN_WORTH
        self.round_trip = ASSUMED_ROUND_TRIP
        self._measured = False
        self._tokens = REQUEST_BURST
        self._tokens_at = 0.0
        self.repair_time: float | None = None
        """Seconds from the first request for the latest packet to its answer, if it tells the round trip."""

    def __len__(self) -> int:
        return len(self._new) + len(self._asked)

    @property
    def round_trip(self) -> float:
        """Seconds to the host and back, as far as they are known."""
        return self._round_trip

    @round_trip.setter
    def round_trip(self, seconds: float) -> None:
        self._round_trip = seconds
        self._measured = True
        self._retry_interval = min(seconds * RETRY_MARGIN + RETRY_DELAY, MAX_RETRY_INTERVAL)
        self._worth = min(max(MIN_WORTH, WORTH_RETRIES * self._retry_interval), MAX_WORTH)

    @property
    def reorder_delay(self) -> float:
        """Seconds that a missing packet gets to turn up by itself."""
        return min(max(self._reorder_delay * REORDER_MARGIN, MIN_REORDER_DELAY), MAX_REORDER_DELAY)

    @property
    def reorder_count(self) -> float:
        """Newer packets that may come before it is asked for."""
        return min(max(self._reorder_count * REORDER_MARGIN, MIN_REORDER_COUNT), MAX_REORDER_COUNT)

    # ------------------------------------------------------------------- input

    def on_gap(self, highest: int, extended: int, silence: float, came: int, now: float) -> bool:
        """A packet left a gap behind ``highest``, the newest before, after ``silence`` seconds without any.

        True if so much is missing that only a key frame helps.
        """
        gap = extended - highest - 1
        if (
            gap > MAX_GAP
            or len(self) + gap > MAX_MISSING
            or (gap > LONG_GAP and silence > MIN_WORTH)  # it took so long to send: it would again
        ):
            self.clear()
            return True
        for number in range(highest + 1, extended):
            self._new[number] = _Missing(now, came - 1)
        return False

    def on_older(self, extended: int, came: int, now: float, *, repaired: bool) -> None:
        """A packet came that is not the newest; ``repaired``: as the answer to a request."""
        missing = self._new.pop(extended, None)
        if missing is None:
            missing = self._asked.pop(extended, None)
            if missing is None:
                return
            if repaired:
                # Which of several requests was answered, nobody can tell. But on a path longer than assumed
                # all are asked for more than once, so before the first measurement an upper bound will do.
                if missing.retries == 1 or not self._measured:
                    self.repair_time = now - missing.first_asked_at
                return
            if now - missing.asked_at > self._round_trip / 2:
                return  # may well be a repair, from a host without RTX
        self._reorder_delay = max(self._reorder_delay, now - missing.since)
        self._reorder_count = max(self._reorder_count, came - missing.came - 1)

    def on_keyframe(self, extended: int) -> None:
        """A decoder starts anew here: nothing older is needed."""
        for queue in (self._new, self._asked):
            for number in [n for n in queue if n < extended]:
                del queue[number]

    def on_report(self) -> None:
        """A second or so has passed: forget a little of what was seen of reordering."""
        self._reorder_delay *= REORDER_DECAY
        self._reorder_count *= REORDER_DECAY

    def clear(self) -> None:
        """Ask for nothing of what is missing now."""
        self._new.clear()
        self._asked.clear()

    # ------------------------------------------------------------------ output

    def due(self, came: int, now: float) -> tuple[list[int], bool]:
        """Sequence numbers (16 bits) to ask for now, and whether something was given up for good.

        Then all that was missing is forgotten: without a key frame none of it can be shown.
        """
        if not self._new and not self._asked:
            return [], False
        if now >= self._tokens_at + REQUEST_INTERVAL:
            self._tokens = min(REQUEST_BURST, self._tokens + (now - self._tokens_at) * REQUEST_RATE)
            self._tokens_at = now
        due: list[int] = []
        while self._asked:
            number, missing = next(iter(self._asked.items()))
            if missing.asked_at + self._retry_interval > now:
                break
            if missing.retries >= MAX_RETRIES or now - missing.since > self._worth:
                self.clear()
                return [], True
            if self._tokens < 1:
                break
            del self._asked[number]
            self._ask(number, missing, now, due)
        delay, before = self.reorder_delay, came - self.reorder_count
        while self._new:
            number, missing = next(iter(self._new.items()))
            if missing.since + delay > now and missing.came > before:
                break
            if now - missing.since > self._worth:
                self.clear()
                return [], True
            if self._tokens < 1:
                break
            del self._new[number]
            self._ask(number, missing, now, due)
        return due, False

    def _ask(self, number: int, missing: _Missing, now: float, due: list[int]) -> None:
        self._tokens -= 1
        if not missing.retries:
            missing.first_asked_at = now
        missing.retries += 1
        missing.asked_at = now
        self._asked[number] = missing
        due.append(number & 0xFFFF)

    def get_timer(self) -> float | None:
        """When :meth:`due` has something next, if no packet comes before."""
        if not self._new and not self._asked:
            return None
        timers = []
        if self._new:
            timers.append(next(iter(self._new.values())).since + self.reorder_delay)
        if self._asked:
            timers.append(next(iter(self._asked.values())).asked_at + self._retry_interval)
        if self._tokens >= 1:
            return min(timers)
        return max(min(timers), self._tokens_at + REQUEST_INTERVAL)

"""The receiving side of a producer stream: statistics, and what is missing (RFC 3550 A.3, A.8; RFC 4585).

Fed by digests, one per packet. Knows nothing of keys or addresses.
"""

from __future__ import annotations

from typing import Final

MAX_MISSING: Final = 1000
"""Packets that one stream may miss; beyond that only a key frame helps."""
MAX_GAP: Final = 1000
"""A jump in sequence numbers larger than this is a new start, not a loss."""
MAX_RETRIES: Final = 10
REORDER_DELAY: Final = 0.010
"""Seconds that a missing packet gets to turn up by itself before it is asked for."""
RETRY_INTERVAL: Final = 0.060
"""Seconds between requests for one packet: a round trip to most hosts and a little more."""
MAX_MISSING_AGE: Final = 1.5
"""Seconds after which a missing packet is no longer worth anything."""


class _Missing:
    __slots__ = ("due", "retries", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        self.due = now + REORDER_DELAY
        self.retries = 0


class StreamReceiver:
    """Counts one SSRC and asks for what it misses."""

    def __init__(self, clock_rate: int, *, wants_repair: bool) -> None:
        self._clock_rate = clock_rate
        self._wants_repair = wants_repair
        self._base: int | None = None
        self.highest = 0
        """Highest extended sequence number."""
        self.received = 0
        """Packets, repairs included."""
        self.fraction_lost = 0.0
        """Of the packets of the last interval between two reports, 0 to 1."""
        self.score = 0
        """10: all packets of that interval came; 0: none did."""
        self._expected_prior = 0
        self._received_prior = 0
        self._transit: float | None = None
        self.jitter = 0.0
        """Interarrival jitter in timestamp units (RFC 3550 6.4.1)."""
        self._missing: dict[int, _Missing] = {}

    def on_packet(self, extended: int, timestamp: int, now: float, *, repaired: bool) -> bool:
        """Account for one packet. True if so much is lost that only a key frame helps."""
        self.received += 1
        if self._base is None:
            self._base = self.highest = extended
        elif extended > self.highest:
            gap = extended - self.highest - 1
            lost_track = False
            if gap and self._wants_repair:
                if gap > MAX_GAP or len(self._missing) + gap > MAX_MISSING:
                    self._missing.clear()
                    lost_track = True
                else:
                    for number in range(self.highest + 1, extended):
                        self._missing[number] = _Missing(now)
            self.highest = extended
            if lost_track:
                return True
        else:
            self._missing.pop(extended, None)
        if not repaired:
            self._measure_jitter(timestamp, now)
        return False

    def _measure_jitter(self, timestamp: int, now: float) -> None:
        transit = now * self._clock_rate - timestamp
        if self._transit is not None:
            # Timestamps wrap at 32 bits: take the nearest difference.
            difference = (transit - self._transit + 2**31) % 2**32 - 2**31
            self.jitter += (abs(difference) - self.jitter) / 16
        self._transit = transit

    def on_keyframe(self, extended: int) -> None:
        """A decoder starts anew here: nothing older is needed."""
        for number in [n for n in self._missing if n < extended]:
            del self._missing[number]

    def due_nacks(self, now: float) -> tuple[list[int], bool]:
        """Sequence numbers (16 bits) to ask for now, and whether a packet was given up for good."""
        due = []
        given_up = []
        for number, missing in self._missing.items():
            if missing.due > now:
                continue
            if missing.retries >= MAX_RETRIES or now - missing.since > MAX_MISSING_AGE:
                given_up.append(number)
                continue
            missing.retries += 1
            missing.due = now + RETRY_INTERVAL
            due.append(number & 0xFFFF)
        for number in given_up:
            del self._missing[number]
        return due, bool(given_up)

    def get_timer(self) -> float | None:
        """When the next request is due."""
        if not self._missing:
            return None
        return min(m.due for m in self._missing.values())

    @property
    def _expected(self) -> int:
        return self.highest - self._base + 1 if self._base is not None else 0

    @property
    def lost(self) -> int:
        """Packets that never came; below zero where some came twice."""
        return self._expected - self.received

    def report(self) -> tuple[int, int, int]:
        """Fraction lost since the last report (8 bits), packets lost in all (24 bits, signed), and the
        highest sequence number with its cycles (32 bits).
        """
        expected = self._expected
        expected_interval = expected - self._expected_prior
        lost_interval = expected_interval - (self.received - self._received_prior)
        self._expected_prior = expected
        self._received_prior = self.received
        fraction = 0
        if expected_interval > 0 and lost_interval > 0:
            fraction = min(255, (lost_interval << 8) // expected_interval)
        self.fraction_lost = fraction / 256
        self.score = 10 - round(10 * self.fraction_lost) if expected_interval > 0 else 0
        return fraction, max(-0x800000, min(0x7FFFFF, self.lost)), self.highest & 0xFFFFFFFF


class KeyframeRequester:
    """When to ask a producer for a key frame (one request under way at a time).

    A new consumer's request goes out at once unless one is under way; those that viewers' PLI and FIR cause
    are held to one a second. A request is under way until a key frame arrives; until then it is repeated
    every :data:`ANSWER_TIME`.
    """

    ANSWER_TIME: Final = 0.5
    """Seconds that a host gets to answer before it is asked again."""
    VIEWER_INTERVAL: Final = 1.0
    """Seconds between requests that viewers' PLI or FIR may cause."""
    MAX_ATTEMPTS: Final = 20

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._attempts = 0
        self._viewer_asked_at = float("-inf")

    def request(self, now: float) -> bool:
        """A consumer starts. True: send a PLI now."""
        if self._asked_at is not None:
            return False
        return self._ask(now)

    def request_by_viewer(self, now: float) -> bool:
        """A viewer sent PLI or FIR. True: send a PLI now."""
        if self._asked_at is not None or now - self._viewer_asked_at < self.VIEWER_INTERVAL:
            return False
        self._viewer_asked_at = now
        return self._ask(now)

    def _ask(self, now: float) -> bool:
        self._asked_at = now
        self._attempts = 1
        return True

    def on_keyframe(self) -> None:
        """A key frame began to arrive: the request is answered."""
        self._asked_at = None

    def get_timer(self) -> float | None:
        return None if self._asked_at is None else self._asked_at + self.ANSWER_TIME

    def handle_timer(self, now: float) -> bool:
        """True: repeat the PLI now."""
        if self._asked_at is None or now < self._asked_at + self.ANSWER_TIME:
            return False
        if self._attempts >= self.MAX_ATTEMPTS:
            self._asked_at = None  # the host sends nothing; the next consumer or PLI tries again
            return False
        self._attempts += 1
        self._asked_at = now
        return True

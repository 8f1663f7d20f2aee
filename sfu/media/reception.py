"""The receiving side of a producer stream: statistics, and what is missing (RFC 3550 A.3, A.8; RFC 4585).

Fed by digests, one per packet. Knows nothing of keys or addresses.
"""

from __future__ import annotations

from typing import Final

from sfu.media.missing import MissingPackets


class StreamReceiver:
    """Counts one SSRC and asks for what it misses."""

    def __init__(self, clock_rate: int, *, wants_repair: bool) -> None:
        self._clock_rate = clock_rate
        self._base: int | None = None
        self.missing = MissingPackets() if wants_repair else None
        """What is missing; None if this host repairs nothing."""
        self.highest = 0
        """Highest extended sequence number."""
        self.received = 0
        """Packets, repairs included."""
        self.repaired = 0
        """Packets that came as repairs."""
        self.expected_interval = 0
        """Packets that should have come between the last two reports."""
        self.lost_interval = 0
        """How many of them the network lost, repaired or not; below zero where some came late."""
        self.fraction_lost = 0.0
        """The share of that, 0 to 1."""
        self.score = 0
        """10: all packets of that interval came, if only as repairs; 0: none did."""
        self._expected_prior = 0
        self._received_prior = 0
        self._repaired_prior = 0
        self._transit: float | None = None
        self._arrival = 0.0
        self.jitter = 0.0
        """Interarrival jitter in timestamp units (RFC 3550 6.4.1)."""

    def on_packet(self, extended: int, timestamp: int, now: float, *, repaired: bool) -> bool:
        """Account for one packet. True if so much is lost that only a key frame helps."""
        self.received += 1
        lost_track = False
        missing = self.missing
        if self._base is None:
            self._base = self.highest = extended
        elif extended > self.highest:
            if missing is not None and extended > self.highest + 1:
                silence = now - self._arrival
                lost_track = missing.on_gap(self.highest, extended, silence, self.received, now)
            self.highest = extended
        elif missing is not None:
            missing.on_older(extended, self.received, now, repaired=repaired)
        self._arrival = now
        if repaired:
            self.repaired += 1
        else:
            self._measure_jitter(timestamp, now)
        return lost_track

    def _measure_jitter(self, timestamp: int, now: float) -> None:
        transit = now * self._clock_rate - timestamp
        if self._transit is not None:
            # Timestamps wrap at 32 bits: take the nearest difference.
            difference = (transit - self._transit + 2**31) % 2**32 - 2**31
            self.jitter += (abs(difference) - self.jitter) / 16
        self._transit = transit

    def on_keyframe(self, extended: int) -> None:
        """A decoder starts anew here: nothing older is needed."""
        if self.missing is not None:
            self.missing.on_keyframe(extended)

    def due_nacks(self, now: float) -> tuple[list[int], bool]:
        """Sequence numbers (16 bits) to ask for now, and whether something was given up for good."""
        return self.missing.due(self.received, now) if self.missing is not None else ([], False)

    def get_timer(self) -> float | None:
        """When the next request is due."""
        return self.missing.get_timer() if self.missing is not None else None

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

        Repairs make up for nothing here: the host is to learn what its line loses (RFC 4588 leaves them to an
        SSRC of their own).
        """
        expected = self._expected
        self.expected_interval = expected - self._expected_prior
        unrepaired = self.expected_interval - (self.received - self._received_prior)
        self.lost_interval = unrepaired + self.repaired - self._repaired_prior
        self._expected_prior = expected
        self._received_prior = self.received
        self._repaired_prior = self.repaired
        fraction = self.score = 0
        if self.expected_interval > 0:
            fraction = min(255, max(0, self.lost_interval << 8) // self.expected_interval)
            self.score = 10 - round(10 * max(0, unrepaired) / self.expected_interval)
        self.fraction_lost = fraction / 256
        if self.missing is not None:
            self.missing.on_report()
        lost = self.lost + self.repaired
        return fraction, max(-0x800000, min(0x7FFFFF, lost)), self.highest & 0xFFFFFFFF


class KeyframeRequester:
    """When to ask a producer for a key frame (one request under way at a time).

    A new consumer's request goes out at once unless one is under way; those that viewers' PLI and FIR cause
    are held to one a second. A request is under way until a key frame arrives; until then it is repeated
    every :data:`ANSWER_TIME`.
    """

    ANSWER_TIME: Final = 0.5
    """Seconds that a host gets to answer before it is asked again; or twice the round trip, if longer."""
    ANEW_TIME: Final = 0.1
    """Seconds after which a request may have been lost in an outage."""
    VIEWER_INTERVAL: Final = 1.0
    """Seconds between requests that viewers' PLI or FIR may cause."""
    MAX_ATTEMPTS: Final = 20

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._attempts = 0
        self._viewer_asked_at = float("-inf")
        self.round_trip = 0.0
        """Seconds to the host and back, as far as they are known."""

    def request(self, now: float, *, anew: bool = False) -> bool:
        """A consumer starts, or packets are lost for good. True: send a PLI now.

        ``anew``: the line was interrupted, and with it a request under way unless that is younger than
        :data:`ANEW_TIME`.
        """
        if self._asked_at is not None and not (anew and now - self._asked_at >= self.ANEW_TIME):
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
        if self._asked_at is None:
            return None
        return self._asked_at + max(self.ANSWER_TIME, 2 * self.round_trip)

    def handle_timer(self, now: float) -> bool:
        """True: repeat the PLI now."""
        due = self.get_timer()
        if due is None or now < due:
            return False
        if self._attempts >= self.MAX_ATTEMPTS:
            self._asked_at = None  # the host sends nothing; the next consumer or PLI tries again
            return False
        self._attempts += 1
        self._asked_at = now
        return True

"""The receiving half alone: what is acknowledged, when, and what is dropped at a cap."""

from __future__ import annotations

import math
import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.sctp.causes import CauseCode
from sfu.sctp.chunks import (
    FLAG_BEGIN,
    FLAG_IMMEDIATE,
    FLAG_UNORDERED,
    FLAG_WHOLE,
    DataChunk,
    ForwardTsnChunk,
    SackChunk,
)
from sfu.sctp.events import Event, MessageReceived
from sfu.sctp.inbound import (
    MAX_DUPLICATES,
    MAX_INVALID_STREAM_REPORTS,
    MAX_RANGES,
    MAX_TSN_AHEAD,
    MIN_SACK_ROOM,
    OVERRUN_FACTOR,
    SACK_DELAY,
    Inbound,
)
from sfu.sctp.reassembly import CHUNK_OVERHEAD

TSN = 0xFFFF_FFF0
WINDOW = 100_000


class Receiver:
    """An inbound half; TSNs are counted from its first."""

    def __init__(self, window: int = WINDOW, streams: int = 10, limit: int = 50_000) -> None:
        self.events: deque[Event] = deque()
        self.half = Inbound(TSN, streams, window, limit, self.events)

    def data(
        self,
        *numbers: int,
        size: int = 10,
        flags: int = FLAG_WHOLE | FLAG_UNORDERED,
        stream: int = 0,
        ssn: int = 0,
        now: float = 0.0,
    ) -> None:
        """One packet with some chunks."""
        for number in numbers:
            self.half.receive(DataChunk(TSN + number & 0xFFFF_FFFF, stream, ssn, 53, flags, bytes(size)))
        self.half.packet_done(now)

    def sack(self, room: int = 1000) -> SackChunk:
        """The SACK, with the cumulative TSN counted from the first."""
        data = self.half.sack(room)
        assert len(data) <= room
        assert len(data) == int.from_bytes(data[2:4], "big")
        chunk = SackChunk.parse_untrusted(data[4:])
        return chunk._replace(cumulative_tsn=chunk.cumulative_tsn - TSN & 0xFFFF_FFFF)

    def due(self) -> bool:
        """Whether a SACK goes with the next packet."""
        return self.half.sack_now

    def drain(self) -> int:
        count = 0
        while self.events:
            event = self.events.popleft()
            assert isinstance(event, MessageReceived)
            self.half.release(event)
            count += 1
        return count


def test_every_second_packet_is_acknowledged_at_once_and_a_single_one_soon() -> None:
    receiver = Receiver()
    receiver.data(0, now=5.0)
    assert not receiver.due()
    assert receiver.half.sack_at == 5.0 + SACK_DELAY
    receiver.data(1, now=5.01)
    assert receiver.due()
    assert receiver.sack() == SackChunk(1, WINDOW - 2 * (10 + CHUNK_OVERHEAD))
    assert (receiver.due(), receiver.half.sack_at) == (False, math.inf)


@pytest.mark.parametrize("case", ["gap", "duplicate", "immediate"])
def test_what_is_acknowledged_at_once(case: str) -> None:
    receiver = Receiver()
    receiver.data(0)
    receiver.sack()
    if case == "gap":
        receiver.data(2)
    elif case == "duplicate":
        receiver.data(0)
    else:
        receiver.data(1, flags=FLAG_WHOLE | FLAG_IMMEDIATE | FLAG_UNORDERED)
    assert receiver.due()


def test_closing_a_gap_is_acknowledged_at_once() -> None:
    receiver = Receiver()
    receiver.data(0, 2)
    receiver.sack()
    receiver.data(1)
    assert receiver.due()
    assert receiver.sack().cumulative_tsn == 2


def test_gap_blocks_and_duplicates() -> None:
    receiver = Receiver()
    receiver.data(0, 2, 3, 5, 3, 9, 0)
    sack = receiver.sack()
    assert sack.cumulative_tsn == 0
    assert sack.gaps == ((2, 3), (5, 5), (9, 9))
    assert sack.duplicates == (TSN + 3, TSN)
    assert receiver.sack().duplicates == (), "reported once"


@given(st.lists(st.integers(0, 60), max_size=80), st.randoms(use_true_random=False))
def test_ranges_are_what_arrived(numbers: list[int], order: random.Random) -> None:
    receiver = Receiver()
    order.shuffle(numbers)
    for number in numbers:
        receiver.data(number)
    arrived = set(numbers)
    cumulative = next(n for n in range(len(arrived) + 1) if n not in arrived) - 1
    sack = receiver.sack()
    assert sack.cumulative_tsn == cumulative & 0xFFFF_FFFF
    covered = {cumulative + offset for first, last in sack.gaps for offset in range(first, last + 1)}
    assert covered == {n for n in arrived if n > cumulative}
    ends = [number for pair in sack.gaps for number in pair]
    assert ends == sorted(ends)
    assert all(b[0] > a[1] + 1 for a, b in zip(sack.gaps, sack.gaps[1:], strict=False)), "apart"
    assert receiver.drain() == len(arrived)


def test_a_sack_is_cut_to_its_room() -> None:
    receiver = Receiver()
    receiver.data(*range(1, 80, 2), *range(1, 80, 2))
    assert len(receiver.half.sack(MIN_SACK_ROOM)) == MIN_SACK_ROOM
    receiver.data(*range(1, 20, 2))
    sack = receiver.sack(100)
    assert len(sack.gaps) == 21
    assert sack.gaps[0] == (2, 2)
    assert sack.duplicates == ()


def test_duplicates_are_bounded() -> None:
    receiver = Receiver()
    for _ in range(MAX_DUPLICATES + 20):
        receiver.data(0)
    assert len(receiver.sack().duplicates) == MAX_DUPLICATES
    assert receiver.half.duplicates_received == MAX_DUPLICATES + 19


def test_ranges_are_bounded_and_what_is_beyond_is_not_acknowledged() -> None:
    receiver = Receiver(window=1 << 20)
    receiver.data(*range(1, 2 * MAX_RANGES + 40, 2))
    assert len(receiver.sack().gaps) == MAX_RANGES
    assert receiver.half.dropped == 20
    receiver.data(2)
    assert len(receiver.sack().gaps) == MAX_RANGES - 1, "room again"


def test_a_number_too_far_ahead_is_dropped() -> None:
    receiver = Receiver()
    receiver.data(MAX_TSN_AHEAD - 1)
    assert receiver.half.dropped == 0
    receiver.data(MAX_TSN_AHEAD)
    assert receiver.half.dropped == 1
    receiver.data(1 << 31)
    assert receiver.half.duplicates_received == 1, "half way round is behind"


def test_window_shrinks_with_what_is_held_and_opens_again() -> None:
    receiver = Receiver()
    receiver.data(0, size=40_000)
    assert receiver.sack().a_rwnd == WINDOW - 40_000 - CHUNK_OVERHEAD
    receiver.data(1, size=40_000, flags=FLAG_BEGIN)
    assert receiver.sack().a_rwnd == WINDOW - 2 * (40_000 + CHUNK_OVERHEAD)
    receiver.data(2, size=40_000, flags=FLAG_BEGIN)
    assert receiver.half.dropped == 1
    assert receiver.sack().cumulative_tsn == 1, "what does not fit is not acknowledged"
    assert not receiver.due()
    receiver.drain()
    assert receiver.due(), "the peer last heard of a small window"
    assert receiver.sack().a_rwnd == WINDOW - 40_000 - CHUNK_OVERHEAD


def test_the_chunk_that_closes_the_first_gap_is_taken_beyond_the_window() -> None:
    receiver = Receiver()
    receiver.data(1, size=45_000, flags=FLAG_BEGIN)
    receiver.data(3, size=45_000, flags=FLAG_BEGIN)
    receiver.data(5, size=45_000)
    assert receiver.half.dropped == 1
    receiver.data(0, size=45_000)
    assert receiver.half.dropped == 1
    assert receiver.sack().cumulative_tsn == 1
    assert receiver.drain() == 1


def test_what_can_never_be_delivered_ends_the_association() -> None:
    """Reassembly bomb (attack 27): ordered messages whose first never comes, all numbers in a row."""
    receiver = Receiver()
    for number in range(100):
        receiver.data(number, size=4000, flags=FLAG_WHOLE, ssn=number + 1)
        if receiver.half.failure is not None:
            break
        assert receiver.half.used <= OVERRUN_FACTOR * WINDOW
    assert receiver.half.failure is not None
    assert receiver.half.failure.code == CauseCode.OUT_OF_RESOURCE
    assert number < 2 * OVERRUN_FACTOR * WINDOW // 4000


def test_a_message_that_never_ends_ends_the_association() -> None:
    """Reassembly bomb (attack 27): fragment after fragment."""
    receiver = Receiver(limit=20_000)
    receiver.data(0, size=1000, flags=FLAG_BEGIN | FLAG_UNORDERED)
    for number in range(1, 30):
        receiver.data(number, size=1000, flags=FLAG_UNORDERED)
        if receiver.half.failure is not None:
            break
    assert number == 20
    assert receiver.half.failure is not None
    assert receiver.half.failure.code == CauseCode.PROTOCOL_VIOLATION


def test_tiny_fragments_are_charged_what_they_cost() -> None:
    receiver = Receiver()
    receiver.data(0, size=1, flags=FLAG_BEGIN)
    for number in range(1, 10_000):
        receiver.data(number, size=1, flags=0)
    assert receiver.half.used <= OVERRUN_FACTOR * WINDOW
    assert receiver.half.failure is not None


def test_streams_beyond_the_agreed_are_reported_and_acknowledged() -> None:
    """RFC 9260 6.5: an ERROR, and the TSN counts as received."""
    receiver = Receiver(streams=4)
    receiver.data(*range(6), stream=4)
    assert receiver.sack().cumulative_tsn == 5
    assert not receiver.events
    assert len(receiver.half.reports) == MAX_INVALID_STREAM_REPORTS
    assert receiver.half.reports[0].info == b"\0\4\0\0"


def test_streams_with_state_are_bounded() -> None:
    receiver = Receiver(streams=4, window=1 << 24)
    for number in range(1000):
        receiver.data(number, stream=number % 1000, flags=FLAG_WHOLE, ssn=1)
    assert receiver.half.assembly.stream_count == 4


def test_an_empty_chunk_ends_the_association() -> None:
    """RFC 9260 6.2: no user data."""
    receiver = Receiver()
    receiver.data(0, size=0)
    assert receiver.half.failure is not None
    assert receiver.half.failure.code == CauseCode.NO_USER_DATA
    assert receiver.half.failure.info == TSN.to_bytes(4, "big")


def test_forward_moves_the_cumulative_number_over_what_came() -> None:
    receiver = Receiver()
    receiver.data(2, 3, 7)
    receiver.half.forward(ForwardTsnChunk(TSN + 1))
    sack = receiver.sack()
    assert (sack.cumulative_tsn, sack.gaps) == (3, ((4, 4),))
    receiver.half.forward(ForwardTsnChunk(TSN + 20 & 0xFFFF_FFFF))
    sack = receiver.sack()
    assert (sack.cumulative_tsn, sack.gaps) == (20, ())


def test_an_old_forward_is_answered_and_does_nothing() -> None:
    receiver = Receiver()
    receiver.data(0, 1)
    receiver.sack()
    receiver.half.forward(ForwardTsnChunk(TSN, ((0, 100),)))
    assert receiver.due()
    assert receiver.half.assembly.stream_count == 0


def test_a_forward_jump_is_only_a_jump() -> None:
    """Attack 28: half the number space in one step, with streams that do not exist."""
    receiver = Receiver()
    receiver.data(5, size=40_000, flags=FLAG_BEGIN)
    receiver.half.forward(
        ForwardTsnChunk(TSN + 0x7FFF_FFFE & 0xFFFF_FFFF, tuple((stream, 9) for stream in range(280)))
    )
    assert receiver.half.assembly.stream_count == 10
    assert receiver.half.used == 0
    receiver.data(0x7FFF_FFFF)
    assert receiver.sack().cumulative_tsn == 0x7FFF_FFFF
    assert receiver.drain() == 1

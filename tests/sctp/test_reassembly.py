"""Fragments to messages: any order, any nonsense, bounded."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.sctp.chunks import FLAG_BEGIN, FLAG_END, FLAG_UNORDERED, DataChunk
from sfu.sctp.events import MessageReceived
from sfu.sctp.inbound import MAX_RANGES
from sfu.sctp.reassembly import CHUNK_OVERHEAD, MAX_RUNS, Reassembly

LIMIT = 1000


class Receiver:
    """A reassembly and what it delivered."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.out: list[MessageReceived] = []
        self.assembly = Reassembly(limit, self.out.append)

    def data(self, tsn: int, data: bytes, flags: int, *, stream: int = 0, ssn: int = 0) -> list[bytes]:
        """Take a chunk; return what was delivered because of it."""
        before = len(self.out)
        self.assembly.accept(tsn, DataChunk(tsn & 0xFFFF_FFFF, stream, ssn, 53, flags, data))
        return [event.data for event in self.out[before:]]


B, E, U = FLAG_BEGIN, FLAG_END, FLAG_UNORDERED


def pieces(messages: list[tuple[int, bytes, bool]], size: int) -> list[tuple[int, DataChunk]]:
    """The chunks of messages ``(stream, data, unordered)`` in sending order."""
    out: list[tuple[int, DataChunk]] = []
    numbers: dict[int, int] = {}
    for stream, data, unordered in messages:
        ssn = 0 if unordered else numbers.get(stream, 0)
        if not unordered:
            numbers[stream] = ssn + 1
        for start in range(0, len(data), size):
            flags = (
                (B if start == 0 else 0) | (E if start + size >= len(data) else 0) | (U if unordered else 0)
            )
            out.append((len(out), DataChunk(len(out), stream, ssn, 53, flags, data[start : start + size])))
    return out


@given(
    st.lists(st.tuples(st.integers(0, 2), st.binary(min_size=1, max_size=30), st.booleans()), max_size=12),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_any_order_gives_the_same_messages(
    messages: list[tuple[int, bytes, bool]], size: int, order: random.Random
) -> None:
    chunks = pieces(messages, size)
    order.shuffle(chunks)
    receiver = Receiver()
    for tsn, chunk in chunks:
        receiver.assembly.accept(tsn, chunk)
    delivered = [(event.stream_id, event.data) for event in receiver.out]
    assert sorted(delivered) == sorted((stream, data) for stream, data, _ in messages)
    assert receiver.assembly.held == 0
    assert receiver.assembly.discarded == 0


@given(
    st.lists(st.tuples(st.integers(0, 2), st.binary(min_size=1, max_size=30)), max_size=12),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_ordered_streams_stay_ordered(
    messages: list[tuple[int, bytes]], size: int, order: random.Random
) -> None:
    chunks = pieces([(stream, data, False) for stream, data in messages], size)
    order.shuffle(chunks)
    receiver = Receiver()
    for tsn, chunk in chunks:
        receiver.assembly.accept(tsn, chunk)
    for stream in range(3):
        assert [e.data for e in receiver.out if e.stream_id == stream] == [
            d for s, d in messages if s == stream
        ]


def test_held_bytes_are_what_waits() -> None:
    receiver = Receiver()
    assert receiver.data(1, b"bb", E) == []
    assert receiver.assembly.held == 2 + CHUNK_OVERHEAD
    assert receiver.data(0, b"a", B) == [b"abb"]
    assert receiver.assembly.held == 0
    assert receiver.assembly.delivered == 3 + CHUNK_OVERHEAD
    assert receiver.data(5, b"later", B | E, ssn=2) == []
    assert receiver.assembly.held == 5 + CHUNK_OVERHEAD


def test_sequence_numbers_wrap() -> None:
    receiver = Receiver()
    receiver.assembly.skip(0, ((0, 0x7FFF),))
    receiver.assembly.skip(0, ((0, 0xFFFE),))
    assert receiver.data(3, b"second", B | E, ssn=0) == []
    assert receiver.data(2, b"first", B | E, ssn=0xFFFF) == [b"first", b"second"]


def test_a_sequence_number_used_twice_is_thrown_away() -> None:
    receiver = Receiver()
    receiver.data(0, b"0", B | E)
    assert receiver.data(1, b"again", B | E) == []
    receiver.data(3, b"2", B | E, ssn=2)
    assert receiver.data(4, b"twice", B | E, ssn=2) == []
    assert receiver.assembly.discarded == 2
    assert receiver.data(5, b"1", B | E, ssn=1) == [b"1", b"2"]
    assert receiver.assembly.held == 0


@pytest.mark.parametrize("unordered", [0, U])
def test_a_message_beyond_the_limit_is_noticed_before_it_is_whole(unordered: int) -> None:
    receiver = Receiver(limit=10)
    noticed = []
    for tsn, data, flags in ((0, b"12345678", B), (1, b"12", 0), (2, b"3", 0)):
        receiver.data(tsn, data, flags | unordered)
        noticed.append(bool(receiver.assembly.violation))
    assert noticed == [False, False, True]
    whole = Receiver(limit=10)
    assert whole.data(0, b"12345678901", B | E | unordered) == []
    assert whole.assembly.violation


def test_neighbours_that_do_not_belong_together_are_not_joined() -> None:
    receiver = Receiver()
    receiver.data(0, b"begin", B)
    assert receiver.data(1, b"end", E, stream=1) == []
    assert receiver.data(3, b"end", E | U) == []
    assert receiver.data(2, b"x", B) == [], "not with an unordered end"
    assert receiver.data(11, b"end", E, ssn=9) == []
    assert receiver.data(10, b"begin", B, ssn=8) == []
    assert receiver.out == []


def test_runs_are_bounded() -> None:
    """Fragments that can never be joined: one ending after another (attack 27)."""
    receiver = Receiver(limit=1 << 20)
    for tsn in range(MAX_RUNS):
        receiver.data(tsn, b"x", E)
    broken = [bool(receiver.assembly.violation)]
    receiver.data(MAX_RUNS, b"x", E)
    broken.append(bool(receiver.assembly.violation))
    assert broken == [False, True]
    assert 2 * (MAX_RANGES + 1) <= MAX_RUNS


def test_a_beginning_after_an_unfinished_message_throws_it_away() -> None:
    receiver = Receiver()
    receiver.data(0, b"torn", B)
    assert receiver.data(1, b"whole", B) == []
    assert receiver.assembly.discarded == 1
    assert receiver.data(2, b"!", E) == [b"whole!"]
    assert receiver.assembly.held == 0


def test_skip_purges_fragments_and_lets_the_rest_go() -> None:
    """RFC 3758 3.6."""
    receiver = Receiver()
    receiver.data(1, b"middle", 0)
    receiver.data(3, b"held", B | E, ssn=1)
    receiver.data(5, b"too", B | E, ssn=3)
    receiver.assembly.skip(2, ((0, 0),))
    assert [event.data for event in receiver.out] == [b"held"]
    assert receiver.assembly.held == 3 + CHUNK_OVERHEAD
    receiver.assembly.skip(4, ((0, 2), (9, 100)))
    assert [event.data for event in receiver.out] == [b"held", b"too"]
    assert receiver.assembly.held == 0


def test_skip_delivers_what_is_whole_before_the_skipped_number() -> None:
    receiver = Receiver()
    receiver.data(2, b"two", B | E, ssn=2)
    receiver.data(1, b"one", B | E, ssn=1)
    receiver.assembly.skip(4, ((0, 4),))
    assert [event.data for event in receiver.out] == [b"one", b"two"]
    wrapped = Receiver()
    for ssn in (0x7FFF, 0xFFFD):
        wrapped.assembly.skip(0, ((0, ssn),))
    wrapped.data(4, b"after", B | E, ssn=1)
    wrapped.data(2, b"before", B | E, ssn=0xFFFF)
    wrapped.assembly.skip(5, ((0, 2),))
    assert [event.data for event in wrapped.out] == [b"before", b"after"]
    assert receiver.data(6, b"six", B | E, ssn=6) == []
    assert receiver.data(5, b"five", B | E, ssn=5) == [b"five", b"six"]
    receiver.assembly.skip(6, ((0, 3),))
    assert receiver.data(7, b"seven", B | E, ssn=7) == [b"seven"], "an old skip changes nothing"


def test_skip_keeps_a_message_that_is_here_up_to_it() -> None:
    receiver = Receiver()
    receiver.data(5, b"a", B | U)
    receiver.data(6, b"b", U)
    receiver.data(10, b"c", U)
    receiver.assembly.skip(6, ())
    assert receiver.data(7, b"c", E | U) == [b"abc"]
    receiver.assembly.skip(10, ())
    assert receiver.assembly.held == 0


def test_reset_begins_at_zero_and_drops_what_waits() -> None:
    receiver = Receiver()
    receiver.data(0, b"0", B | E)
    receiver.data(2, b"2", B | E, ssn=2)
    receiver.data(3, b"other", B | E, ssn=1, stream=4)
    receiver.assembly.reset((0,))
    assert receiver.assembly.held == 5 + CHUNK_OVERHEAD
    assert receiver.data(4, b"new", B | E, ssn=0) == [b"new"]
    receiver.assembly.reset(None)
    assert receiver.assembly.held == receiver.assembly.stream_count == 0


def test_messages_after_a_deferred_reset_wait_for_it() -> None:
    """RFC 6525 5.2.2 E2."""
    receiver = Receiver()
    receiver.data(0, b"0", B | E)
    receiver.assembly.defer((0,), 1)
    assert receiver.data(2, b"new", B | E, ssn=0) == []
    assert receiver.data(3, b"loose", B | E | U) == []
    assert receiver.data(4, b"other", B | E, stream=1) == [b"other"]
    assert receiver.data(1, b"1", B | E, ssn=1) == [b"1"]
    receiver.assembly.reset((0,))
    assert [event.data for event in receiver.out[-2:]] == [b"new", b"loose"]
    assert receiver.assembly.held == 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 40), st.integers(0, 15), st.integers(0, 1), st.integers(0, 3), st.integers(1, 20)
        ),
        max_size=60,
    )
)
def test_nonsense_is_accounted_for(chunks: list[tuple[int, int, int, int, int]]) -> None:
    """Whatever comes (each TSN once), nothing breaks, and held + delivered + thrown away balance."""
    receiver = Receiver()
    seen: set[int] = set()
    for tsn, flags, stream, ssn, size in chunks:
        if tsn in seen:
            continue
        seen.add(tsn)
        receiver.data(tsn, bytes(size), flags, stream=stream, ssn=ssn)
        assert receiver.assembly.held >= 0
    delivered = sum(len(event.data) for event in receiver.out)
    assert receiver.assembly.delivered == delivered + CHUNK_OVERHEAD * len(receiver.out)
    receiver.assembly.skip(100, ())
    receiver.assembly.reset(None)
    assert receiver.assembly.held == 0

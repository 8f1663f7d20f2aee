"""When a missing packet is asked for, how often, how many at once, and when it is given up."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.missing import (
    LONG_GAP,
    MAX_GAP,
    MAX_MISSING,
    MAX_REORDER_COUNT,
    MAX_REORDER_DELAY,
    MAX_RETRIES,
    MAX_RETRY_INTERVAL,
    MAX_WORTH,
    MIN_REORDER_COUNT,
    MIN_REORDER_DELAY,
    MIN_WORTH,
    REQUEST_BURST,
    REQUEST_INTERVAL,
    REQUEST_RATE,
    MissingPackets,
)
from sfu.media.reception import StreamReceiver

BASE = 65536 + 65530  # an unwrapped number just before the wrap


class Line:
    """A stream whose packets come or do not."""

    def __init__(self, round_trip: float = 0.050) -> None:
        self.stream = StreamReceiver(90000, wants_repair=True)
        assert self.stream.missing is not None
        self.missing: MissingPackets = self.stream.missing
        self.missing.round_trip = round_trip
        self.now = 1000.0

    def arrive(self, *places: int, repaired: bool = False) -> bool:
        lost_track = False
        for place in places:
            lost_track |= self.stream.on_packet(BASE + place, 0, self.now, repaired=repaired)
        return lost_track

    def due(self) -> list[int]:
        """Places asked for now."""
        due, given_up = self.stream.due_nacks(self.now)
        assert not given_up
        return [(number - BASE) % 65536 for number in due]

    def wakes(self) -> Iterator[tuple[list[int], bool]]:
        """Let time pass until nothing is left to do."""
        while (timer := self.stream.get_timer()) is not None:
            assert timer >= self.now
            self.now = timer
            due, given_up = self.stream.due_nacks(timer)
            next_timer = self.stream.get_timer()
            assert next_timer is None or next_timer > timer
            yield [(number - BASE) % 65536 for number in due], given_up


def test_a_packet_that_is_a_little_late_is_not_asked_for() -> None:
    line = Line()
    line.arrive(0, 2)
    assert line.due() == []
    line.now += MIN_REORDER_DELAY / 2
    line.arrive(1, 3)
    line.now += 1
    assert line.due() == []
    assert line.stream.get_timer() is None


def test_a_missing_packet_is_asked_for_after_the_delay() -> None:
    line = Line()
    line.arrive(0, 2)
    assert line.stream.get_timer() == line.now + MIN_REORDER_DELAY
    line.now += MIN_REORDER_DELAY
    assert line.due() == [1]
    assert line.due() == []


def test_a_missing_packet_is_asked_for_when_enough_newer_ones_have_come() -> None:
    line = Line()
    line.arrive(0, 2)
    for place in range(3, 2 + MIN_REORDER_COUNT):
        assert line.due() == []
        line.arrive(place)
    assert line.due() == [1]


def test_what_is_seen_of_reordering_delays_requests() -> None:
    line = Line()
    asked = []
    for place in range(0, 400, 10):  # in every ten, one comes 20 ms and 5 packets late
        line.arrive(place, *range(place + 2, place + 5))
        asked += line.due()
        line.now += 0.020
        line.arrive(place + 5)
        asked += line.due()
        line.arrive(place + 1, *range(place + 6, place + 10))
        asked += line.due()
    assert asked == [1], "only before anything was known"
    assert 0.020 < line.missing.reorder_delay < 0.030


def test_reordering_is_forgotten_again() -> None:
    line = Line()
    line.arrive(0, 2)
    line.now += 0.008
    line.arrive(1)
    line.arrive(*range(4, 12))
    line.arrive(3)
    assert line.missing.reorder_count > MIN_REORDER_COUNT
    for _ in range(60):
        line.stream.report()
    assert line.missing.reorder_delay == MIN_REORDER_DELAY
    assert line.missing.reorder_count == MIN_REORDER_COUNT


def test_the_tolerance_is_bounded() -> None:
    line = Line()
    for place in range(0, 5000, 500):
        line.arrive(place, *range(place + 2, place + 500))
        line.now += 10
        line.arrive(place + 1)
    assert line.missing.reorder_delay <= MAX_REORDER_DELAY
    assert line.missing.reorder_count <= MAX_REORDER_COUNT


def test_a_repair_is_not_taken_for_reordering() -> None:
    line = Line()
    line.arrive(0, 2)
    line.now += MIN_REORDER_DELAY
    assert line.due() == [1]
    line.now += 0.050
    line.arrive(1)  # from a host without RTX it looks like the packet itself
    assert line.missing.reorder_delay == MIN_REORDER_DELAY


@pytest.mark.parametrize("round_trip", [0.0, 0.005, 0.05, 0.2, 0.35, 2.0])
def test_repeats_wait_for_the_answer(round_trip: float) -> None:
    line = Line(round_trip)
    began = line.now
    line.arrive(0, 2)
    times, ended = [], False
    for due, given_up in line.wakes():
        times += [line.now] * len(due)
        ended = given_up
    assert ended
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(round_trip < gap <= 1.25 * round_trip + 0.011 for gap in gaps) or round_trip > 1
    assert all(gap <= MAX_RETRY_INTERVAL + 0.001 for gap in gaps)
    assert min(3, MAX_RETRIES) <= len(times) <= MAX_RETRIES
    assert line.now - began <= MAX_WORTH + MAX_RETRY_INTERVAL
    if 0.05 <= round_trip < 0.15:
        assert line.now - began <= MIN_WORTH + 2 * round_trip


def test_repeats_stop_when_the_packet_comes() -> None:
    line = Line()
    line.arrive(0, 9)
    line.now += MIN_REORDER_DELAY
    assert line.due() == list(range(1, 9))
    line.now += 0.060
    line.arrive(*range(1, 8), repaired=True)
    line.now += 0.060
    assert line.due() == [8]
    line.arrive(8, repaired=True)
    assert line.stream.get_timer() is None


def test_the_round_trip_is_told_by_packets_asked_for_once() -> None:
    line = Line()
    line.arrive(0, 3)
    line.now += MIN_REORDER_DELAY
    assert line.due() == [1, 2]
    line.now += 0.042
    line.arrive(1, repaired=True)
    assert line.missing.repair_time == pytest.approx(0.042)
    line.missing.repair_time = None
    line.now += 0.050
    assert line.due() == [2]
    line.now += 0.004
    line.arrive(2, repaired=True)
    assert line.missing.repair_time is None, "the answer to the first or the second request"


def test_on_a_path_longer_than_assumed_the_first_answer_tells_as_well() -> None:
    stream = StreamReceiver(90000, wants_repair=True)
    stream.on_packet(BASE, 0, 1.0, repaired=False)
    stream.on_packet(BASE + 2, 0, 1.0, repaired=False)
    asked = []
    while (timer := stream.get_timer()) is not None and timer < 1.15:
        asked += stream.due_nacks(timer)[0]
    assert len(asked) == 3
    stream.on_packet(BASE + 1, 0, 1.0 + MIN_REORDER_DELAY + 0.15, repaired=True)
    assert stream.missing is not None
    assert stream.missing.repair_time == pytest.approx(0.15)


def test_a_burst_of_losses_is_asked_for_in_portions() -> None:
    line = Line(round_trip=0.3)
    line.arrive(0, MAX_GAP + 1)
    began = line.now
    portions = []
    for due, given_up in line.wakes():
        assert not given_up
        portions.append((line.now - began, len(due)))
        if sum(count for _, count in portions) >= MAX_GAP:
            break
    assert sum(count for _, count in portions) == MAX_GAP
    assert portions[0][1] == REQUEST_BURST
    for at, _ in portions:
        total = sum(count for when, count in portions if when <= at)
        assert total <= REQUEST_BURST + at * REQUEST_RATE
    assert len(portions) <= 2 + (MAX_GAP - REQUEST_BURST) / (REQUEST_RATE * REQUEST_INTERVAL)


def test_a_burst_of_100_is_repaired() -> None:
    line = Line()
    line.arrive(0, 101)
    lost, answers = set(range(1, 101)), list[tuple[float, list[int]]]()
    chance = random.Random(7)
    for due, given_up in line.wakes():
        assert not given_up
        answers.append((line.now + 0.050, due))
        while answers and answers[0][0] <= line.now + 0.020:
            line.now, places = answers.pop(0)
            came = [place for place in places if chance.random() < 0.8]
            line.arrive(*came, repaired=True)
            lost -= set(came)
    assert not lost
    assert len(line.missing) == 0


def test_an_outage_ends_with_a_key_frame_instead_of_repairs() -> None:
    """2 s of a stream take seconds to repeat; a key frame takes a fraction of one."""
    line = Line()
    line.arrive(0)
    line.now += 2.0
    assert line.arrive(150)
    assert line.stream.get_timer() is None


def test_a_short_gap_after_a_pause_is_repaired() -> None:
    """A still picture: nothing was sent for a while, and then a packet was lost."""
    line = Line()
    line.arrive(0)
    line.now += 2.0
    assert not line.arrive(LONG_GAP + 1)
    line.now += MIN_REORDER_DELAY
    assert len(line.due()) == LONG_GAP


def test_a_jump_is_a_new_start() -> None:
    line = Line()
    line.arrive(0)
    assert not line.arrive(MAX_GAP + 1)
    assert line.arrive(2 * MAX_GAP + 3)
    assert line.stream.get_timer() is None
    line.arrive(2 * MAX_GAP + 5)
    line.now += MIN_REORDER_DELAY
    assert line.due() == [2 * MAX_GAP + 4]


def test_the_wrap_makes_no_difference() -> None:
    line = Line()
    line.arrive(0, 12)  # 65530 to 6
    line.now += MIN_REORDER_DELAY
    due, _ = line.stream.due_nacks(line.now)
    assert due == [65531, 65532, 65533, 65534, 65535, 0, 1, 2, 3, 4, 5]


def test_what_is_missing_is_bounded() -> None:
    line = Line()
    line.arrive(0)
    place, lost_track = 0, False
    while not lost_track:
        place += 101
        lost_track = line.arrive(place)
        assert len(line.missing) <= MAX_MISSING
    assert place > MAX_MISSING
    assert line.stream.get_timer() is None


def test_giving_one_up_gives_all_up() -> None:
    line = Line()
    line.arrive(0, 2)
    given_up = 0
    for _, gave_up in line.wakes():
        given_up += gave_up
        if len(line.missing) == 1 and line.now > 1000.4:
            line.arrive(4)
            assert len(line.missing) == 2
    assert given_up == 1
    assert len(line.missing) == 0


def test_a_key_frame_makes_older_losses_irrelevant() -> None:
    line = Line()
    line.arrive(0, 3)
    line.now += MIN_REORDER_DELAY
    line.due()
    line.arrive(5, 8)
    line.stream.on_keyframe(BASE + 5)
    line.now += MIN_REORDER_DELAY
    assert line.due() == [6, 7]


class Counted(dict):  # type: ignore[type-arg]
    """Counts how many entries are looked at."""

    looks = 0

    def items(self) -> Iterable[tuple[object, object]]:  # type: ignore[override]
        for item in super().items():
            self.looks += 1
            yield item

    def values(self) -> Iterable[object]:  # type: ignore[override]
        for value in super().values():
            self.looks += 1
            yield value


def test_what_is_not_due_costs_nothing() -> None:
    """However much is missing, a packet that comes in makes no one search it."""
    line = Line()
    asked, new = Counted(), Counted()
    line.missing._asked, line.missing._new = asked, new
    line.arrive(0, 101)
    line.now += MIN_REORDER_DELAY
    assert len(line.due()) == 100
    line.arrive(202)
    before = asked.looks + new.looks
    for _ in range(100):
        assert line.due() == []
        line.stream.get_timer()
    assert asked.looks + new.looks - before == 400


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 40), st.booleans()), max_size=150))
def test_any_order_of_packets_ends(steps: list[tuple[int, int, bool]]) -> None:
    """Bounded books, a timer that is never late twice, numbers that are missing, and an end."""
    line = Line()
    came = set()
    for place, wait, repaired in steps:
        line.now += wait / 1000
        line.arrive(place, repaired=repaired)
        came.add(place)
        assert len(line.missing) <= MAX_MISSING
        due, _ = line.stream.due_nacks(line.now)
        assert not came & {(number - BASE) % 65536 for number in due}
    began = line.now
    for due, given_up in line.wakes():
        assert not came & set(due)
        assert not given_up or len(line.missing) == 0
    assert line.now - began <= MAX_WORTH + MAX_RETRY_INTERVAL

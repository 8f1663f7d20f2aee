"""Transport-wide feedback to hosts: when it is sent, and that no message takes back what another said."""

from __future__ import annotations

import random

import pytest

from sfu.media.arrivals import (
    FEEDBACK_INTERVAL,
    MAX_ARRIVALS,
    MAX_TOLD,
    RESTART_DISTANCE,
    SILENCE,
    STARTUP_INTERVAL,
    STARTUP_TIME,
    TOLD_TIME,
    ArrivalLog,
)
from sfu.rtp.rtcp import TransportFeedback, parse_compound_untrusted
from sfu.rtp.rtcp.transport_cc import TICK


class Host:
    """Sends packets and reads the feedback on them."""

    def __init__(self, first: int = 65500) -> None:
        self.log = ArrivalLog()
        self.now = 1000.0
        self.first = first
        self.messages: list[TransportFeedback] = []

    def arrive(self, *places: int) -> None:
        for place in places:
            self.log.record((self.first + place) & 0xFFFF, self.now)

    def due(self) -> float | None:
        return self.log.due

    def is_due(self) -> bool:
        return self.log.due is not None and self.now >= self.log.due

    def read(self) -> dict[int, float | None]:
        """What the next feedback says, by place."""
        assert self.log.due is not None
        self.now = max(self.now, self.log.due)
        statuses: dict[int, float | None] = {}
        for message in self.log.feedback(1, 2):
            [parsed] = parse_compound_untrusted(message.to_bytes())
            assert isinstance(parsed, TransportFeedback)
            self.messages.append(parsed)
            for number, arrival in parsed.statuses():
                statuses[(number - self.first) & 0xFFFF] = arrival
        return statuses


def received(statuses: dict[int, float | None]) -> list[int]:
    return [place for place, arrival in statuses.items() if arrival is not None]


def test_nothing_is_due_before_anything_came() -> None:
    assert ArrivalLog().due is None


def test_feedback_is_prompt_while_a_host_finds_its_rate() -> None:
    host = Host()
    host.arrive(0)
    assert host.due() == host.now + STARTUP_INTERVAL
    host.now += 0.001
    host.arrive(1)
    assert host.due() == host.now - 0.001 + STARTUP_INTERVAL, "later packets do not put it off"
    host.read()
    assert host.due() is None
    place = 2
    while host.now < 1000 + STARTUP_TIME:
        host.arrive(place)
        host.read()
        host.now += 0.010
        place += 1
    host.arrive(place)
    assert host.due() == host.now + FEEDBACK_INTERVAL
    host.read()
    host.now += SILENCE + 0.1
    host.arrive(place + 1)
    assert host.due() == host.now + STARTUP_INTERVAL


def test_every_packet_is_told_once_in_order() -> None:
    host = Host()
    told: list[int] = []
    for place in range(0, 600, 3):
        host.arrive(place, place + 1, place + 2)
        host.now += 0.010
        if host.is_due():
            told += received(host.read())
    assert told == list(range(len(told)))
    assert len(told) > 590
    counts = [m.feedback_count for m in host.messages]
    assert counts == [i & 0xFF for i in range(len(counts))]


def test_what_is_missing_between_two_messages_is_told() -> None:
    host = Host()
    host.arrive(0, 1)
    host.read()
    host.arrive(4, 5)
    statuses = host.read()
    assert list(statuses) == [2, 3, 4, 5]
    assert received(statuses) == [4, 5]


def test_a_packet_that_is_late_by_a_message_is_told_with_all_behind_it() -> None:
    host = Host()
    host.arrive(0, 1, 3, 4)
    first = host.read()
    assert first[2] is None
    host.arrive(2, 5)
    second = host.read()
    assert received(second) == [2, 3, 4, 5]
    assert second[3] == first[3], "and says the same of them"
    host.arrive(6)
    assert received(host.read()) == [6]


def test_a_packet_that_comes_twice_is_told_once() -> None:
    host = Host()
    host.arrive(0, 1, 1)
    host.read()
    host.arrive(1)
    assert host.due() is None


def test_what_is_too_late_to_be_told_is_not() -> None:
    host = Host()
    host.arrive(0, 2, 3)
    host.read()
    for place in range(4, 40):
        host.now += TOLD_TIME / 10
        host.arrive(place)
        host.read()
    host.arrive(1)
    assert host.read() == {}
    host.arrive(1, 40)
    assert host.read() == {40: pytest.approx(host.now, abs=0.1)}


def test_a_host_that_counts_anew_is_told_of_its_new_numbers() -> None:
    host = Host(first=30000)
    host.arrive(0, 1)
    host.read()
    host.arrive(-RESTART_DISTANCE * 2, -RESTART_DISTANCE * 2 + 1)
    assert len(received(host.read())) == 2
    host.arrive(-RESTART_DISTANCE * 2 + 2, -RESTART_DISTANCE * 2 + 4)
    statuses = host.read()
    assert len(statuses) == 3
    assert len(received(statuses)) == 2


def test_arrivals_are_bounded() -> None:
    host = Host(first=0)
    host.arrive(*range(MAX_ARRIVALS + 100))
    assert len(host.log._arrivals) == MAX_ARRIVALS
    assert len(received(host.read())) == MAX_ARRIVALS
    assert len(host.log._told) <= MAX_TOLD


@pytest.mark.parametrize("seed", range(2))
def test_no_message_takes_back_what_another_said_and_times_do_not_drift(seed: int) -> None:
    """With loss, reordering and duplicates over ten minutes: what came is told as come, within rounding."""
    host = Host()
    chance = random.Random(seed)
    host.now = 1000 + chance.random()
    offset = None
    flying: list[tuple[float, int]] = []
    truth: dict[int, float] = {}
    told: dict[int, float] = {}
    for place in range(20_000):
        host.now += 0.030
        if chance.random() < 0.9:
            flying.append((host.now + chance.random() * chance.choice([0.001, 0.080]), place))
        flying.sort()
        while flying and flying[0][0] <= host.now:
            at, due = flying.pop(0)
            truth.setdefault(due & 0xFFFF, at)
            host.log.record((host.first + due) & 0xFFFF, at)
        if host.is_due():
            for number, arrival in host.read().items():
                if arrival is None:
                    assert number not in told
                    continue
                if offset is None:
                    offset = truth[number] - arrival
                # 64 ms times 24 bits: it does not wrap in this time.
                assert abs(truth[number] - arrival - offset) <= TICK * 1.01
                told[number] = arrival
    assert len(told) > 0.999 * (len(truth) - len(flying)) - 1

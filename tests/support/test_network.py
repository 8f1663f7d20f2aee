"""The network of the tests does to datagrams what it says, at the times it says."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest

from sfu.ice.address import Address
from tests.support.impairment import PLAIN, BurstLoss, Impairment, Line
from tests.support.network import Network

HERE: Address = ("198.51.100.1", 1)
THERE: Address = ("192.0.2.1", 2)
OUTSIDE: Address = ("203.0.113.1", 3)
MANY = 20_000


class Recorder:
    """Sends what it is given, and notes what it gets: when, from where, and what."""

    def __init__(self) -> None:
        self.out: list[tuple[bytes, Address, Address]] = []
        self.got: list[tuple[float, Address, bytes]] = []

    def receive(self, data: bytes, source: Address, destination: Address, now: float) -> None:
        self.got.append((round(now - 1000, 6), source, data))

    def take_output(self, now: float) -> Sequence[tuple[bytes, Address, Address]]:
        out, self.out = self.out, []
        return out

    def get_timer(self) -> float | None:
        return None

    def handle_timer(self, now: float) -> None:
        raise AssertionError("there is no timer")


def two(impairment: Impairment = PLAIN) -> tuple[Network, Recorder, Recorder]:
    network, here, there = Network(impairment=impairment), Recorder(), Recorder()
    network.add(here, HERE)
    network.add(there, THERE)
    return network, here, there


def line(**options: object) -> Line:
    return Line(Impairment.from_json(options), random.Random(1), 0.0)


def lost(line: Line) -> list[bool]:
    """Which of many datagrams do not arrive."""
    return [not line.arrivals(100, 0.0) for _ in range(MANY)]


def test_delay_alone_is_exact() -> None:
    assert [line(delay=0.025).arrivals(100, t) for t in (0.0, 1.0)] == [[0.025], [1.025]]


def test_loss_is_that_share() -> None:
    assert sum(lost(line(loss=0.05))) == pytest.approx(0.05 * MANY, rel=0.1)
    assert not any(lost(line()))
    assert all(lost(line(loss=1.0)))


def test_bursts_have_the_length_and_the_share_of_their_model() -> None:
    enter, leave = 0.02, 0.25
    fates = lost(line(burst={"enter": enter, "leave": leave}))
    assert sum(fates) == pytest.approx(MANY * enter / (enter + leave), rel=0.1)
    bursts = sum(not a and b for a, b in pairwise(fates))
    assert sum(fates) / bursts == pytest.approx(1 / leave, rel=0.1)


def test_a_bad_line_may_lose_only_some() -> None:
    fates = lost(line(burst={"enter": 1.0, "leave": 0.0, "loss": 0.3}))
    assert sum(fates) == pytest.approx(0.3 * MANY, rel=0.1)


def test_duplicates_come_twice() -> None:
    counts = [len(line_.arrivals(100, 0.0)) for line_ in [line(duplication=0.05)] for _ in range(MANY)]
    assert set(counts) == {1, 2}
    assert counts.count(2) == pytest.approx(0.05 * MANY, rel=0.1)


@pytest.mark.parametrize("reorder", [True, False])
def test_jitter_stays_within_its_bound_and_keeps_the_order_if_told_to(reorder: bool) -> None:
    jittery = line(delay=0.02, jitter=0.03, reorder=reorder)
    sent = [i * 0.005 for i in range(1000)]
    arrivals = [jittery.arrivals(100, now)[0] for now in sent]
    delays = [arrival - now for arrival, now in zip(arrivals, sent, strict=True)]
    assert 0.02 <= min(delays) < 0.025
    assert 0.045 < max(delays) <= 0.05
    assert (arrivals == sorted(arrivals)) is not reorder


def test_a_narrow_place_sends_one_after_the_other_and_drops_what_would_wait_too_long() -> None:
    # 1,000 bytes at 80 kbit/s take 0.1 s each
    narrow = line(delay=0.01, rate=80_000, queue=0.25)
    arrivals = [narrow.arrivals(1000, 0.0) for _ in range(5)]
    assert arrivals == [[pytest.approx(t)] for t in (0.11, 0.21, 0.31)] + [[], []]
    assert narrow.arrivals(1000, 0.1) == [pytest.approx(0.41)]
    assert narrow.arrivals(500, 2.0) == [pytest.approx(2.06)]


def test_an_outage_swallows_what_is_sent_meanwhile() -> None:
    broken = Line(Impairment(delay=0.1, outages=((1.0, 3.0),)), random.Random(1), 10.0)
    arrivals = [bool(broken.arrivals(100, now)) for now in (10.0, 10.99, 11.0, 12.99, 13.0)]
    assert arrivals == [True, True, False, False, True]


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(TypeError):
        Impairment.from_json({"delay_ms": 25})
    assert Impairment.from_json({"burst": {"enter": 0.1, "leave": 0.2}, "outages": [[1, 2]]}) == Impairment(
        burst=BurstLoss(0.1, 0.2), outages=((1, 2),)
    )


def test_each_direction_between_two_addresses_has_its_own_line() -> None:
    network, here, there = two(Impairment(delay=0.01))
    network.impair(HERE, THERE, Impairment(delay=0.2))
    here.out.append((b"slow", HERE, THERE))
    there.out.append((b"quick", THERE, HERE))
    network.run(1)
    assert here.got == [(0.01, THERE, b"quick")]
    assert there.got == [(0.2, HERE, b"slow")]


def test_a_change_does_not_reach_what_is_under_way() -> None:
    network, here, there = two(Impairment(delay=0.1))
    here.out.append((b"early", HERE, THERE))
    network.run(0.05)
    network.impair(HERE, THERE, Impairment(loss=1.0))
    here.out.append((b"late", HERE, THERE))
    network.run(1)
    assert [data for _, _, data in there.got] == [b"early"]


def test_rebinding_changes_the_source_and_closes_the_way_back() -> None:
    network, here, there = two(Impairment(delay=0.1))
    network.impair(THERE, HERE, Impairment(delay=0.3))
    here.out.append((b"one", HERE, THERE))
    network.run(0.2)
    there.out.append((b"lost on its way", THERE, HERE))
    network.run(0.1)
    network.rebind(HERE, OUTSIDE)
    here.out.append((b"two", HERE, THERE))
    network.run(0.2)
    assert there.got == [(0.1, HERE, b"one"), (0.4, OUTSIDE, b"two")]
    there.out += [(b"to the old address", THERE, HERE), (b"back", THERE, OUTSIDE)]
    network.run(1)
    assert here.got == [(0.8, THERE, b"back")]  # over the line of the address that the node knows
    network.rebind(HERE, HERE)
    there.out += [(b"again", THERE, HERE), (b"gone", THERE, OUTSIDE)]
    network.run(1)
    assert here.got[1:] == [(1.8, THERE, b"again")]


def test_the_same_seed_is_the_same_network() -> None:
    runs = []
    for seed in (1, 1, 2):
        network, here, there = Network(seed, Impairment(loss=0.3, jitter=0.1)), Recorder(), Recorder()
        network.add(here, HERE)
        network.add(there, THERE)
        here.out += [(bytes([i]), HERE, THERE) for i in range(50)]
        network.run(1)
        runs.append(there.got)
    assert runs[0] == runs[1] != runs[2]

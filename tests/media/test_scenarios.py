"""Bad networks in virtual time: the table that Chromium is held to as well, here with several seeds each."""

from __future__ import annotations

import pytest

from sfu.ice.address import Address
from tests.support.impairment import Impairment
from tests.support.peer import Peer
from tests.support.scenarios import (
    INPUT_RATE,
    TICK,
    Inputs,
    Picture,
    Scenario,
    age_at,
    impair,
    load_scenarios,
)
from tests.support.world import World

SEEDS = range(3)
PLAIN = 2.0
"""Seconds of the run that the others are compared with."""
IMPAIRED = 6.0
UNIMPAIRED = Impairment(delay=0.001)
ANOTHER_ADDRESS: Address = ("203.0.113.7", 40_000)

SCENARIOS = [s for s in load_scenarios() if s.protocol == "udp" and not s.layers]
"""TCP is a real peer's (the relay of the browser tests), and so is the size of a picture."""


def holding(*what: str) -> pytest.MarkDecorator:
    """The scenarios that promise one of these."""
    wanted = [s for s in SCENARIOS if any(w in s.holds for w in what)]
    assert wanted
    return pytest.mark.parametrize(
        "scenario", [pytest.param(s, id=f"{s.leg}: {s.name}", marks=pending(s)) for s in wanted]
    )


def pending(scenario: Scenario) -> list[pytest.MarkDecorator]:
    return [pytest.mark.xfail(reason=scenario.pending)] if scenario.pending else []


def impaired(picture: Picture, scenario: Scenario) -> Peer:
    return picture.host.peer if scenario.leg == "host" else picture.viewer.peer


@pytest.mark.parametrize("seed", SEEDS)
@holding("frames")
def test_the_picture_keeps_its_rate_and_does_not_freeze(scenario: Scenario, seed: int) -> None:
    world = World(seed, UNIMPAIRED)
    picture = Picture(world)
    plain = picture.watch(PLAIN, TICK)
    assert plain.share > 0.95
    impair(world, scenario, impaired(picture, scenario))
    seen = picture.watch(IMPAIRED, scenario.round_trip)
    assert seen.share >= scenario.holds["frames"] * plain.share
    assert seen.longest_pause <= scenario.holds["freeze"]


@pytest.mark.parametrize("seed", SEEDS)
@holding("recovery")
def test_the_picture_comes_back(scenario: Scenario, seed: int) -> None:
    world = World(seed, UNIMPAIRED)
    picture = Picture(world)
    picture.watch(PLAIN, TICK)
    peer = impaired(picture, scenario)
    impair(world, scenario, peer)
    if scenario.rebind is not None:
        picture.watch(scenario.rebind, scenario.round_trip)
        world.network.rebind(peer.address, ANOTHER_ADDRESS)
        ended = world.now
    else:
        ended = world.now + scenario.up.outages[0][1]
    seen = picture.watch(ended - world.now + scenario.holds["recovery"] + 2, scenario.round_trip)
    assert scenario.rebind is not None or seen.longest_pause > 1, "nothing happened"
    assert seen.recovery(ended) <= scenario.holds["recovery"]


@pytest.mark.parametrize("seed", SEEDS)
@holding("input")
def test_inputs_stay_young(scenario: Scenario, seed: int) -> None:
    world = World(seed, UNIMPAIRED)
    inputs = Inputs(world)
    for got in inputs.exchange(PLAIN):
        assert age_at(got, 0.99) < 2 * UNIMPAIRED.delay + 2 * TICK
    impair(world, scenario, inputs.player_send, inputs.player_receive)
    to_player, to_host = inputs.exchange(20.0)
    bound = scenario.holds["input"]
    limit = bound["roundTrips"] * scenario.round_trip + bound["intervals"] / INPUT_RATE
    assert age_at(to_player, 0.99) <= limit + TICK
    assert age_at(to_host, 0.99) <= limit + TICK  # the player's end is our own here, too


@pytest.mark.parametrize("seed", SEEDS)
@holding("inputRecovery")
def test_inputs_come_back(scenario: Scenario, seed: int) -> None:
    world = World(seed, UNIMPAIRED)
    inputs = Inputs(world)
    inputs.exchange(PLAIN)
    impair(world, scenario, inputs.player_send, inputs.player_receive)
    ended = world.now + scenario.up.outages[0][1]
    for got in inputs.exchange(IMPAIRED):
        assert max(i.age for i in got) > 1, "nothing happened"
        assert min(i.came for i in got if i.made >= ended) - ended <= scenario.holds["inputRecovery"]

"""Layer choice for any streams on any line: what fits, never black, and ``wanted`` is true."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sfu.media.allocation import MAX_HOLD, Allocation, Allocator, Demand, Layer, ladder

SIZES = st.integers(0, 5_000_000)


@st.composite
def demands(draw: st.DrawFn, key: int) -> Demand:
    layers = [
        Layer(s, t, draw(SIZES), draw(st.sampled_from([True, True, False])))
        for s in range(draw(st.integers(1, 3)))
        for t in range(draw(st.integers(1, 3)))
    ]
    return Demand(key, layers, draw(st.none() | st.integers(0, len(layers))))


SCENES = st.integers(1, 4).flatmap(lambda count: st.tuples(*[demands(key) for key in range(count)]))


def check(scene: tuple[Demand, ...], allocation: Allocation, available: int) -> None:
    lowest = spent = 0
    for demand in scene:
        target = allocation.targets[demand.key]
        steps = ladder(demand.layers, demand.ceiling)
        assert (target is None) == (not steps)
        if target is not None:
            assert target in steps
            spent += demand.layers[target].bitrate
            lowest += demand.layers[steps[0]].bitrate
    assert spent <= max(available, lowest)


@given(st.lists(st.tuples(SCENES, SIZES, st.floats(0, 12)), min_size=1, max_size=20))
def test_any_scenes_in_turn(turns: list[tuple[tuple[Demand, ...], int, float]]) -> None:
    allocator, now = Allocator(), 0.0
    for scene, available, elapsed in turns:
        now += elapsed
        allocation = allocator.allocate(scene, available, now)
        check(scene, allocation, available)
        assert allocation.timer is None or now < allocation.timer <= now + MAX_HOLD


@given(SCENES, SIZES, SIZES)
def test_it_settles_and_stays(scene: tuple[Demand, ...], before: int, available: int) -> None:
    allocator, now = Allocator(), 0.0
    allocator.allocate(scene, before, now)
    steps = 0
    while (timer := (allocation := allocator.allocate(scene, available, now)).timer) is not None:
        now = timer
        steps += 1
        assert steps < 20
    again = allocator.allocate(scene, available, now + 60)
    assert again.timer is None
    assert again.targets == allocation.targets


@given(demands(0), SIZES)
def test_what_is_wanted_is_enough_for_a_step_up(demand: Demand, available: int) -> None:
    allocator = Allocator()
    first = allocator.allocate([demand], available, 0.0)
    if first.wanted is None:
        return
    waiting = allocator.allocate([demand], first.wanted, 1.0)
    assert waiting.timer is not None
    raised = allocator.allocate([demand], first.wanted, waiting.timer)
    before, after = first.targets[0], raised.targets[0]
    assert before is not None
    assert after is not None
    assert after > before

"""Which layer a viewer gets: order, down at once, up with patience, never black, shared fairly."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sfu.media.allocation import (
    FAILURE_TIME,
    MAX_DEMANDS,
    MAX_HOLD,
    MIN_HOLD,
    Allocator,
    Demand,
    Layer,
    ladder,
    with_margin,
)

SIMULCAST = [Layer(0, 0, 300_000), Layer(1, 0, 900_000), Layer(2, 0, 2_500_000)]
L3T3 = [Layer(s, t, 100_000 * (3 * s + t + 1)) for s in range(3) for t in range(3)]
FREE = 10_000_000


def without(layers: Sequence[Layer], *inactive: int) -> list[Layer]:
    return [
        Layer(layer.spatial, layer.temporal, layer.bitrate, i not in inactive)
        for i, layer in enumerate(layers)
    ]


class Viewer:
    """One consumer of one transport, asked for again and again."""

    def __init__(self, layers: Sequence[Layer] = SIMULCAST, available: int = FREE) -> None:
        self.allocator = Allocator()
        self.now = 100.0
        self.target = self.get(available, layers)

    def get(
        self, available: int, layers: Sequence[Layer] = SIMULCAST, ceiling: int | None = None
    ) -> int | None:
        self.allocation = self.allocator.allocate([Demand("v", layers, ceiling)], available, self.now)
        self.target = self.allocation.targets["v"]
        return self.target

    def until_raised(self, available: int) -> float:
        """Seconds until it goes up."""
        before, begin = self.target, self.now
        while self.get(available) == before:
            timer = self.allocation.timer
            assert timer is not None
            assert timer > self.now
            self.now = timer
        assert (self.target or 0) > (before or 0)
        return self.now - begin


def test_frame_rate_comes_before_resolution() -> None:
    assert ladder(L3T3) == [0, 1, 2, 5, 8]


def test_a_resolution_without_that_frame_rate_comes_with_its_highest() -> None:
    assert ladder([Layer(0, 0, 1), Layer(0, 1, 2), Layer(0, 2, 3), Layer(1, 0, 4), Layer(1, 1, 5)]) == [
        0,
        1,
        2,
        4,
    ]


def test_what_the_host_does_not_send_is_not_on_the_ladder() -> None:
    assert ladder(without(L3T3, 0, 1, 2)) == [3, 4, 5, 8]
    assert ladder(without(L3T3, 6, 7, 8)) == [0, 1, 2, 5]
    assert ladder([]) == []


def test_the_ceiling_bounds_the_ladder_unless_nothing_is_left() -> None:
    assert ladder(L3T3, ceiling=4) == [0, 1, 2, 4]
    assert ladder(without(L3T3, 0, 1, 2), ceiling=2) == [3]


def test_a_new_viewer_gets_what_fits_at_once() -> None:
    assert Viewer(available=2_500_000).target == 2
    assert Viewer(available=2_499_999).target == 1
    assert Viewer(available=899_999).target == 0


def test_the_lowest_layer_is_sent_whatever_the_line_carries() -> None:
    viewer = Viewer(available=0)
    assert viewer.target == 0
    assert viewer.get(0, without(SIMULCAST, 0)) == 1


def test_nothing_sent_is_nothing_chosen() -> None:
    viewer = Viewer()
    assert viewer.get(FREE, without(SIMULCAST, 0, 1, 2)) is None
    assert viewer.allocation.wanted is None
    assert viewer.allocation.timer is None
    assert viewer.get(FREE) == 2


def test_down_at_once() -> None:
    viewer = Viewer()
    assert viewer.get(2_499_999) == 1
    assert viewer.get(100_000) == 0


def test_up_needs_a_margin_and_time() -> None:
    viewer = Viewer(available=500_000)
    assert viewer.allocation.timer is None
    assert viewer.get(with_margin(900_000) - 1) == 0
    assert viewer.allocation.timer is None
    assert viewer.until_raised(with_margin(900_000)) == pytest.approx(MIN_HOLD)
    assert viewer.get(900_000) == 1  # to stay takes no margin


def test_the_time_starts_again_when_it_did_not_fit_in_between() -> None:
    viewer = Viewer(available=500_000)
    viewer.get(2_000_000)
    viewer.now += 0.9 * MIN_HOLD
    viewer.get(500_000)
    assert viewer.until_raised(2_000_000) == pytest.approx(MIN_HOLD)


def test_up_goes_straight_to_what_fits() -> None:
    viewer = Viewer(available=300_000)
    viewer.until_raised(FREE)
    assert viewer.target == 2


def test_the_hold_time_doubles_with_each_failure_up_to_a_limit_below_ten_seconds() -> None:
    viewer = Viewer(available=500_000)
    holds = []
    for _ in range(6):
        holds.append(viewer.until_raised(2_000_000))
        viewer.now += 2
        assert viewer.get(500_000) == 0
    assert holds == pytest.approx([MIN_HOLD, 2, 4, 8, 8, 8])
    assert max(holds) <= MAX_HOLD < 10


def test_a_step_up_that_lasts_clears_the_failures() -> None:
    viewer = Viewer(available=500_000)
    viewer.until_raised(2_000_000)
    viewer.get(500_000)
    assert viewer.until_raised(2_000_000) == pytest.approx(2 * MIN_HOLD)
    viewer.now += FAILURE_TIME
    viewer.get(500_000)
    assert viewer.until_raised(2_000_000) == pytest.approx(MIN_HOLD)


def test_a_layer_that_stops_is_left_at_once_and_that_is_no_failure() -> None:
    viewer = Viewer(available=500_000)
    viewer.until_raised(FREE)
    assert viewer.get(FREE, without(SIMULCAST, 2)) == 1
    assert viewer.until_raised(FREE) == pytest.approx(MIN_HOLD)
    assert viewer.target == 2


def test_a_lower_ceiling_holds_at_once() -> None:
    viewer = Viewer()
    assert viewer.get(FREE, ceiling=1) == 1
    assert viewer.allocation.wanted is None


def test_wanted_is_what_the_next_step_takes() -> None:
    viewer = Viewer(available=500_000)
    wanted = viewer.allocation.wanted
    assert wanted is not None
    assert wanted == with_margin(900_000)
    viewer.until_raised(wanted)
    assert viewer.target == 1
    assert viewer.allocation.wanted == with_margin(2_500_000)
    assert Viewer().allocation.wanted is None


def test_nothing_is_wanted_for_a_step_that_only_waits() -> None:
    viewer = Viewer(available=500_000)
    assert viewer.get(FREE) == 0
    assert viewer.allocation.wanted is None
    assert viewer.allocation.timer == viewer.now + MIN_HOLD


def share(available: int, *demands: Demand) -> dict[object, int | None]:
    return dict(Allocator().allocate(demands, available, 0.0).targets)


def test_consumers_share_fairly() -> None:
    a, b = Demand("a", SIMULCAST), Demand("b", SIMULCAST)
    assert share(600_000, a, b) == {"a": 0, "b": 0}
    assert share(1_800_000, a, b) == {"a": 1, "b": 1}
    assert share(3_400_000, a, b) == {"a": 2, "b": 1}
    assert share(5_000_000, a, b) == {"a": 2, "b": 2}


def test_a_consumer_that_cannot_climb_leaves_its_share_to_others() -> None:
    small = Demand("small", [Layer(0, 0, 100_000)])
    assert share(2_600_000, small, Demand("large", SIMULCAST)) == {"small": 0, "large": 2}


def test_a_newcomer_takes_from_who_has_more() -> None:
    allocator = Allocator()
    old, new = Demand("old", SIMULCAST), Demand("new", SIMULCAST)
    assert allocator.allocate([old], 2_500_000, 0.0).targets == {"old": 2}
    assert allocator.allocate([old, new], 2_500_000, 1.0).targets == {"old": 1, "new": 1}


def test_who_left_is_forgotten_and_their_number_is_bounded() -> None:
    allocator = Allocator()
    for round_number in range(5):
        demands = [Demand((round_number, i), SIMULCAST) for i in range(MAX_DEMANDS)]
        allocator.allocate(demands, FREE, float(round_number))
        assert len(allocator._consumers) == MAX_DEMANDS
    with pytest.raises(ValueError, match="too many"):
        allocator.allocate([Demand(i, SIMULCAST) for i in range(MAX_DEMANDS + 1)], FREE, 9.0)

"""Estimator, probes and layer choice together, as a viewer of simulcast lives through them."""

from __future__ import annotations

import pytest

from sfu.media.allocation import Allocator, Demand, Layer
from tests.media.bwe.link import STEP, Line, Path

AUDIO = 50_000
LAYERS = [Layer(0, 2, 350_000), Layer(1, 2, 2_000_000)]
ALLOCATE_EVERY = 0.1


class Viewer:
    """Sends the chosen layer and audio, probes for the next; ``history``: (time, layer) of each switch."""

    def __init__(self, rate: float, jitter: float = 0.0, seed: int = 1) -> None:
        self.path = Path(Line(rate, jitter=jitter), limit=0, seed=seed, key_frame_every=300)
        self.allocator = Allocator()
        self.history: list[tuple[float, int]] = []

    def run(self, seconds: float) -> None:
        path = self.path
        for _ in range(round(seconds / ALLOCATE_EVERY)):
            available = path.estimate - AUDIO
            allocation = self.allocator.allocate([Demand("video", LAYERS)], available, path.now)
            target = allocation.targets["video"]
            assert target is not None
            if not self.history or self.history[-1][1] != target:
                self.history.append((path.now, target))
            path.limit = LAYERS[target].bitrate + AUDIO
            path.wanted = (allocation.wanted or -AUDIO) + AUDIO
            path.run(ALLOCATE_EVERY - STEP / 2)

    @property
    def layer(self) -> int:
        return self.history[-1][1]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("jitter", [0.0, 0.01])
def test_a_held_viewer_has_a_steady_lower_layer_and_climbs_back_within_ten_seconds(
    seed: int, jitter: float
) -> None:
    viewer = Viewer(5_000_000, jitter, seed)
    viewer.run(15)
    assert viewer.layer == 1
    viewer.path.line.rate = 500_000
    viewer.run(1)
    assert viewer.layer == 0
    switches = len(viewer.history)
    viewer.run(30)
    assert len(viewer.history) == switches  # steady: no trying, no flapping
    freed = viewer.path.now
    viewer.path.line.rate = 5_000_000
    viewer.run(10)
    assert viewer.layer == 1
    assert viewer.history[-1][0] - freed < 10
    viewer.run(30)
    assert len(viewer.history) == switches + 1


@pytest.mark.parametrize("seed", range(3))
def test_jitter_costs_time_but_no_flapping(seed: int) -> None:
    viewer = Viewer(5_000_000, 0.02, seed)
    viewer.run(20)
    assert viewer.layer == 1
    viewer.run(40)
    assert len(viewer.history) == 2


def test_a_line_that_only_just_does_not_carry_the_layer_is_not_flapped_on() -> None:
    viewer = Viewer(2_000_000)
    viewer.run(120)
    assert len(viewer.history) <= 6


def test_a_viewer_on_a_wide_line_gets_the_top_layer_soon() -> None:
    viewer = Viewer(10_000_000)
    viewer.run(3)
    assert viewer.layer == 1

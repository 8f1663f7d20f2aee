"""Which layer each video consumer of one viewer transport gets, from what the line carries.

**The order of layers.** In a game picture frames matter more than pixels: a sharp picture that stutters
cannot be played by. So the lowest resolution climbs to its full frame rate first, and a higher resolution
comes only with a frame rate that is not below what the viewer already has. Of L3T3 that leaves, from the
bottom: S0T0, S0T1, S0T2, S1T2, S2T2. A resolution that has no such frame rate comes with its highest.

**The rules.**

- The lowest layer that is being sent is always forwarded, whatever the estimate: never a black picture.
- A layer the host stopped sending is left at once.
- Down at once when the sum no longer fits; up only with :data:`UP_PERCENT` free, for the hold time without
  a break. The hold time doubles when a step up is taken back for lack of room within :data:`FAILURE_TIME`,
  and is :data:`MIN_HOLD` again when one lasts.
- Consumers share fairly: the one that has least bitrate takes the next step up, as long as steps fit.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

UP_PERCENT: Final = 115
"""Of its bitrate that must be free for a layer above the present one."""
MIN_HOLD: Final = 1.0
MAX_HOLD: Final = 8.0
"""Seconds for which a step up must have fitted."""
FAILURE_TIME: Final = 10.0
"""Seconds within which giving up a layer means that going up to it was a mistake."""
MAX_DEMANDS: Final = 256
"""Consumers in one allocation."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One spatial and temporal layer of a stream, as it is now."""

    spatial: int
    temporal: int
    bitrate: int
    """Bits/s measured, of all that is forwarded when this layer is chosen (the whole stack up to it)."""
    active: bool = True
    """The host sends it, and its bitrate is known."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one consumer could be sent."""

    key: Hashable
    """Of the consumer, the same in each call."""
    layers: Sequence[Layer]
    """By spatial, then by temporal layer, from the lowest."""
    ceiling: int | None = None
    """Index in ``layers`` of the highest one that the viewer wants. If all up to it are inactive, the lowest
    active one above is sent."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """What to do now."""

    targets: Mapping[Hashable, int | None]
    """By the demand's key: index of the layer to aim at; None if the host sends nothing at all."""
    wanted: int | None
    """Bits/s, of all these consumers together, that would allow the next better step of one; None if there is
    no better, or if it fits already and only waits for its hold time."""
    timer: float | None
    """When to allocate again if nothing changes: a hold time ends."""


@dataclass(slots=True)
class _Consumer:
    target: tuple[int, int] | None = None
    """Spatial and temporal."""
    hold: float = MIN_HOLD
    fits_since: float | None = None
    """When a step up began to fit."""
    raised_at: float | None = None
    """When the last step up was taken, while it may still turn out a failure."""


@dataclass(slots=True)
class _Claim:
    """One demand in the making."""

    demand: Demand
    consumer: _Consumer
    steps: list[int]
    """Indices in ``layers``, from the lowest."""
    present: int
    """Position in ``steps`` of what it has now; of new consumers the highest, as nothing is switched."""

    def bitrate(self, position: int) -> int:
        return self.demand.layers[self.steps[position]].bitrate

    def cost(self, position: int) -> int:
        """Bits/s that must be free for the step."""
        bitrate = self.bitrate(position)
        return with_margin(bitrate) if position > self.present else bitrate


class Allocator:
    """One per viewer transport: remembers what each consumer was given, and how that went."""

    def __init__(self) -> None:
        self._consumers: dict[Hashable, _Consumer] = {}

    def allocate(self, demands: Sequence[Demand], available: int, now: float) -> Allocation:
        """Share ``available`` bits/s (what is left for video) among the demands, of distinct keys.

        Consumers that are not among them are forgotten. Raises :class:`ValueError` beyond
        :data:`MAX_DEMANDS`.
        """
        if len(demands) > MAX_DEMANDS:
            raise ValueError("too many consumers")
        consumers = {d.key: self._consumers.get(d.key) or _Consumer() for d in demands}
        self._consumers = consumers
        claims = [_claim(demand, consumers[demand.key]) for demand in demands]
        live = [claim for claim in claims if claim.steps]
        for claim in claims:
            if not claim.steps:
                claim.consumer.target = None
                claim.consumer.fits_since = claim.consumer.raised_at = None
        desired = _share(live, [len(claim.steps) - 1 for claim in live], available)
        timer: float | None = None
        limits = []
        for claim, position in zip(live, desired, strict=True):
            consumer = claim.consumer
            limits.append(claim.present)
            if position <= claim.present:
                consumer.fits_since = None
                continue
            if consumer.fits_since is None:
                consumer.fits_since = now
            due = consumer.fits_since + consumer.hold
            if now >= due:
                limits[-1] = position
            else:
                timer = due if timer is None else min(timer, due)
        for claim, position in zip(live, _share(live, limits, available), strict=True):
            _settle(claim, position, now)
        targets = {claim.demand.key: _index(claim.demand.layers, claim.consumer.target) for claim in claims}
        return Allocation(targets, _wanted(live, desired), timer)


def with_margin(bitrate: int) -> int:
    """Bits/s that must be free before going up to a layer of ``bitrate``."""
    return -(-bitrate * UP_PERCENT // 100)


def ladder(layers: Sequence[Layer], ceiling: int | None = None) -> list[int]:
    """Indices of the layers worth choosing, from the lowest; see the module's text."""
    active = [i for i, layer in enumerate(layers) if layer.active]
    if ceiling is not None:
        active = [i for i in active if i <= ceiling] or active[:1]
    steps: list[int] = []
    for i in active:
        layer = layers[i]
        below = layers[steps[-1]].temporal if steps else 0
        highest = all(
            layers[j].temporal <= layer.temporal for j in active if layers[j].spatial == layer.spatial
        )
        if layer.temporal >= below or highest:
            steps.append(i)
    return steps


def _claim(demand: Demand, consumer: _Consumer) -> _Claim:
    steps = ladder(demand.layers, demand.ceiling)
    present = len(steps) - 1
    if consumer.target is not None and steps:
        present = 0
        for position, index in enumerate(steps):
            layer = demand.layers[index]
            if (layer.spatial, layer.temporal) <= consumer.target:
                present = position
    return _Claim(demand, consumer, steps, present)


def _share(claims: Sequence[_Claim], limits: Sequence[int], available: int) -> list[int]:
    """Positions on the ladders, none above its limit: all lowest, then step by step whoever has least."""
    positions = [0] * len(claims)
    spent = [claim.cost(0) for claim in claims]
    left = available - sum(spent)
    climbing = set(range(len(claims)))
    while climbing:
        at = min(climbing, key=lambda i: (spent[i], i))
        for position in range(positions[at] + 1, limits[at] + 1):
            cost = claims[at].cost(position)
            if cost - spent[at] <= left:
                left -= cost - spent[at]
                spent[at] = cost
                positions[at] = position
                break
        else:
            climbing.discard(at)
    return positions


def _settle(claim: _Claim, position: int, now: float) -> None:
    consumer = claim.consumer
    raised = consumer.raised_at
    if consumer.target is None:
        pass
    elif position > claim.present:
        consumer.raised_at = now
        consumer.fits_since = None
    elif raised is not None and now - raised >= FAILURE_TIME:
        consumer.hold = MIN_HOLD
        consumer.raised_at = None
    elif raised is not None and position < claim.present:
        consumer.hold = min(2 * consumer.hold, MAX_HOLD)
        consumer.raised_at = None
    layer = claim.demand.layers[claim.steps[position]]
    consumer.target = (layer.spatial, layer.temporal)


def _index(layers: Sequence[Layer], target: tuple[int, int] | None) -> int | None:
    for index, layer in enumerate(layers):
        if (layer.spatial, layer.temporal) == target:
            return index
    return None


def _wanted(claims: Sequence[_Claim], desired: Sequence[int]) -> int | None:
    total = sum(claim.cost(position) for claim, position in zip(claims, desired, strict=True))
    steps = [
        max(with_margin(claim.bitrate(position + 1)) - claim.cost(position), 0)
        for claim, position in zip(claims, desired, strict=True)
        if position + 1 < len(claim.steps)
    ]
    return total + min(steps) if steps else None

"""Which layers of a producer each of its consumers gets.

A :class:`LayerMonitor` watches what a producer really sends: its streams (simulcast) and the layers within
each, with their bitrates. From that come the *rungs*, lowest first: what a consumer can be given. Temporal
layers are given up on the lowest rungs only: in a game a smooth picture is worth more than a sharp one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from sfu.media.objects import Producer, ReceivedStream, Rung
from sfu.media.table import MAX_SPATIAL, MAX_TEMPORAL

TICK: Final = 0.1
"""Seconds between two looks at a producer with layers."""
IDLE_TICK: Final = 1.0
"""Seconds between two looks at one in which none were seen."""
SILENCE: Final = 0.4
"""Seconds by which a layer may be behind the others of its producer before it counts as stopped."""
WINDOW: Final = 10
"""Looks over which a bitrate is measured."""


class _StreamLayers:
    """What was seen of one stream."""

    def __init__(self) -> None:
        self.looks: deque[tuple[float, list[int]]] = deque(maxlen=WINDOW + 1)
        self.moved: list[float] = [float("-inf")] * (MAX_SPATIAL * MAX_TEMPORAL)
        """When each layer was last seen to grow."""

    def look(self, octets: list[int], now: float) -> None:
        if self.looks:
            before = self.looks[-1][1]
            for layer, count in enumerate(octets):
                if count != before[layer]:
                    self.moved[layer] = now
        self.looks.append((now, octets.copy()))

    def bitrate(self, layers: Sequence[int]) -> int:
        """Of some layers together."""
        (began, before), (ended, after) = self.looks[0], self.looks[-1]
        if ended <= began:
            return 0
        return round(sum(after[i] - before[i] for i in layers) * 8 / (ended - began))


class LayerMonitor:
    """The layers of one video producer."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self._streams: dict[int, _StreamLayers] = {}

    def look(self, now: float) -> float:
        """Measure, and set the rungs of the producer. Returns when to look again."""
        streams = by_size(self.producer)
        for stream in streams:
            seen = self._streams.setdefault(stream.entry.ssrc, _StreamLayers())
            seen.look(stream.entry.layer_octets, now)
        newest = max((max(self._streams[s.entry.ssrc].moved) for s in streams), default=float("-inf"))
        rungs: list[Rung] = []
        for size, stream in enumerate(streams):
            rungs += self._rungs_of(size, stream, newest - SILENCE)
        # Fewer pictures are for those who cannot have the smallest size at the full rate.
        smallest = (rungs[0].stream, rungs[0].spatial) if rungs else None
        self.producer.rungs = [
            r for r in rungs if r.temporal >= MAX_TEMPORAL or (r.stream, r.spatial) == smallest
        ]
        layered = len(self.producer.mapping.encodings) > 1 or len(self.producer.rungs) > 1
        return now + (TICK if layered else IDLE_TICK)

    def _rungs_of(self, size: int, stream: ReceivedStream, since: float) -> list[Rung]:
        """Those of one stream: each spatial layer that is sent, the lowest with fewer temporal layers too."""
        seen = self._streams[stream.entry.ssrc]
        active = [
            divmod(layer, MAX_TEMPORAL)
            for layer, moved in enumerate(seen.moved)
            if moved > float("-inf") and moved >= since
        ]
        if not active:
            return []
        spatials = sorted({spatial for spatial, _ in active})
        temporals = sorted({temporal for _, temporal in active})
        rungs = []
        for spatial in spatials:
            for temporal in temporals:
                included = [s * MAX_TEMPORAL + t for s, t in active if s <= spatial and t <= temporal]
                all_spatial, all_temporal = spatial == spatials[-1], temporal == temporals[-1]
                rungs.append(
                    Rung(
                        stream,
                        size,
                        MAX_SPATIAL if all_spatial else spatial,
                        MAX_TEMPORAL if all_temporal else temporal,
                        seen.bitrate(included),
                    )
                )
        return rungs


def by_size(producer: Producer) -> list[ReceivedStream]:
    """The streams of a producer, the smallest picture first.

    Encodings should be listed in that order (W3C webrtc-pc 5.3), but older clients list the largest first.
    """

    def size(stream: ReceivedStream) -> tuple[float, float, int]:
        encoding = producer.parameters.encodings[stream.index]
        scale, bitrate = encoding.scale_resolution_down_by, encoding.max_bitrate
        return (
            -scale if isinstance(scale, float) else -1.0,
            bitrate if isinstance(bitrate, float) else 0.0,
            stream.index,
        )

    return sorted(producer.streams, key=size)

"""The line to one viewer that has something to choose: what it carries, and what to send on it.

What went out and what the viewer says of it go in; the rung of each consumer, and the probes to be sent, come
out. One is made for a transport once a producer with several rungs is watched over it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from sfu.media.allocation import MAX_DEMANDS, Allocator, Demand, Layer
from sfu.media.bwe import Probe, SendSideEstimator
from sfu.media.objects import Rung
from sfu.media.rtcp_session import Requests
from sfu.media.table import MAX_SPATIAL, TransportEntry

SLICE: Final = 0.01
"""Seconds between two parts of a probe: its rate is to be that of a sender, not of a burst."""


class ViewerLine:
    """Estimate and choice for one transport."""

    def __init__(self, entry: TransportEntry, now: float) -> None:
        self.estimator = SendSideEstimator(now)
        self._allocator = Allocator()
        self._entry = entry
        entry.sent = []
        self._probe: Probe | None = None
        self._probe_bytes = 0
        self._probe_packets = 0
        self._probe_at = 0.0

    def receive(self, requests: Requests, round_trip: float | None, now: float) -> None:
        """What the viewer's RTCP says. It may lie."""
        self.take_sent()
        for feedback in requests.feedback:
            self.estimator.on_feedback_untrusted(feedback, now)
        if requests.remb is not None:
            self.estimator.on_remb(requests.remb, now)
        for block in requests.reports:
            self.estimator.on_report(block.fraction_lost / 256, round_trip, now)

    def take_sent(self) -> None:
        """Let the estimator know what went out."""
        sent = self._entry.sent
        assert sent is not None
        for first, sizes, at, cluster in sent:
            self.estimator.on_sent(first, sizes, at, probe=cluster)
        sent.clear()

    def choose(self, offers: Mapping[str, Sequence[Rung]], now: float) -> dict[str, Rung]:
        """The rung of each consumer, by its id; none for those whose producer sends nothing, or beyond
        :data:`~sfu.media.allocation.MAX_DEMANDS`.
        """
        demands = [
            Demand(consumer_id, [_layer(rung) for rung in rungs])
            for consumer_id, rungs in islice(offers.items(), MAX_DEMANDS)
        ]
        allocation = self._allocator.allocate(demands, self.estimator.bitrate, now)
        self.estimator.request_probe(allocation.wanted or 0)
        chosen = {}
        for consumer_id, index in allocation.targets.items():
            if index is not None:
                chosen[str(consumer_id)] = offers[str(consumer_id)][index]
        return chosen

    def next_probe(self, now: float) -> tuple[int, int] | None:
        """(bytes, cluster) of padding that is due now."""
        if self._probe is None:
            self._probe = self.estimator.next_probe(now)
            if self._probe is None:
                return None
            self._probe_bytes = self._probe.bytes
            self._probe_packets = self._probe.packets
            self._probe_at = now
        if now < self._probe_at:
            return None
        self._probe_at = now + SLICE
        return max(round(self._probe.bitrate * SLICE / 8), 1), self._probe.cluster

    def probe_sent(self, packets: int, octets: int) -> None:
        """So much of the probe went out; nothing if there was nothing to make it of."""
        self._probe_bytes -= octets
        self._probe_packets -= packets
        if not packets or (self._probe_bytes <= 0 and self._probe_packets <= 0):
            self._probe = None

    def get_timer(self) -> float | None:
        """When to call :meth:`handle_timer` and :meth:`next_probe`."""
        timers = [self.estimator.get_timer()]
        if self._probe is not None:
            timers.append(self._probe_at)
        return min((t for t in timers if t is not None), default=None)

    def handle_timer(self, now: float) -> None:
        self.take_sent()
        timer = self.estimator.get_timer()
        if timer is not None and now >= timer:
            self.estimator.handle_timer(now)


def _layer(rung: Rung) -> Layer:
    """The streams of a simulcast are spatial layers to the allocator too."""
    return Layer(rung.size * (MAX_SPATIAL + 1) + rung.spatial, rung.temporal, rung.bitrate)

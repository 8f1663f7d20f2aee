"""Probing: short bursts above the estimate, to see whether the line carries more before a layer needs it.

A viewer is sent a layer's rate, so nothing in the media itself ever shows that the next layer would fit. A
probe adds padding for :data:`DURATION` seconds, so that together with the media it reaches the rate in
question, at most :data:`STEP` times the estimate. Even where the line carries no more than the estimate
this leaves a queue of no more than ``DURATION * (STEP - 1)`` seconds, and it happens once in
:data:`MAX_INTERVAL` seconds there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sfu.media.bwe.sent import Arrival

DURATION: Final = 0.05
"""Seconds of padding in one probe where feedback tells of each packet."""
COARSE_DURATION: Final = 1.0
"""Seconds of padding where only reports or REMB answer: they look at a second or more."""
STEP: Final = 2.0
"""Times the estimate that is probed for at most."""
FIRST_STEP: Final = 3.0
"""The same for the very first probe: the estimate is only where it was told to start."""
COARSE_STEP: Final = 1.3
"""The same where the probe lasts longer: the queue it may leave is the longer for it."""
OVERSHOOT: Final = 1.15
"""Times the wanted rate that is probed for: what a probe shows is a little less than what it sends."""
MIN_PACKETS: Final = 5
"""In a probe, and of it that must arrive."""
ARRIVED_SHARE: Final = 0.8
"""Of a probe's packets that must arrive for it to say anything."""
SATURATED_SHARE: Final = 0.9
"""Arriving slower than this share of the sent rate: the line's limit was met."""
MIN_INTERVAL: Final = 1.0
MAX_INTERVAL: Final = 4.0
"""Seconds between a failed probe and the next: doubles with each failure."""
MAX_COARSE_INTERVAL: Final = 16.0
"""The same for long probes."""
LIMIT_SHARE: Final = 0.95
"""Of the line's limit, once met, that is taken for the estimate."""
TIMEOUT: Final = 1.0
"""Seconds that the sender has for a probe, and after that the feedback."""
QUIET_AFTER_DECREASE: Final = 2.0
"""Seconds without probes after the line was too full."""
DRAIN: Final = 0.15
"""Seconds after a probe in which its queue may be seen in the delay of what follows."""
SUCCESS: Final = 1.05
"""Times the estimate that a probe must show to count as a success."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Padding to be sent now."""

    cluster: int
    """Goes with it to ``on_sent``. Never 0."""
    bitrate: int
    """Bits/s at which to send the padding, next to the media."""
    packets: int
    """To be sent at least."""
    bytes: int
    """On the wire, to be sent at least; both together make the probe complete."""


@dataclass(slots=True)
class _Cluster:
    probe: Probe
    target: int
    """Bits/s of media and padding together."""
    estimate: int
    deadline: float
    first: int | None = None
    last: int = -1
    """Number of the last packet, once complete (else -1)."""
    started: float = 0.0
    ended: float = 0.0
    sent_packets: int = 0
    sent_bytes: int = 0
    arrivals: list[Arrival] | None = None


MAX_ARRIVALS: Final = 1000
"""Kept of one probe; the rest says nothing new."""


class Prober:
    """At most one probe at a time."""

    def __init__(self) -> None:
        self.wanted = 0
        """Bits/s that would allow something better; 0 if nothing would."""
        self._cluster: _Cluster | None = None
        self._clusters = 0
        self._interval = MIN_INTERVAL
        self._max_interval = MAX_INTERVAL
        self._not_before = 0.0
        self._blind: tuple[float, float] = (0.0, -1.0)

    @property
    def active(self) -> bool:
        """A probe is being sent or waits for its answer."""
        return self._cluster is not None

    def get_timer(self, estimate: int) -> float | None:
        """When a probe times out, or the next is due."""
        if self._cluster is not None:
            return self._cluster.deadline
        return self._not_before if self.wanted > estimate else None

    def handle_timer(self, now: float) -> None:
        if self._cluster is not None and now >= self._cluster.deadline:
            self._fail(now)

    def postpone(self, now: float) -> None:
        """The line is too full: no probe for a while, and the current one counts for nothing."""
        self._not_before = max(self._not_before, now + QUIET_AFTER_DECREASE)
        self.blind_span()
        self._cluster = None

    def next_probe(self, estimate: int, sending: int, now: float, *, coarse: bool) -> Probe | None:
        """The probe that is due. ``sending`` is the rate of the media; rates in bits/s."""
        if self._cluster is not None or self.wanted <= estimate or now < self._not_before:
            return None
        step = COARSE_STEP if coarse else STEP if self._clusters else FIRST_STEP
        target = int(min(self.wanted * OVERSHOOT, estimate * step))
        duration = COARSE_DURATION if coarse else DURATION
        bitrate = max(target - sending, target // 4)
        self._clusters += 1
        self._max_interval = MAX_COARSE_INTERVAL if coarse else MAX_INTERVAL
        probe = Probe(self._clusters, bitrate, MIN_PACKETS, max(int(bitrate * duration / 8), 1))
        self._cluster = _Cluster(probe, target, estimate, now + duration + TIMEOUT)
        return probe

    def on_sent(self, cluster: int, first: int, sizes: Sequence[int], now: float) -> None:
        """Packets of a probe went out, numbered from ``first``. Those of an old probe mean nothing."""
        current = self._cluster
        if current is None or cluster != current.probe.cluster or current.last >= 0:
            return
        if current.first is None:
            current.first = first
            current.started = now
            current.arrivals = []
        current.sent_packets += len(sizes)
        current.sent_bytes += sum(sizes)
        current.ended = now
        if current.sent_packets >= current.probe.packets and current.sent_bytes >= current.probe.bytes:
            current.last = first + len(sizes) - 1
            current.deadline = now + TIMEOUT

    def blind_span(self) -> tuple[float, float]:
        """From when to when what is sent has a delay of the last probe's making."""
        cluster = self._cluster
        if cluster is not None and cluster.first is not None:
            self._blind = (cluster.started, cluster.ended + DRAIN)
        return self._blind

    def on_report(self, arrivals: Iterable[Arrival], reported: int, now: float) -> int | None:
        """What arrived. Once the probe is answered: the bits/s it showed, if more than the estimate was."""
        cluster = self._cluster
        if cluster is None or cluster.first is None or cluster.arrivals is None:
            return None
        last = cluster.last if cluster.last >= 0 else reported
        for arrival in arrivals:
            if cluster.first <= arrival.number <= last and len(cluster.arrivals) < MAX_ARRIVALS:
                cluster.arrivals.append(arrival)
        if cluster.last < 0 or reported < cluster.last:
            return None
        expected = min(cluster.last - cluster.first + 1, MAX_ARRIVALS)
        shown, saturated = _rate_shown(cluster.arrivals, expected)
        return self._finish(cluster, min(shown, cluster.target), saturated, now)

    def on_coarse_report(self, shown: int, now: float) -> int | None:
        """A receiver report or REMB came. Once it is of the probe: as :meth:`on_report`.

        ``shown`` is what the viewer says the line carries, in bits/s.
        """
        cluster = self._cluster
        if cluster is None or cluster.last < 0 or now < cluster.ended + DRAIN:
            return None
        return self._finish(cluster, min(shown, cluster.target), shown < cluster.target, now)

    def _finish(self, cluster: _Cluster, shown: int, saturated: bool, now: float) -> int | None:
        if shown < SUCCESS * cluster.estimate:
            self._fail(now)
            return None
        self.blind_span()
        self._cluster = None
        self._interval = MIN_INTERVAL
        self._not_before = now + MIN_INTERVAL if saturated else now
        return shown

    def _fail(self, now: float) -> None:
        self.blind_span()
        self._cluster = None
        self._not_before = now + self._interval
        self._interval = min(2 * self._interval, self._max_interval)


def _rate_shown(arrivals: list[Arrival], expected: int) -> tuple[int, bool]:
    """Bits/s that the line carried, 0 if the packets do not tell; and whether that is its limit.

    The first packet's size does not count where the time begins with its arrival, nor the last one's where
    time ends with its sending.
    """
    if len(arrivals) < max(MIN_PACKETS, ARRIVED_SHARE * expected):
        return 0, True
    total = sum(a.size for a in arrivals)
    first, last = min(arrivals, key=_arrived), max(arrivals, key=_arrived)
    received_for = last.arrived - first.arrived
    sent_for = arrivals[-1].sent - arrivals[0].sent
    if received_for <= 0:
        return 0, True
    received = (total - first.size) * 8 / received_for
    if sent_for <= 0:
        return int(received), False
    sent = (total - arrivals[-1].size) * 8 / sent_for
    if received < SATURATED_SHARE * sent:
        return int(LIMIT_SHARE * received), True
    return int(min(received, sent)), False


def _arrived(arrival: Arrival) -> float:
    return arrival.arrived

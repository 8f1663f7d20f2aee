"""A sender, a line and a viewer in virtual time: what the estimator's behaviour is measured on.

The line has a rate with a queue before it, a delay, jitter that keeps the order (as Wi-Fi and LTE do), random
loss and outages. The viewer reports as a browser does. The sender is a forwarder: frames leave in bursts, at
the layer's rate (application-limited) or at whatever the estimate allows.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Final

from sfu.media.bwe import SendSideEstimator
from sfu.media.bwe.probing import Probe
from sfu.rtp.rtcp import build_transport_feedback

FRAME: Final = 1 / 60
PACKET: Final = 1100
STEP: Final = 0.005
START: Final = 1000.0


class Answers(Enum):
    """What the viewer sends back."""

    FEEDBACK = 1
    """Transport-wide feedback."""
    REMB = 2
    """Receiver reports and REMB, each second."""
    REPORTS = 3
    """Receiver reports, each second."""


@dataclass
class Line:
    """Change the fields while it runs."""

    rate: float
    """Bits/s."""
    delay: float = 0.025
    """Seconds each way."""
    jitter: float = 0.0
    """Seconds: each packet is held for a uniform time of up to twice this, never overtaken."""
    loss: float = 0.0
    queue: float = 0.3
    """Seconds that the queue holds before it drops."""
    down: bool = False


@dataclass
class Sample:
    time: float
    estimate: int
    queued: float
    """Seconds of queue that a packet found."""


@dataclass
class Path:
    """Runs a sender over a line. ``limit`` is the layer's rate; None sends what the estimate allows."""

    line: Line
    limit: float | None = None
    wanted: int = 0
    """Bits/s to probe for."""
    feedback_interval: float = 0.05
    feedback_loss: float = 0.0
    feedback_delay: float = 0.0
    """Seconds more than the line takes."""
    answers: Answers = Answers.FEEDBACK
    key_frame_every: int = 0
    """Frames; a key frame is as large as eight others."""
    seed: int = 1
    start_bitrate: int = 600_000
    now: float = START
    samples: list[Sample] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.estimator = SendSideEstimator(self.now, start_bitrate=self.start_bitrate)
        self.random = Random(self.seed)
        self.next_number = 7
        self.next_frame = self.now
        interval = self.feedback_interval if self.answers is Answers.FEEDBACK else 1.0
        self.next_feedback = self.now + interval
        self.free_at = self.now
        self.last_arrival = self.now
        self.arriving: deque[tuple[float, int, int]] = deque()
        self.arrived: list[tuple[int, float]] = []
        self.received_bytes = self.received_packets = 0
        self.reported_number = self.next_number
        self.highest = self.next_number - 1
        self.remb = self.estimate
        self.frames = 0
        self.reports: deque[tuple[float, list[tuple[int, float]]]] = deque()
        self.base: int | None = None
        self.feedback_count = 0
        self.probe: Probe | None = None
        self.probe_sent = self.probe_packets = 0
        self.probe_credit = 0.0
        self.frame_credit = 0.0

    @property
    def estimate(self) -> int:
        return self.estimator.bitrate

    def run(self, seconds: float) -> list[Sample]:
        """Let time pass; what was seen meanwhile."""
        begin = len(self.samples)
        end = self.now + seconds
        while self.now < end:
            self._step()
            self.now += STEP
        return self.samples[begin:]

    def _step(self) -> None:
        now = self.now
        while self.next_frame <= now:
            self.frame_credit += (self.estimate if self.limit is None else self.limit) * FRAME / 8
            self._send_frame()
            self.next_frame += FRAME
        while self.arriving and self.arriving[0][0] <= now:
            time, number, size = self.arriving.popleft()
            self.arrived.append((number, time))
            self.received_bytes += size
            self.received_packets += 1
            self.highest = number
        if now >= self.next_feedback:
            self.next_feedback += self.feedback_interval
            self._report()
        while self.reports and self.reports[0][0] <= now:
            self._take_report(self.reports.popleft()[1])
        timer = self.estimator.get_timer()
        if timer is not None and timer <= now:
            self.estimator.handle_timer(now)
        self.estimator.request_probe(self.wanted)
        probe = self.estimator.next_probe(now)
        if probe is not None:
            self.probes.append(probe)
            self.probe, self.probe_sent, self.probe_packets, self.probe_credit = probe, 0, 0, 0.0
        self._send_probe()
        self.samples.append(Sample(now, self.estimate, max(self.free_at - now, 0.0)))

    def _send_frame(self) -> None:
        # A frame's size varies by a quarter; the mean is the rate.
        size = int(self.frame_credit * self.random.uniform(0.75, 1.25))
        self.frames += 1
        if self.key_frame_every and self.frames % self.key_frame_every == 0:
            size = int(8 * FRAME / 8 * (self.limit or self.estimate))
        elif self.frame_credit < 0:
            size = 200  # the encoder pays for the key frame with the frames after it
        self.frame_credit -= size
        sizes = [PACKET] * (size // PACKET)
        if size % PACKET > 100 or not sizes:
            sizes.append(max(size % PACKET, 100))
        self._send(sizes)

    def _send_probe(self) -> None:
        probe = self.probe
        if probe is None:
            return
        self.probe_credit += probe.bitrate * STEP / 8
        size = min(1000, -(-probe.bytes // probe.packets))
        sizes = []
        while self.probe_credit >= size:
            self.probe_credit -= size
            sizes.append(size)
        if sizes:
            self._send(sizes, probe.cluster)
            self.probe_sent += sum(sizes)
            self.probe_packets += len(sizes)
        if self.probe_sent >= probe.bytes and self.probe_packets >= probe.packets:
            self.probe = None

    def _send(self, sizes: list[int], probe: int = 0) -> None:
        now, line = self.now, self.line
        self.estimator.on_sent(self.next_number, sizes, now, probe=probe)
        for number, size in enumerate(sizes, self.next_number):
            if line.down or self.random.random() < line.loss or self.free_at - now > line.queue:
                continue
            self.free_at = max(self.free_at, now) + size * 8 / line.rate
            arrival = self.free_at + line.delay + self.random.uniform(0, 2 * line.jitter)
            self.last_arrival = max(arrival, self.last_arrival)
            self.arriving.append((self.last_arrival, number, size))
        self.next_number += len(sizes)

    def _report(self) -> None:
        if self.answers is not Answers.FEEDBACK:
            self._report_coarsely()
            return
        if not self.arrived:
            return
        if self.random.random() >= self.feedback_loss and not self.line.down:
            self.reports.append((self.now + self.line.delay + self.feedback_delay, self.arrived))
        self.arrived = []

    def _report_coarsely(self) -> None:
        """Once a second. REMB as a browser's: 8 % more, at most 1.5 of what comes; 0.85 if that queues."""
        self.next_feedback += 1.0 - self.feedback_interval
        sent = self.highest + 1 - self.reported_number
        lost = max(1 - self.received_packets / sent, 0.0) if sent else 0.0
        queued = max(self.free_at - self.now, 0.0)
        incoming = self.received_bytes * 8
        self.reported_number, self.received_bytes, self.received_packets = self.highest + 1, 0, 0
        if self.line.down:
            return
        self.estimator.on_report(lost, 2 * self.line.delay + queued, self.now)
        if self.answers is Answers.REMB:
            grown = max(self.remb, min(self.remb * 1.08, incoming * 1.5))
            self.remb = int(incoming * 0.85 if queued > 0.05 else grown)
            self.estimator.on_remb(self.remb, self.now)

    def _take_report(self, arrivals: list[tuple[int, float]]) -> None:
        for message in build_transport_feedback(1, 2, arrivals, self.feedback_count, base=self.base):
            self.feedback_count += 1
            self.estimator.on_feedback_untrusted(message, self.now)
        self.base = arrivals[-1][0] + 1


def mean_estimate(samples: list[Sample]) -> float:
    return sum(s.estimate for s in samples) / len(samples)


def queue_percentile(samples: list[Sample], percentile: float) -> float:
    queued = sorted(s.queued for s in samples)
    return queued[int((len(queued) - 1) * percentile)]

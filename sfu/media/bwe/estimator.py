"""What one viewer's line carries: delay, loss, probes and what the viewer itself says, made one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sfu.media.bwe.acknowledged import AcknowledgedRate
from sfu.media.bwe.delay import DelayDetector, Usage
from sfu.media.bwe.loss import LossControl
from sfu.media.bwe.probing import Probe, Prober
from sfu.media.bwe.rate import MAX_BITRATE, RateControl, clamp
from sfu.media.bwe.sent import SentPackets
from sfu.rtp.rtcp import TransportFeedback

START_BITRATE: Final = 600_000
"""Bits/s assumed of a line nothing is known of."""
FEEDBACK_TIMEOUT: Final = 1.0
"""Seconds without feedback on what was sent after which the estimate shrinks."""
REPORT_TIMEOUT: Final = 5.0
"""The same where only reports or REMB answer."""
SENDING_INTERVAL: Final = 0.5
"""Seconds that our own rate is measured over at least, where only reports or REMB answer."""
SILENCE_INTERVAL: Final = 0.5
"""Seconds between two such steps."""
SILENCE_SHARE: Final = 0.8
"""What each leaves."""
FEEDBACK_LIFETIME: Final = 5.0
"""Seconds for which transport-wide feedback makes reports and REMB superfluous."""
QUEUED: Final = 0.1
"""Seconds above the shortest round trip that mean a full queue, where only reports tell."""
DEFAULT_ROUND_TRIP: Final = 0.2
MAX_ROUND_TRIP: Final = 2.0
CARRIED_LOSS: Final = 0.05
"""Loss in a report up to which a probe counts as carried."""


class SendSideEstimator:
    """One per viewer transport that has something to choose. Times are seconds, rates bits/s."""

    def __init__(self, now: float, *, start_bitrate: int = START_BITRATE) -> None:
        self._sent = SentPackets()
        self._arrived = AcknowledgedRate()
        self._delay = DelayDetector()
        self._rate = RateControl(start_bitrate, now)
        self._loss = LossControl(now)
        self._prober = Prober()
        self._round_trip = DEFAULT_ROUND_TRIP
        self._shortest_round_trip: float | None = None
        self._feedback_at: float | None = None
        self._answered_at: float | None = None
        """Last answer of any kind: silence is measured from there."""
        self._lowered_at = now
        """When silence last lowered the estimate."""
        self._coarse = True
        """No transport-wide feedback: reports and REMB are all there is."""
        self._remb: int | None = None
        self._sending = 0
        self._counted = 0
        self._counted_at = now

    @property
    def bitrate(self) -> int:
        """What may be sent now: MIN_BITRATE to MAX_BITRATE."""
        return self._rate.bitrate

    @property
    def acknowledged(self) -> int:
        """What arrived lately (over half a second of arrivals, or between two reports); 0 if unknown."""
        return self._sending if self._coarse else self._arrived.bitrate

    def on_sent(self, first: int, sizes: Sequence[int], now: float, *, probe: int = 0) -> None:
        """Packets of one drain went out: transport-wide numbers from ``first`` on, unwrapped and never
        going back; ``sizes`` in bytes on the wire, kept and so not to be changed by the caller. ``probe`` is
        the cluster they are padding for."""
        self._sent.append(first, sizes, now)
        if probe:
            self._prober.on_sent(probe, first, sizes, now)

    def on_feedback_untrusted(self, feedback: TransportFeedback, now: float) -> None:
        """Transport-wide feedback. It may lie: the estimate stays in its range, and nothing is raised."""
        report = self._sent.on_feedback_untrusted(feedback)
        if not report.arrivals and not report.lost:
            return
        self._feedback_at = self._answered_at = now
        self._coarse = False
        self._remb = None
        prober, arrived, delay = self._prober, self._arrived, self._delay
        usage = Usage.NORMAL
        blind_from, blind_to = prober.blind_span()
        for _, sent, arrival, size in report.arrivals:
            arrived.on_packet(sent, arrival, size)
            if not blind_from <= sent <= blind_to:
                delay.on_packet(sent, arrival)
                if delay.usage is Usage.OVERUSE:
                    usage = Usage.OVERUSE
        if report.arrivals:
            self._measure_round_trip(now - report.arrivals[-1].sent)
        if usage is not Usage.OVERUSE:
            usage = delay.usage
        self._act(usage, arrived.bitrate, arrived.sent_bitrate, now)
        loss = self._loss.on_packets(len(report.arrivals) + report.lost, report.lost, now)
        if loss is not None:
            self._on_loss(loss, arrived.bitrate, arrived.sent_bitrate, now)
        shown = prober.on_report(report.arrivals, report.reported, now)
        if shown is not None and shown > self._rate.bitrate:
            self._rate.set(shown)

    def on_remb(self, bitrate: int, now: float) -> None:
        """The receiver's own estimate (draft-alvestrand-rmcat-remb-03). Without effect next to feedback."""
        if not self._is_coarse(now):
            return
        self._answered_at = now
        self._remb = clamp(bitrate)
        if self._remb < self._rate.bitrate:
            self._rate.decreased_at = now
            self._prober.postpone(now)
            self._rate.set(self._remb)
            return
        if not self._loss.holds:
            self._rate.set(self._remb)
        self._prober.on_coarse_report(self._remb, now)

    def on_report(self, fraction_lost: float, round_trip: float | None, now: float) -> None:
        """A receiver report of a video stream: loss 0 to 1 since the one before, seconds or None."""
        if round_trip is not None:
            self._measure_round_trip(round_trip)
        if not self._is_coarse(now):
            return
        self._answered_at = now
        self._measure_sending(now)
        loss = min(max(fraction_lost, 0.0), 1.0)
        acknowledged = int(self._sending * (1 - loss))
        queued = round_trip is not None and self._is_queued(round_trip)
        if self._remb is None:
            self._act(Usage.OVERUSE if queued else Usage.NORMAL, acknowledged, self._sending, now)
        self._on_loss(loss, acknowledged, self._sending, now)
        if self._remb is None:
            carried = not queued and loss <= CARRIED_LOSS
            shown = self._prober.on_coarse_report(MAX_BITRATE if carried else 0, now)
            if shown is not None and shown > self._rate.bitrate:
                self._rate.set(shown)

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` and :meth:`next_probe` should be called, if nothing else happens."""
        if self._answered_at is None:
            return None
        timers = (self._prober.get_timer(self._rate.bitrate), self._silence())
        return min((timer for timer in timers if timer is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Give up probes that nobody answers, and lower the estimate where feedback stays away."""
        self._prober.handle_timer(now)
        self._sent.forget(now)
        silence = self._silence()
        if silence is None or now < silence:
            return
        self._arrived.clear()
        self._rate.set(self._rate.bitrate * SILENCE_SHARE)
        self._rate.decreased_at = self._lowered_at = now

    def request_probe(self, bitrate: int) -> None:
        """There would be something better to send if the line carried ``bitrate``; 0: there is not."""
        self._prober.wanted = min(max(bitrate, 0), MAX_BITRATE)

    def next_probe(self, now: float) -> Probe | None:
        """The padding that is to be sent now, if any. Ask after feedback, reports, timers and requests."""
        if self._answered_at is None:
            return None  # how to probe depends on how the viewer answers
        if self._coarse:
            self._measure_sending(now)
        sending = self._sending if self._coarse else self._arrived.sent_bitrate
        return self._prober.next_probe(self._rate.bitrate, sending, now, coarse=self._coarse)

    def _act(self, usage: Usage, acknowledged: int, sent: int, now: float) -> None:
        before = self._rate.bitrate
        self._rate.update(usage, acknowledged, sent, self._round_trip, now, hold=self._loss.holds)
        if self._rate.bitrate < before:
            self._prober.postpone(now)

    def _on_loss(self, loss: float, acknowledged: int, sent: int, now: float) -> None:
        bitrate = self._loss.look(loss, self._rate.bitrate, acknowledged, sent, self._round_trip, now)
        if bitrate is None:
            return
        if bitrate < self._rate.bitrate:
            self._rate.decreased_at = now
            self._prober.postpone(now)
        self._rate.set(bitrate)

    def _is_coarse(self, now: float) -> bool:
        if self._feedback_at is not None and now - self._feedback_at > FEEDBACK_LIFETIME:
            self._feedback_at = None
            self._coarse = True
        return self._coarse

    def _measure_round_trip(self, seconds: float) -> None:
        seconds = min(max(seconds, 0.0), MAX_ROUND_TRIP)
        self._round_trip += (seconds - self._round_trip) / 8

    def _is_queued(self, round_trip: float) -> bool:
        shortest = self._shortest_round_trip
        if shortest is None or round_trip < shortest:
            self._shortest_round_trip = round_trip
            return False
        # The path may have become longer: the old minimum is believed less and less.
        self._shortest_round_trip = shortest + (round_trip - shortest) / 32
        return round_trip > shortest + QUEUED

    def _measure_sending(self, now: float) -> None:
        elapsed = now - self._counted_at
        if elapsed >= SENDING_INTERVAL:
            self._sending = int((self._sent.bytes - self._counted) * 8 / elapsed)
            self._counted = self._sent.bytes
            self._counted_at = now

    def _silence(self) -> float | None:
        """When the next step down is due, if nothing is heard until then."""
        answered, newest = self._answered_at, self._sent.newest
        if answered is None or newest is None:
            return None
        since, timeout = answered, REPORT_TIMEOUT
        if not self._coarse:
            oldest = self._sent.oldest_unreported
            if oldest is None:
                return None
            since, timeout = max(answered, oldest), FEEDBACK_TIMEOUT
        due = max(since + timeout, self._lowered_at + SILENCE_INTERVAL)
        # Nothing is sent any more: nothing needs to be answered.
        return None if newest < max(answered, due - timeout) else due

"""The parts of the estimator one by one: delay, acknowledged rate, rate control, loss, probes."""

from __future__ import annotations

from random import Random

import pytest

from sfu.media.bwe import acknowledged, loss, probing
from sfu.media.bwe.acknowledged import AcknowledgedRate
from sfu.media.bwe.delay import MAX_VARIATION, DelayDetector, Usage
from sfu.media.bwe.loss import LossControl
from sfu.media.bwe.probing import Prober
from sfu.media.bwe.rate import BACKOFF, MAX_BITRATE, MIN_BITRATE, UNPROBED_SHARE, UNUSED_BACKOFF, RateControl
from sfu.media.bwe.sent import Arrival

M = 1_000_000


def usages(delays: list[float], detector: DelayDetector | None = None, begin: float = 0.0) -> list[Usage]:
    """What the detector says of packets 16 ms apart with these delays in seconds."""
    detector = detector or DelayDetector()
    seen = []
    for i, delay in enumerate(delays):
        sent = begin + i * 0.016
        detector.on_packet(sent, 1e6 + sent + delay)
        seen.append(detector.usage)
    return seen


def test_a_steady_delay_is_normal() -> None:
    assert set(usages([0.05] * 200)) == {Usage.NORMAL}


def test_a_growing_queue_is_overuse_and_a_draining_one_underuse() -> None:
    growing = usages(
        [0.05] * 60 + [0.05 + i * 0.003 for i in range(30)] + [0.14 - i * 0.003 for i in range(30)]
    )
    assert Usage.OVERUSE not in growing[:60]
    assert Usage.OVERUSE in growing[60:80]
    assert growing[-1] is Usage.UNDERUSE


def test_jitter_is_normal() -> None:
    random = Random(3)
    assert Usage.OVERUSE not in usages([random.uniform(0, 0.03) for _ in range(2000)])


def test_the_threshold_adapts_to_a_slight_trend_that_lasts() -> None:
    """Otherwise a flow that fills queues beside ours would take the whole line."""
    detector = DelayDetector()
    usages([0.05] * 300, detector)
    before = detector._threshold
    usages([0.05 + i * 0.0008 for i in range(3000)], detector, begin=300 * 0.016)
    assert detector._threshold > 1.1 * before


def test_packets_of_one_frame_are_one_group() -> None:
    """The later packets of a frame wait for the first ones: that is no growing queue."""
    detector = DelayDetector()
    for frame in range(100):
        for packet in range(10):
            detector.on_packet(frame * 0.016, 7.0 + frame * 0.016 + packet * 0.0015)
        assert detector.usage is Usage.NORMAL


def test_a_clock_that_is_set_begins_anew() -> None:
    detector = DelayDetector()
    usages([0.05] * 60, detector)
    late = usages([0.05 + 2 * MAX_VARIATION / 1000] * 60, detector, begin=60 * 0.016)
    assert set(late) == {Usage.NORMAL}


def test_arrivals_in_bursts_do_not_count_as_groups() -> None:
    """Wi-Fi hands over everything of 30 ms at once."""
    detector = DelayDetector()
    for i in range(400):
        sent = i * 0.006
        detector.on_packet(sent, 7.0 + (sent // 0.03 + 1) * 0.03 + (i % 5) * 0.0002)
        assert detector.usage is not Usage.OVERUSE


def fill(rate: AcknowledgedRate, count: int, sent: float, arrived: float, begin: float = 0.0) -> None:
    for i in range(count):
        rate.on_packet(begin + i * sent, 9.0 + begin + i * arrived, 1000)


def test_the_acknowledged_rate_is_that_of_arrivals() -> None:
    rate = AcknowledgedRate()
    assert rate.bitrate == rate.sent_bitrate == 0
    fill(rate, 200, sent=0.004, arrived=0.008)
    assert rate.bitrate == pytest.approx(M, rel=0.01)
    assert rate.sent_bitrate == pytest.approx(2 * M, rel=0.01)


def test_a_pause_does_not_make_the_line_look_slow() -> None:
    rate = AcknowledgedRate()
    fill(rate, 100, sent=0.008, arrived=0.008)
    fill(rate, 20, sent=0.008, arrived=0.008, begin=4.0)
    assert rate.bitrate == pytest.approx(M, rel=0.05)


def test_arrivals_cannot_claim_any_rate() -> None:
    rate = AcknowledgedRate()
    fill(rate, 500, sent=0.008, arrived=0.0)
    assert rate.bitrate <= 2.01 * M
    fill(rate, 3 * acknowledged.MAX_PACKETS, sent=0.0, arrived=0.0, begin=50.0)
    assert rate.bitrate <= acknowledged.MAX_PACKETS * 8000 / acknowledged.MIN_SPAN
    assert len(rate._packets) <= acknowledged.MAX_PACKETS


def test_the_rate_grows_by_a_share_and_not_beyond_what_arrives() -> None:
    rate = RateControl(M, 0.0)
    rate.update(Usage.NORMAL, M, M, 0.05, 1.0)
    assert rate.bitrate == pytest.approx(1.08 * M, rel=0.001)
    for second in range(2, 60):
        rate.update(Usage.NORMAL, M, M, 0.05, float(second))
    assert rate.bitrate == pytest.approx(UNPROBED_SHARE * M, rel=0.01)
    before = rate.bitrate
    rate.update(Usage.NORMAL, 100_000, 100_000, 0.05, 61.0)
    assert rate.bitrate == before


@pytest.mark.parametrize(("usage", "hold"), [(Usage.UNDERUSE, False), (Usage.NORMAL, True)])
def test_the_rate_waits_while_a_queue_drains_or_loss_is_unexplained(usage: Usage, hold: bool) -> None:
    rate = RateControl(M, 0.0)
    rate.update(usage, M, M, 0.05, 1.0, hold=hold)
    assert rate.bitrate == M


def test_overuse_takes_the_rate_below_what_arrives() -> None:
    rate = RateControl(2 * M, 0.0)
    rate.update(Usage.OVERUSE, M, 2 * M, 0.05, 1.0)
    assert rate.bitrate == int(BACKOFF * M)


def test_overuse_while_all_that_is_sent_arrives_takes_a_share_of_the_estimate() -> None:
    """A spike on Wi-Fi while a still picture is sent says little of the line."""
    rate = RateControl(2 * M, 0.0)
    rate.update(Usage.OVERUSE, 100_000, 100_000, 0.05, 1.0)
    assert rate.bitrate == int(UNUSED_BACKOFF * 2 * M)
    rate.update(Usage.OVERUSE, 100_000, 100_000, 0.05, 1.01)
    assert rate.bitrate == int(UNUSED_BACKOFF * 2 * M)  # once in a round trip
    rate.update(Usage.OVERUSE, int(1.6 * M), int(1.6 * M), 0.05, 1.2)
    assert rate.bitrate == int(BACKOFF * UNUSED_BACKOFF * 2 * M)  # now the estimate is used


def test_near_the_known_limit_the_rate_grows_by_packets() -> None:
    rate = RateControl(M, 0.0)
    rate.update(Usage.OVERUSE, M, int(1.2 * M), 0.05, 1.0)
    low = rate.bitrate
    rate.update(Usage.NORMAL, M, M, 0.05, 2.0)
    assert 30_000 < rate.bitrate - low < 0.08 * low + 1
    rate.update(Usage.NORMAL, 2 * M, 2 * M, 0.05, 3.0)  # the line got wider: by a share again
    assert rate.bitrate >= 1.07 * (low + 30_000)


def test_the_rate_stays_in_its_range() -> None:
    rate = RateControl(1, 0.0)
    assert rate.bitrate == MIN_BITRATE
    rate.set(1e12)
    assert rate.bitrate == MAX_BITRATE
    for i in range(100):
        rate.update(Usage.OVERUSE, 1, 10**9, 0.05, float(i))
    assert rate.bitrate == MIN_BITRATE


def look(control: LossControl, share: float, bitrate: int, now: float, sent: int = 0) -> int | None:
    """One look at ``share`` of loss while ``sent`` bits/s leave (all the estimate allows)."""
    sent = sent or bitrate
    return control.look(share, bitrate, int(sent * (1 - share)), sent, 0.05, now)


def test_little_loss_means_nothing() -> None:
    control = LossControl(0.0)
    assert look(control, 0.015, M, 1.0) is None
    assert not control.holds


def test_loss_that_goes_away_with_the_rate_was_congestion() -> None:
    control = LossControl(0.0)
    cut = look(control, 0.2, M, 1.0)
    assert cut == pytest.approx(0.8 * M * 0.95, rel=0.01)
    assert look(control, 0.0, cut or 0, 2.0) is None
    assert control.inherent == 0.0
    assert not control.holds


def test_loss_that_stays_is_the_lines_own_and_the_rate_comes_back() -> None:
    control = LossControl(0.0)
    cut = look(control, 0.2, M, 1.0)
    assert cut is not None
    assert look(control, 0.2, cut, 2.0) == M
    assert control.inherent == pytest.approx(0.2)
    assert look(control, 0.2, M, 3.0) is None
    assert not control.holds
    assert look(control, 0.5, M, 4.0) is not None  # more than its own is congestion again


def test_what_a_line_loses_by_itself_is_unlearned() -> None:
    control = LossControl(0.0)
    look(control, 0.2, M, 1.0)
    look(control, 0.2, int(0.76 * M), 2.0)
    for i in range(10):
        look(control, 0.0, M, 3.0 + i)
    assert control.inherent < 0.01


def test_a_line_that_loses_most_is_not_believed_to_do_so_by_itself() -> None:
    control = LossControl(0.0)
    cut = look(control, 0.8, M, 1.0)
    assert cut is not None
    assert (look(control, 0.8, cut, 2.0) or cut) <= cut
    assert control.inherent <= loss.MAX_INHERENT


def test_some_loss_first_holds_then_is_tried() -> None:
    control = LossControl(0.0)
    assert look(control, 0.06, M, 1.0) is None
    assert control.holds
    assert look(control, 0.06, M, 2.0) == pytest.approx(0.94 * 0.95 * M, rel=0.01)


def test_some_loss_far_below_what_the_line_carries_is_its_own() -> None:
    control = LossControl(0.0)
    look(control, 0.06, M, 1.0, sent=M // 3)
    assert look(control, 0.06, M, 2.0, sent=M // 3) is None
    assert control.inherent == pytest.approx(0.06)


def test_a_look_takes_time_and_packets() -> None:
    control = LossControl(0.0)
    assert control.on_packets(200, 10, 0.1) is None
    assert control.on_packets(200, 10, 0.5) == pytest.approx(0.05)
    assert control.on_packets(30, 3, 1.1) is None  # too few to say
    assert control.on_packets(0, 0, 2.5) == pytest.approx(0.1)
    assert control.on_packets(loss.LEAST_PACKETS - 1, 5, 5.0) is None


def test_what_was_sent_before_a_cut_does_not_tell_of_it() -> None:
    control = LossControl(0.0)
    look(control, 0.2, M, 1.0)
    assert control.on_packets(500, 100, 1.1) is None
    assert control.on_packets(500, 0, 2.0) == 0.0


def begin_probe(prober: Prober, estimate: int = M, now: float = 0.0) -> probing.Probe:
    prober.wanted = 2 * M
    probe = prober.next_probe(estimate, estimate // 2, now, coarse=False)
    assert probe is not None
    return probe


def answer(prober: Prober, probe: probing.Probe, share: float, arrived: int | None = None) -> int | None:
    """Send all of it in one packet per 5 ms at 2.3 Mbit/s; it arrives at ``share`` of that rate."""
    count = max(probe.packets, -(-probe.bytes // 1437))
    arrivals = []
    for i in range(count):
        prober.on_sent(probe.cluster, 100 + i, [1437], 1.0 + i * 0.005)
        arrivals.append(Arrival(100 + i, 1.0 + i * 0.005, 50.0 + i * 0.005 / share, 1437))
    return prober.on_report(arrivals[: count if arrived is None else arrived], 100 + count - 1, 1.2)


def test_a_probe_asks_for_what_the_media_lacks() -> None:
    probe = begin_probe(Prober())
    assert probe.bitrate == int(2 * M * probing.OVERSHOOT) - M // 2
    assert probe.bytes == int(probe.bitrate * probing.DURATION / 8)
    later = Prober()
    later._clusters = 1
    assert begin_probe(later, estimate=500_000).bitrate == int(probing.STEP * 500_000) - 250_000


def test_a_probe_that_arrives_shows_its_rate() -> None:
    prober = Prober()
    assert answer(prober, begin_probe(prober), 1.0) == pytest.approx(2.3 * M, rel=0.01)
    assert not prober.active


def test_a_probe_that_fills_the_line_shows_the_lines_rate() -> None:
    prober = Prober()
    assert answer(prober, begin_probe(prober), 0.7) == pytest.approx(0.95 * 0.7 * 2.3 * M, rel=0.01)


def test_a_probe_that_mostly_got_lost_shows_nothing() -> None:
    prober = Prober()
    assert answer(prober, begin_probe(prober), 1.0, arrived=6) is None
    assert not prober.active


def test_failed_probes_come_ever_less_often() -> None:
    prober = Prober()
    now, waits = 0.0, []
    for _ in range(5):
        begin_probe(prober, now=now)
        now = prober.get_timer(M) or 0.0  # nobody sends it
        prober.handle_timer(now)
        due = prober.get_timer(M)
        assert due is not None
        assert prober.next_probe(M, 0, due - 0.01, coarse=False) is None
        waits.append(due - now)
        now = due
    assert waits == pytest.approx([1, 2, 4, 4, 4])
    assert max(waits) == probing.MAX_INTERVAL


def test_no_probe_while_the_line_is_too_full_or_nothing_is_wanted() -> None:
    prober = Prober()
    prober.postpone(0.0)
    prober.wanted = 2 * M
    assert prober.next_probe(M, 0, probing.QUIET_AFTER_DECREASE - 0.1, coarse=False) is None
    prober.wanted = M
    assert prober.next_probe(M, 0, 10.0, coarse=False) is None
    assert prober.get_timer(M) is None


def test_one_probe_at_a_time_and_only_its_own_packets() -> None:
    prober = Prober()
    probe = begin_probe(prober)
    assert prober.next_probe(M, 0, 0.1, coarse=False) is None
    prober.on_sent(probe.cluster + 1, 5, [1000] * 100, 0.1)
    assert prober.on_report([Arrival(5 + i, 0.1, i * 0.001, 1000) for i in range(100)], 200, 0.2) is None
    assert prober.active


def test_the_queue_a_probe_makes_is_not_taken_for_congestion() -> None:
    prober = Prober()
    probe = begin_probe(prober)
    answer(prober, probe, 1.0)
    begin, end = prober.blind_span()
    assert begin == 1.0
    assert 1.0 + probing.DRAIN < end < 1.3 + probing.DRAIN


def test_what_is_kept_of_a_probe_is_bounded() -> None:
    prober = Prober()
    probe = begin_probe(prober)
    prober.on_sent(probe.cluster, 0, [1], 0.1)
    many = [Arrival(i, 0.1, float(i), 1) for i in range(3 * probing.MAX_ARRIVALS)]
    prober.on_report(many, len(many), 0.2)
    assert prober._cluster is not None
    assert len(prober._cluster.arrivals or ()) == probing.MAX_ARRIVALS

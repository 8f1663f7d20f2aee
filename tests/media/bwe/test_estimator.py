"""What the estimator does on lines of all kinds. Rates are bits/s, times seconds, all virtual."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sfu.media.bwe import MAX_BITRATE, MIN_BITRATE, START_BITRATE, SendSideEstimator
from sfu.media.bwe.estimator import FEEDBACK_TIMEOUT, REPORT_TIMEOUT, SILENCE_INTERVAL, SILENCE_SHARE
from sfu.rtp.rtcp import TransportFeedback
from tests.media.bwe.link import Answers, Line, Path, mean_estimate, queue_percentile

M = 1_000_000


def seconds_until(path: Path, condition: Callable[[], bool], limit: float) -> float:
    begin = path.now
    while not condition():
        path.run(0.05)
        assert path.now - begin < limit, f"not within {limit} s: at {path.estimate} bit/s"
    return path.now - begin


@pytest.mark.parametrize("rate", [0.3 * M, 0.5 * M, M, 2.5 * M, 5 * M])
@pytest.mark.parametrize("probing", [False, True])
def test_it_finds_the_rate_of_a_line_without_a_standing_queue(rate: float, probing: bool) -> None:
    path = Path(Line(rate), wanted=int(1.5 * rate) if probing else 0)
    path.run(30)
    samples = path.run(30)
    assert 0.85 * rate <= mean_estimate(samples) <= rate
    assert queue_percentile(samples, 0.5) < 0.03
    assert queue_percentile(samples, 0.95) < 0.1


@pytest.mark.parametrize("delay", [0.005, 0.15])
def test_it_finds_the_rate_at_any_round_trip(delay: float) -> None:
    path = Path(Line(M, delay=delay))
    path.run(30)
    samples = path.run(20)
    assert 0.85 * M <= mean_estimate(samples) <= M
    assert queue_percentile(samples, 0.95) < 0.1


def test_it_gives_way_within_a_second_when_the_line_narrows() -> None:
    path = Path(Line(2.5 * M))
    path.run(30)
    path.line.rate = 0.5 * M
    path.run(1.0)
    assert 0.3 * M < path.estimate <= 0.5 * M
    path.run(4)
    assert queue_percentile(path.run(5), 0.95) < 0.1


def test_it_climbs_back_by_probes_though_little_is_sent() -> None:
    path = Path(Line(0.5 * M), limit=0.4 * M, wanted=int(2.2 * M))
    held = path.run(20)
    assert held[-1].estimate < 0.65 * M
    path.line.rate = 2.5 * M
    seconds_until(path, lambda: path.estimate >= 2.2 * M, limit=10)
    assert mean_estimate(path.run(10)) >= 2.2 * M


def test_probes_that_show_nothing_new_do_not_fill_a_narrow_line() -> None:
    path = Path(Line(0.5 * M), limit=0.4 * M, wanted=2 * M)
    path.run(20)
    before = len(path.probes)
    samples = path.run(60)
    assert len(path.probes) - before <= 60 / 3
    assert queue_percentile(samples, 0.95) < 0.06
    assert queue_percentile(samples, 1.0) < 0.12


def test_without_probes_it_does_not_grow_far_beyond_what_is_sent() -> None:
    path = Path(Line(50 * M), limit=M)
    path.run(60)
    assert M <= path.estimate < 1.5 * M
    assert not path.probes


def test_what_a_probe_showed_is_kept_while_little_is_sent() -> None:
    path = Path(Line(2.5 * M), limit=0.4 * M, wanted=2 * M)
    path.run(20)
    shown = path.estimate
    path.wanted = 0
    path.run(60)
    assert path.estimate >= shown >= 2 * M


@pytest.mark.parametrize("limit", [None, 1.5 * M])
def test_random_loss_is_no_congestion(limit: float | None) -> None:
    path = Path(Line(2.5 * M, loss=0.05), limit=limit, wanted=int(2.2 * M))
    path.run(20)
    assert mean_estimate(path.run(30)) >= 2 * M


def test_loss_from_a_queue_too_short_to_be_seen_is_congestion() -> None:
    path = Path(Line(M, queue=0.01))
    path.run(20)
    assert 0.6 * M <= mean_estimate(path.run(20)) <= 1.1 * M


@pytest.mark.parametrize("jitter", [0.005, 0.02])
def test_jitter_does_not_bring_it_down(jitter: float) -> None:
    path = Path(Line(2.5 * M, jitter=jitter))
    path.run(30)
    assert mean_estimate(path.run(30)) >= 0.85 * 2.5 * M
    limited = Path(Line(2.5 * M, jitter=jitter), limit=M, wanted=2 * M)
    limited.run(20)
    assert mean_estimate(limited.run(30)) >= 1.8 * M


def test_key_frames_do_not_bring_it_down() -> None:
    path = Path(Line(2.5 * M), limit=1.2 * M, wanted=2 * M, key_frame_every=120)
    path.run(10)
    assert min(s.estimate for s in path.run(30)) >= 2 * M


def test_an_outage_of_two_seconds_is_overcome() -> None:
    path = Path(Line(2.5 * M), wanted=int(2.2 * M))
    path.run(20)
    path.line.down = True
    path.run(2)
    assert path.estimate < 2 * M
    path.line.down = False
    path.run(1)
    assert path.estimate >= M  # the losses of the outage are not taken for congestion
    seconds_until(path, lambda: path.estimate >= 2 * M, limit=5)


def test_late_and_missing_feedback_is_endured() -> None:
    path = Path(Line(2.5 * M), feedback_interval=0.3, feedback_delay=0.2, feedback_loss=0.2)
    path.run(30)
    samples = path.run(30)
    assert 0.85 * 2.5 * M <= mean_estimate(samples) <= 2.5 * M
    assert queue_percentile(samples, 0.95) < 0.15


def test_feedback_that_stays_away_lowers_it_step_by_step() -> None:
    path = Path(Line(2.5 * M), limit=M, wanted=2 * M)
    path.run(20)
    before = path.estimate
    path.line.down = True
    path.run(FEEDBACK_TIMEOUT + 0.5 * SILENCE_INTERVAL)
    assert path.estimate == pytest.approx(before * SILENCE_SHARE, rel=1e-3)
    path.run(SILENCE_INTERVAL)
    assert path.estimate == pytest.approx(before * SILENCE_SHARE**2, rel=1e-3)
    assert path.estimator.acknowledged == 0
    path.run(30)
    assert path.estimate == MIN_BITRATE


def test_silence_means_nothing_when_nothing_is_sent() -> None:
    estimator = SendSideEstimator(0.0)
    estimator.on_sent(1, [1000] * 10, 0.0)
    estimator.on_feedback_untrusted(feedback(1, [0] * 9), 0.1)
    assert estimator.get_timer() is None  # one is unreported, and sent before the feedback
    estimator.on_sent(11, [1000], 0.2)
    due = estimator.get_timer()
    assert due is not None
    estimator.handle_timer(due)
    assert estimator.bitrate < START_BITRATE
    lowered = estimator.bitrate
    while (due := estimator.get_timer()) is not None:
        estimator.handle_timer(due)
        assert due < 5.0
    assert estimator.bitrate >= 0.5 * lowered


def test_remb_is_followed_where_it_is_all_there_is() -> None:
    path = Path(Line(2.5 * M), answers=Answers.REMB)
    path.run(40)
    assert 0.8 * 2.5 * M <= mean_estimate(path.run(20)) <= 2.5 * M
    path.line.rate = 0.5 * M
    path.run(3)
    assert path.estimate <= 0.5 * M
    path.run(3)
    assert queue_percentile(path.run(10), 0.95) < 0.15


def test_remb_rises_with_probes() -> None:
    path = Path(Line(2.5 * M), answers=Answers.REMB, limit=0.4 * M, wanted=M, start_bitrate=400_000)
    seconds_until(path, lambda: path.estimate >= M, limit=40)


def test_next_to_feedback_remb_and_reports_have_no_effect() -> None:
    path = Path(Line(2.5 * M), limit=M)
    path.run(5)
    before = path.estimate
    path.estimator.on_remb(100_000, path.now)
    path.estimator.on_report(0.5, 0.05, path.now)
    assert path.estimate == before


def test_reports_alone_find_a_narrow_line_by_its_round_trip() -> None:
    path = Path(Line(0.5 * M), answers=Answers.REPORTS)
    path.run(20)
    samples = path.run(30)
    assert 0.7 * 0.5 * M <= mean_estimate(samples) <= 1.05 * 0.5 * M


def test_reports_alone_let_probes_find_more() -> None:
    path = Path(Line(2.5 * M), answers=Answers.REPORTS, limit=0.4 * M, wanted=2 * M)
    seconds_until(path, lambda: path.estimate >= 2 * M, limit=30)


def test_reports_that_stay_away_lower_it() -> None:
    path = Path(Line(2.5 * M), answers=Answers.REPORTS, limit=0.4 * M)
    path.run(5.5)  # half a second after a report
    before = path.estimate
    path.line.down = True
    path.run(REPORT_TIMEOUT - 1)
    assert path.estimate == before
    path.run(2)
    assert path.estimate < before


def test_acknowledged_is_what_arrives() -> None:
    for answers in Answers:
        path = Path(Line(2.5 * M), limit=M, answers=answers)
        path.run(10)
        assert path.estimator.acknowledged == pytest.approx(M, rel=0.15)


def feedback(base: int, deltas: list[int], reference: int = 0) -> TransportFeedback:
    """On consecutive packets, all of which arrived."""
    return TransportFeedback(1, 2, base & 0xFFFF, len(deltas), reference, 0, tuple(enumerate(deltas)))


@pytest.mark.parametrize(
    ("reference", "delta"),
    [(0, 0), (1, 0), (-(1 << 23), 255), ((1 << 23) - 1, -0x8000), (-5, 0x7FFF)],
)
def test_lies_about_arrivals_stay_bounded(reference: int, delta: int) -> None:
    """All arrived, at once, before they were sent, or on a clock that runs backwards."""
    estimator = SendSideEstimator(0.0)
    number, now = 1, 0.0
    for i in range(600):
        estimator.on_sent(number, [1000] * 5, now)
        now += 0.05
        estimator.on_feedback_untrusted(feedback(number, [delta] * 5, reference * (-1) ** i), now)
        number += 5
        assert MIN_BITRATE <= estimator.bitrate <= MAX_BITRATE
    # 800 kbit/s were sent: arrivals are believed to be twice as fast, and the estimate goes a little further.
    assert estimator.bitrate <= 1.25 * 2 * 850_000 + 10_000


def test_feedback_on_what_was_never_sent_changes_nothing() -> None:
    estimator = SendSideEstimator(0.0)
    estimator.on_feedback_untrusted(feedback(77, [0] * 20), 1.0)
    estimator.on_sent(1, [1000] * 5, 1.0)
    estimator.on_feedback_untrusted(feedback(30_000, [0] * 20), 1.1)
    estimator.on_feedback_untrusted(feedback(60_000, [0] * 20), 1.2)
    assert estimator.bitrate == START_BITRATE
    assert estimator.acknowledged == 0


def test_the_estimate_stays_in_its_range_whatever_remb_says() -> None:
    for bitrate in (0, 1 << 80):
        estimator = SendSideEstimator(0.0)
        estimator.on_remb(bitrate, 1.0)
        assert MIN_BITRATE <= estimator.bitrate <= MAX_BITRATE

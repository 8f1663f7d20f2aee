"""Loss found by time: what counts as overdue, how the reordering window moves, probes."""

from __future__ import annotations

import math

import pytest

from sfu.sctp.congestion import MIN_PACKETS
from sfu.sctp.loss import MAX_SPREAD, MIN_PROBE_DELAY, QUIET_LOSSES, LossDetection
from sfu.sctp.rto import RetransmissionTimeout
from tests.sctp.test_outbound import MTU, Sender


def detection(rtt: float = 0.1) -> LossDetection:
    rto = RetransmissionTimeout()
    rto.measured(rtt)
    return LossDetection(rto)


def test_a_chunk_is_overdue_a_round_trip_and_a_quarter_after_it_was_sent() -> None:
    loss = detection()
    assert loss.deadline(5, 10.0) == math.inf
    loss.delivered(6, 10.02, 1, 10.12)
    assert loss.deadline(5, 10.0) == pytest.approx(10.0 + 0.1 + 0.025)
    assert loss.deadline(7, 10.02) == math.inf, "sent after it"


def test_an_answer_to_an_earlier_transmission_says_nothing() -> None:
    loss = detection()
    loss.delivered(1, 10.0, 1, 10.1)
    loss.delivered(2, 10.15, 2, 10.16)
    assert loss.newest == 1
    loss.delivered(2, 10.15, 2, 10.25)
    assert loss.newest == 2


def test_duplicates_widen_the_window_once_a_round_trip_up_to_a_bound() -> None:
    loss = detection()
    loss.delivered(2, 10.0, 1, 10.1)
    widths = []
    for step in range(2 * (MAX_SPREAD + 2)):
        loss.duplicates_reported(20.0 + step * 0.06)
        widths.append(round((loss.deadline(1, 10.0) - 10.1) / 0.025))
    assert widths[:5] == [2, 2, 3, 3, 3]
    assert max(widths) == MAX_SPREAD
    for _ in range(QUIET_LOSSES - 1):
        loss.found()
    assert loss.deadline(1, 10.0) == pytest.approx(10.1 + MAX_SPREAD * 0.025)
    loss.found()
    assert loss.deadline(1, 10.0) == pytest.approx(10.125)


def test_probe_delay() -> None:
    assert LossDetection(RetransmissionTimeout()).probe_delay() == math.inf
    assert detection(0.1).probe_delay() == pytest.approx(0.2)
    assert detection(0.001).probe_delay() == MIN_PROBE_DELAY


def inputs(count: int, **limits: int) -> Sender:
    """``count`` inputs, 10 ms apart, over a round trip of 100 ms; nothing acknowledged."""
    sender = Sender()
    sender.out.rto.measured(0.1)
    for _ in range(count):
        sender.push(b"input", unordered=True, **limits)
        assert len(sender.data()) == 1
        sender.now += 0.01
    return sender


def test_one_later_input_that_arrives_is_enough() -> None:
    sender = inputs(2)
    sender.now = 100.11
    sender.sack(-1, (1, 1))
    assert sender.tsns() == []
    assert sender.out.repair_at == pytest.approx(100.0 + 0.1 + 0.025, abs=1e-3)
    sender.now = sender.out.repair_at
    sender.out.repair(sender.now)
    assert sender.tsns() == [0]
    assert sender.out.probes == 0


def test_a_lost_retransmission_is_sent_again_without_the_timer() -> None:
    sender = inputs(3)
    sender.now = 100.11
    sender.sack(-1, (1, 1))
    sender.now = sender.out.repair_at
    sender.out.repair(sender.now)
    assert sender.tsns() == [0]
    sender.now = 100.14
    sender.push(b"later", unordered=True)
    assert sender.tsns() == [3]
    sender.now = 100.24
    sender.sack(-1, (1, 3))
    assert sender.tsns() == [], "the reordering window"
    sender.now = sender.out.repair_at
    assert sender.now < 100.27
    sender.out.repair(sender.now)
    assert sender.tsns() == [0]
    assert sender.out.t3 > sender.now


def test_what_may_not_be_sent_again_is_not_given_up_before_three_misses() -> None:
    sender = inputs(4, max_retransmits=0)
    sender.now = 100.2
    sender.sack(-1, (1, 1))
    assert (sender.tsns(), sender.out.abandoned) == ([], 0)
    sender.sack(-1, (1, 2))
    sender.sack(-1, (1, 3))
    assert (sender.tsns(), sender.out.abandoned) == ([], 1)


def test_bulk_is_left_to_the_misses() -> None:
    """More in flight than the least window: only three misses make a first loss."""
    sender = Sender()
    sender.out.rto.measured(0.1)
    for _ in range(10):
        sender.push(bytes(MTU - 100))
    assert len(sender.data()) == 10
    sender.now += 0.2
    sender.sack(-1, (1, 2))
    assert sender.out.flight >= MIN_PACKETS * MTU
    assert sender.tsns() == []
    assert sender.out.repair_at > sender.now


def test_losing_a_retransmission_in_bulk_halves_the_window_again() -> None:
    sender = Sender()
    sender.out.rto.measured(0.1)
    sender.out.congestion.window = 32 * MTU
    for _ in range(20):
        sender.push(bytes(MTU - 100))
    sender.data()
    sender.now += 0.1
    for last in (1, 2, 3):
        sender.sack(-1, (1, last))
    assert sender.tsns() == [0]
    assert sender.out.congestion.window == 16 * MTU
    sender.now += 0.01
    sender.push(bytes(MTU - 100))
    assert sender.tsns() == [20]
    sender.now += 0.12
    sender.sack(-1, (1, 20))
    sender.now = max(sender.out.repair_at, sender.now)
    sender.out.repair(sender.now)
    assert sender.tsns() == [0]
    assert sender.out.congestion.window == 8 * MTU


def test_one_probe_for_a_silence_and_none_for_what_may_not_be_sent_again() -> None:
    sender = inputs(2)
    for _ in range(3):
        sender.now = min(sender.out.repair_at, sender.now + 1)
        if sender.out.repair_at <= sender.now:
            sender.out.repair(sender.now)
        sender.data()
    assert sender.out.probes == 1
    assert sender.out.repair_at == math.inf
    sender.sack(0)
    assert sender.out.repair_at < math.inf, "a sign of life allows another"
    given_up = inputs(1, max_retransmits=0)
    given_up.now = given_up.out.repair_at
    given_up.out.repair(given_up.now)
    assert given_up.tsns() == []
    assert given_up.out.probes == 0

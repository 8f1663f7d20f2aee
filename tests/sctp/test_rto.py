"""Retransmission timeout and congestion window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.sctp.congestion import INITIAL_PACKETS, MAX_WINDOW, MIN_PACKETS, Congestion
from sfu.sctp.rto import BACK_OFF_MAX, MAX_RTT, MIN_VARIANCE, RTO_INITIAL, RTO_MAX, RetransmissionTimeout

MTU = 1000


def test_first_and_later_measurements() -> None:
    """RFC 9260 6.3.1 C2, C3 with the floor of the variance."""
    rto = RetransmissionTimeout()
    assert rto.value == RTO_INITIAL
    rto.measured(0.2)
    assert rto.srtt == 0.2
    assert rto.rttvar == 0.1
    assert rto.value == pytest.approx(0.6)
    for _ in range(100):
        rto.measured(0.2)
    assert rto.value == pytest.approx(0.2 + MIN_VARIANCE)


def test_back_off_doubles_to_the_limit_and_a_measurement_ends_it() -> None:
    rto = RetransmissionTimeout()
    values = []
    for _ in range(6):
        rto.back_off()
        values.append(rto.value)
    assert values == [2 * RTO_INITIAL, *[BACK_OFF_MAX] * 5]
    rto.measured(0.0)
    assert rto.value == pytest.approx(MIN_VARIANCE)


@given(st.lists(st.floats(-1, 100), min_size=1))
def test_always_within_bounds(samples: list[float]) -> None:
    rto = RetransmissionTimeout()
    for sample in samples:
        rto.measured(sample)
        assert rto.srtt is not None
        assert 0 <= rto.srtt <= MAX_RTT
        assert MIN_VARIANCE <= rto.value <= RTO_MAX


def test_slow_start_only_when_the_window_is_used() -> None:
    congestion = Congestion(MTU)
    assert congestion.window == INITIAL_PACKETS * MTU
    congestion.acknowledged(5 * MTU, 5 * MTU)
    assert congestion.window == INITIAL_PACKETS * MTU
    congestion.acknowledged(5 * MTU, INITIAL_PACKETS * MTU)
    assert congestion.window == (INITIAL_PACKETS + 1) * MTU, "by one packet at most"
    congestion.acknowledged(100, (INITIAL_PACKETS + 1) * MTU)
    assert congestion.window == (INITIAL_PACKETS + 1) * MTU + 100


def test_loss_halves_and_then_grows_by_a_packet_a_round_trip() -> None:
    congestion = Congestion(MTU)
    congestion.lost()
    assert congestion.window == congestion.ssthresh == 5 * MTU
    congestion.acknowledged(MTU, 5 * MTU)  # at ssthresh it is still slow start (7.2.1)
    assert congestion.window == 6 * MTU
    for _ in range(6):
        congestion.acknowledged(MTU, 6 * MTU)
    assert congestion.window == 7 * MTU
    congestion.acknowledged(100 * MTU, 0)
    congestion.acknowledged(MTU, 0)
    assert congestion.window == 7 * MTU, "an unused window does not grow"
    congestion.acknowledged(MTU, 7 * MTU)
    assert congestion.window == 8 * MTU, "but a full one's worth is remembered"


def test_timeout_starts_over() -> None:
    congestion = Congestion(MTU)
    congestion.timed_out()
    assert congestion.window == MTU
    assert congestion.ssthresh == 5 * MTU
    congestion.timed_out()
    assert congestion.ssthresh == MIN_PACKETS * MTU


@given(st.lists(st.tuples(st.integers(0, 10**7), st.booleans(), st.booleans())))
def test_window_is_bounded(steps: list[tuple[int, bool, bool]]) -> None:
    congestion = Congestion(MTU)
    for size, lost, timed_out in steps:
        congestion.acknowledged(size, congestion.window)
        if lost:
            congestion.lost()
        if timed_out:
            congestion.timed_out()
        assert MTU <= congestion.window <= MAX_WINDOW
    congestion.window = congestion.ssthresh = MAX_WINDOW
    congestion.acknowledged(10**7, MAX_WINDOW)
    assert congestion.window == MAX_WINDOW

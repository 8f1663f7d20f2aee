"""The smoothed round trip, and which of its sources is believed."""

from __future__ import annotations

import pytest

from sfu.media.round_trip import REPORT_AGE, RoundTrip
from sfu.rtp.rtcp.ntp import MAX_ROUND_TRIP


def test_it_is_unknown_first() -> None:
    round_trip = RoundTrip()
    round_trip.on_report(None, 0.0)
    assert round_trip.seconds is None


def test_it_is_smoothed() -> None:
    round_trip = RoundTrip()
    round_trip.on_report(0.100, 0.0)
    assert round_trip.seconds == 0.100
    round_trip.on_report(0.900, 1.0)
    assert round_trip.seconds == pytest.approx(0.500)
    round_trip.on_report(0.100, 1.0)
    assert round_trip.seconds == pytest.approx(0.400)
    for second in range(2, 40):
        round_trip.on_report(0.050, float(second))
    assert round_trip.seconds == pytest.approx(0.050, abs=0.002)


def test_repairs_count_until_there_are_reports() -> None:
    round_trip = RoundTrip()
    round_trip.on_repair(0.300, 0.0)
    assert round_trip.seconds == 0.300
    round_trip.on_report(0.050, 1.0)
    assert round_trip.seconds == 0.050, "a report starts afresh"
    round_trip.on_repair(0.300, 2.0)
    assert round_trip.seconds == 0.050
    round_trip.on_repair(0.130, 1.1 + REPORT_AGE)
    assert round_trip.seconds == pytest.approx(0.090)


def test_absurd_repairs_are_ignored() -> None:
    round_trip = RoundTrip()
    round_trip.on_repair(-0.1, 0.0)
    round_trip.on_repair(MAX_ROUND_TRIP + 1, 0.0)
    assert round_trip.seconds is None

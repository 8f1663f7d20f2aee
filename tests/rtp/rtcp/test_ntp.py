"""NTP timestamps and the round-trip time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.rtcp import compact_delay, compact_ntp, ntp_from_unix, round_trip_time
from sfu.rtp.rtcp.ntp import COMPACT_UNIT, MAX_ROUND_TRIP, UNIX_EPOCH


def test_rfc3550_figure_2() -> None:
    """The example of section 6.4.1: 6.125 s."""
    now = 0xB44DB705_20000000 - 0
    last = 0xB7052000 - (5 << 16) - int(6.125 * 65536) & 0xFFFFFFFF
    assert compact_ntp(now) == 0xB7052000
    assert round_trip_time(now, last, 5 << 16) == pytest.approx(6.125)


def test_known_times() -> None:
    assert ntp_from_unix(0) == UNIX_EPOCH << 32
    assert ntp_from_unix(0.5) == UNIX_EPOCH << 32 | 1 << 31
    assert ntp_from_unix(-UNIX_EPOCH) == 0
    assert ntp_from_unix(2**32 - UNIX_EPOCH) == 0  # 7 February 2036
    assert compact_ntp(0x0123456789ABCDEF) == 0x456789AB


@given(st.floats(0, 4e9), st.floats(0, 100), st.floats(0, 9.9))
def test_round_trip(sent: float, held: float, way: float) -> None:
    lsr = compact_ntp(ntp_from_unix(sent))
    measured = round_trip_time(ntp_from_unix(sent + held + way), lsr, compact_delay(held))
    if lsr:
        assert measured == pytest.approx(way, abs=2 * COMPACT_UNIT + 1e-6)


def test_no_sender_report_yet() -> None:
    assert round_trip_time(ntp_from_unix(1), 0, 5) is None


def test_what_cannot_be_is_no_round_trip() -> None:
    now = ntp_from_unix(1_000_000)
    last = compact_ntp(now)
    assert round_trip_time(now, last, 0) == 0.0
    assert round_trip_time(now, last, compact_delay(0.001)) == 0.0  # coarse clocks
    assert round_trip_time(now, last, compact_delay(0.1)) is None  # held longer than it can have been
    assert round_trip_time(now, last + compact_delay(5), 0) is None  # quotes what is yet to be sent
    assert round_trip_time(now, last - compact_delay(MAX_ROUND_TRIP), 0) == MAX_ROUND_TRIP
    assert round_trip_time(now, last - compact_delay(MAX_ROUND_TRIP + 0.1), 0) is None


def test_delay_is_held_to_its_field() -> None:
    assert compact_delay(1.5) == 98304
    assert compact_delay(-1) == 0
    assert compact_delay(1e9) == 0xFFFFFFFF

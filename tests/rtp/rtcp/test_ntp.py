"""NTP timestamps and the round-trip time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.rtcp import ReportBlock, compact_delay, compact_ntp, ntp_from_unix, round_trip_time
from sfu.rtp.rtcp.ntp import COMPACT_UNIT, UNIX_EPOCH


def block(lsr: int, dlsr: int) -> ReportBlock:
    return ReportBlock(1, 0, 0, 0, 0, lsr, dlsr)


def test_rfc3550_figure_2() -> None:
    """The example of section 6.4.1: 6.125 s."""
    now = 0xB44DB705_20000000 - 0
    report = block(0xB7052000 - (5 << 16) - int(6.125 * 65536) & 0xFFFFFFFF, 5 << 16)
    assert compact_ntp(now) == 0xB7052000
    assert round_trip_time(now, report) == pytest.approx(6.125)


def test_known_times() -> None:
    assert ntp_from_unix(0) == UNIX_EPOCH << 32
    assert ntp_from_unix(0.5) == UNIX_EPOCH << 32 | 1 << 31
    assert ntp_from_unix(-UNIX_EPOCH) == 0
    assert ntp_from_unix(2**32 - UNIX_EPOCH) == 0  # 7 February 2036
    assert compact_ntp(0x0123456789ABCDEF) == 0x456789AB


@given(st.floats(0, 4e9), st.floats(0, 100), st.floats(0, 10))
def test_round_trip(sent: float, held: float, way: float) -> None:
    lsr = compact_ntp(ntp_from_unix(sent))
    measured = round_trip_time(ntp_from_unix(sent + held + way), block(lsr, compact_delay(held)))
    if lsr:
        assert measured == pytest.approx(way, abs=2 * COMPACT_UNIT + 1e-6)


def test_no_sender_report_yet() -> None:
    assert round_trip_time(ntp_from_unix(1), block(0, 5)) is None


def test_a_negative_time_is_zero_and_a_lie_is_bounded() -> None:
    now = ntp_from_unix(1_000_000)
    assert round_trip_time(now, block(compact_ntp(now), 1)) == 0.0
    longest = round_trip_time(now, block(compact_ntp(now) + 0x80000001 & 0xFFFFFFFF, 0))
    assert longest == pytest.approx(32768, abs=1)


def test_delay_is_held_to_its_field() -> None:
    assert compact_delay(1.5) == 98304
    assert compact_delay(-1) == 0
    assert compact_delay(1e9) == 0xFFFFFFFF

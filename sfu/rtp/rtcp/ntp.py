"""NTP timestamps in RTCP, and what they measure (RFC 3550 4, 6.4.1). The time is always a parameter."""

from __future__ import annotations

from typing import Final

from sfu.rtp.rtcp.reports import ReportBlock

UNIX_EPOCH: Final = 2_208_988_800
"""Seconds from 1900, where NTP begins, to 1970."""
COMPACT_UNIT: Final = 1 / 65_536
"""Seconds: the unit of LSR, DLSR and compact NTP."""

_COMPACT_MASK = 0xFFFFFFFF


def ntp_from_unix(seconds: float) -> int:
    """Seconds since 1970 as a 64-bit NTP timestamp (32.32). It wraps in 2036, as NTP does."""
    whole = int(seconds // 1)
    return (whole + UNIX_EPOCH & _COMPACT_MASK) << 32 | int((seconds - whole) * (1 << 32))


def compact_ntp(timestamp: int) -> int:
    """The middle 32 bits of a 64-bit NTP timestamp (RFC 3550 4)."""
    return timestamp >> 16 & _COMPACT_MASK


def compact_delay(seconds: float) -> int:
    """A delay as a DLSR, held to the 32 bits of the field."""
    return min(max(round(seconds / COMPACT_UNIT), 0), _COMPACT_MASK)


def round_trip_time(now: int, block: ReportBlock) -> float | None:
    """Seconds from the sender of our SR and back: ``now - LSR - DLSR`` (RFC 3550 6.4.1).

    ``now`` is the 64-bit NTP time at which the report came. ``None`` if the peer has had no SR; 0 if clocks
    or lies make it negative. A lie in the other direction gives up to nine hours: hold it to what is sane.
    """
    if not block.last_sender_report:
        return None
    elapsed = compact_ntp(now) - block.last_sender_report - block.delay_since_last_sender_report
    elapsed &= _COMPACT_MASK
    return 0.0 if elapsed >> 31 else elapsed * COMPACT_UNIT

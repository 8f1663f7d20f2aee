"""NTP timestamps in RTCP, and what they measure (RFC 3550 4, 6.4.1). The time is always a parameter."""

from __future__ import annotations

from typing import Final

UNIX_EPOCH: Final = 2_208_988_800
"""Seconds from 1900, where NTP begins, to 1970."""
COMPACT_UNIT: Final = 1 / 65_536
"""Seconds: the unit of LSR, DLSR and compact NTP."""

MAX_ROUND_TRIP: Final = 10.0
"""Seconds; no path that carries media is longer."""

_COMPACT_MASK = 0xFFFFFFFF
_ROUNDING: Final = 66
"""Units, 1 ms: as far below zero as coarse clocks may bring a round trip of next to nothing."""


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


def round_trip_time(now: int, last: int, delay: int) -> float | None:
    """Seconds from here and back: ``now - LSR - DLSR`` (RFC 3550 6.4.1), or of a DLRR (RFC 3611 4.5).

    ``now`` is the 64-bit NTP time at which the report came, ``last`` and ``delay`` are what it says. ``None``
    if the peer has had no report of ours, or if its clock or a lie make the time negative or longer than
    :data:`MAX_ROUND_TRIP`.
    """
    if not last:
        return None
    elapsed = compact_ntp(now) - last - delay & _COMPACT_MASK
    if -elapsed & _COMPACT_MASK <= _ROUNDING:
        return 0.0
    seconds = elapsed * COMPACT_UNIT
    return seconds if seconds <= MAX_ROUND_TRIP else None

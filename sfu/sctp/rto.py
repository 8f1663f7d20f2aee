"""Round-trip time and retransmission timeout (RFC 9260 6.3.1), with the constants of real-time traffic.

The RFC's RTO.Min of one second protects receivers that delay a SACK by up to 500 ms. Over a data channel both
implementations that browsers have delay at most 200 ms, so as in dcSCTP it is the *variance* term that has a
floor: waiting for a round trip and 220 ms is never too early, and a lost input with nothing sent after it is
repeated a quarter of a second later, not a whole one.
"""

from __future__ import annotations

RTO_INITIAL = 0.5
"""Seconds before the first measurement (RFC: 1). Also T1's first interval."""
RTO_MAX = 3.0
"""Seconds; the longest timeout of a slow path (RFC: 60), and the limit of back-off for INIT, COOKIE-ECHO and
SHUTDOWN."""
BACK_OFF_MAX = 1.0
"""Seconds; the limit of back-off for data, unless the path is slower. A player whose network comes back waits
no longer than this for the first input, at the price of one packet a second into the dark."""
MIN_VARIANCE = 0.22
"""Seconds; least distance between the smoothed round-trip time and the timeout, and so RTO.Min on a path
without delay: the 200 ms that a peer may delay its SACK, and a bit."""
MAX_RTT = 10.0
"""Seconds; a longer measurement is taken for this."""
_ALPHA = 1 / 8
_BETA = 1 / 4


class RetransmissionTimeout:
    """SRTT, RTTVAR and RTO of the one path. All times in seconds."""

    __slots__ = ("base", "rttvar", "srtt", "value")

    def __init__(self) -> None:
        self.srtt: float | None = None
        """Smoothed round-trip time; ``None`` before the first measurement."""
        self.rttvar = 0.0
        self.base = RTO_INITIAL
        """The timeout without back-off."""
        self.value = RTO_INITIAL
        """What the next retransmission timer is set to."""

    def measured(self, rtt: float) -> None:
        """Take a measurement of something sent once (Karn's rule); ends any back-off (6.3.1, C2 and C3)."""
        if not 0 <= rtt <= MAX_RTT:
            rtt = 0.0 if rtt < 0 else MAX_RTT
        if self.srtt is None:
            self.srtt, self.rttvar = rtt, rtt / 2
        else:
            self.rttvar += _BETA * (abs(self.srtt - rtt) - self.rttvar)
            self.srtt += _ALPHA * (rtt - self.srtt)
        variance = 4 * self.rttvar
        self.base = self.value = min(self.srtt + max(variance, MIN_VARIANCE), RTO_MAX)

    def back_off(self) -> None:
        """The timer expired: double, up to :data:`BACK_OFF_MAX` (6.3.3, E2)."""
        self.value = min(2 * self.value, max(self.base, BACK_OFF_MAX))

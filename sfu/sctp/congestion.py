"""Congestion window (RFC 9260 7.2), in bytes of DATA chunks, headers included.

Slow start, congestion avoidance, fast recovery as the RFC has them; the initial window is 10 packets (RFC
6928, as dcSCTP), so that a message of 10 kB leaves at once. Left out: the decay of an idle window (7.2.1, a
SHOULD), because a call sends at most one burst (``association.MAX_DATAGRAMS_PER_CALL``) anyway, and Max.Burst
for the same reason.
"""

from __future__ import annotations

INITIAL_PACKETS = 10
MIN_PACKETS = 4
"""Floor of the window after a fast retransmit, and of ssthresh."""
MAX_WINDOW = 1024 * 1024
"""Bytes; beyond this the window does not grow, whatever the peer acknowledges."""


class Congestion:
    """The window of the one path."""

    __slots__ = ("_mtu", "_partial", "ssthresh", "window")

    def __init__(self, mtu: int) -> None:
        self._mtu = mtu
        self._partial = 0
        self.window = INITIAL_PACKETS * mtu
        """Bytes that may be in flight (cwnd). A packet is sent whenever less than that is."""
        self.ssthresh = MAX_WINDOW

    def acknowledged(self, size: int, flight: int) -> None:
        """``size`` bytes were newly acknowledged and the cumulative TSN moved; ``flight`` is what was in
        flight before. Not called in fast recovery."""
        full = flight + self._mtu > self.window
        if self.window <= self.ssthresh:
            if full:
                self.window = min(self.window + min(size, self._mtu), MAX_WINDOW)
            return
        self._partial += size
        if self._partial >= self.window:
            if full:
                self._partial -= self.window
                self.window = min(self.window + self._mtu, MAX_WINDOW)
            else:
                self._partial = self.window

    def lost(self) -> None:
        """Fast recovery begins (7.2.4)."""
        self.ssthresh = max(self.window // 2, MIN_PACKETS * self._mtu)
        self.window = self.ssthresh
        self._partial = 0

    def timed_out(self) -> None:
        """T3-rtx expired (7.2.3)."""
        self.ssthresh = max(self.window // 2, MIN_PACKETS * self._mtu)
        self.window = self._mtu
        self._partial = 0

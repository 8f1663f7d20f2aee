"""Which losses are congestion: those that go away when less is sent.

Radio loses packets whatever is sent, and to lower the rate for that only spoils the picture. A line whose
queue is too short to be seen in the delay also loses packets, but only the ones too many. Loss alone cannot
tell the two apart, so the first sign of loss leads to a trial: send what arrived, and a little less, and
look again. Loss that stays is the line's own (:attr:`LossControl.inherent`), and the estimate goes back to
where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sfu.media.bwe.rate import USED_SHARE

INTERVAL: Final = 0.5
"""Seconds that one look takes at least."""
MAX_INTERVAL: Final = 2.0
"""Seconds after which a look is taken at however few packets."""
ENOUGH_PACKETS: Final = 100
ENOUGH_LOST: Final = 15
"""Losses after which it need not wait for :data:`ENOUGH_PACKETS`."""
LEAST_PACKETS: Final = 20
"""Fewer say nothing of a share."""
TOLERATED: Final = 0.02
"""Loss above the line's own that means nothing."""
HEAVY: Final = 0.10
"""Loss above the line's own that is acted on at once, however little is sent."""
MAX_INHERENT: Final = 0.30
"""A line that loses more by itself is beyond help: that is treated as congestion."""
REMAINING_SHARE: Final = 0.5
"""Of the loss before a trial: if this much is left after it, the loss was not congestion."""
_TRIAL_SHARE: Final = 0.95
_SETTLE: Final = 0.2
_PATIENCE: Final = 2


@dataclass(slots=True)
class _Trial:
    loss: float
    before: int
    limit: float
    since: float
    """When what is reported on was sent after the cut."""


class LossControl:
    """Looks at loss once in a while, and says what the estimate should be."""

    def __init__(self, now: float) -> None:
        self.inherent = 0.0
        """Share of packets that the line loses by itself."""
        self.holds = False
        """There is loss to be explained: the estimate must not grow."""
        self._since = now
        self._expected = self._lost = 0
        self._held = 0
        self._trial: _Trial | None = None

    def on_packets(self, expected: int, lost: int, now: float) -> float | None:
        """Count packets reported on. Their loss once there were enough for a look, else None."""
        if self._trial is not None and now < self._trial.since:
            self._since = now
            return None
        self._expected += expected
        self._lost += lost
        elapsed = now - self._since
        enough = self._expected >= ENOUGH_PACKETS or self._lost >= ENOUGH_LOST
        if elapsed < INTERVAL or (not enough and elapsed < MAX_INTERVAL):
            return None
        expected, lost = self._expected, self._lost
        self._expected = self._lost = 0
        self._since = now
        return min(max(lost / expected, 0.0), 1.0) if expected >= LEAST_PACKETS else None

    def look(
        self, loss: float, bitrate: int, acknowledged: int, sent: int, round_trip: float, now: float
    ) -> int | None:
        """The estimate to go to, or None to leave it at ``bitrate``. Bits/s, ``loss`` 0 to 1."""
        if self._trial is not None and now < self._trial.since:
            return None
        trial, self._trial = self._trial, None
        self.inherent = min(self.inherent, (self.inherent + loss) / 2)
        if trial is not None and loss >= REMAINING_SHARE * trial.loss and sent <= 1.1 * trial.limit:
            self.inherent = min(loss, MAX_INHERENT)
            if loss <= MAX_INHERENT:
                self.holds = False
                self._held = 0
                return max(trial.before, bitrate)
        excess = loss - self.inherent
        if excess <= TOLERATED + self.inherent / 2:
            self.holds = False
            self._held = 0
            return None
        self.holds = True
        self._held += 1
        limit = _TRIAL_SHARE * acknowledged
        if excess <= HEAVY:
            if self._held < _PATIENCE:
                return None
            if sent < USED_SHARE * bitrate:
                # Far below what the line was seen to carry: the loss has another cause than our rate.
                self.inherent = loss
                return None
        self._held = 0
        self._trial = _Trial(loss, bitrate, max(limit, 1.0), now + round_trip + _SETTLE)
        self._expected = self._lost = 0
        return int(min(limit, bitrate))

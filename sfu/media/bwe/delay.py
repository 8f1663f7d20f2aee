"""Is a queue growing? Delay variation between groups of packets, its trend, and a threshold that adapts.

After draft-ietf-rmcat-gcc-02 sections 5.1 to 5.4, with the trendline filter that browsers use in place of the
draft's Kalman filter. Times in here are milliseconds, the unit in which the constants are known.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final

GROUP_SPAN: Final = 5.0
"""Milliseconds of sending that make one group: a frame's packets leave together."""
BURST_SPAN: Final = 100.0
"""Milliseconds of arrivals that one group may grow to where the line delivers in bursts (Wi-Fi)."""
WINDOW: Final = 20
"""Groups that the trend is fitted to."""
MAX_VARIATION: Final = 10_000.0
"""Milliseconds between two groups beyond which the receiver's clock was set, or somebody lies."""
_SMOOTHING: Final = 0.9
_GAIN: Final = 4.0
_MAX_DELTAS: Final = 60
_INITIAL_THRESHOLD: Final = 12.5
_THRESHOLD_RANGE: Final = (6.0, 600.0)
_MAX_ADAPT: Final = 15.0
"""A trend further above the threshold than this is a spike, which the threshold must not follow."""
_K_UP: Final = 0.0087
_K_DOWN: Final = 0.039
_MAX_ADAPT_INTERVAL: Final = 100.0
_OVERUSE_TIME: Final = 10.0


class Usage(Enum):
    """What the trend of the delay says of the line."""

    NORMAL = "normal"
    OVERUSE = "overuse"
    """A queue grows."""
    UNDERUSE = "underuse"
    """A queue drains."""


class DelayDetector:
    """Feed it packets in the order they were sent; read :attr:`usage`."""

    def __init__(self) -> None:
        self.usage = Usage.NORMAL
        self._threshold = _INITIAL_THRESHOLD
        self._reset()

    def _reset(self) -> None:
        self.usage = Usage.NORMAL
        self._first_sent: float | None = None
        self._last_sent = self._first_arrived = self._last_arrived = 0.0
        self._previous: tuple[float, float] | None = None
        self._points: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._deltas = 0
        self._accumulated = self._smoothed = self._trend = 0.0
        self._over_for = -1.0
        self._over_count = 0

    def on_packet(self, sent: float, arrived: float) -> None:
        """Account for a packet: both in seconds, each on its own clock. Any values are endured."""
        sent *= 1000.0
        arrived *= 1000.0
        first_sent = self._first_sent
        if first_sent is None:
            self._begin(sent, arrived)
            return
        if sent < first_sent:
            return  # reported late: its group is closed
        if sent - first_sent <= GROUP_SPAN or self._is_burst(sent, arrived):
            if sent > self._last_sent:
                self._last_sent = sent
            if arrived > self._last_arrived:
                self._last_arrived = arrived
            return
        previous = self._previous
        self._previous = (self._last_sent, self._last_arrived)
        if previous is not None:
            self._on_group(self._last_sent - previous[0], self._last_arrived - previous[1])
        self._begin(sent, arrived)

    def _begin(self, sent: float, arrived: float) -> None:
        self._first_sent = self._last_sent = sent
        self._first_arrived = self._last_arrived = arrived

    def _is_burst(self, sent: float, arrived: float) -> bool:
        gap = arrived - self._last_arrived
        return (
            gap <= GROUP_SPAN and gap < sent - self._last_sent and arrived - self._first_arrived < BURST_SPAN
        )

    def _on_group(self, sent_delta: float, arrived_delta: float) -> None:
        variation = arrived_delta - sent_delta
        if abs(variation) > MAX_VARIATION:
            self._reset()
            return
        self._deltas = min(self._deltas + 1, _MAX_DELTAS)
        self._accumulated += variation
        self._smoothed = _SMOOTHING * self._smoothed + (1 - _SMOOTHING) * self._accumulated
        assert self._previous is not None
        self._points.append((self._previous[1], self._smoothed))
        trend = _slope(self._points) if len(self._points) == WINDOW else 0.0
        self._detect(trend, sent_delta, arrived_delta)

    def _detect(self, trend: float, sent_delta: float, arrived_delta: float) -> None:
        if self._deltas < 2:
            return
        modified = self._deltas * trend * _GAIN
        if modified > self._threshold:
            self._over_for = self._over_for + sent_delta if self._over_for >= 0 else sent_delta / 2
            self._over_count += 1
            if self._over_for > _OVERUSE_TIME and self._over_count > 1 and trend >= self._trend:
                self._over_for = 0.0
                self._over_count = 0
                self.usage = Usage.OVERUSE
        else:
            self._over_for = -1.0
            self._over_count = 0
            self.usage = Usage.UNDERUSE if modified < -self._threshold else Usage.NORMAL
        self._trend = trend
        distance = abs(modified) - self._threshold
        if distance <= _MAX_ADAPT:
            rate = _K_DOWN if distance < 0 else _K_UP
            elapsed = min(max(arrived_delta, 0.0), _MAX_ADAPT_INTERVAL)
            low, high = _THRESHOLD_RANGE
            self._threshold = min(max(self._threshold + rate * distance * elapsed, low), high)


def _slope(points: deque[tuple[float, float]]) -> float:
    """Of the line of least squares through the points; 0 where all have one x."""
    count = len(points)
    origin_x, origin_y = points[0]  # near the points, or the sums would lose their small differences
    sum_x = sum_y = sum_xx = sum_xy = 0.0
    for x, y in points:
        x -= origin_x
        y -= origin_y
        sum_x += x
        sum_y += y
        sum_xx += x * x
        sum_xy += x * y
    denominator = count * sum_xx - sum_x * sum_x
    return (count * sum_xy - sum_x * sum_y) / denominator if denominator > 0 else 0.0

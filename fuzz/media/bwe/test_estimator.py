"""The estimator against any feedback, reports and REMB: in its range, bounded in memory, never raising."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from sfu.media.bwe import MAX_BITRATE, MIN_BITRATE, SendSideEstimator
from sfu.media.bwe.acknowledged import MAX_PACKETS
from sfu.media.bwe.delay import WINDOW
from sfu.media.bwe.probing import MAX_ARRIVALS
from sfu.media.bwe.sent import MAX_SENT_PACKETS
from sfu.rtp.rtcp import TransportFeedback


@st.composite
def feedback(draw: st.DrawFn) -> TransportFeedback:
    deltas = draw(st.lists(st.integers(-0x8000, 0x7FFF) | st.just(0), max_size=60))
    gaps = draw(st.lists(st.integers(1, 3), min_size=len(deltas), max_size=len(deltas)))
    offset, received = -1, []
    for delta, gap in zip(deltas, gaps, strict=True):
        offset += gap
        received.append((offset, delta))
    count = draw(st.integers(max(offset + 1, 1), 400) | st.just(0xFFFF))
    base = draw(st.integers(0, 300) | st.integers(0, 0xFFFF))
    reference = draw(st.integers(-5, 5) | st.integers(-(1 << 23), (1 << 23) - 1))
    return TransportFeedback(1, 2, base, count, reference, 0, tuple(received))


Action = Callable[["Driver"], None]


class Driver:
    """Applies actions; a sender that does what it is asked for."""

    def __init__(self) -> None:
        self.now = 50.0
        self.number = 1
        self.estimator = SendSideEstimator(self.now)
        self.cluster = 0

    def send(self, count: int, size: int) -> None:
        self.estimator.on_sent(self.number, [size] * count, self.now)
        self.number += count

    def probe(self, bitrate: int) -> None:
        self.estimator.request_probe(bitrate)
        probe = self.estimator.next_probe(self.now)
        if probe is not None:
            assert probe.bitrate > 0
            assert probe.bytes * 8 <= 1.15 * probe.bitrate + 8
            sizes = [-(-probe.bytes // probe.packets)] * probe.packets
            self.estimator.on_sent(self.number, sizes, self.now, probe=probe.cluster)
            self.number += len(sizes)

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        timer = self.estimator.get_timer()
        while timer is not None and timer <= end:
            self.now = max(self.now, timer)
            self.estimator.handle_timer(self.now)
            self.estimator.next_probe(self.now)
            later = self.estimator.get_timer()
            assert later is None or later > timer  # or it would be called for ever
            timer = later
        self.now = end


ACTIONS = st.one_of(
    st.builds(lambda n, size: lambda d: d.send(n, size), st.integers(1, 64), st.integers(1, 1500)),
    st.builds(lambda f: lambda d: d.estimator.on_feedback_untrusted(f, d.now), feedback()),
    st.builds(lambda s: lambda d: d.wait(s), st.floats(0, 6)),
    st.builds(lambda b: lambda d: d.probe(b), st.integers(0, 1 << 33)),
    st.builds(lambda b: lambda d: d.estimator.on_remb(b, d.now), st.integers(0, 1 << 81)),
    st.builds(
        lambda loss, rtt: lambda d: d.estimator.on_report(loss, rtt, d.now),
        st.floats(0, 1),
        st.none() | st.floats(0, 70_000),
    ),
)


@given(st.lists(ACTIONS, max_size=60))
def test_any_sequence(actions: list[Action]) -> None:
    driver = Driver()
    for action in actions:
        action(driver)
        assert MIN_BITRATE <= driver.estimator.bitrate <= MAX_BITRATE
        assert driver.estimator.acknowledged >= 0


def test_memory_is_bounded_whatever_is_reported() -> None:
    """Everything is reported as arrived at one moment, nothing, or only the newest."""
    for received in (
        lambda count: tuple((i, 0) for i in range(count)),
        lambda _: (),
        lambda count: ((count - 1, 0),),
    ):
        driver = Driver()
        estimator = driver.estimator
        for _ in range(400):
            base = driver.number
            driver.probe(MAX_BITRATE)
            for _ in range(4):
                driver.send(64, 1000)
            driver.now += 0.001
            count = driver.number - base
            message = TransportFeedback(1, 2, base & 0xFFFF, count, 0, 0, received(count))
            estimator.on_feedback_untrusted(message, driver.now)
            assert len(estimator._sent) <= 2 * MAX_SENT_PACKETS
            assert len(estimator._sent._lost) <= MAX_SENT_PACKETS
            assert len(estimator._arrived._packets) <= MAX_PACKETS
            assert len(estimator._delay._points) <= WINDOW
            cluster = estimator._prober._cluster
            assert cluster is None or len(cluster.arrivals or ()) <= MAX_ARRIVALS
        assert driver.number > 400 * 256 > MAX_SENT_PACKETS

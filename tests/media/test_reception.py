"""Statistics of a received stream, and when a key frame is requested."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sfu.media.missing import MAX_MISSING
from sfu.media.reception import KeyframeRequester, StreamReceiver

BASE = 65536 + 65530  # an unwrapped number just before the wrap


def receiver(**options: bool) -> StreamReceiver:
    return StreamReceiver(90000, wants_repair=options.get("wants_repair", True))


def test_nothing_is_missing_in_order() -> None:
    stream = receiver()
    for i in range(100):
        assert not stream.on_packet(BASE + i, 0, i * 0.01, repaired=False)
    assert stream.get_timer() is None
    assert stream.due_nacks(10.0) == ([], False)
    assert stream.report() == (0, 0, BASE + 99)


def test_reordering_is_no_loss() -> None:
    stream = receiver()
    for number in (0, 2, 1, 3):
        stream.on_packet(BASE + number, 0, 1.0, repaired=False)
    assert stream.get_timer() is None
    assert stream.report()[:2] == (0, 0)


def test_without_nack_nothing_is_asked_for() -> None:
    stream = receiver(wants_repair=False)
    stream.on_packet(BASE, 0, 0.0, repaired=False)
    stream.on_packet(BASE + 5, 0, 0.0, repaired=False)
    assert stream.get_timer() is None


def test_loss_is_reported_per_interval_and_in_all() -> None:
    stream = receiver()
    for number in range(0, 100, 2):
        stream.on_packet(BASE + number, 0, 0.0, repaired=False)
    fraction, lost, highest = stream.report()
    assert (fraction, lost, highest) == ((49 << 8) // 99, 49, BASE + 98)
    for number in range(99, 199):
        stream.on_packet(BASE + number, 0, 0.0, repaired=False)
    assert stream.report()[:2] == (0, 49)


def test_repairs_do_not_hide_what_the_line_loses() -> None:
    stream = receiver()
    for number in range(0, 101, 2):
        stream.on_packet(BASE + number, 0, 0.0, repaired=False)
    for number in range(1, 100, 2):
        stream.on_packet(BASE + number, 0, 0.1, repaired=True)
    assert stream.report()[:2] == ((50 << 8) // 101, 50)
    assert (stream.expected_interval, stream.lost_interval) == (101, 50)
    assert (stream.lost, stream.score) == (0, 10)


def test_a_late_packet_is_no_loss_of_the_next_interval() -> None:
    stream = receiver()
    for number in (0, 2, 3):
        stream.on_packet(BASE + number, 0, 0.0, repaired=False)
    assert stream.report()[0] == 64
    stream.on_packet(BASE + 1, 0, 0.0, repaired=False)
    stream.on_packet(BASE + 4, 0, 0.0, repaired=False)
    assert stream.report()[:2] == (0, 0)
    assert stream.lost_interval == -1


def test_jitter_follows_rfc_3550() -> None:
    stream = receiver()
    # 20 ms apart by timestamp, 20 and 30 ms apart by arrival in turn
    now, jitter, late = 5.0, 0.0, False
    for i in range(50):
        stream.on_packet(BASE + i, (2**32 - 9000 + i * 1800) % 2**32, now, repaired=False)
        now += 0.030 if late else 0.020
        if i:
            expected = 900.0 if not late else 0.0
            jitter += (expected - jitter) / 16
        late = not late
    assert abs(stream.jitter - jitter) < 60


@given(st.lists(st.integers(0, 3000), max_size=200), st.booleans())
def test_any_order_of_packets_keeps_the_books_bounded(numbers: list[int], wants_repair: bool) -> None:
    stream = receiver(wants_repair=wants_repair)
    now = 0.0
    for number in numbers:
        now += 0.001
        stream.on_packet(BASE + number, number * 100, now, repaired=bool(number % 3))
        assert stream.missing is None or len(stream.missing) <= MAX_MISSING
        fraction, lost, _ = stream.report()
        assert 0 <= fraction <= 255
        assert -0x800000 <= lost <= 0x7FFFFF
        stream.due_nacks(now)


def test_one_key_frame_request_under_way_at_a_time() -> None:
    requester = KeyframeRequester()
    assert requester.request(0.0)
    assert not requester.request(0.1)
    assert not requester.request_by_viewer(0.1)
    requester.on_keyframe()
    assert requester.request(0.2)


def test_an_interrupted_line_is_asked_anew() -> None:
    requester = KeyframeRequester()
    assert requester.request(0.0)
    assert not requester.request(0.05, anew=True), "it may still be answered"
    assert requester.request(0.2, anew=True)
    assert not requester.request(0.25, anew=True)
    assert requester.get_timer() == 0.2 + KeyframeRequester.ANSWER_TIME


def test_a_long_way_takes_longer_to_answer() -> None:
    requester = KeyframeRequester()
    requester.round_trip = 0.8
    assert requester.request(0.0)
    assert requester.get_timer() == 1.6
    assert not requester.handle_timer(1.5)
    assert requester.handle_timer(1.6)


def test_viewers_are_held_to_one_request_a_second() -> None:
    requester = KeyframeRequester()
    asked = 0
    for i in range(100):
        asked += requester.request_by_viewer(i * 0.05)
        requester.on_keyframe()
    assert asked == 5


def test_an_unanswered_request_is_repeated_and_then_given_up() -> None:
    requester = KeyframeRequester()
    assert requester.request(0.0)
    sent = 1
    while (timer := requester.get_timer()) is not None:
        assert not requester.handle_timer(timer - 0.01)
        sent += requester.handle_timer(timer)
    assert sent == KeyframeRequester.MAX_ATTEMPTS
    assert requester.request(100.0)

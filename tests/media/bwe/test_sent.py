"""What was sent meets what is reported: once each, in any order, across wraps, within bounds."""

from __future__ import annotations

import pytest

from sfu.media.bwe.sent import MAX_SENT_AGE, MAX_SENT_PACKETS, OUTAGE_PACKETS, OUTAGE_TIME, SentPackets
from sfu.rtp.rtcp import TransportFeedback


def message(base: int, arrived: list[int], count: int | None = None, reference: int = 0) -> TransportFeedback:
    """On ``count`` packets from ``base``, of which those at the offsets ``arrived`` came, a tick apart."""
    count = arrived[-1] + 1 if count is None else count
    return TransportFeedback(1, 2, base & 0xFFFF, count, reference, 0, tuple((o, 1) for o in arrived))


def sent(first: int, count: int, now: float = 0.0) -> SentPackets:
    packets = SentPackets()
    packets.append(first, [1000 + i for i in range(count)], now)
    return packets


def numbers(packets: SentPackets, feedback: TransportFeedback) -> list[int]:
    return [a.number for a in packets.on_feedback_untrusted(feedback).arrivals]


def test_arrivals_carry_when_and_how_much_was_sent() -> None:
    packets = sent(10, 2, 5.0)
    packets.append(12, [77], 6.0)
    report = packets.on_feedback_untrusted(message(10, [0, 2]))
    assert report.arrivals == [(10, 5.0, 0.00025, 1000), (12, 6.0, 0.0005, 77)]
    assert (report.lost, report.reported) == (1, 12)


def test_each_packet_arrives_once() -> None:
    packets = sent(10, 4)
    assert numbers(packets, message(10, [0, 1])) == [10, 11]
    assert numbers(packets, message(10, [0, 1, 2])) == [12]
    assert numbers(packets, message(10, [0, 1, 2])) == []


def test_a_packet_reported_lost_may_still_arrive() -> None:
    packets = sent(10, 4)
    assert packets.on_feedback_untrusted(message(10, [0, 2])).lost == 1
    report = packets.on_feedback_untrusted(message(11, [0]))
    assert [a.number for a in report.arrivals] == [11]
    assert report.lost == -1


def test_what_a_missing_message_was_about_is_neither_arrived_nor_lost() -> None:
    packets = sent(10, 10)
    report = packets.on_feedback_untrusted(message(15, [0, 1]))
    assert [a.number for a in report.arrivals] == [15, 16]
    assert report.lost == 0


@pytest.mark.parametrize("first", [65530, 5 * 65536 - 3, 65536])
def test_numbers_wrap(first: int) -> None:
    packets = sent(first, 10)
    assert numbers(packets, message(first, list(range(10)))) == list(range(first, first + 10))


def test_the_reference_time_wraps() -> None:
    packets = sent(1, 3)
    before = packets.on_feedback_untrusted(message(1, [0], reference=(1 << 23) - 1)).arrivals[0]
    after = packets.on_feedback_untrusted(message(2, [0], reference=-(1 << 23))).arrivals[0]
    assert after.arrived - before.arrived == pytest.approx(0.064)


def test_numbers_never_sent_mean_nothing() -> None:
    packets = sent(10, 3)
    report = packets.on_feedback_untrusted(message(13, [0, 1]))
    assert (report.arrivals, report.lost, report.reported) == ([], 0, 9)
    report = packets.on_feedback_untrusted(message(10, [0], count=0xFFFF))
    assert (len(report.arrivals), report.lost, report.reported) == (1, 2, 12)
    assert SentPackets().on_feedback_untrusted(message(1, [0])).arrivals == []


def test_the_numbers_are_right_again_after_a_long_silence() -> None:
    packets = SentPackets()
    for i in range(1000):
        packets.append(i * 50, [1000] * 50, i * 0.01)
    assert numbers(packets, message(49_990, [0, 1])) == [49_990, 49_991]
    assert packets.on_feedback_untrusted(message(49_992, [0])).reported == 49_992


def spaced(count: int, interval: float) -> SentPackets:
    packets = SentPackets()
    for number in range(count):
        packets.append(number, [1000], number * interval)
    return packets


def test_an_outage_is_not_counted_as_loss() -> None:
    count = 60
    packets = spaced(count, 0.01)
    assert packets.on_feedback_untrusted(message(0, [0, count - 1])).lost == 0
    # As many in less time are what a full queue does, and a few over a long time are chance.
    assert spaced(count, 0.004).on_feedback_untrusted(message(0, [0, count - 1])).lost == count - 2
    few = OUTAGE_PACKETS + 1
    assert spaced(few, OUTAGE_TIME).on_feedback_untrusted(message(0, [0, few - 1])).lost == few - 2


def test_memory_is_bounded_by_number() -> None:
    packets = SentPackets()
    for i in range(300):
        packets.append(i * 64, [1000] * 64, i * 0.01)
    assert MAX_SENT_PACKETS - 64 < len(packets) <= MAX_SENT_PACKETS
    assert numbers(packets, message(0, [0])) == []
    assert numbers(packets, message(299 * 64, [0])) == [299 * 64]


def test_memory_is_bounded_by_age() -> None:
    packets = sent(1, 5, 0.0)
    packets.append(6, [1000] * 5, 1.0)
    packets.on_feedback_untrusted(message(1, [0], count=3))
    packets.forget(MAX_SENT_AGE + 0.5)
    assert len(packets) == 5
    packets.forget(MAX_SENT_AGE + 1.5)
    assert len(packets) == 0


def test_the_oldest_unreported_is_what_silence_is_measured_from() -> None:
    packets = sent(1, 5, 1.0)
    packets.append(6, [1000], 2.0)
    packets.append(7, [1000], 3.0)
    oldest = [packets.oldest_unreported]
    for base, arrived in ((1, [0, 1]), (3, [0, 1, 2]), (6, [0, 1])):
        packets.on_feedback_untrusted(message(base, arrived))
        oldest.append(packets.oldest_unreported)
    assert oldest == [1.0, 1.0, 2.0, None]
    assert (packets.newest, packets.bytes) == (3.0, 5010 + 2000)

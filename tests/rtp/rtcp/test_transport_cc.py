"""Transport-wide feedback: Chromium's bytes, every chunk form, and the builder."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.packet import RtpError
from sfu.rtp.rtcp import TransportFeedback, build_transport_feedback, parse_compound_untrusted
from sfu.rtp.rtcp.transport_cc import (
    MAX_FEEDBACK_RECEIVED,
    MAX_FEEDBACK_SIZE,
    MAX_FEEDBACK_STATUSES,
    TICK,
)


def parse(data: str) -> TransportFeedback:
    (packet,) = parse_compound_untrusted(bytes.fromhex(data.replace(" ", "")))
    assert isinstance(packet, TransportFeedback)
    return packet


def feedback(chunks: str, count: int, deltas: str = "") -> TransportFeedback:
    """A message with these chunks: base 100, reference time 1."""
    body = f"0000000100000002 0064{count:04x} 000001 00" + chunks + deltas
    body = body.replace(" ", "")
    body += "0" * (-len(body) % 8)
    return parse(f"8fcd{len(body) // 8:04x}" + body)


# --- captured from Chromium -----------------------------------------------------------------------------

CHROMIUM = {
    "afcd0005fa17fa17000004d2000d0001008ab0002001e401": (13, 1, 35504, 0, ((0, 228),)),
    "afcd0006fa17fa171cb7daf3000e0004008ab0012004e8080cdc0002": (
        14,
        4,
        35504,
        1,
        ((0, 232), (1, 8), (2, 12), (3, 220)),
    ),
    "afcd0007fa17fa17000000020003000900426d00ade014181838000000000003": (
        3,
        9,
        17005,
        0,
        ((0, 0x14), (2, 0x18), (3, 0x18), (5, 0x38), (6, 0), (7, 0), (8, 0)),
    ),
}


@pytest.mark.parametrize("data", CHROMIUM)
def test_chromium(data: str) -> None:
    packet = parse(data)
    base, count, reference, number, received = CHROMIUM[data]
    assert (packet.base_sequence, packet.status_count) == (base, count)
    assert (packet.reference_time, packet.feedback_count) == (reference, number)
    assert packet.received == received
    assert packet.to_bytes().hex() == data


def test_arrival_times() -> None:
    packet = parse("afcd0006fa17fa171cb7daf3000e0004008ab0012004e8080cdc0002")
    start = 35504 * 0.064
    arrivals = dict(packet.arrivals())
    assert list(arrivals) == [14, 15, 16, 17]
    assert list(arrivals.values()) == pytest.approx([start + ms / 1000 for ms in (58, 60, 63, 118)])


# --- chunks -----------------------------------------------------------------------------------------------


def test_run_length_chunks() -> None:
    assert feedback("0005", 5).received == ()
    assert feedback("2003", 3, "010203").received == ((0, 1), (1, 2), (2, 3))
    assert feedback("4002", 2, "ffff0100").received == ((0, -1), (1, 256))
    assert feedback("0002 2001", 3, "07").received == ((2, 7),)


def test_one_bit_vector() -> None:
    # 10 + 1 0 1 ... : the first and third of fourteen
    assert feedback("a800", 14, "0102").received == ((0, 1), (2, 2))


def test_two_bit_vector() -> None:
    # 11 + 01 10 00 01 00 00 00
    assert feedback("d840", 7, "05 ff00 06").received == ((0, 5), (1, -256), (3, 6))


def test_symbols_beyond_the_count_are_ignored() -> None:
    assert feedback("bfff", 2, "0102").received == ((0, 1), (1, 2))
    assert feedback("3fff", 2, "0102").received == ((0, 1), (1, 2))
    assert feedback("d555", 3, "010203").status_count == 3


def test_reference_time_is_signed() -> None:
    packet = parse("8fcd0005 00000001 00000002 0000 0001 ffffff 00 2001 0000")
    assert packet.reference_time == -1
    assert list(packet.arrivals()) == [(0, -0.064)]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(("", 1), id="no chunk"),
        pytest.param(("2001", 2, "0000"), id="chunks end early"),
        pytest.param(("2005", 5, "01"), id="deltas missing"),
        pytest.param(("4002", 2), id="large delta missing"),
        pytest.param(("6001", 1, "0000"), id="reserved run"),
        pytest.param(("f000", 1, "0000"), id="reserved in a vector"),
        pytest.param(("2001", 0, "0000"), id="no packets"),
        pytest.param(("3fff3fff3fff3fff3fff3fff3fff3fff3fff", 0xFFFF), id="65,535 arrivals in 40 bytes"),
    ],
)
def test_malformed(case: tuple[str, int, str]) -> None:
    with pytest.raises(RtpError):
        feedback(*case)


def test_cut_off() -> None:
    with pytest.raises(RtpError):
        parse("8fcd0003000000010000000200000001")


def test_run_of_zero_makes_no_loop() -> None:
    """Attack 20: a chunk that covers nothing costs its two bytes."""
    with pytest.raises(RtpError):
        feedback("0000" * 100, 1)
    assert feedback("0000" * 100 + "2001", 1, "05").received == ((0, 5),)


def test_65535_lost_packets_cost_nothing_until_asked_for() -> None:
    """Attack 20: 37 such messages fit a datagram."""
    data = "8fcd0009 0000000100000002 0064ffff 00000100" + "1fff" * 8 + "0007 0000"
    compound = bytes.fromhex(data.replace(" ", "")) * 37
    start = time.process_time()
    packets = parse_compound_untrusted(compound)
    assert time.process_time() - start < 0.05
    assert len(packets) == 37
    for packet in packets:
        assert isinstance(packet, TransportFeedback)
        assert packet.received == ()
    last = packets[-1]
    assert isinstance(last, TransportFeedback)
    statuses = list(last.statuses())
    assert len(statuses) == 65_535
    assert statuses[0] == (100, None)
    assert statuses[-1] == (98, None)


def test_statuses() -> None:
    packet = feedback("0002 2001 0001", 4, "08")
    assert list(packet.statuses()) == [(100, None), (101, None), (102, 0.066), (103, None)]


@pytest.mark.parametrize(
    ("count", "received", "reference", "number"),
    [
        (0, (), 0, 0),
        (0x10000, (), 0, 0),
        (2, ((2, 0),), 0, 0),
        (2, ((1, 0), (0, 0)), 0, 0),
        (2, ((1, 0), (1, 0)), 0, 0),
        (2, ((-1, 0),), 0, 0),
        (2, (), 1 << 23, 0),
        (2, (), 0, 256),
    ],
)
def test_our_own_mistakes_are_value_errors(
    count: int, received: tuple[tuple[int, int], ...], reference: int, number: int
) -> None:
    with pytest.raises(ValueError):
        TransportFeedback(1, 2, 0, count, reference, number, received).to_bytes()


# --- builder ------------------------------------------------------------------------------------------------

arrivals = st.one_of(
    st.lists(st.tuples(st.integers(1000, 1100), st.floats(1000, 1001)), max_size=60),
    st.lists(st.tuples(st.integers(0, 1 << 18), st.floats(0, 1e6)), max_size=60),
)


def decode(messages: list[TransportFeedback], start: int) -> tuple[dict[int, float], set[int]]:
    """Extended numbers with arrivals, and those reported lost; the first message begins at ``start``."""
    seen: dict[int, float] = {}
    lost: set[int] = set()
    reference = start
    for message in messages:
        (parsed,) = parse_compound_untrusted(message.to_bytes())
        assert parsed == message
        base = reference + (message.base_sequence - reference) % 65536
        for number, arrival in message.statuses():
            extended = base + (number - message.base_sequence) % 65536
            if arrival is None:
                lost.add(extended)
            else:
                seen[extended] = arrival
        reference = base + message.status_count
    return seen, lost


@given(arrivals, st.integers(0, 255))
def test_what_is_built_is_what_arrived(given_arrivals: list[tuple[int, float]], number: int) -> None:
    first: dict[int, float] = {}
    for sequence, seconds in given_arrivals:
        first.setdefault(sequence, seconds)
    messages = build_transport_feedback(1, 2, given_arrivals, number)
    assert [message.feedback_count for message in messages] == [
        (number + n) % 256 for n in range(len(messages))
    ]
    numbers = sorted(first)
    wide_hole = any(b - a >= 65_536 for a, b in pairwise(numbers))
    if wide_hole:  # the wire cannot tell how many cycles were skipped
        return
    seen, lost = decode(messages, numbers[0] if numbers else 0)
    assert set(seen) == set(first)
    assert not lost & set(first)
    cycle = (1 << 24) * 0.064
    for sequence, seconds in first.items():
        error = (seconds - seen[sequence] + cycle / 2) % cycle - cycle / 2
        assert abs(error) <= TICK / 2 + 1e-6
    for hole_start, hole_end in pairwise(numbers):
        hole = set(range(hole_start + 1, hole_end))
        assert hole <= lost or (len(hole) >= MAX_FEEDBACK_STATUSES - 1 and not hole & lost)


def test_losses_since_the_last_report_are_told() -> None:
    (message,) = build_transport_feedback(1, 2, [(110, 1.0)], 0, base=107)
    assert [(n, arrival is None) for n, arrival in message.statuses()] == [
        (107, True),
        (108, True),
        (109, True),
        (110, False),
    ]


@pytest.mark.parametrize("base", [111, 110 - MAX_FEEDBACK_STATUSES, None])
def test_a_base_that_is_not_just_behind_is_left_out(base: int | None) -> None:
    (message,) = build_transport_feedback(1, 2, [(110, 1.0)], 0, base=base)
    assert (message.base_sequence, message.status_count) == (110, 1)


def test_nothing_arrived() -> None:
    assert build_transport_feedback(1, 2, [], 0, base=5) == []


def test_caps_of_one_message() -> None:
    """The worst case: every packet arrived with a large difference, or the statuses never repeat."""
    jumpy = [(n, (n % 2) * 1.0) for n in range(2000)]
    messages = build_transport_feedback(1, 2, jumpy, 0)
    assert [len(message.received) for message in messages] == [MAX_FEEDBACK_RECEIVED] * 5
    sparse = [(n, (n % 3) * 1.0) for n in range(0, 4000, 5)] + [(n, 0.5) for n in range(1, 4000, 7)]
    for message in messages + build_transport_feedback(1, 2, sparse, 0):
        assert message.status_count <= MAX_FEEDBACK_STATUSES
        assert len(message.to_bytes()) <= MAX_FEEDBACK_SIZE


def test_neighbours_too_far_apart_in_time_part_company() -> None:
    first, second = build_transport_feedback(1, 2, [(1, 0.0), (2, 8.5), (3, 8.6)], 7)
    assert (first.base_sequence, first.status_count, first.feedback_count) == (1, 1, 7)
    assert (second.base_sequence, second.status_count, second.feedback_count) == (2, 2, 8)
    assert len(build_transport_feedback(1, 2, [(1, 0.0), (2, 8.1)], 0)) == 1
    assert len(build_transport_feedback(1, 2, [(1, 8.5), (2, 0.0)], 0)) == 2


def test_reordering_makes_negative_differences() -> None:
    (message,) = build_transport_feedback(1, 2, [(2, 1.0), (1, 1.01), (3, 1.02)], 0)
    assert [delta for _, delta in message.received][1:] == [-40, 80]


def test_sequence_and_reference_wrap() -> None:
    (message,) = build_transport_feedback(1, 2, [(65_535, 1e9), (65_536, 1e9 + 0.001)], 0)
    assert message.base_sequence == 65_535
    assert [number for number, _ in message.arrivals()] == [65_535, 0]
    assert -(1 << 23) <= message.reference_time < 1 << 23


def test_a_long_run_takes_one_chunk() -> None:
    (message,) = build_transport_feedback(1, 2, [(n, n * 0.001) for n in range(300)], 0)
    assert len(message.to_bytes()) == 20 + 2 + 300 + 2

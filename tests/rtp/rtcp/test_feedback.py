"""NACK, PLI, FIR and REMB."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.packet import RtpError
from sfu.rtp.rtcp import (
    FullIntraRequest,
    GenericNack,
    PictureLossIndication,
    ReceiverEstimatedMaximumBitrate,
    RtcpPacket,
    Unknown,
    build_nacks,
    parse_compound_untrusted,
)
from sfu.rtp.rtcp.feedback import MAX_BITRATE, MAX_NACK_ITEMS, MAX_REMB_SSRCS
from tests.rtp.strategies import u16, u32

VECTORS: dict[str, RtcpPacket] = {
    # Written by aiortc.
    "81cd000a8b4477bbf71deee4000c00000020004000360000004c0000006e1000008e000000b70008ffff0000": GenericNack(
        2336520123,
        4145934052,
        ((12, 0), (32, 0x40), (54, 0), (76, 0), (110, 0x1000), (142, 0), (183, 8), (65535, 0)),
    ),
    "81ce00025450626523013fb9": PictureLossIndication(1414554213, 587284409),
    "8fce0005000000010000000052454d420113f7a096be96cf": ReceiverEstimatedMaximumBitrate(
        1, 4160000, (2529072847,)
    ),
    # By the figure in RFC 5104 4.3.1.1.
    "84ce0004000000010000000000000002ff000000": FullIntraRequest(1, ((2, 255),)),
}


@pytest.mark.parametrize(("data", "packet"), VECTORS.items())
def test_vectors(data: str, packet: RtcpPacket) -> None:
    assert parse_compound_untrusted(bytes.fromhex(data)) == [packet]
    assert packet.to_bytes().hex() == data


# --- NACK -------------------------------------------------------------------------------------------


@given(
    st.one_of(st.sets(u16, max_size=300), st.sets(st.integers(-40, 40).map(lambda n: n % 65536), max_size=60))
)
def test_nacks_ask_for_exactly_these(numbers: set[int]) -> None:
    nacks = build_nacks(1, 2, numbers)
    asked = [number for nack in nacks for number in nack.sequence_numbers()]
    assert sorted(asked) == sorted(numbers)
    assert all(0 < len(nack.items) <= MAX_NACK_ITEMS for nack in nacks)
    for nack in nacks:
        assert parse_compound_untrusted(nack.to_bytes()) == [nack]


def test_nack_items_cross_the_wrap() -> None:
    (nack,) = build_nacks(1, 2, {65_534, 65_535, 0, 14, 15})
    assert nack.items == ((65_534, 0b1000_0000_0000_0011), (15, 0))
    assert list(nack.sequence_numbers()) == [65_534, 65_535, 0, 14, 15]


def test_nacks_are_split_at_the_cap() -> None:
    numbers = [17 * n for n in range(MAX_NACK_ITEMS + 1)]
    first, second = build_nacks(1, 2, numbers)
    assert len(first.items) == MAX_NACK_ITEMS
    assert list(second.sequence_numbers()) == numbers[-1:]
    assert build_nacks(1, 2, []) == []


def test_the_longest_nack_that_arrives_is_bounded() -> None:
    """Attack 20: what one datagram can ask for."""
    data = bytes.fromhex("81cd0176") + bytes(8) + b"\0\0\xff\xff" * 372
    (nack,) = parse_compound_untrusted(data)
    assert isinstance(nack, GenericNack)
    assert len(list(nack.sequence_numbers())) == 372 * 17


# --- REMB ---------------------------------------------------------------------------------------------


@given(st.integers(0, MAX_BITRATE), st.lists(u32, max_size=5))
def test_remb_rounds_down_by_less_than_a_2_17th(bitrate: int, ssrcs: list[int]) -> None:
    wire = ReceiverEstimatedMaximumBitrate(1, bitrate, tuple(ssrcs)).to_bytes()
    (parsed,) = parse_compound_untrusted(wire)
    assert isinstance(parsed, ReceiverEstimatedMaximumBitrate)
    assert parsed.ssrcs == tuple(ssrcs)
    assert 0 <= bitrate - parsed.bitrate <= bitrate >> 17


def test_remb_overflow() -> None:
    top = "8fce0004000000010000000052454d4200%06x"
    parse_compound_untrusted(bytes.fromhex(top % (46 << 18 | 0x3FFFF)))
    with pytest.raises(RtpError):
        parse_compound_untrusted(bytes.fromhex(top % (47 << 18 | 0x3FFFF)))
    with pytest.raises(RtpError):
        parse_compound_untrusted(bytes.fromhex(top % 0xFFFFFF))


def test_remb_with_255_ssrcs_that_are_not_there() -> None:
    with pytest.raises(RtpError):
        parse_compound_untrusted(bytes.fromhex("8fce0005000000010000000052454d42ff00000000000001"))
    full = ReceiverEstimatedMaximumBitrate(1, 5, tuple(range(MAX_REMB_SSRCS)))
    assert parse_compound_untrusted(full.to_bytes()) == [full]


def test_other_application_feedback_is_opaque() -> None:
    data = bytes.fromhex("8fce0004000000010000000052454d4300000000")
    assert parse_compound_untrusted(data) == [Unknown(206, 15, data[4:])]


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("81cd000100000001", id="NACK without media SSRC"),
        pytest.param("81cd00020000000100000002", id="NACK without items"),
        pytest.param("a1cd0003000000010000000200000002", id="NACK with half an item"),
        pytest.param("81ce000100000001", id="PLI without media SSRC"),
        pytest.param("84ce00020000000100000000", id="FIR without entries"),
        pytest.param("84ce0003000000010000000000000002", id="FIR with half an entry"),
    ],
)
def test_malformed(data: str) -> None:
    with pytest.raises(RtpError):
        parse_compound_untrusted(bytes.fromhex(data))


@pytest.mark.parametrize(
    "packet",
    [
        GenericNack(1, 2, ()),
        FullIntraRequest(1, ()),
        ReceiverEstimatedMaximumBitrate(1, MAX_BITRATE + 1, ()),
        ReceiverEstimatedMaximumBitrate(1, -1, ()),
        ReceiverEstimatedMaximumBitrate(1, 0, (0,) * (MAX_REMB_SSRCS + 1)),
    ],
)
def test_our_own_mistakes_are_value_errors(packet: RtcpPacket) -> None:
    with pytest.raises(ValueError):
        packet.to_bytes()

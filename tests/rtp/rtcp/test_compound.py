"""Framing of compounds, and the round trip of every packet type."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.packet import RtpError
from sfu.rtp.rtcp import (
    MAX_COMPOUND_PACKETS,
    MAX_COMPOUND_SIZE,
    PictureLossIndication,
    ReceiverReport,
    RtcpPacket,
    SourceDescription,
    Unknown,
    build_compound,
    parse_compound_untrusted,
)
from sfu.rtp.rtcp.framing import build_packet, split_compound_untrusted
from tests.rtp.rtcp.strategies import any_packet, packets

PLI = "81ce00025450626523013fb9"


@pytest.mark.parametrize("kind", list(packets))
@given(data=st.data())
def test_each_type_survives_the_wire(kind: str, data: st.DataObject) -> None:
    packet = data.draw(packets[kind])
    wire = packet.to_bytes()
    assert len(wire) % 4 == 0
    if len(wire) <= MAX_COMPOUND_SIZE:
        assert parse_compound_untrusted(wire) == [packet]


@given(st.lists(any_packet, min_size=1, max_size=6))
def test_compounds_survive_the_wire(parts: list[RtcpPacket]) -> None:
    wire = b"".join(part.to_bytes() for part in parts)
    if len(wire) > MAX_COMPOUND_SIZE:
        with pytest.raises(ValueError, match="too large"):
            build_compound(parts)
        with pytest.raises(RtpError):
            parse_compound_untrusted(wire)
    else:
        assert build_compound(parts) == wire
        assert parse_compound_untrusted(wire) == parts


@given(st.lists(any_packet, min_size=1, max_size=3), st.data())
def test_a_compound_cut_off_is_refused(parts: list[RtcpPacket], data: st.DataObject) -> None:
    """Only between two packets can the end be missed."""
    wire = b"".join(part.to_bytes() for part in parts)[:MAX_COMPOUND_SIZE]
    ends, at = set(), 0
    for part in parts:
        at += len(part.to_bytes())
        ends.add(at)
    size = data.draw(st.integers(0, len(wire) - 1))
    if size not in ends:
        with pytest.raises(RtpError):
            parse_compound_untrusted(wire[:size])


def test_reduced_size_is_accepted() -> None:
    """RFC 5506: no report in front."""
    assert parse_compound_untrusted(bytes.fromhex(PLI)) == [PictureLossIndication(0x54506265, 0x23013FB9)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="empty"),
        pytest.param("81ce00", id="header cut off"),
        pytest.param("81ce0003" + PLI[8:], id="longer than the compound"),
        pytest.param(PLI + "81", id="junk behind"),
        pytest.param("41ce0002" + PLI[8:], id="version 1"),
        pytest.param("c1ce0002" + PLI[8:], id="version 3"),
        pytest.param("81bf0002" + PLI[8:], id="type 191"),
        pytest.param("81e00002" + PLI[8:], id="type 224"),
        pytest.param("a1ce0000", id="padding without a body"),
        pytest.param("a1ce00025450626523013f00", id="padding of 0"),
        pytest.param("a1ce00025450626523013f09", id="padding longer than the body"),
        pytest.param("a1ce00025450626523013f01", id="padding eats a PLI"),
    ],
)
def test_malformed_compounds(data: str) -> None:
    with pytest.raises(RtpError):
        parse_compound_untrusted(bytes.fromhex(data))


def test_padding_is_not_part_of_a_packet() -> None:
    padded = bytes.fromhex("a1ce0003" + PLI[8:] + "00000004")
    assert parse_compound_untrusted(padded) == parse_compound_untrusted(bytes.fromhex(PLI))
    # libwebrtc pads transport feedback by less than a word, and not only in the last packet.
    assert parse_compound_untrusted(padded + bytes.fromhex(PLI)) == parse_compound_untrusted(
        bytes.fromhex(PLI) * 2
    )


def test_packets_without_a_body_do_not_loop() -> None:
    """Attack 20: a length of zero is a whole packet of four bytes."""
    empty_sdes = bytes.fromhex("80ca0000")
    assert parse_compound_untrusted(empty_sdes * 10) == [SourceDescription(())] * 10
    with pytest.raises(RtpError):
        parse_compound_untrusted(bytes.fromhex("80c90000"))


def test_packet_count_cap() -> None:
    one = bytes.fromhex("80d00000")
    assert len(parse_compound_untrusted(one * MAX_COMPOUND_PACKETS)) == MAX_COMPOUND_PACKETS
    with pytest.raises(RtpError):
        parse_compound_untrusted(one * (MAX_COMPOUND_PACKETS + 1))
    with pytest.raises(ValueError, match="too large"):
        build_compound([Unknown(208, 0, b"")] * (MAX_COMPOUND_PACKETS + 1))


def test_size_cap() -> None:
    def unknown(size: int) -> bytes:
        return struct.pack("!BBH", 0x80, 208, size // 4 - 1) + bytes(size - 4)

    assert len(parse_compound_untrusted(unknown(MAX_COMPOUND_SIZE))) == 1
    with pytest.raises(RtpError):
        parse_compound_untrusted(unknown(MAX_COMPOUND_SIZE + 4))


def test_unknown_stays_opaque() -> None:
    data = bytes.fromhex("85cd000201020304aabbccdd" + "9fd00001deadbeef")
    first, second = parse_compound_untrusted(data)
    assert first == Unknown(205, 5, bytes.fromhex("01020304aabbccdd"))
    assert second == Unknown(208, 31, bytes.fromhex("deadbeef"))
    assert build_compound([first, second]) == data


def test_one_bad_packet_spoils_the_compound() -> None:
    good = ReceiverReport(1).to_bytes()
    with pytest.raises(RtpError):
        parse_compound_untrusted(good + bytes.fromhex("81c9000100000001"))


def test_our_own_mistakes_are_value_errors() -> None:
    with pytest.raises(ValueError, match="count"):
        build_packet(200, 32, b"")
    with pytest.raises(ValueError, match="multiple of four"):
        build_packet(200, 0, b"x")
    assert [frame.body for frame in split_compound_untrusted(build_packet(200, 0, b"x", pad=True))] == [b"x"]

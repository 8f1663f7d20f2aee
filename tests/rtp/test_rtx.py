"""RTX there and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.packet import RtpError, build_header, parse_untrusted
from sfu.rtp.rtx import OSN_SIZE, build_rtx, recover_untrusted
from tests.rtp.strategies import packets, u16, u32


@given(packets(7, 8), u32, st.integers(0, 127), u16)
def test_there_and_back(original: tuple[bytes, bytes], ssrc: int, payload_type: int, number: int) -> None:
    packet = parse_untrusted(b"".join(original))
    header, payload = build_rtx(packet, ssrc=ssrc, payload_type=payload_type, sequence_number=number)
    rtx = parse_untrusted(header + payload)
    assert (rtx.ssrc, rtx.payload_type, rtx.sequence_number) == (ssrc, payload_type, number)
    assert (rtx.timestamp, rtx.marker, rtx.csrc) == (packet.timestamp, packet.marker, packet.csrc)
    assert rtx.payload == packet.sequence_number.to_bytes(2, "big") + packet.payload
    assert rtx.padding_length == 0
    assert rtx.header[12:] == packet.header[12:]
    back = recover_untrusted(rtx, ssrc=packet.ssrc, payload_type=packet.payload_type)
    assert back is not None
    unpadded = bytes((packet.data[0] & ~0x20,)) + packet.data[1 : len(packet.data) - packet.padding_length]
    assert back.data == unpadded
    assert back == replace(packet, data=unpadded, padding_length=0)


def test_padding_of_the_retransmission_is_not_the_originals() -> None:
    header = build_header(payload_type=99, sequence_number=1, timestamp=2, ssrc=3, padding=True)
    rtx = parse_untrusted(header + b"\x12\x34frame" + b"\0\0\x03")
    original = recover_untrusted(rtx, ssrc=4, payload_type=98)
    assert original is not None
    assert (original.sequence_number, original.payload, original.padding_length) == (0x1234, b"frame", 0)


def test_an_original_without_payload_is_one() -> None:
    header = build_header(payload_type=99, sequence_number=1, timestamp=2, ssrc=3)
    original = recover_untrusted(parse_untrusted(header + b"\x12\x34"), ssrc=4, payload_type=98)
    assert original is not None
    assert (original.sequence_number, original.payload_length) == (0x1234, 0)


def test_padding_probes_carry_nothing() -> None:
    header = build_header(payload_type=99, sequence_number=1, timestamp=2, ssrc=3, padding=True)
    probe = parse_untrusted(header + bytes(223) + b"\xe0")
    assert probe.payload_length == 0
    assert recover_untrusted(probe, ssrc=4, payload_type=98) is None


def test_too_short_for_a_number() -> None:
    header = build_header(payload_type=99, sequence_number=1, timestamp=2, ssrc=3)
    assert OSN_SIZE == 2
    with pytest.raises(RtpError):
        recover_untrusted(parse_untrusted(header + b"\x12"), ssrc=4, payload_type=98)


@pytest.mark.parametrize("wrong", [{"payload_type": 128}, {"ssrc": 1 << 32}, {"sequence_number": 1 << 16}])
def test_our_own_mistakes(wrong: dict[str, int]) -> None:
    packet = parse_untrusted(build_header(payload_type=98, sequence_number=1, timestamp=2, ssrc=3))
    values = {"ssrc": 1, "payload_type": 99, "sequence_number": 5, **wrong}
    with pytest.raises((ValueError, OverflowError)):
        build_rtx(packet, **values)

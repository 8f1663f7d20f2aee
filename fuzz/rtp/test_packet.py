"""Any bytes are an RTP packet or an RtpError, and what is parsed lies within them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.extensions import MAX_ELEMENTS, packet_elements_untrusted, parse_elements_untrusted
from sfu.rtp.packet import (
    RtpError,
    RtpPacket,
    build_header,
    classify,
    header_length_untrusted,
    parse_untrusted,
)

raw = st.binary(max_size=120)
packets = st.builds(
    lambda first, rest: bytes((0x80 | first & 0x3F,)) + rest,
    st.integers(0, 63),
    st.binary(min_size=11, max_size=120),
)
"""Version 2, all other bits free."""


def check(packet: RtpPacket) -> None:
    data = packet.data
    assert packet.payload_offset + packet.payload_length + packet.padding_length == len(data)
    assert min(packet.payload_length, packet.padding_length, packet.extension_length) >= 0
    if packet.extension_profile is not None:
        assert packet.extension_offset + packet.extension_length == packet.payload_offset
    assert packet.payload_offset == header_length_untrusted(data)
    extension = (
        b"" if packet.extension_profile is None else data[packet.extension_offset - 4 : packet.payload_offset]
    )
    rebuilt = build_header(
        payload_type=packet.payload_type,
        sequence_number=packet.sequence_number,
        timestamp=packet.timestamp,
        ssrc=packet.ssrc,
        marker=packet.marker,
        padding=packet.padding_length > 0,
        csrc=packet.csrc,
        extension=extension,
    )
    assert rebuilt == packet.header


@given(st.one_of(raw, packets))
def test_parse(data: bytes) -> None:
    classify(data)
    try:
        packet = parse_untrusted(data)
    except RtpError:
        return
    check(packet)


@given(st.one_of(raw, packets))
def test_elements_lie_within_their_extension(data: bytes) -> None:
    try:
        packet = parse_untrusted(data)
        found = packet_elements_untrusted(packet)
    except RtpError:
        return
    assert len(found) <= MAX_ELEMENTS
    end = packet.extension_offset
    for identifier, (offset, length) in found.items():
        assert 0 < identifier < 256
        assert offset >= end
        end = offset + length
    assert end <= packet.extension_offset + packet.extension_length


@given(
    st.one_of(st.just(0xBEDE), st.integers(0x0FFF, 0x1010), st.integers(0, 0xFFFF)), st.binary(max_size=300)
)
def test_any_extension_body(profile: int, body: bytes) -> None:
    """Also those of lengths that no header can announce."""
    try:
        found = parse_elements_untrusted(body, profile, 0, len(body))
    except RtpError:
        return
    assert all(offset >= 0 and offset + length <= len(body) for offset, length in found.values())
    # What stands behind the extension's end never matters.
    assert parse_elements_untrusted(body + b"\xff" * 20, profile, 0, len(body)) == found

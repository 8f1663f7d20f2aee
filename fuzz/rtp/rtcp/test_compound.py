"""Any bytes are RTCP packets or an RtpError, and work stays in proportion to them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.packet import RtpError
from sfu.rtp.rtcp import MAX_COMPOUND_PACKETS, TransportFeedback, build_compound, parse_compound_untrusted
from sfu.rtp.rtcp.feedback import GenericNack
from sfu.rtp.rtcp.framing import split_compound_untrusted

raw = st.binary(max_size=200)


@st.composite
def framed(draw: st.DrawFn) -> bytes:
    """Valid headers around any bodies: what gets past the framing."""
    data = b""
    for _ in range(draw(st.integers(1, 4))):
        body = draw(st.binary(max_size=80))
        body = body[: len(body) // 4 * 4]
        first = 0x80 | draw(st.sampled_from([0, 0, 0, 0x20])) | draw(st.integers(0, 31))
        data += bytes((first, draw(st.integers(198, 209)), 0, len(body) // 4)) + body
    return data


@st.composite
def transport_feedback(draw: st.DrawFn) -> bytes:
    """Any chunks and differences behind a valid fixed part."""
    tail = draw(st.binary(max_size=60))
    tail = tail[: len(tail) // 4 * 4]
    count = draw(st.one_of(st.integers(0, 40), st.integers(0, 0xFFFF)))
    fixed = bytes(10) + count.to_bytes(2, "big") + bytes(4)
    return b"\x8f\xcd" + ((16 + len(tail)) // 4).to_bytes(2, "big") + fixed + tail


@st.composite
def extended_report(draw: st.DrawFn) -> bytes:
    """Blocks of any lengths, most of the types that are read, in a packet that may end too early."""
    body = bytes(4)
    for _ in range(draw(st.integers(0, 5))):
        words = draw(st.integers(0, 8))
        block_type = draw(st.sampled_from([4, 5, 4, 5, draw(st.integers(0, 255))]))
        body += bytes((block_type, draw(st.integers(0, 255)), 0, words)) + draw(
            st.binary(min_size=4 * words, max_size=4 * words)
        )
    body = body[: len(body) - 4 * draw(st.integers(0, 2))]
    return b"\x80\xcf" + (len(body) // 4).to_bytes(2, "big") + body


@given(st.one_of(raw, framed(), transport_feedback(), extended_report()))
def test_parse(data: bytes) -> None:
    try:
        packets = parse_compound_untrusted(data)
    except RtpError:
        return
    assert 0 < len(packets) <= MAX_COMPOUND_PACKETS
    for packet in packets:
        if isinstance(packet, TransportFeedback):
            assert len(packet.received) <= len(data)
            assert all(0 <= offset < packet.status_count for offset, _ in packet.received)
            assert sum(1 for _ in packet.arrivals()) == len(packet.received)
        if isinstance(packet, GenericNack):
            assert len(list(packet.sequence_numbers())) <= len(data) * 17 // 4
    # What is understood can be written, and reads the same again.
    assert parse_compound_untrusted(build_compound(packets)) == packets


@given(framed(), framed())
def test_a_compound_is_its_parts(first: bytes, second: bytes) -> None:
    """Whole against split: framing two compounds as one gives the packets of both."""
    try:
        parts = split_compound_untrusted(first) + split_compound_untrusted(second)
    except RtpError:
        return
    assert split_compound_untrusted(first + second) == parts

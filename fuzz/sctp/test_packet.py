"""Any bytes parse or raise SctpError (DcepError), and what parses survives another round."""

from __future__ import annotations

import struct

from hypothesis import example, given
from hypothesis import strategies as st

from sfu.sctp.chunks import Chunk, UnknownChunk, encode_chunk
from sfu.sctp.cookie import Cookie
from sfu.sctp.dcep import DcepError, parse_dcep_untrusted
from sfu.sctp.errors import SctpError
from sfu.sctp.packet import PacketHeader, parse_chunks_untrusted, parse_header_untrusted
from sfu.sctp.parameters import UnknownParameter, encode_parameters, parse_parameters_untrusted
from tests.sctp.strategies import any_chunk

KINDS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 130, 192, 0x3F, 0x7F, 0xBF, 0xFF]


@st.composite
def chunks(draw: st.DrawFn) -> bytes:
    """One chunk of a known or unknown type whose length, and those within, may be lies."""
    kind = draw(st.sampled_from(KINDS) | st.integers(0, 255))
    value = draw(st.binary(max_size=40) | st.lists(items(), max_size=4).map(b"".join))
    length = draw(st.just(4 + len(value)) | st.integers(0, 0xFFFF))
    return struct.pack("!BBH", kind, draw(st.integers(0, 255)), length) + value + bytes(-len(value) % 4)


@st.composite
def items(draw: st.DrawFn) -> bytes:
    kind = draw(
        st.sampled_from([7, 8, 13, 14, 15, 16, 17, 18, 0x8001, 0x8008, 0xC000]) | st.integers(0, 0xFFFF)
    )
    value = draw(st.binary(max_size=20))
    length = draw(st.just(4 + len(value)) | st.integers(0, 0xFFFF))
    return struct.pack("!HH", kind, length) + value + bytes(-len(value) % 4)


packets = st.one_of(
    st.binary(max_size=80),
    st.lists(chunks(), max_size=5).map(lambda parts: bytes(12) + b"".join(parts)),
)


@given(packets)
@example(b"")
@example(bytes(12))
@example(bytes(16))
@example(bytes(12) + b"\x03\0\0\x10" + bytes(8) + b"\xff" * 4)
def test_any_bytes_parse_or_raise_the_one_error(data: bytes) -> None:
    try:
        parse_header_untrusted(data)
        parsed = parse_chunks_untrusted(data)
    except SctpError:
        return
    assert len(parsed) <= len(data) // 4
    encoded = b"".join(encode_chunk(chunk) for chunk in parsed)
    if not any(isinstance(chunk, UnknownChunk) for chunk in parsed):
        assert parse_chunks_untrusted(PacketHeader(1, 2, 3).packet(encoded)) == parsed


@given(st.lists(any_chunk, min_size=1, max_size=4), st.data())
def test_damaged_packets_parse_or_raise_the_one_error(parts: list[Chunk], data: st.DataObject) -> None:
    packet = bytearray(PacketHeader(1, 2, 3).packet(b"".join(encode_chunk(chunk) for chunk in parts)))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packet)))
    for damaged in (bytes(packet), bytes(packet[:cut])):
        try:
            parse_chunks_untrusted(damaged)
        except SctpError:
            pass


@given(st.lists(items(), max_size=6).map(b"".join) | st.binary(max_size=60))
def test_any_parameters(data: bytes) -> None:
    try:
        parsed = parse_parameters_untrusted(data)
    except SctpError:
        return
    again = parse_parameters_untrusted(encode_parameters(parsed))
    assert again == parsed
    assert not any(isinstance(p, UnknownParameter) and p.stops for p in parsed[:-1])


@given(st.binary(max_size=60))
def test_any_cookie(data: bytes) -> None:
    try:
        Cookie.open_untrusted(bytes(32), data)
    except SctpError:
        return
    raise AssertionError("nobody guesses an HMAC")


@given(st.binary(max_size=40) | st.binary(max_size=30).map(lambda tail: b"\x03" + tail))
def test_any_dcep(data: bytes) -> None:
    try:
        message = parse_dcep_untrusted(data)
    except DcepError:
        return
    assert message.encode() == data

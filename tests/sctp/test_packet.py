"""Packets: captured bytes both ways, checksums, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.sctp.chunks import (
    Chunk,
    CookieAckChunk,
    DataChunk,
    ForwardTsnChunk,
    InitChunk,
    ReconfigChunk,
    SackChunk,
    UnknownChunk,
    encode_chunk,
)
from sfu.sctp.errors import SctpError
from sfu.sctp.packet import (
    MAX_PACKET_SIZE,
    PacketHeader,
    parse_chunks_untrusted,
    parse_header_untrusted,
    tag_of,
)
from sfu.sctp.parameters import (
    ForwardTsnSupported,
    OutgoingResetRequest,
    ReconfigResponse,
    SupportedExtensions,
)
from tests.sctp.strategies import any_chunk, u16, u32

CAPTURED: dict[str, tuple[str, int, Chunk]] = {
    # name: packet as aiortc 1.16 sends it, its tag, its chunk
    "INIT": (
        "13881388000000007ad0812b0100001e1122334400100000fffffffffffffffec000000480080006c0820000",
        0,
        InitChunk(
            0x11223344,
            1_048_576,
            65_535,
            65_535,
            0xFFFF_FFFE,
            (ForwardTsnSupported(), SupportedExtensions((192, 130))),
        ),
    ),
    "DATA": (
        "138813881122334456dc1d1000070015fffffffe000100020000003568656c6c6f000000",
        0x11223344,
        DataChunk(0xFFFF_FFFE, 1, 2, 53, 7, b"hello"),
    ),
    "SACK": (
        "13881388000000014e1fa3c1030000200000000a00020000000200020002000300050005000000090000000a",
        1,
        SackChunk(10, 131_072, ((2, 3), (5, 5)), (9, 10)),
    ),
    "FORWARD-TSN": (
        "1388138800000001eeae09a4c00000100000004d000100050002ffff",
        1,
        ForwardTsnChunk(77, ((1, 5), (2, 65_535))),
    ),
    "RE-CONFIG request": (
        "1388138800000001ca16fe428200001a000d00160000000700000008000000090001000200030000",
        1,
        ReconfigChunk((OutgoingResetRequest(7, 8, 9, (1, 2, 3)),)),
    ),
    "RE-CONFIG response": (
        "1388138800000001ff66b2ce820000100010000c0000000700000001",
        1,
        ReconfigChunk((ReconfigResponse(7, 1),)),
    ),
}


@pytest.mark.parametrize("name", CAPTURED)
def test_captured_packets_parse_and_encode(name: str) -> None:
    text, tag, chunk = CAPTURED[name]
    data = bytes.fromhex(text)
    assert tag_of(data) == tag
    assert parse_header_untrusted(data).checksum_matches(data)
    assert parse_chunks_untrusted(data) == [chunk]
    assert PacketHeader(5000, 5000, tag).packet(encode_chunk(chunk)) == data


def test_checksum_is_crc32c_little_endian() -> None:
    """RFC 9260 appendix A; the bytes of COOKIE-ACK to tag 0x01020304, worked out by hand with CRC32c."""
    data = PacketHeader(5000, 5000, 0x01020304).packet(encode_chunk(CookieAckChunk()))
    assert data[:8].hex() == "1388138801020304"
    assert data[12:].hex() == "0b000004"
    import google_crc32c

    expected = google_crc32c.value(data[:8] + bytes(4) + data[12:])
    assert data[8:12] == expected.to_bytes(4, "little")


@pytest.mark.parametrize("bit", range(0, 8 * 36, 7))
def test_every_flipped_bit_is_found(bit: int) -> None:
    data = bytearray(bytes.fromhex(CAPTURED["DATA"][0]))
    data[bit // 8] ^= 1 << bit % 8
    assert not parse_header_untrusted(bytes(data)).checksum_matches(bytes(data))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "no chunk"),
        ("000000", "not a multiple of four"),
        ("0b000003", "chunk length below its header"),
        ("0b000000", "chunk length zero"),
        ("0b000008", "chunk beyond the packet"),
        ("0b0000040b0000ff", "second chunk beyond the packet"),
        ("0007000c0000000100000000", "DATA shorter than its header"),
        ("0300000c0000000100000000", "SACK shorter than its header"),
        ("030000100000000100000000ffffffff", "SACK with counts but no blocks"),
        ("0300001400000001000000000000000000000000", "SACK longer than its counts"),
        ("01000010000000010000000000010001", "INIT cut short"),
        ("010000180000000100000000000100010000000080000003", "parameter length below its header"),
        ("010000180000000100000000000100010000000080000008", "parameter beyond the chunk"),
        ("010000160000000100000000000100010000000080000000", "half a parameter"),
        ("07000004", "SHUTDOWN without its TSN"),
        ("04000004", "HEARTBEAT without its parameter"),
        ("c000000600000000", "FORWARD-TSN cut short"),
        ("c000000a0000000000010000", "FORWARD-TSN with half a stream"),
        ("8200000c000d000800000001", "reset request cut short"),
        ("8200000a0010000600000000", "reset response cut short"),
        ("0600000a0001000800000000", "cause beyond the chunk"),
    ],
)
def test_malformed_packets_are_refused(body: str, why: str) -> None:
    data = PacketHeader(5000, 5000, 1).packet(bytes.fromhex(body))
    with pytest.raises(SctpError):
        parse_chunks_untrusted(data)


def test_size_is_bounded() -> None:
    body = encode_chunk(DataChunk(1, 0, 0, 53, 3, bytes(MAX_PACKET_SIZE - 12 - 16)))
    data = PacketHeader(1, 2, 3).packet(body)
    assert len(parse_chunks_untrusted(data)) == 1
    with pytest.raises(SctpError):
        parse_chunks_untrusted(data + encode_chunk(CookieAckChunk()))
    with pytest.raises(SctpError):
        parse_header_untrusted(data[:12])


def test_unknown_chunks_by_their_upper_bits() -> None:
    """RFC 9260 3.2: two bits decide whether the rest counts and whether the sender is told."""
    ack = encode_chunk(CookieAckChunk())
    for kind, stops, reported in (
        (0x3F, True, False),
        (0x7F, True, True),
        (0xBF, False, False),
        (0xFF, False, True),
    ):
        data = PacketHeader(1, 2, 3).packet(ack + bytes((kind, 5, 0, 6)) + b"ab\0\0" + ack)
        unknown = UnknownChunk(kind, 5, b"ab")
        assert (unknown.stops, unknown.reported) == (stops, reported)
        expected = [CookieAckChunk(), unknown] + ([] if stops else [CookieAckChunk()])
        assert parse_chunks_untrusted(data) == expected


@given(u16, u16, u32, st.lists(any_chunk, min_size=1, max_size=6))
def test_round_trip(source: int, destination: int, tag: int, chunks: list[Chunk]) -> None:
    header = PacketHeader(source, destination, tag)
    data = header.packet(b"".join(encode_chunk(chunk) for chunk in chunks))
    assert len(data) % 4 == 0
    assert parse_header_untrusted(data).prefix == header.prefix
    assert header.checksum_matches(data)
    assert parse_chunks_untrusted(data) == chunks

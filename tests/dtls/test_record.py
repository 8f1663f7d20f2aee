"""Records, handshake fragments and their packing (RFC 6347 4.1, 4.2.2)."""

from __future__ import annotations

import pytest

from sfu.dtls.record import (
    MAX_RECORD_BODY,
    Fragment,
    Record,
    RecordError,
    pack_datagrams,
    parse_fragments_untrusted,
    split_datagram_untrusted,
)


def fragment(kind: int, length: int, seq: int, offset: int, body: bytes) -> bytes:
    return (
        bytes([kind])
        + length.to_bytes(3, "big")
        + seq.to_bytes(2, "big")
        + offset.to_bytes(3, "big")
        + len(body).to_bytes(3, "big")
        + body
    )


def test_a_captured_record() -> None:
    data = bytes.fromhex("16fefd00010000000000020003aabbcc")
    (record,) = split_datagram_untrusted(data)
    assert record == Record(22, 0xFEFD, 1, 2, b"\xaa\xbb\xcc")
    assert record.encode() == data
    assert record.encode(0x010203040506)[5:11] == bytes([1, 2, 3, 4, 5, 6])


def test_whole_records_before_garbage_are_kept() -> None:
    good = Record(23, 0xFEFD, 1, 2**48 - 1, b"x" * 20)
    truncated = good.encode()[:-1]
    foreign = b"\x16\x03\x03" + bytes(8) + b"\x00\x00"
    too_long = Record(23, 0xFEFD, 1, 0, bytes(MAX_RECORD_BODY + 1)).encode()
    for tail in (b"", b"\x16", truncated, foreign, too_long):
        assert split_datagram_untrusted(good.encode() * 2 + tail) == [good, good]
    longest = Record(23, 0xFEFD, 1, 0, bytes(MAX_RECORD_BODY))
    assert split_datagram_untrusted(longest.encode()) == [longest]


def test_fragments_of_several_messages_in_one_record() -> None:
    body = fragment(11, 300, 1, 200, b"c" * 100) + fragment(14, 0, 4, 0, b"")
    assert parse_fragments_untrusted(body) == [Fragment(11, 300, 1, 200, 100), Fragment(14, 0, 4, 0, 0)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(11),
        fragment(1, 10, 0, 0, b"x" * 10)[:-1],
        fragment(1, 10, 0, 0, b"x" * 10) + b"\0",
        fragment(1, 10, 0, 1, b"x" * 10),
        fragment(1, 10, 0, 11, b""),
        fragment(1, 10, 0, 5, b""),
    ],
    ids=["empty", "short header", "short body", "trailing", "overlaps the end", "beyond", "zero length"],
)
def test_malformed_fragments(body: bytes) -> None:
    with pytest.raises(RecordError):
        parse_fragments_untrusted(body)


def test_records_are_packed_whole_and_in_order() -> None:
    records = [bytes([i]) * size for i, size in enumerate((400, 400, 400, 1, 1200, 1300, 10))]
    datagrams = pack_datagrams(records, 1200)
    assert b"".join(datagrams) == b"".join(records)
    assert [len(datagram) for datagram in datagrams] == [1200, 1, 1200, 1300, 10]
    assert pack_datagrams([], 1200) == []

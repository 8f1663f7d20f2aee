"""Any bytes make records and fragments, or the one declared error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sfu.dtls.record import (
    RECORD_HEADER_LENGTH,
    Record,
    RecordError,
    pack_datagrams,
    parse_fragments_untrusted,
    split_datagram_untrusted,
)
from tests.dtls.test_record import fragment

records = st.builds(
    Record,
    content_type=st.integers(0, 255),
    version=st.integers(0xFE00, 0xFEFF),
    epoch=st.integers(0, 0xFFFF),
    sequence=st.integers(0, 2**48 - 1),
    body=st.binary(max_size=100),
)

fragments = st.tuples(
    st.integers(0, 255), st.integers(0, 99), st.integers(0, 100), st.binary(min_size=1, max_size=50)
)


@given(st.lists(records, max_size=5))
def test_records_survive_the_wire(sent: list[Record]) -> None:
    assert split_datagram_untrusted(b"".join(record.encode() for record in sent)) == sent


@given(records, st.integers(0, 2**48 - 1))
def test_a_new_number_changes_nothing_else(record: Record, number: int) -> None:
    (again,) = split_datagram_untrusted(record.encode(number))
    assert again.sequence == number
    assert again.encode(record.sequence) == record.encode()


@given(st.binary(max_size=200))
def test_any_bytes_split(data: bytes) -> None:
    split = split_datagram_untrusted(data)
    assert data.startswith(b"".join(record.encode() for record in split))
    assert len(split) <= len(data) // RECORD_HEADER_LENGTH


@given(st.lists(records, max_size=4), st.binary(max_size=60))
def test_garbage_behind_records_takes_none_of_them_away(sent: list[Record], garbage: bytes) -> None:
    data = b"".join(record.encode() for record in sent)
    assert split_datagram_untrusted(data + garbage) == sent + split_datagram_untrusted(garbage)


@given(st.binary(max_size=100))
def test_any_bytes_are_fragments_or_the_declared_error(body: bytes) -> None:
    try:
        found = parse_fragments_untrusted(body)
    except RecordError:
        return
    assert sum(12 + one.fragment_length for one in found) == len(body)
    for one in found:
        assert one.offset + one.fragment_length <= one.length
        assert one.fragment_length or not one.length


@given(st.lists(fragments, min_size=1, max_size=4))
def test_fragments_survive_the_wire(sent: list[tuple[int, int, int, bytes]]) -> None:
    body = b"".join(fragment(kind, offset + len(part), seq, offset, part) for kind, seq, offset, part in sent)
    assert [
        (one.message_type, one.message_seq, one.offset, one.fragment_length, one.length)
        for one in parse_fragments_untrusted(body)
    ] == [(kind, seq, offset, len(part), offset + len(part)) for kind, seq, offset, part in sent]


@given(st.lists(st.binary(min_size=1, max_size=60)), st.integers(1, 100))
def test_packing_keeps_order_and_splits_nothing(parts: list[bytes], mtu: int) -> None:
    datagrams = pack_datagrams(parts, mtu)
    assert b"".join(datagrams) == b"".join(parts)
    borders = {0}
    for part in parts:
        borders.add(max(borders) + len(part))
    at = 0
    for datagram in datagrams:
        assert at in borders
        assert len(datagram) <= mtu or datagram in parts
        at += len(datagram)

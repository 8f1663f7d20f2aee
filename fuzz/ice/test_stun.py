"""Any bytes parse or raise StunError; the cheap look agrees with the full parse."""

from __future__ import annotations

import struct

from hypothesis import example, given
from hypothesis import strategies as st

from sfu.ice.stun import (
    HEADER_SIZE,
    MAX_ATTRIBUTES,
    ParsedMessage,
    StunError,
    StunMessage,
    is_stun,
    local_ufrag_untrusted,
    parse_untrusted,
)
from tests.ice.wire import assemble, messages

KINDS = [0x0001, 0x0006, 0x0008, 0x0009, 0x000A, 0x001C, 0x0020, 0x0024, 0x0025]
KINDS += [0x8022, 0x8028, 0x8029, 0x802A, 0xC001, 0x7777, 0xC057]


@st.composite
def attributes(draw: st.DrawFn) -> bytes:
    """One attribute of a known or unknown type whose length may be a lie."""
    kind = draw(st.sampled_from(KINDS) | st.integers(0, 0xFFFF))
    value = draw(st.binary(max_size=24))
    length = draw(st.just(len(value)) | st.integers(0, 0xFFFF))
    return struct.pack("!HH", kind, length) + value + bytes(-len(value) % 4)


def bodies() -> st.SearchStrategy[bytes]:
    return st.lists(attributes(), max_size=MAX_ATTRIBUTES + 2).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good message with a few bytes changed, cut off or added."""
    data = bytearray(draw(messages()).encode(password="p"))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


def datagrams() -> st.SearchStrategy[bytes]:
    framed = st.builds(
        assemble,
        bodies(),
        message_type=st.integers(0, 0xFFFF),
        password=st.none() | st.just("p"),
        after=bodies() | st.just(b""),
        fingerprint=st.booleans(),
    )
    return st.binary(max_size=100) | framed | damaged()


def parse(data: bytes) -> ParsedMessage | None:
    try:
        return parse_untrusted(data)
    except StunError:
        return None


@given(datagrams())
@example(b"")
@example(assemble(b"\x00\x06\x00\x00"))
def test_any_bytes_parse_or_raise_the_one_error(data: bytes) -> None:
    parsed = parse(data)
    try:
        ufrag = local_ufrag_untrusted(data)
    except StunError:
        ufrag = None
    if parsed is None:
        return
    assert is_stun(data)
    assert parsed.data == data
    assert len(parsed.unknown_required) == len(set(parsed.unknown_required)) <= MAX_ATTRIBUTES
    assert all(kind < 0x8000 for kind in parsed.unknown_required)
    offset = parsed.integrity_offset
    assert offset is None or HEADER_SIZE <= offset <= len(data) - 24
    parsed.verify_integrity("p")
    username = parsed.message.username
    if username is not None and ":" in username and username.partition(":")[0].isascii():
        assert ufrag == username.partition(":")[0]


@given(datagrams())
def test_what_was_parsed_can_be_written_and_parsed_again(data: bytes) -> None:
    parsed = parse(data)
    if parsed is not None:
        assert parse_untrusted(parsed.message.encode()).message == parsed.message


@given(messages(), st.data())
def test_no_single_change_goes_unnoticed(message: StunMessage, data: st.DataObject) -> None:
    """A CRC-32 finds every change of up to four bytes in a row: what parses has a wrong fingerprint."""
    good = message.encode(password="p")
    position = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[position] ^= data.draw(st.integers(1, 255))
    parsed = parse(bytes(changed))
    assert parsed is None or parsed.fingerprint_valid is not True

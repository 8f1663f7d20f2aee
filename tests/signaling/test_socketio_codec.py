"""Socket.IO packets."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.signaling.socketio.codec import (
    MAX_ACK_ID,
    MAX_ATTACHMENTS,
    MAX_DEPTH,
    MAX_NAMESPACE_LENGTH,
    MAX_SECOND_OPINION,
    RESERVED_EVENTS,
    Ack,
    Connect,
    ConnectError,
    Decoder,
    Disconnect,
    Event,
    SocketIoError,
    SocketIoPacket,
    encode,
    encode_event,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
KEYS = TEXT.filter(lambda key: key != "_placeholder")


def values(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=8,
    )


JSON = values(st.none() | st.booleans() | NUMBERS | TEXT)
BINARY = values(st.none() | st.booleans() | NUMBERS | TEXT | st.binary(max_size=5))
NAMESPACES = st.just("/") | TEXT.filter(lambda text: "," not in text).map("/{}".format)
NAMES = TEXT.filter(lambda name: name not in RESERVED_EVENTS)
ACK_IDS = st.none() | st.integers(0, MAX_ACK_ID)
PACKETS: st.SearchStrategy[SocketIoPacket] = st.one_of(
    st.builds(Connect, NAMESPACES, st.none() | st.dictionaries(KEYS, JSON, max_size=3)),
    st.builds(ConnectError, st.dictionaries(KEYS, JSON, max_size=3), NAMESPACES),
    st.builds(Disconnect, NAMESPACES),
    st.builds(Event, NAMES, st.lists(BINARY, max_size=3), ACK_IDS, NAMESPACES),
    st.builds(Ack, st.integers(0, MAX_ACK_ID), st.lists(BINARY, max_size=3), NAMESPACES),
)


def decode(*messages: str | bytes) -> SocketIoPacket | None:
    decoder = Decoder(max_attachment_bytes=1000)
    for message in messages[:-1]:
        assert decoder.receive_untrusted(message) is None
    return decoder.receive_untrusted(messages[-1])


VECTORS: list[tuple[SocketIoPacket, list[str | bytes]]] = [
    (Connect(), ["40"]),
    (Connect("/admin", {"token": "x"}), ['40/admin,{"token":"x"}']),
    (ConnectError({"message": "no"}), ['44{"message":"no"}']),
    (Disconnect(), ["41"]),
    (Disconnect("/admin"), ["41/admin,"]),
    (Event("a", [1, None]), ['42["a",1,null]']),
    (Event("a", [], 12, "/admin"), ['42/admin,12["a"]']),
    (Ack(0, []), ["430[]"]),
    (Event("a", [b"\x01"]), ['451-["a",{"_placeholder":true,"num":0}]', b"\x01"]),
    (
        Ack(7, [{"x": [b"a", b""]}], "/n"),
        ['462-/n,7[{"x":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}]', b"a", b""],
    ),
]


@pytest.mark.parametrize(("packet", "frames"), VECTORS)
def test_vectors(packet: SocketIoPacket, frames: list[str | bytes]) -> None:
    assert list(encode(packet).frames) == frames
    first = frames[0]
    assert isinstance(first, str)
    assert decode(first[1:], *frames[1:]) == packet


def test_what_clients_may_write_differently() -> None:
    assert decode("0/admin") == Connect("/admin")
    assert decode('2/,["a"]') == Event("a", [])
    assert decode('50-["a"]') == Event("a", [])
    assert decode('51-["a"]', b"unused") == Event("a", [])
    assert decode('51-["a",{"_placeholder":false,"num":0}]', b"") == Event(
        "a", [{"_placeholder": False, "num": 0}]
    )
    same = decode('51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]', b"x")
    assert same == Event("a", [b"x", b"x"])


@given(PACKETS)
def test_round_trip(packet: SocketIoPacket) -> None:
    encoded = encode(packet)
    first = encoded.frames[0]
    assert isinstance(first, str)
    decoded = decode(first[1:], *encoded.frames[1:])
    assert decoded == packet
    assert encoded.size == len(first.encode()) + sum(map(len, encoded.frames[1:]))


@given(NAMES, st.lists(BINARY, max_size=3))
def test_encoding_for_many_is_encoding_an_event(name: str, args: list[Any]) -> None:
    assert encode_event(name, *args) == encode(Event(name, args))


def test_encodes_what_python_has() -> None:
    assert encode_event("a", (1, bytearray(b"x"), memoryview(b"y"))).frames[1:] == (b"x", b"y")
    with pytest.raises(TypeError):
        encode_event("a", object())
    with pytest.raises(ValueError, match="attachments"):
        encode_event("a", [b""] * (MAX_ATTACHMENTS + 1))
    for name in RESERVED_EVENTS:
        with pytest.raises(ValueError, match="reserved"):
            encode_event(name)
        with pytest.raises(ValueError, match="reserved"):
            encode(Event(name, []))


BROKEN = [
    "",
    "7",
    "x",
    "4",
    "4[]",
    "0[]",
    "0x",
    '0"x"',
    "01",
    "1{}",
    "11",
    "2",
    "2{}",
    "2[]",
    "2[1]",
    "2[null]",
    "2abc[]",
    '2["a"',
    '2["a"]x',
    '2["a",NaN]',
    '2["a",-Infinity]',
    "2[\"a\",'b']",
    "3[]",
    "31",
    "31{}",
    '5["a"]',
    '5-["a"]',
    '51["a"]',
    '5x-["a"]',
    '511-["a"]',
    '5999999999-["a"]',
    "51-{}",
    '21-["a"]',
    *(f'2["{name}"]' for name in sorted(RESERVED_EVENTS)),
    *(f'50-["{name}"]' for name in sorted(RESERVED_EVENTS)),
    f'2{MAX_ACK_ID + 1}["a"]',
    f'2{10**30}["a"]',
    "0/" + "x" * MAX_NAMESPACE_LENGTH,
    "0/" + "x" * 100_000 + ",",
]


@pytest.mark.parametrize("text", BROKEN)
def test_refuses(text: str) -> None:
    with pytest.raises(SocketIoError) as raised:
        decode(text)
    assert not raised.value.event_only


@pytest.mark.parametrize(
    "messages",
    [
        (b"",),
        ('51-["a"]', '2["b"]'),
        ('52-["a"]', b"", "1"),
        ('51-["a",{"_placeholder":true,"num":1}]', b""),
        ('51-["a",{"_placeholder":true,"num":-1}]', b""),
        ('51-["a",{"_placeholder":true,"num":"0"}]', b""),
        ('51-["a",{"_placeholder":true,"num":null}]', b""),
        ('51-["a",{"_placeholder":true,"num":true}]', b""),
        ('51-["a",{"_placeholder":true,"num":0.0}]', b""),
        ('50-["a",{"_placeholder":true,"num":0}]',),
        ('51-["a"]', b"x" * 1001),
        ('52-["a"]', b"x" * 600, b"x" * 600),
        ('51-[{"_placeholder":true,"num":0}]', b"a"),
    ],
)
def test_refuses_bad_attachments(messages: tuple[str | bytes, ...]) -> None:
    with pytest.raises(SocketIoError) as raised:
        decode(*messages)
    assert not raised.value.event_only


@pytest.mark.parametrize(
    "data",
    [
        "[" * 20_000 + "]" * 20_000,
        "[" * 100_000,
        '{"a":' * 20_000 + "1" + "}" * 20_000,
        "[" * MAX_DEPTH + "]" * MAX_DEPTH,
        "1e400",
        "-1e400",
        "9" * 5000,
        '"\\ud800"',
        '{"\\udc00":1}',
    ],
)
def test_sound_json_beyond_our_limits_costs_the_event_only(data: str) -> None:
    for ack, ack_id in (("", None), ("42", 42)):
        with pytest.raises(SocketIoError) as raised:
            decode(f'2{ack}["a",{data}]')
        assert raised.value.event_only
        assert raised.value.ack_id == ack_id
    for prefix in ("31", "51-", "0"):
        with pytest.raises(SocketIoError) as raised:
            decode(f'{prefix}["a",{data}]')
        assert raised.value.ack_id is None


def test_depth_is_counted_outside_of_strings() -> None:
    deepest = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert isinstance(decode(f'2["a",{deepest}]'), Event)
    with pytest.raises(SocketIoError):
        decode(f'2["a",[{deepest}]]')
    brackets = "[" * 1000
    assert decode(f'2["{brackets}","\\"{brackets}",[]]') == Event(brackets, ['"' + brackets, []])
    many = ",".join(["[]"] * 1000)
    assert isinstance(decode(f'2["a",{many}]'), Event)


def test_the_second_opinion_is_limited() -> None:
    padding = "x" * MAX_SECOND_OPINION
    with pytest.raises(SocketIoError) as raised:
        decode(f'2["a",1e400,"{padding}"]')
    assert not raised.value.event_only


@pytest.mark.parametrize(
    "text",
    [
        '2["' + '\\"' * 500_000,
        "2[" + '"' * 1_000_000,
        "2[" + "[" * 1_000_000,
        "2[" + "[]," * 333_000 + "[]]",
        "2" + "1" * 1_000_000,
        "0/" + "a" * 1_000_000,
        '2["a",' + "1e400," * 100_000 + "1]",
        "2[" + "\\" * 1_000_000,
    ],
)
def test_a_megabyte_takes_linear_time(text: str) -> None:
    start = time.process_time()
    try:
        decode(text)
    except SocketIoError:
        pass
    assert time.process_time() - start < 2.0

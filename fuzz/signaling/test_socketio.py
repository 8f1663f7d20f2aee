"""Any messages are Socket.IO or raise :class:`SocketIoError`, and what is let through is within limits."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sfu.signaling.socketio.codec import (
    MAX_ACK_ID,
    MAX_DEPTH,
    MAX_NAMESPACE_LENGTH,
    RESERVED_EVENTS,
    Ack,
    Decoder,
    Event,
    SocketIoError,
    encode,
)

PLACEHOLDERS = st.fixed_dictionaries(
    {"_placeholder": st.sampled_from([True, True, False, 1]), "num": st.integers(-1, 3) | st.none()}
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | PLACEHOLDERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
HEADS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from("0123456789x"),
        st.sampled_from(["", "", "0-", "1-", "2-", "11-", "-", "01-"]),
        st.sampled_from(["", "", "/,", "/a,", "/a", "/a?b=c,", ","]),
        st.sampled_from(["", "", "0", "12", str(MAX_ACK_ID), str(MAX_ACK_ID + 1), "1" * 40, "-1"]),
    ),
)
BODIES = st.one_of(
    st.just(""),
    VALUES.map(json.dumps),
    st.lists(VALUES, max_size=4).map(lambda args: json.dumps(["event", *args])),
    st.sampled_from(sorted(RESERVED_EVENTS)).map(lambda name: json.dumps([name])),
    st.integers(0, 200).map(lambda depth: '["deep",' + "[" * depth + "]" * depth + "]"),
    st.text(alphabet='[]{}",:\\u0123456789eE+-.truefalsn \x1e\ud800', max_size=30),
)
MESSAGES = st.one_of(st.builds(str.__add__, HEADS, BODIES), st.text(), st.binary(max_size=8))


def depth(value: Any) -> int:
    match value:
        case list():
            return 1 + max(map(depth, value), default=0)
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case _:
            return 0


@given(st.lists(MESSAGES, max_size=6))
def test_messages(messages: list[str | bytes]) -> None:
    decoder = Decoder(max_attachment_bytes=12)
    for message in messages:
        try:
            packet = decoder.receive_untrusted(message)
        except SocketIoError as error:
            assert error.ack_id is None or error.event_only
            continue
        if packet is None:
            continue
        assert len(packet.namespace) <= MAX_NAMESPACE_LENGTH
        if isinstance(packet, Event | Ack):
            assert packet.ack_id is None or 0 <= packet.ack_id <= MAX_ACK_ID
            assert depth(packet.args) <= MAX_DEPTH
        if isinstance(packet, Event):
            assert packet.name not in RESERVED_EVENTS


@given(st.lists(MESSAGES, max_size=4), st.lists(MESSAGES, min_size=1, max_size=4))
def test_an_error_leaves_nothing_behind(before: list[str | bytes], after: list[str | bytes]) -> None:
    """A decoder that has just raised is as good as a new one."""
    used = Decoder(max_attachment_bytes=12)
    for message in [*before, b"x" * 13]:
        try:
            used.receive_untrusted(message)
        except SocketIoError:
            pass
    fresh = Decoder(max_attachment_bytes=12)

    def outcome(decoder: Decoder, message: str | bytes) -> object:
        try:
            return repr(decoder.receive_untrusted(message))
        except SocketIoError as error:
            return str(error), error.event_only, error.ack_id

    for message in after:
        assert outcome(used, message) == outcome(fresh, message)


@given(MESSAGES)
def test_what_is_decoded_can_be_encoded(message: str | bytes) -> None:
    """Relaying what a client sent can never fail."""
    try:
        packet = Decoder(max_attachment_bytes=100).receive_untrusted(message)
    except SocketIoError:
        return
    if packet is not None:
        encode(packet)

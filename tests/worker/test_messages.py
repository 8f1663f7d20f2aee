"""The control channel's framing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.worker.messages import (
    MAX_MESSAGE,
    Call,
    ChannelError,
    Configure,
    CreateRouter,
    Notice,
    Ping,
    Produce,
    Request,
    Result,
    Splitter,
    call_decoder,
    encode,
    upward_decoder,
)
from sfu.worker.port import TransportClosed

REQUESTS: list[Request] = [
    Ping(),
    CreateRouter("room"),
    Configure("0.0.0.0", ("192.0.2.1",), 20000, None, ("VP9",)),
    Produce("t", "p", "video", {"codecs": [{"mimeType": "video/VP9", "payloadType": 98}]}),
]


@given(st.lists(st.sampled_from(REQUESTS), max_size=8), st.integers(1, 40))
def test_calls_survive_any_cutting_of_the_stream(requests: list[Request], piece: int) -> None:
    calls = [Call(i, request) for i, request in enumerate(requests)]
    stream = b"".join(map(encode, calls))
    splitter = Splitter()
    bodies = [body for i in range(0, len(stream), piece) for body in splitter.feed(stream[i : i + piece])]
    assert [call_decoder.decode(body) for body in bodies] == calls


def test_results_and_notices_are_told_apart() -> None:
    for message in (
        Result(7, {"id": "x"}),
        Result(8, error="cannot consume"),
        Notice(TransportClosed("t", "r")),
    ):
        (body,) = Splitter().feed(encode(message))
        assert upward_decoder.decode(body) == message


def test_an_impossible_length_is_an_error() -> None:
    with pytest.raises(ChannelError, match="control message of"):
        list(Splitter().feed((MAX_MESSAGE + 1).to_bytes(4, "big")))
    with pytest.raises(ChannelError, match="control message of"):
        encode(Result(1, "x" * (MAX_MESSAGE + 1)))


@given(st.binary(max_size=200))
def test_any_bytes_give_messages_or_the_declared_errors(data: bytes) -> None:
    try:
        for body in Splitter().feed(data):
            call_decoder.decode(body)
    except (ChannelError, msgspec.DecodeError):
        pass

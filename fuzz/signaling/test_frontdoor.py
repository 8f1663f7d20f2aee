"""Any bytes on the port are answered or refused. They never reach the log as a failure, and how they were cut
into pieces makes no difference."""

from __future__ import annotations

import re
from itertools import pairwise

import structlog.testing
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from sfu.signaling.http import Request, Response, Route, json_response
from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import (
    POLLING,
    UPGRADE_HEADERS,
    WEBSOCKET,
    Echo,
    frame,
    open_house,
    upgrade_request,
)

LIMITS = SignalingSettings(max_payload=2000, max_body=500, max_head=1000, max_queued_bytes=5000)


async def describe(request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    return json_response([request.method, request.path, request.path_params, request.query, request.json()])


ROUTES = [Route("GET", "/list", describe), Route("POST", "/join/:room", describe)]

METHODS = st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "get", "CONNECT", "", "P\xd6ST"])
TARGETS = st.one_of(
    st.sampled_from(
        ["/list", "//LIST/", "/join/a%20b", "/join/%ff", "/join/%", "*", "", "http://x/list", "x"]
    ),
    st.sampled_from([POLLING, WEBSOCKET, POLLING + "&sid=x", WEBSOCKET + "&sid=x", "/socket.io/?EIO=3"]),
    st.text(st.characters(max_codepoint=255), max_size=10),
)
VERSIONS = st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "http/1.1", "X"])
HEADERS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "Host: x",
                "Connection: close",
                "Connection: keep-alive, Upgrade",
                "Upgrade: websocket",
                "Upgrade: h2c",
                "Content-Length: 5",
                "Content-Length: 99999999999999999999",
                "Transfer-Encoding: chunked",
                "Transfer-Encoding: gzip, chunked",
                "Expect: 100-continue",
                "Content-Type: application/json",
                "Access-Control-Request-Headers: a,b",
                "Access-Control-Request-Headers: \xe9",
                "Cookie: a=b; c",
                "If-None-Match: *",
                "X-Forwarded-For: 1.2.3.4",
                "X: " + "y" * 1000,
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ]
        ),
        st.sampled_from(UPGRADE_HEADERS.split("\r\n")[:-1]),
        st.text(st.characters(max_codepoint=255), max_size=10),
    ),
    max_size=6,
)
BODIES = st.one_of(
    st.sampled_from([b"", b"[1,2]", b"{", b"5\r\n[1,2]\r\n0\r\n\r\n", b"zz\r\n", b"x" * 501]),
    st.binary(max_size=20),
)
REQUESTS = st.builds(
    lambda method, target, version, headers, body: (
        "\r\n".join([f"{method} {target} {version}", *headers, "", ""]).encode("latin-1") + body
    ),
    METHODS,
    TARGETS,
    VERSIONS,
    HEADERS.map(lambda headers: ["Host: sfu.test", *headers]) | HEADERS,
    BODIES,
)


async def converse(pieces: list[bytes]) -> bytes:
    """Everything that the door answers to what is sent in these pieces, but for what differs each time."""
    received = b""
    async with open_house(Echo(), LIMITS, routes=ROUTES) as house:
        stream = house.listener.connect()
        for piece in pieces:
            try:
                await stream.send_all(piece)
            except trio.BrokenResourceError:
                break
            await trio.testing.wait_all_tasks_blocked()
        await stream.send_eof()
        try:
            while data := await stream.receive_some():
                received += data
        except trio.BrokenResourceError:
            pass
        assert (await house.client().get("/list")).status == 200
    received = re.sub(rb"Date: [^\r]*", b"Date: -", received, flags=re.IGNORECASE)
    return re.sub(rb'"sid":"[^"]*"', b'"sid":"-"', received)


def run(pieces: list[bytes]) -> bytes:
    with structlog.testing.capture_logs() as logs:
        received = trio.run(converse, pieces, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
    return received


@given(st.lists(REQUESTS, min_size=1, max_size=3).map(b"".join) | st.binary(), st.lists(st.integers(1, 300)))
def test_requests(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    pieces = [data[start:end] for start, end in pairwise(places)]
    whole = run([data])
    assert run(pieces) == whole
    for answer in whole.split(b"HTTP/1.1 ")[1:]:
        assert re.match(rb"[1-5]\d\d ", answer)


FRAMES = st.one_of(
    st.sampled_from(
        [
            frame(0x81, b"40"),
            frame(0x81, b"41"),
            frame(0x81, b'42["a"]'),
            frame(0x81, b'451-["a",{"_placeholder":true,"num":0}]'),
            frame(0x82, b"\x00"),
            frame(0x81, b"3"),
            frame(0x81, b"1"),
            frame(0x01, b'42["'),
            frame(0x00, b"b"),
            frame(0x80, b'"]'),
            frame(0x89, b"?"),
            frame(0x8A, b"!"),
            frame(0x88, b""),
            frame(0x88, b"\x03\xe8bye"),
            frame(0x81, b"x" * 2001),
        ]
    ),
    st.builds(frame, st.integers(0, 255), st.binary(max_size=130), mask=st.booleans()),
    st.binary(max_size=20),
)


@given(st.lists(FRAMES, max_size=8), st.booleans())
def test_websocket_frames(frames: list[bytes], at_once: bool) -> None:
    data = [upgrade_request(WEBSOCKET), *frames]
    received = run([b"".join(data)] if at_once else data)
    assert received.startswith(b"HTTP/1.1 101 ")

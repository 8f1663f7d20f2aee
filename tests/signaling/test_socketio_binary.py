"""Binary attachments, over either transport and across an upgrade."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio.testing
from trio.testing import MockClock

from sfu.signaling.settings import SignalingSettings
from sfu.signaling.socketio.codec import MAX_ATTACHMENTS
from tests.signaling.harness import WEBSOCKET, Echo, House, Recorder, open_house

Messages = Sequence[str | bytes]
Send = Callable[[Messages], Awaitable[None]]

PLACEHOLDER = '{"_placeholder":true,"num":0}'


def payload(messages: Messages) -> str:
    """Engine.IO packets as one post carries them."""
    return "\x1e".join(
        message if isinstance(message, str) else "b" + b64encode(message).decode() for message in messages
    )


@asynccontextmanager
async def connected(house: House, transport: str) -> AsyncIterator[Send]:
    """A socket; yields what sends Engine.IO packets to it."""
    if transport == "websocket":
        async with house.connected_websocket() as ws:

            async def send(messages: Messages) -> None:
                await ws.send(*messages)

            yield send
        return
    poller = await house.connect_polling()

    async def post(messages: Messages) -> None:
        await poller.post(payload(messages))

    yield post


transports = pytest.mark.parametrize("transport", ["polling", "websocket"])


@transports
@pytest.mark.parametrize(
    ("messages", "args"),
    [
        ([f'451-["e",{PLACEHOLDER}]', b"\x00\xff"], [b"\x00\xff"]),
        ([f'451-["e",{PLACEHOLDER},{PLACEHOLDER}]', b"x"], [b"x", b"x"]),
        (['451-["e"]', b"unused"], []),
        (['450-["e",1]'], [1]),
        (['451-["e",{"_placeholder":1,"num":0}]', b"x"], [{"_placeholder": 1, "num": 0}]),
        ([f'451-["e",{{"a":[[{PLACEHOLDER}]]}}]', b""], [{"a": [[b""]]}]),
        ([f'451-["e",{PLACEHOLDER}]', "3", "6", b"x"], [b"x"]),
        (
            [f'45{MAX_ATTACHMENTS}-["e",{PLACEHOLDER}]', b"first", *[b""] * (MAX_ATTACHMENTS - 1)],
            [b"first"],
        ),
    ],
    ids=["plain", "twice", "unused", "none", "odd", "nested", "between", "most"],
)
async def test_arrives(
    autojump_clock: MockClock, transport: str, messages: Messages, args: list[object]
) -> None:
    app = Recorder(silent=True)
    async with open_house(app) as house, connected(house, transport) as send:
        await send(messages)
        await trio.testing.wait_all_tasks_blocked()
        assert app.events == [("e", args)]
        assert app.goodbyes == []


@transports
@pytest.mark.parametrize(
    "messages",
    [
        [b"announced by nobody"],
        ['451-["e"]', '42["e"]'],
        ['451-["e"]', "41"],
        ['452-["e"]', b"x", '43[""]'],
        ['451-["e",{"_placeholder":true,"num":1}]', b""],
        ['451-["e",{"_placeholder":true,"num":-1}]', b""],
        ['451-["e",{"_placeholder":true,"num":"0"}]', b""],
        ['451-["e",{"_placeholder":true}]', b""],
        [f'450-["e",{PLACEHOLDER}]'],
        [f"451-[{PLACEHOLDER}]", b"e"],
        [f'461-0[{PLACEHOLDER},{{"_placeholder":true,"num":9}}]', b""],
        [f'45{MAX_ATTACHMENTS + 1}-["e"]'],
        ['452-["e"]', b"x" * 600, b"x" * 600],
        ['451-["e"]', "4" + "x"],
    ],
)
async def test_ends_the_session(autojump_clock: MockClock, transport: str, messages: Messages) -> None:
    app = Recorder()
    settings = SignalingSettings(max_payload=1000 if transport == "websocket" else 2000)
    async with open_house(app, settings) as house, connected(house, transport) as send:
        if transport == "polling":  # there base64 and the framing count too
            messages = [message * 2 if len(message) == 600 else message for message in messages]
            for message in messages:
                await send([message])
        else:
            await send(messages)
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["parse error"]
        assert app.events == []


@pytest.mark.parametrize("posted", [0, 1, 2, 3])
async def test_attachments_may_follow_by_another_transport(autojump_clock: MockClock, posted: int) -> None:
    """A client that upgrades sends the rest of a packet by WebSocket."""
    messages: Messages = [
        '452-1["e",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]',
        b"a",
        b"b",
    ]
    async with open_house(Echo()) as house:
        poller = await house.connect_polling()
        if posted:
            assert (await poller.post(payload(messages[:posted]))).body == b"ok"
        async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}") as ws:
            await ws.send("2probe")
            assert await ws.text() == "3probe"
            await ws.send("5", *messages[posted:])
            answers = [await ws.receive() for _ in range(6)]
            assert answers == [
                '462-1[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
                b"b",
                b"a",
                '452-["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
                b"b",
                b"a",
            ]


async def test_a_packet_is_never_torn_by_another(autojump_clock: MockClock) -> None:
    """Text and attachments are queued in one piece, whoever emits in between."""
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        for number in range(20):
            app.sockets[0].emit("e", bytes([number]), b"second")
            app.sockets[0].emit("text")
        for number in range(20):
            assert (await ws.text()).startswith("452-")
            assert [await ws.receive(), await ws.receive()] == [bytes([number]), b"second"]
            assert await ws.text() == '42["text"]'

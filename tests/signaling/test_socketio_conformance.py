"""The cases of the Socket.IO protocol's own test suite (version 5) that go beyond Engine.IO's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sfu.signaling.application import Ack, Socket
from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import Echo, House, Ws, open_house

SETTINGS = SignalingSettings(ping_interval=0.3, ping_timeout=0.2)


class SuiteApp(Echo):
    """What that suite asks of the server."""

    async def connect(self, socket: Socket) -> None:
        await trio.lowlevel.checkpoint()
        socket.emit("auth", socket.handshake.auth or {})

    async def event(self, socket: Socket, name: str, args: Sequence[Any], ack: Ack) -> None:
        await trio.lowlevel.checkpoint()
        if name == "message":
            socket.emit("message-back", *args)
        elif name == "message-with-ack":
            ack(*args)


@asynccontextmanager
async def open_suite() -> AsyncIterator[House]:
    app = SuiteApp()
    async with open_house(app, SETTINGS, namespaces={"/custom": app}) as house:
        yield house


@asynccontextmanager
async def initialized() -> AsyncIterator[Ws]:
    """A connection in the main namespace."""
    async with open_suite() as house, house.connected_websocket() as ws:
        assert await packets(ws, 1) == ['42["auth",{}]']
        yield ws


async def packets(ws: Ws, count: int) -> list[str | bytes]:
    """The next packets, pings answered and left out."""
    received: list[str | bytes] = []
    while len(received) < count:
        message = await ws.receive()
        if message == "2":
            await ws.send("3")
        else:
            received.append(message)
    return received


# --- connect -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/custom,"])
@pytest.mark.parametrize("payload", ["", '{"token":"123"}'])
async def test_lets_clients_in(autojump_clock: MockClock, prefix: str, payload: str) -> None:
    async with open_suite() as house, house.websocket() as ws:
        await ws.text()
        await ws.send(f"40{prefix}{payload}")
        answer, event = await packets(ws, 2)
        assert isinstance(answer, str)
        assert answer.startswith(f"40{prefix}{{")
        handshake = json.loads(answer.removeprefix(f"40{prefix}"))
        assert list(handshake) == ["sid"]
        assert isinstance(handshake["sid"], str)
        assert event == f'42{prefix}["auth",{payload or "{}"}]'


async def test_refuses_an_unknown_namespace(autojump_clock: MockClock) -> None:
    async with open_suite() as house, house.websocket() as ws:
        await ws.text()
        await ws.send("40/random")
        assert await ws.text() == '44/random,{"message":"Invalid namespace"}'


async def test_closes_after_a_malformed_first_packet(autojump_clock: MockClock) -> None:
    async with open_suite() as house, house.websocket() as ws:
        await ws.text()
        await ws.send("4abc")
        await ws.closed()


async def test_closes_without_a_first_packet(autojump_clock: MockClock) -> None:
    settings = replace(SETTINGS, connect_timeout=0.25)
    async with open_house(SuiteApp(), settings) as house, house.websocket() as ws:
        await ws.text()
        assert await ws.closed() == 1000
        assert trio.current_time() == 0.25


# --- disconnect --------------------------------------------------------------------------------------------


async def test_leaving_the_main_namespace_keeps_the_connection(autojump_clock: MockClock) -> None:
    async with initialized() as ws:
        await ws.send("41")
        assert await ws.text() == "2"


async def test_leaving_another_namespace_keeps_the_main_one(autojump_clock: MockClock) -> None:
    async with initialized() as ws:
        await ws.send("40/custom")
        assert (await packets(ws, 2))[1] == '42/custom,["auth",{}]'
        await ws.send("41/custom", '42["message","message to main namespace"]')
        assert await packets(ws, 1) == ['42["message-back","message to main namespace"]']


# --- messages ----------------------------------------------------------------------------------------------

TWO = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (['42["message",1,"2",{"3":[true]}]'], ['42["message-back",1,"2",{"3":[true]}]']),
        (
            [f'452-["message",{TWO}]', b"\x01\x02\x03", b"\x04\x05\x06"],
            [f'452-["message-back",{TWO}]', b"\x01\x02\x03", b"\x04\x05\x06"],
        ),
        (['42456["message-with-ack",1,"2",{"3":[false]}]'], ['43456[1,"2",{"3":[false]}]']),
        (
            [f'452-789["message-with-ack",{TWO}]', b"\x01\x02\x03", b"\x04\x05\x06"],
            [f"462-789[{TWO}]", b"\x01\x02\x03", b"\x04\x05\x06"],
        ),
    ],
    ids=["event", "binary", "ack", "binary ack"],
)
async def test_answers(
    autojump_clock: MockClock, sent: list[str | bytes], answered: list[str | bytes]
) -> None:
    async with initialized() as ws:
        await ws.send(*sent)
        assert await packets(ws, len(answered)) == answered


@pytest.mark.parametrize("packet", ["4abc", "42{}", '42abc["message-with-ack",1,"2",{"3":[false]}]'])
async def test_closes_after_a_malformed_packet(autojump_clock: MockClock, packet: str) -> None:
    async with initialized() as ws:
        await ws.send(packet)
        await ws.closed()

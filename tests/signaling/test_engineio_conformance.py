"""The cases of the Engine.IO protocol's own test suite (version 4), against a server that sends every message
back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from sfu.signaling.engineio.codec import Packet, PacketType, encode_packet, frame_size
from sfu.signaling.engineio.session import CloseReason, Session
from sfu.signaling.http import Request
from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import (
    POLLING,
    WEBSOCKET,
    Answer,
    House,
    Poller,
    Ws,
    open_house,
    upgrade_request,
)

SETTINGS = SignalingSettings(ping_interval=0.3, ping_timeout=0.2)


class EchoSession:
    """Sends every message back; implements :class:`sfu.signaling.engineio.session.SessionHandler`."""

    def __init__(self, session: Session, request: Request) -> None:
        self._session = session
        self._closed = trio.Event()

    def message(self, data: str | bytes) -> None:
        frame = encode_packet(Packet(PacketType.MESSAGE, data))
        self._session.send([frame], frame_size(frame))

    def closed(self, reason: CloseReason) -> None:
        self._closed.set()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await self._closed.wait()


@asynccontextmanager
async def open_echo() -> AsyncIterator[House]:
    async with open_house(settings=SETTINGS, engine_handler=EchoSession) as house:
        yield house


@asynccontextmanager
async def open_ws(house: House, target: str = WEBSOCKET) -> AsyncIterator[Ws]:
    async with house.websocket(target) as ws:
        if "sid" not in target:
            assert (await ws.text())[0] == "0"
        yield ws


async def hold_poll(poller: Poller, answers: list[Answer]) -> None:
    answers.append(await poller.poll())


# --- handshake ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "upgrades"), [(POLLING, ["websocket"]), (WEBSOCKET, [])])
async def test_opens_a_session(autojump_clock: MockClock, target: str, upgrades: list[str]) -> None:
    async with open_echo() as house:
        if upgrades:
            answer = await house.client().get(target)
            assert answer.status == 200
            opening = answer.body.decode()
        else:
            async with house.websocket(target) as ws:
                opening = await ws.text()
        assert opening[0] == "0"
        parameters = json.loads(opening[1:])
        assert isinstance(parameters.pop("sid"), str)
        assert parameters == {
            "upgrades": upgrades,
            "pingInterval": 300,
            "pingTimeout": 200,
            "maxPayload": 1_000_000,
        }


@pytest.mark.parametrize(
    "query", ["transport={}", "EIO=abc&transport={}", "EIO=3&transport={}", "EIO=4", "EIO=4&transport=abc"]
)
async def test_refuses_a_bad_query(autojump_clock: MockClock, query: str) -> None:
    async with open_echo() as house:
        target = "/socket.io/?" + query
        assert (await house.client().get(target.format("polling"))).status == 400
        refused = house.client()
        assert (await refused.send_raw(upgrade_request(target.format("websocket")))).status == 400
        assert await refused.is_closed()


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_refuses_to_open_by_another_method(autojump_clock: MockClock, method: str) -> None:
    async with open_echo() as house:
        assert (await house.client().request(method, POLLING)).status == 400


# --- messages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"4hello", b"4test1\x1e4test2\x1e4test3", b"4hello\x1ebAQIDBA=="])
async def test_messages_by_polling(autojump_clock: MockClock, payload: bytes) -> None:
    async with open_echo() as house:
        poller = await house.open_polling()
        posted = await poller.post(payload)
        assert (posted.status, posted.body) == (200, b"ok")
        polled = await poller.poll()
        assert (polled.status, polled.body) == (200, payload)


@pytest.mark.parametrize("message", ["4hello", b"\x01\x02\x03\x04"])
async def test_messages_by_websocket(autojump_clock: MockClock, message: str | bytes) -> None:
    async with open_echo() as house, open_ws(house) as ws:
        await ws.send(message)
        assert await ws.receive() == message


async def test_a_malformed_packet_ends_the_session(autojump_clock: MockClock) -> None:
    async with open_echo() as house:
        poller = await house.open_polling()
        assert (await poller.post("abc")).status == 400
        assert (await poller.poll()).status == 400
        async with open_ws(house) as ws:
            await ws.send("abc")
            await ws.closed()


async def test_a_second_poll_ends_the_session(autojump_clock: MockClock) -> None:
    async with open_echo() as house, trio.open_nursery() as nursery:
        poller = await house.open_polling()
        answers: list[Answer] = []
        nursery.start_soon(hold_poll, poller, answers)
        await trio.testing.wait_all_tasks_blocked()
        assert (await house.client().get(poller.target)).status == 400
        await trio.testing.wait_all_tasks_blocked()
        assert [(answer.status, answer.body) for answer in answers] == [(200, b"1")]
        assert (await poller.poll()).status == 400


async def test_a_cancelled_poll_ends_the_session(autojump_clock: MockClock) -> None:
    async with open_echo() as house:
        poller = await house.open_polling()
        cancelled = house.client()
        await cancelled.stream.send_all(f"GET {poller.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await trio.testing.wait_all_tasks_blocked()
        await cancelled.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (await poller.poll()).status == 400


# --- heartbeat ---------------------------------------------------------------------------------------------


async def test_heartbeat_by_polling(autojump_clock: MockClock) -> None:
    async with open_echo() as house:
        poller = await house.open_polling()
        for _ in range(3):
            answer = await poller.poll()
            assert (answer.status, answer.body) == (200, b"2")
            assert (await poller.post("3")).status == 200
        silent = await house.open_polling()
        await trio.sleep(0.5)
        assert (await silent.poll()).status == 400


async def test_heartbeat_by_websocket(autojump_clock: MockClock) -> None:
    async with open_echo() as house, open_ws(house) as ws:
        for _ in range(3):
            assert await ws.text() == "2"
            await ws.send("3")
        before = trio.current_time()
        await ws.closed()
        assert trio.current_time() - before == pytest.approx(0.5)


# --- close -------------------------------------------------------------------------------------------------


async def test_the_client_closes(autojump_clock: MockClock) -> None:
    async with open_echo() as house, trio.open_nursery() as nursery:
        poller = await house.open_polling()
        answers: list[Answer] = []
        nursery.start_soon(hold_poll, poller, answers)
        await trio.testing.wait_all_tasks_blocked()
        assert (await poller.post("1")).status == 200
        await trio.testing.wait_all_tasks_blocked()
        assert [(answer.status, answer.body) for answer in answers] == [(200, b"6")]
        assert (await poller.poll()).status == 400
        async with open_ws(house) as ws:
            await ws.send("1")
            await ws.closed()


# --- upgrade -----------------------------------------------------------------------------------------------


async def test_the_websocket_takes_over(autojump_clock: MockClock) -> None:
    async with open_echo() as house:
        poller = await house.open_polling()
        async with open_ws(house, f"{WEBSOCKET}&sid={poller.sid}") as ws:
            await ws.send("2probe")
            assert await ws.text() == "3probe"
            answer = await poller.poll()
            assert (answer.status, answer.body) == (200, b"6")
            await ws.send("5", "4hello")
            assert await ws.text() == "4hello"


async def test_after_that_nothing_else_may_use_the_session(autojump_clock: MockClock) -> None:
    async with open_echo() as house:
        poller = await house.open_polling()
        target = f"{WEBSOCKET}&sid={poller.sid}"
        async with open_ws(house, target) as ws:
            await ws.send("2probe")
            assert await ws.text() == "3probe"
            await ws.send("5")
            await trio.testing.wait_all_tasks_blocked()
            assert (await poller.poll()).status == 400
            second = house.client()
            assert (await second.send_raw(upgrade_request(target))).status == 400
            assert await second.is_closed()
            await ws.send("4hello")
            assert await ws.text() == "4hello"


async def test_a_hasty_client_need_not_wait_for_the_probe(autojump_clock: MockClock) -> None:
    async with open_echo() as house:
        poller = await house.open_polling()
        async with open_ws(house, f"{WEBSOCKET}&sid={poller.sid}") as ws:
            await ws.send("2probe", "5", "4hello")
            assert [await ws.text(), await ws.text()] == ["3probe", "4hello"]

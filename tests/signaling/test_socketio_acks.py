"""Acknowledgements that the server waits for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from sfu.signaling.application import Ack, AckTimeout, NoAnswer, Socket, SocketGone, TooManyCalls
from sfu.signaling.settings import SignalingSettings
from sfu.signaling.socketio import calls
from sfu.signaling.socketio.calls import Calls
from tests.signaling.harness import Echo, Recorder, open_house

Outcome = list[Any] | type[NoAnswer]


class Outcomes:
    """Makes calls in tasks of their own and keeps what came of them, by event name."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.seen: dict[str, Outcome] = {}

    def start(self, socket: Socket, event: str, *args: object, timeout: float = 10.0) -> None:
        async def call() -> None:
            try:
                self.seen[event] = list(await socket.emit_with_ack(event, *args, timeout=timeout))
            except NoAnswer as error:
                self.seen[event] = type(error)

        self._nursery.start_soon(call)


@asynccontextmanager
async def outcomes() -> AsyncIterator[Outcomes]:
    async with trio.open_nursery() as nursery:
        yield Outcomes(nursery)


async def test_returns_what_the_client_answers(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws, outcomes() as made:
        made.start(app.sockets[0], "ask", 1, {"a": None})
        assert await ws.text() == '420["ask",1,{"a":null}]'
        await ws.send('430["yes",[1]]')
        await trio.testing.wait_all_tasks_blocked()
        assert made.seen == {"ask": ["yes", [1]]}
        made.start(app.sockets[0], "again")
        assert await ws.text() == '421["again"]'
        await ws.send("431[]")
        await trio.testing.wait_all_tasks_blocked()
        assert made.seen["again"] == []


async def test_carries_binary_both_ways(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws, outcomes() as made:
        made.start(app.sockets[0], "ask", {"x": b"\x00"})
        assert await ws.receive() == '451-0["ask",{"x":{"_placeholder":true,"num":0}}]'
        assert await ws.receive() == b"\x00"
        await ws.send('461-0[{"y":[{"_placeholder":true,"num":0}]}]', b"\xff")
        await trio.testing.wait_all_tasks_blocked()
        assert made.seen == {"ask": [{"y": [b"\xff"]}]}


async def test_over_polling(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, outcomes() as made:
        poller = await house.connect_polling()
        made.start(app.sockets[0], "ask", b"\x00")
        assert (await poller.poll()).body == b'451-0["ask",{"_placeholder":true,"num":0}]\x1ebAA=='
        assert (await poller.post('461-0[{"_placeholder":true,"num":0}]\x1eb/w==')).body == b"ok"
        await trio.testing.wait_all_tasks_blocked()
        assert made.seen == {"ask": [b"\xff"]}


async def test_answers_may_come_in_any_order(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws, outcomes() as made:
        asked = {}
        for name in "abc":
            made.start(app.sockets[0], name)
            text = await ws.text()
            asked[name] = text.removeprefix("42").removesuffix(f'["{name}"]')
        assert asked == {"a": "0", "b": "1", "c": "2"}
        await ws.send("432[2]", "430[0]", "431[1]")
        await trio.testing.wait_all_tasks_blocked()
        assert made.seen == {"a": [0], "b": [1], "c": [2]}


async def test_namespaces_count_by_themselves(autojump_clock: MockClock) -> None:
    main, other = Recorder(), Recorder()
    async with (
        open_house(main, namespaces={"/n": other}) as house,
        house.connected_websocket() as ws,
        outcomes() as made,
    ):
        await ws.send("40/n,")
        assert (await ws.text()).startswith("40/n,")
        made.start(main.sockets[0], "main")
        assert await ws.text() == '420["main"]'
        made.start(other.sockets[0], "other")
        assert await ws.text() == '42/n,0["other"]'
        await ws.send('43/n,0["n"]')
        await trio.testing.wait_all_tasks_blocked()
        assert made.seen == {"other": ["n"]}
        await ws.send('430["m"]')
        await trio.testing.wait_all_tasks_blocked()
        assert made.seen == {"other": ["n"], "main": ["m"]}


async def test_gives_up_in_time_and_ignores_what_comes_later(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        with pytest.raises(AckTimeout, match="'ask' was not acknowledged within"):
            await app.sockets[0].emit_with_ack("ask", timeout=2.0)
        assert trio.current_time() == 2.0
        await ws.send("430[]", '42["still here"]')
        assert [await ws.text(), await ws.text()] == ['420["ask"]', '42["still here"]']


async def test_only_the_first_answer_counts(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws, outcomes() as made:
        made.start(app.sockets[0], "ask")
        await ws.text()
        await ws.send("437[7]", "430[1]", "430[2]", "43999999999999999[]", '42["x"]')
        assert await ws.text() == '42["x"]'
        assert made.seen == {"ask": [1]}


@pytest.mark.parametrize("end", ["41", "1", "4garbage", None])
async def test_a_socket_that_goes_answers_nothing(autojump_clock: MockClock, end: str | None) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws, outcomes() as made:
        made.start(app.sockets[0], "ask", timeout=1000.0)
        await ws.text()
        if end is None:
            app.sockets[0].disconnect()
        else:
            await ws.send(end)
        await trio.testing.wait_all_tasks_blocked()
        assert made.seen == {"ask": SocketGone}
        assert trio.current_time() == 0.0
        with pytest.raises(SocketGone):
            await app.sockets[0].emit_with_ack("ask", timeout=1.0)


async def test_shutdown_ends_every_call(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket(), outcomes() as made:
        made.start(app.sockets[0], "ask", timeout=1000.0)
        await trio.testing.wait_all_tasks_blocked()
        house.scope.cancel()
        await house.over.wait()
        assert made.seen == {"ask": SocketGone}


async def test_a_call_that_overflows_the_queue_finds_the_socket_gone(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app, SignalingSettings(max_queued_bytes=1000)) as house:
        await house.connect_polling()
        with pytest.raises(SocketGone):
            await app.sockets[0].emit_with_ack("ask", "x" * 1000, timeout=1.0)
        assert house.door.session_count == 0


async def test_calls_of_one_socket_are_limited(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with (
        open_house(app, SignalingSettings(max_calls=3)) as house,
        house.connected_websocket() as ws,
        outcomes() as made,
    ):
        for name in "abc":
            made.start(app.sockets[0], name)
        assert [(await ws.text())[:3] for _ in range(3)] == ["420", "421", "422"]
        with pytest.raises(TooManyCalls):
            await app.sockets[0].emit_with_ack("d", timeout=1.0)
        await ws.send("431[]")
        await trio.testing.wait_all_tasks_blocked()
        made.start(app.sockets[0], "e")
        assert await ws.text() == '423["e"]'


async def test_a_cancelled_call_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app, SignalingSettings(max_calls=1)) as house, house.connected_websocket() as ws:
        for number in range(3):
            with trio.move_on_after(1.0) as scope:
                await app.sockets[0].emit_with_ack("ask", timeout=10.0)
            assert scope.cancelled_caught
            assert await ws.text() == f'42{number}["ask"]'


async def test_a_mistake_of_the_caller_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app, SignalingSettings(max_calls=1)) as house, house.connected_websocket():
        for _ in range(2):
            with pytest.raises(ValueError, match="reserved"):
                await app.sockets[0].emit_with_ack("disconnect", timeout=1.0)
            with pytest.raises(TypeError):
                await app.sockets[0].emit_with_ack("ask", object(), timeout=1.0)


async def test_a_handler_may_ask_its_own_client(autojump_clock: MockClock) -> None:
    class Asking(Echo):
        async def event(self, socket: Socket, name: str, args: Sequence[Any], ack: Ack) -> None:
            ack(*await socket.emit_with_ack("and you", timeout=5.0))

    async with open_house(Asking()) as house, house.connected_websocket() as ws:
        await ws.send('421["how are you"]', '42["waits its turn"]')
        assert await ws.text() == '420["and you"]'
        await ws.send('430["fine"]')
        assert [await ws.text(), await ws.text()] == ['431["fine"]', '421["and you"]']


async def test_a_client_that_is_not_let_in_yet_is_asked_later(autojump_clock: MockClock) -> None:
    class Doorman(Recorder):
        async def connect(self, socket: Socket) -> None:
            made.start(socket, "early")
            await trio.sleep(1.0)
            await super().connect(socket)

    async with outcomes() as made, open_house(Doorman()) as house:
        async with house.connected_websocket() as ws:
            assert await ws.text() == '420["early"]'
            await ws.send("430[1]")
            await trio.testing.wait_all_tasks_blocked()
            assert made.seen == {"early": [1]}
        async with house.websocket() as ws:
            await ws.text()
            await ws.send('40{"refuse":"no"}')
            assert await ws.text() == '44{"message":"no"}'
            await trio.testing.wait_all_tasks_blocked()
            assert made.seen == {"early": SocketGone}


async def test_no_time_at_all_is_too_short(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket():
        with pytest.raises(AckTimeout):
            await app.sockets[0].emit_with_ack("ask", timeout=0.0)


def test_ids_begin_again_and_leave_out_those_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "ACK_IDS", 4)
    table = Calls(max_calls=3)
    with table.open() as first:
        seen = []
        for _ in range(7):
            with table.open() as call:
                seen.append(call.ack_id)
        assert (first.ack_id, seen) == (0, [1, 2, 3, 1, 2, 3, 1])
        assert len(table) == 1
    assert len(table) == 0

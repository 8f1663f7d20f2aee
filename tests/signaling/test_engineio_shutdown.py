"""The end of sessions on long-polling as their clients get to know it, also between two polls."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing
from trio.testing import MockClock
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError

from sfu.signaling.http import Request, Response, Route, json_response
from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import POLLING, WEBSOCKET, Answer, Echo, Recorder, open_house, upgrade_request


async def hello(request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    return json_response("hello")


@pytest.mark.contract("D5")
@pytest.mark.parametrize("pause", [0.0, 0.5])
async def test_the_next_poll_is_told_of_a_shutdown(autojump_clock: MockClock, pause: float) -> None:
    """On a connection of its own, as clients without keep-alive make one."""
    app = Recorder()
    async with open_house(app) as house:
        poller = await house.connect_polling()
        house.scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["server shutting down"]
        await trio.sleep(pause)
        answer = await house.client().get(poller.target)
        assert (answer.status, answer.body) == (200, b"1")
        assert answer.headers["connection"] == "close"
        await house.over.wait()
        assert trio.current_time() == pause


async def test_what_was_emitted_last_does_not_hide_the_end(autojump_clock: MockClock) -> None:
    """The poll that is held is answered with it, before the session ends."""
    app = Recorder()
    async with open_house(app) as house:
        poller = await house.connect_polling()
        answers: list[Answer] = []

        async def poll_to_the_end() -> None:
            while not answers or answers[-1].body[-1:] != b"1":
                answers.append(await house.client().get(poller.target))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll_to_the_end)
            await trio.testing.wait_all_tasks_blocked()
            app.sockets[0].emit("room-closed")
            await trio.testing.wait_all_tasks_blocked()
            house.scope.cancel()
        assert [answer.body for answer in answers] == [b'42["room-closed"]', b"1"]
        await house.over.wait()
        assert trio.current_time() == 0.0


async def test_what_is_queued_goes_out_first(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house:
        poller = await house.connect_polling()
        for number in range(3):
            app.sockets[0].emit("e", number, "x" * 600_000)
        house.scope.cancel()
        bodies = [(await house.client().get(poller.target)).body for _ in range(3)]
        assert [body[:9] for body in bodies] == [b'42["e",0,', b'42["e",1,', b'42["e",2,']
        assert [body.endswith(b"\x1e1") for body in bodies] == [False, False, True]
        await house.over.wait()


async def test_only_clients_that_have_a_session_are_heard_meanwhile(autojump_clock: MockClock) -> None:
    async with open_house(Echo(), routes=[Route("GET", "/hello", hello)]) as house:
        poller = await house.connect_polling()
        idle = house.client()
        assert (await idle.get("/hello")).status == 200
        house.scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        for client, target in ((idle, "/hello"), (house.client(), POLLING)):
            answer = await client.get(target)
            assert (answer.status, answer.json()) == (503, {"error": "shutting down"})
            assert answer.headers["connection"] == "close"
        assert (await house.client().get(f"{POLLING}&sid=nobody")).json()["code"] == 1
        assert (await house.client().send_raw(upgrade_request(WEBSOCKET))).status == 503
        upgrade = upgrade_request(f"{WEBSOCKET}&sid={poller.sid}")
        assert (await house.client().send_raw(upgrade)).status == 400
        assert (await poller.post('42["into the void"]')).body == b"ok"
        assert not house.over.is_set()
        assert (await house.client().get(poller.target)).body == b"1"
        await house.over.wait()
        assert trio.current_time() == 0.0


@pytest.mark.contract("D5")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("moments", range(16))
async def test_who_is_just_coming_in_is_told_or_refused(
    autojump_clock: MockClock, transport: str, moments: int
) -> None:
    """At whatever moment of its handshake: a session that nobody ended would last until the time is up."""
    async with open_house(Recorder()) as house, trio.open_nursery() as nursery:

        async def come_in_by_websocket() -> None:
            try:
                async with house.websocket() as ws:
                    while True:
                        await ws.text()
            except* (ConnectionClosed, ConnectionRejected, HandshakeError):
                pass

        async def come_in_by_polling() -> None:
            answer = await house.client().get(POLLING)
            packets = answer.body.decode().split("\x1e")
            if answer.status == 200 and packets[-1] != "1":
                sid = json.loads(packets[0][1:])["sid"]
                answer = await house.client().get(f"{POLLING}&sid={sid}")
                assert answer.body == b"1"

        nursery.start_soon(come_in_by_polling if transport == "polling" else come_in_by_websocket)
        for _ in range(moments):
            await trio.lowlevel.checkpoint()
        house.scope.cancel()
        await house.over.wait()
        assert trio.current_time() == 0.0


@pytest.mark.parametrize("probed", [False, True])
async def test_a_websocket_that_was_to_take_over_is_not_waited_for(
    autojump_clock: MockClock, probed: bool
) -> None:
    app = Recorder()
    async with open_house(app) as house, trio.open_nursery() as nursery:
        poller = await house.connect_polling()
        bodies: list[bytes] = []

        async def poll_to_the_end() -> None:
            while not bodies or bodies[-1] == b"6":
                bodies.append((await poller.poll()).body)

        nursery.start_soon(poll_to_the_end)
        async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}") as ws:
            if probed:
                await ws.send("2probe")
                assert await ws.text() == "3probe"
            house.scope.cancel()
            await ws.closed()
            await house.over.wait()
        assert bodies[-1] == b"1"
        assert app.reasons == ["server shutting down"]
        assert trio.current_time() == 0.0


@pytest.mark.parametrize(("close", "shutdown"), [(0.25, 1.0), (5.0, 0.5)])
async def test_a_client_that_does_not_ask_is_not_waited_for_long(
    autojump_clock: MockClock, close: float, shutdown: float
) -> None:
    settings = SignalingSettings(close_timeout=close, shutdown_timeout=shutdown)
    async with open_house(Echo(), settings) as house:
        await house.connect_polling()
        house.scope.cancel()
        await house.over.wait()
        assert trio.current_time() == min(close, shutdown)


async def test_a_session_closed_for_taking_too_long_says_so(autojump_clock: MockClock) -> None:
    settings = SignalingSettings(connect_timeout=10.0, close_timeout=2.0, max_sessions=1)
    async with open_house(Echo(), settings) as house:
        poller = await house.open_polling()
        await trio.sleep(10.5)
        assert house.door.session_count == 0
        assert (await house.client().get(POLLING)).status == 503
        assert (await poller.poll()).body == b"1"
        assert (await poller.poll()).json()["code"] == 1
        assert (await house.client().get(POLLING)).status == 200


async def test_it_says_so_only_for_a_while(autojump_clock: MockClock) -> None:
    settings = SignalingSettings(connect_timeout=10.0, close_timeout=2.0, max_sessions=1)
    async with open_house(Echo(), settings) as house:
        poller = await house.open_polling()
        await trio.sleep(12.5)
        assert (await poller.poll()).json()["code"] == 1
        assert (await house.client().get(POLLING)).status == 200

"""Limits and times other than the default ones have their effect, each where a client can see it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from sfu.signaling.application import Ack, Socket
from sfu.signaling.http import Request, Response, Route, json_response
from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import POLLING, WEBSOCKET, Echo, Recorder, open_house


async def length(request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    return json_response(len(request.body))


ROUTES = [Route("POST", "/length", length)]


async def test_what_the_opening_packet_announces_holds(autojump_clock: MockClock) -> None:
    settings = SignalingSettings(ping_interval=7.5, ping_timeout=2.25, max_payload=500)
    async with open_house(Echo(), settings) as house, house.websocket() as ws:
        opening = json.loads((await ws.text())[1:])
        assert (opening["pingInterval"], opening["pingTimeout"], opening["maxPayload"]) == (7500, 2250, 500)
        await ws.send("40")
        await ws.text()
        await ws.send('42["' + "x" * 494 + '"]')
        assert len(await ws.text()) == 500
        assert await ws.text() == "2"
        assert trio.current_time() == 7.5
        await ws.closed()
        assert trio.current_time() == 9.75


async def test_the_largest_payload(autojump_clock: MockClock) -> None:
    for size, status in ((500, 200), (501, 413)):
        async with open_house(Recorder(), SignalingSettings(max_payload=500)) as house:
            poller = await house.connect_polling()
            assert (await poller.post('42["' + "x" * (size - 6) + '"]')).status == status
    async with (
        open_house(Recorder(), SignalingSettings(max_payload=500)) as house,
        house.connected_websocket() as ws,
    ):
        await ws.send('42["' + "x" * 495 + '"]')
        assert await ws.closed() == 1009


async def test_the_time_to_upgrade(autojump_clock: MockClock) -> None:
    async with open_house(Echo(), SignalingSettings(upgrade_timeout=3.0)) as house:
        poller = await house.connect_polling()
        async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}") as ws:
            await ws.send("2probe")
            assert await ws.text() == "3probe"
            await ws.closed()
            assert trio.current_time() == 3.0


async def test_the_time_for_handlers_after_the_end(autojump_clock: MockClock) -> None:
    app = Recorder(event_delay=1000.0)
    async with open_house(app, SignalingSettings(drain_timeout=2.0)) as house:
        async with house.connected_websocket() as ws:
            await ws.send('42["x"]')
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1.9)
        assert app.reasons == []
        await trio.sleep(0.2)
        assert app.reasons == ["transport close"]


async def test_the_time_for_goodbyes(autojump_clock: MockClock) -> None:
    ended: list[float] = []

    class Slow(Echo):
        async def disconnect(self, socket: Socket, reason: str) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append(trio.current_time())

    async with open_house(Slow(), SignalingSettings(disconnect_timeout=2.0)) as house:
        async with house.connected_websocket():
            pass
        await trio.sleep(3.0)
    assert ended == [2.0]


async def test_the_largest_head_and_body(autojump_clock: MockClock) -> None:
    settings = SignalingSettings(max_head=400, max_body=50)
    async with open_house(routes=ROUTES, settings=settings) as house:
        assert (await house.client().request("POST", "/length", b"x" * 50)).json() == 50
        assert (await house.client().request("POST", "/length", b"x" * 51)).status == 413
        assert (await house.client().get("/", X="x" * 300)).status == 404
        head = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 400
        assert (await house.client().send_raw(head)).status == 431


@pytest.mark.parametrize(
    ("settings", "data", "answer", "end"),
    [
        (SignalingSettings(head_timeout=3.0), b"", b"", 3.0),
        (SignalingSettings(head_timeout=3.0), b"GET /", b"HTTP/1.1 408", 3.0),
        (
            SignalingSettings(body_timeout=4.0),
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nx",
            b"HTTP/1.1 408",
            4.0,
        ),
        (SignalingSettings(idle_timeout=5.0), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 404", 5.0),
    ],
    ids=["silent", "head", "body", "idle"],
)
async def test_the_time_for_requests(
    autojump_clock: MockClock, settings: SignalingSettings, data: bytes, answer: bytes, end: float
) -> None:
    async with open_house(settings=settings) as house:
        client = house.client()
        await client.stream.send_all(data)
        received = bytearray()
        while more := await client.stream.receive_some():
            received += more
        assert trio.current_time() == end
        assert received[:12] == answer


async def test_the_time_for_a_response(autojump_clock: MockClock) -> None:
    async with open_house(settings=SignalingSettings(send_timeout=6.0)) as house:
        client = house.client(lockstep=True)
        await client.stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await trio.sleep(5.9)
        assert house.door.connection_count == 1
        await trio.sleep(0.2)
        assert house.door.connection_count == 0


async def test_the_time_to_take_notice_of_an_error(autojump_clock: MockClock) -> None:
    async with open_house(settings=SignalingSettings(linger_timeout=2.5)) as house:
        client = house.client()
        assert (await client.send_raw(b"nonsense\r\n\r\n")).status == 400
        await trio.sleep(2.4)
        assert house.door.connection_count == 1
        await trio.sleep(0.2)
        assert house.door.connection_count == 0


async def test_a_path_of_its_own_for_both_transports(autojump_clock: MockClock) -> None:
    class Path(Echo):
        async def event(self, socket: Socket, name: str, args: Sequence[Any], ack: Ack) -> None:
            ack("here")

    async with open_house(Path(), SignalingSettings(path="/sfu/io/")) as house:
        async with house.websocket("/sfu/io/?EIO=4&transport=websocket") as ws:
            await ws.text()
            await ws.send("40")
            await ws.text()
            await ws.send('421["where"]')
            assert await ws.text() == '431["here"]'
        assert (await house.client().get(POLLING)).status == 404

"""The application behind the real front door: what a browser would see, byte for byte."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import MockClock

from sfu.signaling.identity import derive_userid
from tests.signaling.harness import House, Ws, open_house
from tests.support.app_world import AppWorld

ANN = '{"token":"t:ann"}'
BOB = '{"token":"t:bob"}'


@asynccontextmanager
async def open_node(world: AppWorld) -> AsyncIterator[House]:
    async with open_house(world.app, routes=world.app.routes()) as house:
        yield house


async def ask(ws: Ws, ack_id: int, event: str, *args: Any) -> tuple[list[Any], list[str]]:
    """Send an event; returns its ack and the names of the events that came before it."""
    await ws.send(f"42{ack_id}" + json.dumps([event, *args]))
    before: list[str] = []
    while True:
        text = await ws.text()
        if text.startswith(f"43{ack_id}"):
            return json.loads(text.removeprefix(f"43{ack_id}")), before
        if text.startswith("42"):
            before.append(json.loads(text[2:])[0])


async def event(ws: Ws, name: str) -> Any:
    """The payload of the next event of this name."""
    while True:
        text = await ws.text()
        if text == "2":
            await ws.send("3")
        elif text.startswith("42"):
            got, payload = json.loads(text[2:])
            if got == name:
                return payload


async def test_nobody_is_turned_away(autojump_clock: MockClock, world: AppWorld) -> None:
    async with open_node(world) as house, house.websocket() as ws:
        await ws.text()
        await ws.send('40{"token":"bad"}')
        assert await ws.text() == '44{"message":"unauthorized"}'
        world.romm.down = True
        await ws.send("40" + ANN)
        assert await ws.text() == '44{"message":"auth unavailable"}'


async def test_a_host_and_a_guest(autojump_clock: MockClock, world: AppWorld) -> None:
    async with (
        open_node(world) as house,
        house.connected_websocket(ANN) as ann,
        house.connected_websocket(BOB) as bob,
    ):
        opened = await ask(
            ann, 1, "open-room", {"extra": {"room_name": "R"}, "maxPlayers": 2, "password": None}
        )
        assert opened == ([None], ["users-updated", "rooms-updated"])
        assert [entry["name"] for entry in await event(bob, "rooms-updated")] == ["R"]
        (answer, before) = await ask(bob, 1, "join-room", {"extra": {"room_name": "R"}, "password": None})
        assert answer[0] is None
        assert list(answer[1]["users"]) == [derive_userid("ann"), derive_userid("bob")]
        assert before in ([], ["users-updated"])
        assert (await event(ann, "room-player-joined"))["player_slot"] == 1
        (answer, _) = await ask(ann, 2, "sfu-create-transport", {"direction": "send"})
        offered = {"codecs": [{"mimeType": "video/VP9"}], "encodings": [{"ssrc": 1}]}
        payload = {"transportId": answer[1]["id"], "kind": "video", "rtpParameters": offered, "appData": {}}
        ([error, producer_id], _) = await ask(ann, 3, "sfu-produce", payload)
        assert error is None
        assert await event(bob, "new-producer") == {"id": producer_id, "kind": "video"}
        assert (await ask(bob, 2, "sfu-get-producers", {}))[0] == [
            None,
            [{"id": producer_id, "kind": "video"}],
        ]
        assert (await ask(bob, 3, "leave-room"))[0] == [None]
        assert await event(ann, "room-player-left") == {"userid": derive_userid("bob")}


async def test_a_member_whose_connection_breaks(autojump_clock: MockClock, world: AppWorld) -> None:
    async with open_node(world) as house, house.connected_websocket(ANN) as ann:
        await ask(ann, 1, "open-room", {"extra": {"room_name": "R"}})
        async with house.connected_websocket(BOB) as bob:
            await ask(bob, 1, "join-room", {"extra": {"room_name": "R"}})
        bobs = derive_userid("bob")
        while not (await event(ann, "users-updated")).get(bobs, {}).get("reconnecting"):
            pass
        async with house.connected_websocket(BOB) as bob:
            assert (await ask(bob, 1, "join-room", {"extra": {"room_name": "R"}}))[0][0] is None
            assert "reconnecting" not in (await event(ann, "users-updated"))[bobs]
        lost = trio.current_time()
        assert await event(ann, "room-player-left") == {"userid": bobs}
        assert 59 < trio.current_time() - lost < 61


async def test_a_large_room_over_the_wire(autojump_clock: MockClock, world: AppWorld) -> None:
    async with open_node(world) as house, house.connected_websocket(ANN) as ann:
        await ask(ann, 1, "open-room", {"extra": {"room_name": "R"}})
        async with trio.open_nursery() as nursery:
            for n in range(3):
                nursery.start_soon(world.guest, f"player{n}")
            for n in range(30):
                nursery.start_soon(watch, world, f"fan{n}")
        await trio.sleep(1)
        async with house.connected_websocket('{"token":"t:last"}') as last:
            await ask(last, 1, "join-room", {"extra": {"room_name": "R", "player_slot": 8}})
            users = await event(last, "users-updated")
            assert len(users) == 5
            assert list(users)[-1] == derive_userid("last")


async def watch(world: AppWorld, user: str) -> None:
    await world.guest(user, player_slot=8)


async def test_lists_over_http(autojump_clock: MockClock, world: AppWorld) -> None:
    async with open_node(world) as house, house.connected_websocket(ANN) as ann:
        await ask(ann, 1, "open-room", {"extra": {"room_name": "R"}})
        client = house.client()
        answer = await client.get("/list?domain=d&game_id=&token=t%3Abob")
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.json()["R"]["current"] == 1
        assert (await client.get("//LIST/", authorization="Bearer bad")).json() == {"error": "unauthorized"}
        assert (await client.get("/ice", cookie="romm_sfu_token=t%3Abob")).json()["nodeId"] == "node-1"


async def test_when_the_door_is_shut_everyone_is_let_go(autojump_clock: MockClock, world: AppWorld) -> None:
    async with open_node(world) as house, house.connected_websocket(ANN) as ann:
        await ask(ann, 1, "open-room", {"extra": {"room_name": "R"}})
        world.app.say_goodbye("server shutting down")
        house.scope.cancel()
        assert await event(ann, "room-closed") == {"room_name": "R", "reason": "server shutting down"}
        await house.over.wait()
        assert world.app._core.clients == {}

"""Rooms over HTTP: ``/create``, ``/join``, ``/leave``; and the debug routes."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sfu.romm.port import RommUnavailable, RoomRecord
from sfu.rooms import RoomLimits
from tests.support.app_world import AppWorld, body_of, open_world

NOT_FOUND = (404, {"error": "room not found"})


@pytest.mark.contract("D57")
async def test_creating_a_room(autojump_clock: MockClock, world: AppWorld) -> None:
    body = {"room_name": " R ", "max_players": "2", "password": "pw", "netplay_mode": 1, "rom_hash": "h",
            "core_type": "c", "sync_config": {"frameDelay": 3}, "allow_spectators": False, "domain": "d",
            "system": "nes"}  # fmt: skip
    assert body_of(await world.post("/create", body)) == (
        200,
        {
            "room_id": "R",
            "room": {
                "room_name": "R", "current": 1, "max": 2, "hasPassword": True, "netplay_mode": 1,
                "sync_config": {"frameDelay": 3}, "spectator_mode": 1, "rom_hash": "h", "core_type": "c",
            },
        },
    )  # fmt: skip
    room = world.rooms.get("R")
    assert room is not None
    assert (room.settings.netplay_mode, room.settings.system) == ("delay_sync", "nes")
    assert body_of(await world.post("/create", {"room_name": "R"})) == (409, {"error": "room already exists"})


@pytest.mark.contract("D56", "D57")
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, {"netplay_mode": 0, "spectator_mode": 1, "max": 4, "hasPassword": False, "sync_config": None}),
        ({"netplay_mode": 2, "spectator_mode": 0}, {"netplay_mode": 2, "spectator_mode": 0}),
        ({"netplay_mode": "delay_sync"}, {"netplay_mode": 1}),
        ({"netplay_mode": None, "max_players": None, "password": None}, {"netplay_mode": 0, "max": 4}),
        ({"game_id": 7}, {"game_id": 7}),
        ({"max_players": 8}, {"max": 8}),
    ],
)
async def test_what_a_created_room_shows(
    autojump_clock: MockClock, world: AppWorld, given: dict[str, Any], shown: dict[str, Any]
) -> None:
    status, answer = body_of(await world.post("/create", {"room_name": "R", **given}))
    assert status == 200
    assert {key: answer["room"][key] for key in shown} == shown
    assert {"game_id", "rom_hash", "core_type"} & set(answer["room"]) == {"game_id"} & set(given)


@pytest.mark.contract("D26", "D95", "D16")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "room_name is required"),
        ([], "room_name is required"),
        ({"room_name": ""}, "room_name is required"),
        ({"room_name": 0}, "room_name is required"),
        ({"room_name": 5}, "invalid"),
        ({"room_name": "  "}, "invalid"),
        ({"room_name": "a\nb"}, "invalid"),
        ({"room_name": "x" * 65}, "invalid"),
        ({"room_name": "R", "max_players": 0}, "invalid"),
        ({"room_name": "R", "max_players": 9}, "invalid"),
        ({"room_name": "R", "max_players": 2.5}, "invalid"),
        ({"room_name": "R", "max_players": "many"}, "invalid"),
        ({"room_name": "R", "password": 5}, "invalid"),
        ({"room_name": "R", "sync_config": {"x": "y" * 9000}}, "invalid"),
        (b"{", "invalid json"),
        (b"5", "invalid json"),
    ],
)
async def test_rooms_that_cannot_be_created(
    autojump_clock: MockClock, world: AppWorld, body: Any, error: str
) -> None:
    answer = await world.post("/create", body, token="once:ann")
    assert body_of(answer) == (400, {"error": error})
    assert "once:ann" in world.romm.used, "the token comes first"
    assert len(world.rooms) == 0


async def test_creating_spends_a_write_token_and_nothing_else_does(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    await world.post("/create", {"room_name": "R"}, token="t:ann")
    for path in ("/join/R", "/leave/R"):
        await world.post(path, token="once:bob")
    assert world.romm.used == set()
    assert (await world.post("/create", {"room_name": "Q"}, token="once:bob")).status == 200
    assert body_of(await world.post("/create", {"room_name": "P"}, token="once:bob"))[0] == 401


@pytest.mark.contract("D30", "D94")
async def test_a_created_room_is_announced_and_goes_if_nobody_comes(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    bob = await world.connect("bob")
    await world.post("/create", {"room_name": "R", "rom_hash": "h"})
    await world.settle()
    assert [entry["name"] for entry in bob.take()[-1][1]] == ["R"]
    assert world.romm.rooms["R"].extras["rom_hash"] == "h"
    listed = body_of(await world.get("/list", headers={"authorization": "Bearer t:bob"}))[1]
    assert (listed["R"]["current"], listed["R"]["rom_hash"]) == (1, "h")
    await trio.sleep(125)
    assert len(world.rooms) == 0
    assert world.romm.rooms == {}


@pytest.mark.contract("D94")
async def test_a_name_on_another_node_is_taken(autojump_clock: MockClock, world: AppWorld) -> None:
    world.romm.rooms["R"] = theirs = RoomRecord("R", 1, 4, False, "node-2", "http://there", {})
    assert body_of(await world.post("/create", {"room_name": "R"})) == (409, {"error": "room already exists"})
    assert world.romm.rooms["R"] is theirs
    assert body_of(await world.post("/join/R")) == NOT_FOUND


@pytest.mark.contract("D92")
async def test_while_the_registry_is_down_rooms_are_created(
    autojump_clock: MockClock, world: AppWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RommUnavailable("down")

    monkeypatch.setattr(world.romm, "resolve_room", fail)
    monkeypatch.setattr(world.romm, "upsert_room", fail)
    assert (await world.post("/create", {"room_name": "R"})).status == 200
    assert world.rooms.get("R") is not None


@pytest.mark.contract("D27", "D28", "D21")
async def test_the_creator_comes_in_and_others_join(autojump_clock: MockClock, world: AppWorld) -> None:
    await world.post("/create", {"room_name": "R", "max_players": 2})
    bob, ann = await world.connect("bob"), await world.connect("ann")
    assert await bob.call("open-room", {"extra": {"room_name": "R"}}) == ["room exists"]
    assert await ann.call("open-room", {"extra": {"room_name": "R"}, "maxPlayers": 2}) == [None]
    value = await bob.ask("join-room", {"extra": {"room_name": "R"}})
    assert value["users"][ann.userid]["is_host"] is True
    assert await bob.call("update-player-slot", {"roomName": "R", "playerSlot": 1}) == [None]


@pytest.mark.contract("D29", "D58")
async def test_reserving_and_releasing_a_seat(autojump_clock: MockClock, world: AppWorld) -> None:
    await world.post("/create", {"room_name": "R", "max_players": 2, "password": "pw", "rom_hash": "h"})
    assert body_of(await world.post("/join/nowhere", {"password": "pw"}, token="t:bob")) == NOT_FOUND
    wrong: list[Any] = [{}, {"password": ""}, {"password": 5}, {"password": "PW"}, []]
    for body in wrong:
        answer = await world.post("/join/R", body, token="t:bob")
        assert body_of(answer) == (403, {"error": "incorrect password"})
    right = {"password": "pw", "player_name": "somebody else", "domain": "d"}
    for _ in range(2):
        assert body_of(await world.post("/join/R", right, token="t:bob")) == (
            200,
            {
                "room_id": "R",
                "room": {
                    "room_name": "R", "current": 2, "max": 2, "hasPassword": True,
                    "netplay_mode": "live_stream", "room_phase": "running", "sync_config": None,
                    "spectator_mode": 1, "game_id": None, "rom_hash": "h", "core_type": None,
                },
            },
        )  # fmt: skip
    assert body_of(await world.post("/join/R", right, token="t:cat")) == (409, {"error": "room is full"})
    for _ in range(2):
        assert body_of(await world.post("/leave/R", token="t:bob")) == (200, {"success": True})
    assert body_of(await world.post("/leave/nowhere", token="t:bob")) == NOT_FOUND
    assert body_of(await world.post("/join/R", right, token="t:cat"))[0] == 200
    await trio.sleep(61)
    assert body_of(await world.post("/join/R", right, token="t:bob"))[0] == 200, "Cat has not come"


async def test_too_many_of_something_is_429(autojump_clock: MockClock) -> None:
    async with open_world(room_limits=RoomLimits(http_rooms_per_user=1, password_tries=1)) as world:
        assert (await world.post("/create", {"room_name": "R", "password": "pw"})).status == 200
        answer = await world.post("/create", {"room_name": "Q"})
        assert body_of(answer) == (429, {"error": "too many rooms"})
        await world.settle()
        assert set(world.romm.rooms) == {"R"}, "the claim is given back"
        assert (await world.post("/join/R", {"password": "x"}, token="t:bob")).status == 403
        answer = await world.post("/join/R", {"password": "y"}, token="t:bob")
        assert body_of(answer) == (429, {"error": "too many requests"})


async def test_room_names_in_paths_are_percent_encoded(autojump_clock: MockClock, world: AppWorld) -> None:
    await world.post("/create", {"room_name": "a/b ☆"})
    assert (await world.post("/join/a%2Fb%20%E2%98%86/", token="t:bob")).status == 200
    assert (await world.post("/JOIN/a%2Fb%20%E2%98%86", token="t:bob")).status == 200
    assert (await world.post("/join/%zz", token="t:bob")).status == 400


@pytest.mark.contract("D7")
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/resolve"), ("POST", "/create"), ("POST", "/join/R"), ("POST", "/leave/R")],
)
async def test_a_token_is_needed(autojump_clock: MockClock, world: AppWorld, method: str, path: str) -> None:
    assert body_of(await world.request(method, path)) == (401, {"error": "unauthorized"})
    bad = {"authorization": "Bearer bad"}
    assert body_of(await world.request(method, path, headers=bad)) == (401, {"error": "unauthorized"})
    world.romm.down = True
    good = {"authorization": "Bearer t:ann"}
    assert body_of(await world.request(method, path, headers=good)) == (503, {"error": "auth unavailable"})


# Debug routes


@pytest.mark.contract("D14")
async def test_debug_routes_are_off_by_default(autojump_clock: MockClock, world: AppWorld) -> None:
    for path in ("/debug/all-producers", "/debug/room-producers"):
        answer = await world.request("GET", path, remote="127.0.0.1")
        assert body_of(answer) == (404, {"error": "not found"})


@pytest.mark.contract("D14")
@pytest.mark.parametrize(
    ("remote", "headers"),
    [
        ("192.0.2.1", {}),
        ("unknown", {}),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.1"}),
        ("127.0.0.1", {"x-real-ip": "192.0.2.1"}),
        ("::1", {"forwarded": "for=192.0.2.1"}),
    ],
)
async def test_debug_routes_are_for_this_machine(
    autojump_clock: MockClock, remote: str, headers: dict[str, str]
) -> None:
    async with open_world(debug_routes=True) as world:
        answer = await world.request("GET", "/debug/all-producers", remote=remote, headers=headers)
        assert body_of(answer) == (404, {"error": "not found"})


@pytest.mark.contract("D14", "D17")
async def test_debugging_producers(autojump_clock: MockClock) -> None:
    async with open_world(debug_routes=True) as world:
        ann = await world.host("ann")
        await world.host("bob", "Q")
        transport = (await ann.ask("sfu-create-transport", {}))["id"]
        parameters = {"codecs": [{}], "encodings": [{"ssrc": 1}]}
        payload = {"transportId": transport, "kind": "video", "rtpParameters": parameters}
        producer = await ann.ask("sfu-produce", payload)

        async def get(path: str, **query: str) -> tuple[int, Any]:
            return body_of(await world.request("GET", path, query=list(query.items()), remote="127.0.0.1"))

        assert await get("/debug/all-producers") == (200, [{"socket": ann.id, "producerId": producer}])
        assert await get("/debug/room-producers", room="R") == (
            200,
            {"room": "R", "owner": ann.userid, "producers": [{"producerId": producer}]},
        )
        assert (await get("/debug/room-producers", room="Q"))[1]["producers"] == []
        assert await get("/debug/room-producers", room="X") == (404, {"error": "no such room"})
        assert await get("/debug/room-producers") == (400, {"error": "missing room query parameter"})

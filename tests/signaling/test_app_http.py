"""``GET /list`` and ``GET /ice``."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from sfu.romm.port import RoomRecord
from sfu.signaling.http import Response
from tests.support.app_world import AppWorld, open_world

BEARER = {"authorization": "Bearer t:ann"}


def body(response: Response) -> Any:
    return msgspec.json.decode(response.body)


@pytest.mark.contract("D7", "D86", "M17")
@pytest.mark.parametrize("path", ["/list", "/ice"])
async def test_a_token_is_needed(world: AppWorld, path: str) -> None:
    for query, headers in (
        ([], {}),
        ([("token", "")], BEARER),
        ([("token", "bad")], BEARER),
        ([], {"cookie": "romm_sfu_token="}),
        ([], {"authorization": "Bearer bad"}),
    ):
        response = await world.get(path, query, headers)
        assert (response.status, body(response)) == (401, {"error": "unauthorized"})
    for query, headers in (
        ([("token", "t:ann"), ("domain", "d"), ("game_id", "")], {}),
        ([], BEARER),
        ([], {"cookie": "sfu_token=t%3Aann"}),
    ):
        response = await world.get(path, query, headers)
        assert response.status == 200
        assert ("Cache-Control", "no-store") in response.headers
        assert "etag" not in {name.lower() for name, _ in response.headers}
    assert {call[2] for call in world.romm.calls if call[0] == "verify"} == {False}
    world.romm.down = True
    response = await world.get(path, [], BEARER)
    assert (response.status, body(response)) == (503, {"error": "auth unavailable"})


async def test_a_write_token_is_not_spent(world: AppWorld) -> None:
    for _ in range(2):
        assert (await world.get("/list", [("token", "once:ann")])).status == 200


async def test_ice_servers() -> None:
    servers = ({"urls": "stun:a"}, {"urls": ["turn:b"], "username": "u", "credential": "c"})
    async with open_world(ice_servers=servers, announced_ip="192.0.2.9") as world:
        assert body(await world.get("/ice", [], BEARER)) == {
            "iceServers": list(servers),
            "nodeId": "node-1",
            "url": "http://here",
            "announcedIp": "192.0.2.9",
        }
    async with open_world() as world:
        answer = body(await world.get("/ice", [], BEARER))
        assert (answer["iceServers"], answer["announcedIp"]) == ([], None)


@pytest.mark.contract("D56", "D87", "M14")
async def test_the_list_is_romms_with_ones_own_rooms_in_full(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    theirs = RoomRecord("theirs", 1, 4, False, "node-2", "http://there", {})
    stale = RoomRecord("stale", 1, 4, False, "node-1", "http://here", {})
    world.romm.rooms = {"theirs": theirs, "stale": stale}
    ann = await world.connect("ann")
    extra = {"room_name": "R", "netplay_mode": 1, "rom_hash": "h", "spectator_mode": 0, "coreId": "c"}
    await ann.ask("open-room", {"extra": extra, "password": "pw", "maxPlayers": 2})
    await world.settle()
    rooms = body(await world.get("/list", [], BEARER))
    assert set(rooms) == {"theirs", "R"}
    assert rooms["theirs"] == {
        "room_name": "theirs", "current": 1, "max": 4, "hasPassword": False, "nodeId": "node-2",
        "url": "http://there",
    }  # fmt: skip
    assert rooms["R"] == {
        "room_name": "R", "current": 1, "max": 2, "hasPassword": True, "netplay_mode": "delay_sync",
        "room_phase": "lobby", "sync_config": None, "spectator_mode": 0, "game_id": None, "rom_hash": "h",
        "core_type": "c", "system": None, "platform": None, "coreId": "c", "coreVersion": None,
        "romHash": "h", "systemType": None, "rom_name": None, "nodeId": "node-1", "url": "http://here",
    }  # fmt: skip


async def test_rooms_without_players_are_not_listed(autojump_clock: MockClock, world: AppWorld) -> None:
    ann = await world.host("ann")
    await ann.ask("update-player-slot", {"roomName": "R", "playerSlot": 8})
    await world.settle()
    assert body(await world.get("/list", [], BEARER)) == {}


@pytest.mark.contract("D87")
async def test_without_romms_list_ones_own_rooms_are_listed(
    world: AppWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfu.romm.port import RommUnavailable

    async def fail() -> None:
        raise RommUnavailable("down")

    monkeypatch.setattr(world.romm, "list_rooms", fail)
    await world.host("ann")
    assert set(body(await world.get("/list", [], BEARER))) == {"R"}

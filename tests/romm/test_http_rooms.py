"""Conformance of the room registry, named after the cases of ``romm-api.md`` 8.2."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from sfu.romm.port import RommUnavailable, RoomRecord
from sfu.romm.records import EXTRA_FIELDS, MAX_COUNT, MAX_EXTRAS_BYTES
from sfu.romm.service import MAX_ROOM_NAME
from sfu.romm.store import MAX_ROOMS, MemoryStore, StoreError
from tests.romm.support import EPOCH, SECRET, Side, json_of, outcome
from tests.romm.worlds import World

DEFAULTS = {"current": 0, "max": 0, "hasPassword": False, "nodeId": None, "url": None}
FULL = {
    "room_name": "a",
    "current": 2,
    "max": 4,
    "hasPassword": True,
    "nodeId": "n",
    "url": "https://n.example",
}


async def upsert(side: Side, **fields: object) -> tuple[int, Any]:
    response = await side.internal("POST", "rooms/upsert", fields)
    return response.status, json_of(response)


async def resolve(side: Side, name: str) -> Any:
    response = await side.internal("GET", f"rooms/resolve?room={quote(name, safe='')}")
    return json_of(response) if response.status == 200 else outcome(response)


async def rooms(side: Side) -> Any:
    return json_of(await side.internal("GET", "rooms/list"))


@pytest.mark.contract("REG-01")
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "upsert"), ("POST", "delete"), ("GET", "resolve?room=a"), ("GET", "list")],
)
async def test_reg_01_secret(method: str, path: str) -> None:
    response = await Side().request(method, f"/api/sfu/internal/rooms/{path}")
    assert outcome(response) == (401, "unauthorized")


@pytest.mark.contract("REG-02")
async def test_reg_02_defaults(world: World) -> None:
    side = world.side()
    assert await upsert(side, room_name="a") == (200, {"ok": True})
    assert await resolve(side, "a") == {"room_name": "a", **DEFAULTS, "updatedAt": EPOCH * 1000}
    assert 45 < world.rooms()["a"] <= 60


@pytest.mark.contract("REG-03")
async def test_reg_03_trimmed(world: World) -> None:
    side = world.side()
    await upsert(side, room_name="  b room ")
    assert list(await side.store.rooms()) == ["b room"]
    assert (await resolve(side, "b room"))["room_name"] == "b room"


@pytest.mark.contract("REG-04")
async def test_reg_04_no_name() -> None:
    side = Side()
    response = await side.internal("POST", "rooms/upsert", {"room_name": " \t"})
    assert outcome(response) == (400, "missing room_name")
    assert (await upsert(side))[0] == 422
    assert (await side.internal("POST", "rooms/upsert")).status == 422


@pytest.mark.contract("REG-05")
async def test_reg_05_lax_numbers(world: World) -> None:
    side = world.side()
    await upsert(side, room_name="a", current="2", max=4.0, hasPassword=1)
    stored = await resolve(side, "a")
    assert (stored["current"], stored["max"], stored["hasPassword"]) == (2, 4, True)
    assert [type(stored[key]) for key in ("current", "max")] == [int, int]


@pytest.mark.contract("REG-06")
@pytest.mark.parametrize(
    "fields",
    [
        {"current": None},
        {"current": 1.5},
        {"nodeId": 5},
        {"url": ["x"]},
        {"hasPassword": "maybe"},
        {"updatedAt": 1.5},
        {"room_name": 5},
        {"max": MAX_COUNT + 1},
        {"current": -MAX_COUNT - 1},
        {"url": "x" * 2049},
        {"nodeId": "x" * 2049},
    ],
)
async def test_reg_06_wrong_types(fields: dict[str, object]) -> None:
    assert (await upsert(Side(), **({"room_name": "a"} | fields)))[0] == 422


@pytest.mark.contract("REG-07")
async def test_reg_07_time_stamp_is_the_servers(world: World) -> None:
    side = world.side()
    await upsert(side, room_name="a", updatedAt=5)
    assert (await resolve(side, "a"))["updatedAt"] == EPOCH * 1000


@pytest.mark.contract("REG-08")
async def test_reg_08_known_extras_are_kept(world: World) -> None:
    side = world.side()
    extras = {"netplay_mode": "arcade", "metadata": {"a": [1, None]}, "game_id": 7}
    await upsert(side, room_name="a", unknown=1, rom_hash=None, **extras)
    assert await resolve(side, "a") == {
        "room_name": "a",
        **DEFAULTS,
        "updatedAt": EPOCH * 1000,
        **extras,
    }
    listed = (await rooms(side))["a"]
    assert list(listed)[:6] == ["room_name", "current", "max", "hasPassword", "nodeId", "url"]
    assert listed == {"room_name": "a", **DEFAULTS, **extras}


async def test_extras_have_a_limit() -> None:
    side = Side()
    fitting = "x" * (MAX_EXTRAS_BYTES - len('{"metadata":"",}'))
    assert await upsert(side, room_name="a", metadata=fitting) == (200, {"ok": True})
    status, answer = await upsert(side, room_name="a", metadata=fitting + "x", game_id=7)
    assert (status, answer) == (200, {"ok": True, "dropped": ["metadata"]})
    stored = await resolve(side, "a")
    assert stored["game_id"] == 7
    assert "metadata" not in stored


async def test_extras_together_have_the_limit() -> None:
    side = Side()
    await upsert(side, room_name="a", **dict.fromkeys(EXTRA_FIELDS, "x" * 1000))
    stored = await resolve(side, "a")
    kept = {key: stored[key] for key in EXTRA_FIELDS if key in stored}
    assert list(kept) == list(EXTRA_FIELDS[:8])
    assert len(msgspec.json.encode(kept)) <= MAX_EXTRAS_BYTES


@pytest.mark.contract("REG-09")
async def test_reg_09_second_upsert_replaces(world: World) -> None:
    side = world.side()
    await upsert(side, **FULL)
    world.elapse(50)
    await upsert(side, room_name="a", current=1)
    world.elapse(30)
    stored = await resolve(side, "a")
    assert (stored["current"], stored["max"], stored["nodeId"]) == (1, 0, None)


@pytest.mark.contract("REG-10")
async def test_reg_10_resolve(world: World) -> None:
    side = world.side()
    await upsert(side, **FULL)
    for name in ("a", "  a "):
        assert await resolve(side, name) == FULL | {"updatedAt": EPOCH * 1000}


@pytest.mark.contract("REG-11")
async def test_reg_11_resolve_nothing(world: World) -> None:
    side = world.side()
    assert await resolve(side, "x") == (404, "not found")
    assert await resolve(side, " ") == (400, "missing room")
    assert (await side.internal("GET", "rooms/resolve")).status == 422
    assert await resolve(side, "x" * (MAX_ROOM_NAME + 1)) == (404, "not found")


@pytest.mark.contract("REG-12", "REG-13")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("not JSON", id="REG-12"),
        pytest.param("[]", id="REG-13"),
        pytest.param('{"room_name":5}', id="REG-13 name"),
        pytest.param('{"room_name":"a","current":"2"}', id="REG-13 count"),
        pytest.param('{"room_name":"a","max":true}', id="REG-13 bool"),
        pytest.param('{"room_name":"a","max":9007199254740993}', id="REG-13 huge"),
        pytest.param('{"room_name":"a","hasPassword":1}', id="REG-13 flag"),
        pytest.param('{"room_name":"a","url":1}', id="REG-13 url"),
    ],
)
async def test_reg_12_and_13_broken_record(world: World, text: str) -> None:
    side = world.side()
    await upsert(side, room_name="good")
    world.plant_room("a", text)
    assert await resolve(side, "a") == (500, "invalid room record")
    assert list(await rooms(side)) == ["good"]
    with pytest.raises(RommUnavailable):
        await side.service.resolve_room("a")


@pytest.mark.contract("REG-14")
async def test_reg_14_record_without_name(world: World) -> None:
    side = world.side()
    world.plant_room("a", '{"current":2}')
    assert (await rooms(side))["a"] == {"room_name": "a", **DEFAULTS, "current": 2}


@pytest.mark.contract("REG-15")
async def test_reg_15_list(world: World) -> None:
    side = world.side()
    await upsert(side, **FULL)
    await upsert(side, room_name="b")
    assert await rooms(side) == {"a": FULL, "b": {"room_name": "b", **DEFAULTS}}


@pytest.mark.contract("REG-16")
async def test_reg_16_a_thousand_rooms(world: World) -> None:
    side = world.side()
    names = {f"room {number}" for number in range(1000)}
    for name in names:
        await upsert(side, room_name=name)
    assert set(await rooms(side)) == names


@pytest.mark.contract("REG-17")
async def test_reg_17_delete_twice(world: World) -> None:
    side = world.side()
    await upsert(side, room_name="a")
    for _ in range(2):
        response = await side.internal("POST", "rooms/delete", {"room_name": " a "})
        assert json_of(response) == {"ok": True}
        assert await rooms(side) == {}
    assert outcome(await side.internal("POST", "rooms/delete", {"room_name": ""})) == (
        400,
        "missing room_name",
    )


@pytest.mark.contract("REG-18")
async def test_reg_18_not_refreshed(world: World) -> None:
    side = world.side()
    await upsert(side, room_name="a")
    world.elapse(40)
    assert list(await rooms(side)) == ["a"]
    world.elapse(21)
    assert await resolve(side, "a") == (404, "not found")
    assert await rooms(side) == {}


@pytest.mark.contract("REG-19")
@pytest.mark.parametrize(
    "name", ["a:b", "*", "[x", "\"'", "\U0001f47e&?#%2F/", "x" * 500, "x" * MAX_ROOM_NAME, "__class__"]
)
async def test_reg_19_names(world: World, name: str) -> None:
    side = world.side()
    await upsert(side, room_name=name)
    assert (await resolve(side, name))["room_name"] == name
    assert list(await rooms(side)) == [name]


@pytest.mark.contract("REG-20")
async def test_reg_20_no_cookies_and_no_csrf_header() -> None:
    side = Side()
    headers = {"x-romm-sfu-secret": SECRET}
    for path in ("upsert", "delete"):
        response = await side.request(
            "POST", f"/api/sfu/internal/rooms/{path}", {"room_name": "a"}, headers=headers
        )
        assert (response.status, json_of(response)) == (200, {"ok": True})


async def test_name_limit() -> None:
    response = await Side().internal("POST", "rooms/upsert", {"room_name": "x" * (MAX_ROOM_NAME + 1)})
    assert outcome(response) == (400, "room_name too long")


async def test_a_full_registry_is_503_but_takes_refreshes() -> None:
    side = Side(store=MemoryStore(max_rooms=1))
    await upsert(side, room_name="a")
    response = await side.internal("POST", "rooms/upsert", {"room_name": "b"})
    assert outcome(response) == (503, "store unavailable")
    assert (await upsert(side, room_name="a", current=1))[0] == 200
    with pytest.raises(RommUnavailable):
        await side.service.upsert_room(RoomRecord("b", 0, 0, False, None, None, {}))


def test_the_registry_has_a_limit() -> None:
    assert MAX_ROOMS == 2000


# The port, in process


async def test_port_round_trip(world: World) -> None:
    side = world.side()
    record = RoomRecord("a", 1, 4, True, "n", "u", {"game_id": 7})
    await side.service.upsert_room(record)
    assert await side.service.resolve_room(" a ") == record
    assert (await side.service.list_rooms())["a"]["game_id"] == 7
    await side.service.delete_room("a")
    assert await side.service.resolve_room("a") is None


async def test_port_refuses_bad_names() -> None:
    side = Side()
    assert await side.service.resolve_room(" ") is None
    with pytest.raises(RommUnavailable):
        await side.service.delete_room(" ")
    with pytest.raises(RommUnavailable):
        await side.service.upsert_room(RoomRecord(" ", 0, 0, False, None, None, {}))


async def test_extras_that_json_cannot_say_are_dropped() -> None:
    side = Side()
    endless: list[object] = []
    endless.append(endless)
    for value in ("\ud800", object(), endless):
        record = RoomRecord("a", 0, 0, False, None, None, {"metadata": value, "game_id": 7})
        assert await side.service.put(record) == ["metadata"]
    assert (await resolve(side, "a"))["game_id"] == 7


async def test_a_store_out_of_reach() -> None:
    class NoStore(MemoryStore):
        """As a Redis that is down will be."""

        async def listed_token(self, jti: str) -> Any:
            raise StoreError("down")

        async def rooms(self) -> dict[str, str]:
            raise StoreError("down")

        async def room(self, name: str) -> str | None:
            raise StoreError("down")

        async def delete_room(self, name: str) -> None:
            raise StoreError("down")

    side = Side(store=NoStore())
    token = await side.token()
    for response in (
        await side.verify(token),
        await side.internal("GET", "rooms/list"),
        await side.internal("GET", "rooms/resolve?room=a"),
        await side.internal("POST", "rooms/delete", {"room_name": "a"}),
    ):
        assert outcome(response) == (503, "store unavailable")
    with pytest.raises(RommUnavailable):
        await side.service.verify(token, consume=True)
    with pytest.raises(RommUnavailable):
        await side.service.list_rooms()
    with pytest.raises(RommUnavailable):
        await side.service.resolve_room("a")
    with pytest.raises(RommUnavailable):
        await side.service.delete_room("a")
    assert (await side.verify(await side.token("read"))).status == 200

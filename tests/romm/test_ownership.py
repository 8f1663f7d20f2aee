"""Who may replace and delete whose room (``romm-api.md`` 7.2.9): nodes that ask are protected from each
other, those that do not are served as the reference serves them."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from sfu.romm.client import RommClient
from sfu.romm.port import RommUnavailable, RoomRecord, RoomTaken
from sfu.romm.service import MAX_SWAPS
from sfu.romm.store import MemoryStore
from tests.romm.support import SECRET, Side, json_of
from tests.romm.worlds import World
from tests.support import http_server


def record(node_id: str | None, current: int = 0) -> RoomRecord:
    return RoomRecord("a", current, 4, False, node_id, None, {})


async def upsert(side: Side, node_id: str | None, **fields: object) -> int:
    body = {"room_name": "a", "nodeId": node_id, **fields}
    response = await side.internal("POST", "rooms/upsert", body)
    if response.status == 409:
        assert json_of(response) == {"detail": "room exists"}
    else:
        assert (response.status, json_of(response)) == (200, {"ok": True})
    return response.status


async def owner(side: Side) -> Any:
    response = await side.internal("GET", "rooms/resolve?room=a")
    return json_of(response)["nodeId"] if response.status == 200 else ...


@pytest.mark.parametrize("fields", [{}, {"force": True}, {"if_absent": False}])
@pytest.mark.parametrize("there", ["x", None])
async def test_whoever_does_not_ask_overwrites(
    world: World, fields: dict[str, object], there: str | None
) -> None:
    side = world.side()
    await upsert(side, there)
    assert await upsert(side, "y", **fields) == 200
    assert await owner(side) == "y"


@pytest.mark.parametrize(
    ("there", "mine", "fields", "status"),
    [
        (..., "y", {"if_absent": True}, 200),
        ("y", "y", {"if_absent": True}, 200),
        ("x", "y", {"if_absent": True}, 409),
        (None, "y", {"if_absent": True}, 409),
        (None, None, {"if_absent": True}, 409),
        ("x", None, {"if_absent": True}, 409),
        ("x", "y", {"if_absent": True, "force": True}, 409),
        (..., "y", {"force": False}, 200),
        ("y", "y", {"force": False}, 200),
        ("x", "y", {"force": False}, 409),
        (None, "y", {"force": False}, 200),
        (None, None, {"force": False}, 200),
        ("x", None, {"force": False}, 409),
    ],
)
async def test_whoever_asks(
    world: World, there: Any, mine: str | None, fields: dict[str, object], status: int
) -> None:
    side = world.side()
    if there is not ...:
        await upsert(side, there, current=1)
    assert await upsert(side, mine, current=2, **fields) == status
    assert await owner(side) == (mine if status == 200 else there)


@pytest.mark.parametrize("fields", [{"if_absent": True}, {"force": False}])
async def test_a_refresh_renews_the_life_and_the_end_of_it_frees_the_name(
    world: World, fields: dict[str, object]
) -> None:
    side = world.side()
    await upsert(side, "x", **fields)
    world.elapse(40)
    await upsert(side, "x", **fields)
    assert 40 < world.rooms()["a"] <= 60
    assert await upsert(side, "y", **fields) == 409
    world.elapse(61)
    assert await upsert(side, "y", **fields) == 200


@pytest.mark.parametrize("text", ["not JSON", "[]", '{"nodeId":5}'])
async def test_what_is_no_room_is_nobodys(world: World, text: str) -> None:
    side = world.side()
    world.plant_room("a", text)
    assert (await side.internal("POST", "rooms/delete", {"room_name": "a", "nodeId": "y"})).status == 200
    assert "a" in world.rooms()
    assert await upsert(side, "y", if_absent=True) == 200
    assert await owner(side) == "y"


async def test_a_record_without_a_name_is_a_room(world: World) -> None:
    side = world.side()
    world.plant_room("a", '{"nodeId":"x"}')
    assert await upsert(side, "y", if_absent=True) == 409
    assert await upsert(side, "x", if_absent=True) == 200


@pytest.mark.parametrize(("node_id", "stays"), [("x", False), ("y", True), (None, False)])
async def test_delete_by_a_node(world: World, node_id: str | None, stays: bool) -> None:
    side = world.side()
    await upsert(side, "x")
    body = {"room_name": "a", "nodeId": node_id}
    response = await side.internal("POST", "rooms/delete", body)
    assert (response.status, json_of(response)) == (200, {"ok": True})
    assert ("a" in world.rooms()) == stays


async def test_delete_by_a_node_of_nobodys_room(world: World) -> None:
    side = world.side()
    await upsert(side, None)
    await side.internal("POST", "rooms/delete", {"room_name": "a", "nodeId": "x"})
    assert "a" in world.rooms()


@pytest.mark.contract("D94")
async def test_of_many_nodes_one_gets_the_name(world: World) -> None:
    side = world.side()
    got: list[str] = []

    async def claim(node_id: str) -> None:
        try:
            await side.service.upsert_room(record(node_id), if_absent=True)
        except RoomTaken:
            return
        got.append(node_id)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(claim, str(number))
    assert got == [await owner(side)]


async def test_one_node_writing_many_times_at_once_succeeds_each_time(world: World) -> None:
    side = world.side()
    async with trio.open_nursery() as nursery:
        for number in range(MAX_SWAPS // 2):
            nursery.start_soon(side.service.upsert_room, record("x", number))
    assert await owner(side) == "x"


class _Busy(MemoryStore):
    """Between our look and our write there is always somebody else's write."""

    async def swap_room(self, name: str, old: str | None, text: str | None, ttl: float) -> bool:
        await trio.lowlevel.checkpoint()
        return False


async def test_a_room_that_never_stands_still_is_unavailable() -> None:
    side = Side(store=_Busy())
    with pytest.raises(RommUnavailable):
        await side.service.upsert_room(record("x"))
    with pytest.raises(RommUnavailable):
        await side.service.delete_room("a", node_id="x")
    response = await side.internal("POST", "rooms/upsert", {"room_name": "a", "force": False})
    assert (response.status, json_of(response)) == (503, {"detail": "store unavailable"})
    assert MAX_SWAPS == 16


async def test_over_the_wire() -> None:
    side = Side()
    async with http_server.serve_http(side.answer) as url, RommClient(url, SECRET) as romm:
        await romm.upsert_room(record("x"), if_absent=True)
        await romm.upsert_room(record("x", 1))
        await romm.upsert_room(record("x", 2), if_absent=True)
        with pytest.raises(RoomTaken):
            await romm.upsert_room(record("y"), if_absent=True)
        with pytest.raises(RoomTaken):
            await romm.upsert_room(record("y"))
        await romm.delete_room("a", node_id="y")
        assert await romm.resolve_room("a") == record("x", 2)
        await romm.delete_room("a", node_id="x")
        assert await romm.resolve_room("a") is None
        await romm.upsert_room(record("y"), if_absent=True)
        await romm.delete_room("a")
        assert await romm.resolve_room("a") is None


@pytest.mark.parametrize(
    ("status", "body"),
    [(409, b'{"detail":"conflict"}'), (409, b"<html>"), (400, b'{"detail":"room exists"}')],
)
async def test_only_romms_own_words_mean_taken(status: int, body: bytes) -> None:
    async def answer(_: http_server.Request) -> http_server.Response:
        return http_server.Response(status, (("Content-Type", "application/json"),), body)

    async with http_server.serve_http(answer) as url, RommClient(url, SECRET) as romm:
        with pytest.raises(RommUnavailable):
            await romm.upsert_room(record("x"), if_absent=True)


async def test_an_unmodified_romm_is_sent_fields_that_it_ignores() -> None:
    seen: list[bytes] = []

    async def answer(request: http_server.Request) -> http_server.Response:
        seen.append(request.body)
        return http_server.Response(200, (("Content-Type", "application/json"),), b'{"ok":true}')

    async with http_server.serve_http(answer) as url, RommClient(url, SECRET) as romm:
        await romm.upsert_room(record("x"), if_absent=True)
        await romm.upsert_room(record("x"))
        await romm.delete_room("a", node_id="x")
        await romm.delete_room("a")
    standard = b'{"room_name":"a","current":0,"max":4,"hasPassword":false,"nodeId":"x","url":null'
    assert seen == [
        standard + b',"if_absent":true}',
        standard + b',"force":false}',
        b'{"room_name":"a","nodeId":"x"}',
        b'{"room_name":"a"}',
    ]

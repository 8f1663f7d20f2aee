"""Several nodes with one RomM: who has a name, where joiners are sent, and what outages leave behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sfu.romm.port import RommUnavailable, RoomRecord
from sfu.rooms import RoomLimits
from sfu.signaling.registry import CLEAN_UP_TIMEOUT
from tests.support.app_world import AppWorld, MemorySocket, body_of, open_world
from tests.support.memory_romm import MemoryRomm

OPEN_R = ("open-room", {"extra": {"room_name": "R"}})
JOIN_R = ("join-room", {"extra": {"room_name": "R"}})


def record(node_id: str | None, url: str | None, name: str = "R") -> RoomRecord:
    return RoomRecord(name, 1, 4, False, node_id, url, {})


@pytest.mark.contract("M18")
async def test_who_joins_a_room_of_another_node_is_sent_there(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    world.romm.rooms["R"] = record("node-2", "http://there")
    bob = await world.connect("bob")
    assert await bob.call(*JOIN_R) == [
        None,
        {"redirect": "http://there", "room_name": "R", "nodeId": "node-2"},
    ]
    assert bob.take() == [
        ("room-redirect", {"room_name": "R", "url": "http://there", "nodeId": "node-2"}),
        ("ack", None, {"redirect": "http://there", "room_name": "R", "nodeId": "node-2"}),
    ]
    assert world.rooms.room_of(bob.id) is None


@pytest.mark.contract("D88")
async def test_where_that_is_not_wanted_there_is_no_such_room(autojump_clock: MockClock) -> None:
    async with open_world(room_redirect=False) as world:
        world.romm.rooms["R"] = record("node-2", "http://there")
        bob = await world.connect("bob")
        assert await bob.call(*JOIN_R) == ["no such room"]
        assert bob.events() == ["ack"]


@pytest.mark.parametrize("there", [record("node-2", None), record("node-2", ""), record(None, None)])
async def test_nobody_is_sent_nowhere(autojump_clock: MockClock, world: AppWorld, there: RoomRecord) -> None:
    world.romm.rooms["R"] = there
    bob = await world.connect("bob")
    assert await bob.call(*JOIN_R) == ["no such room"]
    assert world.romm.rooms["R"] == there


@pytest.mark.contract("D90")
@pytest.mark.parametrize(
    "stale",
    [record("node-1", "http://here"), record("before", "http://here"), record("node-1", "http://old")],
)
async def test_records_that_this_node_left_behind_go(
    autojump_clock: MockClock, world: AppWorld, stale: RoomRecord
) -> None:
    world.romm.rooms["R"] = stale
    bob = await world.connect("bob")
    assert await bob.call(*JOIN_R) == ["no such room"]
    assert world.romm.rooms == {}
    world.romm.rooms["R"] = stale
    await bob.ask(*OPEN_R)
    assert world.romm.rooms["R"].node_id == "node-1"
    assert world.romm.rooms["R"].url == "http://here"


@pytest.mark.contract("D90")
async def test_a_node_that_starts_deletes_what_it_has_left_behind(autojump_clock: MockClock) -> None:
    romm = MemoryRomm()
    theirs = record("node-2", "http://there", "theirs")
    romm.rooms = {
        "theirs": theirs,
        "before": record("before", "http://here", "before"),
        "moved": record("node-1", "http://old", "moved"),
    }
    async with open_world(romm=romm):
        assert romm.rooms == {"theirs": theirs}


@pytest.mark.parametrize("down", [True, False], ids=["refuses", "is silent"])
async def test_a_node_starts_without_romm(autojump_clock: MockClock, down: bool) -> None:
    romm = MemoryRomm()
    romm.rooms["R"] = record("before", "http://here")
    romm.down, romm.held = down, None if down else trio.Event()
    began = trio.current_time()
    async with open_world(romm=romm) as world:
        assert trio.current_time() - began == (0 if down else CLEAN_UP_TIMEOUT)
        romm.down, romm.held = False, None
        assert await (await world.connect("bob")).call(*JOIN_R) == ["no such room"]
        assert romm.rooms == {}


@pytest.mark.contract("D89")
async def test_a_url_that_all_nodes_share_tells_nothing(autojump_clock: MockClock) -> None:
    async with open_world(public_url="http://localhost:3001") as world:
        world.romm.rooms["R"] = theirs = record("node-2", "http://localhost:3001")
        bob = await world.connect("bob")
        assert await bob.call(*JOIN_R) == ["no such room"], "a redirect would lead back here"
        assert await bob.call(*OPEN_R) == ["room exists"]
        assert world.romm.rooms == {"R": theirs}


@pytest.mark.contract("D92")
async def test_while_romm_is_down_rooms_open_and_unknown_ones_are_unknown(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    ann, bob = await world.connect("ann"), await world.connect("bob")
    world.romm.down = True
    assert await bob.call(*JOIN_R) == ["no such room"]
    assert await ann.call(*OPEN_R) == [None]
    await bob.ask(*JOIN_R)
    world.romm.down = False
    await trio.sleep(26)
    assert world.romm.rooms["R"].current == 2


# Two nodes at once


@pytest.mark.contract("D94")
async def test_one_of_two_nodes_gets_a_name(autojump_clock: MockClock, world: AppWorld) -> None:
    async with open_world(romm=world.romm, public_url="http://there", node_id="node-2") as other:
        ann, bob = await world.connect("ann"), await other.connect("bob")
        world.romm.held = trio.Event()
        answers: list[Any] = []

        async def open_it(socket: MemorySocket) -> None:
            answers.append(await socket.call(*OPEN_R))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_it, ann)
            nursery.start_soon(open_it, bob)
            await wait_all_tasks_blocked()
            world.romm.held.set()
        assert sorted(answers, key=str) == [["room exists"], [None]]
        assert len(world.rooms) + len(other.rooms) == 1
        winner = "node-1" if len(world.rooms) else "node-2"
        assert world.romm.rooms["R"].node_id == winner
        await trio.sleep(60)
        assert world.romm.rooms["R"].node_id == winner


@pytest.mark.contract("D94")
async def test_a_romm_that_knows_no_ownership_is_asked_first(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    world.romm.rooms["R"] = theirs = record("node-2", "http://there")
    ann = await world.connect("ann")
    assert await ann.call(*OPEN_R) == ["room exists"]
    assert [call[0] for call in world.romm.calls] == ["verify", "resolve"]
    assert world.romm.rooms["R"] is theirs


async def test_a_name_without_a_node_is_nobodys_to_take(autojump_clock: MockClock, world: AppWorld) -> None:
    world.romm.rooms["R"] = nobodys = record(None, None)
    ann = await world.connect("ann")
    assert await ann.call(*OPEN_R) == ["room exists"]
    await world.settle()
    assert world.romm.rooms["R"] is nobodys


@pytest.mark.contract("D91")
async def test_a_room_that_another_node_has_taken_meanwhile_stays_and_so_does_theirs(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    await world.host("ann")
    bob = await world.host("bob", "Q")
    await world.settle()
    world.romm.rooms["R"] = theirs = record("node-2", "http://there")
    del world.romm.rooms["Q"]
    await trio.sleep(26)
    assert world.romm.rooms["R"] is theirs, "as it was"
    assert world.romm.rooms["Q"].current == 1, "one failure is not the other's"
    assert {room.name for room in world.rooms} == {"R", "Q"}
    await bob.ask("leave-room")
    await (await world.connect("cat")).ask(*JOIN_R)


@pytest.mark.contract("D91")
async def test_one_failed_refresh_is_not_anothers(
    autojump_clock: MockClock, world: AppWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A", "B", "C"):
        await world.host(f"host of {name}", name)
    await world.settle()
    world.romm.rooms.clear()
    upsert = world.romm.upsert_room

    async def fail_for_a(room: RoomRecord, *, if_absent: bool = False) -> None:
        if room.room_name == "A":
            raise RommUnavailable("for once")
        await upsert(room, if_absent=if_absent)

    monkeypatch.setattr(world.romm, "upsert_room", fail_for_a)
    await trio.sleep(26)
    assert set(world.romm.rooms) == {"B", "C"}
    monkeypatch.undo()
    await trio.sleep(26)
    assert set(world.romm.rooms) == {"A", "B", "C"}


# Rooms that do not come to be


async def claims_meanwhile(
    world: AppWorld, event: tuple[str, Any], meanwhile: Callable[[MemorySocket], Awaitable[None]]
) -> list[Any]:
    """What alice's event is answered if something happens while RomM thinks about it."""
    alice = await world.connect("alice")
    world.romm.held = held = trio.Event()
    answers: list[Any] = []

    async def ask() -> None:
        answers.append(await alice.call(*event))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        world.romm.held = None
        await meanwhile(alice)
        held.set()
    return answers


@pytest.mark.contract("D53")
@pytest.mark.parametrize("event", [OPEN_R, JOIN_R])
async def test_nothing_is_made_for_a_socket_that_has_gone(
    autojump_clock: MockClock, world: AppWorld, event: tuple[str, Any]
) -> None:
    async def leave(socket: MemorySocket) -> None:
        await socket.leave()

    assert await claims_meanwhile(world, event, leave) in ([None], [["no such room"]])
    await world.settle()
    assert len(world.rooms) == 0
    assert world.romm.rooms == {}
    bob = await world.connect("bob")
    await bob.ask(*OPEN_R)
    assert world.rooms.room_of(bob.id) is not None


@pytest.mark.contract("D53")
async def test_a_claim_of_which_no_room_comes_is_given_back(autojump_clock: MockClock) -> None:
    async with open_world(room_limits=RoomLimits(rooms=1)) as world:

        async def fill(_: MemorySocket) -> None:
            await world.host("bob", "Q")

        assert await claims_meanwhile(world, OPEN_R, fill) == [["too many rooms"]]
        await world.settle()
        assert set(world.romm.rooms) == {"Q"}


async def test_a_room_opened_meanwhile_is_joined(autojump_clock: MockClock, world: AppWorld) -> None:
    async def open_it(_: MemorySocket) -> None:
        await world.host("bob")

    [[error, value]] = await claims_meanwhile(world, JOIN_R, open_it)
    assert error is None
    assert len(value["users"]) == 2
    await world.settle()
    assert world.romm.rooms["R"].current == 2


async def test_a_stale_record_is_not_taken_from_under_a_claim(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    world.romm.rooms["R"] = record("before", "http://here")
    alice, bob = await world.connect("alice"), await world.connect("bob")
    world.romm.held = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bob.call, *JOIN_R)
        nursery.start_soon(alice.call, *OPEN_R)
        await wait_all_tasks_blocked()
        world.romm.held.set()
    assert world.rooms.room_of(alice.id) is not None
    assert world.romm.rooms["R"].node_id == "node-1"


async def test_calls_about_one_name_take_turns(autojump_clock: MockClock, world: AppWorld) -> None:
    ann = await world.host("ann")
    await world.settle()
    world.romm.held = trio.Event()
    await ann.ask("leave-room")
    await wait_all_tasks_blocked()
    world.romm.calls.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ann.ask, *OPEN_R)
        await wait_all_tasks_blocked()
        assert world.romm.calls == [], "the deletion is still under way"
        world.romm.held.set()
    assert world.romm.rooms["R"].node_id == "node-1"
    assert world.app._core.registry._turns == {}
    assert world.app._core.registry._claims == {}


async def test_ones_own_room_is_not_asked_about(autojump_clock: MockClock, world: AppWorld) -> None:
    ann = await world.host("ann")
    await world.settle()
    world.romm.held = trio.Event()
    await ann.ask("update-player-slot", {"roomName": "R", "playerSlot": 8})
    await wait_all_tasks_blocked()
    assert world.romm.running == 1
    await ann.ask(*OPEN_R)
    await ann.ask(*JOIN_R)
    assert world.romm.running == 1


@pytest.mark.contract("D91")
async def test_changes_are_pushed_but_not_each_for_itself(autojump_clock: MockClock, world: AppWorld) -> None:
    ann = await world.host("ann")
    await world.settle()
    world.romm.calls.clear()
    for slot in (8, 1, 8, 2, 8, 3, 8):
        await ann.ask("update-player-slot", {"roomName": "R", "playerSlot": slot})
    await world.settle()
    assert world.romm.rooms["R"].current == 0
    assert [call[0] for call in world.romm.calls] == ["upsert"]
    world.romm.calls.clear()
    for slot in (1, 2, 3):
        await ann.ask("update-player-slot", {"roomName": "R", "playerSlot": slot})
    await world.settle()
    assert world.romm.rooms["R"].current == 1
    assert len(world.romm.calls) == 1, "which seat it is does not concern RomM"


# GET /resolve


async def test_resolving(autojump_clock: MockClock, world: AppWorld) -> None:
    bearer = {"authorization": "Bearer t:bob"}
    world.romm.rooms["T"] = record("node-2", "http://there", "T")
    there = {"room_name": "T", "url": "http://there", "nodeId": "node-2"}
    await world.host("ann")
    for query, answer in (
        ([("room", "R")], (200, {"room_name": "R", "url": "http://here", "nodeId": "node-1"})),
        ([("room_name", " R ")], (200, {"room_name": "R", "url": "http://here", "nodeId": "node-1"})),
        ([("room", ""), ("room_name", "T")], (200, there)),
        ([("room", "X")], (404, {"error": "not found"})),
        ([], (400, {"error": "missing room query parameter"})),
        ([("room", "R"), ("room", "T")], (400, {"error": "missing room query parameter"})),
    ):
        assert body_of(await world.get("/resolve", query, bearer)) == answer
    assert body_of(await world.get("/resolve", [("room", "R")]))[0] == 401
    assert {call[2] for call in world.romm.calls if call[0] == "verify" and call[1] == "t:bob"} == {False}


@pytest.mark.contract("D90")
@pytest.mark.parametrize("stale", [record("node-1", "http://old"), record("before", "http://here")])
async def test_nobody_is_told_of_records_that_this_node_left_behind(
    autojump_clock: MockClock, world: AppWorld, stale: RoomRecord
) -> None:
    bearer = {"authorization": "Bearer t:bob"}
    world.romm.rooms["R"] = stale
    assert body_of(await world.get("/list", [], bearer)) == (200, {})
    query = [("room", "R")]
    assert body_of(await world.get("/resolve", query, bearer)) == (404, {"error": "not found"})
    assert world.romm.rooms == {}


async def test_resolving_what_is_opened_meanwhile(
    autojump_clock: MockClock, world: AppWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer_late(_: str) -> None:
        monkeypatch.undo()
        await world.host("ann")

    monkeypatch.setattr(world.romm, "resolve_room", answer_late)
    answer = await world.get("/resolve", [("room", "R")], {"authorization": "Bearer t:bob"})
    assert body_of(answer) == (200, {"room_name": "R", "url": "http://here", "nodeId": "node-1"})


@pytest.mark.contract("D7")
async def test_resolving_while_romm_is_down(
    autojump_clock: MockClock, world: AppWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: str) -> None:
        raise RommUnavailable("down")

    monkeypatch.setattr(world.romm, "resolve_room", fail)
    answer = await world.get("/resolve", [("room", "X")], {"authorization": "Bearer t:bob"})
    assert body_of(answer) == (503, {"error": "auth unavailable"})

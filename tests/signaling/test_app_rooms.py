"""Room events on the wire: acks, order, and what others hear. ``take()`` is what one client got, in order."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sfu.signaling import core
from tests.support.app_world import AppWorld, open_world

NOTHING_KNOWN = {
    "rom_hash": None, "core_type": None, "system": None, "platform": None, "coreId": None,
    "coreVersion": None,
    "romHash": None, "systemType": None, "rom_name": None,
}  # fmt: skip


@pytest.mark.contract("D22", "M5", "M20")
async def test_opening_a_room(autojump_clock: MockClock, world: AppWorld) -> None:
    alice = await world.connect("alice")
    payload = {
        "extra": {
            "room_name": "R1",
            "player_name": "X",
            "player_slot": 2,
            "userid": "zzz",
            "netplay_mode": 0,
            "custom": 1,
        },
        "maxPlayers": 3,
        "password": None,
    }
    assert await alice.call("open-room", payload) == [None]
    row = {
        "room_name": "R1",
        "player_slot": 0,
        "userid": "2bd806c9-7f0e-00af-1a1f-c3328fa763a92697",
        "netplay_mode": 0,
        "custom": 1,
        "socketId": alice.id,
        "socket_id": alice.id,
        "netplay_username": "alice",
        "player_name": "alice",
        "is_host": True,
    }
    entry = {
        "id": "R1", "name": "R1", "current": 1, "max": 3, "hasPassword": False, "netplay_mode": "live_stream",
    } | NOTHING_KNOWN  # fmt: skip
    assert alice.take() == [
        ("users-updated", {"2bd806c9-7f0e-00af-1a1f-c3328fa763a92697": row}),
        ("rooms-updated", [entry]),
        ("ack", None),
    ]


@pytest.mark.contract("D24", "M3", "M5", "M27")
async def test_joining_a_room(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, stranger = await world.host("alice"), await world.connect("stranger")
    await world.settle()
    bob = await world.connect("bob")
    alice.take()
    stranger.take()
    answer = await bob.call("join-room", {"extra": {"room_name": "R", "player_slot": 0}, "password": ""})
    assert answer is not None
    users = answer[1].pop("users")
    assert answer == [
        None,
        {
            "netplay_mode": "live_stream", "room_phase": "running", "game_id": None, "sync_config": None,
            "room_name": "R", "max": 4, "hasPassword": False,
        },
    ]  # fmt: skip
    assert list(users) == [alice.userid, bob.userid]
    [first, ack, second, slot, listed] = bob.take()
    assert (first, second) == (("users-updated", users), ("users-updated", users))
    assert (ack[0], listed[0]) == ("ack", "rooms-updated")
    assert slot == ("player-slot-updated", {"playerId": bob.userid, "playerSlot": 1})
    [joined, updated, listed] = alice.take()
    assert joined[0] == "room-player-joined"
    assert (joined[1]["player_slot"], "player_name" in joined[1]) == (1, False)
    assert updated == ("users-updated", users)
    assert listed == ("rooms-updated", [{**listed[1][0], "current": 2}])
    assert stranger.take() == [listed]


async def test_a_host_opens_then_joins_on_one_socket(autojump_clock: MockClock, world: AppWorld) -> None:
    alice = await world.host("alice")
    value = await alice.ask("join-room", {"extra": {"room_name": "R", "player_slot": 2}})
    assert value["users"][alice.userid]["is_host"] is True
    assert value["users"][alice.userid]["player_slot"] == 2


@pytest.mark.contract("D1", "D26")
@pytest.mark.parametrize("event", ["open-room", "join-room"])
@pytest.mark.parametrize(
    "args",
    [
        [],
        [None],
        [{}],
        [5],
        [[]],
        [{"extra": None}],
        [{"extra": {}}],
        [{"extra": {"room_name": ""}}],
        [{"extra": {"room_name": 5}}],
        [{"extra": {"room_name": "x" * 65}}],
        [{"extra": {"room_name": "R"}}, "surplus"],
    ],
)
async def test_bad_payloads_are_invalid(
    autojump_clock: MockClock, world: AppWorld, event: str, args: list[Any]
) -> None:
    alice = await world.connect("alice")
    assert await alice.call(event, *args) == ["invalid"]
    assert alice.events() == ["ack"]


@pytest.mark.contract("D95")
@pytest.mark.parametrize("payload", [{"maxPlayers": 9}, {"maxPlayers": "x"}, {"password": 5}])
async def test_bad_room_settings_are_invalid(
    autojump_clock: MockClock, world: AppWorld, payload: dict[str, Any]
) -> None:
    alice = await world.connect("alice")
    assert await alice.call("open-room", {"extra": {"room_name": "R"}, **payload}) == ["invalid"]
    assert len(world.rooms) == 0


@pytest.mark.contract("D32", "M12")
async def test_refusals_of_joining(autojump_clock: MockClock, world: AppWorld) -> None:
    await world.host("alice", "open", maxPlayers="1")
    await world.host("carol", "locked", password="pw")
    bob = await world.connect("bob")
    assert await bob.call("join-room", {"extra": {"room_name": "nowhere"}}) == ["no such room"]
    assert await bob.call("join-room", {"extra": {"room_name": "locked"}}) == ["bad password"]
    assert await bob.call("join-room", {"extra": {"room_name": "open"}}) == ["room full"]
    assert await bob.call("open-room", {"extra": {"room_name": "open"}}) == ["room exists"]
    watching = {"extra": {"room_name": "open", "player_slot": 8}}
    assert (await bob.ask("join-room", watching))["users"][bob.userid]["player_slot"] == 8


@pytest.mark.contract("D55", "M4")
async def test_delay_sync_refusals_are_objects(autojump_clock: MockClock, world: AppWorld) -> None:
    alice = await world.connect("alice")
    extra = {"room_name": "R", "netplay_mode": 1, "rom_hash": "h", "core_type": "c"}
    await alice.ask("open-room", {"extra": extra})
    bob = await world.connect("bob")
    for fields, error in (
        ({}, "delay_sync_requirements_not_met"),
        ({"rom_hash": "x"}, "incompatible_game"),
        ({"rom_hash": "h"}, "delay_sync_requirements_not_met"),
    ):
        answer = await bob.call("join-room", {"extra": {"room_name": "R", **fields}})
        assert answer is not None
        assert (len(answer), answer[0]["error"]) == (1, error)
    value = await bob.ask("join-room", {"extra": {"room_name": "R", "rom_hash": "h", "core_type": "c"}})
    assert (value["netplay_mode"], value["room_phase"]) == ("delay_sync", "lobby")
    assert value["lobby_state"] == {
        "phase": "waiting",
        "player_ready": {alice.userid: False, bob.userid: False},
    }


@pytest.mark.contract("M10")
@pytest.mark.parametrize(
    "args", [[], [None], [{}], [{"roomName": None}], [{"roomName": " R ", "reason": "x"}]]
)
async def test_leaving_with_or_without_a_name(
    autojump_clock: MockClock, world: AppWorld, args: list[Any]
) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    await world.settle()
    alice.take()
    bob.take()
    assert await bob.call("leave-room", *args) == [None]
    assert bob.events() == ["ack", "rooms-updated"]
    [left, updated, _] = alice.take()
    assert left == ("room-player-left", {"userid": bob.userid})
    assert list(updated[1]) == [alice.userid]


@pytest.mark.contract("D42")
async def test_leaving_elsewhere_is_refused(autojump_clock: MockClock, world: AppWorld) -> None:
    alice = await world.host("alice", "A")
    bob = await world.host("bob", "B")
    await world.settle()
    alice.take()
    assert await bob.call("leave-room", {"roomName": "A"}) == ["not a member"]
    assert await bob.call("leave-room", {"roomName": "nowhere"}) == ["no such room"]
    assert await bob.call("leave-room", {"roomName": 5}) == ["invalid"]
    assert await (await world.connect("eve")).call("leave-room") == ["not a member"]
    await world.settle()
    assert alice.take() == []


async def test_leaving_after_a_reconnect_without_joining_again(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    await bob.leave()
    back = await world.connect("bob")
    await world.settle()
    alice.take()
    assert await back.call("leave-room", {"roomName": "R", "reason": None}) == [None]
    assert alice.events() == ["users-updated", "room-player-left", "rooms-updated"]
    assert list(world.rooms.state_for(alice.id, "R")["users"]) == [alice.userid]


@pytest.mark.contract("D18")
async def test_the_owner_leaves(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    await world.settle()
    bob.take()
    await alice.ask("leave-room")
    updated = next(args for name, *args in bob.take() if name == "users-updated")
    assert updated[0][bob.userid]["is_host"] is True


@pytest.mark.contract("D37", "D38", "M27")
async def test_slots(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    await world.settle()
    alice.take()
    bob.take()
    assert await bob.call("update-player-slot", {"roomName": "R", "playerSlot": 3}) == [None]
    change = ("player-slot-updated", {"playerId": bob.userid, "playerSlot": 3})
    echo = ("player-slot-updated", {"playerId": alice.userid, "playerSlot": 0})
    assert alice.take()[:2] == [change, echo]
    received = bob.take()
    assert received[0] == change
    assert [name for name, *_ in received] == ["player-slot-updated", "users-updated", "ack", "rooms-updated"]
    for slot, error in (
        (0, "slot taken"),
        (4, "invalid slot"),
        (None, "invalid slot"),
        ("1", "invalid slot"),
    ):
        assert await bob.call("update-player-slot", {"roomName": "R", "playerSlot": slot}) == [error]
    assert await bob.call("update-player-slot", {"roomName": "nowhere", "playerSlot": 1}) == ["no such room"]
    eve = await world.connect("eve")
    assert await eve.call("update-player-slot", {"roomName": "R", "playerSlot": 1}) == ["not in room"]
    assert await eve.call("update-player-slot", {"playerSlot": 1}) == ["invalid"]
    assert await bob.call("update-player-slot", {"roomName": "R", "playerSlot": 8}) == [None]


@pytest.mark.contract("D4", "M7", "M24")
async def test_the_room_list_is_told_to_who_asks(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.connect("bob")
    await world.settle()
    alice.take()
    assert await bob.call("request-room-list", {}) == [None]
    [listed, ack] = bob.take()
    assert (listed[0], ack) == ("rooms-updated", ("ack", None))
    assert [entry["name"] for entry in listed[1]] == ["R"]
    assert await bob.ask("get-open-rooms", {}) == listed[1]
    assert alice.take() == []


@pytest.mark.contract("D2")
@pytest.mark.parametrize(
    "event", ["request-room-list", "get-open-rooms", "sfu-available", "sfu-get-producers"]
)
async def test_surplus_arguments_where_the_payload_is_ignored(
    autojump_clock: MockClock, world: AppWorld, event: str
) -> None:
    alice = await world.host("alice")
    assert await alice.call(event, {}, 1) == ["invalid"]
    assert await alice.call(event, 5) != ["invalid"]


@pytest.mark.parametrize("event", ["no-such-event", "webrtc-signal-error"])
async def test_an_unknown_event_gets_no_ack(autojump_clock: MockClock, world: AppWorld, event: str) -> None:
    alice = await world.connect("alice")
    assert await alice.call(event, {}) is None


# Connections that come and go


@pytest.mark.contract("D46", "D47")
async def test_a_lost_connection_and_its_return(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob", player_slot=2)
    await world.settle()
    alice.take()
    await bob.leave()
    [updated, listed] = alice.take()
    assert updated[1][bob.userid]["reconnecting"] is True
    assert listed[1][0]["current"] == 2
    await trio.sleep(30)
    bob2 = await world.guest("bob")
    updated = next(message for message in alice.take() if message[0] == "users-updated")
    row = updated[1][bob.userid]
    assert (row["player_slot"], row["socketId"], "reconnecting" in row) == (2, bob2.id, False)
    await trio.sleep(100)
    assert list(world.rooms.listing()[0].values())[2] == 2


@pytest.mark.contract("D19", "D46")
async def test_a_connection_that_stays_away(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    await world.settle()
    await alice.leave()
    await trio.sleep(59)
    bob.take()
    await trio.sleep(2)
    [updated, left, listed] = bob.take()
    assert updated[0] == "users-updated"
    assert list(updated[1]) == [bob.userid]
    assert updated[1][bob.userid]["is_host"] is True
    assert left == ("room-player-left", {"userid": alice.userid})
    assert listed[1][0]["current"] == 1


@pytest.mark.contract("D60")
async def test_a_second_tab_is_refused_while_the_first_shows_life(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    tab = await world.host("alice")
    second = await world.connect("alice")
    for _ in range(3):
        await trio.sleep(25)
        assert await second.call("join-room", {"extra": {"room_name": "R"}}) == ["userid in use"]
        assert await second.call("open-room", {"extra": {"room_name": "R"}}) == ["room exists"]
    tab.silent = True  # out of reach, although it was heard of a moment ago
    before = trio.current_time()
    await second.ask("join-room", {"extra": {"room_name": "R"}})
    assert trio.current_time() - before == core.PROBE_TIMEOUT
    assert ("room-closed", {"room_name": "R", "reason": "taken over"}) in tab.take()
    assert not tab.connected
    await world.settle()
    assert world.rooms.room_of(second.id) is not None


@pytest.mark.contract("D60")
async def test_a_tab_that_was_silent_for_longer_than_the_window_is_not_asked(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    tab = await world.host("alice")
    tab.silent = True
    second = await world.connect("alice")
    await trio.sleep(world.app._core.settings.takeover_grace + 1)
    before = trio.current_time()
    await second.ask("open-room", {"extra": {"room_name": "R"}})
    assert trio.current_time() == before


@pytest.mark.contract("D53")
@pytest.mark.parametrize("event", ["join-room", "open-room"])
async def test_whoever_left_while_a_rival_was_asked_pushes_nobody_out(
    autojump_clock: MockClock, world: AppWorld, event: str
) -> None:
    tab = await world.host("alice")
    tab.silent = True
    second = await world.connect("alice")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(second.call, event, {"extra": {"room_name": "R"}})
        await trio.sleep(1)
        await second.leave()
    assert tab.connected
    assert world.rooms.room_of(tab.id) is not None


@pytest.mark.contract("D60")
async def test_whoever_left_while_a_rival_was_asked_gets_nothing(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    tab = await world.host("alice")
    tab.silent = True
    second, third = await world.connect("alice"), await world.connect("alice")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(second.call, "join-room", {"extra": {"room_name": "R"}})
        await trio.sleep(0.5)
        nursery.start_soon(third.call, "join-room", {"extra": {"room_name": "R"}})
        await trio.sleep(0.5)
        await second.leave()
    assert world.rooms.room_of(second.id) is None
    assert world.rooms.room_of(third.id) is not None


async def test_a_dead_connection_that_nobody_has_noticed_is_no_rival(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    alice = await world.host("alice")
    alice.connected = False  # the transport knows; its goodbye is still to come
    second = await world.connect("alice")
    await second.ask("join-room", {"extra": {"room_name": "R"}})
    await world.app.disconnect(alice, "ping timeout")
    assert world.rooms.room_of(second.id) is not None


async def test_words_of_a_socket_that_is_gone(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    eve = await world.connect("eve")
    await world.settle()
    eve.connected = bob.connected = False
    assert await eve.call("join-room", {"extra": {"room_name": "R"}}) is None
    assert await eve.call("open-room", {"extra": {"room_name": "Q"}}) is None
    await bob.call("data-message", "bye")
    await bob.call("chat-message", {"message": "bye"})
    await bob.call("leave-room")
    await world.settle()
    [message, chat] = [args[0] for name, *args in alice.take() if name in ("data-message", "chat-message")]
    assert (message, chat["message"]) == ("bye", "bye")
    assert [room.name for room in world.rooms] == ["R"]
    assert list(world.rooms.listing()[0].values())[2] == 1


# Other nodes


async def test_a_name_on_another_node_is_taken(autojump_clock: MockClock, world: AppWorld) -> None:
    async with open_world(romm=world.romm, public_url="http://there", node_id="node-2") as other:
        await other.host("alice")
        await other.settle()
        bob = await world.connect("bob")
        assert await bob.call("open-room", {"extra": {"room_name": "R"}}) == ["room exists"]
        await bob.ask("join-room", {"extra": {"room_name": "R"}})
        assert world.rooms.room_of(bob.id) is None


@pytest.mark.contract("D92")
async def test_without_romm_rooms_open_all_the_same(autojump_clock: MockClock, world: AppWorld) -> None:
    alice = await world.connect("alice")
    world.romm.down = True
    assert await alice.call("open-room", {"extra": {"room_name": "R"}}) == [None]


async def test_two_open_one_name_at_once(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await world.connect("alice"), await world.connect("bob")
    answers: list[Any] = []

    async def open_it(socket: Any) -> None:
        answers.append(await socket.call("open-room", {"extra": {"room_name": "R"}}))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_it, alice)
        nursery.start_soon(open_it, bob)
    assert sorted(answers, key=str) == [["room exists"], [None]]


@pytest.mark.contract("D53")
async def test_who_vanishes_while_opening_leaves_no_room(autojump_clock: MockClock, world: AppWorld) -> None:
    alice = await world.connect("alice")
    world.romm.held = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alice.call, "open-room", {"extra": {"room_name": "R"}})
        await trio.testing.wait_all_tasks_blocked()
        await alice.leave()
        world.romm.held.set()
    assert len(world.rooms) == 0


async def test_a_large_room_shows_players_and_oneself(autojump_clock: MockClock, world: AppWorld) -> None:
    alice = await world.host("alice")
    fans = [await world.guest(f"fan{n}", player_slot=8) for n in range(33)]
    await world.settle()
    for fan in fans:
        fan.take()
    bob = await world.guest("bob")
    await world.settle()
    for fan in fans:
        [users] = [args[0] for name, *args in fan.take() if name == "users-updated"]
        assert list(users) == [alice.userid, bob.userid, fan.userid]
        assert users[fan.userid]["player_slot"] == 8


@pytest.mark.contract("D4")
async def test_a_costly_list_goes_out_less_often(
    autojump_clock: MockClock, world: AppWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "LISTING_BUDGET", 100)
    alice = await world.host("alice")
    await world.host("bob", "B")
    alice.take()
    await trio.sleep(1)
    assert alice.take() == []
    await trio.sleep(10)
    assert alice.events() == ["rooms-updated"]


@pytest.mark.contract("D4")
async def test_costly_user_maps_go_out_less_often(
    autojump_clock: MockClock, world: AppWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "USERS_BUDGET", 100)
    alice = await world.host("alice")
    fan, *_ = [await world.guest(f"fan{n}", player_slot=8) for n in range(33)]
    for n in range(2):
        await trio.sleep(1)
        await alice.ask("update-player-metadata", {"roomName": "R", "metadata": {"n": n}})
    fan.take()
    await trio.sleep(8)
    assert "users-updated" not in fan.events()
    await trio.sleep(2)
    assert fan.take()[-1][1][alice.userid]["metadata"] == {"n": 1}


@pytest.mark.contract("D52")
async def test_goodbye_is_said_to_every_room(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, stranger = await world.host("alice"), await world.connect("stranger")
    await world.settle()
    alice.take()
    stranger.take()
    world.app.say_goodbye("server shutting down")
    assert alice.take() == [("room-closed", {"room_name": "R", "reason": "server shutting down"})]
    assert stranger.take() == []

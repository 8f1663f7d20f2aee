"""Coming and going, flow by flow. ``heard`` is what one socket gets, in order."""

from __future__ import annotations

from typing import Any

import pytest

from sfu.rooms import (
    Broadcast,
    CloseMedia,
    CloseRoom,
    DropSocket,
    RegistryChanged,
    RoomLimits,
    UsersUpdated,
    membership,
)
from tests.support.rooms import World, closed_media, error, events, heard, users, value


@pytest.fixture
def world() -> World:
    return World()


# Opening


@pytest.mark.contract("D20", "M5")
def test_opening_a_room_seats_the_host_in_slot_0(world: World) -> None:
    effects = world.open("ann", max_players=3, player_slot=2, custom=1, is_host=False, userid="zzz")
    row = {
        "room_name": "R",
        "player_slot": 0,
        "custom": 1,
        "userid": "id:ann",
        "socketId": "ann",
        "socket_id": "ann",
        "netplay_username": "ann",
        "player_name": "ann",
        "is_host": True,
    }
    assert heard(effects, "ann") == [
        ("users-updated", {"id:ann": row}),
        ("rooms-updated", None),
        ("ack", None),
    ]
    assert value(effects) is None
    assert RegistryChanged("R") in effects
    assert world.rooms.listing() == [
        {
            "id": "R", "name": "R", "current": 1, "max": 3, "hasPassword": False,
            "netplay_mode": "live_stream", "rom_hash": None, "core_type": None, "system": None,
            "platform": None, "coreId": None,
            "coreVersion": None, "romHash": None, "systemType": None, "rom_name": None,
        }
    ]  # fmt: skip


def test_a_taken_name_is_refused(world: World) -> None:
    world.open("ann")
    assert error(world.open("bob")) == "room exists"
    world.join("bob")
    assert error(world.open("ann")) == "room exists"
    assert error(world.open("bob")) == "room exists"


@pytest.mark.contract("D45")
def test_a_lone_host_may_open_its_room_afresh(world: World) -> None:
    world.open("ann", max_players=2, password="pw")
    room = world.room()
    assert value(world.open("ann", max_players=5, netplay_mode=1)) is None
    assert world.room() is room
    assert (room.settings.max_players, room.settings.password) == (5, "")
    assert room.members["id:ann"].ready is False


@pytest.mark.contract("D45")
def test_a_lone_host_takes_its_room_back_after_a_reload(world: World) -> None:
    world.open("ann")
    world.lose("ann")
    world.sleep(30)
    effects = world.open("ann-2", password="new")
    assert value(effects) is None
    assert users(effects, "ann-2")["id:ann"]["socketId"] == "ann-2"
    assert world.room().settings.password == "new"
    assert world.sleep(100) == [CloseMedia("ann", ())]
    assert len(world.rooms) == 1


@pytest.mark.contract("D60")
def test_a_lone_host_is_not_pushed_out_by_another_tab(world: World) -> None:
    world.open("ann")
    assert error(world.open("ann-2")) == "room exists"
    world.last_seen["ann"] = world.now - 31
    assert DropSocket("ann") in world.open("ann-2")


@pytest.mark.contract("D17")
def test_an_owner_who_lost_its_socket_reconnects_by_opening_again(world: World) -> None:
    world.open("ann", max_players=2, password="pw")
    world.join("bob", password="pw")
    world.lose("ann")
    world.sleep(1)
    effects = world.open("ann-2", max_players=7)
    assert events(effects, "ann-2") == ["users-updated", "rooms-updated", "ack"]
    assert users(effects, "bob")["id:ann"]["is_host"] is True
    assert (world.room().settings.max_players, world.room().settings.password) == (2, "pw")
    assert world.slots() == {"ann": 0, "bob": 1}


@pytest.mark.contract("D17", "D60")
def test_so_does_one_whose_old_socket_is_dead_and_nobody_has_noticed(world: World) -> None:
    # The oldest client opens again on every connect, and its network may have changed a second ago.
    world.open("ann", max_players=2)
    world.join("bob")
    world.sleep(1)
    assert error(world.open("ann-2")) == "room exists"
    world.last_seen["ann"] = world.now - 31
    effects = world.open("ann-2", max_players=7)
    assert DropSocket("ann") in effects
    assert users(effects, "bob")["id:ann"]["is_host"] is True
    assert world.room().settings.max_players == 2
    assert world.slots() == {"ann": 0, "bob": 1}


def test_the_number_of_rooms_is_bounded() -> None:
    world = World(limits=RoomLimits(rooms=1))
    world.open("ann")
    assert error(world.open("bob", "Q")) == "too many rooms"
    assert value(world.open("ann")) is None


# Joining


@pytest.mark.contract("D24", "M3", "M27")
def test_a_guest_joins(world: World) -> None:
    world.open("ann")
    world.sleep(1)
    effects = world.join("bob", player_slot=0)
    assert events(effects, "bob") == [
        "users-updated",
        "ack",
        "users-updated",
        "player-slot-updated",
        "rooms-updated",
    ]
    assert events(effects, "ann") == ["room-player-joined", "users-updated", "ack", "rooms-updated"]
    [(_, joined), (_, map_), *_] = heard(effects, "ann")
    assert joined["player_slot"] == 1
    assert joined["userid"] == "id:bob"
    assert "player_name" not in joined
    assert list(map_) == ["id:ann", "id:bob"]
    assert map_["id:bob"] == joined | {"player_name": "bob"}
    assert value(effects) == {
        "users": map_,
        "netplay_mode": "live_stream",
        "room_phase": "running",
        "game_id": None,
        "sync_config": None,
        "room_name": "R",
        "max": 4,
        "hasPassword": False,
    }
    assert ("player-slot-updated", {"playerId": "id:bob", "playerSlot": 1}) in heard(effects, "bob")
    assert world.rooms.listing()[0]["current"] == 2


def test_an_unknown_room(world: World) -> None:
    assert error(world.join("bob")) == "no such room"


@pytest.mark.contract("D58")
@pytest.mark.parametrize("given", [None, "", "PW", 5, ["pw"], True])
def test_a_password_is_asked_of_newcomers_only(world: World, given: Any) -> None:
    world.open("ann", password="pw")
    assert error(world.join("bob", password=given)) == "bad password"
    assert "users" in value(world.join("bob", password="pw"))
    assert "users" in value(world.join("bob", password=given))
    assert "users" in value(world.join("ann", password=given))


@pytest.mark.contract("D58")
def test_only_a_string_is_a_password(world: World) -> None:
    world.open("ann", password="5")
    assert error(world.join("bob", password=5)) == "bad password"
    assert "users" in value(world.join("bob", password="5"))


@pytest.mark.contract("D35", "D54")
def test_joining_again_keeps_state_but_takes_the_new_extra(world: World) -> None:
    world.open("ann", netplay_mode=1, rom_hash="h", core_type="c", metadata={"a": 1}, old=1)
    world.room().members["id:ann"].ready = True
    effects = world.join("ann", new=1)  # nor is a member asked for its ROM again
    row = value(effects)["users"]["id:ann"]
    assert (row["ready"], row["metadata"], row["new"], "old" in row) == (True, {"a": 1}, 1, False)
    assert value(effects)["lobby_state"] == {"phase": "ready", "player_ready": {"id:ann": True}}


@pytest.mark.contract("D43")
def test_a_socket_is_in_one_room(world: World) -> None:
    world.open("ann", "A")
    world.open("bob", "B")
    world.join("bob", "A")
    assert world.rooms.get("B") is None
    assert world.slots("A") == {"ann": 0, "bob": 1}
    world.open("cat", "C")
    assert error(world.join("bob", "nowhere")) == "no such room"
    effects = world.join("bob", "C")
    assert ("room-player-left", {"userid": "id:bob"}) in heard(effects, "ann")
    assert CloseMedia("bob", ("ann",)) in effects
    effects = world.open("bob", "D")
    assert world.slots("C") == {"cat": 0}
    assert ("room-player-left", {"userid": "id:bob"}) in heard(effects, "cat")


@pytest.mark.contract("D44")
def test_one_user_may_be_in_two_rooms_on_two_sockets(world: World) -> None:
    world.open("ann-1", "A")
    world.open("ann-2", "B")
    world.lose("ann-1")
    world.sleep(61)
    assert [room.name for room in world.rooms] == ["B"]


@pytest.mark.contract("D44")
def test_grace_is_kept_for_each_room_apart(world: World) -> None:
    world.open("ann-1", "A")
    world.open("ann-2", "B")
    world.lose("ann-1")
    world.sleep(30)
    world.lose("ann-2")
    world.join("ann-3", "A")
    world.sleep(29)
    assert {room.name: room.sockets() for room in world.rooms} == {"A": ("ann-3",), "B": ()}
    world.sleep(2)
    assert {room.name: room.sockets() for room in world.rooms} == {"A": ("ann-3",), "B": ()}
    world.sleep(30)
    assert [room.name for room in world.rooms] == ["A"]


@pytest.mark.contract("D31")
def test_a_room_of_spectators_lives_as_long_as_they_do(world: World) -> None:
    world.open("ann")
    world.join("sue", player_slot=8)
    world.slot("ann", 8)
    world.sleep(1)
    assert world.sleep(3600) == []
    assert world.slots() == {"ann": 8, "sue": 8}
    world.leave("ann")
    world.leave("sue")
    assert len(world.rooms) == 0


@pytest.mark.contract("D53")
def test_a_refused_opening_leaves_nothing_behind() -> None:
    world = World(limits=RoomLimits(rooms=2))
    world.open("ann", "A")
    world.open("bob", "B")
    assert error(world.open("ann", "C")) == "too many rooms"
    assert error(world.open("ann", "B")) == "room exists"
    assert [room.name for room in world.rooms] == ["A", "B"]
    assert world.slots("A") == {"ann": 0}


# Leaving and ownership


@pytest.mark.contract("M10")
@pytest.mark.parametrize("name", ["R", None])
def test_leaving(world: World, name: str | None) -> None:
    world.open("ann")
    world.join("bob")
    world.sleep(1)
    effects = world.leave("bob", name)
    assert events(effects, "ann") == ["room-player-left", "users-updated", "ack", "rooms-updated"]
    assert events(effects, "bob") == ["ack", "rooms-updated"]
    assert closed_media(effects) == ["bob"]
    assert world.rooms.room_of("bob") is None


@pytest.mark.contract("D42")
def test_leaving_what_one_is_not_in_changes_nothing(world: World) -> None:
    world.open("ann", "A")
    world.open("bob", "B")
    assert error(world.leave("bob", "A")) == "not a member"
    assert error(world.leave("bob", "nowhere")) == "no such room"
    assert error(world.leave("cat")) == "not a member"
    assert error(world.leave("ann-2", "A")) == "not a member"
    assert world.slots("A") == {"ann": 0}
    assert world.slots("B") == {"bob": 0}


def test_who_lost_the_connection_can_leave_from_a_new_one(world: World) -> None:
    # The published client reconnects without joining again; what its user does next is press Leave.
    world.open("ann")
    world.join("bob")
    world.lose("ann")
    world.sleep(1)
    assert error(world.leave("ann-2")) == "not a member", "without a name it could be any room"
    effects = world.leave("ann-2", "R")
    assert events(effects, "bob") == ["users-updated", "room-player-left", "ack", "rooms-updated"]
    assert closed_media(effects) == ["ann"]
    assert world.slots() == {"bob": 1}
    assert world.room().owner == world.caller("bob").userid
    assert error(world.leave("ann-2", "R")) == "not a member"


def test_leaving_one_room_that_one_is_away_from_while_in_another(world: World) -> None:
    world.open("ann", "A")
    world.join("bob", "A")
    world.lose("ann")
    world.open("ann-2", "B")
    world.leave("ann-2", "A")
    assert world.slots("A") == {"bob": 1}
    assert world.slots("B") == {"ann": 0}


def test_the_room_goes_with_its_last_member(world: World) -> None:
    world.open("ann")
    room = world.room()
    effects = world.leave("ann")
    assert CloseRoom(room.id) in effects
    assert RegistryChanged("R") in effects
    assert len(world.rooms) == 0
    assert world.rooms.by_id(room.id) is None
    world.sleep(1)
    assert world.rooms.get_timer() is None
    world.open("bob")
    assert world.room().id != room.id


@pytest.mark.contract("D18")
def test_ownership_goes_to_the_first_connected_player(world: World) -> None:
    world.open("ann")
    for name, slot in (("sue", 8), ("bob", 1), ("cat", 2)):
        world.join(name, player_slot=slot)
    world.lose("bob")
    world.sleep(1)
    effects = world.leave("ann")
    assert world.room().owner == "id:cat"
    assert [userid for userid, row in users(effects, "sue").items() if row.get("is_host")] == ["id:cat"]
    world.leave("cat")
    assert world.room().owner == "id:sue"


# Losing the connection


@pytest.mark.contract("D46", "D47")
def test_a_lost_member_keeps_its_place_for_a_minute(world: World) -> None:
    world.open("ann")
    world.join("bob", player_slot=2)
    world.sleep(1)
    effects = world.lose("bob")
    assert events(effects, "ann") == ["users-updated", "rooms-updated"]
    assert heard(effects, "bob") == [("rooms-updated", None)]
    assert users(effects, "ann")["id:bob"]["reconnecting"] is True
    assert world.rooms.listing()[0]["current"] == 2
    assert world.sleep(59.9) == []
    effects = world.sleep(0.2)
    assert events(effects, "ann") == ["users-updated", "room-player-left", "rooms-updated"]
    assert closed_media(effects) == ["bob"]
    assert RegistryChanged("R") in effects
    assert world.slots() == {"ann": 0}


@pytest.mark.contract("D19")
def test_ownership_is_kept_in_grace_and_goes_when_it_ends(world: World) -> None:
    world.open("ann")
    world.join("bob")
    world.lose("ann")
    world.sleep(59)
    assert world.room().owner == "id:ann"
    world.sleep(2)
    assert world.room().owner == "id:bob"


def test_a_room_of_lost_members_ends_with_the_grace(world: World) -> None:
    world.open("ann")
    world.join("bob")
    world.lose("ann")
    world.lose("bob")
    effects = world.sleep(61)
    assert len(world.rooms) == 0
    assert sum(isinstance(effect, CloseRoom) for effect in effects) == 1
    assert not any(isinstance(effect, Broadcast | UsersUpdated) for effect in effects)


@pytest.mark.contract("D17", "D35")
def test_coming_back_in_grace_keeps_seat_host_and_media_for_a_while(world: World) -> None:
    world.open("ann")
    world.join("bob")
    world.lose("ann")
    world.sleep(10)
    effects = world.join("ann-2", player_slot=1)
    assert events(effects, "bob") == ["users-updated", "ack", "rooms-updated"]
    row = users(effects, "bob")["id:ann"]
    assert (row["player_slot"], row["is_host"], row["socketId"], "reconnecting" in row) == (
        0,
        True,
        "ann-2",
        False,
    )
    assert closed_media(effects) == []
    assert world.room().members["id:ann"].media_sockets == ("ann", "ann-2")
    assert world.media("ann-2") == [CloseMedia("ann", ("bob",))]
    assert world.media("ann-2") == []
    assert world.sleep(100) == []


def test_media_of_the_old_socket_goes_when_the_grace_would_have_ended(world: World) -> None:
    world.open("ann")
    world.lose("ann")
    world.sleep(10)
    world.join("ann-2")
    world.sleep(49)
    assert world.sleep(2) == [CloseMedia("ann", ())]


def test_old_sockets_are_bounded(world: World) -> None:
    world.open("ann-0")
    last = membership.MAX_OLD_SOCKETS + 2
    closed = []
    for n in range(last):
        world.lose(f"ann-{n}")
        closed += closed_media(world.join(f"ann-{n + 1}"))
    assert closed == ["ann-0", "ann-1"]
    effects = world.leave(f"ann-{last}")
    assert len(closed_media(effects)) == membership.MAX_OLD_SOCKETS + 1
    world.sleep(1)
    assert world.rooms.get_timer() is None


def test_a_socket_that_is_nowhere_can_be_lost(world: World) -> None:
    assert world.lose("ann") == []
    assert world.media("ann") == []


# Two sockets of one user


@pytest.mark.contract("D60")
def test_a_healthy_socket_is_not_pushed_out(world: World) -> None:
    world.open("ann")
    for age in (0.0, 29.9, 30.0):
        world.last_seen["ann"] = world.now - age
        assert error(world.join("ann-2")) == "userid in use"
    assert world.room().members["id:ann"].socket_id == "ann"


@pytest.mark.contract("D52", "D60")
def test_a_silent_socket_is_taken_over(world: World) -> None:
    world.open("ann")
    world.join("bob")
    world.sleep(1)
    world.last_seen["ann"] = world.now - 30.1
    effects = world.join("ann-2")
    assert DropSocket("ann") in effects
    assert CloseMedia("ann", ("bob",)) in effects
    assert heard(effects, "ann")[0] == ("room-closed", {"room_name": "R", "reason": "taken over"})
    assert events(effects, "bob") == ["users-updated", "ack", "rooms-updated"]
    assert world.room().owner == "id:ann"
    assert world.lose("ann") == []
    assert world.room().members["id:ann"].connected


@pytest.mark.contract("D60")
def test_takeover_can_be_forbidden_or_free() -> None:
    never, always = World(allow_takeover=False), World(takeover_grace=0.0)
    for world in (never, always):
        world.open("ann")
    never.last_seen["ann"] = never.now - 1000
    assert error(never.join("ann-2")) == "userid in use"
    assert DropSocket("ann") in always.join("ann-2")


def test_a_takeover_leaves_the_other_room_of_the_new_socket(world: World) -> None:
    world.open("ann", "A")
    world.open("ann-2", "B")
    world.last_seen["ann"] = world.now - 100
    world.join("ann-2", "A")
    assert [room.name for room in world.rooms] == ["A"]

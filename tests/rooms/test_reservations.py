"""Rooms and seats over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from sfu.rooms import CloseRoom, RegistryChanged, RoomLimits, RoomsUpdated
from sfu.rooms.reservations import CREATOR_SECONDS, FRESH_SECONDS, RESERVATION_SECONDS
from tests.support.rooms import World, error, events, heard, users, value


@pytest.fixture
def world() -> World:
    return World()


def http_room(world: World, name: str = "R") -> dict[str, Any]:
    room = world.rooms.http_room(name)
    assert room is not None
    return room


# Making a room


@pytest.mark.contract("D30")
def test_a_room_made_over_http_is_announced_at_once(world: World) -> None:
    effects = world.create("ann", max_players=3, rom_hash="h")
    assert RoomsUpdated() in effects
    assert RegistryChanged("R") in effects
    assert value(effects) is None
    [entry] = world.rooms.listing()
    assert (entry["name"], entry["current"], entry["max"], entry["rom_hash"]) == ("R", 0, 3, "h")


@pytest.mark.contract("D56", "D57")
def test_how_http_sees_a_room(world: World) -> None:
    world.create(
        "ann", max_players=2, password="pw", netplay_mode=1, spectator_mode=0, game_id=7, rom_hash="h",
        core_type="c", sync_config={"frameDelay": 3}, is_host=True,
    )  # fmt: skip
    assert http_room(world) == {
        "room_name": "R",
        "current": 1,
        "max": 2,
        "hasPassword": True,
        "netplay_mode": "delay_sync",
        "room_phase": "lobby",
        "sync_config": {"frameDelay": 3},
        "spectator_mode": 0,
        "game_id": 7,
        "rom_hash": "h",
        "core_type": "c",
    }
    assert world.rooms.http_room("nowhere") is None
    world.create("bob", "Q")
    bare = http_room(world, "Q")
    assert (bare["netplay_mode"], bare["room_phase"], bare["spectator_mode"]) == ("live_stream", "running", 1)
    assert (bare["sync_config"], bare["game_id"], bare["rom_hash"], bare["core_type"]) == (None,) * 4
    world.create("bob", "A", netplay_mode=2)
    world.create("bob", "B", netplay_mode="arcade")
    assert http_room(world, "A")["netplay_mode"] == http_room(world, "B")["netplay_mode"] == "arcade"


def test_a_name_is_taken_once(world: World) -> None:
    world.create("ann")
    world.open("bob", "Q")
    assert error(world.create("cat")) == "room already exists"
    assert error(world.create("ann")) == "room already exists"
    assert error(world.create("bob", "Q")) == "room already exists"


@pytest.mark.contract("D30")
def test_nobody_blocks_names_without_end(world: World) -> None:
    for n in range(4):
        assert value(world.create("ann", f"R{n}")) is None
    assert error(world.create("ann", "R4")) == "too many rooms"
    assert value(world.create("bob", "R5")) is None
    world.join("ann", "R0")
    assert value(world.create("ann", "R4")) is None


def test_the_number_of_rooms_is_bounded() -> None:
    world = World(limits=RoomLimits(rooms=1))
    world.create("ann")
    assert error(world.create("bob", "Q")) == "too many rooms"
    assert error(world.open("bob", "Q")) == "too many rooms"


# An empty room


@pytest.mark.contract("D30")
def test_a_room_that_nobody_enters_goes_after_two_minutes(world: World) -> None:
    world.create("ann")
    room = world.room()
    world.sleep(CREATOR_SECONDS - 0.1)
    assert world.room() is room
    effects = world.sleep(0.2)
    assert effects == [CloseRoom(room.id), RegistryChanged("R"), RoomsUpdated()]
    assert len(world.rooms) == 0
    world.sleep(1)
    assert world.rooms.get_timer() is None
    assert value(world.open("bob")) is None


def test_lists_show_an_empty_room_for_half_a_minute(world: World) -> None:
    world.create("ann")
    assert world.sleep(FRESH_SECONDS - 0.1) == []
    assert len(world.rooms.listing()) == 1
    assert world.sleep(0.2) == [RoomsUpdated()]
    assert world.rooms.listing() == []
    world.join("bob")
    assert [entry["current"] for entry in world.rooms.listing()] == [1]


def test_a_room_that_is_played_in_stays_listed_without_a_word(world: World) -> None:
    world.create("ann")
    world.join("bob")
    world.sleep(1)
    assert world.sleep(FRESH_SECONDS) == []
    assert len(world.rooms.listing()) == 1


# Entering it


@pytest.mark.contract("D21", "D28")
@pytest.mark.parametrize("opening", [True, False])
def test_the_creator_comes_and_owns_the_room(world: World, opening: bool) -> None:
    world.create("ann")
    enter = world.open if opening else world.join
    effects = enter("ann", player_slot=2)
    assert users(effects, "ann")["id:ann"]["is_host"] is True
    assert world.slots() == {"ann": 2}
    assert http_room(world)["current"] == 1, "nobody is counted twice"
    world.sleep(FRESH_SECONDS)
    assert world.rooms.get_timer() is None, "nobody is waited for"
    world.sleep(CREATOR_SECONDS)
    assert world.slots() == {"ann": 2}
    world.leave("ann")
    assert len(world.rooms) == 0


@pytest.mark.contract("D28")
def test_opening_it_adds_to_its_description_and_opens_nothing_else(world: World) -> None:
    world.create("ann", max_players=2, password="pw", netplay_mode=1, rom_hash="h", core_type="c")
    world.join("bob", password="pw", rom_hash="h", core_type="c")
    world.sleep(1)
    effects = world.open("ann", max_players=8, password="", netplay_mode=0, rom_name="Game", system="s")
    assert value(effects) is None
    assert events(effects, "bob") == ["room-player-joined", "users-updated", "rooms-updated", "ack"]
    settings = world.room().settings
    assert (settings.max_players, settings.password, settings.netplay_mode) == (2, "pw", "delay_sync")
    assert (settings.rom_hash, settings.rom_name, settings.system) == ("h", "Game", "s")
    assert world.slots() == {"bob": 0, "ann": 1}


@pytest.mark.contract("D28")
def test_nobody_else_opens_it(world: World) -> None:
    world.create("ann", password="pw")
    assert error(world.open("bob")) == "room exists"
    world.join("bob", password="pw")
    assert error(world.open("bob", password="")) == "room exists", "not even alone in it"
    assert world.room().settings.password == "pw"


@pytest.mark.contract("D21", "D27")
def test_whoever_comes_first_looks_after_it_until_the_creator_comes(world: World) -> None:
    world.create("ann")
    effects = world.join("bob")
    assert users(effects, "bob")["id:bob"]["is_host"] is True
    world.join("cat")
    world.sleep(1)
    assert value(world.slot("cat", 3)) is None
    world.sleep(1)
    effects = world.join("ann")
    hosts = [userid for userid, row in users(effects, "cat").items() if row.get("is_host")]
    assert hosts == ["id:ann"]
    world.leave("ann")
    assert world.room().owner == "id:bob"


@pytest.mark.contract("D21")
def test_the_room_stays_with_those_who_came_if_the_creator_does_not(world: World) -> None:
    world.create("ann")
    world.join("bob")
    world.sleep(CREATOR_SECONDS + 1)
    assert world.room().owner == "id:bob"
    world.join("ann")
    assert world.room().owner == "id:bob"
    assert error(world.open("ann")) == "room exists"


def test_a_guest_who_comes_and_goes_takes_the_room_from_nobody(world: World) -> None:
    world.create("ann", netplay_mode=1)
    world.join("bob", player_slot=8)
    world.slot("bob", 0)
    world.toggle("bob")
    world.start("bob")
    world.chat("bob", "hi")
    world.sleep(1)
    effects = world.leave("bob")
    assert RegistryChanged("R") in effects
    room = world.room()
    assert (room.owner, room.settings.room_phase, len(room.chat)) == ("id:ann", "lobby", 0)
    assert events(world.open("ann", netplay_mode=1), "ann") == ["users-updated", "ack"]
    assert room.owner == "id:ann"


def test_the_last_to_go_after_the_wait_takes_the_room_along(world: World) -> None:
    world.create("ann")
    world.join("bob")
    world.sleep(CREATOR_SECONDS + 1)
    world.leave("bob")
    assert len(world.rooms) == 0


def test_a_lost_guest_keeps_an_http_room_only_for_its_grace(world: World) -> None:
    world.create("ann")
    world.join("bob")
    world.sleep(CREATOR_SECONDS - 10)
    world.lose("bob")
    world.sleep(59)
    assert world.room().owner == "id:bob"
    world.sleep(2)
    assert len(world.rooms) == 0
    world.sleep(1)
    assert world.rooms.get_timer() is None


# Holding seats


@pytest.mark.contract("D29")
def test_a_seat_is_held_for_a_minute(world: World) -> None:
    world.open("ann", max_players=2)
    assert value(world.reserve("bob")) is None
    assert http_room(world)["current"] == 2
    assert world.rooms.listing()[0]["current"] == 1, "lists count who plays"
    assert error(world.join("cat")) == "room full"
    assert error(world.reserve("cat")) == "room is full"
    world.sleep(RESERVATION_SECONDS - 0.1)
    assert error(world.join("cat")) == "room full"
    world.sleep(0.2)
    assert http_room(world)["current"] == 1
    assert "users" in value(world.join("cat"))


@pytest.mark.contract("D29")
def test_a_held_seat_is_for_its_user_and_counts_once(world: World) -> None:
    world.open("ann", max_players=2)
    world.reserve("bob")
    world.reserve("bob")
    assert http_room(world)["current"] == 2
    assert world.slots() == {"ann": 0}
    assert "users" in value(world.join("bob"))
    assert http_room(world)["current"] == 2
    assert world.room().reservations == set()
    world.sleep(1)
    assert world.rooms.get_timer() is None
    world.leave("bob")
    assert "users" in value(world.join("cat")), "used up"


@pytest.mark.contract("D29")
def test_reserving_again_holds_it_longer(world: World) -> None:
    world.open("ann", max_players=2)
    world.reserve("bob")
    world.sleep(50)
    world.reserve("bob")
    world.sleep(50)
    assert http_room(world)["current"] == 2
    world.sleep(11)
    assert http_room(world)["current"] == 1


@pytest.mark.contract("D29")
def test_a_seat_can_be_given_up(world: World) -> None:
    world.open("ann", max_players=2)
    world.reserve("bob")
    assert value(world.release("bob")) is None
    assert http_room(world)["current"] == 1
    assert value(world.release("bob")) is None
    assert value(world.release("ann")) is None
    assert world.slots() == {"ann": 0}, "members leave by leaving"
    assert error(world.release("bob", "nowhere")) == "room not found"


def test_checks_come_in_the_order_of_the_contract(world: World) -> None:
    world.open("ann", max_players=1, password="pw")
    assert error(world.reserve("bob", "nowhere")) == "room not found"
    assert error(world.reserve("bob", password="x")) == "incorrect password"
    assert error(world.reserve("bob", password="pw")) == "room is full"
    assert value(world.reserve("ann")) is None, "who is in is asked for nothing"


def test_members_hold_nothing_besides_their_seat(world: World) -> None:
    world.open("ann", max_players=2)
    world.join("sue", player_slot=8)
    for name in ("ann", "sue"):
        assert value(world.reserve(name)) is None
    assert http_room(world)["current"] == 1
    world.join("bob")
    assert error(world.reserve("sue")) == "room is full"


def test_who_watches_gives_way_to_who_has_a_seat_held(world: World) -> None:
    world.open("ann", max_players=2)
    world.join("sue", player_slot=8)
    world.reserve("bob")
    assert error(world.slot("sue", 1)) == "room full"
    world.join("sue", player_slot=1)
    assert world.slots() == {"ann": 0, "sue": 8}
    world.join("bob", player_slot=8)
    assert world.room().reservations == set(), "who comes to watch needs none"
    assert value(world.slot("sue", 1)) is None


def test_the_creators_seat_is_held_as_long_as_the_room_waits(world: World) -> None:
    world.create("ann", max_players=2)
    world.join("bob")
    world.sleep(RESERVATION_SECONDS)
    world.reserve("ann")
    world.sleep(CREATOR_SECONDS - RESERVATION_SECONDS - 1)
    assert error(world.join("cat")) == "room full"
    world.sleep(2)
    assert "users" in value(world.join("cat"))


def test_a_creator_who_gave_up_the_seat_may_find_the_room_full(world: World) -> None:
    world.create("ann", max_players=1)
    world.release("ann")
    world.join("bob")
    assert error(world.open("ann")) == "room full"
    assert world.room().owner == "id:bob"


def test_reservations_are_bounded() -> None:
    world = World(limits=RoomLimits(reservations=1))
    world.open("ann")
    assert value(world.reserve("bob")) is None
    assert value(world.reserve("bob")) is None
    assert error(world.reserve("cat")) == "room is full"


def test_reservations_end_with_the_room_and_with_its_opening_afresh(world: World) -> None:
    world.open("ann", max_players=8)
    for name in ("bob", "cat"):
        world.reserve(name)
    world.open("ann", max_players=1)
    assert http_room(world)["current"] == 1
    world.open("ann", max_players=2)
    world.reserve("bob")
    world.leave("ann")
    assert world.rooms.http_room("R") is None
    world.sleep(1)
    assert world.rooms.get_timer() is None


@pytest.mark.contract("D27", "D57")
def test_players_of_an_http_room_join_and_move_as_in_any_other(world: World) -> None:
    world.create("ann", netplay_mode=2)
    effects = world.join("bob", player_slot=1)
    assert value(effects)["netplay_mode"] == "arcade"
    world.join("cat", player_slot=1)
    assert world.slots() == {"bob": 1, "cat": 0}
    assert ("player-slot-updated", {"playerId": "id:cat", "playerSlot": 3}) in heard(
        world.slot("cat", 3), "bob"
    )

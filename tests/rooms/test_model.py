"""Who is told what, and how often: user maps, room lists, and the saving of messages in large rooms."""

from __future__ import annotations

from typing import Any

import pytest

from sfu.rooms import RoomLimits, RoomsUpdated
from sfu.rooms.pace import MAX_INTERVAL
from sfu.rooms.room import FULL_MAP_MEMBERS, USERS_INTERVAL
from sfu.rooms.turn import ROOMS_INTERVAL
from tests.support.rooms import World, events, heard, users, value


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.contract("D4")
def test_users_updated_goes_at_once_then_every_quarter_second(world: World) -> None:
    world.open("ann")
    for name in ("bob", "cat", "dan"):
        effects = world.join(name)
        assert "users-updated" not in events(effects, "ann")
    assert [type(effect) for effect in world.sleep(0.24)] == []
    effects = world.sleep(0.02)
    assert sorted(events(effects, "ann")) == ["rooms-updated", "users-updated"]
    assert list(users(effects, "ann")) == ["id:ann", "id:bob", "id:cat", "id:dan"]
    assert world.sleep(10) == []


@pytest.mark.contract("D4")
def test_rooms_updated_is_held_back_across_rooms(world: World) -> None:
    assert RoomsUpdated() in world.open("ann", "A")
    assert RoomsUpdated() not in world.open("bob", "B")
    assert RoomsUpdated() not in world.leave("bob")
    assert world.sleep(1) == [RoomsUpdated()]


def test_rooms_without_players_are_not_listed(world: World) -> None:
    world.open("ann")
    world.slot("ann", 8)
    assert world.rooms.listing() == []
    assert len(world.rooms) == 1


@pytest.mark.contract("D4")
def test_the_list_is_bounded() -> None:
    world = World(limits=RoomLimits(listed_rooms=2))
    for n in range(3):
        world.open(f"p{n}", f"R{n}")
    assert [entry["name"] for entry in world.rooms.listing()] == ["R1", "R2"]


@pytest.mark.contract("D4")
def test_a_costly_list_goes_out_less_often(world: World) -> None:
    world.open("ann", "A")
    world.rooms.pace_listing(3.0)
    world.sleep(1)
    assert RoomsUpdated() not in world.open("bob", "B")
    assert world.sleep(1.9) == []
    assert world.sleep(0.2) == [RoomsUpdated()]
    world.rooms.pace_listing(1000.0)
    world.open("cat", "C")
    assert RoomsUpdated() in world.sleep(MAX_INTERVAL)
    world.rooms.pace_listing(0.0)
    world.sleep(ROOMS_INTERVAL)
    assert RoomsUpdated() in world.open("dan", "D")


@pytest.mark.contract("D4")
def test_costly_maps_of_a_large_room_go_out_less_often(world: World) -> None:
    crowd(world, FULL_MAP_MEMBERS + 1)
    world.sleep(1)
    world.describe_player("ann", {"a": 1})
    world.rooms.pace_users("ann", 3.0)
    world.rooms.pace_users("nobody", 9.0)
    world.sleep(1)
    assert "users-updated" not in events(world.describe_player("ann", {"a": 2}), "s1")
    effects = world.sleep(2)
    assert users(effects, "s1")["id:ann"]["metadata"] == {"a": 2}
    for n in range(2):
        world.leave(f"s{n}")
    world.describe_player("ann", {"a": 3})
    world.sleep(3)
    world.describe_player("ann", {"a": 4})
    assert "users-updated" in events(world.sleep(USERS_INTERVAL), "s2"), "it is small again"


def test_in_a_large_room_spectators_come_and_go_unheard_by_others(world: World) -> None:
    crowd(world, FULL_MAP_MEMBERS + 1)
    effects = world.join("sue", player_slot=8)
    assert "room-player-joined" in events(effects, "ann")
    assert "room-player-joined" not in events(effects, "s0")
    effects = world.leave("sue")
    assert "room-player-left" in events(effects, "bob")
    assert "room-player-left" not in events(effects, "s0")
    assert "room-player-joined" in events(world.join("cat"), "s0")
    assert "room-player-left" in events(world.leave("cat"), "s0")


def crowd(world: World, size: int, **extra: Any) -> None:
    """A room with two players, Ann and Bob, and spectators ``s0`` and so on."""
    world.open("ann", rom_hash="h", core_type="c", **extra)
    world.join("bob", rom_hash="h", core_type="c")
    for n in range(size - 2):
        world.join(f"s{n}", player_slot=8)
    world.sleep(1)


def test_up_to_32_members_everyone_sees_everyone(world: World) -> None:
    crowd(world, FULL_MAP_MEMBERS - 1)
    effects = world.join("last", player_slot=8)
    for socket in ("ann", "s0", "last"):
        assert len(users(effects, socket)) == FULL_MAP_MEMBERS
    assert len(value(effects)["users"]) == FULL_MAP_MEMBERS


def test_in_a_large_room_one_sees_players_and_oneself(world: World) -> None:
    crowd(world, FULL_MAP_MEMBERS)
    effects = world.join("last", player_slot=8)
    assert list(users(effects, "s0")) == ["id:ann", "id:bob", "id:s0"]
    assert list(users(effects, "ann")) == ["id:ann", "id:bob"]
    assert list(value(effects)["users"]) == ["id:ann", "id:bob", "id:last"]
    world.sleep(1)

    effects = world.join("more", player_slot=8)
    assert "users-updated" not in events(effects, "s0"), "nothing has changed for the others"
    assert list(users(effects, "more")) == ["id:ann", "id:bob", "id:more"]
    world.sleep(1)

    effects = world.slot("s0", 2)
    assert list(users(effects, "s1")) == ["id:ann", "id:bob", "id:s0", "id:s1"]
    assert list(users(effects, "s0")) == ["id:ann", "id:bob", "id:s0"]
    world.sleep(1)

    effects = world.lose("bob")
    assert users(effects, "s1")["id:bob"]["reconnecting"] is True
    world.sleep(1)

    effects = world.join("s3", player_slot=8, mood="new")
    assert users(effects[:1], "s3")["id:s3"]["mood"] == "new"
    assert "users-updated" not in events(effects, "s1")


@pytest.mark.contract("M27")
def test_in_a_large_room_a_change_of_slot_costs_spectators_one_map(world: World) -> None:
    crowd(world, FULL_MAP_MEMBERS + 1)
    effects = world.slot("bob", 3)
    assert events(effects, "s0") == ["users-updated", "ack", "rooms-updated"]
    assert users(effects, "s0")["id:bob"]["player_slot"] == 3
    slot_events = [payload for event, payload in heard(effects, "ann") if event == "player-slot-updated"]
    assert slot_events == [
        {"playerId": "id:bob", "playerSlot": 3},
        {"playerId": "id:ann", "playerSlot": 0},
    ]
    world.sleep(1)
    effects = world.slot("s0", 2)
    assert events(effects, "s0")[:2] == ["player-slot-updated", "users-updated"]
    assert events(effects, "ann")[:3] == ["player-slot-updated", "player-slot-updated", "users-updated"]
    assert events(effects, "s1")[:1] == ["users-updated"]
    world.sleep(1)
    effects = world.slot("bob", 8)
    assert ("player-slot-updated", {"playerId": "id:bob", "playerSlot": 8}) in heard(effects, "bob")
    assert users(effects, "s1").keys() == {"id:ann", "id:s0", "id:s1"}


def test_in_a_large_room_lobby_news_reach_spectators_by_the_map(world: World) -> None:
    crowd(world, FULL_MAP_MEMBERS + 1, netplay_mode=1)
    for name in ("ann", "bob"):
        world.toggle(name)
    world.sleep(1)
    assert "prepare-start" in events(world.start("ann"), "s0")
    effects = world.sleep(31)
    assert users(effects, "s0")["id:bob"]["ready"] is False


def test_in_a_large_room_without_players_everyone_hears_of_a_change_of_mode(world: World) -> None:
    crowd(world, FULL_MAP_MEMBERS + 1)
    for name in ("ann", "bob"):
        world.slot(name, 8)
    world.sleep(1)
    effects = world.describe_room("ann", {"netplay_mode": 1})
    assert users(effects, "s0")["id:s0"]["ready"] is False


def test_in_a_large_room_a_spectator_hears_that_it_is_no_longer_the_host(world: World) -> None:
    world.create("eve")
    for n in range(FULL_MAP_MEMBERS + 1):
        world.join(f"s{n}", player_slot=8)
    world.sleep(1)
    assert world.room().owner == "id:s0"
    effects = world.join("eve", player_slot=8)
    assert "is_host" not in users(effects, "s0")["id:s0"]
    assert users(effects, "eve")["id:eve"]["is_host"] is True
    assert "users-updated" not in events(effects, "s1")


def test_a_room_that_shrinks_shows_everyone_again(world: World) -> None:
    crowd(world, FULL_MAP_MEMBERS + 1)
    effects = world.leave("s0")
    assert len(users(effects, "s1")) == FULL_MAP_MEMBERS

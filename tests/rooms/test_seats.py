"""Seats: who gets which, who watches, and who may play where all need the same game."""

from __future__ import annotations

from typing import Any

import pytest

from sfu.rooms import RoomLimits
from tests.support.rooms import World, error, events, heard, value

MISFIT = "ROM or emulator core doesn't match room requirements"
NO_ROM = "ROM hash mismatch: room requires 'h', client has 'none'. Delay sync requires exact ROM match."


@pytest.fixture
def world() -> World:
    return World()


# Players and spectators


@pytest.mark.contract("D32", "D36", "M12")
def test_players_are_limited_and_spectators_are_not_in_their_way(world: World) -> None:
    world.open("ann", max_players=2)
    world.join("sue", player_slot=8)
    world.join("tim", is_spectator=True, player_slot=0)
    world.join("bob")
    assert error(world.join("cat")) == "room full"
    assert "users" in value(world.join("cat", player_slot=8))
    assert world.slots() == {"ann": 0, "sue": 8, "tim": 8, "bob": 1, "cat": 8}
    assert world.rooms.listing()[0]["current"] == 2
    rows = world.room().users_for(world.room().members["id:tim"])
    assert [row.get("is_spectator") for row in rows.values()] == [None, True, True, None, True]
    world.leave("bob")
    world.slot("tim", 1)
    assert "is_spectator" not in world.room().members["id:tim"].public_extra(), (
        "whatever it said when it came"
    )


@pytest.mark.contract("D32")
def test_the_seat_of_who_is_in_grace_is_taken(world: World) -> None:
    world.open("ann", max_players=2)
    world.join("bob")
    world.lose("bob")
    assert error(world.join("cat")) == "room full"
    world.join("sue", player_slot=8)
    assert error(world.slot("sue", 1)) == "room full"
    world.join("bob-2")
    assert world.slots() == {"ann": 0, "bob": 1, "sue": 8}


@pytest.mark.contract("D32")
def test_spectators_have_a_cap_of_their_own() -> None:
    world = World(limits=RoomLimits(spectators=1))
    world.open("ann")
    world.join("sue", player_slot=8)
    assert error(world.join("tim", player_slot=8)) == "room full"
    assert error(world.slot("ann", 8)) == "room full"
    assert error(world.join("ann", player_slot=8)) == "room full"
    world.join("sue", player_slot=8)
    assert world.slots() == {"ann": 0, "sue": 8}


@pytest.mark.contract("D33")
def test_more_than_four_players(world: World) -> None:
    world.open("p0", max_players=8)
    for n in range(1, 8):
        world.join(f"p{n}", player_slot=0)
    assert sorted(world.slots().values()) == list(range(8))
    assert world.rooms.listing()[0]["current"] == 8
    assert error(world.join("late")) == "room full"


@pytest.mark.contract("D35")
def test_a_host_joins_its_own_room_and_moves_to_its_preferred_seat(world: World) -> None:
    world.open("ann")
    world.sleep(1)
    effects = world.join("ann", player_slot=3)
    assert events(effects, "ann") == [
        "users-updated",
        "ack",
        "users-updated",
        "player-slot-updated",
        "rooms-updated",
    ]
    assert value(effects)["users"]["id:ann"]["is_host"] is True
    assert world.slots() == {"ann": 3}


# Who has the game


@pytest.mark.contract("D55")
def test_delay_sync_asks_players_for_the_same_game(world: World) -> None:
    world.open("ann", netplay_mode=1, rom_hash="h", core_type="c")
    assert error(world.join("bob"))["error"] == "delay_sync_requirements_not_met"
    assert error(world.join("bob", rom_hash="x"))["error"] == "incompatible_game"
    assert error(world.join("bob", rom_hash="h"))["error"] == "delay_sync_requirements_not_met"
    assert value(world.join("bob", rom_hash="h", core_type="c"))["room_phase"] == "lobby"
    assert "users" in value(world.join("sue", player_slot=8))


@pytest.mark.contract("D36")
@pytest.mark.parametrize(("game", "message"), [({"rom_hash": "x", "core_type": "c"}, MISFIT), ({}, NO_ROM)])
def test_who_came_to_watch_another_game_goes_on_watching(
    world: World, game: dict[str, Any], message: str
) -> None:
    world.open("ann", netplay_mode=1, rom_hash="h", core_type="c")
    world.join("sue", player_slot=8, **game)
    assert error(world.slot("sue", 1)) == message
    world.join("sue", player_slot=1, **game)
    assert world.slots() == {"ann": 0, "sue": 8}
    world.lose("sue")
    world.join("sue-2", player_slot=1, **game)
    assert world.slots() == {"ann": 0, "sue": 8}
    world.join("sue-2", player_slot=1, rom_hash="h", core_type="c")
    assert world.slots() == {"ann": 0, "sue": 1}, "it has the right game by now"


@pytest.mark.contract("D36")
def test_who_came_to_watch_the_same_game_may_play(world: World) -> None:
    world.open("ann", netplay_mode=1, rom_hash="h", core_type="c")
    world.join("sue", player_slot=8, rom_hash="h", core_type="c")
    assert value(world.slot("sue", 1)) is None


@pytest.mark.contract("D54")
def test_players_and_the_owner_are_never_asked_for_their_game_again(world: World) -> None:
    world.open("ann", netplay_mode=1, rom_hash="h", core_type="c")
    world.join("bob", rom_hash="h", core_type="c")
    for name, slots in (("ann", (8, 0, 2)), ("bob", (3,))):
        world.join(name, core_type="other")
        for slot in slots:
            assert value(world.slot(name, slot)) is None
    world.slot("ann", 8)
    world.join("ann", player_slot=1, core_type="other")
    assert world.slots() == {"ann": 1, "bob": 3}


@pytest.mark.contract("D54")
def test_nor_is_who_made_the_room_over_http(world: World) -> None:
    world.create("ann", netplay_mode=1, rom_hash="h", core_type="c")
    assert "users" in value(world.join("ann", rom_hash="h", core_type="other"))


# Changing the slot


def test_asking_for_the_slot_one_has_is_nobody_elses_affair(world: World) -> None:
    world.open("ann")
    world.join("bob")
    world.sleep(1)
    effects = world.slot("bob", 1)
    own = ("player-slot-updated", {"playerId": "id:bob", "playerSlot": 1})
    assert heard(effects, "bob") == [own, ("ack", None)]
    assert heard(effects, "ann") == [("ack", None)]


@pytest.mark.contract("M27")
def test_changing_the_slot(world: World) -> None:
    world.open("ann")
    world.join("bob")
    world.sleep(1)
    effects = world.slot("bob", 3)
    change = ("player-slot-updated", {"playerId": "id:bob", "playerSlot": 3})
    echo = ("player-slot-updated", {"playerId": "id:ann", "playerSlot": 0})
    assert heard(effects, "ann")[:2] == [change, echo]
    assert heard(effects, "bob")[0] == change
    assert events(effects, "bob") == ["player-slot-updated", "users-updated", "ack", "rooms-updated"]
    assert world.slots() == {"ann": 0, "bob": 3}


@pytest.mark.contract("D36", "M26")
def test_between_watching_and_playing(world: World) -> None:
    world.open("ann", max_players=2)
    world.join("bob")
    world.join("sue", player_slot=8)
    assert error(world.slot("sue", 1)) == "room full"
    world.slot("bob", 8)
    assert world.rooms.listing()[0]["current"] == 1
    assert error(world.slot("sue", 0)) == "slot taken"
    world.slot("sue", 1)
    assert world.slots() == {"ann": 0, "bob": 8, "sue": 1}


@pytest.mark.contract("D37")
@pytest.mark.parametrize("slot", [None, "1", 1.5, -1, 4, 9, True, [], {}])
def test_a_bad_slot(world: World, slot: Any) -> None:
    world.open("ann")
    assert error(world.slot("ann", slot)) == "invalid slot"


@pytest.mark.contract("D38")
def test_only_members_change_slots(world: World) -> None:
    world.open("ann")
    world.open("bob", "B")
    assert error(world.slot("bob", 1)) == "not in room"
    assert error(world.slot("cat", 1)) == "not in room"
    assert error(world.slot("ann", 1, "nowhere")) == "no such room"

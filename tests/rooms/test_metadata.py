"""What is said later about a room, a member, and the game that a member has."""

from __future__ import annotations

from typing import Any

import pytest

from sfu.rooms import RegistryChanged, RoomLimits
from sfu.rooms.room import FULL_MAP_MEMBERS
from tests.support.rooms import World, error, events, heard, users, value

GAME = {"rom_hash": "h", "core_type": "c"}


@pytest.fixture
def world() -> World:
    """Ann's delay-sync room, with Bob."""
    world = World()
    world.open("ann", netplay_mode=1, rom_name="Game", coreVersion="1.0", **GAME)
    world.join("bob", **GAME)
    world.sleep(1)
    return world


BAD_METADATA: list[Any] = [
    None,
    "x",
    5,
    [],
    {"x": "y" * 8192},
    {"x": float("nan")},
    {"x": b"bytes"},
    {f"k{n}": n for n in range(65)},
    {"x": [[[[[[[[1]]]]]]]]},
]


# The room's


@pytest.mark.contract("D39", "M8")
def test_the_owner_describes_its_room(world: World) -> None:
    effects = world.describe_room(
        "ann",
        {
            "rom_hash": "h2", "rom_name": "Other", "core_type": "c2", "system": "s", "platform": "p",
            "coreId": "i", "coreVersion": "v", "romHash": "h2", "systemType": "t",
        },
    )  # fmt: skip
    assert events(effects, "ann") == ["ack", "rooms-updated"]
    assert events(effects, "bob") == ["ack", "rooms-updated"]
    assert RegistryChanged("R") in effects
    assert value(effects) is None
    assert world.room().settings.game() == {
        "rom_hash": "h2", "romHash": "h2", "rom_name": "Other", "core_type": "c2", "system": "s",
        "platform": "p", "coreId": "i", "coreVersion": "v", "systemType": "t",
    }  # fmt: skip


@pytest.mark.contract("D39")
def test_nobody_else_does(world: World) -> None:
    assert error(world.describe_room("bob", {"rom_name": "x"})) == "not host"
    assert error(world.describe_room("eve", {"rom_name": "x"})) == "not in room"
    assert error(world.describe_room("ann", {"rom_name": "x"}, "nowhere")) == "no such room"
    assert world.room().settings.rom_name == "Game"


@pytest.mark.parametrize("metadata", BAD_METADATA)
def test_a_rooms_metadata_is_a_bounded_object(world: World, metadata: Any) -> None:
    assert error(world.describe_room("ann", metadata)) == "invalid"


@pytest.mark.contract("D39", "D57")
def test_a_change_of_mode_starts_the_room_anew(world: World) -> None:
    for name in ("ann", "bob"):
        world.toggle(name)
    world.start("ann")
    world.sleep(1)
    effects = world.describe_room("ann", {"netplay_mode": 0})
    assert (world.room().settings.netplay_mode, world.room().settings.room_phase) == (
        "live_stream",
        "running",
    )
    assert ["ready" in row for row in users(effects, "bob").values()] == [False, False]
    assert world.sleep(40) == []
    effects = world.describe_room("ann", {"netplay_mode": "delay_sync"})
    assert (world.room().settings.netplay_mode, world.room().settings.room_phase) == ("delay_sync", "lobby")
    assert [row["ready"] for row in users(effects, "bob").values()] == [False, False]
    world.describe_room("ann", {"netplay_mode": 2})
    assert world.rooms.listing()[0]["netplay_mode"] == "arcade"


@pytest.mark.contract("D39")
@pytest.mark.parametrize("mode", [1, "delay_sync", None, "nonsense", True, [], 7])
def test_what_is_no_other_mode_changes_nothing(world: World, mode: Any) -> None:
    world.toggle("ann")
    assert value(world.describe_room("ann", {"netplay_mode": mode})) is None
    assert world.room().settings.netplay_mode == "delay_sync"
    assert world.room().members["id:ann"].ready is True


# A member's


@pytest.mark.contract("D40")
def test_what_a_member_says_about_itself_is_merged_and_shown(world: World) -> None:
    effects = world.describe_player("bob", {"coreId": "i", "romHash": "h"})
    assert events(effects, "bob") == events(effects, "ann") == ["users-updated", "ack"]
    assert value(effects) is None
    assert users(effects, "ann")["id:bob"]["metadata"] == {"coreId": "i", "romHash": "h"}
    world.sleep(1)
    effects = world.describe_player("bob", {"romHash": "h2", "netplay_mode": 0})
    row = users(effects, "ann")["id:bob"]
    assert row["metadata"] == {"coreId": "i", "romHash": "h2"}
    assert row["netplay_mode"] == 0


@pytest.mark.contract("D35")
def test_metadata_outlives_joining_again(world: World) -> None:
    world.describe_player("bob", {"a": 1})
    assert value(world.join("bob", metadata=None, **GAME))["users"]["id:bob"]["metadata"] == {"a": 1}


@pytest.mark.contract("D38")
def test_only_members_say_something_about_themselves(world: World) -> None:
    assert error(world.describe_player("eve", {})) == "not in room"
    assert error(world.describe_player("ann", {}, "nowhere")) == "no such room"


@pytest.mark.contract("D40")
@pytest.mark.parametrize("metadata", BAD_METADATA)
def test_a_members_metadata_is_a_bounded_object(world: World, metadata: Any) -> None:
    assert error(world.describe_player("bob", metadata)) == "invalid"
    assert "metadata" not in world.room().members["id:bob"].extra


@pytest.mark.contract("D40")
def test_metadata_does_not_grow_piece_by_piece(world: World) -> None:
    for n in range(64):
        assert value(world.describe_player("bob", {f"k{n}": 1})) is None
    assert error(world.describe_player("bob", {"more": 1})) == "invalid"
    assert value(world.describe_player("bob", {"k0": 2})) is None
    assert error(world.describe_player("bob", {"k0": "x" * 8000})) == "invalid"
    assert world.room().members["id:bob"].extra["metadata"]["k0"] == 2


def test_the_size_of_metadata_can_be_set() -> None:
    world = World(limits=RoomLimits(metadata_bytes=100))
    world.open("ann")
    assert value(world.describe_player("ann", {"a": "x" * 80})) is None
    assert error(world.describe_player("ann", {"a": "x" * 100})) == "invalid"
    assert error(world.describe_room("ann", {"a": "x" * 100})) == "invalid"


def test_metadata_that_was_no_object_gives_way(world: World) -> None:
    world.join("bob", metadata="text", **GAME)
    world.describe_player("bob", {"a": 1})
    assert world.room().members["id:bob"].extra["metadata"] == {"a": 1}


def test_what_was_shown_before_stays_as_it_was(world: World) -> None:
    effects = world.describe_player("bob", {"a": 1})
    shown = users(effects, "ann")["id:bob"]["metadata"]
    world.describe_player("bob", {"a": 2})
    assert shown == {"a": 1}


def test_in_a_large_room_a_spectators_metadata_is_its_own_affair(world: World) -> None:
    for n in range(FULL_MAP_MEMBERS):
        world.join(f"s{n}", player_slot=8)
    world.sleep(1)
    effects = world.describe_player("s0", {"a": 1})
    assert users(effects, "s0")["id:s0"]["metadata"] == {"a": 1}
    for other in ("ann", "bob", "s1"):
        assert events(effects, other) == ["ack"]


# Its game


@pytest.mark.contract("D41", "M9")
@pytest.mark.parametrize(
    ("game", "status", "reason"),
    [
        (("h", "c", "1.0"), "ok", None),
        (("h", "c", None), "ok", None),
        (("x", "c", "1.0"), "rom_mismatch", "ROM mismatch: host is using Game"),
        ((None, "c", "1.0"), "rom_mismatch", "ROM mismatch: host is using Game"),
        (("h", "x", "1.0"), "emulator_mismatch", "Emulator mismatch: host is using c"),
        (("h", None, "1.0"), "emulator_mismatch", "Emulator mismatch: host is using c"),
        (("h", "c", "2.0"), "version_mismatch", "Core version mismatch: host is using 1.0"),
        (("x", "x", "2.0"), "version_mismatch", "Core version mismatch: host is using 1.0"),
        (("x", "x", ""), "emulator_mismatch", "Emulator mismatch: host is using c"),
        ((5, {}, []), "emulator_mismatch", "Emulator mismatch: host is using c"),
    ],
)
def test_a_members_game_is_compared_with_the_rooms(
    world: World, game: tuple[Any, Any, Any], status: str, reason: str | None
) -> None:
    effects = world.info("bob", *game)
    told = {"playerId": "id:bob", "validationStatus": status, "validationReason": reason}
    assert heard(effects, "ann") == [("player-validation-updated", told), ("ack", None)]
    assert heard(effects, "bob") == heard(effects, "ann")
    assert value(effects) is None
    row = world.rooms.state_for("ann", "R")["users"]["id:bob"]
    assert (row["validationStatus"], row["validationReason"]) == (status, reason)


@pytest.mark.contract("D35", "D41")
def test_the_result_outlives_joining_again_and_cannot_be_forged(world: World) -> None:
    world.info("bob", "x", "c")
    row = value(world.join("bob", validationStatus="ok", **GAME))["users"]["id:bob"]
    assert row["validationStatus"] == "rom_mismatch"


def test_a_room_asks_only_for_what_it_knows() -> None:
    world = World()
    world.open("ann", netplay_mode=1)
    told = dict(heard(world.info("ann", "x", "y", "z"), "ann"))["player-validation-updated"]
    assert told["validationStatus"] == "ok"
    world.describe_room("ann", {"rom_hash": "h"})
    told = dict(heard(world.info("ann", "x"), "ann"))["player-validation-updated"]
    assert told["validationReason"] == "ROM mismatch: host is using Unknown ROM"


@pytest.mark.contract("D41", "M9")
def test_whose_game_is_compared(world: World) -> None:
    world.open("cat", "Live")
    assert error(world.info("ann", room="nowhere")) == "no such room"
    assert error(world.info("cat")) == "not in room"
    effects = world.info("cat", room="Live")
    assert (heard(effects, "cat"), value(effects)) == ([("ack", None)], None)
    assert world.rooms.get("Live").members["id:cat"].validation is None  # type: ignore[union-attr]


@pytest.mark.contract("D41")
def test_another_mode_is_an_error(world: World) -> None:
    assert error(world.info("bob", "h", "c", mode=0)) == {
        "error": "mode_mismatch",
        "message": "Room is delay_sync but client expects live_stream",
    }
    assert value(world.info("bob", "h", "c", mode=1)) is None
    assert value(world.info("bob", "h", "c", mode="delay_sync")) is None


# In large rooms


def test_in_a_large_room_a_players_marks_reach_spectators_by_the_map_only(world: World) -> None:
    for n in range(FULL_MAP_MEMBERS):
        world.join(f"s{n}", player_slot=8)
    world.sleep(1)
    effects = world.info("bob", "x", "c")
    assert events(effects, "ann") == ["player-validation-updated", "users-updated", "ack"]
    assert events(effects, "s0") == ["users-updated", "ack"]
    assert users(effects, "s0")["id:bob"]["validationStatus"] == "rom_mismatch"
    world.sleep(1)
    effects = world.toggle("bob")
    assert events(effects, "ann") == ["player-ready-updated", "lobby-state", "users-updated", "ack"]
    assert events(effects, "s0") == ["users-updated", "ack"]
    world.sleep(1)
    effects = world.toggle("s0")
    assert events(effects, "s0") == ["player-ready-updated", "lobby-state", "users-updated", "ack"]
    assert events(effects, "s1") == ["ack"]

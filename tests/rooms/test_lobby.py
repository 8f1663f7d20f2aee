"""The delay-sync lobby: being ready, and starting a game together."""

from __future__ import annotations

from typing import Any

import pytest

from sfu.rooms import RegistryChanged
from sfu.rooms.lobby import BARRIER_TIMEOUT, START_DELAY_MS
from sfu.rooms.names import Phase
from tests.support.rooms import World, error, events, heard, users, value

GAME = {"rom_hash": "h", "core_type": "c"}


@pytest.fixture
def world() -> World:
    """Ann's delay-sync room with Bob as the second player and Sue watching."""
    world = World()
    world.open("ann", netplay_mode=1, **GAME)
    world.join("bob", **GAME)
    world.join("sue", player_slot=8, **GAME)
    world.sleep(1)
    return world


def phase(world: World) -> str:
    return world.room().settings.room_phase


def prepare(world: World) -> None:
    for name in ("ann", "bob"):
        world.toggle(name)
    value(world.start("ann"))


def started(effects: list[Any], socket: str) -> Any:
    """The payload of the ``start-game`` that a socket gets, None if there is none."""
    return dict(heard(effects, socket)).get("start-game")


# Being ready


@pytest.mark.contract("D50")
def test_toggling_readiness_is_told_in_both_apis_ways(world: World) -> None:
    effects = world.toggle("bob")
    assert heard(effects, "ann") == [
        ("player-ready-updated", {"playerId": "id:bob", "ready": True}),
        ("lobby-state", {"phase": "waiting", "player_ready": {"id:ann": False, "id:bob": True}}),
        ("ack", None),
    ]
    assert events(effects, "bob") == events(effects, "sue") == events(effects, "ann")
    assert value(effects) is None
    assert ("player-ready-updated", {"playerId": "id:bob", "ready": False}) in heard(
        world.toggle("bob"), "ann"
    )


@pytest.mark.contract("D50")
def test_both_apis_read_and_write_one_flag(world: World) -> None:
    world.toggle("ann")
    effects = world.ready("bob")
    state = {"phase": "ready", "player_ready": {"id:ann": True, "id:bob": True}}
    assert ("lobby-state", state) in heard(effects, "sue")
    assert ("player-ready-updated", {"playerId": "id:bob", "ready": True}) in heard(effects, "sue")
    effects = world.ready("ann", ready=False)
    state = {"phase": "waiting", "player_ready": {"id:ann": False, "id:bob": True}}
    assert ("lobby-state", state) in heard(effects, "bob")
    assert error(world.start("ann")) == error(world.launch("ann")) == "not all players ready"
    rows = world.rooms.state_for("sue", "R")["users"]
    assert {userid: row["ready"] for userid, row in rows.items()} == {
        "id:ann": False,
        "id:bob": True,
        "id:sue": False,
    }


def test_spectators_toggle_but_have_no_part_in_the_second_api(world: World) -> None:
    assert ("player-ready-updated", {"playerId": "id:sue", "ready": True}) in heard(
        world.toggle("sue"), "ann"
    )
    assert error(world.ready("sue")) == "spectators cannot participate in lobby"
    assert value(world.ready("sue", ready=False)) is None
    assert list(world.room().lobby_state()["player_ready"]) == ["id:ann", "id:bob"]


def test_readiness_is_for_members_of_delay_sync_lobbies(world: World) -> None:
    world.open("cat", "Live")
    assert error(world.toggle("ann", "nowhere")) == "no such room"
    assert error(world.toggle("cat", "Live")) == "not in delay sync lobby"
    assert error(world.toggle("cat")) == "not in room"
    for ready in (True, False):
        assert error(world.ready("ann", ready=ready, room="nowhere")) == "not a delay sync room"
        assert error(world.ready("cat", ready=ready, room="Live")) == "not a delay sync room"
    assert error(world.ready("cat")) == "spectators cannot participate in lobby"
    assert error(world.ready("cat", ready=False)) == "not in room"
    prepare(world)
    assert error(world.toggle("ann")) == "not in delay sync lobby"


# Starting


def test_the_host_starts_when_all_players_are_ready(world: World) -> None:
    world.toggle("ann")
    assert error(world.start("ann")) == "not all players ready"
    world.toggle("bob")
    assert error(world.start("bob")) == "not host"
    effects = world.start("ann")
    start = {"startTime": round(world.now * 1000) + START_DELAY_MS, "startFrame": 1}
    for name in ("ann", "bob", "sue"):
        assert heard(effects, name) == [("prepare-start", start), ("ack", None), ("rooms-updated", None)]
    assert RegistryChanged("R") in effects
    assert phase(world) == "prepare"
    assert world.rooms.state_for("ann", "R")["lobby_state"]["phase"] == "launching"
    assert error(world.start("ann")) == "not in delay sync lobby"


def test_who_may_start(world: World) -> None:
    world.open("cat", "Live")
    assert error(world.start("ann", "nowhere")) == "no such room"
    assert error(world.start("cat", "Live")) == "not in delay sync lobby"
    assert error(world.start("cat")) == "not in room"


@pytest.mark.contract("D48")
def test_a_player_in_grace_does_not_keep_the_lobby_from_starting(world: World) -> None:
    world.toggle("ann")
    world.lose("bob")
    assert world.room().lobby_phase == "ready"
    effects = world.start("ann")
    assert value(effects) is None
    assert started(world.at_frame("ann"), "ann") is not None


def test_a_lobby_of_spectators_has_nobody_to_start_for(world: World) -> None:
    for name in ("ann", "bob"):
        world.slot(name, 8)
    assert error(world.start("ann")) == "not all players ready"


@pytest.mark.contract("D48")
@pytest.mark.parametrize("how", ["leave", "lose", "watch"])
def test_all_are_ready_when_the_one_who_was_not_is_gone(world: World, how: str) -> None:
    world.toggle("ann")
    match how:
        case "leave":
            effects, flags = world.leave("bob"), {"id:ann": True}
        case "lose":
            effects, flags = world.lose("bob"), {"id:ann": True, "id:bob": False}
        case _:
            effects, flags = world.slot("bob", 8), {"id:ann": True}
    for name in ("ann", "sue"):
        assert ("lobby-state", {"phase": "ready", "player_ready": flags}) in heard(effects, name)
    assert value(world.start("ann")) is None


@pytest.mark.contract("D48")
@pytest.mark.parametrize("opening", [True, False])
def test_all_are_ready_no_longer_when_who_is_not_comes(world: World, opening: bool) -> None:
    world.toggle("bob")
    world.lose("ann")
    world.sleep(1)
    state = {"phase": "waiting", "player_ready": {"id:ann": False, "id:bob": True}}
    effects = world.open("ann-2") if opening else world.join("ann-2")
    assert [payload for event, payload in heard(effects, "bob") if event == "lobby-state"] == [state]
    world.sleep(1)
    assert "lobby-state" not in events(world.join("cat", **GAME), "bob"), "nothing new"


# The way to the first frame


def test_the_game_runs_when_the_last_player_is_at_its_first_frame(world: World) -> None:
    prepare(world)
    world.sleep(1)
    effects = world.at_frame("ann")
    assert heard(effects, "bob") == [("ack", None)]
    assert events(world.at_frame("sue"), "sue") == ["ack"], "spectators report as well and count for nothing"
    effects = world.at_frame("bob", 3)
    start = {"frame": 3, "start_time": round(world.now * 1000) + START_DELAY_MS}
    for name in ("ann", "bob", "sue"):
        assert heard(effects, name) == [("start-game", start), ("ack", None)]
    assert RegistryChanged("R") in effects
    assert phase(world) == "running"
    assert error(world.at_frame("bob")) == "not in prepare phase"
    assert world.sleep(BARRIER_TIMEOUT + 1) == []


def test_only_a_room_that_prepares_has_a_first_frame(world: World) -> None:
    world.open("cat", "Live")
    assert error(world.at_frame("ann")) == "not in prepare phase"
    assert error(world.at_frame("cat", room="Live")) == "not in prepare phase"
    assert error(world.at_frame("ann", room="nowhere")) == "not in prepare phase"


@pytest.mark.contract("D48")
def test_only_members_report(world: World) -> None:
    prepare(world)
    world.at_frame("ann")
    assert error(world.at_frame("eve")) == "not in room"
    assert phase(world) == "prepare"


@pytest.mark.parametrize("frame", ["1", 1.5, -1, 2**53, True, [], {}])
def test_a_frame_is_a_number(world: World, frame: Any) -> None:
    prepare(world)
    assert error(world.at_frame("ann", frame)) == "invalid"
    assert value(world.at_frame("ann", None)) is None


@pytest.mark.contract("D48")
@pytest.mark.parametrize("how", ["leave", "lose", "watch"])
def test_the_game_runs_when_the_one_it_waited_for_is_gone(world: World, how: str) -> None:
    prepare(world)
    world.at_frame("ann", 2)
    match how:
        case "leave":
            effects = world.leave("bob")
        case "lose":
            effects = world.lose("bob")
        case _:
            effects = world.slot("bob", 8)
    assert started(effects, "ann")["frame"] == 2
    assert started(effects, "sue") is not None
    assert phase(world) == "running"


@pytest.mark.contract("D48")
def test_rejoining_to_watch_ends_the_waiting_too(world: World) -> None:
    prepare(world)
    world.at_frame("ann")
    assert started(world.join("bob", player_slot=8), "ann") is not None


@pytest.mark.contract("D48")
def test_who_comes_back_is_waited_for_again(world: World) -> None:
    prepare(world)
    world.lose("bob")
    assert phase(world) == "prepare", "nobody is at the first frame yet"
    world.join("bob-2", **GAME)
    assert started(world.at_frame("ann"), "ann") is None
    assert started(world.at_frame("bob-2"), "ann") is not None


@pytest.mark.contract("D48")
def test_who_comes_later_is_not_waited_for(world: World) -> None:
    prepare(world)
    world.join("cat", **GAME)
    world.slot("sue", 3)
    world.at_frame("ann")
    assert started(world.at_frame("bob"), "cat") is not None


@pytest.mark.contract("D48")
def test_the_game_starts_without_those_who_do_not_get_there(world: World) -> None:
    prepare(world)
    world.at_frame("bob", 5)
    assert started(world.sleep(BARRIER_TIMEOUT - 0.1), "bob") is None
    effects = world.sleep(0.2)
    assert started(effects, "ann")["frame"] == 5
    assert RegistryChanged("R") in effects
    assert phase(world) == "running"


@pytest.mark.contract("D48")
def test_it_is_back_to_the_lobby_if_nobody_gets_there(world: World) -> None:
    prepare(world)
    world.toggle("sue")
    effects = world.sleep(BARRIER_TIMEOUT + 0.1)
    assert started(effects, "ann") is None
    state = {"phase": "waiting", "player_ready": {"id:ann": False, "id:bob": False}}
    assert ("lobby-state", state) in heard(effects, "sue")
    assert [row["ready"] for row in users(effects, "sue").values()] == [False, False, False]
    assert RegistryChanged("R") in effects
    assert phase(world) == "lobby"
    prepare(world)
    assert phase(world) == "prepare"


@pytest.mark.contract("D48")
def test_those_who_got_there_and_went_start_nothing(world: World) -> None:
    prepare(world)
    world.at_frame("bob")
    world.lose("bob")
    assert started(world.sleep(BARRIER_TIMEOUT + 0.1), "ann") is None
    assert phase(world) == "lobby"


@pytest.mark.contract("D48", "D49")
def test_each_start_waits_for_everyone_anew(world: World) -> None:
    prepare(world)
    world.at_frame("ann")
    world.open("ann")
    prepare(world)
    assert started(world.at_frame("bob"), "bob") is None
    assert started(world.at_frame("ann"), "bob") is not None


# Launching


@pytest.mark.contract("D17", "D50", "M6")
def test_the_owner_launches(world: World) -> None:
    for name in ("ann", "bob"):
        world.ready(name)
    assert error(world.launch("bob")) == "not room owner"
    effects = world.launch("ann")
    launch = {"seed": round(world.now * 1000), "delay": 2, "start_frame": 1}
    for name in ("ann", "bob", "sue"):
        assert heard(effects, name) == [("game-launch", launch), ("ack", None), ("rooms-updated", None)]
    assert phase(world) == "running"
    assert world.room().lobby_state()["phase"] == "started"
    assert error(world.launch("ann")) == "not all players ready"


def test_who_may_launch(world: World) -> None:
    world.open("cat", "Live")
    assert error(world.launch("cat", "Live")) == "not a delay sync room"
    assert error(world.launch("cat", "nowhere")) == "not a delay sync room"
    assert error(world.launch("cat")) == "not room owner"
    assert error(world.launch("ann")) == "not all players ready"
    world.lose("ann")
    assert error(world.launch("ann")) == "not room owner"


@pytest.mark.parametrize(
    ("config", "delay"),
    [({"frameDelay": 5}, 5), ({"frameDelay": 0}, 2), ({"frameDelay": "5"}, 2), ({}, 2), (None, 2), ([], 2)],
)
def test_the_delay_is_what_the_opener_set(config: Any, delay: int) -> None:
    world = World()
    world.open("ann", netplay_mode=1, sync_config=config)
    world.ready("ann")
    assert dict(heard(world.launch("ann"), "ann"))["game-launch"]["delay"] == delay


# Back to the lobby


@pytest.mark.contract("D49")
@pytest.mark.parametrize("running", [False, True])
def test_the_owner_calls_everyone_back_by_opening_again(world: World, running: bool) -> None:
    prepare(world)
    if running:
        world.at_frame("ann")
        world.at_frame("bob")
    world.sleep(1)
    assert error(world.open("bob")) == "room exists"
    effects = world.open("ann", max_players=8, password="new")
    assert value(effects) is None
    assert "lobby-state" in events(effects, "sue")
    assert [row["ready"] for row in users(effects, "bob").values()] == [False, False, False]
    assert phase(world) == "lobby"
    assert (world.room().settings.max_players, world.room().settings.password) == (4, "")
    assert error(world.open("ann")) == "room exists", "there is nothing to call back from"
    assert world.sleep(BARRIER_TIMEOUT + 1) == []


@pytest.mark.contract("D49")
def test_another_socket_of_the_owner_calls_nobody_back(world: World) -> None:
    prepare(world)
    assert error(world.open("ann-2")) == "room exists"
    world.lose("ann")
    assert value(world.open("ann-2")) is None
    assert phase(world) == "prepare", "coming back by opening is no reset"


@pytest.mark.contract("D49")
def test_a_lone_host_that_opens_afresh_is_in_the_lobby_again() -> None:
    world = World()
    world.open("ann", netplay_mode=1)
    world.toggle("ann")
    world.start("ann")
    world.open("ann", netplay_mode=1)
    assert (phase(world), world.room().members["id:ann"].ready) == (Phase.LOBBY, False)
    world.sleep(BARRIER_TIMEOUT + 1)
    assert world.rooms.get_timer() is None


def test_a_room_in_prepare_can_end(world: World) -> None:
    prepare(world)
    for name in ("ann", "bob", "sue"):
        world.leave(name)
    world.sleep(1)
    assert len(world.rooms) == 0
    assert world.rooms.get_timer() is None


# Who joins


def test_who_joins_learns_where_the_lobby_stands(world: World) -> None:
    world.toggle("ann")
    lobby = value(world.join("cat", **GAME))["lobby_state"]
    assert lobby == {
        "phase": "waiting",
        "player_ready": {"id:ann": True, "id:bob": False, "id:cat": False},
    }


@pytest.mark.contract("D59")
def test_the_state_of_a_room_can_be_asked_for(world: World) -> None:
    world.toggle("ann")
    state = world.rooms.state_for("sue", "R")
    assert state == value(world.join("sue", **GAME))
    assert state["max"] == 4
    assert state["lobby_state"] == {"phase": "waiting", "player_ready": {"id:ann": True, "id:bob": False}}

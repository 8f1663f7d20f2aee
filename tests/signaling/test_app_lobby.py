"""Events of the lobby and of a running game, on the wire: ack, order, and what others hear."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sfu.signaling.identity import derive_userid
from tests.support.app_world import AppWorld, MemorySocket

GAME = {"rom_hash": "h", "core_type": "c"}
EXTRA = {"room_name": "R", **GAME}
R = {"roomName": "R"}
NO_METADATA: list[Any] = [None, 5, [], "x", {"x": "y" * 9000}]


async def lobby(world: AppWorld) -> tuple[MemorySocket, MemorySocket]:
    """Alice's delay-sync room with Bob in it; both have heard everything."""
    alice, bob = await world.connect("alice"), await world.connect("bob")
    sync = {"netplay_mode": 1, "sync_config": {"frameDelay": 5, "syncMode": "timeout"}}
    await alice.ask("open-room", {"extra": EXTRA | sync})
    await bob.ask("join-room", {"extra": EXTRA})
    await heard(world, alice, bob)
    return alice, bob


async def heard(world: AppWorld, *sockets: MemorySocket) -> None:
    await world.settle()
    for socket in sockets:
        socket.take()


def ready(socket: MemorySocket, flag: bool) -> tuple[str, Any]:
    return ("player-ready-updated", {"playerId": socket.userid, "ready": flag})


def lobby_state(phase: str, **flags: bool) -> tuple[str, Any]:
    return ("lobby-state", {"phase": phase, "player_ready": {derive_userid(u): f for u, f in flags.items()}})


# Every event, refused


@pytest.mark.contract("D1")
@pytest.mark.parametrize(
    "event",
    [
        "request-room-state", "update-player-slot", "update-room-metadata", "update-player-metadata",
        "toggle-ready", "player-ready", "player-unready", "start-game", "ready-at-frame-1", "launch-game",
        "join-info",
    ],
)  # fmt: skip
@pytest.mark.parametrize("args", [[], [None], [5], ["R"], [[]], [{}], [{"roomName": 5}], [R, R]])
async def test_who_names_no_room_is_invalid(
    autojump_clock: MockClock, world: AppWorld, event: str, args: list[Any]
) -> None:
    await world.host("alice")
    bob = await world.guest("bob")
    assert await bob.call(event, *args) == ["invalid"]


@pytest.mark.parametrize(
    ("event", "payload", "error"),
    [
        ("request-room-state", {}, "no such room"),
        ("update-player-slot", {"playerSlot": 1}, "no such room"),
        ("update-room-metadata", {"metadata": {}}, "no such room"),
        ("update-player-metadata", {"metadata": {}}, "no such room"),
        ("toggle-ready", {}, "no such room"),
        ("player-ready", {}, "not a delay sync room"),
        ("player-unready", {}, "not a delay sync room"),
        ("start-game", {}, "no such room"),
        ("ready-at-frame-1", {"frame": 1}, "not in prepare phase"),
        ("launch-game", {}, "not a delay sync room"),
        ("join-info", {}, "no such room"),
    ],
)
async def test_a_room_that_is_not_there(
    autojump_clock: MockClock, world: AppWorld, event: str, payload: dict[str, Any], error: str
) -> None:
    alice, _ = await lobby(world)
    assert await alice.call(event, {"roomName": "nowhere", **payload}) == [error]
    assert alice.events() in (["ack"], ["rooms-updated", "ack"])


@pytest.mark.contract("D38", "D39")
@pytest.mark.parametrize(
    ("event", "payload", "error"),
    [
        ("request-room-state", {}, "not in room"),
        ("update-player-slot", {"playerSlot": 3}, "not in room"),
        ("update-room-metadata", {"metadata": {"rom_name": "x"}}, "not in room"),
        ("update-player-metadata", {"metadata": {"x": 1}}, "not in room"),
        ("toggle-ready", {}, "not in room"),
        ("player-ready", {}, "spectators cannot participate in lobby"),
        ("player-unready", {}, "not in room"),
        ("start-game", {}, "not in room"),
        ("launch-game", {}, "not room owner"),
        ("join-info", {}, "not in room"),
    ],
)
async def test_somebody_elses_room(
    autojump_clock: MockClock, world: AppWorld, event: str, payload: dict[str, Any], error: str
) -> None:
    alice, bob = await lobby(world)
    eve = await world.host("eve", "E")
    await heard(world, alice, bob)
    assert await eve.call(event, {**R, **payload}) == [error]
    await world.settle()
    assert alice.take() == bob.take() == []


@pytest.mark.parametrize(
    ("event", "payload", "error"),
    [
        ("toggle-ready", {}, "not in delay sync lobby"),
        ("player-ready", {}, "not a delay sync room"),
        ("player-unready", {}, "not a delay sync room"),
        ("start-game", {}, "not in delay sync lobby"),
        ("ready-at-frame-1", {"frame": 1}, "not in prepare phase"),
        ("launch-game", {}, "not a delay sync room"),
        ("join-info", {}, None),
    ],
)
async def test_a_room_that_streams_has_no_lobby(
    autojump_clock: MockClock, world: AppWorld, event: str, payload: dict[str, Any], error: str | None
) -> None:
    alice = await world.host("alice")
    assert await alice.call(event, {**R, **payload}) == [error]


# Ready


@pytest.mark.contract("D50")
async def test_toggling_readiness(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await lobby(world)
    for flag in (True, False):
        assert await bob.call("toggle-ready", R) == [None]
        told = [ready(bob, flag), lobby_state("waiting", alice=False, bob=flag)]
        assert bob.take() == [*told, ("ack", None)]
        assert alice.take() == told
    await world.settle()
    assert bob.take() == [], "no list, no map"


@pytest.mark.contract("D50")
async def test_the_other_way_of_being_ready(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await lobby(world)
    assert await alice.call("player-ready", R) == [None]
    alice.take()
    bob.take()
    assert await bob.call("player-ready", R) == [None]
    told = [ready(bob, True), lobby_state("ready", alice=True, bob=True)]
    assert bob.take() == [*told, ("ack", None)]
    assert alice.take() == told
    assert await bob.call("player-unready", R) == [None]
    assert bob.take() == [ready(bob, False), lobby_state("waiting", alice=True, bob=False), ("ack", None)]
    await bob.ask("update-player-slot", {**R, "playerSlot": 8})
    assert await bob.call("player-ready", R) == ["spectators cannot participate in lobby"]


# The way into the game


@pytest.mark.contract("D17", "D48")
async def test_starting_together(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await lobby(world)
    assert await bob.call("start-game", R) == ["not host"]
    assert await alice.call("start-game", R) == ["not all players ready"]
    for socket in (alice, bob):
        await socket.ask("toggle-ready", R)
    await heard(world, alice, bob)
    assert await alice.call("start-game", R) == [None]
    [prepare, ack, listed] = alice.take()
    assert prepare[0] == "prepare-start"
    assert prepare[1] == {"startTime": prepare[1]["startTime"], "startFrame": 1}
    assert (ack, listed[0]) == (("ack", None), "rooms-updated")
    assert bob.take() == [prepare, listed]
    assert await alice.call("start-game", R) == ["not in delay sync lobby"]
    assert await alice.call("toggle-ready", R) == ["not in delay sync lobby"]
    await heard(world, alice, bob)
    assert await alice.call("ready-at-frame-1", {**R, "frame": 1}) == [None]
    assert (alice.take(), bob.take()) == ([("ack", None)], [])
    assert await bob.call("ready-at-frame-1", {**R, "frame": 2}) == [None]
    [start, ack] = bob.take()
    assert start == ("start-game", {"frame": 2, "start_time": start[1]["start_time"]})
    assert abs(start[1]["start_time"] - prepare[1]["startTime"]) < 60_000
    assert ack == ("ack", None)
    assert alice.take() == [start]
    assert await bob.call("ready-at-frame-1", {**R, "frame": 1}) == ["not in prepare phase"]


@pytest.mark.contract("D48")
async def test_nobody_waits_for_the_lost(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await lobby(world)
    for socket in (alice, bob):
        await socket.ask("toggle-ready", R)
    await alice.ask("start-game", R)
    await alice.ask("ready-at-frame-1", {**R, "frame": 1})
    await heard(world, alice)
    await bob.leave()
    assert "start-game" in alice.events()


@pytest.mark.contract("D48")
async def test_nobody_waits_for_ever(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await lobby(world)
    for socket in (alice, bob):
        await socket.ask("toggle-ready", R)
    await alice.ask("start-game", R)
    await heard(world, alice, bob)
    await trio.sleep(31)
    assert lobby_state("waiting", alice=False, bob=False) in alice.take()
    state = await bob.ask("request-room-state", R)
    assert state["room_phase"] == "lobby"


@pytest.mark.contract("D17")
async def test_launching(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await lobby(world)
    assert await bob.call("launch-game", R) == ["not room owner"]
    assert await alice.call("launch-game", R) == ["not all players ready"]
    for socket in (alice, bob):
        await socket.ask("player-ready", R)
    await heard(world, alice, bob)
    assert await alice.call("launch-game", R) == [None]
    [launch, ack, listed] = alice.take()
    assert launch == ("game-launch", {"seed": launch[1]["seed"], "delay": 5, "start_frame": 1})
    assert launch[1]["seed"] > 1_600_000_000_000
    assert (ack, listed[0]) == (("ack", None), "rooms-updated")
    assert bob.take() == [launch, listed]


# Metadata


@pytest.mark.contract("D39", "M8")
async def test_the_hosts_word_about_the_room(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await lobby(world)
    eve = await world.connect("eve")
    await heard(world, alice, bob, eve)
    news = {"rom_hash": "h2", "rom_name": "Game", "core_type": "c2", "coreVersion": "1", "platform": "p"}
    assert await bob.call("update-room-metadata", {**R, "metadata": news}) == ["not host"]
    assert await alice.call("update-room-metadata", {**R, "metadata": news}) == [None]
    [ack, listed] = alice.take()
    assert (ack, listed[0]) == (("ack", None), "rooms-updated")
    entry = listed[1][0]
    assert {key: entry[key] for key in (*news, "romHash")} == {**news, "romHash": "h2"}
    assert eve.take() == [listed]
    await world.settle()
    assert world.romm.rooms["R"].extras["rom_hash"] == "h2"
    for bad in NO_METADATA:
        assert await alice.call("update-room-metadata", {**R, "metadata": bad}) == ["invalid"]


@pytest.mark.contract("D40")
async def test_a_players_word_about_oneself(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await lobby(world)
    news = {"coreId": "c", "coreVersion": "1", "netplay_mode": 0}
    assert await bob.call("update-player-metadata", {**R, "metadata": news}) == [None]
    [updated, ack] = bob.take()
    assert ack == ("ack", None)
    assert alice.take() == [updated]
    row = updated[1][bob.userid]
    assert (row["metadata"], row["netplay_mode"]) == ({"coreId": "c", "coreVersion": "1"}, 0)
    await bob.ask("update-player-metadata", {**R, "metadata": {"coreVersion": "2"}})
    await world.settle()
    row = alice.take()[-1][1][bob.userid]
    assert row["metadata"] == {"coreId": "c", "coreVersion": "2"}
    for bad in NO_METADATA:
        assert await bob.call("update-player-metadata", {**R, "metadata": bad}) == ["invalid"]


@pytest.mark.contract("D41", "M9")
@pytest.mark.parametrize(
    ("game", "status", "reason"),
    [
        ({"romHash": "h", "emulatorId": "c"}, "ok", None),
        ({"romHash": "x", "emulatorId": "c"}, "rom_mismatch", "ROM mismatch: host is using "),
        ({"romHash": "h", "emulatorId": "x"}, "emulator_mismatch", "Emulator mismatch: host is using "),
    ],
)
async def test_what_one_plays_with(
    autojump_clock: MockClock, world: AppWorld, game: dict[str, Any], status: str, reason: str | None
) -> None:
    alice, bob = await lobby(world)
    assert await bob.call("join-info", {**R, **game}) == [None]
    [told, ack] = bob.take()
    assert ack == ("ack", None)
    assert alice.take() == [told]
    assert (told[0], told[1]["playerId"], told[1]["validationStatus"]) == (
        "player-validation-updated",
        bob.userid,
        status,
    )
    assert (told[1]["validationReason"] or "").startswith(reason or "")
    assert (told[1]["validationReason"] is None) is (reason is None)


@pytest.mark.contract("D41", "M9")
async def test_which_version_one_plays_with(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await lobby(world)
    await alice.ask("update-room-metadata", {**R, "metadata": {"coreVersion": "1"}})
    await bob.ask("join-info", {**R, "romHash": "h", "emulatorId": "c", "emulatorVersion": "2"})
    await world.settle()
    row = (await alice.ask("request-room-state", R))["users"][bob.userid]
    assert row["validationStatus"] == "version_mismatch"
    assert row["validationReason"] == "Core version mismatch: host is using 1"


async def test_what_mode_one_expects(autojump_clock: MockClock, world: AppWorld) -> None:
    _, bob = await lobby(world)
    [error] = await bob.call("join-info", {**R, "romHash": "h", "netplayMode": 0}) or []
    assert error["error"] == "mode_mismatch"


# Asking


@pytest.mark.contract("D59", "D4", "M24")
async def test_asking_for_a_rooms_state(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await lobby(world)
    answer = await bob.call("request-room-state", R)
    [listed, ack] = bob.take()
    assert listed[0] == "rooms-updated"
    assert ack == ("ack", *(answer or []))
    state = (answer or [])[1]
    assert set(state["users"]) == {alice.userid, bob.userid}
    assert (state["netplay_mode"], state["room_phase"], state["max"]) == ("delay_sync", "lobby", 4)
    assert state["lobby_state"]["phase"] == "waiting"
    assert alice.take() == [], "only who asks is answered"


# Pauses


@pytest.mark.contract("D17", "M6")
@pytest.mark.parametrize("args", [[], [{}], [None], [R], [{"roomName": "elsewhere"}]])
@pytest.mark.parametrize("what", ["paused", "resumed"])
async def test_the_host_pauses(
    autojump_clock: MockClock, world: AppWorld, what: str, args: list[Any]
) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    await heard(world, alice, bob)
    event = f"netplay-host-{what}"
    assert await alice.call(event, *args) == [None]
    told = (event, {"text": f"Host has {what} emulation"})
    assert alice.take() == [told, ("ack", None)]
    assert bob.take() == [told]
    assert await bob.call(event, *args) == ["not owner"]
    assert await (await world.connect("eve")).call(event, *args) == ["no room"]
    assert alice.take() == []
    assert await alice.call(event, {"roomName": 5}) == ["invalid"]

"""P2P signals and the host's pauses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.rooms import World, error, heard, value


@pytest.fixture
def world() -> World:
    world = World()
    world.open("ann")
    world.join("bob")
    world.join("sue", player_slot=8)
    world.open("eve", "Other")
    return world


@pytest.mark.contract("D82")
@pytest.mark.parametrize(
    ("sender", "target", "room", "reached"),
    [
        ("ann", "bob", None, "bob"),
        ("ann", "bob", "R", "bob"),
        ("ann", "bob", " R ", "bob"),
        ("ann", "bob", "", "bob"),
        ("ann", "bob", 5, "bob"),
        ("sue", "ann", "R", "ann"),
        ("bob", "host", "R", "ann"),
        ("bob", "host", None, "ann"),
        ("ann", "bob", "Other", None),
        ("ann", "bob", "bob", None),
        ("ann", "eve", None, None),
        ("ann", "eve", "Other", None),
        ("eve", "ann", "R", None),
        ("eve", "host", "R", None),
        ("mallory", "ann", "R", None),
        ("mallory", "host", "R", None),
        ("ann", "ann", None, None),
        ("ann", "host", None, None),
        ("ann", "id:bob", None, None),
        ("ann", "", None, None),
        ("ann", None, None, None),
        ("ann", 5, None, None),
        ("ann", ["bob"], None, None),
    ],
)
def test_signals_stay_within_a_room(
    world: World, sender: str, target: Any, room: Any, reached: str | None
) -> None:
    assert world.rooms.signal_target(sender, target, room) == reached


@pytest.mark.contract("D17", "M6")
def test_the_host_is_whatever_socket_the_owner_is_on(world: World) -> None:
    world.lose("ann")
    assert world.rooms.signal_target("bob", "host", "R") is None
    assert world.rooms.signal_target("bob", "ann", "R") is None
    world.join("ann-2")
    assert world.rooms.signal_target("bob", "host", "R") == "ann-2"
    assert world.room().owner == "id:ann"
    assert value(world.join("bob"))["users"]["id:ann"]["is_host"] is True
    world.leave("ann-2")
    assert world.rooms.signal_target("sue", "host", "R") == "bob"


@pytest.mark.contract("D25")
def test_a_room_named_like_a_socket_hears_nothing_of_it(world: World) -> None:
    world.open("mallory", "bob")
    assert world.rooms.signal_target("mallory", "bob", "bob") is None
    assert world.rooms.signal_target("ann", "bob", "R") == "bob"
    assert world.rooms.peers("mallory") == ()
    assert heard(world.slot("ann", 2), "mallory") == [("ack", None)]


@pytest.mark.contract("D17", "M6")
@pytest.mark.parametrize(("paused", "what"), [(True, "paused"), (False, "resumed")])
@pytest.mark.parametrize("room", [None, "R", "Other", "nowhere"])
def test_the_owner_pauses_its_room(world: World, paused: bool, what: str, room: str | None) -> None:
    effects = world.pause("ann", room=room, paused=paused)
    notice = (f"netplay-host-{what}", {"text": f"Host has {what} emulation"})
    for name in ("ann", "bob", "sue"):
        assert heard(effects, name) == [notice, ("ack", None)]
    assert notice not in heard(effects, "eve")
    assert value(effects) is None


@pytest.mark.contract("D17")
def test_nobody_else_pauses_it(world: World) -> None:
    assert error(world.pause("bob", room="R")) == "not owner"
    assert error(world.pause("bob")) == "not owner"
    assert error(world.pause("mallory")) == "no room"
    assert error(world.pause("mallory", room="R")) == "no room"
    world.leave("ann")
    assert value(world.pause("bob")) is None

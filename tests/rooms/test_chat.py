from __future__ import annotations

from typing import Any

import pytest

from sfu.rooms import RoomLimits
from tests.support.rooms import World, error, events, heard


@pytest.fixture
def world() -> World:
    world = World()
    world.open("ann")
    world.join("bob")
    world.sleep(1)
    return world


def messages(effects: list[Any], socket: str) -> list[str]:
    return [payload["message"] for event, payload in heard(effects, socket) if event == "chat-message"]


def test_a_message_goes_to_everyone_and_back(world: World) -> None:
    effects = world.chat("bob", "  hi  ")
    message = {
        "userid": "id:bob",
        "playerName": "bob",
        "message": "hi",
        "timestamp": round(world.now * 1000),
        "messageId": "m1",
    }
    assert heard(effects, "ann") == heard(effects, "bob") == [("chat-message", message)]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a" * 500, "a" * 500),
        (" " * 600 + "a", "a"),
        ("😀" * 250, "😀" * 250),
        ("a\nb\tc", "a\nb\tc"),
        ("a\x00\x07b\x1b[31m", "ab[31m"),
        ("user\u202egnp", "usergnp"),
        ("\u200f\u05d0\u05d1", "\u200f\u05d0\u05d1"),
    ],
)
def test_what_is_shown_of_a_message(world: World, given: str, shown: str) -> None:
    assert messages(world.chat("ann", given), "bob") == [shown]


@pytest.mark.parametrize(
    "given",
    [
        None,
        5,
        True,
        ["hi"],
        {"message": "hi"},
        "",
        " \n ",
        "\x00",
        "a" * 501,
        "😀" * 251,
        "\ud800",
        "x" * 10**6,
    ],
)
def test_what_is_no_message(world: World, given: Any) -> None:
    assert error(world.chat("ann", given)) == "invalid"


def test_chat_is_for_members(world: World) -> None:
    assert error(world.chat("eve", "hi")) == "no room"
    world.lose("bob")
    assert error(world.chat("bob", "hi")) == "no room"


@pytest.mark.contract("D51")
def test_who_joins_hears_what_was_said_after_the_ack(world: World) -> None:
    for n in range(3):
        world.chat("ann", f"{n}")
    effects = world.join("cat")
    assert messages(effects, "cat") == ["0", "1", "2"]
    order = events(effects, "cat")
    assert order.index("ack") < order.index("chat-message")
    assert messages(effects, "ann") == []
    assert [payload["messageId"] for event, payload in heard(effects, "cat") if event == "chat-message"] == [
        "m1",
        "m2",
        "m3",
    ]


@pytest.mark.contract("D51")
def test_who_comes_back_on_another_socket_hears_it_and_who_never_left_does_not(world: World) -> None:
    world.chat("ann", "hi")
    assert messages(world.join("bob"), "bob") == []
    world.lose("bob")
    assert messages(world.join("bob-2"), "bob-2") == ["hi"]


@pytest.mark.contract("D51")
def test_the_memory_is_bounded(world: World) -> None:
    for n in range(101):
        world.chat("ann", f"{n}")
    assert messages(world.join("cat"), "cat") == [f"{n}" for n in range(1, 101)]


def test_length_and_memory_can_be_set() -> None:
    world = World(limits=RoomLimits(chat_length=3, chat_history=1))
    world.open("ann")
    assert error(world.chat("ann", "long")) == "invalid"
    for text in ("abc", "def"):
        world.chat("ann", text)
    assert messages(world.join("bob"), "bob") == ["def"]


def test_a_room_opened_afresh_has_heard_nothing() -> None:
    world = World()
    world.open("ann")
    world.chat("ann", "secret")
    world.open("ann", password="")
    assert messages(world.join("bob"), "bob") == []

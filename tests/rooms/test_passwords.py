from __future__ import annotations

import pytest

from sfu.rooms import RoomLimits, passwords
from sfu.rooms.passwords import SECONDS_PER_TRY
from tests.support.rooms import World, error, value


@pytest.fixture
def world() -> World:
    world = World(limits=RoomLimits(password_tries=3))
    world.open("ann", password="pw")
    return world


@pytest.mark.contract("D58")
def test_who_guesses_too_often_has_to_wait(world: World) -> None:
    for _ in range(3):
        assert error(world.join("eve", password="x")) == "bad password"
    assert error(world.join("eve", password="x")) == "too many requests"
    assert error(world.join("eve", password="pw")) == "too many requests", "nor does guessing right help then"
    world.sleep(SECONDS_PER_TRY)
    assert error(world.join("eve", password="x")) == "bad password"
    assert error(world.join("eve", password="x")) == "too many requests"
    world.sleep(SECONDS_PER_TRY)
    assert "users" in value(world.join("eve", password="pw"))


@pytest.mark.contract("D58")
def test_tries_count_for_the_user_on_all_sockets_and_in_all_rooms(world: World) -> None:
    world.open("bob", "Q", password="pw")
    assert error(world.join("eve", password="x")) == "bad password"
    assert error(world.join("eve-2", "Q", password="x")) == "bad password"
    assert error(world.reserve("eve", password="x")) == "incorrect password"
    assert error(world.join("eve", password="pw")) == "too many requests"
    assert error(world.reserve("eve", password="pw")) == "too many requests"
    assert "users" in value(world.join("cat", password="pw"))


@pytest.mark.contract("D58")
def test_neither_right_passwords_nor_open_rooms_nor_members_count(world: World) -> None:
    world.open("bob", "Open")
    for _ in range(5):
        world.join("cat", password="pw")
        assert "users" in value(world.join("cat", password="x"))
        world.leave("cat")
        assert "users" in value(world.join("dan", "Open", password="x"))
        world.leave("dan")


def test_the_users_counted_are_bounded_and_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MAX_GUESSERS", 2)
    tries = world.rooms._state.tries
    for name in ("a", "b", "c"):
        world.join(name, password="x")
    assert len(tries) == 2
    world.sleep(SECONDS_PER_TRY)
    world.join("d", password="x")
    assert len(tries) == 1

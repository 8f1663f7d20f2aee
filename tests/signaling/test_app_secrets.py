"""No token and no password gets into the log, whatever is said and whatever goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from trio.testing import MockClock

from sfu.signaling.application import ConnectionRefused
from tests.support.app_world import AppWorld, MemorySocket, open_world
from tests.support.memory_romm import MemoryRomm

SECRET = "hush-hush"
"""Part of every token and password here."""


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Iterator[list[Any]]:
    """Everything that is logged, before anything is taken out of it."""
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as entries:
        yield entries
    assert SECRET not in caplog.text


async def converse(world: AppWorld) -> None:
    """Speak all kinds of secrets: right and wrong ones, in the right and in the wrong places."""
    ann = await world.connect(f"ann-{SECRET}", kind="once")
    bob = await world.connect(f"bob-{SECRET}")
    for auth, query, headers in (
        ({"token": f"bad-{SECRET}"}, [], {}),
        ({"token": SECRET * 2000}, [], {}),
        (None, [("token", f"bad-{SECRET}")], {}),
        (None, [], {"cookie": f"romm_sfu_token={SECRET}"}),
        (None, [], {"authorization": f"Bearer {SECRET}"}),
    ):
        with pytest.raises(ConnectionRefused):
            await world.handshake(auth, query, headers)
    locked = {"extra": {"room_name": "R"}, "password": f"pw-{SECRET}"}
    await ann.call("open-room", {**locked, "maxPlayers": "x"})
    await ann.call("open-room", locked)
    for password in (f"no-{SECRET}", [SECRET], f"pw-{SECRET}"):
        await bob.call("join-room", {**locked, "password": password, "token": f"bad-{SECRET}"})
    await bob.call("join-room", {"extra": {"room_name": "elsewhere", "token": SECRET}, "token": SECRET})
    await talk_over_http(world, ann)
    await bob.call("leave-room")
    await ann.leave(reason="transport close")


async def talk_over_http(world: AppWorld, ann: MemorySocket) -> None:
    await world.post("/create", {"room_name": "H", "password": SECRET, "token": SECRET}, token=f"t:{SECRET}")
    await world.post("/join/R", {"password": SECRET}, token=f"t:{SECRET}")
    await world.post("/join/R", b'{"password": "hush-hush', token=f"t:{SECRET}")
    await world.post("/leave/R", token=f"bad-{SECRET}")
    for path in ("/list", "/ice", "/resolve"):
        await world.get(path, [("token", f"t:{SECRET}"), ("room", "R")])
        await world.get(path, [("token", f"bad-{SECRET}")])
    await ann.call("request-room-list", {"token": SECRET})


@pytest.mark.contract("D11", "D12", "D13")
@pytest.mark.parametrize("required", ["off", "room"])
async def test_secrets_are_not_logged(autojump_clock: MockClock, written: list[Any], required: str) -> None:
    turn = {"urls": "turn:x", "username": "u", "credential": SECRET}
    async with open_world(require_write_token=required, ice_servers=(turn,)) as world:
        await converse(world)
        await world.settle()
    assert written, "something is logged"
    assert not [entry for entry in written if SECRET in repr(entry)]


@pytest.mark.contract("D11")
async def test_secrets_are_not_logged_in_an_outage(autojump_clock: MockClock, written: list[Any]) -> None:
    romm = MemoryRomm()
    async with open_world(romm=romm) as world:
        ann = await world.connect(f"ann-{SECRET}")
        romm.down = True
        with pytest.raises(ConnectionRefused, match=r"^auth unavailable$"):
            await world.connect(f"bob-{SECRET}")
        await ann.call("open-room", {"extra": {"room_name": "R"}, "password": SECRET})
        await talk_over_http(world, ann)
        await world.settle()
    assert written, "outages are logged"
    assert not [entry for entry in written if SECRET in repr(entry)]

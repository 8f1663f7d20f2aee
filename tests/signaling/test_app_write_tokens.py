"""Where write tokens are required, and what one does. ``once:…`` are write tokens, ``t:…`` read tokens."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from sfu.romm.port import Verified
from sfu.signaling.access import may_write
from sfu.signaling.application import ConnectionRefused
from tests.support.app_world import AppWorld, body_of, open_world

REQUIRED = "write token required for room operations"


@pytest.mark.contract("D8")
@pytest.mark.parametrize(
    ("kind", "may"), [("sfu:write", True), ("sfu", True), ("sfu:read", False), (None, False)]
)
def test_which_tokens_may_write(kind: str | None, may: bool) -> None:
    assert may_write(Verified("ann", None, kind)) is may


@pytest.mark.contract("D8")
async def test_by_default_a_read_token_opens_and_joins(autojump_clock: MockClock, world: AppWorld) -> None:
    await world.host("ann")
    await world.guest("bob")
    assert body_of(await world.post("/create", {"room_name": "H"}))[0] == 200
    assert body_of(await world.post("/join/H", token="t:bob"))[0] == 200


@pytest.mark.contract("D8")
async def test_where_connecting_needs_one_a_read_token_is_refused(autojump_clock: MockClock) -> None:
    async with open_world(require_write_token="connect") as world:
        with pytest.raises(ConnectionRefused, match=r"^unauthorized$"):
            await world.connect("ann")
        ann = await world.connect("ann", kind="once")
        await ann.ask("open-room", {"extra": {"room_name": "R"}})
        with pytest.raises(ConnectionRefused, match=r"^unauthorized$"):
            await world.connect("ann", kind="once")


async def test_where_rooms_need_one_the_socket_may_have_connected_with_it(autojump_clock: MockClock) -> None:
    async with open_world(require_write_token="room") as world:
        ann, bob = await world.connect("ann", kind="once"), await world.connect("bob", kind="once")
        await ann.ask("open-room", {"extra": {"room_name": "R"}})
        await bob.ask("join-room", {"extra": {"room_name": "R"}})
        await bob.ask("leave-room")
        await bob.ask("join-room", {"extra": {"room_name": "R"}})


@pytest.mark.contract("D8")
@pytest.mark.parametrize("event", ["open-room", "create-room", "join-room"])
@pytest.mark.parametrize(
    ("token", "error"),
    [
        (None, REQUIRED),
        (5, REQUIRED),
        ("", REQUIRED),
        ("bad", REQUIRED),
        ("t:bob", REQUIRED),
        ("once:eve", REQUIRED),
        ("once:bob", None),
    ],
)
async def test_where_rooms_need_one_it_may_come_with_the_event(
    autojump_clock: MockClock, event: str, token: Any, error: str | None
) -> None:
    async with open_world(require_write_token="room") as world:
        ann = await world.connect("ann", kind="once")
        await ann.ask("open-room", {"extra": {"room_name": "R"}})
        bob = await world.connect("bob")
        payload = {"extra": {"room_name": "R" if event == "join-room" else "Q"}, "token": token}
        answer = await bob.call(event, payload)
        assert answer is not None
        assert answer[0] == error
        assert (world.rooms.room_of(bob.id) is None) is (error is not None)
        if error is None:
            assert "once:bob" in world.romm.used
            await bob.ask("leave-room")
            assert await bob.call(event, payload) == [REQUIRED], "it is spent"


@pytest.mark.contract("D8")
async def test_members_need_none_to_come_back(autojump_clock: MockClock) -> None:
    async with open_world(require_write_token="room") as world:
        ann = await world.connect("ann", kind="once")
        await ann.ask("open-room", {"extra": {"room_name": "R"}})
        await ann.leave()
        again = await world.connect("ann")
        await again.ask("join-room", {"extra": {"room_name": "R"}})
        await again.ask("open-room", {"extra": {"room_name": "R"}})


async def test_an_outage_is_told_apart(autojump_clock: MockClock) -> None:
    async with open_world(require_write_token="room") as world:
        bob = await world.connect("bob")
        world.romm.down = True
        payload = {"extra": {"room_name": "Q"}, "token": "once:bob"}
        assert await bob.call("open-room", payload) == ["auth unavailable"]
        assert len(world.rooms) == 0


@pytest.mark.contract("D9")
async def test_a_token_is_not_spent_on_what_is_refused_anyway(autojump_clock: MockClock) -> None:
    async with open_world(require_write_token="room") as world:
        ann = await world.connect("ann", kind="once")
        await ann.ask("open-room", {"extra": {"room_name": "R"}})
        bob = await world.connect("bob")
        for event, extra, error in (
            ("open-room", {"room_name": "R"}, "room exists"),
            ("open-room", {"room_name": ""}, "invalid"),
            ("join-room", {"room_name": "nowhere"}, "no such room"),
        ):
            assert await bob.call(event, {"extra": extra, "token": "once:bob"}) == [error]
        assert "once:bob" not in world.romm.used


@pytest.mark.contract("D8")
@pytest.mark.parametrize("required", ["room", "connect"])
async def test_rooms_over_http_need_one_too(autojump_clock: MockClock, required: str) -> None:
    refused = (403, {"error": REQUIRED})
    async with open_world(require_write_token=required) as world:
        assert body_of(await world.post("/create", {"room_name": "R"})) == refused
        assert body_of(await world.post("/create", {"room_name": "R", "token": "once:eve"})) == refused
        assert len(world.rooms) == 0
        assert body_of(await world.post("/create", {"room_name": "R", "token": "once:ann"}))[0] == 200
        assert body_of(await world.post("/create", {"room_name": "Q"}, token="once:bob"))[0] == 200
        assert body_of(await world.post("/join/R")) == refused
        assert body_of(await world.post("/join/R", token="once:cat"))[0] == 200
        assert body_of(await world.post("/join/nowhere")) == (404, {"error": "room not found"})
        assert "once:cat" not in world.romm.used, "only making a room spends one"

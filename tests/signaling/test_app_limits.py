"""What happens over the limits: events with an ack are refused, relays dropped, HTTP gets 429."""

from __future__ import annotations

import pytest
import structlog
import trio
from trio.testing import MockClock

from sfu.signaling.application import ConnectionRefused
from sfu.signaling.limits import SignalingLimits
from tests.support.app_world import AppWorld, body_of, open_world

TOO_MANY = ["too many requests"]
R = {"extra": {"room_name": "R"}}


@pytest.mark.contract("D4")
async def test_events_of_one_socket(autojump_clock: MockClock) -> None:
    limits = SignalingLimits(events_burst=2, events_per_second=1)
    async with open_world(limits=limits) as world:
        ann, bob = await world.connect("ann"), await world.connect("bob")
        for _ in range(2):
            await ann.ask("sfu-get-producers", {})
        with structlog.testing.capture_logs() as written:
            assert await ann.call("sfu-get-producers", {}) == TOO_MANY
            assert await ann.call("open-room", R) == TOO_MANY
        assert [entry["event_name"] for entry in written] == ["sfu-get-producers"], "once for each socket"
        await bob.ask("sfu-get-producers", {})
        await trio.sleep(1)
        await ann.ask("sfu-get-producers", {})
        assert await ann.call("no-such-event", {}) is None, "costs nothing and gets nothing"


@pytest.mark.contract("D4")
async def test_changes_of_one_socket(autojump_clock: MockClock) -> None:
    async with open_world(limits=SignalingLimits(changes_burst=2, changes_per_second=1)) as world:
        ann = await world.connect("ann")
        await ann.ask("open-room", R)
        await ann.ask("request-room-list", {})
        assert await ann.call("update-player-slot", {"roomName": "R", "playerSlot": 1}) == TOO_MANY
        assert await ann.call("leave-room") == TOO_MANY
        await ann.ask("sfu-get-producers", {})
        await trio.sleep(1)
        await ann.ask("leave-room")


@pytest.mark.contract("D4", "D83")
async def test_relays_of_one_socket(autojump_clock: MockClock) -> None:
    async with open_world(limits=SignalingLimits(relays_burst=2, relays_per_second=1)) as world:
        ann, bob = await world.host("ann"), await world.guest("bob")
        await world.settle()
        bob.take()
        await ann.call("data-message", 1)
        await ann.call("webrtc-signal", {"target": bob.id, "offer": 2})
        for event, payload in (("data-message", 3), ("webrtc-signal", {"target": bob.id, "offer": 4})):
            assert await ann.call(event, payload) is None
        assert bob.events() == ["data-message", "webrtc-signal"]
        await trio.sleep(1)
        await ann.call("data-message", 5)
        assert bob.take() == [("data-message", 5)]


@pytest.mark.contract("D4", "D83")
async def test_bytes_that_one_socket_has_relayed(autojump_clock: MockClock) -> None:
    limits = SignalingLimits(relay_bytes_burst=100, relay_bytes_per_second=50)
    async with open_world(limits=limits) as world:
        ann, bob = await world.host("ann"), await world.guest("bob")
        await world.settle()
        bob.take()
        for message in ("x" * 88, "y" * 9, "z" * 8):
            await ann.call("data-message", message)
        assert bob.take() == [("data-message", "x" * 88), ("data-message", "z" * 8)]
        await trio.sleep(1)
        await ann.call("webrtc-signal", {"target": bob.id, "offer": "x" * 38})
        await ann.call("data-message", 1)
        assert bob.events() == ["webrtc-signal"]


@pytest.mark.contract("D4", "D83")
async def test_copies_of_what_one_socket_has_relayed(autojump_clock: MockClock) -> None:
    limits = SignalingLimits(relay_copied_bytes_burst=100, relay_copied_bytes_per_second=1)
    async with open_world(limits=limits) as world:
        ann = await world.host("ann")
        others = [await world.guest(name) for name in ("bob", "cat", "dan")]
        await world.settle()
        for socket in (ann, *others):
            socket.take()
        for message in ("x" * 28, "y" * 8, "z"):
            await ann.call("data-message", message)
        for socket in others:
            assert socket.take() == [("data-message", "x" * 28), ("data-message", "z")]
        await ann.call("webrtc-signal", {"target": others[0].id, "offer": 1})
        assert others[0].take() == [], "has none left"
        await others[1].call("data-message", "y" * 8)
        assert ann.events() == ["data-message"], "others have"


@pytest.mark.contract("D4")
async def test_events_of_one_address(autojump_clock: MockClock) -> None:
    limits = SignalingLimits(address_events_burst=3, address_events_per_second=1)
    async with open_world(limits=limits) as world:
        ann, bob = await world.connect("ann"), await world.connect("bob")
        cat = await world.connect("cat", remote="192.0.2.2")
        for socket in (ann, bob, ann):
            await socket.ask("sfu-get-producers", {})
        assert await bob.call("sfu-get-producers", {}) == TOO_MANY
        assert await ann.call("sfu-get-producers", {}) == TOO_MANY
        await cat.ask("sfu-get-producers", {})


@pytest.mark.contract("D4", "D9")
async def test_connects_of_one_address_and_no_token_is_spent_on_a_refusal(autojump_clock: MockClock) -> None:
    limits = SignalingLimits(address_connects_burst=2, address_connects_per_second=1)
    async with open_world(limits=limits) as world:
        await world.connect("ann")
        assert (await world.get("/ice", headers={"authorization": "Bearer t:ann"})).status == 200
        with pytest.raises(ConnectionRefused, match=r"^too many requests$"):
            await world.connect("bob", kind="once")
        refused = (429, {"error": "too many requests"})
        assert body_of(await world.post("/create", {"room_name": "R"}, token="once:bob")) == refused
        assert body_of(await world.get("/list", headers={"authorization": "Bearer t:ann"})) == refused
        assert body_of(await world.get("/list"))[0] == 401, "nobody is asked about no token"
        assert world.romm.used == set()
        await world.connect("bob", kind="once", remote="192.0.2.2")
        await trio.sleep(1)
        await world.connect("cat")


@pytest.mark.contract("D4")
async def test_asking_for_the_list_is_answered_to_the_asker_only(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    ann, bob = await world.host("ann"), await world.connect("bob")
    await world.settle()
    ann.take()
    bob.take()
    for _ in range(5):
        await bob.ask("request-room-list", {})
    assert bob.events() == ["rooms-updated", "ack"] * 5
    await world.settle()
    assert ann.take() == []


@pytest.mark.contract("D4")
async def test_the_default_limits_are_far_from_what_clients_do(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    """A host that sets up, and a player's inputs over the socket at 60 a second."""
    ann, bob = await world.host("ann"), await world.guest("bob")
    await world.settle()
    bob.take()
    for _ in range(20):
        await ann.ask("join-room", R)
    for frame in range(600):
        await ann.call("data-message", {"sync-control": [{"frame": frame, "connected_input": [0, 1, 1]}]})
        await trio.sleep(1 / 60)
    assert bob.events().count("data-message") == 600

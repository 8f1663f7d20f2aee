"""What members say to one another: data, WebRTC signals and chat. None of it is acknowledged."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sfu.signaling.limits import SignalingLimits
from tests.support.app_world import AppWorld, MemorySocket, open_world

LIMITS = SignalingLimits()
NOT_ONE: list[list[Any]] = [[], [{}, {}]]


async def trio_of(world: AppWorld) -> tuple[MemorySocket, MemorySocket, MemorySocket]:
    """Alice hosts R, Bob is in it, Eve is in a room of her own; all have heard everything."""
    alice, bob, eve = await world.host("alice"), await world.guest("bob"), await world.host("eve", "E")
    await world.settle()
    for socket in (alice, bob, eve):
        socket.take()
    return alice, bob, eve


# data-message


async def test_data_messages_go_to_the_others_unchanged(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob, eve = await trio_of(world)
    message = {"sync-control": [{"frame": 1, "connected_input": [0, 1, 1]}], "binary": b"\x00\xff"}
    assert await bob.call("data-message", message) is None
    assert alice.take() == [("data-message", message)]
    assert bob.take() == []
    assert eve.take() == []


@pytest.mark.contract("D83")
async def test_data_messages_are_bounded(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob, _ = await trio_of(world)
    longest = LIMITS.data_message_bytes
    await bob.call("data-message", "x" * (longest - 2))
    assert alice.events() == ["data-message"]
    for args in (["x" * (longest - 1)], [b"x" * longest], [], [1, 2]):
        await bob.call("data-message", *args)
    assert alice.take() == []
    await (await world.connect("stranger")).call("data-message", 1)
    assert alice.take() == []


@pytest.mark.contract("D83")
async def test_data_messages_are_bounded_as_the_settings_say(autojump_clock: MockClock) -> None:
    async with open_world(limits=SignalingLimits(data_message_bytes=10, signal_bytes=20)) as world:
        alice, bob, _ = await trio_of(world)
        await bob.call("data-message", "x" * 9)
        await bob.call("webrtc-signal", {"target": alice.id, "offer": "x" * 9})
        assert alice.take() == []
        await bob.call("data-message", "x" * 8)
        await bob.call("webrtc-signal", {"target": alice.id, "offer": "x" * 8})
        assert alice.events() == ["data-message", "webrtc-signal"]


# webrtc-signal


@pytest.mark.contract("D82")
@pytest.mark.parametrize(
    ("given", "relayed"),
    [
        ({"offer": {"type": "offer", "sdp": "v=0"}}, {"offer": {"type": "offer", "sdp": "v=0"}}),
        ({"answer": {"sdp": "x"}, "sender": "forged"}, {"answer": {"sdp": "x"}}),
        ({"candidate": None, "roomName": "R"}, {"candidate": None}),
        ({"requestRenegotiate": True, "other": 1}, {"requestRenegotiate": True}),
        ({"offer": 1, "answer": 2, "candidate": 3}, {"offer": 1, "answer": 2, "candidate": 3}),
    ],
)
async def test_signals_go_to_one_member(
    autojump_clock: MockClock, world: AppWorld, given: dict[str, Any], relayed: dict[str, Any]
) -> None:
    alice, bob, eve = await trio_of(world)
    for target in ({"target": bob.id}, {"targetSocketId": bob.id}, {"target": "", "targetSocketId": bob.id}):
        assert await alice.call("webrtc-signal", {**target, **given}) is None
        assert bob.take() == [("webrtc-signal", {"sender": alice.id, **relayed})]
    assert alice.take() == eve.take() == []


@pytest.mark.contract("D82", "D17", "D25")
async def test_signals_to_the_host(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob, _ = await trio_of(world)
    await bob.call("webrtc-signal", {"target": "host", "roomName": "R", "offer": 1})
    assert alice.take() == [("webrtc-signal", {"sender": bob.id, "offer": 1})]
    again = await world.connect("alice")
    await alice.leave()
    await again.ask("join-room", {"extra": {"room_name": "R"}})
    await world.settle()
    again.take()
    await bob.call("webrtc-signal", {"target": "host", "offer": 2})
    assert again.take() == [("webrtc-signal", {"sender": bob.id, "offer": 2})]
    state = await bob.ask("request-room-state", {"roomName": "R"})
    assert state["users"][alice.userid]["is_host"] is True, "a signal changes nobody's role"


@pytest.mark.contract("D82")
async def test_signals_that_are_dropped(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob, eve = await trio_of(world)
    stranger = await world.connect("stranger")
    for sender, payload in (
        (eve, {"target": alice.id, "offer": 1}),
        (eve, {"target": alice.id, "roomName": "R", "offer": 1}),
        (eve, {"target": "host", "roomName": "R", "offer": 1}),
        (stranger, {"target": alice.id, "offer": 1}),
        (bob, {"target": alice.id, "roomName": "E", "offer": 1}),
        (bob, {"target": eve.id, "roomName": "E", "offer": 1}),
        (bob, {"target": "R", "offer": 1}),
        (bob, {"target": [alice.id], "offer": 1}),
        (bob, {"offer": 1}),
        (bob, None),
        (bob, "offer"),
        (bob, {"target": alice.id, "offer": "x" * LIMITS.signal_bytes}),
    ):
        assert await sender.call("webrtc-signal", payload) is None
    assert alice.take() == eve.take() == []


@pytest.mark.parametrize("event", ["data-message", "webrtc-signal"])
async def test_relays_without_one_argument_are_invalid(
    autojump_clock: MockClock, world: AppWorld, event: str
) -> None:
    _, bob, _ = await trio_of(world)
    for args in NOT_ONE:
        assert await bob.call(event, *args) == ["invalid"]


# chat-message


async def test_chat_goes_to_everyone_in_the_room(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob, eve = await trio_of(world)
    forged = {"senderId": "x", "senderName": "root", "timestamp": 1}
    assert await bob.call("chat-message", {"message": "  hi  ", **forged}) is None
    [(name, said)] = alice.take()
    assert bob.take() == [(name, said)]
    assert eve.take() == []
    assert name == "chat-message"
    message_id, timestamp = said.pop("messageId"), said.pop("timestamp")
    assert said == {"userid": bob.userid, "playerName": "bob", "message": "hi"}
    assert re.fullmatch(rf"{bob.userid}_\d{{13}}_[0-9a-z]{{9}}", message_id)
    assert abs(timestamp / 1000 - time.time()) < 60


@pytest.mark.parametrize("message", ["", "   ", "x" * 501, "😀" * 251, 5, None, ["hi"], "\u0000"])
async def test_chat_that_is_dropped(autojump_clock: MockClock, world: AppWorld, message: Any) -> None:
    alice, bob, _ = await trio_of(world)
    assert await bob.call("chat-message", {"message": message}) is None
    assert await (await world.connect("stranger")).call("chat-message", {"message": "hi"}) is None
    assert alice.take() == []


@pytest.mark.parametrize("args", [[], [None], ["hi"], [{}, {}]])
async def test_chat_that_is_no_chat(autojump_clock: MockClock, world: AppWorld, args: list[Any]) -> None:
    alice, bob, _ = await trio_of(world)
    assert await bob.call("chat-message", *args) == ["invalid"]
    assert alice.take() == []


@pytest.mark.contract("D51")
async def test_chat_is_no_flood(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob, _ = await trio_of(world)
    for number in range(LIMITS.chats_burst + 5):
        assert await bob.call("chat-message", {"message": str(number)}) is None
    assert len(alice.take()) == LIMITS.chats_burst
    await trio.sleep(1)
    for number in range(5):
        await bob.call("chat-message", {"message": str(number)})
    assert len(alice.take()) == LIMITS.chats_per_second

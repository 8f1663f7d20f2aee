"""Any arguments to any event end in an ack that can be sent, and nothing outlives its owner."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from sfu.signaling.admission import Kind
from sfu.signaling.events import EVENTS
from tests.support.app_world import AppWorld, MemorySocket, body_of, open_world

FIELDS = """
extra room_name roomName maxPlayers password playerSlot player_slot transportId dtlsParameters kind
rtpParameters appData source userid producerId dataProducerId rtpCapabilities sctpStreamParameters streamId
label codecs encodings ssrc ignoreDtx max_players token metadata rom_name netplay_mode frame romHash
emulatorId message target targetSocketId offer candidate
"""
KEYS = st.sampled_from(FIELDS.split())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["R", "Q", "audio", "video", "", "id:1"]) | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=12,
)  # fmt: skip
ACTIONS = ["reload", "vanish", "wait", "lose-router", "end-transport", "end-producer", "nonsense"]
REQUESTS = ["/create", "/join/R", "/join/Q", "/leave/R", "/list", "/resolve"]
OFTEN = ["join-room", "sfu-create-transport", "sfu-produce", "sfu-consume", "producedata", "consumedata"]
LOBBY = ["toggle-ready", "player-ready", "start-game", "ready-at-frame-1"]
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([*EVENTS, *OFTEN * 3, *LOBBY * 2, *ACTIONS, *REQUESTS]),
        st.integers(0, 99),
        st.none() | st.none() | st.none() | st.tuples(KEYS, VALUES),
        st.none() | st.none() | st.none() | st.none() | st.lists(VALUES, max_size=2),
    ),
    min_size=10,
    max_size=60,
)
"""Who does what: with a sound payload chosen by a number, a field of it garbled at times, or anything."""


def choose(ids: Iterable[str], pick: int) -> str:
    """Anyone's id, or nobody's."""
    known = [*ids, "nope"]
    return known[pick % len(known)]


def sound(world: AppWorld, socket: MemorySocket, event: str, pick: int) -> dict[str, Any]:
    """A payload that a client could send now."""
    media, room = world.media, "RQ"[pick % 2]
    session = world.app._core.table.get(socket.id)
    own = session.transports if session is not None and pick % 5 else media.transports
    transport = {"transportId": choose(own, pick // 5)}
    match event:
        case "open-room" | "create-room" | "join-room":
            game = {"netplay_mode": pick % 3 // 2, "rom_hash": "h", "core_type": "c"}
            return {"extra": {"room_name": room, "player_slot": pick % 10, **game}}
        case "leave-room":
            return {"roomName": room} if pick % 3 else {}
        case "update-player-slot":
            return {"roomName": room, "playerSlot": pick % 10}
        case "update-room-metadata" | "update-player-metadata":
            return {"roomName": room, "metadata": {"rom_name": "x" * pick, "netplay_mode": pick % 4}}
        case "ready-at-frame-1":
            return {"roomName": room, "frame": pick}
        case "join-info":
            return {"roomName": room, "romHash": "h" * (pick % 2), "emulatorId": "c"}
        case "chat-message":
            return {"message": "x" * pick}
        case "webrtc-signal":
            target = choose([other for room in world.rooms for other in room.sockets()], pick // 2)
            return {"target": "host" if pick % 3 else target, "roomName": room, "offer": {}}
        case event if not event.startswith("sfu-"):
            return {"roomName": room}
        case "sfu-connect-transport":
            return transport | {"dtlsParameters": {}}
        case "sfu-produce":
            parameters = {"codecs": [{}], "encodings": [{"ssrc": pick % 3}]}
            return transport | {"kind": ("audio", "video")[pick // 3 % 2], "rtpParameters": parameters}
        case "producedata" | "sfu-produce-data":
            label = ("", "x")[pick % 2]
            return transport | {"sctpStreamParameters": {"streamId": pick % 3}, "label": label}
        case "sfu-consume":
            capabilities: dict[str, Any] = {"codecs": [{}]}
            return transport | {
                "producerId": choose(media.producers, pick // 3),
                "rtpCapabilities": capabilities,
            }
        case "consumedata" | "sfu-consume-data":
            return transport | {"dataProducerId": choose(media.data_producers, pick // 3)}
        case _:
            return transport


async def play(steps: list[Any]) -> None:
    users = ("ann", "bob", "cat")
    async with open_world() as world:
        sockets: list[MemorySocket] = [await world.connect(user) for user in users]
        everyone = list(sockets)
        for socket in sockets:
            if await socket.call("open-room", {"extra": {"room_name": "R"}}) == ["room exists"]:
                await socket.ask("join-room", {"extra": {"room_name": "R"}})
            await socket.ask("sfu-create-transport", {})
        for who, event, pick, garbled, raw in steps:
            socket = sockets[who]
            if event in REQUESTS:
                await request(world, users[who], event, pick, garbled)
            elif event == "reload" or not socket.connected:
                await socket.leave()
                sockets[who] = await world.connect(users[who])
                everyone.append(sockets[who])
            elif event in ACTIONS:
                await happen(world, socket, event, pick)
            else:
                payload = sound(world, socket, event, pick)
                if garbled is not None:
                    payload[garbled[0]] = garbled[1]
                await ask(socket, event, [payload] if raw is None else raw)
            check(world, everyone)
        for socket in everyone:
            await socket.leave()
        await trio.sleep(125)
        await trio.testing.wait_all_tasks_blocked()
        assert len(world.rooms) == 0
        assert world.table_size == 0
        assert world.media.is_empty, "all media has been closed"
        assert world.romm.rooms == {}


async def happen(world: AppWorld, socket: MemorySocket, action: str, pick: int) -> None:
    media = world.media
    match action:
        case "vanish":
            await socket.leave()
        case "wait":
            await trio.sleep(pick)
        case "lose-router" if media.routers:
            media.lose_router(min(media.routers))
        case "end-transport" if media.transports:
            media.end_transport(choose(media.transports, pick))
        case "end-producer" if media.producers:
            media.end_producer(choose(media.producers, pick))
        case _:
            assert await socket.call("nonsense", {}) is None
    if pick % 2:
        await trio.testing.wait_all_tasks_blocked()


async def ask(socket: MemorySocket, event: str, args: list[Any]) -> None:
    answer = await socket.call(event, *args)
    if EVENTS[event].kind in (Kind.RELAY, Kind.CHAT):
        assert answer is None or answer == ["invalid"]
        return
    assert answer, "every request is answered"
    match answer:
        case [None] | [None, _]:
            pass
        case [error]:
            assert error, "a failure is truthy"
            assert not re.search("auth|token", str(error)), "nor does it look like one of authentication"
        case _:
            raise AssertionError(answer)


async def request(world: AppWorld, user: str, path: str, pick: int, garbled: tuple[str, Any] | None) -> None:
    body = {"room_name": "RQ"[pick % 2], "netplay_mode": pick % 3, "max_players": pick % 8 + 1}
    if garbled is not None and not isinstance(garbled[1], bytes):
        body[garbled[0]] = garbled[1]
    if path in ("/list", "/resolve"):
        headers = {"authorization": f"Bearer t:{user}"}
        response = await world.get(path, [("room", "RQ"[pick % 2])], headers)
    else:
        response = await world.post(path, body, token=f"t:{user}")
    status, answer = body_of(response)
    assert status in (200, 400, 403, 404, 409, 429)
    assert (status == 200) is ("error" not in answer)


def check(world: AppWorld, everyone: list[MemorySocket]) -> None:
    table = world.app._core.table
    for socket in everyone:
        socket.take()
    for room in world.rooms:
        for member in room.members.values():
            for socket_id in member.media_sockets:
                session = table.get(socket_id)
                assert session is None or session.room_id == room.id
        assert room.members or room.creator is not None
        taken = [member.slot for member in room.players]
        assert len(taken) == len(set(taken)) <= room.settings.max_players
    in_rooms = {s for room in world.rooms for m in room.members.values() for s in m.media_sockets}
    assert set(table._sessions) <= in_rooms, "media belongs to members"
    assert {p.session.socket_id for p in table._producers.values()} <= in_rooms
    for producer in table._producers.values():
        assert producer.transport_id in producer.session.transports
        assert all(c.id in c.session.consumers for c in producer.consumers.values())


@pytest.mark.contract("D1", "D85", "M19")
@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_any_arguments_to_any_event(steps: list[Any]) -> None:
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(play, steps, clock=clock)


@pytest.mark.contract("D1")
@pytest.mark.parametrize("event", sorted(EVENTS))
def test_an_event_without_arguments(event: str) -> None:
    async def main() -> None:
        async with open_world() as world:
            ann = await world.host("ann")
            answer = await ann.call(event)
            assert answer

    trio.run(main)

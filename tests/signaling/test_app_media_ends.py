"""How media ends: left, lost, taken over, gone while something was awaited; and who is told."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sfu.signaling.limits import SignalingLimits
from sfu.signaling.media_session import MAX_EARLY_ENDINGS, MediaTable
from sfu.worker.port import MediaError
from tests.signaling.media_calls import CAN, listed, produce, produce_data, rtp, transport
from tests.support.app_world import AppWorld, MemorySocket

# Ends


@pytest.mark.contract("D61", "D67")
async def test_leaving_closes_ones_media(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    video = await produce(bob, await transport(bob))
    mine = await transport(alice)
    await alice.ask("sfu-consume", {"producerId": video, "transportId": mine, "rtpCapabilities": CAN})
    await world.settle()
    alice.take()
    await bob.ask("leave-room")
    assert alice.take()[0] == ("producer-closed", {"id": video})
    await wait_all_tasks_blocked()
    assert set(world.media.transports) == {mine}
    assert world.media.consumers == {}
    await alice.ask("leave-room")
    await wait_all_tasks_blocked()
    assert world.media.is_empty
    assert world.table_size == 0


@pytest.mark.contract("D64")
async def test_media_runs_on_in_grace_and_ends_with_it(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    video = await produce(alice, await transport(alice))
    await alice.leave()
    await trio.sleep(59)
    assert await listed(bob) == [video]
    receiver = await transport(bob)
    await bob.ask("sfu-consume", {"producerId": video, "transportId": receiver, "rtpCapabilities": CAN})
    bob.take()
    await trio.sleep(2)
    assert bob.take()[0] == ("producer-closed", {"id": video})
    assert set(world.media.transports) == {receiver}


@pytest.mark.contract("D63")
async def test_old_media_goes_when_the_new_socket_has_its_own(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    old = await produce(alice, await transport(alice))
    await alice.leave()
    alice = await world.guest("alice")
    assert await listed(bob) == [old]
    assert await listed(alice) == [], "it is one's own still"
    bob.take()
    fresh = await transport(alice)
    assert ("producer-closed", {"id": old}) in bob.take()
    await wait_all_tasks_blocked()
    assert set(world.media.transports) == {fresh}
    new = await produce(alice, fresh)
    assert await listed(bob) == [new]
    await trio.sleep(100)
    assert set(world.media.producers) == {new}


@pytest.mark.contract("D63")
async def test_old_media_goes_at_the_end_of_the_grace(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    old = await produce(alice, await transport(alice))
    await alice.leave()
    await trio.sleep(30)
    await world.guest("alice")
    await trio.sleep(29)
    assert await listed(bob) == [old]
    await trio.sleep(2)
    assert await listed(bob) == []
    assert world.media.transports == {}


async def test_a_takeover_closes_media_at_once(autojump_clock: MockClock, world: AppWorld) -> None:
    alice = await world.host("alice")
    await produce(alice, await transport(alice))
    await trio.sleep(31)
    await world.guest("alice")
    await wait_all_tasks_blocked()
    assert world.media.transports == {}


@pytest.mark.contract("D67", "D84")
async def test_a_transport_that_ends_by_itself(world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    sender, receiver = await transport(alice), await transport(bob)
    video, data = await produce(alice, sender), await produce_data(alice, sender)
    payload = {"producerId": video, "transportId": receiver, "rtpCapabilities": CAN}
    await bob.ask("sfu-consume", payload)
    bob.take()
    world.media.end_transport(sender)
    await wait_all_tasks_blocked()
    assert bob.take() == [("producer-closed", {"id": video}), ("data-producer-closed", {"id": data})]
    assert await listed(bob) == []
    answer = await alice.call("sfu-restart-ice", {"transportId": sender})
    assert answer == ["transport not found"]
    world.media.end_transport(receiver)
    await wait_all_tasks_blocked()
    assert await bob.call("sfu-restart-ice", {"transportId": receiver}) == ["transport not found"]


@pytest.mark.contract("D62", "D67", "D77")
async def test_producers_that_end_by_themselves(world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    sender = await transport(alice)
    video, data = await produce(alice, sender), await produce_data(alice, sender)
    bob.take()
    world.media.end_producer(data)
    world.media.end_producer(video)
    await wait_all_tasks_blocked()
    assert bob.take() == [("data-producer-closed", {"id": data}), ("producer-closed", {"id": video})]
    assert await listed(bob) == []


@pytest.mark.contract("D3")
async def test_a_lost_worker_is_told_and_survived(world: AppWorld) -> None:
    alice, bob, eve = await world.host("alice"), await world.guest("bob"), await world.host("eve", "E")
    sender, _, foreign = [await transport(socket) for socket in (alice, bob, eve)]
    await produce(alice, sender)
    for socket in (alice, bob, eve):
        socket.take()
    world.media.lose_router(world.media.transports[sender])
    await wait_all_tasks_blocked()
    assert alice.take() == [("transports-lost", {})]
    assert bob.take() == [("transports-lost", {})]
    assert eve.take() == []
    assert await alice.call("sfu-restart-ice", {"transportId": sender}) == ["transport not found"]
    assert await listed(bob) == []
    await produce(alice, await transport(alice))
    assert len(await listed(bob)) == 1
    assert foreign in world.media.transports


# Things that happen while something is awaited


async def held(world: AppWorld, socket: MemorySocket, event: str, payload: Any, meanwhile: Any) -> Any:
    """Call an event whose media request hangs until ``meanwhile()`` has run; returns the ack."""
    answer: Any = None

    async def call() -> None:
        nonlocal answer
        answer = await socket.call(event, payload)

    world.media.held = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        await meanwhile()
        await wait_all_tasks_blocked()
        world.media.held.set()
    world.media.held = None
    await wait_all_tasks_blocked()
    return answer


@pytest.mark.contract("D80")
async def test_who_vanishes_while_a_transport_is_made_leaves_none(world: AppWorld) -> None:
    alice = await world.host("alice")
    await held(world, alice, "sfu-create-transport", {}, alice.leave)
    assert world.media.transports == {}


@pytest.mark.contract("D80")
async def test_a_room_that_vanishes_while_a_transport_is_made_leaves_nothing(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    alice = await world.host("alice")

    async def leave_for_good() -> None:
        await alice.leave()
        await trio.sleep(61)

    await held(world, alice, "sfu-create-transport", {}, leave_for_good)
    assert len(world.rooms) == 0
    assert world.media.is_empty
    assert world.table_size == 0


@pytest.mark.contract("D80")
async def test_a_producer_whose_transport_ends_meanwhile_is_not_announced(world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    transport_id = await transport(alice)
    payload = {"transportId": transport_id, "kind": "video", "rtpParameters": rtp()}

    async def close() -> None:
        world.app._core.table.end_transport(transport_id)

    bob.take()
    assert await held(world, alice, "sfu-produce", payload, close) == ["transport not found"]
    assert bob.take() == []
    assert world.media.producers == {}


async def test_a_producer_that_ends_before_its_maker_knows_it(
    world: AppWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    transport_id = await transport(alice)
    plain = world.media.produce

    async def produce_and_end(*args: Any, **options: Any) -> str:
        producer_id = await plain(*args, **options)
        world.media.end_producer(producer_id)
        await wait_all_tasks_blocked()  # its end is heard of first
        return producer_id

    old = await produce(alice, transport_id)
    bob.take()
    monkeypatch.setattr(world.media, "produce", produce_and_end)
    payload = {"transportId": transport_id, "kind": "video", "rtpParameters": rtp()}
    assert await alice.call("sfu-produce", payload) == ["transport not found"]
    assert bob.take() == [("producer-closed", {"id": old})], "which had made way already"
    assert await listed(bob) == []


async def test_a_consumer_whose_producer_ends_meanwhile(world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    sender, receiver = await transport(alice), await transport(bob)
    video = await produce(alice, sender)
    payload = {"producerId": video, "transportId": receiver, "rtpCapabilities": CAN}

    async def close() -> None:
        world.media.end_producer(video)

    assert await held(world, bob, "sfu-consume", payload, close) == ["cannot consume"]
    session = world.app._core.table.get(bob.id)
    assert session is not None
    assert session.consumers == {}


async def test_a_consumer_whose_transport_ends_meanwhile(world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    sender, receiver = await transport(alice), await transport(bob)
    data = await produce_data(alice, sender)

    async def close() -> None:
        world.app._core.table.end_transport(receiver)

    payload = {"dataProducerId": data, "transportId": receiver}
    assert await held(world, bob, "consumedata", payload, close) == ["transport not found"]


async def test_a_worker_lost_while_a_transport_is_made(world: AppWorld) -> None:
    alice = await world.host("alice")

    async def lose() -> None:
        [room] = world.rooms
        world.media.lose_router(room.id)

    assert await held(world, alice, "sfu-create-transport", {}, lose) == ["no room"]
    await transport(alice)


async def test_closing_that_fails_hurts_nobody(world: AppWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_id: str) -> None:
        raise MediaError("no")

    monkeypatch.setattr(world.media, "close_transport", refuse)
    monkeypatch.setattr(world.media, "close_router", refuse)
    alice = await world.host("alice")
    await transport(alice)
    assert await alice.call("leave-room") == [None]
    await wait_all_tasks_blocked()
    assert await (await world.connect("bob")).call("sfu-available") == [{"available": True}]


def test_ends_of_unknown_producers_are_remembered_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    table = MediaTable()
    for n in range(MAX_EARLY_ENDINGS + 1):
        table.end_producer(f"p{n}")
    assert not table.ended_early("p0")
    assert table.ended_early("p1")
    assert not table.ended_early("p1"), "asked once"
    assert len(table._ended_early) == MAX_EARLY_ENDINGS - 1


def test_caps_are_what_clients_need() -> None:
    limits = SignalingLimits()
    assert limits.transports >= 8, "a host has four, twice that while a delay-sync room sets up"
    assert limits.consumers >= 4096, "clients never say that they are done with one"

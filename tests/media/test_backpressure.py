"""Receivers that are too slow for what they consume, and large messages: what is lost, and what is not."""

from __future__ import annotations

import pytest

from sfu.ice.address import Address
from sfu.media.relay import RelayCounters
from sfu.sctp.events import Direction, StreamsReset
from sfu.sctp.ppid import BINARY
from sfu.sctp.send_queue import DEFAULT_SEND_BUFFER, MAX_UNRELIABLE_MESSAGES
from tests.support.impairment import Impairment
from tests.support.peer import Peer
from tests.support.world import World

INTERVAL = 1 / 60


def consumed(world: World, channels: dict[str, dict[str, object]]) -> tuple[Peer, Peer]:
    """A player with some channels, on streams 0, 1, ..., and a host who consumes all of them, likewise."""
    player_id, player = world.join("player")
    host_id, host = world.join("host")
    for stream_id, (name, parameters) in enumerate(channels.items()):
        world.core.produce_data(player_id, name, {"streamId": stream_id, **parameters}, name, "", world.now)
        answer = world.core.consume_data(host_id, f"{name}-consumer", name)
        assert answer["sctpStreamParameters"]["streamId"] == stream_id
    return player, host


def cut_off(world: World, peer: Peer) -> None:
    """Nothing reaches ``peer`` or comes from it."""

    def passes(_data: bytes, source: Address, destination: Address) -> bool:
        return peer.address not in (source, destination)

    world.network.filter = passes


def mend(world: World) -> None:
    world.network.filter = lambda _data, _source, _destination: True


def counters(world: World) -> RelayCounters:
    counted = world.core.stats({}).counters
    return RelayCounters(**{name: counted[name] for name in RelayCounters.__slots__})


def on_stream(peer: Peer, stream_id: int) -> list[bytes]:
    return [message.data for message in peer.messages if message.stream_id == stream_id]


@pytest.mark.parametrize(
    "parameters",
    [
        {"ordered": False, "maxRetransmits": 0},
        {"ordered": False, "maxRetransmits": 2},
        {"ordered": False, "maxPacketLifeTime": 60_000},
    ],
    ids=str,
)
def test_who_was_away_gets_the_newest_inputs_and_not_the_oldest(parameters: dict[str, object]) -> None:
    world = World()
    player, host = consumed(world, {"input": parameters})
    cut_off(world, host)
    count = 1200
    for number in range(count):
        player.send_data(0, BINARY, number.to_bytes(4, "big") + bytes(36), world.now)
        world.run(INTERVAL)
    mend(world)
    assert world.run(
        5, lambda: host.messages[-1:] != [] and host.messages[-1].data[:4] == (count - 1).to_bytes(4, "big")
    )
    world.run(1)
    got = [int.from_bytes(message.data[:4], "big") for message in host.messages]
    waited = [number for number in got if number >= count - MAX_UNRELIABLE_MESSAGES]
    assert waited == list(range(count - MAX_UNRELIABLE_MESSAGES, count))
    found = counters(world)
    assert found.messages_superseded > count / 2
    assert len(got) + found.messages_superseded <= count
    assert (found.messages_refused, found.channels_overflowed) == (0, 0)


def test_a_reliable_channel_to_a_slow_receiver_is_closed_and_everything_else_goes_on() -> None:
    world = World()
    player, host = consumed(world, {"bulk": {}, "chat": {}, "input": {"maxRetransmits": 0}})
    cut_off(world, host)
    messages = [bytes([number]) * 64_000 for number in range(40)]
    for message in messages:
        player.send_data(0, BINARY, message, world.now)
        world.run(0.05)
    player.send_data(1, BINARY, b"chat", world.now)
    player.send_data(2, BINARY, b"input", world.now)
    world.run(0.1)
    assert counters(world).channels_overflowed == 1
    assert counters(world).messages_refused == 1, "the consumer is gone with the first"
    mend(world)
    assert world.run(10, lambda: bool(host.resets))
    got = on_stream(host, 0)
    assert got == messages[: len(got)], "what was accepted, without a gap"
    assert DEFAULT_SEND_BUFFER - 64_000 < sum(map(len, got)) < DEFAULT_SEND_BUFFER + 64_000
    assert host.resets == [StreamsReset((0,), Direction.INCOMING)]
    player.send_data(0, BINARY, b"to nobody", world.now)
    player.send_data(1, BINARY, b"more chat", world.now)
    player.send_data(2, BINARY, b"more input", world.now)
    world.run(0.5)
    assert on_stream(host, 0) == got
    assert on_stream(host, 1) == [b"chat", b"more chat"]
    assert on_stream(host, 2) == [b"input", b"more input"]
    assert world.events == [], "the player's channel is not the host's fault"


def test_a_slow_receiver_costs_another_nothing() -> None:
    world = World()
    player, slow = consumed(world, {"bulk": {}})
    other_id, other = world.join()
    world.core.consume_data(other_id, "other", "bulk")
    cut_off(world, slow)
    messages = [bytes([number]) * 64_000 for number in range(40)]
    for message in messages:
        player.send_data(0, BINARY, message, world.now)
        world.run(0.05)
    assert world.run(5, lambda: len(other.messages) == len(messages))
    assert on_stream(other, 0) == messages
    assert counters(world).channels_overflowed == 1


@pytest.mark.parametrize("loss", [0.0, 0.03])
def test_largest_messages_pass_both_ways_at_once(loss: float) -> None:
    world = World(3, Impairment(loss=loss))
    a_id, a = world.join()
    b_id, b = world.join()
    world.core.produce_data(a_id, "from a", {"streamId": 0}, "", "", world.now)
    world.core.produce_data(b_id, "from b", {"streamId": 0}, "", "", world.now)
    world.core.consume_data(b_id, "to b", "from a")
    world.core.consume_data(a_id, "to a", "from b")
    from_a, from_b = ([world.random.randbytes(262_144) for _ in range(3)] for _ in range(2))
    for first, second in zip(from_a, from_b, strict=True):
        a.send_data(0, BINARY, first, world.now)
        b.send_data(0, BINARY, second, world.now)
    assert world.run(60, lambda: len(a.messages) == len(b.messages) == 3)
    assert on_stream(b, 0) == from_a
    assert on_stream(a, 0) == from_b
    assert counters(world) == RelayCounters()

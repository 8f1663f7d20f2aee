"""Data channels: what is relayed, what closes them, and how many there may be."""

from __future__ import annotations

import pytest

from sfu.media.errors import MediaRefused
from sfu.media.events import DataProducerClosed
from sfu.media.objects import MAX_PRODUCERS
from sfu.media.parameters import OrtcError
from sfu.media.router import STREAMS
from sfu.sctp.dcep import DataChannelAck, DataChannelOpen
from sfu.sctp.ppid import (
    BINARY,
    BINARY_EMPTY,
    BINARY_PARTIAL,
    DCEP,
    STRING,
    STRING_EMPTY,
    STRING_PARTIAL,
)
from tests.support.impairment import Impairment
from tests.support.peer import Peer
from tests.support.world import World


def channel(
    world: World, protocol: str = "", label: str = "netplay-input", **parameters: object
) -> tuple[str, Peer, str, Peer]:
    """A player with a channel on stream 0, and a host who consumes it: transport and peer of each."""
    player_id, player = world.join()
    world.core.produce_data(player_id, "data", {"streamId": 0, **parameters}, label, protocol, world.now)
    host_id, host = world.join()
    world.core.consume_data(host_id, "dc", "data")
    return player_id, player, host_id, host


# Relaying


@pytest.mark.contract("M23")
def test_data_is_relayed_with_its_ppid_and_boundaries() -> None:
    world = World()
    player_id, player = world.join()
    parameters = {"streamId": 3, "ordered": False, "maxRetransmits": 0}
    world.core.produce_data(player_id, "data", parameters, "inputs", "json", world.now)
    host_id, host = world.join()
    answer = world.core.consume_data(host_id, "dc", "data")
    assert answer == {
        "id": "dc",
        "dataProducerId": "data",
        "sctpStreamParameters": {"streamId": 0, "ordered": False, "maxRetransmits": 0},
        "label": "inputs",
        "protocol": "json",
    }
    second = world.core.consume_data(host_id, "dc2", "data")
    assert second["sctpStreamParameters"]["streamId"] == 1
    for i in range(50):
        player.send_data(3, BINARY if i % 2 else STRING, b"%d" % i, world.now)
        world.run(0.005)
    world.run(0.2)
    for stream in (0, 1):
        got = [(m.ppid, m.data) for m in host.messages if m.stream_id == stream]
        assert got == [(BINARY if i % 2 else STRING, b"%d" % i) for i in range(50)]


def test_a_quarter_megabyte_message_passes() -> None:
    world = World()
    player_id, player = world.join()
    world.core.produce_data(player_id, "data", {"streamId": 0}, "", "", world.now)
    host_id, host = world.join()
    world.core.consume_data(host_id, "dc", "data")
    message = world.random.randbytes(262144)
    player.send_data(0, BINARY, message, world.now)
    assert world.run(10, lambda: bool(host.messages))
    assert host.messages[0].data == message


def test_dcep_is_answered() -> None:
    world = World()
    _, peer = world.join()
    peer.send_data(7, DCEP, DataChannelOpen(label="x").encode(), world.now)
    assert world.run(1, lambda: bool(peer.messages))
    assert (peer.messages[0].stream_id, peer.messages[0].ppid, peer.messages[0].data) == (
        7,
        DCEP,
        DataChannelAck().encode(),
    )


def test_closing_a_channel_ends_its_data_producer() -> None:
    world = World()
    player_id, player = world.join()
    world.core.produce_data(player_id, "data", {"streamId": 0}, "", "", world.now)
    player.send_data(0, BINARY, b"x", world.now)
    world.run(0.1)
    player.sctp.reset_streams([0], world.now)
    player._pump(world.now)
    world.run(1)
    assert DataProducerClosed("data") in world.events
    world.core.produce_data(player_id, "again", {"streamId": 0}, "", "", world.now)


@pytest.mark.parametrize("seed", range(5))
def test_a_lossy_line_delivers_everything_that_must_arrive(seed: int) -> None:
    world = World(seed, Impairment(loss=0.1, duplication=0.05, jitter=0.03))
    player_id, player = world.join()
    world.core.produce_data(player_id, "data", {"streamId": 0}, "", "", world.now)
    host_id, host = world.join()
    world.core.consume_data(host_id, "dc", "data")
    for i in range(200):
        player.send_data(0, BINARY, b"%d" % i, world.now)
        world.run(0.01)
    assert world.run(30, lambda: len(host.messages) == 200)
    assert [m.data for m in host.messages] == [b"%d" % i for i in range(200)]


# Text where only binary is wanted


TEXTS = [STRING, STRING_PARTIAL, STRING_EMPTY]
OTHERS = [BINARY, BINARY_PARTIAL, BINARY_EMPTY, 0, 99]


@pytest.mark.contract("D62")
@pytest.mark.parametrize("ppid", TEXTS)
def test_text_ends_a_channel_for_binary_messages(ppid: int) -> None:
    world = World()
    player_id, player, _, host = channel(world)
    player.send_data(0, BINARY, b"first", world.now)
    world.run(0.1)
    player.send_data(0, ppid, b"text", world.now)
    player.send_data(0, BINARY, b"later", world.now)
    world.run(0.5)
    assert [m.data for m in host.messages] == [b"first"]
    reason = f"text (PPID {ppid}) on a channel for binary messages"
    assert world.events == [DataProducerClosed("data", reason)]
    with pytest.raises(MediaRefused):
        world.core.consume_data(player_id, "dc2", "data")
    world.core.produce_data(player_id, "again", {"streamId": 0}, "netplay-input", "", world.now)


@pytest.mark.contract("D62")
@pytest.mark.parametrize(
    ("ppid", "protocol", "required"),
    [
        *((ppid, "", True) for ppid in OTHERS),
        *((ppid, "json", True) for ppid in TEXTS),
        *((ppid, "", False) for ppid in TEXTS),
    ],
)
def test_everything_else_passes(ppid: int, protocol: str, required: bool) -> None:
    world = World(require_binary=required)
    _, player, _, host = channel(world, protocol)
    player.send_data(0, ppid, b"x", world.now)
    world.run(0.2)
    assert [(m.ppid, m.data) for m in host.messages] == [(ppid, b"x")]
    assert world.events == []


@pytest.mark.contract("D62")
def test_the_exemption_is_for_json_literally() -> None:
    world = World()
    _, player, _, host = channel(world, "JSON")
    player.send_data(0, STRING, b"{}", world.now)
    world.run(0.2)
    assert host.messages == []


# Streams


def test_stream_ids_are_used_again_only_after_all_others() -> None:
    """A host stays for hours while guests come and go: this once ran out after 1,024 of them."""
    world = World()
    host_id, _ = world.join()
    guest_id, _ = world.join()
    seen = []
    for round_ in range(STREAMS + 3):
        world.core.produce_data(guest_id, f"d{round_}", {"streamId": 0}, "", "", world.now)
        answer = world.core.consume_data(host_id, f"dc{round_}", f"d{round_}")
        seen.append(answer["sctpStreamParameters"]["streamId"])
        world.core.close_data_producer(f"d{round_}", world.now)
    assert seen == [*range(STREAMS), 0, 1, 2]


def test_streams_are_bounded() -> None:
    world = World()
    player_id, _, host_id, _ = channel(world)
    for number in range(1, STREAMS):
        world.core.consume_data(host_id, f"dc-{number}", "data")
    with pytest.raises(MediaRefused, match="no sctpStreamId available"):
        world.core.consume_data(host_id, "one more", "data")
    world.core.consume_data(player_id, "elsewhere", "data")


def test_data_producers_are_bounded() -> None:
    world = World()
    transport_id, _ = world.join()
    for number in range(MAX_PRODUCERS):
        world.core.produce_data(transport_id, f"d{number}", {"streamId": number}, "", "", world.now)
    with pytest.raises(MediaRefused, match="more than 32 data producers"):
        world.core.produce_data(transport_id, "more", {"streamId": 100}, "", "", world.now)
    world.core.produce_data(transport_id, "other", {"streamId": 100}, "", "", world.now, replaces="d0")


# Replacing


@pytest.mark.contract("D65", "D66")
def test_a_channel_takes_the_place_of_another_on_the_same_stream() -> None:
    world = World()
    player_id, player, host_id, host = channel(world)
    world.core.produce_data(
        player_id, "new", {"streamId": 0}, "netplay-input", "", world.now, replaces="data"
    )
    assert world.events == [], "who asked need not be told"
    with pytest.raises(MediaRefused):
        world.core.consume_data(host_id, "dc2", "data")
    answer = world.core.consume_data(host_id, "dc3", "new")
    player.send_data(0, BINARY, b"x", world.now)
    world.run(0.2)
    assert [(m.stream_id, m.data) for m in host.messages] == [
        (answer["sctpStreamParameters"]["streamId"], b"x")
    ]


@pytest.mark.contract("D65", "D66")
@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({}, "missing params.streamId"),
        ({"streamId": 1}, "streamId 1 is in use on this transport"),
        ({"streamId": 0, "ordered": True, "maxRetransmits": 1}, "cannot be ordered"),
    ],
)
def test_a_channel_that_is_refused_takes_no_place(parameters: dict[str, object], error: str) -> None:
    world = World()
    player_id, player, _, host = channel(world)
    world.core.produce_data(player_id, "beside", {"streamId": 1}, "", "", world.now)
    with pytest.raises((MediaRefused, OrtcError), match=error):
        world.core.produce_data(player_id, "new", parameters, "", "", world.now, replaces="data")
    player.send_data(0, BINARY, b"still here", world.now)
    world.run(0.2)
    assert [m.data for m in host.messages] == [b"still here"]


def test_what_is_to_be_replaced_may_be_gone_or_not_ones_room() -> None:
    world = World()
    player_id, player, _, host = channel(world)
    world.core.create_router("other room")
    world.core.create_transport("other room", "stranger")
    world.core.produce_data("stranger", "theirs", {"streamId": 0}, "", "", world.now, replaces="data")
    world.core.produce_data(player_id, "mine", {"streamId": 1}, "", "", world.now, replaces="nope")
    player.send_data(0, BINARY, b"still here", world.now)
    world.run(0.2)
    assert [m.data for m in host.messages] == [b"still here"]

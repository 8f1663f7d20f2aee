"""Paths that change under a running game, in virtual time: what a viewer gets, where, and from when on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from sfu.ice.address import Address, TcpAddress
from sfu.ice.agent import DEFAULT_CONSENT_TIMEOUT
from sfu.ice.stun import MessageClass, StunMessage, is_stun
from sfu.media.events import TransportClosed
from sfu.media.transport import DISCONNECTED_TIMEOUT
from sfu.sctp.ppid import BINARY
from tests.support.peer import CONSENT_INTERVAL, Peer
from tests.support.world import SERVER, VideoSource, World

WIFI: Address = ("198.51.100.77", 40000)
LTE: Address = ("203.0.113.5", 41000)
STRANGER: Address = ("192.0.2.66", 666)
ROUND_TRIP = 0.02
"""Of the default network."""
FRAME = 1 / 60


class Quiet(Peer):
    """A peer that nominates once and then only keeps consent fresh, as RFC 7675 has it."""

    def check(self) -> bytes:
        return StunMessage(
            message_class=MessageClass.REQUEST,
            transaction_id=self._random_bytes(12),
            username=self._username,
            priority=0x6E001EFF,
            use_candidate=not self.validated,
            ice_controlling=1,
        ).encode(password=self._password)


@dataclass
class Game:
    """A host that sends video and data, and a viewer at :data:`WIFI`, which consumes both."""

    world: World
    source: VideoSource
    host: Peer
    viewer: Peer
    arrivals: list[tuple[float, Address]]
    """When and where media arrived at the viewer: SRTP as its socket sees it."""

    def play(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """A frame and an input every sixtieth of a second."""
        end = self.world.now + seconds
        while self.world.now < end and not until():
            self.source.frame(1, key=True)
            self.host.send_data(0, BINARY, b"input", self.world.now, ordered=False, max_retransmits=0)
            self.world.run(FRAME)
        return until()

    def got_at(self, address: Address, since: float = 0.0) -> list[float]:
        return [at for at, where in self.arrivals if where == address and at >= since]


def game(kind: type[Peer] = Peer, seed: int = 0) -> Game:
    world = World(seed)
    host_id, host = world.join()
    world.produce_video(host_id)
    world.core.produce_data(host_id, "data", {"streamId": 0}, "", "", world.now)
    viewer = kind(WIFI, world.core.create_transport("room", "viewer"), random_bytes=world.random_bytes)
    world.network.add(viewer, WIFI)
    world.connect("viewer", viewer)
    world.consume("viewer")
    world.core.consume_data("viewer", "dc", "data")
    arrivals: list[tuple[float, Address]] = []

    def note(data: bytes, source: Address, destination: Address) -> bool:
        if source == SERVER and 128 <= data[0] < 192:
            arrivals.append((world.now, destination))
        return True

    world.network.filter = note
    result = Game(world, VideoSource(host), host, viewer, arrivals)
    result.play(1)
    assert {where for _, where in arrivals if where != host.address} == {WIFI}
    return result


def test_wifi_to_lte_media_follows_the_first_nominating_check() -> None:
    """The same credentials from another network: no ICE restart, no signaling."""
    g = game()
    g.viewer.address = LTE
    g.world.network.add(g.viewer, LTE)
    moved = g.world.now
    g.viewer.send_raw(g.viewer.check())
    g.play(1)
    assert g.got_at(LTE)[0] <= moved + ROUND_TRIP + FRAME
    assert not g.got_at(WIFI, moved + ROUND_TRIP + FRAME)
    assert len(g.got_at(LTE)) >= 55
    before = len(g.viewer.messages)
    g.play(1)
    assert len(g.viewer.messages) - before >= 55
    assert g.world.events == []


@pytest.mark.parametrize("kind", [Peer, Quiet])
def test_a_rebound_nat_media_goes_on_by_the_next_check(kind: type[Peer]) -> None:
    """The viewer knows nothing of it. One that does not nominate again is recognised by its own packets."""
    g = game(kind)
    g.world.network.rebind(WIFI, LTE)
    moved = g.world.now
    # What arrives from the new address before a check does is nobody's.
    g.viewer.send_data(0, BINARY, b"who?", g.world.now)
    g.world.run(ROUND_TRIP)
    assert not g.got_at(LTE)
    checked = g.viewer.answers
    assert g.play(CONSENT_INTERVAL + 1, lambda: g.viewer.answers > checked)
    seen = g.world.now
    assert seen - moved <= CONSENT_INTERVAL + 1
    g.viewer.send_data(0, BINARY, b"here", g.world.now)
    g.play(1)
    assert g.got_at(LTE)[0] <= seen + ROUND_TRIP + FRAME
    assert not g.got_at(WIFI, seen + ROUND_TRIP + FRAME)
    assert len(g.got_at(LTE)) >= 55
    assert g.world.events == []


def test_a_rebound_viewer_that_sends_nothing_gets_its_media_all_the_same() -> None:
    g = game(Quiet)
    g.world.core.close_data_producer("data", g.world.now)
    g.world.run(1)
    g.world.network.rebind(WIFI, LTE)
    moved = g.world.now
    while g.world.now < moved + 20:
        g.source.frame(1, key=True)
        g.world.run(FRAME)
    first = g.got_at(LTE)[0] - moved
    assert first <= 8 + CONSENT_INTERVAL
    assert len(g.got_at(LTE, moved + first)) >= 55 * (20 - first)


def test_a_recorded_check_and_recorded_packets_move_nothing() -> None:
    g = game(Quiet)
    recorded: list[bytes] = []
    note = g.world.network.filter

    def record(data: bytes, source: Address, destination: Address) -> bool:
        if source == WIFI:
            recorded.append(data)
        return note(data, source, destination)

    g.world.network.filter = record
    g.play(CONSENT_INTERVAL + 1)
    assert any(map(is_stun, recorded))
    assert any(20 <= data[0] < 64 for data in recorded)
    stranger = Recorder()
    g.world.network.add(stranger, STRANGER)
    for data in sorted(recorded, key=is_stun, reverse=True):  # the checks first
        stranger.out.append((data, STRANGER, SERVER))
    g.play(2)
    assert not g.got_at(STRANGER)
    assert len(g.got_at(WIFI, g.world.now - 1)) >= 55


class Recorder:
    """Sends what it is given."""

    def __init__(self) -> None:
        self.out: list[tuple[bytes, Address, Address]] = []

    def receive(self, *_: Any) -> None:
        pass

    def take_output(self, now: float) -> Sequence[tuple[bytes, Address, Address]]:
        out, self.out = self.out, []
        return out

    def get_timer(self) -> float | None:
        return None

    def handle_timer(self, now: float) -> None:
        pass


def test_an_ice_restart_moves_media_with_its_first_check() -> None:
    g = game()
    credentials = g.world.core.restart_ice("viewer", g.world.now)
    g.play(1)
    assert len(g.got_at(WIFI, g.world.now - 1)) >= 55, "until the viewer follows nothing changes"
    g.viewer.address = LTE
    g.world.network.add(g.viewer, LTE)
    g.viewer.use_credentials(credentials)
    moved = g.world.now
    g.play(1)
    assert g.got_at(LTE)[0] <= moved + ROUND_TRIP + FRAME
    assert not g.got_at(WIFI, moved + ROUND_TRIP + FRAME)
    assert g.world.events == []


def test_without_consent_media_stops_and_the_reason_is_told() -> None:
    """RFC 7675 5.1: nothing is sent to an address that has not consented for 30 s."""
    g = game()
    note = g.world.network.filter
    g.world.network.filter = lambda data, source, to: note(data, source, to) and source != WIFI
    silent = g.world.now
    g.play(DEFAULT_CONSENT_TIMEOUT + 5)
    last = g.got_at(WIFI)[-1]
    assert DEFAULT_CONSENT_TIMEOUT - CONSENT_INTERVAL - 1 <= last - silent <= DEFAULT_CONSENT_TIMEOUT
    assert g.world.events == [], "it may come back"
    g.world.run(DISCONNECTED_TIMEOUT)
    assert g.world.events == [
        TransportClosed(
            "viewer", "ice disconnected for too long: no check arrived within the consent timeout"
        )
    ]


def test_who_comes_back_from_a_tunnel_in_time_goes_on() -> None:
    g = game()
    note = g.world.network.filter
    g.world.network.filter = lambda data, source, to: note(data, source, to) and WIFI not in (source, to)
    g.world.run(DEFAULT_CONSENT_TIMEOUT + DISCONNECTED_TIMEOUT / 2)
    g.world.network.filter = note
    g.viewer.send_raw(g.viewer.check())
    back = g.world.now
    g.play(1)
    assert g.got_at(WIFI, back)[0] <= back + ROUND_TRIP + 2 * FRAME
    assert g.world.events == []


def test_a_closed_tcp_connection_is_a_reason_of_its_own() -> None:
    world = World()
    info = world.core.create_transport("room", "t")
    peer = Peer(TcpAddress("198.51.100.1", 5, 1), info, random_bytes=world.random_bytes)
    world.network.add(peer, peer.address)
    world.connect("t", peer)
    world.network.filter = lambda *_: False
    world.core.address_closed(peer.address, world.now)
    world.run(DISCONNECTED_TIMEOUT + 1)
    [event] = world.events
    assert isinstance(event, TransportClosed)
    assert event.reason == "ice disconnected for too long: the last connection of the peer was closed"

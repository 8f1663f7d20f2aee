"""The scenarios of bad networks, and a host, a viewer and a player who live through them in virtual time.

tests/scenarios.json is the table. The browser tests hold it with Chromium (tests/browser/scenarios.test.mjs);
what is here does as browsers do in what matters: a host repeats what it is asked for, a viewer asks for what
it misses and shows frames in their order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from struct import pack, unpack
from typing import Any, Final

from sfu.rtp.packet import RtpPacket, SequenceUnwrapper, parse_untrusted
from sfu.rtp.rtcp import (
    GenericNack,
    PictureLossIndication,
    RtcpPacket,
    build_compound,
    build_nacks,
    parse_compound_untrusted,
)
from sfu.rtp.rtx import recover_untrusted
from sfu.sctp.ppid import BINARY
from tests.support.impairment import Impairment
from tests.support.peer import Peer
from tests.support.world import SERVER, VIDEO_SSRC, VideoSource, World

FRAME_RATE: Final = 30
INPUT_RATE: Final = 60
INPUT_SIZE: Final = 64
"""Bytes."""
TICK: Final = 1 / 300
"""Seconds between two looks of a peer at what it got: ten to a frame, five to an input."""
FREEZE: Final = 0.5
"""A pause between frames that is longer than this is a freeze, in seconds."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One entry of the table."""

    name: str
    leg: str
    """Whose line is impaired: ``host``, ``viewer`` or ``player``."""
    up: Impairment
    """From that user to us."""
    down: Impairment
    holds: dict[str, Any]
    """What must hold:

    - ``frames``: share of the unimpaired frame rate that is kept
    - ``freeze``: longest pause between frames, in seconds
    - ``recovery``: seconds from the end of an outage, or from a change of address, to a steady picture
    - ``input``: age of inputs at the 99th percentile, in round trips and sending intervals
    - ``inputRecovery``: seconds from the end of an outage until an input that was made after it arrives
    - ``climb``: seconds to the top layer once the line is good again
    """
    protocol: str = "udp"
    settle: float = 0.8
    """Seconds until the impairment has its full effect, where it is a browser's."""
    rebind: float | None = None
    """Seconds after which a NAT gives the user another address."""
    layers: bool = False
    """The host sends several sizes."""
    pending: str | None = None
    """Why it does not hold yet."""

    @property
    def round_trip(self) -> float:
        return self.up.delay + self.down.delay


def load_scenarios() -> list[Scenario]:
    table = json.loads((Path(__file__).parents[1] / "scenarios.json").read_text())
    return [
        Scenario(**{**entry, **{way: Impairment.from_json(entry[way]) for way in ("up", "down")}})
        for entry in table
    ]


class Host:
    """Draws frames and sends them in three packets each, as long as somebody calls :meth:`draw`."""

    def __init__(self, world: World) -> None:
        self.id, self.peer = world.join("host")
        world.produce_video(self.id)
        self._source = VideoSource(self.peer)
        self._repairs = 0
        self._wants_keyframe = True
        self.drawn = 0

    def draw(self) -> None:
        self._source.frame(key=self._wants_keyframe)
        self._wants_keyframe = False
        self.drawn += 1

    def react(self) -> None:
        """Answer what came in by RTCP: repeat packets, make the next frame a key frame."""
        for packet in _rtcp(self.peer):
            if isinstance(packet, GenericNack):
                for number in packet.sequence_numbers():
                    self._repeat(number)
            elif isinstance(packet, PictureLossIndication) and packet.media_ssrc == VIDEO_SSRC:
                self._wants_keyframe = True

    def _repeat(self, number: int) -> None:
        last = self._source.index - 1
        index = last - (last - number) % 0x10000
        if index in self._source.sent:
            self._source.repair(index, self._repairs)
            self._repairs += 1


@dataclass(slots=True)
class _Missing:
    due: float
    retries: int = 0


class Viewer:
    """Shows frames in order; asks for what it misses as libwebrtc does: at once, then every round trip."""

    MAX_RETRIES: Final = 10
    MAX_MISSING: Final = 1000
    KEYFRAME_INTERVAL: Final = 0.2
    """Seconds between requests of one who has no frame to begin with."""

    def __init__(self, world: World) -> None:
        self.id, self.peer = world.join("viewer")
        parameters = world.consume(self.id)["rtpParameters"]
        self._ssrc: int = parameters["encodings"][0]["ssrc"]
        self._rtx_ssrc: int = parameters["encodings"][0]["rtx"]["ssrc"]
        self._payload_type: int = parameters["codecs"][0]["payloadType"]
        self.shown: list[float] = []
        """When."""
        self.requests = 0
        """Key frames asked for."""
        self._unwrap = SequenceUnwrapper()
        self._packets: dict[int, RtpPacket] = {}
        """Those that were not shown yet."""
        self._missing: dict[int, _Missing] = {}
        self._highest: int | None = None
        self._next: int | None = None
        """The first packet of the frame to show next; None: the next key frame is."""
        self._asked_at = float("-inf")

    def react(self, now: float, round_trip: float) -> None:
        for data in self.peer.rtp:
            packet: RtpPacket | None = parse_untrusted(data)
            assert packet is not None
            if packet.ssrc == self._rtx_ssrc:
                packet = recover_untrusted(packet, ssrc=self._ssrc, payload_type=self._payload_type)
            if packet is not None and packet.ssrc == self._ssrc:
                self._take(packet, now)
        self.peer.rtp.clear()
        while self._show(now):
            pass
        self._ask(now, round_trip)

    def _take(self, packet: RtpPacket, now: float) -> None:
        number = self._unwrap.unwrap(packet.sequence_number)
        if self._highest is not None and number > self._highest:
            for missing in range(self._highest + 1, number):
                self._missing[missing] = _Missing(now)
        self._highest = number if self._highest is None else max(number, self._highest)
        self._missing.pop(number, None)
        if self._next is None or number >= self._next:
            self._packets.setdefault(number, packet)

    def _show(self, now: float) -> bool:
        """Show the next frame if it is there as a whole."""
        starts = [self._next] if self._next is not None else sorted(filter(self._begins_key, self._packets))
        if self._next is not None and self._next not in self._packets:
            # What was lost for good is behind us once there is a key frame.
            starts = sorted(filter(self._begins_key, self._packets))
        for start in starts:
            end = start
            while (packet := self._packets.get(end)) is not None and not packet.marker:
                end += 1
            if packet is not None:
                self.shown.append(now)
                self._next = end + 1
                for old in [n for n in self._packets if n <= end]:
                    del self._packets[old]
                for old in [n for n in self._missing if n <= end]:
                    del self._missing[old]
                return True
        return False

    def _begins_key(self, number: int) -> bool:
        """VP9's payload descriptor (RFC 9628): beginning of a frame that no other is needed for."""
        return self._packets[number].payload[0] & 0x48 == 0x08

    def _ask(self, now: float, round_trip: float) -> None:
        due = [number for number, missing in self._missing.items() if missing.due <= now]
        given_up = len(self._missing) > self.MAX_MISSING or any(
            self._missing[number].retries >= self.MAX_RETRIES for number in due
        )
        packets: list[RtcpPacket] = []
        if given_up:
            self._missing.clear()
            self._next = None
        else:
            for number in due:
                self._missing[number].due = now + round_trip
                self._missing[number].retries += 1
            packets += build_nacks(1, self._ssrc, [number & 0xFFFF for number in due])
        if self._next is None and now - self._asked_at >= self.KEYFRAME_INTERVAL:
            self._asked_at = now
            self.requests += 1
            packets.append(PictureLossIndication(1, self._ssrc))
        if packets:
            self.peer.send_rtcp(build_compound(packets))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a viewer saw in a while."""

    began: float
    ended: float
    drawn: int
    shown: list[float]
    """When."""

    @property
    def share(self) -> float:
        """Frames shown of those that were drawn."""
        return len(self.shown) / self.drawn

    @property
    def pauses(self) -> list[tuple[float, float]]:
        """Between frames, and before the first and after the last: (end, length)."""
        return [(b, b - a) for a, b in pairwise([self.began, *self.shown, self.ended])]

    @property
    def longest_pause(self) -> float:
        return max(length for _, length in self.pauses)

    def recovery(self, since: float) -> float:
        """Seconds from ``since`` to the end of the last freeze; infinity if the last goes on."""
        freezes = [end for end, length in self.pauses if length > FREEZE]
        if freezes and freezes[-1] == self.ended:
            return float("inf")
        return max([0.0, *(end - since for end in freezes)])


@dataclass(slots=True)
class Picture:
    """A host and a viewer, whose lines have some delay until they are impaired."""

    world: World
    host: Host = field(init=False)
    viewer: Viewer = field(init=False)
    _ticks: int = 0

    def __post_init__(self) -> None:
        self.host = Host(self.world)
        self.viewer = Viewer(self.world)

    def watch(self, seconds: float, round_trip: float) -> Seen:
        began, drawn, shown = self.world.now, self.host.drawn, len(self.viewer.shown)
        for _ in range(round(seconds / TICK)):
            if self._ticks % round(1 / TICK / FRAME_RATE) == 0:
                self.host.draw()
            self._ticks += 1
            self.world.run(TICK)
            self.host.react()
            self.viewer.react(self.world.now, round_trip)
        return Seen(began, self.world.now, self.host.drawn - drawn, self.viewer.shown[shown:])


@dataclass(frozen=True, slots=True)
class Input:
    """One that arrived."""

    made: float
    came: float

    @property
    def age(self) -> float:
        return self.came - self.made


class Inputs:
    """A player and a host who send each other inputs, each with a transport per way, as browsers do."""

    def __init__(self, world: World) -> None:
        self.world = world
        player_send, self.player_send = world.join("player sends")
        player_receive, self.player_receive = world.join("player receives")
        host_send, self.host_send = world.join("host sends")
        host_receive, self.host_receive = world.join("host receives")
        stream = {"streamId": 0, "ordered": False}
        world.core.produce_data(player_send, "inputs", stream, "netplay-input", "", world.now)
        world.core.produce_data(host_send, "state", stream, "netplay-input", "", world.now)
        world.core.consume_data(host_receive, "to the host", "inputs")
        world.core.consume_data(player_receive, "to the player", "state")

    def exchange(self, seconds: float) -> tuple[list[Input], list[Input]]:
        """Send both ways for a while, until all is there: what the player got, and what the host got."""
        inputs: tuple[list[Input], list[Input]] = ([], [])
        receivers = (self.player_receive, self.host_receive)
        count = round(seconds * INPUT_RATE)
        per_input = round(1 / TICK / INPUT_RATE)
        ticks = 0
        while min(map(len, inputs)) < count:
            if ticks % per_input == 0 and ticks < count * per_input:
                for sender in (self.player_send, self.host_send):
                    data = pack("!d", self.world.now).ljust(INPUT_SIZE, b"\0")
                    sender.send_data(0, BINARY, data, self.world.now, ordered=False)
            ticks += 1
            assert ticks < (seconds + 10) / TICK, "an input never arrived"
            self.world.run(TICK)
            for receiver, got in zip(receivers, inputs, strict=True):
                got += [Input(unpack("!d", m.data[:8])[0], self.world.now) for m in receiver.messages]
                receiver.messages.clear()
        return inputs


def impair(world: World, scenario: Scenario, *peers: Peer) -> None:
    """Make the line of these peers, who are one user, what the scenario says."""
    for peer in peers:
        world.network.impair(peer.address, SERVER, scenario.up)
        world.network.impair(SERVER, peer.address, scenario.down)


def age_at(inputs: list[Input], share: float) -> float:
    """A percentile of their ages, in seconds."""
    ages = sorted(i.age for i in inputs)
    return ages[min(int(len(ages) * share), len(ages) - 1)]


def _rtcp(peer: Peer) -> list[RtcpPacket]:
    packets = [packet for data in peer.rtcp for packet in parse_compound_untrusted(data)]
    peer.rtcp.clear()
    return packets

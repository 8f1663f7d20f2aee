"""Layers: who gets which, and that what they get is one stream without a seam."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from struct import pack, unpack_from

import pytest

from sfu.media.allocation import MAX_DEMANDS, Allocator, Demand
from sfu.media.bwe import MAX_BITRATE, Probe, SendSideEstimator
from sfu.media.events import Fault
from sfu.media.line import ViewerLine
from sfu.media.objects import Rung
from sfu.media.router import Router
from sfu.media.selection import SILENCE
from sfu.media.table import MAX_SEGMENTS, MAX_TEMPORAL
from sfu.rtp import srtp_crypto
from sfu.rtp.extensions import ExtensionUri, build_extension, packet_elements_untrusted
from sfu.rtp.packet import RtpPacket, build_header, parse_untrusted, sequence_distance
from sfu.rtp.rtcp import PictureLossIndication, build_compound, build_nacks, parse_compound_untrusted
from tests.support.dependency_descriptor import Structure, Template, write
from tests.support.impairment import Impairment
from tests.support.layered import FRAME, Seen, Vp8Layer, simulcast_parameters, vp9_payload
from tests.support.world import (
    AUDIO_SSRC,
    MID_ID,
    VIDEO_SSRC,
    World,
    audio_parameters,
    received,
    video_parameters,
)

SMALL, LARGE = 777, 778


class ToldEstimator(SendSideEstimator):
    """Estimates what it is told: what is tested here is what follows from that."""

    def __init__(self, bitrate: int) -> None:
        super().__init__(0.0)
        self._told = bitrate

    @property
    def bitrate(self) -> int:
        return self._told

    def get_timer(self) -> float | None:
        return None

    def next_probe(self, now: float) -> Probe | None:
        return None


def carry(world: World, viewer_id: str, bitrate: int) -> None:
    """Let the estimate of a viewer's line be this from now on."""
    line = world.core._transports[viewer_id].line
    assert line is not None
    line.estimator = ToldEstimator(bitrate)


class Simulcast:
    """A host that sends two sizes of VP8, and one viewer."""

    def __init__(
        self,
        *,
        temporal: bool = False,
        largest_first: bool = False,
        reports: bool = True,
        impairment: Impairment | None = None,
    ) -> None:
        self.world = World(0, impairment)
        host_id, self.host = self.world.join("host")
        encodings = [
            {"rid": "r0", "maxBitrate": 900_000, "scaleResolutionDownBy": 2},
            {"rid": "r1", "maxBitrate": 2_500_000, "scaleResolutionDownBy": 1},
        ]
        rids = ["r0", "r1"]
        if largest_first:
            encodings = [{**encodings[1], "rid": "r0"}, {**encodings[0], "rid": "r1"}]
            rids.reverse()
        self.world.core.produce(host_id, "video", "video", simulcast_parameters(*encodings), self.world.now)
        self.small = Vp8Layer(self.host, rids[0], SMALL, start=5000, size=100, temporal=temporal)
        self.large = Vp8Layer(self.host, rids[1], LARGE, start=60_000, size=900, temporal=temporal)
        self.reports = reports
        self.number = 0
        self.keys = {SMALL: True, LARGE: True}
        self.viewer_id, self.viewer = self.world.join()
        self.ssrc = self.world.consume(self.viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]

    @property
    def router(self) -> Router:
        return self.world.core._routers["room"]

    def play(self, pictures: int) -> None:
        """Send pictures, 30 a second, and answer requests for key frames."""
        for _ in range(pictures):
            for packet in self.host.rtcp:
                for item in parse_compound_untrusted(packet):
                    if isinstance(item, PictureLossIndication):
                        self.keys[item.media_ssrc] = True
            self.host.rtcp.clear()
            for layer in (self.small, self.large):
                if layer.sending:
                    layer.picture(self.number, key=self.keys.pop(layer.ssrc, False))
                    if self.reports and self.number % 15 == 0:
                        layer.report(self.number)
            self.number += 1
            self.world.run(1 / 30)

    def seen(self) -> list[Seen]:
        return [Seen(packet) for packet in received(self.viewer, self.ssrc) if packet.payload]

    def select(self, size: int, temporal: int = MAX_TEMPORAL) -> None:
        """Let the viewer's line carry this and not more."""
        [fits] = [
            i
            for i, rung in enumerate(self.rungs)
            if rung.stream.entry.ssrc == size and rung.temporal == temporal
        ]
        low, high = self.rungs[fits : fits + 2]
        carry(self.world, self.viewer_id, (low.bitrate + high.bitrate) // 2)

    @property
    def rungs(self) -> list[Rung]:
        return self.router.producers["video"].rungs


def assert_seamless(packets: Sequence[Seen], *, tolerance: int = 0) -> None:
    """Numbers, times and picture ids go on as if one encoder had made it all."""
    assert [sequence_distance(b.sequence_number, a.sequence_number) for a, b in pairwise(packets)] == [1] * (
        len(packets) - 1
    )
    for a, b in pairwise(packets):
        same = a.ssrc == b.ssrc and a.number == b.number
        step = (b.timestamp - a.timestamp) % 2**32
        if same:
            assert step == 0
            assert b.picture_id == a.picture_id
            assert b.tl0_index == a.tl0_index
        else:
            assert 0 < step < 90_000 * 5
            assert b.picture_id == (a.picture_id + 1) % 0x8000
            assert (b.tl0_index - a.tl0_index) % 256 == (1 if b.temporal == 0 else 0)
            if b.number > a.number:
                assert abs(step - (b.number - a.number) * FRAME) <= tolerance


@pytest.mark.parametrize("largest_first", [False, True])
def test_a_viewer_gets_the_largest_size_in_whatever_order_they_are_listed(largest_first: bool) -> None:
    stage = Simulcast(largest_first=largest_first)
    stage.play(60)
    packets = stage.seen()
    assert {p.ssrc for p in packets[-40:]} == {LARGE}
    assert_seamless(packets, tolerance=1)


@pytest.mark.parametrize("reports", [True, False])
def test_when_the_top_layer_stops_the_picture_goes_on(reports: bool) -> None:
    stage = Simulcast(reports=reports)
    stage.play(60)
    stage.large.sending = False
    stopped_at = stage.number
    stage.play(60)
    stage.large.sending = True
    stage.keys[LARGE] = True
    stage.play(60)
    packets = stage.seen()
    # Without reports the streams are fitted together by when they came.
    assert_seamless(packets, tolerance=1 if reports else FRAME)
    numbers = sorted({p.number for p in packets})
    gap = max(b - a for a, b in pairwise(numbers) if b >= stopped_at)
    assert gap / 30 <= SILENCE + 0.3
    assert {p.ssrc for p in packets if p.number == stopped_at + 30} == {SMALL}
    assert packets[-1].ssrc == LARGE


def test_transport_wide_numbers_count_what_carries_them_and_nothing_else() -> None:
    """Sound has none: were it counted, every sound packet would look lost to the estimate."""
    stage = Simulcast()
    world = stage.world
    stage.play(30)
    world.core.produce("host", "audio", "audio", audio_parameters(), world.now)
    world.consume(stage.viewer_id, "audio")
    for index in range(30):
        header = build_header(payload_type=111, sequence_number=index, timestamp=index * 960, ssrc=AUDIO_SSRC)
        stage.host.send_rtp(header, bytes(80), AUDIO_SSRC, index)
        stage.play(1)
    numbers = []
    for data in stage.viewer.rtp:
        element = packet_elements_untrusted(parse_untrusted(data)).get(5)
        if element is not None:
            numbers.append(int.from_bytes(data[element[0] : element[0] + 2], "big"))
    assert len(numbers) < len(stage.viewer.rtp)
    assert numbers == list(range(1, len(numbers) + 1))
    line = world.core._transports[stage.viewer_id].line
    assert line is not None
    line.take_sent()
    assert line.estimator._sent.newest is not None
    assert world.core._transports[stage.viewer_id].wire.entry.next_transport_sequence == len(numbers) + 1


def test_more_consumers_than_are_chosen_for_disturb_nobody() -> None:
    stage = Simulcast()
    stage.play(30)
    for _ in range(MAX_DEMANDS + 1):
        stage.world.consume(stage.viewer_id)
    stage.play(30)
    assert not [event for event in stage.world.events if isinstance(event, Fault)]
    assert stage.seen()[-1].number == stage.number - 1
    with pytest.raises(ValueError, match="too many"):
        Allocator().allocate([Demand(i, []) for i in range(MAX_DEMANDS + 1)], 0, 0.0)


def test_what_raises_in_choosing_ends_its_own_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Simulcast()
    world = stage.world
    other_id, other = world.join()
    ssrc = world.consume(other_id)["rtpParameters"]["encodings"][0]["ssrc"]
    stage.play(30)
    rogue = world.core._transports[stage.viewer_id].line
    real = ViewerLine.choose

    def choose(self: ViewerLine, offers: Mapping[str, Sequence[Rung]], now: float) -> dict[str, Rung]:
        if self is rogue:
            raise ZeroDivisionError
        return real(self, offers, now)

    monkeypatch.setattr(ViewerLine, "choose", choose)
    stage.play(10)
    assert [event.transport_id for event in world.events if isinstance(event, Fault)] == [stage.viewer_id]
    before = len(received(other, ssrc))
    stage.play(10)
    assert len(received(other, ssrc)) > before
    assert stage.viewer_id not in world.core._transports


def test_a_switch_waits_for_the_key_frame_and_goes_on_until_it_comes() -> None:
    stage = Simulcast()
    stage.play(30)
    stage.select(SMALL)
    at = stage.number
    stage.play(10)
    packets = stage.seen()
    first = next(p for p in packets if p.ssrc == SMALL and p.number >= at)
    assert first.key
    assert_seamless(packets, tolerance=1)


def test_what_was_sent_before_a_switch_is_still_repeated() -> None:
    stage = Simulcast()
    stage.play(30)
    before = stage.seen()[-3:]
    stage.select(SMALL)
    stage.play(6)
    assert stage.seen()[-1].ssrc == SMALL
    rtx = [p for p in stage.viewer.rtp if int.from_bytes(p[8:12], "big") == stage.ssrc + 1]
    stage.viewer.send_rtcp(build_compound(build_nacks(1, stage.ssrc, [p.sequence_number for p in before])))
    stage.world.run(0.1)
    again = received(stage.viewer, stage.ssrc + 1)[len(rtx) :]
    assert [int.from_bytes(p.payload[:2], "big") for p in again] == [p.sequence_number for p in before]
    assert [p.payload[2:] for p in again] == [p.packet.payload for p in before]
    assert [p.timestamp for p in again] == [p.timestamp for p in before]


def test_fewer_temporal_layers_leave_no_gap_in_any_number() -> None:
    stage = Simulcast(temporal=True)
    stage.play(60)
    stage.select(SMALL, 0)
    stage.play(30)
    stage.select(SMALL, 1)
    stage.play(120)
    packets = stage.seen()
    assert {p.temporal for p in packets[-20:]} == {0, 1}
    only_lowest = [p for p in packets if p.ssrc == SMALL and 70 <= p.number < 88]
    assert {p.temporal for p in only_lowest} == {0}
    assert_seamless(packets, tolerance=1)
    # In their own time: pictures left out leave their time behind.
    passed = (packets[-1].timestamp - packets[0].timestamp) % 2**32
    assert abs(passed - (packets[-1].number - packets[0].number) * FRAME) <= 2


class Svc:
    """A host that sends VP9 with two spatial and three temporal layers, and one viewer."""

    def __init__(self) -> None:
        self.world = World()
        host_id, self.host = self.world.join("host")
        self.world.produce_video(host_id)
        self.viewer_id, self.viewer = self.world.join()
        self.ssrc = self.world.consume(self.viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
        self.index = 65_000
        self.number = 0
        self.key = True
        self.layers = 2

    def play(self, pictures: int) -> None:
        for _ in range(pictures):
            if any(
                isinstance(item, PictureLossIndication)
                for packet in self.host.rtcp
                for item in parse_compound_untrusted(packet)
            ):
                self.key = True
            self.host.rtcp.clear()
            key, self.key = self.key, False
            temporal = 0 if key else (0, 2, 1, 2)[self.number % 4]
            for spatial in range(self.layers):
                for place in range(2):
                    payload = vp9_payload(
                        self.number,
                        spatial,
                        temporal,
                        starts=place == 0,
                        ends=place == 1,
                        key=key,
                        body=pack("!HBB", self.number, spatial, temporal) + bytes(200 + 600 * spatial),
                    )
                    header = build_header(
                        payload_type=98,
                        sequence_number=self.index & 0xFFFF,
                        timestamp=self.number * FRAME,
                        ssrc=VIDEO_SSRC,
                        marker=place == 1 and spatial == self.layers - 1,
                    )
                    self.host.send_rtp(header, payload, VIDEO_SSRC, self.index)
                    self.index += 1
            self.number += 1
            self.world.run(1 / 30)

    def carry(self, rung: int) -> None:
        """Let the viewer's line carry this rung and not the next."""
        low, high = self.world.core._routers["room"].producers["video"].rungs[rung : rung + 2]
        carry(self.world, self.viewer_id, (low.bitrate + high.bitrate) // 2)

    def seen(self) -> list[tuple[RtpPacket, int, int, int]]:
        """(packet, picture number, spatial layer, temporal layer)."""
        packets = received(self.viewer, self.ssrc)
        return [(p, *unpack_from("!HBB", p.payload, 5)) for p in packets]


def assert_pictures_end(packets: Sequence[tuple[RtpPacket, int, int, int]]) -> None:
    """No gap, and a marker on the last packet of each picture and nowhere else."""
    for (a, number, *_), (b, after, *_) in pairwise(packets):
        assert sequence_distance(b.sequence_number, a.sequence_number) == 1
        assert a.marker == (number != after)


def test_fewer_spatial_and_temporal_layers_of_one_stream() -> None:
    stage = Svc()
    stage.play(40)
    stage.carry(0)
    stage.play(20)
    stage.carry(2)
    stage.play(140)
    low = stage.seen()
    carry(stage.world, stage.viewer_id, MAX_BITRATE)
    stage.play(140)
    packets = stage.seen()
    assert_pictures_end(packets)
    assert {(s, t) for _, n, s, t in packets if n < 40} == {(s, t) for s in (0, 1) for t in (0, 1, 2)}
    assert {(s, t) for _, n, s, t in low if 46 <= n < 60} == {(0, 0)}
    assert {(s, t) for _, n, s, t in low if n >= 180} == {(0, 0), (0, 1), (0, 2)}
    assert {s for _, n, s, _ in packets[-20:]} == {0, 1}
    first_high = next(p for p, n, s, _ in packets[len(low) :] if s == 1)
    assert not first_high.payload[0] & 0x40, "the higher size begins with a key picture"


def test_a_spatial_layer_that_stops_does_not_stop_the_picture() -> None:
    stage = Svc()
    stage.play(40)
    stage.layers = 1
    stage.play(40)
    stage.layers = 2
    stage.key = True
    stage.play(20)
    packets = stage.seen()
    assert_pictures_end(packets)
    assert sorted({n for _, n, *_ in packets}) == list(range(100))
    assert {s for _, n, s, _ in packets if n >= 80} == {0, 1}


def test_a_late_packet_of_a_layer_left_out_is_repeated_as_an_empty_one() -> None:
    stage = Svc()
    stage.play(40)
    stage.carry(2)
    stage.play(5)
    held: list[tuple[bytes, object]] = []

    def hold(data: bytes, source: object, _destination: object) -> bool:
        """Keep back the second packet of the higher layer of one picture."""
        if source == stage.host.address and 128 <= data[0] < 192 and data[1] < 192:
            number = int.from_bytes(data[2:4], "big")
            if number == wanted:
                held.append((data, source))
                return False
        return True

    wanted = (stage.index + 2) & 0xFFFF
    stage.world.network.filter = hold
    before = len(stage.seen())
    stage.play(2)
    stage.world.network.filter = lambda *_: True
    [(data, _)] = held
    stage.host.send_raw(data)
    stage.play(2)
    numbers = [p.sequence_number for p, *_ in stage.seen()[before:]]
    [gap] = [(a + 1) & 0xFFFF for a, b in pairwise(numbers) if (b - a) & 0xFFFF == 2]
    stage.viewer.send_rtcp(build_compound(build_nacks(1, stage.ssrc, [gap])))
    stage.world.run(0.1)
    [repair] = received(stage.viewer, stage.ssrc + 1)
    assert repair.payload == gap.to_bytes(2, "big")


def test_temporal_layers_that_only_the_dependency_descriptor_names() -> None:
    """As browsers send AV1 and H264: nothing in the payload tells."""
    structure = Structure(
        [
            Template(0, 0, "SSS"),
            Template(0, 0, "SSS", [4]),
            Template(0, 1, "-DR", [2]),
            Template(0, 2, "--D", [1]),
        ]
    )
    world = World()
    host_id, host = world.join("host")
    parameters = video_parameters()
    parameters["codecs"][0] |= {"mimeType": "video/AV1", "parameters": {}}
    parameters["headerExtensions"].append({"uri": ExtensionUri.DEPENDENCY_DESCRIPTOR, "id": 7})
    world.core.produce(host_id, "video", "video", parameters, world.now)
    viewer_id, viewer = world.join()
    ssrc = world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]

    def play(first: int, last: int) -> None:
        for number in range(first, last):
            key = number == 0
            template = 0 if key else (1, 3, 2, 3)[number % 4]
            for place in range(2):
                element = write(
                    template,
                    number,
                    start=place == 0,
                    end=place == 1,
                    structure=structure if key and place == 0 else None,
                )
                header = build_header(
                    payload_type=98,
                    sequence_number=2 * number + place,
                    timestamp=number * FRAME,
                    ssrc=VIDEO_SSRC,
                    marker=place == 1,
                    extension=build_extension([(MID_ID, b"0"), (7, element)]),
                )
                head = b"\x18" if key and place == 0 else b"\x10" if place == 0 else b"\x90"
                host.send_rtp(header, head + bytes((number, template)) * 150, VIDEO_SSRC, 2 * number + place)
            world.run(1 / 30)

    play(0, 60)
    rungs = world.core._routers["room"].producers["video"].rungs
    assert [rung.temporal for rung in rungs] == [0, 1, MAX_TEMPORAL]
    carry(world, viewer_id, (rungs[0].bitrate + rungs[1].bitrate) // 2)
    play(60, 100)
    packets = received(viewer, ssrc)
    assert {p.payload[2] for p in packets if p.payload[1] < 56} == {0, 1, 2, 3}
    assert {p.payload[2] for p in packets if p.payload[1] >= 70} == {1}
    for a, b in pairwise(packets):
        assert sequence_distance(b.sequence_number, a.sequence_number) == 1


@pytest.mark.parametrize("seed", range(4))
def test_no_key_and_iv_are_used_twice_whatever_is_switched(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: Counter[tuple[int, bytes]] = Counter()
    kept: list[object] = []
    real = srtp_crypto.GcmRtpTransform.seal

    def recording(
        self: srtp_crypto.GcmRtpTransform, header: bytes, payload: bytes, ssrc: int, index: int
    ) -> bytes:
        used[id(self), srtp_crypto.gcm_iv(self._salt, ssrc, index)] += 1
        kept.append(self)  # so that no other transform gets its id
        return real(self, header, payload, ssrc, index)

    monkeypatch.setattr(srtp_crypto.GcmRtpTransform, "seal", recording)
    stage = Simulcast(temporal=True, impairment=Impairment(loss=0.05, duplication=0.05, jitter=0.03))
    chance = random.Random(seed)
    changes = 0
    for _ in range(60):
        stage.play(chance.randint(1, 8))
        if stage.rungs and chance.random() < 0.5:
            carry(stage.world, stage.viewer_id, chance.choice(stage.rungs).bitrate * 2)
            changes += 1
        if chance.random() < 0.15:
            stage.large.sending = not stage.large.sending
        seen = stage.viewer.rtp[-30:]
        lost = [(int.from_bytes(seen[0][2:4], "big") + i) % 65536 for i in range(10)] if seen else []
        for _ in range(chance.randint(0, 2) if lost else 0):
            stage.viewer.send_rtcp(build_compound(build_nacks(1, stage.ssrc, lost)))
    assert changes > 10
    [consumer] = stage.router.producers["video"].consumers.values()
    assert consumer.entry is not None
    assert 1 < len(consumer.entry.segments) <= MAX_SEGMENTS
    assert max(used.values()) == 1
    for a, b in pairwise(p for p in stage.seen() if p.place == 0):
        assert sequence_distance(b.sequence_number, a.sequence_number) != 0

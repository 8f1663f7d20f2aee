"""RTCP of a transport: what it asks and tells, what it learns, and that loss is made good with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sfu.media.objects import RoutedTransport
from sfu.media.rtcp_session import REMB_MIN, REMB_START, REPORT_INTERVAL, Requests
from sfu.media.table import ForwardingGroup
from sfu.rtp.packet import parse_untrusted
from sfu.rtp.rtcp import (
    DelaySinceLastReceiverReport,
    ExtendedReport,
    GenericNack,
    PictureLossIndication,
    ReceiverEstimatedMaximumBitrate,
    ReceiverReferenceTime,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    TransportFeedback,
    build_compound,
    build_nacks,
    compact_delay,
    compact_ntp,
    ntp_from_unix,
    parse_compound_untrusted,
)
from tests.support.impairment import Impairment
from tests.support.peer import Peer
from tests.support.world import SERVER, VIDEO_SSRC, VideoSource, World, received, video_parameters

FRAME = 1 / 60
STEP = FRAME / 4


class Host:
    """Plays 60 pictures a second, and answers NACK, PLI and RRTR as a browser does."""

    def __init__(self, world: World, **parameters: Any) -> None:
        self.world = world
        self.id, self.peer = world.join("host")
        world.produce_video(self.id, **parameters)
        self.source = VideoSource(self.peer)
        self.nacked: list[int] = []
        self.keyframes = 0
        self.repairs = 0
        self.answers_nacks = self.answers_time = True
        self._wants_keyframe = True

    @property
    def transport(self) -> RoutedTransport:
        return self.world.core._transports[self.id]

    def play(self, seconds: float, *, packets: int = 4) -> None:
        for _ in range(round(seconds / FRAME)):
            self.keyframes += self._wants_keyframe
            self.source.frame(packets, key=self._wants_keyframe)
            self._wants_keyframe = False
            for _ in range(4):
                self.world.run(STEP)
                self._answer()

    def _answer(self) -> None:
        for packet in rtcp_of(self.peer):
            match packet:
                case GenericNack():
                    for number in packet.sequence_numbers():
                        index = number + (65536 if number < 30000 else 0)
                        self.nacked.append(index)
                        if self.answers_nacks:
                            self.repairs += 1
                            self.source.repair(index, self.repairs)
                case PictureLossIndication():
                    self._wants_keyframe = True
                case ExtendedReport() if self.answers_time:
                    self.answer_time(packet)
        self.peer.rtcp.clear()

    def answer_time(self, report: ExtendedReport, held: float = 0.0) -> None:
        for block in report.blocks:
            if isinstance(block, ReceiverReferenceTime):
                delay = (report.ssrc, compact_ntp(block.ntp_timestamp), compact_delay(held))
                answer = ExtendedReport(VIDEO_SSRC, (DelaySinceLastReceiverReport((delay,)),))
                self.peer.send_rtcp(build_compound([answer]))


class Viewer:
    """Receives the host's video."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.id, self.peer = world.join()
        encoding = world.consume(self.id)["rtpParameters"]["encodings"][0]
        self.ssrc: int = encoding["ssrc"]
        self.repair_ssrc: int = encoding["rtx"]["ssrc"]

    @property
    def transport(self) -> RoutedTransport:
        return self.world.core._transports[self.id]

    def tell(self, *packets: RtcpPacket) -> Requests:
        """Let the transport read RTCP from this viewer."""
        return self.transport.rtcp.receive_untrusted(build_compound(packets), self.transport, self.world.now)


def rtcp_of(peer: Peer) -> Iterator[RtcpPacket]:
    for data in peer.rtcp:
        yield from parse_compound_untrusted(data)


def both_ways(world: World, peer: Peer, impairment: Impairment) -> None:
    world.network.impair(peer.address, SERVER, impairment)
    world.network.impair(SERVER, peer.address, impairment)


def block(ssrc: int, lsr: int = 0, dlsr: int = 0) -> ReportBlock:
    return ReportBlock(ssrc, 0, 0, 0, 0, lsr, dlsr)


# --- loss towards us ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_random_loss_and_jitter_are_repaired_before_anyone_sees_a_freeze(seed: int) -> None:
    world = World(seed)
    host, viewer = Host(world), Viewer(world)
    host.play(1)
    keyframes = host.keyframes
    both_ways(world, host.peer, Impairment(loss=0.05, delay=0.025, jitter=0.004))
    expected = len(host.source.sent)
    for _ in range(40):
        host.play(0.25)
        # What was sent up to 0.25 s ago is all there: no picture waits longer than a frozen one is noticed.
        payloads = {p.payload for p in received(viewer.peer, viewer.ssrc)}
        assert payloads.issuperset(list(host.source.sent.values())[:expected])
        expected = len(host.source.sent)
    assert host.keyframes == keyframes
    lost = 10 * 60 * 4 * 0.05
    assert len(host.nacked) < 1.6 * lost, (
        "some requests and repairs are lost as well; the rest would be waste"
    )


def test_when_repairs_do_not_come_one_key_frame_is_asked_for() -> None:
    world = World()
    host, viewer = Host(world), Viewer(world)
    host.play(1)
    host.answers_nacks = False
    host.source.frame(8, lose=range(1, 7))
    before = host.keyframes
    host.play(2)
    world.run(0.1)
    assert host.keyframes == before + 1
    assert len(received(viewer.peer, viewer.ssrc)) == len(host.source.sent) - 6


def test_an_outage_ends_with_one_key_frame_at_once() -> None:
    world = World()
    host, viewer = Host(world), Viewer(world)
    both_ways(world, host.peer, Impairment(delay=0.025))
    host.play(2)
    asked, before = len(host.nacked), host.keyframes
    both_ways(world, host.peer, Impairment(delay=0.025, outages=((0.0, 2.0),)))
    host.play(2.0)
    viewer.peer.rtp.clear()
    host.play(0.2)
    assert host.keyframes == before + 1
    assert any(p.payload[0] == 0x08 for p in received(viewer.peer, viewer.ssrc)), "a round trip and a little"
    host.play(1)
    assert host.keyframes == before + 1
    assert len(host.nacked) - asked <= 12, "nobody asks for two seconds of packets"


# --- round trips ----------------------------------------------------------------------------------------


def test_the_round_trip_to_a_host_is_told_by_its_answer_to_our_time() -> None:
    world = World()
    host = Host(world)
    assert host.transport.rtcp.round_trip is None
    both_ways(world, host.peer, Impairment(delay=0.040))
    host.play(3)
    assert host.transport.rtcp.round_trip == pytest.approx(0.080, abs=STEP + 0.001)
    missing = host.transport.streams[VIDEO_SSRC].receiver.missing
    assert missing is not None
    assert missing.round_trip == host.transport.rtcp.round_trip


def test_the_time_that_a_host_held_our_time_is_not_on_the_way() -> None:
    world = World()
    host = Host(world)
    host.source.frame(key=True)
    world.run(REPORT_INTERVAL)
    [report] = [p for p in rtcp_of(host.peer) if isinstance(p, ExtendedReport)]
    sent = world.now - REPORT_INTERVAL / 2
    world.run(1.25)
    held = world.now - sent - 0.010
    host.answer_time(report, held=held)
    world.run(0.1)
    assert host.transport.rtcp.round_trip == pytest.approx(0.020, abs=0.011)


def test_a_host_that_does_not_answer_tells_it_by_its_repairs() -> None:
    world = World()
    host = Host(world)
    host.answers_time = False
    both_ways(world, host.peer, Impairment(delay=0.060))
    host.play(0.5)
    host.source.frame(8, lose=[2])
    host.play(0.5)
    assert host.transport.rtcp.round_trip == pytest.approx(0.120, abs=0.015)


def test_the_round_trip_to_a_viewer_is_told_by_its_reports() -> None:
    world = World()
    host, viewer = Host(world), Viewer(world)
    both_ways(world, viewer.peer, Impairment(delay=0.030))
    host.peer.send_rtcp(build_compound([SenderReport(VIDEO_SSRC, ntp_from_unix(0), 0, 1, 1)]))
    host.play(2)
    report = [p for p in rtcp_of(viewer.peer) if isinstance(p, SenderReport)][-1]
    # It came 30 ms after it was sent; the viewer holds it until its answer arrives here 60 ms after that.
    ago = (ntp_from_unix(world.now + 1.7e9) - report.ntp_timestamp) / 2**32
    lsr = compact_ntp(report.ntp_timestamp)
    requests = viewer.tell(ReceiverReport(1, (block(viewer.ssrc, lsr, compact_delay(ago - 0.060)),)))
    assert viewer.transport.rtcp.round_trip == pytest.approx(0.060, abs=0.001)
    assert [b.ssrc for b in requests.reports] == [viewer.ssrc]


def test_absurd_reports_say_nothing() -> None:
    world = World()
    Host(world)
    viewer = Viewer(world)
    now = compact_ntp(ntp_from_unix(world.now + 1.7e9))
    viewer.tell(ReceiverReport(1, (block(viewer.ssrc),)))
    viewer.tell(ReceiverReport(1, (block(viewer.ssrc, now + 500_000),)))
    viewer.tell(ReceiverReport(1, (block(viewer.ssrc, now, 500_000),)))
    viewer.tell(ReceiverReport(1, (block(viewer.ssrc, now - 5_000_000),)))
    viewer.tell(ReceiverReport(1, (block(viewer.ssrc ^ 1, now - 1000),)))
    stranger = viewer.transport.rtcp.ssrc ^ 1
    viewer.tell(ExtendedReport(1, (DelaySinceLastReceiverReport(((stranger, now - 1000, 0),)),)))
    assert viewer.transport.rtcp.round_trip is None


def test_only_hosts_are_told_our_time() -> None:
    world = World()
    host, viewer = Host(world), Viewer(world)
    host.source.frame(key=True)
    world.run(3)
    assert sum(isinstance(p, ExtendedReport) for p in rtcp_of(host.peer)) == 3
    assert not any(isinstance(p, ExtendedReport) for p in rtcp_of(viewer.peer))


# --- what viewers say -----------------------------------------------------------------------------------


def test_what_a_viewer_tells_of_its_line_is_handed_on() -> None:
    world = World()
    Host(world)
    viewer = Viewer(world)
    feedback = TransportFeedback(1, viewer.ssrc, 7, 2, 3, 0, ((0, 10), (1, 4)))
    requests = viewer.tell(
        ReceiverReport(1, (block(viewer.ssrc), block(viewer.repair_ssrc), block(99))),
        feedback,
        ReceiverEstimatedMaximumBitrate(1, 1_000_000, (99, viewer.ssrc)),
    )
    assert requests.feedback == [feedback]
    assert requests.remb == 1_000_000
    assert [b.ssrc for b in requests.reports] == [viewer.ssrc]


def test_what_is_said_of_others_is_not() -> None:
    world = World()
    Host(world)
    viewer = Viewer(world)
    requests = viewer.tell(
        SenderReport(1, 0, 0, 0, 0, (block(VIDEO_SSRC),)),
        ReceiverEstimatedMaximumBitrate(1, 1_000_000, (99,)),
        *build_nacks(1, VIDEO_SSRC, [1, 2, 3]),
    )
    assert requests == Requests()


def test_blocks_in_a_sender_report_count_too() -> None:
    world = World()
    Host(world)
    viewer = Viewer(world)
    assert viewer.tell(SenderReport(1, 0, 0, 0, 0, (block(viewer.ssrc),))).reports == [block(viewer.ssrc)]


# --- repairs for viewers --------------------------------------------------------------------------------


def test_a_viewer_that_asks_twice_in_a_round_trip_is_answered_once() -> None:
    world = World()
    host, viewer = Host(world), Viewer(world)
    host.play(1)
    lost = [p.sequence_number for p in received(viewer.peer, viewer.ssrc)][-20:]
    for _ in range(3):
        viewer.peer.send_rtcp(build_compound(build_nacks(1, viewer.ssrc, lost)))
        world.run(0.002)
    world.run(0.1)
    assert len(received(viewer.peer, viewer.repair_ssrc)) == 20
    viewer.peer.send_rtcp(build_compound(build_nacks(1, viewer.ssrc, lost)))
    world.run(0.1)
    assert len(received(viewer.peer, viewer.repair_ssrc)) == 40


def test_budgets_of_consumers_that_are_gone_are_forgotten() -> None:
    world = World()
    host, viewer = Host(world), Viewer(world)
    host.play(0.2)
    viewer.tell(*build_nacks(1, viewer.ssrc, [1]))
    assert len(viewer.transport.rtcp._repairs) == 1
    world.core.close_producer("video")
    world.run(2 * REPORT_INTERVAL)
    assert not viewer.transport.rtcp._repairs


# --- sender reports -------------------------------------------------------------------------------------


def test_sender_reports_follow_the_stream_that_is_shown() -> None:
    world = World()
    other_ssrc = VIDEO_SSRC + 1
    parameters = video_parameters(encodings=[{"ssrc": VIDEO_SSRC}, {"ssrc": other_ssrc}])
    host, viewer = Host(world, encodings=parameters["encodings"]), Viewer(world)
    entry = next(iter(viewer.transport.consumers.values())).entry
    assert entry is not None
    shown = host.transport.streams[VIDEO_SSRC].entry
    other = host.transport.streams[other_ssrc].entry
    bases = {VIDEO_SSRC: 1_000_000, other_ssrc: 9_000_000}
    host.peer.send_rtcp(
        build_compound([SenderReport(ssrc, ntp_from_unix(0), base, 1, 1) for ssrc, base in bases.items()])
    )
    host.source.frame(key=True)
    world.run(0.1)
    began = world.now
    for stream, offset in ((shown, 0), (other, 0), (shown, 77_000), (other, -5_000)):
        entry.group = ForwardingGroup(stream)
        entry.shape.timestamp_offset = offset
        entry.packets = max(entry.packets, 1)
        viewer.peer.rtcp.clear()
        world.run(1)
        [report] = [p for p in rtcp_of(viewer.peer) if isinstance(p, SenderReport)]
        expected = bases[stream.ssrc] + offset
        assert 0 <= report.rtp_timestamp - expected <= (world.now - began + 0.2) * 90_000
    assert shown.reference == (ntp_from_unix(0) / 2**32, 1_000_000)


# --- hosts that know only REMB --------------------------------------------------------------------------


class OldHost(Host):
    """Knows no transport-wide feedback, and repairs nothing."""

    def __init__(self, world: World) -> None:
        super().__init__(world, headerExtensions=[])
        self.answers_nacks = False
        self.estimates: list[int] = []

    def _answer(self) -> None:
        self.estimates += [
            p.bitrate for p in rtcp_of(self.peer) if isinstance(p, ReceiverEstimatedMaximumBitrate)
        ]
        super()._answer()


def rate(packets: int) -> float:
    """Bits per second of a host that sends so many packets a picture."""
    return packets * 60 * 8 * 893.0


def test_an_estimate_begins_low_and_leads_what_arrives() -> None:
    world = World()
    host = OldHost(world)
    host.play(0.9, packets=1)
    assert host.estimates == [pytest.approx(1.5 * rate(1), rel=0.1)]
    assert host.estimates[0] >= REMB_START
    host.play(2, packets=5)
    assert host.estimates[-1] == pytest.approx(1.5 * rate(5), rel=0.1)
    host.play(2, packets=1)
    assert host.estimates[-1] == pytest.approx(1.5 * rate(5), rel=0.1), "a still picture proves nothing"


def test_an_estimate_falls_below_what_arrives_with_heavy_loss_and_holds_with_some() -> None:
    world = World(1)
    host = OldHost(world)
    host.play(2, packets=4)
    world.network.impair(host.peer.address, SERVER, Impairment(loss=0.05))
    host.play(3, packets=8)
    assert host.estimates[-1] <= 1.5 * rate(8)
    held = host.estimates[-1]
    host.play(2, packets=8)
    assert host.estimates[-1] == held
    world.network.impair(host.peer.address, SERVER, Impairment(loss=0.3))
    host.play(2, packets=4)
    assert host.estimates[-1] < 0.8 * rate(4)
    host.play(6, packets=1)
    assert host.estimates[-1] >= REMB_MIN


def test_parsed_packets_are_of_the_size_that_rates_assume() -> None:
    world = World()
    host, viewer = OldHost(world), Viewer(world)
    host.play(0.2)
    packet = received(viewer.peer, viewer.ssrc)[-1]
    assert len(parse_untrusted(packet.data).payload) + 12 + 16 == pytest.approx(893, abs=20)

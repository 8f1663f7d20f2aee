"""What a worker counts is what happened."""

from __future__ import annotations

import pytest

from sfu.media import core as core_module
from sfu.media.reception import StreamReceiver
from sfu.rtp.rtcp import build_compound, build_nacks
from sfu.sctp.ppid import BINARY
from tests.support.world import VIDEO_SSRC, VideoSource, World, audio_parameters, received


def test_a_producers_stream_and_its_viewers() -> None:
    world = World()
    host_id, host = world.join("host")
    world.produce_video(host_id)
    world.core.produce_data(host_id, "data", {"streamId": 0}, "", "", world.now)
    viewer_id, viewer = world.join("viewer")
    ssrc = world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
    source = VideoSource(host)
    source.frame(packets=20, key=True)
    world.run(0.1)
    first = received(viewer, ssrc)[0].sequence_number
    viewer.send_rtcp(build_compound(build_nacks(1, ssrc, [first, first + 1])))
    host.send_data(0, BINARY, b"x", world.now)
    world.run(1.5)
    stats = world.core.stats({"sent": 5})
    hosts, viewers = stats.transports
    [stream] = hosts.streams
    assert (stream.producer_id, stream.kind, stream.ssrc) == ("video", "video", VIDEO_SSRC)
    assert (stream.packets, stream.lost, stream.fraction_lost) == (20, 0, 0.0)
    header = 12 + 4 + 8  # with the extension
    assert stream.octets == sum(header + len(payload) for payload in source.sent.values())
    assert 0 <= stream.jitter < 0.1
    assert (hosts.transport_id, hosts.router_id, hosts.state) == ("host", "room", "connected")
    assert (hosts.consumers, hosts.packets_sent, hosts.messages_received) == (0, 0, 1)
    assert viewers.streams == ()
    assert (viewers.consumers, viewers.packets_sent, viewers.retransmitted) == (1, 20, 2)
    assert viewers.octets_sent == sum(map(len, source.sent.values()))
    assert (viewers.messages_received, viewers.messages_dropped) == (0, 0)
    assert stats.omitted == 0
    assert stats.counters["sent"] == 5
    assert stats.counters["forwarded"] == 20
    assert stats.counters["faults"] == 0


def test_octets_of_audio_and_of_repairs_count() -> None:
    world = World()
    host_id, host = world.join()
    world.core.produce(host_id, "audio", "audio", audio_parameters(), world.now)
    world.produce_video(host_id)
    source = VideoSource(host)
    lost = source.frame(packets=3, key=True, lose=[1])
    world.run(0.1)
    [stats] = world.core.stats({}).transports
    by_kind = {stream.kind: stream for stream in stats.streams}
    before = by_kind["video"]
    assert (before.packets, before.lost) == (2, 1)
    source.repair(lost[1], 100)
    world.run(0.1)
    [stats] = world.core.stats({}).transports
    after = {stream.kind: stream for stream in stats.streams}["video"]
    assert (after.packets, after.lost) == (3, 0)
    assert after.octets > before.octets + 800
    assert by_kind["audio"].octets == by_kind["audio"].packets == 0


@pytest.mark.parametrize(
    ("received_of_ten", "fraction", "score"), [(10, 0.0, 10), (9, 0.1, 9), (5, 0.5, 5), (1, 0.9, 1)]
)
def test_the_score_is_the_share_that_came(received_of_ten: int, fraction: float, score: int) -> None:
    stream = StreamReceiver(90000, wants_repair=False)
    stream.on_packet(100, 0, 0.0, repaired=False)
    stream.report()
    for number in range(received_of_ten - 1):
        stream.on_packet(101 + number, 0, 0.0, repaired=False)
    stream.on_packet(110, 0, 0.0, repaired=False)
    stream.report()
    assert stream.fraction_lost == pytest.approx(fraction, abs=1 / 256)
    assert stream.score == score
    stream.report()
    assert (stream.fraction_lost, stream.score) == (0.0, 0), "nothing came at all"


def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_module, "MAX_STATS_ROWS", 5)
    world = World()
    for number in range(4):
        transport_id, _ = world.join(connect=False)
        world.produce_video(transport_id, f"p{number}")
    stats = world.core.stats({})
    assert (len(stats.transports), stats.omitted) == (2, 2)

"""A whole worker in virtual time: real handshakes, real SRTP, real SCTP, no sockets."""

from __future__ import annotations

import itertools
from struct import pack, unpack
from typing import Any

import pytest

from sfu.ice.address import Address, Datagram
from sfu.media.core import MediaCore
from sfu.media.errors import MediaRefused
from sfu.media.events import ProducerClosed, TransportClosed
from sfu.media.transport import DISCONNECTED_TIMEOUT
from sfu.rtp.extensions import build_extension, packet_elements_untrusted
from sfu.rtp.packet import build_header
from sfu.rtp.rtcp import (
    GenericNack,
    PictureLossIndication,
    ReceiverReport,
    SenderReport,
    TransportFeedback,
    build_compound,
    build_nacks,
    ntp_from_unix,
    parse_compound_untrusted,
)
from sfu.rtp.srtp_crypto import SrtpProfile
from tests.support.peer import Peer
from tests.support.world import (
    DELTA_FRAME,
    KEY_FRAME,
    RTX_SSRC,
    VIDEO_SSRC,
    VideoSource,
    World,
    audio_parameters,
    received,
    video_parameters,
)


def rtcp_of(peer: Peer) -> list[object]:
    return [packet for data in peer.rtcp for packet in parse_compound_untrusted(data)]


def plis(peer: Peer) -> int:
    return sum(isinstance(p, PictureLossIndication) and p.media_ssrc == VIDEO_SSRC for p in rtcp_of(peer))


def started(world: World, viewers: int = 1) -> tuple[Peer, VideoSource, list[tuple[Peer, int, int]]]:
    """A host that sends video and viewers that receive it: (peer, ssrc, rtx ssrc) each."""
    host_id, host = world.join("host")
    world.produce_video(host_id)
    source = VideoSource(host)
    watching = []
    for _ in range(viewers):
        viewer_id, viewer = world.join()
        encoding = world.consume(viewer_id)["rtpParameters"]["encodings"][0]
        watching.append((viewer, encoding["ssrc"], encoding["rtx"]["ssrc"]))
    source.frame(key=True)
    assert world.run(1, lambda: all(len(received(v, s)) == 3 for v, s, _ in watching))
    return host, source, watching


def test_media_reaches_every_viewer_unchanged() -> None:
    world = World()
    host, source, watching = started(world, viewers=3)
    assert host.profile is SrtpProfile.AEAD_AES_128_GCM
    for _ in range(100):
        source.frame(packets=4)
        world.run(0.016)
    world.run(0.1)
    for viewer, ssrc, _ in watching:
        packets = received(viewer, ssrc)
        assert [p.payload for p in packets] == list(source.sent.values())
        numbers = [p.sequence_number for p in packets]
        assert [(b - a) % 65536 for a, b in itertools.pairwise(numbers)] == [1] * (len(numbers) - 1)
        assert {p.payload_type for p in packets} == {101}
        assert [p.marker for p in packets][:7] == [False, False, True, False, False, False, True]


def test_header_extensions_are_the_consumers() -> None:
    world = World()
    _, source, watching = started(world, viewers=2)
    source.frame()
    world.run(0.1)
    sequences: list[int] = []
    for viewer, ssrc, _ in watching:
        sequences.clear()
        for packet in received(viewer, ssrc):
            elements = packet_elements_untrusted(packet)

            def element(identifier: int, elements: object = elements, data: bytes = packet.data) -> bytes:
                assert isinstance(elements, dict)
                at, length = elements[identifier]
                return data[at : at + length]

            assert element(1) == b"0"  # mid of its own transport
            assert len(element(4)) == 3  # abs-send-time
            sequences.append(unpack("!H", element(5))[0])
            assert element(8) == b"\x01"  # video orientation, renumbered from 11
            assert set(elements) == {1, 4, 5, 8}
        assert sequences == list(range(sequences[0], sequences[0] + 6))


def test_a_late_joiner_starts_with_a_key_frame_that_is_asked_for_at_once() -> None:
    world = World()
    host, source, _ = started(world)
    for _ in range(20):
        source.frame()
        world.run(0.016)
    before = plis(host)
    viewer_id, viewer = world.join()
    ssrc = world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
    asked_at = world.now
    assert world.run(1, lambda: plis(host) > before)
    assert world.now - asked_at < 0.05
    source.frame()
    world.run(0.1)
    assert received(viewer, ssrc) == []
    wanted = source.frame(key=True)
    world.run(0.1)
    assert [p.payload for p in received(viewer, ssrc)] == [source.sent[i] for i in wanted]


def test_a_consumer_made_before_its_transport_connects_starts_when_it_does() -> None:
    world = World()
    host, source, _ = started(world)
    viewer_id, viewer = world.join(connect=False)
    ssrc = world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
    source.frame(key=True)  # answers the request that came too early, if any
    world.run(0.1)
    before = plis(host)
    world.connect(viewer_id, viewer)
    world.run(0.1)
    assert plis(host) > before
    source.frame(key=True)
    world.run(0.1)
    assert len(received(viewer, ssrc)) == 3


def test_one_key_frame_request_for_many_joiners() -> None:
    world = World()
    host, source, _ = started(world)
    source.frame()
    world.run(2)
    before = plis(host)
    joined = [world.join() for _ in range(10)]
    world.run(0.5)
    for viewer_id, _ in joined:
        world.consume(viewer_id)
    world.run(0.3)
    assert plis(host) == before + 1


def test_viewers_key_frame_requests_are_throttled() -> None:
    world = World()
    host, source, watching = started(world)
    viewer, ssrc, _ = watching[0]
    world.run(2)
    before = plis(host)
    for _ in range(40):
        viewer.send_rtcp(build_compound([PictureLossIndication(1, ssrc)]))
        world.run(0.05)
        source.frame(key=True)
    assert 2 <= plis(host) - before <= 3


def test_loss_towards_the_sfu_is_repaired() -> None:
    world = World()
    host, source, watching = started(world)
    viewer, ssrc, _ = watching[0]
    lost = source.frame(packets=5, lose=[1, 3])
    assert world.run(1, lambda: any(isinstance(p, GenericNack) for p in rtcp_of(host)))
    nacks = [p for p in rtcp_of(host) if isinstance(p, GenericNack)]
    assert [n for p in nacks for n in p.sequence_numbers()][:2] == [lost[1] & 0xFFFF, lost[3] & 0xFFFF]
    for i, place in enumerate((1, 3)):
        source.repair(lost[place], 100 + i)
    source.frame()
    world.run(0.2)
    payloads = [
        p.payload for p in sorted(received(viewer, ssrc), key=lambda p: (p.sequence_number + 30000) % 65536)
    ]
    assert sorted(payloads) == sorted(source.sent.values())
    count = len(rtcp_of(host))
    world.run(0.4)
    assert not any(isinstance(p, GenericNack) for p in rtcp_of(host)[count:])


def test_loss_towards_a_viewer_is_repaired_over_rtx() -> None:
    world = World()
    _, source, watching = started(world)
    viewer, ssrc, rtx_ssrc = watching[0]
    source.frame(packets=10)
    world.run(0.1)
    packets = received(viewer, ssrc)
    lost = [packets[4].sequence_number, packets[7].sequence_number]
    viewer.send_rtcp(build_compound(build_nacks(1, ssrc, lost)))
    world.run(0.1)
    repairs = received(viewer, rtx_ssrc)
    assert [unpack("!H", p.payload[:2])[0] for p in repairs] == lost
    assert [p.payload[2:] for p in repairs] == [packets[4].payload, packets[7].payload]
    assert {p.payload_type for p in repairs} == {102}
    assert (repairs[1].sequence_number - repairs[0].sequence_number) % 65536 == 1


def test_nacks_for_what_was_never_sent_get_nothing() -> None:
    world = World()
    _, _, watching = started(world)
    viewer, ssrc, rtx_ssrc = watching[0]
    first = received(viewer, ssrc)[0].sequence_number
    viewer.send_rtcp(build_compound(build_nacks(1, ssrc, [(first - n) % 65536 for n in range(1, 400)])))
    viewer.send_rtcp(build_compound(build_nacks(1, 12345, [first])))
    world.run(0.1)
    assert received(viewer, rtx_ssrc) == []


def test_a_nack_flood_is_held_to_a_budget() -> None:
    world = World()
    _, source, watching = started(world)
    viewer, ssrc, rtx_ssrc = watching[0]
    for _ in range(20):
        source.frame(packets=15)
    world.run(0.1)
    numbers = [p.sequence_number for p in received(viewer, ssrc)]
    for _ in range(10):
        viewer.send_rtcp(build_compound(build_nacks(1, ssrc, numbers)))
    world.run(0.05)
    assert len(received(viewer, rtx_ssrc)) <= 400


def test_the_host_gets_reports_and_transport_feedback() -> None:
    world = World()
    host, source, _ = started(world)
    for _ in range(120):
        source.frame()
        world.run(0.016)
    world.run(0.1)
    packets = rtcp_of(host)
    feedback = [p for p in packets if isinstance(p, TransportFeedback)]
    numbers = [number for p in feedback for number, status in p.statuses() if status is not None]
    assert len(numbers) == 363
    assert [(b - a) % 65536 for a, b in itertools.pairwise(numbers)] == [1] * 362
    reports = [b for p in packets if isinstance(p, ReceiverReport) for b in p.blocks]
    assert {b.ssrc for b in reports} == {VIDEO_SSRC}
    assert all(b.fraction_lost == 0 for b in reports)
    assert 1 <= len(reports) <= 3


def test_lost_packets_show_in_transport_feedback() -> None:
    world = World()
    host, source, _ = started(world)
    source.frame(packets=6)
    world.run(0.1)
    source.transport_sequence += 3  # three packets on the way that never arrive
    source.frame(packets=6)
    world.run(0.1)
    statuses = [s for p in rtcp_of(host) if isinstance(p, TransportFeedback) for s in p.statuses()]
    assert sum(arrival is None for _, arrival in statuses) == 3


def test_a_viewer_gets_sender_reports_in_the_hosts_time() -> None:
    world = World()
    host, _, watching = started(world)
    viewer, ssrc, _ = watching[0]
    host_ntp = ntp_from_unix(5_000_000.0)
    host.send_rtcp(build_compound([SenderReport(VIDEO_SSRC, host_ntp, 90_000, 1, 1)]))
    world.run(3)
    reports = [p for p in rtcp_of(viewer) if isinstance(p, SenderReport)]
    assert reports
    assert {r.ssrc for r in reports} == {ssrc}
    assert reports[0].packet_count == 3
    first, last = reports[0], reports[-1]
    elapsed = (last.ntp_timestamp - first.ntp_timestamp) / 2**32
    assert abs((last.rtp_timestamp - first.rtp_timestamp) - elapsed * 90000) < 90


def test_audio_flows_without_waiting_for_key_frames() -> None:
    world = World()
    host_id, host = world.join()
    world.core.produce(host_id, "audio", "audio", audio_parameters(), world.now)
    viewer_id, viewer = world.join()
    parameters = world.consume(viewer_id, "audio")["rtpParameters"]
    for i in range(10):
        header = build_header(payload_type=111, sequence_number=i, timestamp=i * 960, ssrc=0x33333333)
        host.send_rtp(header, bytes([i]) * 50, 0x33333333, i)
        world.run(0.02)
    packets = received(viewer, parameters["encodings"][0]["ssrc"])
    assert [p.payload for p in packets] == [bytes([i]) * 50 for i in range(10)]
    assert {p.payload_type for p in packets} == {100}


def test_ignore_dtx_leaves_silence_out_without_a_gap() -> None:
    world = World()
    host_id, host = world.join()
    world.core.produce(host_id, "audio", "audio", audio_parameters(), world.now)
    viewer_id, viewer = world.join()
    quiet = world.consume(viewer_id, "audio", ignore_dtx=True)["rtpParameters"]["encodings"][0]["ssrc"]
    full = world.consume(viewer_id, "audio")["rtpParameters"]["encodings"][0]["ssrc"]
    for i in range(30):
        header = build_header(payload_type=111, sequence_number=i, timestamp=i * 960, ssrc=0x33333333)
        host.send_rtp(header, b"\x00" if 10 <= i < 20 else bytes([i]) * 50, 0x33333333, i)
        world.run(0.02)
    assert len(received(viewer, full)) == 30
    numbers = [p.sequence_number for p in received(viewer, quiet)]
    assert numbers == list(range(numbers[0], numbers[0] + 20))


@pytest.mark.contract("D81")
def test_short_packets_of_video_are_no_silence() -> None:
    world = World()
    host_id, host = world.join()
    world.produce_video(host_id)
    viewer_id, viewer = world.join()
    ssrc = world.consume(viewer_id, ignore_dtx=True)["rtpParameters"]["encodings"][0]["ssrc"]
    source = VideoSource(host)
    source.frame(key=True)
    source.send(source.index, b"\x48", marker=True)
    world.run(0.1)
    assert [len(p.payload) for p in received(viewer, ssrc)][3:] == [1]


def test_ice_restart_keeps_everything_running() -> None:
    world = World()
    host, source, watching = started(world)
    viewer, ssrc, _ = watching[0]
    host.use_credentials(world.core.restart_ice("host", world.now))
    source.frame()
    assert world.run(2, lambda: host.validated)
    source.frame()
    world.run(0.1)
    assert len(received(viewer, ssrc)) == 9


def test_a_new_address_takes_over() -> None:
    world = World()
    host, source, watching = started(world)
    viewer, ssrc, _ = watching[0]
    host.address = ("203.0.113.9", 1234)
    world.network.add(host, host.address)
    host.use_credentials({"usernameFragment": host._username.split(":")[0], "password": host._password})
    assert world.run(2, lambda: host.validated)
    source.frame()
    world.run(0.1)
    assert len(received(viewer, ssrc)) == 6


def test_close_notify_closes_the_transport_and_all_on_it() -> None:
    world = World()
    host, _, _ = started(world)
    host.close(world.now)
    world.run(0.5)
    assert ProducerClosed("video") in world.events
    closed = [e for e in world.events if isinstance(e, TransportClosed)]
    assert [e.transport_id for e in closed] == ["host"]
    with pytest.raises(MediaRefused, match="transport not found"):
        world.core.restart_ice("host", world.now)


def test_closing_from_here_says_goodbye() -> None:
    world = World()
    host, _, watching = started(world)
    world.core.close_transport("host", world.now)
    world.run(0.2)
    assert host.ended is not None
    assert world.events == []  # who asked need not be told
    world.core.close(world.now)
    world.run(0.2)
    assert watching[0][0].ended is not None
    assert world.core.get_timer() is None
    assert not world.core.engine.tuples


@pytest.mark.contract("D84")
def test_a_peer_gone_silent_is_given_up_in_the_end() -> None:
    assert 60 <= DISCONNECTED_TIMEOUT <= 120, "what the contract asks for"
    world = World()
    host, _, _ = started(world)
    world.network.filter = lambda _data, source, _destination: source != host.address
    world.run(30 + DISCONNECTED_TIMEOUT - 5)
    assert world.events == []
    world.run(10)
    assert world.events == [
        ProducerClosed("video"),
        TransportClosed("host", "ice disconnected for too long: no check arrived within the consent timeout"),
    ]


@pytest.mark.contract("D84")
def test_silence_and_return_within_the_limit() -> None:
    world = World()
    host, source, watching = started(world)
    viewer, ssrc, _ = watching[0]
    world.network.filter = lambda _data, source, _destination: source != host.address
    world.run(60)
    world.network.filter = lambda _data, _source, _destination: True
    world.run(5)
    source.frame()
    world.run(0.2)
    assert len(received(viewer, ssrc)) == 6


def test_strangers_get_nothing_in() -> None:
    world = World()
    host, source, watching = started(world)
    viewer, ssrc, _ = watching[0]
    stranger = ("203.0.113.66", 6666)
    core, engine = world.core, world.core.engine
    # A copy of a real packet, DTLS alerts, RTP junk, STUN without credentials
    source.frame()
    copies = [d for d, _, _ in host.take_output(world.now)]
    for data in [
        *copies,
        b"\x15\xfe\xfd" + bytes(12),
        b"\x80\x62" + bytes(30),
        b"\x00\x01\x00\x00" + bytes(16),
    ]:
        core.receive_batch([(data, stranger, world.now)], world.now)
    assert core.egress(world.now) == []
    assert engine.counters.foreign == len(copies) + 2
    for data in copies:
        core.receive_batch([(data, host.address, world.now)], world.now)
        core.receive_batch([(data, host.address, world.now)], world.now)  # and a replay of each
    assert engine.counters.srtp_refused == len(copies)
    for data, _, destination in world.node.take_output(world.now):
        if destination == viewer.address:
            viewer.receive(data, ("192.0.2.1", 20000), viewer.address, world.now)
    assert len(received(viewer, ssrc)) == 6


def test_requests_for_what_is_not_there() -> None:
    world = World()
    core: MediaCore = world.core
    now = world.now
    with pytest.raises(MediaRefused, match="no such room"):
        core.create_transport("nowhere", "t")
    with pytest.raises(MediaRefused, match="transport not found"):
        core.produce("nope", "p", "video", {}, now)
    transport_id, _ = world.join()
    with pytest.raises(MediaRefused, match="cannot consume"):
        world.consume(transport_id, "nope")
    with pytest.raises(MediaRefused, match='DataProducer with id "nope" not found'):
        core.consume_data(transport_id, "c", "nope")
    with pytest.raises(MediaRefused, match="already called"):
        core.connect_transport(transport_id, {"fingerprints": []}, now)
    core.close_transport("nope", now)
    core.close_producer("nope")
    core.close_data_producer("nope", now)
    core.close_router("nope", now)


def test_nothing_that_a_producer_sends_after_its_close_is_forwarded() -> None:
    world = World()
    _, source, watching = started(world)
    viewer, ssrc, _ = watching[0]
    world.core.close_producer("video")
    source.frame(key=True)
    world.run(0.1)
    assert len(received(viewer, ssrc)) == 3
    world.produce_video("host", "again")  # the same SSRC may come back
    world.consume("t2", "again")


def test_an_ssrc_in_use_is_refused() -> None:
    world = World()
    host_id, _ = world.join()
    world.produce_video(host_id, "one")
    with pytest.raises(ValueError, match=f"ssrc {VIDEO_SSRC} is in use"):
        world.produce_video(host_id, "two")
    with pytest.raises(ValueError, match=f"ssrc {RTX_SSRC} is in use"):
        world.produce_video(host_id, "two", encodings=[{"ssrc": 5, "rtx": {"ssrc": RTX_SSRC}}])


def simulcast_parameters() -> dict[str, Any]:
    """Of a producer with two layers, named by the RIDs of their first packets."""
    parameters = video_parameters(encodings=[{"rid": "r0"}, {"rid": "r1"}])
    parameters["headerExtensions"] += [
        {"uri": "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id", "id": 5},
        {"uri": "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id", "id": 6},
    ]
    return parameters


def test_the_key_frame_asked_for_is_of_the_layer_that_is_watched() -> None:
    world = World()
    host_id, host = world.join()
    world.core.produce(host_id, "video", "video", simulcast_parameters(), world.now)
    viewer_id, viewer = world.join()
    ssrc = world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
    for rid, source in ((b"r0", 777), (b"r1", 778)):
        elements = build_extension([(9, b"0"), (5, rid)])
        header = build_header(
            payload_type=98, sequence_number=1, timestamp=0, ssrc=source, extension=elements
        )
        host.send_rtp(header, KEY_FRAME, source, 1)
        world.run(0.05)
    assert len(received(viewer, ssrc)) == 1
    world.run(2)
    host.rtcp.clear()
    viewer.send_rtcp(build_compound([PictureLossIndication(1, ssrc)]))
    world.run(0.1)
    asked = [p.media_ssrc for p in rtcp_of(host) if isinstance(p, PictureLossIndication)]
    assert asked == [777]


def test_a_stream_announced_by_rid_is_found_by_its_first_packet() -> None:
    world = World()
    host_id, host = world.join()
    world.core.produce(host_id, "video", "video", simulcast_parameters(), world.now)
    viewer_id, viewer = world.join()
    ssrc = world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]

    def send(
        index: int, payload: bytes, *elements: tuple[int, bytes], source: int = 777, kind: int = 98
    ) -> None:
        header = build_header(
            payload_type=kind,
            sequence_number=index,
            timestamp=0,
            ssrc=source,
            extension=build_extension([(9, b"0"), *elements]),
        )
        host.send_rtp(header, payload, source, index)
        world.run(0.05)

    send(7, KEY_FRAME, (5, b"nope"))  # nobody announced that
    assert received(viewer, ssrc) == []
    send(8, KEY_FRAME, (5, b"r0"))
    send(9, DELTA_FRAME)  # by now the SSRC is known
    send(1, pack("!H", 10) + DELTA_FRAME, (6, b"r0"), source=778, kind=99)  # so is its RTX, next
    send(2, pack("!H", 10) + DELTA_FRAME, source=778, kind=99)
    assert [p.payload for p in received(viewer, ssrc)] == [KEY_FRAME, DELTA_FRAME, DELTA_FRAME]
    world.run(1)
    assert not any(isinstance(p, GenericNack) for p in rtcp_of(host))


def test_a_consumer_that_goes_takes_nothing_from_one_that_is_coming() -> None:
    world = World()
    _, source, watching = started(world)
    leaver, _, _ = watching[0]
    viewer_id, viewer = world.join(connect=False)
    ssrc = world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
    world.core.close_transport("t2", world.now)  # the only one of its header layout
    world.connect(viewer_id, viewer)
    source.frame(key=True)
    source.frame()
    world.run(0.1)
    source.frame()
    world.run(0.1)
    assert leaver.ended is not None
    assert len(received(viewer, ssrc)) == 9


def test_a_key_frame_that_passed_before_a_consumer_was_armed_does_not_answer_for_it() -> None:
    world = World()
    host, source, _ = started(world)
    world.run(2)
    viewer_id, viewer = world.join(connect=False)
    ssrc = world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
    world.core.connect_transport(viewer_id, viewer.dtls_parameters, world.now)
    held: list[Datagram] = []

    def hold(data: bytes, source: Address, _destination: Address) -> bool:
        """Keep back what would complete the viewer's handshake: all but its ClientHello."""
        is_dtls = 20 <= data[0] < 64
        if source == viewer.address and is_dtls and not (data[0] == 22 and data[13] == 1):
            held.append((data, source, world.now))
            return False
        return True

    def play(address: Address) -> list[Datagram]:
        return [(d, address, world.now) for d, _, _ in host.take_output(world.now)]

    world.network.filter = hold
    assert world.run(5, lambda: bool(held))
    before = plis(host)
    world.consume("t2")  # asks, so that a request is under way when the next one is armed
    assert world.run(0.2, lambda: plis(host) > before)
    before = plis(host)
    source.frame(key=True)
    world.core.receive_batch(play(host.address) + held, world.now)
    world.network.filter = lambda *_: True
    assert world.run(1, lambda: plis(host) > before), "nobody asked for the key frame that it needs"
    source.frame(key=True)
    world.run(0.1)
    assert len(received(viewer, ssrc)) == 3

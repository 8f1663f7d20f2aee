"""The python engine: numbering, runs, padding, priorities, and that nothing is ever sealed twice."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.egress import MAX_SEGMENTED_BYTES, MAX_SEGMENTS, Egress, Priority
from sfu.media.engine import STUN_RATE, PythonEngine
from sfu.media.fanout import MAX_PADDING, MAX_TAG, MAX_WIRE_PACKET, _runs
from sfu.media.table import (
    CACHE_AGE,
    CACHE_SIZE,
    MAX_REMEMBERED_DROPS,
    MediaPacket,
    RetransmissionCache,
    SequenceCompactor,
)
from sfu.rtp import srtp_crypto
from sfu.rtp.layers import NO_LAYERS
from sfu.rtp.packet import build_header
from sfu.rtp.rtcp import build_compound, build_nacks
from tests.support.impairment import Impairment
from tests.support.world import AUDIO_SSRC, VideoSource, World, audio_parameters, received


@given(st.lists(st.integers(1, 1200), min_size=1, max_size=300))
def test_runs_are_what_the_kernel_takes(lengths: list[int]) -> None:
    runs = _runs(lengths)
    assert [i for begin, end in runs for i in range(begin, end)] == list(range(len(lengths)))
    for begin, end in runs:
        run = lengths[begin:end]
        assert len(run) <= MAX_SEGMENTS
        assert sum(run) + MAX_TAG * len(run) <= MAX_SEGMENTED_BYTES + MAX_WIRE_PACKET
        assert set(run[:-1]) <= {run[0]}
        assert run[-1] <= run[0]


@given(st.lists(st.integers(0, 400), unique=True, min_size=1).map(sorted), st.integers(0, 2**32))
def test_group_numbers_have_no_gap_where_packets_were_dropped(drops: list[int], base: int) -> None:
    compactor = SequenceCompactor()
    kept = []
    for number in range(max(drops) + 5):
        if number in drops:
            compactor.drop(base + number)
        else:
            kept.append((compactor.number(base + number), base + number))
    numbers = [number for number, _ in kept]
    assert numbers == list(range(base, base + len(kept)))
    for number, extended in kept[-MAX_REMEMBERED_DROPS:]:
        assert compactor.number(extended) == number
        assert compactor.extended(number) == extended


def test_remembered_drops_are_bounded() -> None:
    compactor = SequenceCompactor()
    for number in range(0, 4 * MAX_REMEMBERED_DROPS, 2):
        compactor.drop(number)
    assert len(compactor._drops) == MAX_REMEMBERED_DROPS
    newest = 4 * MAX_REMEMBERED_DROPS + 1
    assert compactor.extended(compactor.number(newest)) == newest


def packet(extended: int, received_at: float = 0.0) -> MediaPacket:
    return MediaPacket(extended, False, 101, 0, b"x", (), received_at, NO_LAYERS, False)


def test_the_cache_forgets_by_age_and_by_number() -> None:
    cache = RetransmissionCache()
    assert cache.put(packet(5))
    assert not cache.put(packet(5)), "a duplicate"
    assert cache.get(5, CACHE_AGE) is not None
    assert cache.get(5, CACHE_AGE + 0.1) is None
    assert cache.get(6, 0) is None
    assert cache.put(packet(5 + CACHE_SIZE))
    assert cache.get(5, 0) is None
    assert not cache.put(packet(5)), "older than what holds its place"


def sent_by(world: World, sizes: list[int]) -> list[Egress]:
    """Egress of one video burst with payloads of these sizes."""
    host_id, host = world.join("host")
    world.produce_video(host_id)
    viewer_id, _ = world.join()
    world.consume(viewer_id)
    source = VideoSource(host)
    source.frame(key=True)
    world.run(0.1)
    for size in sizes:
        source.send(source.index, b"\x00" * size)
        source.index += 1
    batch = [(data, host.address, world.now) for data, _, _ in host.take_output(world.now)]
    world.core.receive_batch(batch, world.now)
    return [e for e in world.core.egress(world.now) if e.priority is Priority.VIDEO]


def test_nearly_equal_packets_become_one_run() -> None:
    (egress,) = sent_by(World(), [999, 999, 999, 1000, 1000])
    assert egress.count == 5
    assert len({len(p) for p in egress.packets()}) == 1


def test_padding_is_taken_off_by_the_receiver() -> None:
    world = World()
    host_id, host = world.join("host")
    world.produce_video(host_id)
    viewer_id, viewer = world.join()
    ssrc = world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
    source = VideoSource(host)
    source.frame(key=True)
    world.run(0.1)
    payloads = [bytes([i]) * size for i, size in enumerate((990, 1000, 995, 1000, 300))]
    for payload in payloads:
        source.send(source.index, payload)
        source.index += 1
    batch = [(data, host.address, world.now) for data, _, _ in host.take_output(world.now)]
    world.core.receive_batch(batch, world.now)
    world.run(0.1)
    packets = received(viewer, ssrc)[-5:]
    assert [p.payload for p in packets] == payloads
    assert [p.padding_length for p in packets] == [10, 0, 5, 0, 0]


@pytest.mark.parametrize(
    ("sizes", "runs"),
    [
        ([1000, 1000 - MAX_PADDING - 1, 1000], 2),  # too much is missing: a shorter one ends its run
        ([100, 70, 100, 100], 2),  # more than two percent of the drain
        ([1170, 1169, 1170], 2),  # would be beyond what any path carries
    ],
)
def test_where_padding_does_not_pay_the_burst_is_cut(sizes: list[int], runs: int) -> None:
    assert len(sent_by(World(), sizes)) == runs


def test_audio_is_never_padded_and_leaves_before_video() -> None:
    world = World()
    host_id, host = world.join("host")
    world.produce_video(host_id)
    world.core.produce(host_id, "audio", "audio", audio_parameters(), world.now)
    viewer_id, viewer = world.join()
    world.consume(viewer_id)
    audio = world.consume(viewer_id, "audio")["rtpParameters"]["encodings"][0]["ssrc"]
    source = VideoSource(host)
    source.frame(key=True)
    for i, size in enumerate((100, 99)):
        header = build_header(payload_type=111, sequence_number=i, timestamp=i, ssrc=AUDIO_SSRC)
        host.send_rtp(header, bytes(size), AUDIO_SSRC, i)
    batch = [(data, host.address, world.now) for data, _, _ in host.take_output(world.now)]
    world.core.receive_batch(batch, world.now)
    egress = world.core.egress(world.now)
    priorities = [e.priority for e in egress]
    assert priorities == sorted(priorities)
    assert {Priority.AUDIO, Priority.VIDEO} <= set(priorities)
    for one in egress:
        for data in one.packets() if one.address == viewer.address else ():
            viewer.receive(data, ("192.0.2.1", 20000), viewer.address, world.now)
    assert [(len(p.payload), p.padding_length) for p in received(viewer, audio)] == [(100, 0), (99, 0)]


def test_stun_of_strangers_is_limited_and_members_are_not() -> None:
    engine = PythonEngine()
    stun = b"\x00\x01\x00\x00" + bytes(16)
    batch = [(stun, (f"203.0.113.{i % 250}", i), 5.0) for i in range(STUN_RATE + 100)]
    assert len(engine.process(batch, 5.0).stun) == STUN_RATE
    assert engine.counters.stun_limited == 100
    assert len(engine.process(batch[:10], 6.0).stun) == 10


@pytest.mark.parametrize("seed", range(4))
def test_no_key_and_iv_are_used_twice(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses, repairs, wraps, consumers that come and go, reconnects: AES-GCM allows no (key, IV) twice."""
    used: Counter[tuple[int, bytes]] = Counter()
    real = srtp_crypto.GcmRtpTransform.seal

    def recording(
        self: srtp_crypto.GcmRtpTransform, header: bytes, payload: bytes, ssrc: int, index: int
    ) -> bytes:
        used[id(self), srtp_crypto.gcm_iv(self._salt, ssrc, index)] += 1
        kept.append(self)  # so that no other transform gets its id
        return real(self, header, payload, ssrc, index)

    kept: list[object] = []
    monkeypatch.setattr(srtp_crypto.GcmRtpTransform, "seal", recording)
    world = World(seed, Impairment(loss=0.05, duplication=0.05, jitter=0.02))
    host_id, host = world.join("host")
    world.produce_video(host_id)
    source = VideoSource(host, first=65500)
    viewers = [world.join() for _ in range(3)]
    chance = world.random
    for step in range(120):
        source.frame(packets=chance.randint(1, 6), key=step % 10 == 0)
        world.run(0.016)
        viewer_id, viewer = chance.choice(viewers)
        action = chance.random()
        if action < 0.2:
            ssrc = world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
            numbers = [p.sequence_number for p in received(viewer, ssrc)]
            viewer.send_rtcp(build_compound(build_nacks(1, ssrc, numbers or [0])))
        elif action < 0.6:
            packets = viewer.rtp[-40:]
            if packets:
                number = int.from_bytes(packets[0][2:4], "big")
                ssrc = int.from_bytes(packets[0][8:12], "big")
                lost = [(number + i) % 65536 for i in range(8)]
                for _ in range(3):
                    viewer.send_rtcp(build_compound(build_nacks(1, ssrc, lost)))
        elif action < 0.65:
            world.core.close_producer("video")
            world.produce_video(host_id)
            for one, _ in viewers:
                world.consume(one)
            source.index += 1000
    assert len(used) > 300
    assert max(used.values()) == 1

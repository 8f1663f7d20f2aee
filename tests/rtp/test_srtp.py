"""SRTP contexts: equal to libsrtp in both directions, and what libsrtp does not do."""

from __future__ import annotations

import hashlib
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp import srtp, srtp_crypto
from sfu.rtp.packet import build_header, build_padding
from sfu.rtp.srtp import (
    FIRST_RTCP_INDEX,
    MAX_PACKET_SIZE,
    MAX_STREAMS,
    REPLAY_WINDOW,
    SrtpError,
    SrtpProfile,
    SrtpReason,
    SrtpReceiver,
    SrtpSender,
)
from sfu.rtp.srtp_crypto import MAX_INDEX, MAX_RTCP_INDEX
from tests.rtp import libsrtp
from tests.rtp.strategies import packets, payloads, ssrcs

PROFILES = list(SrtpProfile)
profiles = st.sampled_from(PROFILES)
CYCLE = 1 << 16
SSRC = 0xDEADBEEF


def keys(profile: SrtpProfile, seed: int = 0) -> tuple[bytes, bytes]:
    material = hashlib.sha512(bytes((profile, seed))).digest()
    return material[: profile.key_size], material[-profile.salt_size :]


def pair(profile: SrtpProfile, seed: int = 0) -> tuple[SrtpSender, SrtpReceiver]:
    key, salt = keys(profile, seed)
    return SrtpSender(profile, key, salt), SrtpReceiver(profile, key, salt)


def rtp(index: int, ssrc: int = SSRC, payload: bytes = b"payload") -> tuple[bytes, bytes]:
    header = build_header(payload_type=101, sequence_number=index % CYCLE, timestamp=0, ssrc=ssrc)
    return header, payload


def sealed(sender: SrtpSender, index: int, ssrc: int = SSRC, payload: bytes = b"payload") -> bytes:
    header, payload = rtp(index, ssrc, payload)
    return header + sender.seal(header, payload, ssrc, index)


def rtcp(ssrc: int = SSRC, body: bytes = b"") -> bytes:
    return struct.pack("!BBHI", 0x80, 201, 1 + len(body) // 4, ssrc) + body


def reason(receiver: SrtpReceiver, data: bytes, *, rtcp: bool = False) -> SrtpReason | None:
    """Why ``data`` is refused, ``None`` if it is not."""
    try:
        (receiver.unprotect_rtcp_untrusted if rtcp else receiver.unprotect_rtp_untrusted)(data)
    except SrtpError as error:
        return error.reason
    return None


# --- against libsrtp --------------------------------------------------------------------------------


@st.composite
def walks(draw: st.DrawFn, max_length: int = 12, max_step: int = 32_767) -> list[int]:
    """Increasing indexes with steps that a peer can follow, through several rollovers."""
    step = st.one_of(st.just(1), st.integers(1, 2000), st.integers(max_step // 2, max_step))
    index = draw(st.integers(0, CYCLE - 1))
    indexes = [index]
    for size in draw(st.lists(step, max_size=max_length)):
        index += size
        indexes.append(index)
    return indexes


@given(profiles, ssrcs, walks(), st.data())
def test_seal_equals_libsrtp(
    profile: SrtpProfile, ssrc: int, indexes: list[int], data: st.DataObject
) -> None:
    """Byte for byte: CSRCs, extensions, padding, sizes, sequence wraps, growing rollover counters."""
    ours, oracle = SrtpSender(profile, *keys(profile)), libsrtp.sender(profile, *keys(profile))
    for index in indexes:
        header, payload = data.draw(packets(index % CYCLE, ssrc))
        result = ours.seal(header, payload, ssrc, index)
        assert len(result) == len(payload) + profile.tag_size
        assert header + result == oracle.protect(header + payload)


@given(profiles, walks(30, max_step=8000), st.randoms(use_true_random=False))
def test_unprotect_accepts_and_refuses_what_libsrtp_does(
    profile: SrtpProfile, indexes: list[int], rng: random.Random
) -> None:
    """Reordered, repeated, damaged and late packets of two streams, the first of each in its place."""
    oracle_sender = libsrtp.sender(profile, *keys(profile))
    ours, oracle = SrtpReceiver(profile, *keys(profile)), libsrtp.receiver(profile, *keys(profile))
    wire = []
    for index in indexes:
        for ssrc in (SSRC, 1):
            header, payload = rtp(index, ssrc, bytes(rng.randrange(60)))
            wire.append((header + payload, oracle_sender.protect(header + payload)))
    arrivals = wire[:2]
    for position, item in enumerate(wire[2:]):
        place = max(2, len(arrivals) - rng.choice((0, 0, 0, 1, 2, 5)))
        arrivals.insert(place, item)
        if rng.random() < 0.3:
            arrivals.append(rng.choice(wire[: position + 3]))
        if rng.random() < 0.2:
            plain, damaged = item
            at = rng.randrange(len(damaged))
            arrivals.append(
                (plain, damaged[:at] + bytes((damaged[at] ^ 1 << rng.randrange(8),)) + damaged[at + 1 :])
            )
    for plain, data in arrivals:
        try:
            expected: bytes | None = oracle.unprotect(data)
        except libsrtp.LibsrtpError:
            expected = None
        try:
            got: bytes | None = ours.unprotect_rtp_untrusted(data)
        except SrtpError:
            got = None
        assert got == expected
        assert got is None or got == plain


@given(profiles, ssrcs, walks(), st.data())
def test_libsrtp_opens_what_is_sealed(
    profile: SrtpProfile, ssrc: int, indexes: list[int], data: st.DataObject
) -> None:
    ours, oracle = SrtpSender(profile, *keys(profile)), libsrtp.receiver(profile, *keys(profile))
    for index in indexes:
        header, payload = data.draw(packets(index % CYCLE, ssrc))
        assert oracle.unprotect(header + ours.seal(header, payload, ssrc, index)) == header + payload


@given(profiles, ssrcs, st.lists(payloads(1000), min_size=1, max_size=10))
def test_rtcp_equals_libsrtp_both_ways(profile: SrtpProfile, ssrc: int, bodies: list[bytes]) -> None:
    sender, receiver = pair(profile)
    oracle_sender = libsrtp.sender(profile, *keys(profile))
    oracle_receiver = libsrtp.receiver(profile, *keys(profile))
    for body in bodies:
        packet = rtcp(ssrc, body[: len(body) // 4 * 4])
        protected = sender.protect_rtcp(packet)
        assert protected == oracle_sender.protect_rtcp(packet)
        assert oracle_receiver.unprotect_rtcp(protected) == packet
        assert receiver.unprotect_rtcp_untrusted(protected) == packet
        assert reason(receiver, protected, rtcp=True) is SrtpReason.REPLAY
        with pytest.raises(libsrtp.LibsrtpError):
            oracle_receiver.unprotect_rtcp(protected)


@given(profiles, st.lists(st.sampled_from([1, 2, 3]), max_size=20))
def test_libsrtp_follows_one_rtcp_index_for_all_ssrcs(profile: SrtpProfile, order: list[int]) -> None:
    """libsrtp counts per SSRC, we count per transport: its receiver sees gaps, which are no fault."""
    sender, oracle = SrtpSender(profile, *keys(profile)), libsrtp.receiver(profile, *keys(profile))
    for ssrc in order:
        assert oracle.unprotect_rtcp(sender.protect_rtcp(rtcp(ssrc))) == rtcp(ssrc)


# --- rollover counter (attack 15) ---------------------------------------------------------------------


@given(profiles, st.integers(0, MAX_INDEX), st.integers(-(1 << 15), (1 << 15) - 1))
def test_index_is_the_nearest_to_the_highest(profile: SrtpProfile, highest: int, offset: int) -> None:
    """RFC 3711 3.3.1, for any rollover counter up to 2^32 - 1."""
    sender, receiver = pair(profile)
    receiver._rtp_streams[SSRC] = srtp._Stream(highest)
    index = highest + offset
    if not 0 <= index <= MAX_INDEX:
        return
    late_or_new = offset > 0 or -REPLAY_WINDOW < offset < 0
    expected = None if late_or_new else SrtpReason.REPLAY
    if not late_or_new and highest + offset + CYCLE > MAX_INDEX and offset:
        expected = SrtpReason.EXHAUSTED
    assert reason(receiver, sealed(sender, index)) is expected


@pytest.mark.parametrize("profile", PROFILES)
def test_first_packet_seen_is_after_the_first_wrap(profile: SrtpProfile) -> None:
    """All before the wrap was lost: the rollover counter is 1 already, which the packet does not say."""
    sender, receiver = pair(profile)
    assert reason(receiver, sealed(sender, CYCLE + 3)) is None
    assert reason(receiver, sealed(sender, CYCLE + 4)) is None
    assert reason(receiver, sealed(sender, CYCLE - 1)) is None  # a late one from before the wrap


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("lost", [32_766, 32_767, 40_000, 64_000, 66_000, 98_302])
def test_recovers_after_losing_most_of_a_cycle(profile: SrtpProfile, lost: int) -> None:
    """A gap beyond half a cycle puts the RFC's estimate one rollover behind; the next one is tried too."""
    sender, receiver = pair(profile)
    for start in (0, 500, 40_000, 65_535):
        receiver._rtp_streams.clear()
        index = 3 * CYCLE + start
        receiver._rtp_streams[SSRC] = srtp._Stream(index)
        assert reason(receiver, sealed(sender, index + 1 + lost)) is None
        assert reason(receiver, sealed(sender, index + 2 + lost)) is None
        assert receiver._rtp_streams[SSRC].highest == index + 2 + lost


@pytest.mark.parametrize("profile", PROFILES)
def test_after_losing_almost_exactly_a_cycle_the_first_look_like_replays(profile: SrtpProfile) -> None:
    """Their numbers are those of the window. At most a window later the stream goes on."""
    sender, receiver = pair(profile)
    for index in range(REPLAY_WINDOW):
        assert reason(receiver, sealed(sender, index)) is None
    for index in (CYCLE, CYCLE + 500, CYCLE + REPLAY_WINDOW - 1):
        assert reason(receiver, sealed(sender, index)) is SrtpReason.REPLAY
    assert reason(receiver, sealed(sender, CYCLE + REPLAY_WINDOW)) is None


@pytest.mark.parametrize("profile", PROFILES)
def test_a_packet_of_an_earlier_cycle_cannot_be_replayed_as_a_later_one(profile: SrtpProfile) -> None:
    sender, receiver = pair(profile)
    old = sealed(sender, 7)
    for index in (7, 30_000, 60_000, CYCLE + 5, CYCLE + 6):
        assert reason(receiver, sealed(sender, index)) is None
    assert reason(receiver, old) is SrtpReason.AUTH  # its number now means index CYCLE + 7
    assert receiver._rtp_streams[SSRC].highest == CYCLE + 6
    assert reason(receiver, sealed(sender, CYCLE + 7)) is None


# --- replay window --------------------------------------------------------------------------------------


@given(profiles, st.lists(st.integers(0, 3 * REPLAY_WINDOW), max_size=60))
def test_each_index_opens_once_and_not_behind_the_window(profile: SrtpProfile, indexes: list[int]) -> None:
    sender, receiver = pair(profile)
    accepted: set[int] = set()
    for index in indexes:
        fresh = index not in accepted and (not accepted or index > max(accepted) - REPLAY_WINDOW)
        assert reason(receiver, sealed(sender, index)) is (None if fresh else SrtpReason.REPLAY)
        if fresh:
            accepted.add(index)


@pytest.mark.parametrize("profile", PROFILES)
def test_window_edge(profile: SrtpProfile) -> None:
    """Where libsrtp has it, too."""
    sender, receiver = pair(profile)
    oracle = libsrtp.receiver(profile, *keys(profile))
    assert REPLAY_WINDOW == 1024
    for index in (10, 10 + REPLAY_WINDOW):
        assert reason(receiver, sealed(sender, index)) is None
        oracle.unprotect(sealed(sender, index))
    assert reason(receiver, sealed(sender, 10)) is SrtpReason.REPLAY  # behind the window
    with pytest.raises(libsrtp.LibsrtpError):
        oracle.unprotect(sealed(sender, 10))
    assert reason(receiver, sealed(sender, 11)) is None
    oracle.unprotect(sealed(sender, 11))
    assert receiver._rtp_streams[SSRC].seen < 1 << REPLAY_WINDOW


def test_the_window_does_not_grow() -> None:
    sender, receiver = pair(SrtpProfile.AEAD_AES_128_GCM)
    for index in range(REPLAY_WINDOW + 10):
        assert reason(receiver, sealed(sender, index)) is None
    assert receiver._rtp_streams[SSRC].seen == (1 << REPLAY_WINDOW) - 1


@pytest.mark.parametrize("profile", PROFILES)
def test_rtcp_window(profile: SrtpProfile) -> None:
    sender, receiver = pair(profile)
    wire = [sender.protect_rtcp(rtcp()) for _ in range(REPLAY_WINDOW + 2)]
    assert reason(receiver, wire[0], rtcp=True) is None
    assert reason(receiver, wire[-1], rtcp=True) is None
    assert reason(receiver, wire[1], rtcp=True) is SrtpReason.REPLAY  # behind the window
    assert reason(receiver, wire[2], rtcp=True) is None
    assert reason(receiver, wire[2], rtcp=True) is SrtpReason.REPLAY
    assert receiver._rtcp_streams[SSRC].seen < 1 << REPLAY_WINDOW


# --- junk (attacks 13, 14, 16, 17) ------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_junk_flood_leaves_the_stream_alone(profile: SrtpProfile) -> None:
    """However many bad packets, a good one still opens and no state was made."""
    sender, receiver = pair(profile)
    other, _ = pair(profile, seed=1)
    assert reason(receiver, sealed(sender, 0)) is None
    rng = random.Random(1)
    for n in range(2000):
        foreign = sealed(other, rng.randrange(CYCLE), rng.choice((SSRC, n)))
        assert reason(receiver, foreign) in (SrtpReason.AUTH, SrtpReason.REPLAY)
        assert reason(receiver, other.protect_rtcp(rtcp(n)), rtcp=True) is SrtpReason.AUTH
    assert list(receiver._rtp_streams) == [SSRC]
    assert not receiver._rtcp_streams
    assert receiver._rtp_streams[SSRC].highest == 0
    assert reason(receiver, sealed(sender, 1)) is None


@pytest.mark.parametrize("profile", PROFILES)
def test_plain_packets_are_refused(profile: SrtpProfile) -> None:
    _, receiver = pair(profile)
    header, payload = rtp(1, payload=bytes(100))
    assert reason(receiver, header + payload) is SrtpReason.AUTH
    assert reason(receiver, rtcp(body=bytes(40)), rtcp=True) is SrtpReason.MALFORMED


@given(profiles, st.integers(0, 200), st.integers(0, 7))
def test_any_flipped_bit_is_noticed(profile: SrtpProfile, byte: int, bit: int) -> None:
    sender, receiver = pair(profile)
    packet = bytearray(sealed(sender, 5, payload=bytes(20)))
    packet[byte % len(packet)] ^= 1 << bit
    assert reason(receiver, bytes(packet)) in (SrtpReason.AUTH, SrtpReason.MALFORMED)
    report = bytearray(sender.protect_rtcp(rtcp(body=bytes(20))))
    report[byte % len(report)] ^= 1 << bit
    assert reason(receiver, bytes(report), rtcp=True) in (SrtpReason.AUTH, SrtpReason.MALFORMED)
    assert not receiver._rtp_streams
    assert not receiver._rtcp_streams


@pytest.mark.parametrize("profile", PROFILES)
def test_every_truncation_is_refused(profile: SrtpProfile) -> None:
    sender, receiver = pair(profile)
    header = build_header(
        payload_type=1,
        sequence_number=9,
        timestamp=0,
        ssrc=SSRC,
        csrc=(1, 2),
        extension=bytes.fromhex("bede0000"),
    )
    packet = header + sender.seal(header, b"abc", SSRC, 9)
    report = sender.protect_rtcp(rtcp(body=bytes(8)))
    for size in range(len(packet)):
        expected = SrtpReason.MALFORMED if size < len(header) + profile.tag_size else SrtpReason.AUTH
        assert reason(receiver, packet[:size]) is expected
    overhead = len(sender.protect_rtcp(rtcp())) - len(rtcp())
    for size in range(len(report)):
        refusal = reason(receiver, report[:size], rtcp=True)
        assert refusal in (SrtpReason.MALFORMED, SrtpReason.AUTH)
        assert refusal is SrtpReason.MALFORMED or size >= 8 + overhead
    assert reason(receiver, packet) is None
    assert reason(receiver, report, rtcp=True) is None


@pytest.mark.parametrize("profile", PROFILES)
def test_header_longer_than_the_packet_is_refused_before_any_cryptography(profile: SrtpProfile) -> None:
    _, receiver = pair(profile)
    for bad in (
        b"\x8f" + bytes(11 + profile.tag_size + 59),  # 15 CSRCs, one byte short
        b"\x90" + bytes(11) + b"\xbe\xde\xff\xff" + bytes(100),  # extension beyond the end
        b"\x40" + bytes(60),  # version 1
        b"\xc0" + bytes(60),  # version 3
    ):
        assert reason(receiver, bad) is SrtpReason.MALFORMED


@pytest.mark.parametrize("profile", PROFILES)
def test_unencrypted_srtcp_is_refused(profile: SrtpProfile) -> None:
    """E = 0, authentic or not."""
    sender, receiver = pair(profile)
    report = bytearray(sender.protect_rtcp(rtcp(body=bytes(8))))
    word = len(report) - (4 if profile.salt_size == 12 else 14)
    assert report[word] & 0x80
    report[word] &= 0x7F
    assert reason(receiver, bytes(report), rtcp=True) is SrtpReason.MALFORMED


@pytest.mark.parametrize("profile", PROFILES)
def test_packet_size_cap(profile: SrtpProfile) -> None:
    sender, receiver = pair(profile)
    room = MAX_PACKET_SIZE - 12 - profile.tag_size
    assert reason(receiver, sealed(sender, 1, payload=bytes(room))) is None
    assert reason(receiver, sealed(sender, 2, payload=bytes(room + 1))) is SrtpReason.MALFORMED
    body = bytes((MAX_PACKET_SIZE - 8 - 20) // 4 * 4)
    assert reason(receiver, sender.protect_rtcp(rtcp(body=body)), rtcp=True) is None
    assert (
        reason(receiver, sender.protect_rtcp(rtcp(body=body + bytes(12))), rtcp=True) is SrtpReason.MALFORMED
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_stream_cap(profile: SrtpProfile) -> None:
    """Authentic packets of ever new SSRCs (attack 18): known streams go on, new ones are refused."""
    sender, receiver = pair(profile)
    for ssrc in range(MAX_STREAMS):
        assert reason(receiver, sealed(sender, 1, ssrc)) is None
        assert reason(receiver, sender.protect_rtcp(rtcp(ssrc)), rtcp=True) is None
    assert reason(receiver, sealed(sender, 1, MAX_STREAMS)) is SrtpReason.TOO_MANY_STREAMS
    assert reason(receiver, sender.protect_rtcp(rtcp(MAX_STREAMS)), rtcp=True) is SrtpReason.TOO_MANY_STREAMS
    assert reason(receiver, sealed(sender, 2, 0)) is None
    assert len(receiver._rtp_streams) == len(receiver._rtcp_streams) == MAX_STREAMS


# --- sending ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_rtcp_index_runs_out_and_never_repeats(profile: SrtpProfile) -> None:
    key, salt = keys(profile)
    sender = SrtpSender(profile, key, salt, first_rtcp_index=MAX_RTCP_INDEX)
    receiver = SrtpReceiver(profile, key, salt)
    assert reason(receiver, sender.protect_rtcp(rtcp()), rtcp=True) is None
    for _ in range(2):
        with pytest.raises(SrtpError) as caught:
            sender.protect_rtcp(rtcp())
        assert caught.value.reason is SrtpReason.EXHAUSTED


@pytest.mark.parametrize("profile", PROFILES)
def test_rtp_index_runs_out(profile: SrtpProfile) -> None:
    sender, _ = pair(profile)
    sender.seal(*rtp(MAX_INDEX), SSRC, MAX_INDEX)
    for index in (MAX_INDEX + 1, -1):
        with pytest.raises(SrtpError) as caught:
            sender.seal(*rtp(0), SSRC, index)
        assert caught.value.reason is SrtpReason.EXHAUSTED


def test_rtcp_below_its_header_is_our_own_mistake() -> None:
    sender, _ = pair(SrtpProfile.AEAD_AES_128_GCM)
    with pytest.raises(SrtpError) as caught:
        sender.protect_rtcp(bytes(7))
    assert caught.value.reason is SrtpReason.MALFORMED
    assert sender.next_rtcp_index == FIRST_RTCP_INDEX


@pytest.mark.parametrize("profile", PROFILES)
def test_no_iv_repeats_and_a_recorder_sees_each(
    profile: SrtpProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replacing the module's IV function is how a test records what an engine seals."""
    ivs: list[bytes] = []
    name = "cm_iv" if profile is SrtpProfile.AES128_CM_HMAC_SHA1_80 else "gcm_iv"
    original = getattr(srtp_crypto, name)

    def recorded(salt: int, ssrc: int, index: int) -> bytes:
        iv: bytes = original(salt, ssrc, index)
        ivs.append(iv)
        return iv

    monkeypatch.setattr(srtp_crypto, name, recorded)
    sender, _ = pair(profile)
    for index in (0, 1, 65_535, CYCLE, CYCLE + 1, MAX_INDEX):
        for ssrc in (0, 1, SSRC, 0xFFFFFFFF):
            sender.seal(*rtp(index, ssrc), ssrc, index)
    for ssrc in (0, 1, SSRC):
        sender.protect_rtcp(rtcp(ssrc))
    assert len(set(ivs)) == len(ivs) == 27


def test_padding_added_after_the_fact_opens() -> None:
    """An engine may lengthen a payload with RTP padding before sealing: the P bit is in the header."""
    sender, receiver = pair(SrtpProfile.AEAD_AES_128_GCM)
    header = build_header(payload_type=1, sequence_number=1, timestamp=0, ssrc=SSRC, padding=True)
    payload = b"frame" + build_padding(7)
    wire = header + sender.seal(header, payload, SSRC, 1)
    assert receiver.unprotect_rtp_untrusted(wire) == header + payload

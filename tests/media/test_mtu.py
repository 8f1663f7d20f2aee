"""Narrow paths: what we originate fits 1,200 bytes of UDP payload; what we forward hardly grows on its way.

1,200 bytes is what WebRTC senders take for a path without asking (RFC 8831 5, and libwebrtc's video packets).
IPv6 guarantees 1,280 (RFC 8200 5): 1,232 bytes of UDP payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

from sfu.dtls.endpoint import DEFAULT_MTU
from sfu.ice.address import Address
from sfu.media.rtcp_session import MAX_COMPOUND
from sfu.rtp.extensions import build_extension
from sfu.rtp.packet import build_header
from sfu.rtp.rtcp import ReceiverReport, build_compound, build_nacks
from sfu.rtp.rtcp.transport_cc import MAX_FEEDBACK_SIZE
from sfu.sctp.ppid import BINARY
from tests.support.peer import Peer
from tests.support.world import (
    MID_ID,
    SERVER,
    TRANSPORT_CC_ID,
    VIDEO_SSRC,
    VideoSource,
    World,
    audio_parameters,
    received,
)

IPV6_PAYLOAD = 1280 - 40 - 8
"""What every IPv6 path carries."""
CHROME_PACKET = 1200
"""The longest RTP packet that libwebrtc makes, header and extensions included (``kDefaultMaxPacketSize``)."""
AUTHENTICATION_TAG = 16
"""SRTP's with AES-GCM (RFC 7714)."""


class Narrow:
    """A path that loses what is longer, and tells nobody; it notes the lengths of what the worker sent."""

    def __init__(self, world: World, mtu: int) -> None:
        self.lengths: dict[str, int] = {}
        """The longest datagram of each kind that the worker sent, dropped ones included."""
        self.dropped = 0
        self._mtu = mtu
        world.network.filter = self._passes

    def _passes(self, data: bytes, source: Address, destination: Address) -> bool:
        if source == SERVER:
            kind = _kind(data)
            self.lengths[kind] = max(self.lengths.get(kind, 0), len(data))
        if len(data) <= self._mtu:
            return True
        self.dropped += 1
        return False


def _kind(data: bytes) -> str:
    if data[0] < 4:
        return "STUN"
    if data[0] < 64:
        return "DTLS"
    return "RTCP" if 192 <= data[1] < 224 else "RTP"


def test_nothing_of_ours_is_longer_than_1200_bytes() -> None:
    """Handshakes, the longest messages, feedback about many packets, reports about many streams, repairs."""
    world = World()
    path = Narrow(world, DEFAULT_MTU)
    host_id, host = world.join()
    viewer_id, viewer = world.join()
    world.produce_video(host_id)
    world.core.produce(host_id, "audio", "audio", audio_parameters(), world.now)
    world.core.produce_data(host_id, "data", {"streamId": 0}, "", "", world.now)
    world.core.consume_data(viewer_id, "dc", "data")
    ssrc = world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
    for _ in range(40):  # reports of all of them are due together
        world.consume(viewer_id)
        world.consume(viewer_id, "audio")
    host.send_data(0, BINARY, bytes(262_144), world.now)
    source = VideoSource(host)
    for frame in range(60):
        source.frame(40, key=frame % 30 == 0, lose=range(1, 40, 2) if frame % 10 == 5 else ())
        world.run(1 / 60)
        if frame == 40:
            numbers = [packet.sequence_number for packet in received(viewer, ssrc)][-200:]
            ask_again(viewer, ssrc, numbers)
    assert world.run(20, lambda: bool(viewer.messages))
    assert len(viewer.messages[0].data) == 262_144
    world.run(1)
    assert path.dropped == 0
    assert {kind: length for kind, length in path.lengths.items() if length > DEFAULT_MTU} == {}
    assert path.lengths["DTLS"] > 1100, "the path is used as far as it goes"
    assert path.lengths["RTCP"] > 100, "there was something to report"
    # Alone it cannot be longer either: a compound, or the one packet that is longer, and SRTCP's trailer.
    assert max(MAX_COMPOUND, MAX_FEEDBACK_SIZE) + 4 + AUTHENTICATION_TAG <= DEFAULT_MTU
    assert world.events == []


def ask_again(viewer: Peer, ssrc: int, numbers: Sequence[int]) -> None:
    """Send a NACK."""
    viewer.send_rtcp(build_compound([ReceiverReport(1), *build_nacks(1, ssrc, numbers)]))


def longest_chrome_packet(source: VideoSource, index: int) -> tuple[bytes, bytes]:
    """Header and payload of a full packet as Chrome sends it, with the extensions that it sends always."""
    source.transport_sequence += 1
    header = build_header(
        payload_type=98,
        sequence_number=index & 0xFFFF,
        timestamp=source.timestamp,
        ssrc=VIDEO_SSRC,
        extension=build_extension(
            [
                (MID_ID, b"0"),
                (TRANSPORT_CC_ID, pack("!H", source.transport_sequence & 0xFFFF)),
                (11, b"\x01"),
            ]
        ),
    )
    payload = b"\x08" + bytes(CHROME_PACKET - len(header) - 1)
    return header, payload


def forwarded_lengths() -> tuple[Sequence[int], Sequence[int]]:
    """Lengths on the wire of full packets as a host sent and as a viewer got them, RTX included."""
    world = World()
    host_id, host = world.join()
    viewer_id, viewer = world.join()
    world.produce_video(host_id)
    ssrc = world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
    came: list[int] = []
    went: list[int] = []

    def note(data: bytes, source: Address, destination: Address) -> bool:
        if _kind(data) == "RTP":
            (went if source == SERVER else came).append(len(data))
        return True

    world.network.filter = note
    source = VideoSource(host)
    for index in range(source.index, source.index + 20):
        host.send_rtp(*longest_chrome_packet(source, index), VIDEO_SSRC, index)
    world.run(1)
    numbers = [packet.sequence_number for packet in received(viewer, ssrc)]
    assert len(numbers) == 20
    plain = list(went)
    ask_again(viewer, ssrc, numbers[:5])
    world.run(1)
    repairs = went[len(plain) :]
    assert repairs
    return came, plain + repairs


def test_full_packets_of_chrome_fit_every_ipv6_path() -> None:
    came, went = forwarded_lengths()
    assert set(came) == {CHROME_PACKET + AUTHENTICATION_TAG}
    # RTX adds the original sequence number (RFC 4588 4), and the time of sending is an element of our own.
    assert max(went) <= max(came) + 2 + 4
    assert max(went) <= IPV6_PAYLOAD

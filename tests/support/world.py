"""A whole media worker with its peers in virtual time: what a browser test shows, in milliseconds."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from struct import pack
from typing import Any

from sfu.ice.address import Address
from sfu.ice.candidate import udp_candidate
from sfu.media.capabilities import router_capabilities
from sfu.media.core import MediaCore
from sfu.media.events import CoreEvent
from sfu.media.parameters import to_json
from sfu.rtp.extensions import build_extension
from sfu.rtp.packet import RtpPacket, build_header, parse_untrusted
from sfu.rtp.rtx import build_rtx
from tests.support.impairment import Impairment
from tests.support.network import Network
from tests.support.peer import CERTIFICATE, Peer

SERVER: Address = ("192.0.2.1", 20000)
ROOM = "room"
VIDEO_SSRC, RTX_SSRC, AUDIO_SSRC = 0x11111111, 0x22222222, 0x33333333
KEY_FRAME = b"\x08" + bytes(60)
"""VP9 payload descriptor (RFC 9628): B, not P: the first packet of a key frame."""
DELTA_FRAME = b"\x48" + bytes(60)
"""B and P: the first packet of a frame that depends on others."""
MID_ID, TRANSPORT_CC_ID = 9, 4


def video_parameters(**changes: Any) -> dict[str, Any]:
    """What Chrome sends to produce VP9."""
    return {
        "mid": "0",
        "codecs": [
            {
                "mimeType": "video/VP9",
                "payloadType": 98,
                "clockRate": 90000,
                "parameters": {"profile-id": 0},
                "rtcpFeedback": [
                    {"type": "goog-remb", "parameter": ""},
                    {"type": "transport-cc", "parameter": ""},
                    {"type": "ccm", "parameter": "fir"},
                    {"type": "nack", "parameter": ""},
                    {"type": "nack", "parameter": "pli"},
                ],
            },
            {"mimeType": "video/rtx", "payloadType": 99, "clockRate": 90000, "parameters": {"apt": 98}},
        ],
        "headerExtensions": [
            {"uri": "urn:ietf:params:rtp-hdrext:sdes:mid", "id": MID_ID},
            {
                "uri": "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
                "id": TRANSPORT_CC_ID,
            },
            {"uri": "urn:3gpp:video-orientation", "id": 11},
        ],
        "encodings": [{"ssrc": VIDEO_SSRC, "rtx": {"ssrc": RTX_SSRC}}],
        "rtcp": {"cname": "host"},
        **changes,
    }


def audio_parameters() -> dict[str, Any]:
    return {
        "mid": "1",
        "codecs": [
            {
                "mimeType": "audio/opus",
                "payloadType": 111,
                "clockRate": 48000,
                "channels": 2,
                "parameters": {"useinbandfec": 1},
            }
        ],
        "headerExtensions": [{"uri": "urn:ietf:params:rtp-hdrext:sdes:mid", "id": MID_ID}],
        "encodings": [{"ssrc": AUDIO_SSRC}],
        "rtcp": {"cname": "host"},
    }


def viewer_capabilities() -> dict[str, Any]:
    """What a browser's Device knows of our router."""
    json = to_json(router_capabilities())
    json["headerExtensions"] = [
        e for e in json["headerExtensions"] if e["direction"] == "sendrecv" and "packet-id" not in e["uri"]
    ]
    return json


class CoreNode:
    """A :class:`MediaCore` in a :class:`Network`."""

    def __init__(self, core: MediaCore) -> None:
        self.core = core
        self.events: list[CoreEvent] = []

    def receive(self, data: bytes, source: Address, destination: Address, now: float) -> None:
        self.core.receive_batch([(data, source, now)], now)

    def take_output(self, now: float) -> Sequence[tuple[bytes, Address, Address]]:
        output = [(packet, SERVER, e.address) for e in self.core.egress(now) for packet in e.packets()]
        while (event := self.core.next_event()) is not None:
            self.events.append(event)
        return output

    def get_timer(self) -> float | None:
        return self.core.get_timer()

    def handle_timer(self, now: float) -> None:
        self.core.handle_timer(now)


class World:
    """One worker, one room, and peers that come and go."""

    def __init__(
        self, seed: int = 0, impairment: Impairment | None = None, *, require_binary: bool = True
    ) -> None:
        self.random = random.Random(seed)
        self.random_bytes: Callable[[int], bytes] = self.random.randbytes
        self.network = Network(seed, impairment or Impairment())
        self.core = MediaCore(
            certificate=CERTIFICATE,
            capabilities=router_capabilities(),
            candidates=[udp_candidate("192.0.2.1", 20000)],
            wall_offset=1.7e9,
            require_binary_data_channel=require_binary,
            random_bytes=self.random_bytes,
        )
        self.node = CoreNode(self.core)
        self.network.add(self.node, SERVER)
        self.core.create_router(ROOM)
        self._count = 0

    @property
    def now(self) -> float:
        return self.network.now

    @property
    def events(self) -> list[CoreEvent]:
        return self.node.events

    def join(self, name: str = "", *, connect: bool = True) -> tuple[str, Peer]:
        """A new transport with its peer."""
        self._count += 1
        transport_id = name or f"t{self._count}"
        info = self.core.create_transport(ROOM, transport_id)
        address: Address = (f"198.51.100.{self._count}", 50000 + self._count)
        peer = Peer(address, info, random_bytes=self.random_bytes)
        self.network.add(peer, address)
        if connect:
            self.connect(transport_id, peer)
        return transport_id, peer

    def connect(self, transport_id: str, peer: Peer) -> None:
        self.core.connect_transport(transport_id, peer.dtls_parameters, self.now)
        assert self.run(20, lambda: peer.connected and peer.established)

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        return self.network.run(seconds, until)

    def produce_video(self, transport_id: str, producer_id: str = "video", **changes: Any) -> None:
        self.core.produce(transport_id, producer_id, "video", video_parameters(**changes), self.now)

    def consume(self, transport_id: str, producer_id: str = "video", **options: Any) -> dict[str, Any]:
        self._count += 1
        return self.core.consume(
            transport_id, f"c{self._count}", producer_id, viewer_capabilities(), self.now, **options
        )


class VideoSource:
    """A host's VP9 stream: numbered packets whose payload says which they are."""

    def __init__(self, peer: Peer, first: int = 65500) -> None:
        self.peer = peer
        self.index = first
        self.timestamp = 4_294_960_000
        self.transport_sequence = 65530
        self.sent: dict[int, bytes] = {}
        self.marks: dict[int, tuple[int, bool]] = {}
        """Timestamp and marker of each."""

    def frame(self, packets: int = 3, *, key: bool = False, lose: Sequence[int] = ()) -> list[int]:
        """Send one frame, except the packets whose place in it is in ``lose``. Returns the packet indices."""
        numbers = []
        for place in range(packets):
            head = (KEY_FRAME if key else DELTA_FRAME) if place == 0 else b"\x00" + bytes(60)
            payload = head + pack("!I", self.index) + bytes(800 + place)
            if place not in lose:
                self.send(self.index, payload, marker=place == packets - 1)
            self.sent[self.index] = payload
            self.marks[self.index] = (self.timestamp, place == packets - 1)
            numbers.append(self.index)
            self.index += 1
        self.timestamp = (self.timestamp + 1500) % 2**32
        return numbers

    def send(self, index: int, payload: bytes, *, marker: bool = False) -> None:
        self.transport_sequence += 1
        header = build_header(
            payload_type=98,
            sequence_number=index & 0xFFFF,
            timestamp=self.timestamp,
            ssrc=VIDEO_SSRC,
            marker=marker,
            extension=build_extension(
                [
                    (MID_ID, b"0"),
                    (TRANSPORT_CC_ID, pack("!H", self.transport_sequence & 0xFFFF)),
                    (11, b"\x01"),
                ]
            ),
        )
        self.peer.send_rtp(header, payload, VIDEO_SSRC, index)

    def repair(self, index: int, repair_index: int) -> None:
        """Send a packet again over RTX."""
        timestamp, marker = self.marks[index]
        header = build_header(
            payload_type=98,
            sequence_number=index & 0xFFFF,
            timestamp=timestamp,
            ssrc=VIDEO_SSRC,
            marker=marker,
        )
        header, payload = build_rtx(
            parse_untrusted(header + self.sent[index]),
            ssrc=RTX_SSRC,
            payload_type=99,
            sequence_number=repair_index & 0xFFFF,
        )
        self.peer.send_rtp(header, payload, RTX_SSRC, repair_index)


def received(peer: Peer, ssrc: int) -> list[RtpPacket]:
    """The RTP packets of one SSRC that a peer has, in order of arrival."""
    return [packet for packet in map(parse_untrusted, peer.rtp) if packet.ssrc == ssrc]

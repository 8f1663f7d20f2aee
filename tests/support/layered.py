"""Hosts that send layers: VP8 simulcast with temporal layers, VP9 with spatial and temporal ones."""

from __future__ import annotations

from struct import pack
from typing import Any

from sfu.rtp.extensions import build_extension
from sfu.rtp.packet import RtpPacket, build_header
from sfu.rtp.rtcp import SenderReport, build_compound
from tests.support.peer import Peer
from tests.support.world import MID_ID, video_parameters

RID_ID = 5
FRAME = 3000
"""Timestamp units between pictures: 30 a second."""
TEMPORAL_PATTERN = (0, 2, 1, 2)


def simulcast_parameters(*encodings: dict[str, Any]) -> dict[str, Any]:
    """Of a VP8 producer whose streams are named by RIDs."""
    parameters = video_parameters(encodings=list(encodings))
    parameters["codecs"][0]["mimeType"] = "video/VP8"
    parameters["headerExtensions"] += [
        {"uri": "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id", "id": RID_ID},
        {"uri": "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id", "id": RID_ID + 1},
    ]
    return parameters


class Vp8Layer:
    """One stream of a simulcast."""

    def __init__(
        self, peer: Peer, rid: str, ssrc: int, *, start: int, size: int, temporal: bool = False
    ) -> None:
        """``start`` seeds everything that counts, so that no two streams count alike."""
        self.peer = peer
        self.rid = rid
        self.ssrc = ssrc
        self.index = 1000 + start
        self.first_timestamp = start * 7919 % 2**32
        self.picture_id = start * 31 % 0x8000
        self.tl0_index = start % 256
        self.size = size
        self.temporal = temporal
        self.pictures = 0
        self.sending = True

    def timestamp(self, number: int) -> int:
        """Of the picture of this number; all streams show the same at the same number."""
        return (self.first_timestamp + number * FRAME) % 2**32

    def picture(self, number: int, *, key: bool = False, packets: int = 2) -> None:
        """Send one picture; what is in it says stream, number and place."""
        layer = TEMPORAL_PATTERN[number % 4] if self.temporal and not key else 0
        if layer == 0:
            self.tl0_index = (self.tl0_index + 1) % 256
        self.picture_id = (self.picture_id + 1) % 0x8000
        for place in range(packets):
            sync = 0x20 if layer else 0
            descriptor = bytes((0x90 if place == 0 else 0x80, 0xE0)) + pack(
                "!HBB", 0x8000 | self.picture_id, self.tl0_index, layer << 6 | sync
            )
            frame = b"\x00" if key and place == 0 else b"\x01"
            payload = descriptor + frame + pack("!IIBB", self.ssrc, number, place, layer) + bytes(self.size)
            header = build_header(
                payload_type=98,
                sequence_number=self.index & 0xFFFF,
                timestamp=self.timestamp(number),
                ssrc=self.ssrc,
                marker=place == packets - 1,
                extension=build_extension([(MID_ID, b"0"), (RID_ID, self.rid.encode())]),
            )
            self.peer.send_rtp(header, payload, self.ssrc, self.index)
            self.index += 1

    def report(self, number: int) -> None:
        """A sender report of the moment of a picture."""
        ntp = round((3_900_000_000 + number / 30) * 2**32)
        self.peer.send_rtcp(build_compound([SenderReport(self.ssrc, ntp, self.timestamp(number), 1, 1)]))


class Seen:
    """One VP8 packet as a viewer got it."""

    def __init__(self, packet: RtpPacket) -> None:
        payload = packet.payload
        self.packet = packet
        self.sequence_number = packet.sequence_number
        self.timestamp = packet.timestamp
        self.marker = packet.marker
        self.picture_id = (payload[2] << 8 | payload[3]) & 0x7FFF
        self.tl0_index = payload[4]
        self.key = payload[6] == 0
        self.ssrc = int.from_bytes(payload[7:11], "big")
        """Of the stream that it was sent in."""
        self.number = int.from_bytes(payload[11:15], "big")
        self.place = payload[15]
        self.temporal = payload[16]


def vp9_payload(
    number: int, spatial: int, temporal: int, *, starts: bool, ends: bool, key: bool, body: bytes
) -> bytes:
    """A VP9 payload descriptor (RFC 9628 4.2), not flexible, with 15 bits of picture id."""
    first = 0xA0 | (0 if key else 0x40) | (0x08 if starts else 0) | (0x04 if ends else 0)
    layer = temporal << 5 | (0x10 if temporal else 0) | spatial << 1 | (1 if spatial else 0)
    return pack("!BHBB", first, 0x8000 | number & 0x7FFF, layer, number // 4 & 0xFF) + body

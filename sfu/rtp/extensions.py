"""RTP header extensions: the two general forms (RFC 8285) and the elements that WebRTC uses.

A packet's extension is read once into ``{id: (offset, length)}``, without copying; each element has a pair of
codecs here. Ids are negotiated per session; the URIs that name elements are in :class:`ExtensionUri`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sfu.rtp.packet import MAX_EXTENSION_SIZE, RtpError, RtpPacket

ONE_BYTE_PROFILE: Final = 0xBEDE
"""RFC 8285 4.2."""
TWO_BYTE_PROFILE: Final = 0x1000
"""RFC 8285 4.3. The low four bits are "appbits", ours are 0 and those received are ignored."""
MAX_ONE_BYTE_ID: Final = 14
MAX_ONE_BYTE_LENGTH: Final = 16
MAX_TWO_BYTE_ID: Final = 255
MAX_TWO_BYTE_LENGTH: Final = 255
MAX_ELEMENTS: Final = 64
"""Elements read from one packet. Browsers send fewer than 10; this bounds what a packet can make us keep."""

_RESERVED_ONE_BYTE_ID: Final = 15


class ExtensionUri(enum.StrEnum):
    """The URIs that negotiate header extension elements."""

    MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
    RTP_STREAM_ID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
    REPAIRED_RTP_STREAM_ID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
    ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
    TRANSPORT_WIDE_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
    AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
    DEPENDENCY_DESCRIPTOR = (
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
    )
    VIDEO_ORIENTATION = "urn:3gpp:video-orientation"
    TOFFSET = "urn:ietf:params:rtp-hdrext:toffset"
    ABS_CAPTURE_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
    PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
    MEDIASOUP_PACKET_ID = "urn:mediasoup:params:rtp-hdrext:packet-id"


# --- the general forms ----------------------------------------------------------------------------


def parse_elements_untrusted(
    data: bytes, profile: int | None, offset: int, length: int
) -> dict[int, tuple[int, int]]:
    """Read a header extension's body, ``length`` bytes at ``offset``, as ``{id: (offset, length)}``.

    Zero bytes between elements are padding. In the one-byte form, id 15 (and id 0 with a length, which is
    neither an element nor padding) ends the reading; what came before counts (RFC 8285 4.2). The first of
    several elements with one id counts. An extension of another profile has no elements. Raises
    :class:`RtpError` if an element is cut off or there are more than :data:`MAX_ELEMENTS`.
    """
    elements: dict[int, tuple[int, int]] = {}
    if profile is None:
        return elements
    end = offset + length
    count = 0
    if profile == ONE_BYTE_PROFILE:
        while offset < end:
            first = data[offset]
            offset += 1
            if not first:
                continue
            identifier = first >> 4
            if identifier == _RESERVED_ONE_BYTE_ID or not identifier:
                return elements
            size = (first & 0x0F) + 1
            count += 1
            if offset + size > end or count > MAX_ELEMENTS:
                raise RtpError("bad element in a one-byte header extension")
            if identifier not in elements:
                elements[identifier] = (offset, size)
            offset += size
    elif profile & 0xFFF0 == TWO_BYTE_PROFILE:
        while offset < end:
            identifier = data[offset]
            offset += 1
            if not identifier:
                continue
            if offset == end:
                raise RtpError("an element in a two-byte header extension has no length")
            size = data[offset]
            offset += 1
            count += 1
            if offset + size > end or count > MAX_ELEMENTS:
                raise RtpError("bad element in a two-byte header extension")
            if identifier not in elements:
                elements[identifier] = (offset, size)
            offset += size
    return elements


def packet_elements_untrusted(packet: RtpPacket) -> dict[int, tuple[int, int]]:
    """:func:`parse_elements_untrusted` on a packet's extension; empty without one."""
    return parse_elements_untrusted(
        packet.data, packet.extension_profile, packet.extension_offset, packet.extension_length
    )


def build_extension(elements: Iterable[tuple[int, bytes]]) -> bytes:
    """A whole header extension with its four-byte header, for :func:`sfu.rtp.packet.build_header`.

    The one-byte form unless an id above 14, or an element that is empty or longer than 16 bytes, needs the
    two-byte form (a peer must have negotiated ``extmap-allow-mixed`` for that, RFC 8285 6). Padded with
    zeros to whole words. No elements give ``b""``. Raises :class:`ValueError` on an id that is repeated or
    not within 1 to 255, an element longer than 255 bytes, or too many elements.
    """
    elements = list(elements)
    if not elements:
        return b""
    if len(elements) > MAX_ELEMENTS:
        raise ValueError("too many header extension elements")
    if len({identifier for identifier, _ in elements}) != len(elements):
        raise ValueError("repeated header extension id")
    one_byte = True
    for identifier, value in elements:
        if not (0 < identifier <= MAX_TWO_BYTE_ID and len(value) <= MAX_TWO_BYTE_LENGTH):
            raise ValueError("header extension id or length out of range")
        if identifier > MAX_ONE_BYTE_ID or not 0 < len(value) <= MAX_ONE_BYTE_LENGTH:
            one_byte = False
    body = bytearray()
    for identifier, value in elements:
        if one_byte:
            body.append(identifier << 4 | len(value) - 1)
        else:
            body += bytes((identifier, len(value)))
        body += value
    body += bytes(-len(body) % 4)
    return extension_header(ONE_BYTE_PROFILE if one_byte else TWO_BYTE_PROFILE, len(body)) + bytes(body)


def extension_header(profile: int, length: int) -> bytes:
    """The four bytes before an extension's body of ``length`` bytes (RFC 3550 5.3.1).

    Raises :class:`ValueError` unless ``length`` is a multiple of 4 that the field can hold.
    """
    if length % 4 or not 0 <= length <= MAX_EXTENSION_SIZE:
        raise ValueError("header extension length out of range")
    return (profile << 16 | length >> 2).to_bytes(4, "big")


# --- elements -------------------------------------------------------------------------------------

ABS_SEND_TIME_MODULUS: Final = 64.0
"""Seconds after which an abs-send-time repeats."""
MAX_PLAYOUT_DELAY: Final = 0xFFF
"""In units of 10 ms."""

_ABS_SEND_TIME_UNIT: Final = 1 << 18
_ROTATIONS: Final = (0, 90, 180, 270)
_Q32: Final = 1 << 32


def _expect(value: bytes, *lengths: int) -> None:
    if len(value) not in lengths:
        raise RtpError("header extension element has the wrong length")


def decode_text_untrusted(value: bytes) -> str:
    """A MID (RFC 9143 15.1), RID or repaired RID (RFC 8852 3.1, 3.2): UTF-8, not empty (RFC 7941 4.1)."""
    if not value:
        raise RtpError("empty text in a header extension")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise RtpError("text in a header extension is not UTF-8") from None


def encode_text(text: str) -> bytes:
    """The inverse of :func:`decode_text_untrusted`. Raises :class:`ValueError` unless 1 to 255 bytes."""
    value = text.encode()
    if not 0 < len(value) <= MAX_TWO_BYTE_LENGTH:
        raise ValueError("text does not fit a header extension element")
    return value


def decode_abs_send_time_untrusted(value: bytes) -> float:
    """When the packet was sent, in seconds modulo 64, in steps of 2^-18 s (3.8 us): 24 bits of 6.18."""
    _expect(value, 3)
    return int.from_bytes(value, "big") / _ABS_SEND_TIME_UNIT


def encode_abs_send_time(now: float) -> bytes:
    """``now`` in seconds on any clock, reduced modulo 64."""
    return (int(now * _ABS_SEND_TIME_UNIT) & 0xFFFFFF).to_bytes(3, "big")


def decode_transport_sequence_untrusted(value: bytes) -> int:
    """The transport-wide sequence number, 16 bits (draft-holmer-rmcat-transport-wide-cc-extensions-01 2)."""
    _expect(value, 2)
    return value[0] << 8 | value[1]


def encode_transport_sequence(number: int) -> bytes:
    """``number`` modulo 2^16."""
    return (number & 0xFFFF).to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class AudioLevel:
    """Client-to-mixer audio level (RFC 6464 3)."""

    voice: bool
    """The V bit: the sender believes that the packet holds speech."""
    level: int
    """0 to 127, the level below full scale in dB: 0 is loudest, 127 is silence."""


def decode_audio_level_untrusted(value: bytes) -> AudioLevel:
    """In the two-byte form a padding byte may follow, so 2 bytes are accepted (RFC 6464 3)."""
    _expect(value, 1, 2)
    return AudioLevel(value[0] >= 0x80, value[0] & 0x7F)


def encode_audio_level(level: AudioLevel) -> bytes:
    """Raises :class:`ValueError` unless the level is 0 to 127."""
    if not 0 <= level.level <= 127:
        raise ValueError("audio level out of range")
    return bytes((level.voice << 7 | level.level,))


@dataclass(frozen=True, slots=True)
class VideoOrientation:
    """Coordination of video orientation (3GPP TS 26.114 7.4.5), one byte ``0 0 0 0 C F R1 R0``."""

    back_camera: bool
    """C: the back-facing camera, if that is known."""
    flip: bool
    """F: mirrored horizontally."""
    rotation: int
    """Degrees by which the receiver turns the picture clockwise: 0, 90, 180 or 270."""


def decode_video_orientation_untrusted(value: bytes) -> VideoOrientation:
    """Unused bits are ignored."""
    _expect(value, 1)
    bits = value[0]
    return VideoOrientation(bool(bits & 8), bool(bits & 4), _ROTATIONS[bits & 3])


def encode_video_orientation(orientation: VideoOrientation) -> bytes:
    """Raises :class:`ValueError` on a rotation that is no multiple of 90 degrees."""
    rotation = _ROTATIONS.index(orientation.rotation)
    return bytes((orientation.back_camera << 3 | orientation.flip << 2 | rotation,))


def decode_toffset_untrusted(value: bytes) -> int:
    """Transmission time minus the time of the RTP timestamp, signed, in RTP clock units (RFC 5450 2)."""
    _expect(value, 3)
    return int.from_bytes(value, "big", signed=True)


def encode_toffset(offset: int) -> bytes:
    """Raises :class:`ValueError` unless ``offset`` fits 24 bits signed."""
    if not -(1 << 23) <= offset < 1 << 23:
        raise ValueError("transmission offset out of range")
    return offset.to_bytes(3, "big", signed=True)


@dataclass(frozen=True, slots=True)
class AbsCaptureTime:
    """When the first sample of the packet was captured (abs-capture-time), in the capturer's NTP clock."""

    timestamp: int
    """NTP time, unsigned 32.32 fixed point."""
    clock_offset: int | None = None
    """The capturer's NTP clock minus the sender's, signed 32.32 fixed point, if the sender knows it."""

    @property
    def seconds(self) -> float:
        """Seconds since 1900."""
        return self.timestamp / _Q32

    @property
    def clock_offset_seconds(self) -> float | None:
        """``clock_offset`` in seconds."""
        return None if self.clock_offset is None else self.clock_offset / _Q32


def decode_abs_capture_time_untrusted(value: bytes) -> AbsCaptureTime:
    """8 bytes, or 16 with the clock offset."""
    _expect(value, 8, 16)
    offset = int.from_bytes(value[8:], "big", signed=True) if len(value) == 16 else None
    return AbsCaptureTime(int.from_bytes(value[:8], "big"), offset)


def encode_abs_capture_time(time: AbsCaptureTime) -> bytes:
    """Raises :class:`OverflowError` on a field that does not fit 64 bits."""
    value = time.timestamp.to_bytes(8, "big")
    return value if time.clock_offset is None else value + time.clock_offset.to_bytes(8, "big", signed=True)


@dataclass(frozen=True, slots=True)
class PlayoutDelay:
    """Least and greatest playout delay that the sender wishes, in units of 10 ms (12 bits each)."""

    minimum: int
    maximum: int


def decode_playout_delay_untrusted(value: bytes) -> PlayoutDelay:
    """Raises :class:`RtpError` also if the least exceeds the greatest."""
    _expect(value, 3)
    bits = int.from_bytes(value, "big")
    minimum, maximum = bits >> 12, bits & MAX_PLAYOUT_DELAY
    if minimum > maximum:
        raise RtpError("playout delay: minimum above maximum")
    return PlayoutDelay(minimum, maximum)


def encode_playout_delay(delay: PlayoutDelay) -> bytes:
    """Raises :class:`ValueError` unless 0 <= minimum <= maximum <= 4095."""
    if not 0 <= delay.minimum <= delay.maximum <= MAX_PLAYOUT_DELAY:
        raise ValueError("playout delay out of range")
    return (delay.minimum << 12 | delay.maximum).to_bytes(3, "big")

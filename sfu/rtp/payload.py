"""The little that forwarding needs to know of codecs: where a key frame begins, and what is silence.

Nothing here raises: a payload that makes no sense begins no key frame. Each function looks at a bounded
number of bytes, of which the longest are the units of an H264 aggregate.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

OPUS_DTX_SIZE: Final = 2
"""Bytes of the longest Opus packet that holds no sound."""
MAX_AGGREGATED_UNITS: Final = 32
"""NAL units looked at in one STAP-A: parameter sets and the picture come first, if at all."""


class VideoCodec(enum.StrEnum):
    """Video codecs by their mime types in lower case."""

    VP8 = "video/vp8"
    VP9 = "video/vp9"
    H264 = "video/h264"
    AV1 = "video/av1"

    @classmethod
    def from_mime_type(cls, mime_type: str) -> VideoCodec | None:
        """The codec of a mime type in any case, ``None`` if key frames cannot be found in it."""
        try:
            return cls(mime_type.lower())
        except ValueError:
            return None


def opus_is_dtx(payload: bytes) -> bool:
    """Whether an Opus packet is discontinuous transmission's silence: at most 2 bytes (RFC 7587 3.1.3).

    The encoder sends one such packet in 400 ms of silence; an empty payload is no Opus packet (RFC 6716 3.1).
    """
    return 0 < len(payload) <= OPUS_DTX_SIZE


def _vp8(payload: bytes) -> bool:
    """First partition's start, and the P bit of the frame header clear (RFC 7741 4.2, 4.3)."""
    if not payload or payload[0] & 0x17 != 0x10:  # S set, partition index 0
        return False
    at = 1
    if payload[0] & 0x80:  # X
        if len(payload) < 2:
            return False
        extension = payload[1]
        at = 2
        if extension & 0x80:  # I: a picture id of one or two bytes
            if len(payload) < 3:
                return False
            at += 2 if payload[2] & 0x80 else 1
        if extension & 0x40:  # L
            at += 1
        if extension & 0x30:  # T or K
            at += 1
    return len(payload) > at and not payload[at] & 0x01


def _vp9(payload: bytes) -> bool:
    """Start of a frame that predicts from no other, in the lowest spatial layer (RFC 9628 4.2)."""
    if not payload or payload[0] & 0x48 != 0x08:  # P clear, B set
        return False
    first, at = payload[0], 1
    if first & 0x80:  # I: a picture id of one or two bytes
        if len(payload) < 2:
            return False
        at += 2 if payload[1] & 0x80 else 1
    if first & 0x20:  # L: temporal id, U, spatial id, D; then TL0PICIDX unless flexible
        if len(payload) <= at or payload[at] & 0x0E:
            return False
        at += 1 if first & 0x10 else 2
    return len(payload) > at


_NAL_IDR: Final = 5
_NAL_SPS: Final = 7
_NAL_STAP_A: Final = 24
_NAL_FU_A: Final = 28
_NAL_KEY: Final = frozenset((_NAL_IDR, _NAL_SPS))


def _h264(payload: bytes) -> bool:
    """A NAL unit of type IDR or SPS: alone, aggregated, or the first of its fragments (RFC 6184 5)."""
    if len(payload) < 2:
        return False
    kind = payload[0] & 0x1F
    if kind == _NAL_FU_A:
        return payload[1] >= 0x80 and payload[1] & 0x1F in _NAL_KEY
    if kind != _NAL_STAP_A:
        return kind in _NAL_KEY
    at, end = 1, len(payload)
    for _ in range(MAX_AGGREGATED_UNITS):
        if at + 2 >= end:
            return False
        size = payload[at] << 8 | payload[at + 1]
        at += 2
        if not size or at + size > end:
            return False
        if payload[at] & 0x1F in _NAL_KEY:
            return True
        at += size
    return False


def _av1(payload: bytes) -> bool:
    """First packet of a coded video sequence: N set, Z clear in the aggregation header (AV1 RTP 4.4)."""
    return len(payload) > 1 and payload[0] & 0x88 == 0x08


_KEYFRAME_START: Final[dict[VideoCodec, Callable[[bytes], bool]]] = {
    VideoCodec.VP8: _vp8,
    VideoCodec.VP9: _vp9,
    VideoCodec.H264: _h264,
    VideoCodec.AV1: _av1,
}


def is_keyframe_start(codec: VideoCodec, payload: bytes) -> bool:
    """Whether an RTP payload is the first of a key frame: a place where a receiver may start or switch.

    For H264 that is a packet with (the beginning of) a sequence parameter set or an IDR slice, so the packets
    of one key frame may give ``True`` more than once; the first that does is the place.
    """
    return _KEYFRAME_START[codec](payload)

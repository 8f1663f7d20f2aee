"""The codecs that forwarding knows something of, and what is silence in Opus."""

from __future__ import annotations

import enum
from typing import Final

OPUS_DTX_SIZE: Final = 2
"""Bytes of the longest Opus packet that holds no sound."""


class VideoCodec(enum.StrEnum):
    """Video codecs by their mime types in lower case."""

    VP8 = "video/vp8"
    VP9 = "video/vp9"
    H264 = "video/h264"
    AV1 = "video/av1"

    @classmethod
    def from_mime_type(cls, mime_type: str) -> VideoCodec | None:
        """The codec of a mime type in any case, ``None`` if its payload cannot be read."""
        try:
            return cls(mime_type.lower())
        except ValueError:
            return None


def opus_is_dtx(payload: bytes) -> bool:
    """Whether an Opus packet is discontinuous transmission's silence: at most 2 bytes (RFC 7587 3.1.3).

    The encoder sends one such packet in 400 ms of silence; an empty payload is no Opus packet (RFC 6716 3.1).
    """
    return 0 < len(payload) <= OPUS_DTX_SIZE

"""What our router can route: codecs and header extensions, as a constant for all rooms.

Ids and payload types are part of the contract with clients: a client loads them once, before it joins a room.
"""

from __future__ import annotations

from collections.abc import Sequence

from sfu.media.parameters import (
    CodecCapability,
    CodecSettings,
    Direction,
    HeaderExtension,
    Kind,
    OrtcError,
    RtcpFeedback,
    RtpCapabilities,
)
from sfu.rtp.extensions import ExtensionUri

FIRST_PAYLOAD_TYPE = 100

HEADER_EXTENSIONS: tuple[tuple[Kind, ExtensionUri, int, Direction], ...] = (
    ("audio", ExtensionUri.MID, 1, "sendrecv"),
    ("video", ExtensionUri.MID, 1, "sendrecv"),
    ("video", ExtensionUri.RTP_STREAM_ID, 2, "recvonly"),
    ("video", ExtensionUri.REPAIRED_RTP_STREAM_ID, 3, "recvonly"),
    ("audio", ExtensionUri.ABS_SEND_TIME, 4, "sendrecv"),
    ("video", ExtensionUri.ABS_SEND_TIME, 4, "sendrecv"),
    ("audio", ExtensionUri.TRANSPORT_WIDE_CC, 5, "recvonly"),
    ("video", ExtensionUri.TRANSPORT_WIDE_CC, 5, "sendrecv"),
    ("audio", ExtensionUri.AUDIO_LEVEL, 6, "sendrecv"),
    ("video", ExtensionUri.DEPENDENCY_DESCRIPTOR, 7, "recvonly"),
    ("video", ExtensionUri.VIDEO_ORIENTATION, 8, "sendrecv"),
    ("video", ExtensionUri.TOFFSET, 9, "sendrecv"),
    ("audio", ExtensionUri.ABS_CAPTURE_TIME, 10, "sendrecv"),
    ("video", ExtensionUri.ABS_CAPTURE_TIME, 10, "sendrecv"),
    ("audio", ExtensionUri.PLAYOUT_DELAY, 11, "sendrecv"),
    ("video", ExtensionUri.PLAYOUT_DELAY, 11, "sendrecv"),
    ("audio", ExtensionUri.MEDIASOUP_PACKET_ID, 12, "sendrecv"),
    ("video", ExtensionUri.MEDIASOUP_PACKET_ID, 12, "sendrecv"),
)
"""Directions are the router's: ``recvonly`` ones are read and never passed on."""

AUDIO_FEEDBACK = (RtcpFeedback("nack"), RtcpFeedback("transport-cc"))
VIDEO_FEEDBACK = (
    RtcpFeedback("nack"),
    RtcpFeedback("nack", "pli"),
    RtcpFeedback("ccm", "fir"),
    RtcpFeedback("goog-remb"),
    RtcpFeedback("transport-cc"),
)

VIDEO_CODECS: dict[str, CodecSettings] = {
    "VP9": {},
    "H264": {"packetization-mode": 1, "level-asymmetry-allowed": 1, "profile-level-id": "42e01f"},
    "VP8": {},
    "AV1": {},
}
"""In the order of preference: a browser uses the first one that it can send."""


def router_capabilities(video_codecs: Sequence[str] = tuple(VIDEO_CODECS)) -> RtpCapabilities:
    """Opus and the given video codecs, each video codec with its RTX.

    Payload types count up from 100 in the order given, so that Opus is 100 and VP9, when first, 101 with RTX
    102. Raises :class:`OrtcError` for a codec we do not know.
    """
    codecs = [
        CodecCapability(
            kind="audio",
            mime_type="audio/opus",
            clock_rate=48000,
            channels=2,
            rtcp_feedback=list(AUDIO_FEEDBACK),
            parameters={"useinbandfec": 1, "stereo": 1},
            preferred_payload_type=FIRST_PAYLOAD_TYPE,
        )
    ]
    known = {name.lower(): name for name in VIDEO_CODECS}
    payload_type = FIRST_PAYLOAD_TYPE + 1
    for wanted in video_codecs:
        name = known.get(wanted.lower())
        if name is None:
            raise OrtcError(f"unknown video codec {wanted!r}: choose from {', '.join(VIDEO_CODECS)}")
        codecs.append(
            CodecCapability(
                kind="video",
                mime_type=f"video/{name}",
                clock_rate=90000,
                rtcp_feedback=list(VIDEO_FEEDBACK),
                parameters=dict(VIDEO_CODECS[name]),
                preferred_payload_type=payload_type,
            )
        )
        codecs.append(
            CodecCapability(
                kind="video",
                mime_type="video/rtx",
                clock_rate=90000,
                parameters={"apt": payload_type},
                preferred_payload_type=payload_type + 1,
            )
        )
        payload_type += 2
    extensions = [
        HeaderExtension(kind=kind, uri=str(uri), preferred_id=preferred_id, direction=direction)
        for kind, uri, preferred_id, direction in HEADER_EXTENSIONS
    ]
    return RtpCapabilities(codecs=codecs, header_extensions=extensions)

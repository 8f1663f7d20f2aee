"""Mime types and Opus silence."""

from __future__ import annotations

from sfu.rtp.payload import VideoCodec, opus_is_dtx


def test_mime_types() -> None:
    assert VideoCodec.from_mime_type("video/VP9") is VideoCodec.VP9
    assert VideoCodec.from_mime_type("video/H264") is VideoCodec.H264
    assert VideoCodec.from_mime_type("VIDEO/AV1") is VideoCodec.AV1
    for other in ("audio/opus", "video/rtx", "video/H265", "", "vp8"):
        assert VideoCodec.from_mime_type(other) is None


def test_opus_dtx() -> None:
    assert [opus_is_dtx(bytes(size)) for size in range(5)] == [False, True, True, False, False]

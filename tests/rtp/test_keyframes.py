"""Where key frames begin, by payload descriptor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.layers import MAX_AGGREGATED_UNITS, read_layers
from sfu.rtp.payload import VideoCodec

CASES: list[tuple[VideoCodec, str, bool, str]] = [
    # Descriptor, then the first byte of the frame header: bit 0 is clear in a key frame (RFC 7741).
    (VideoCodec.VP8, "10 50", True, "no extension"),
    (VideoCodec.VP8, "10 51", False, "interframe"),
    (VideoCodec.VP8, "00 50", False, "S clear: not the first packet"),
    (VideoCodec.VP8, "11 50", False, "second partition"),
    (VideoCodec.VP8, "30 50", True, "non-reference bit is no matter"),
    (VideoCodec.VP8, "90 80 15 50", True, "7-bit picture id"),
    (VideoCodec.VP8, "90 80 9234 50", True, "15-bit picture id"),
    (VideoCodec.VP8, "90 e0 9234 05 20 50", True, "as Chromium: picture id, TL0PICIDX, TID"),
    (VideoCodec.VP8, "90 e0 9234 05 20 51", False, "as Chromium, interframe"),
    (VideoCodec.VP8, "90 10 21 50", True, "KEYIDX alone"),
    (VideoCodec.VP8, "90 00 50", True, "extension byte with nothing"),
    (VideoCodec.VP8, "50 50", True, "reserved bit of the first byte"),
    (VideoCodec.VP8, "90 8f 15 50", True, "reserved bits of the extension"),
    (VideoCodec.VP8, "10", False, "descriptor only"),
    (VideoCodec.VP8, "90", False, "extension cut off"),
    (VideoCodec.VP8, "90 80", False, "picture id cut off"),
    (VideoCodec.VP8, "90 80 92", False, "second byte of the picture id cut off"),
    (VideoCodec.VP8, "90 e0 9234 05 20", False, "no frame behind the descriptor"),
    # I P L F B E V Z (RFC 9628).
    (VideoCodec.VP9, "08 82", True, "B alone"),
    (VideoCodec.VP9, "88 01 82", True, "7-bit picture id"),
    (VideoCodec.VP9, "8a 8123 00 82", True, "15-bit picture id and scalability structure"),
    (VideoCodec.VP9, "c8 8123 82", False, "P: predicted"),
    (VideoCodec.VP9, "80 8123 82", False, "B clear: not the first packet"),
    (VideoCodec.VP9, "a8 8123 00 05 82", True, "layer 0, not flexible"),
    (VideoCodec.VP9, "b8 8123 00 82", True, "layer 0, flexible"),
    (VideoCodec.VP9, "b8 8123 02 82", False, "spatial layer 1"),
    (VideoCodec.VP9, "a8 8123 13 05 82", False, "spatial layer 1 on inter-layer prediction"),
    (VideoCodec.VP9, "a8 8123 31 05 82", True, "D in the lowest layer means nothing"),
    (VideoCodec.VP9, "28 00 05 82", True, "layers without picture id"),
    (VideoCodec.VP9, "09 82", True, "Z: not a reference for upper layers"),
    (VideoCodec.VP9, "0c 82", True, "E: one packet is the whole frame"),
    (VideoCodec.VP9, "08", False, "descriptor only"),
    (VideoCodec.VP9, "88", False, "picture id cut off"),
    (VideoCodec.VP9, "88 81", False, "second byte of the picture id cut off"),
    (VideoCodec.VP9, "a8 8123", False, "layer byte cut off"),
    (VideoCodec.VP9, "a8 8123 00", False, "TL0PICIDX cut off"),
    (VideoCodec.VP9, "a8 8123 00 05", False, "no frame behind the descriptor"),
    # RFC 6184.
    (VideoCodec.H264, "65 88", True, "IDR"),
    (VideoCodec.H264, "67 42", True, "SPS"),
    (VideoCodec.H264, "68 ce", False, "PPS"),
    (VideoCodec.H264, "41 9a", False, "non-IDR slice"),
    (VideoCodec.H264, "06 05", False, "SEI"),
    (VideoCodec.H264, "78 0002 6742 0002 68ce", True, "STAP-A with SPS"),
    (VideoCodec.H264, "78 0001 09 0002 6742", True, "STAP-A: delimiter, then SPS"),
    (VideoCodec.H264, "78 0002 68ce 0002 6588", True, "STAP-A with IDR"),
    (VideoCodec.H264, "78 0002 68ce 0002 419a", False, "STAP-A without"),
    (VideoCodec.H264, "78 0000 0002 6742", False, "STAP-A with an empty unit"),
    (VideoCodec.H264, "78 0003 6742", False, "STAP-A unit overflows"),
    (VideoCodec.H264, "78 00", False, "STAP-A size cut off"),
    (VideoCodec.H264, "78 0001", False, "STAP-A without a unit"),
    (VideoCodec.H264, "7c 85 88", True, "FU-A, first fragment of an IDR"),
    (VideoCodec.H264, "7c 87 42", True, "FU-A, first fragment of an SPS"),
    (VideoCodec.H264, "7c 05 88", False, "FU-A, middle"),
    (VideoCodec.H264, "7c 45 88", False, "FU-A, last"),
    (VideoCodec.H264, "7c 81 9a", False, "FU-A, first fragment of another slice"),
    (VideoCodec.H264, "7c", False, "FU-A cut off"),
    (VideoCodec.H264, "65", False, "a NAL header alone"),
    # Z Y W W N (AV1 RTP 4.4).
    (VideoCodec.AV1, "08 0a", True, "new coded video sequence"),
    (VideoCodec.AV1, "18 0a", True, "with W"),
    (VideoCodec.AV1, "48 0a", True, "last element goes on in the next packet"),
    (VideoCodec.AV1, "00 0a", False, "N clear"),
    (VideoCodec.AV1, "88 0a", False, "N together with a continued element makes no sense"),
    (VideoCodec.AV1, "0f 0a", True, "reserved bits"),
    (VideoCodec.AV1, "08", False, "aggregation header only"),
]


def is_keyframe(codec: VideoCodec, payload: bytes) -> bool:
    return read_layers(codec, payload).keyframe


@pytest.mark.parametrize(
    ("codec", "payload", "expected"), [pytest.param(*c[:3], id=f"{c[0].name} {c[3]}") for c in CASES]
)
def test_keyframe(codec: VideoCodec, payload: str, expected: bool) -> None:
    assert is_keyframe(codec, bytes.fromhex(payload)) is expected


def test_aggregate_cap() -> None:
    """Attack 19: a STAP-A of hundreds of one-byte units."""
    other, sps = b"\0\x01\x09", b"\0\x01\x67"
    assert is_keyframe(VideoCodec.H264, b"\x78" + other * (MAX_AGGREGATED_UNITS - 1) + sps)
    assert not is_keyframe(VideoCodec.H264, b"\x78" + other * MAX_AGGREGATED_UNITS + sps)


@given(
    st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans()
)
def test_any_vp8_descriptor(
    extended: bool, picture: bool, long_picture: bool, tl0: bool, temporal: bool, key: bool, inter: bool
) -> None:
    """Every combination of optional fields, built by the grammar (RFC 7741 4.2)."""
    payload = bytes((0x80 * extended | 0x10,))
    if extended:
        payload += bytes((0x80 * picture | 0x40 * tl0 | 0x20 * temporal | 0x10 * key,))
        if picture:
            payload += b"\x81\x23" if long_picture else b"\x23"
        payload += b"\x05" * tl0 + b"\x20" * (temporal or key)
    assert is_keyframe(VideoCodec.VP8, payload + bytes((0x50 | inter,))) is not inter
    assert not is_keyframe(VideoCodec.VP8, payload)


@given(*[st.booleans()] * 5, st.integers(0, 7), st.integers(0, 7), st.booleans())
def test_any_vp9_descriptor(
    picture: bool,
    long_picture: bool,
    predicted: bool,
    layers: bool,
    flexible: bool,
    temporal: int,
    spatial: int,
    begin: bool,
) -> None:
    """Every combination of optional fields in front of the frame (RFC 9628 4.2)."""
    payload = bytes((0x80 * picture | 0x40 * predicted | 0x20 * layers | 0x10 * flexible | 0x08 * begin,))
    if picture:
        payload += b"\x81\x23" if long_picture else b"\x23"
    if layers:
        payload += bytes((temporal << 5 | spatial << 1,)) + (b"" if flexible else b"\x05")
    expected = begin and not predicted and not (layers and spatial)
    assert is_keyframe(VideoCodec.VP9, payload + b"\x82") is expected
    assert not is_keyframe(VideoCodec.VP9, payload)

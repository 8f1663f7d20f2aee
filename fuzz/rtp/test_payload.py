"""Any payload is a key frame's start or not: nothing raises, and what follows later bytes does not matter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.packet import RtpError, parse_untrusted
from sfu.rtp.payload import VideoCodec, is_keyframe_start, opus_is_dtx
from sfu.rtp.rtx import build_rtx, recover_untrusted


@pytest.mark.parametrize("codec", list(VideoCodec))
@given(payload=st.binary(max_size=100), more=st.binary(max_size=20))
def test_any_payload(codec: VideoCodec, payload: bytes, more: bytes) -> None:
    found = is_keyframe_start(codec, payload)
    assert isinstance(found, bool)
    if found:  # cutting a frame elsewhere does not hide that it begins here
        assert is_keyframe_start(codec, payload + more)
    assert opus_is_dtx(payload) is (0 < len(payload) < 3)


@given(st.binary(min_size=12, max_size=80), st.integers(0, 63))
def test_any_rtx(data: bytes, first: int) -> None:
    try:
        packet = parse_untrusted(bytes((0x80 | first,)) + data[1:])
        original = recover_untrusted(packet, ssrc=1, payload_type=2)
    except RtpError:
        return
    if original is None:
        assert packet.payload_length == 0
        return
    assert (original.ssrc, original.payload_type) == (1, 2)
    header, payload = build_rtx(
        original,
        ssrc=packet.ssrc,
        payload_type=packet.payload_type,
        sequence_number=packet.sequence_number,
    )
    assert payload == packet.payload
    assert header[1:] == packet.header[1:]

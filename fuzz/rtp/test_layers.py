"""Any payload has layers or none: nothing raises, numbers fit their fields, reading undoes rewriting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.layers import PacketLayers, read_layers, rewrite_vp8
from sfu.rtp.payload import VideoCodec


def fields(layers: PacketLayers) -> dict[str, object]:
    return {name: getattr(layers, name) for name in layers.__slots__}


@pytest.mark.parametrize("codec", list(VideoCodec))
@given(payload=st.binary(max_size=100), more=st.binary(max_size=20))
def test_any_payload(codec: VideoCodec, payload: bytes, more: bytes) -> None:
    layers = read_layers(codec, payload)
    assert 0 <= layers.spatial <= 7
    assert 0 <= layers.temporal <= 7
    assert layers.picture_id_bits in (0, 7, 15)
    assert (layers.picture_id is None) is (layers.picture_id_bits == 0)
    assert layers.picture_id is None or 0 <= layers.picture_id < 1 << layers.picture_id_bits
    assert layers.tl0_index is None or 0 <= layers.tl0_index <= 255
    assert layers.targets == layers.switches == 0
    if layers.keyframe or not layers.temporal:
        assert layers.switch_up
    if layers.keyframe:
        assert not layers.predicted
        # Cutting a frame elsewhere does not hide that it begins here.
        assert read_layers(codec, payload + more).keyframe


@given(st.binary(min_size=4, max_size=40), st.integers(0, 1 << 20), st.integers(0, 1 << 10))
def test_rewrite(payload: bytes, picture_id: int, tl0_index: int) -> None:
    for data in (payload, bytes((payload[0] | 0x80, payload[1] | 0xC0)) + payload[2:]):
        before = read_layers(VideoCodec.VP8, data)
        written = rewrite_vp8(data, before, picture_id, tl0_index)
        assert len(written) == len(data)
        after = read_layers(VideoCodec.VP8, written)
        expected = fields(before)
        if before.picture_id is not None:
            expected["picture_id"] = picture_id % (1 << before.picture_id_bits)
        if before.tl0_index is not None:
            expected["tl0_index"] = tl0_index % 256
        assert fields(after) == expected
        restored = rewrite_vp8(written, after, before.picture_id or 0, before.tl0_index or 0)
        assert restored == data

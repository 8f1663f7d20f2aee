"""RFC 4571 framing: examples, caps, and that chunks do not matter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.ice.framing import MAX_FRAME_SIZE, MAX_LENGTH_FIELD, FrameDecoder, FramingError, encode_frame


def test_example() -> None:
    assert encode_frame(b"abc") == b"\x00\x03abc"
    decoder = FrameDecoder()
    assert decoder.receive_data_untrusted(b"\x00\x03abc\x00\x01d") == [b"abc", b"d"]
    assert decoder.buffered == 0


def test_byte_by_byte() -> None:
    decoder = FrameDecoder()
    stream = encode_frame(b"abc") + encode_frame(b"de")
    got = [decoder.receive_data_untrusted(bytes([byte])) for byte in stream]
    assert got == [[], [], [], [], [b"abc"], [], [], [], [b"de"]]


def test_empty_frames_are_skipped() -> None:
    assert FrameDecoder().receive_data_untrusted(b"\0\0" * 1000 + b"\0\1x" + b"\0\0") == [b"x"]


def test_empty_chunk() -> None:
    decoder = FrameDecoder()
    decoder.receive_data_untrusted(b"\0\2x")
    assert decoder.receive_data_untrusted(b"") == []
    assert decoder.buffered == 3


def test_largest_frame() -> None:
    frame = bytes(MAX_FRAME_SIZE)
    assert FrameDecoder().receive_data_untrusted(encode_frame(frame)) == [frame]
    largest = bytes(MAX_LENGTH_FIELD)
    assert FrameDecoder(MAX_LENGTH_FIELD).receive_data_untrusted(encode_frame(largest)) == [largest]


def test_too_large_is_refused_by_its_length_alone() -> None:
    decoder = FrameDecoder()
    with pytest.raises(FramingError, match="4097"):
        decoder.receive_data_untrusted((MAX_FRAME_SIZE + 1).to_bytes(2, "big"))


def test_a_failed_stream_stays_failed() -> None:
    decoder = FrameDecoder(10)
    decoder.receive_data_untrusted(encode_frame(b"good")[:3])
    assert decoder.buffered == 3
    with pytest.raises(FramingError):
        decoder.receive_data_untrusted(encode_frame(b"good")[3:] + encode_frame(bytes(11)))
    assert decoder.buffered == 0
    with pytest.raises(FramingError):
        decoder.receive_data_untrusted(encode_frame(b"good"))


def test_smallest_cap() -> None:
    decoder = FrameDecoder(1)
    assert decoder.receive_data_untrusted(encode_frame(b"x")) == [b"x"]
    with pytest.raises(FramingError):
        decoder.receive_data_untrusted(encode_frame(b"xy"))


@pytest.mark.parametrize("cap", [0, -1, MAX_LENGTH_FIELD + 1])
def test_cap_out_of_range(cap: int) -> None:
    with pytest.raises(ValueError):
        FrameDecoder(cap)


def test_packet_too_long_to_encode() -> None:
    assert len(encode_frame(bytes(MAX_LENGTH_FIELD))) == MAX_LENGTH_FIELD + 2
    with pytest.raises(ValueError):
        encode_frame(bytes(MAX_LENGTH_FIELD + 1))


def test_buffer_never_exceeds_one_frame() -> None:
    decoder = FrameDecoder(100)
    frame = encode_frame(bytes(100))
    for _ in range(3):
        for byte in frame[:-1]:
            decoder.receive_data_untrusted(bytes([byte]))
            assert decoder.buffered <= 101
        assert decoder.receive_data_untrusted(frame[-1:]) == [bytes(100)]


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_round_trip(packets: list[bytes]) -> None:
    stream = b"".join(map(encode_frame, packets))
    assert FrameDecoder().receive_data_untrusted(stream) == [packet for packet in packets if packet]

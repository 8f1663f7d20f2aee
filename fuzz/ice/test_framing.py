"""Any stream gives frames or FramingError, the same ones however it is cut, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sfu.ice.framing import FrameDecoder, FramingError, encode_frame

CAP = 64


def streams() -> st.SearchStrategy[bytes]:
    """Mostly frames, some of them too large, and junk."""
    frames = st.binary(max_size=CAP + 2).map(encode_frame)
    return st.lists(frames | st.binary(max_size=5), max_size=12).map(b"".join)


def decode(chunks: list[bytes]) -> tuple[list[bytes], bool]:
    """The frames, and whether the stream failed."""
    decoder = FrameDecoder(CAP)
    frames: list[bytes] = []
    for chunk in chunks:
        try:
            frames += decoder.receive_data_untrusted(chunk)
        except FramingError:
            return frames, True
        assert decoder.buffered <= CAP + 1
    return frames, False


@given(streams(), st.data())
def test_whole_and_split_agree(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, whole_failed = decode([stream])
    split, split_failed = decode(chunks)
    single, single_failed = decode([stream[index : index + 1] for index in range(len(stream))])
    assert whole_failed == split_failed == single_failed
    if not whole_failed:
        assert whole == split == single
    # Where the stream fails, a chunk takes the frames before the failure with it; order and contents agree.
    assert split == single[: len(split)]
    assert all(0 < len(frame) <= CAP for frame in single)

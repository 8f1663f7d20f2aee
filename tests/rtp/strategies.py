"""Hypothesis strategies for RTP."""

from __future__ import annotations

from hypothesis import strategies as st

from sfu.rtp.extensions import build_extension
from sfu.rtp.packet import build_header, build_padding

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
ssrcs = u32

one_byte_elements = st.dictionaries(st.integers(1, 14), st.binary(min_size=1, max_size=16), max_size=6)
two_byte_elements = st.dictionaries(st.integers(1, 255), st.binary(max_size=255), max_size=4)
elements = st.one_of(one_byte_elements, two_byte_elements)


@st.composite
def headers(draw: st.DrawFn, sequence_number: int, ssrc: int, *, padding: bool = False) -> bytes:
    """A header with any CSRCs and any extension."""
    return build_header(
        payload_type=draw(st.integers(0, 127)),
        sequence_number=sequence_number,
        timestamp=draw(u32),
        ssrc=ssrc,
        marker=draw(st.booleans()),
        padding=padding,
        csrc=tuple(draw(st.lists(u32, max_size=15))),
        extension=build_extension(draw(one_byte_elements).items()),
    )


@st.composite
def payloads(draw: st.DrawFn, max_size: int = 1100) -> bytes:
    """Bytes of any size, cheap to draw."""
    size = draw(st.one_of(st.integers(0, 40), st.integers(0, max_size)))
    pattern = draw(st.binary(min_size=1, max_size=8))
    return (pattern * (size // len(pattern) + 1))[:size]


@st.composite
def packets(draw: st.DrawFn, sequence_number: int, ssrc: int) -> tuple[bytes, bytes]:
    """``(header, payload with padding)``."""
    padding = draw(st.one_of(st.just(0), st.integers(1, 255)))
    header = draw(headers(sequence_number, ssrc, padding=bool(padding)))
    body = draw(payloads(800))
    return header, body + build_padding(padding) if padding else body

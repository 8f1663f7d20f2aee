"""Hypothesis strategies for RTCP packets, and one for each type."""

from __future__ import annotations

from hypothesis import strategies as st

from sfu.rtp.rtcp import (
    App,
    DelaySinceLastReceiverReport,
    ExtendedReport,
    FullIntraRequest,
    GenericNack,
    Goodbye,
    PictureLossIndication,
    ReceiverEstimatedMaximumBitrate,
    ReceiverReferenceTime,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SdesChunk,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    Unknown,
    UnknownBlock,
)
from tests.rtp.strategies import u8, u16, u32

u64 = st.integers(0, (1 << 64) - 1)
words = st.binary(max_size=40).map(lambda data: data[: len(data) // 4 * 4])

blocks = st.lists(
    st.builds(ReportBlock, u32, u8, st.integers(-(1 << 23), (1 << 23) - 1), u32, u32, u32, u32), max_size=31
).map(tuple)
items = st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=30)), max_size=4).map(tuple)
chunks = st.lists(st.builds(SdesChunk, u32, items), max_size=6).map(tuple)
ssrc_tuples = st.lists(u32, max_size=31).map(tuple)


@st.composite
def feedbacks(draw: st.DrawFn) -> TransportFeedback:
    """Any message that can be written: long runs, mixed vectors, small, large and negative differences."""
    count = draw(st.one_of(st.integers(1, 60), st.integers(1, 0xFFFF)))
    offsets = draw(st.sets(st.integers(0, count - 1), max_size=60))
    start, length = draw(st.tuples(st.integers(0, count - 1), st.integers(0, 40)))
    offsets |= set(range(start, min(start + length, count)))
    delta = st.one_of(st.integers(0, 255), st.integers(-0x8000, 0x7FFF))
    return TransportFeedback(
        draw(u32),
        draw(u32),
        draw(u16),
        count,
        draw(st.integers(-(1 << 23), (1 << 23) - 1)),
        draw(u8),
        tuple((offset, draw(delta)) for offset in sorted(offsets)),
    )


extended_blocks = st.lists(
    st.one_of(
        st.builds(ReceiverReferenceTime, u64),
        st.builds(DelaySinceLastReceiverReport, st.lists(st.tuples(u32, u32, u32), max_size=5).map(tuple)),
        st.builds(UnknownBlock, st.one_of(st.integers(0, 3), st.integers(6, 255)), u8, words),
    ),
    max_size=6,
).map(tuple)


def _has_18_bits(bitrate: int) -> int:
    shift = max(0, bitrate.bit_length() - 18)
    return bitrate >> shift << shift


packets: dict[str, st.SearchStrategy[RtcpPacket]] = {
    "SR": st.builds(SenderReport, u32, u64, u32, u32, u32, blocks),
    "RR": st.builds(ReceiverReport, u32, blocks),
    "SDES": st.builds(SourceDescription, chunks),
    "BYE": st.builds(Goodbye, ssrc_tuples, st.binary(max_size=255)),
    "APP": st.builds(App, st.integers(0, 31), u32, st.binary(min_size=4, max_size=4), words),
    "NACK": st.builds(
        GenericNack, u32, u32, st.lists(st.tuples(u16, u16), min_size=1, max_size=20).map(tuple)
    ),
    "transport-cc": feedbacks(),
    "PLI": st.builds(PictureLossIndication, u32, u32),
    "FIR": st.builds(FullIntraRequest, u32, st.lists(st.tuples(u32, u8), min_size=1, max_size=10).map(tuple)),
    "REMB": st.builds(ReceiverEstimatedMaximumBitrate, u32, u64.map(_has_18_bits), ssrc_tuples),
    "XR": st.builds(ExtendedReport, u32, extended_blocks),
    "type 208": st.builds(Unknown, st.just(208), st.integers(0, 31), st.binary(max_size=40)),
    "RTPFB 3": st.builds(Unknown, st.just(205), st.just(3), st.binary(max_size=40)),
    "AFB": st.builds(Unknown, st.just(206), st.just(15), st.binary(max_size=15)),
}
any_packet: st.SearchStrategy[RtcpPacket] = st.one_of(*packets.values())

"""Well-formed RTCP that says anything, from a host and a viewer: small answers, sane times, no exception."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sfu.media.objects import RoutedTransport
from sfu.media.repair_budget import REPAIR_BURST
from sfu.rtp.rtcp import (
    DelaySinceLastReceiverReport,
    ExtendedReport,
    FullIntraRequest,
    GenericNack,
    ReceiverEstimatedMaximumBitrate,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    compact_ntp,
    ntp_from_unix,
)
from sfu.rtp.rtcp.framing import MAX_COMPOUND_SIZE
from sfu.rtp.rtcp.ntp import MAX_ROUND_TRIP
from tests.rtp.rtcp.strategies import any_packet
from tests.rtp.strategies import u8, u16, u32
from tests.support.world import VIDEO_SSRC, VideoSource, World


class Stage:
    """A host that plays to a viewer."""

    def __init__(self) -> None:
        self.world = World()
        host_id, self.host = self.world.join("host")
        self.world.produce_video(host_id)
        viewer_id, self.viewer = self.world.join("viewer")
        self.ssrc = self.world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
        VideoSource(self.host).frame(key=True)
        self.world.run(0.2)

    @property
    def transports(self) -> list[RoutedTransport]:
        return [self.world.core._transports[name] for name in ("host", "viewer")]


STAGE = Stage()
ours = [t.rtcp.ssrc for t in STAGE.transports]
ssrcs = st.one_of(st.sampled_from([STAGE.ssrc, VIDEO_SSRC, *ours]), u32)
around_now = st.integers(-20 << 16, 20 << 16).map(
    lambda units: (compact_ntp(ntp_from_unix(STAGE.world.now + 1.7e9)) + units) & 0xFFFFFFFF
)
times = st.one_of(around_now, u32)
delays = st.one_of(st.integers(0, 20 << 16), u32)
blocks = st.lists(
    st.builds(ReportBlock, ssrcs, u8, st.integers(-(1 << 23), (1 << 23) - 1), u32, u32, times, delays),
    max_size=4,
).map(tuple)
packets: st.SearchStrategy[RtcpPacket] = st.one_of(
    any_packet,
    st.builds(ReceiverReport, ssrcs, blocks),
    st.builds(SenderReport, ssrcs, st.integers(0, (1 << 64) - 1), u32, u32, u32, blocks),
    st.builds(
        ExtendedReport,
        ssrcs,
        st.builds(
            DelaySinceLastReceiverReport, st.lists(st.tuples(ssrcs, times, delays), max_size=4).map(tuple)
        ).map(lambda block: (block,)),
    ),
    st.builds(GenericNack, ssrcs, ssrcs, st.lists(st.tuples(u16, u16), min_size=1, max_size=200).map(tuple)),
    st.builds(FullIntraRequest, ssrcs, st.lists(st.tuples(ssrcs, u8), min_size=1, max_size=9).map(tuple)),
    st.builds(ReceiverEstimatedMaximumBitrate, ssrcs, st.integers(0, 1 << 40), st.lists(ssrcs).map(tuple)),
)


@settings(max_examples=200)
@given(st.lists(packets, min_size=1, max_size=4), st.floats(0, 2))
def test_anything_that_is_well_formed(items: list[RtcpPacket], wait: float) -> None:
    world = STAGE.world
    world.run(wait)
    data = b"".join(item.to_bytes() for item in items)[:MAX_COMPOUND_SIZE]
    for transport in STAGE.transports:
        requests = transport.rtcp.receive_untrusted(data, transport, world.now)
        assert sum(len(lost) for _, lost in requests.nacks) <= REPAIR_BURST
        assert {ssrc for ssrc, _ in requests.nacks} <= {STAGE.ssrc}
        assert {block.ssrc for block in requests.reports} <= {STAGE.ssrc}
        round_trip = transport.rtcp.round_trip
        assert round_trip is None or 0 <= round_trip <= MAX_ROUND_TRIP
        assert all(len(packet) <= 1200 for packet in transport.rtcp.packets_to_send(transport, world.now))

"""RTCP: compound packets in and out (RFC 3550 6, RFC 3611, RFC 4585, RFC 5104, RFC 5506).

:func:`parse_compound_untrusted` and :func:`build_compound` are the way in and out; the packets are frozen
dataclasses with ``to_bytes``. What is not understood stays :class:`Unknown` and survives a round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from sfu.rtp.rtcp.extended import (
    DelaySinceLastReceiverReport,
    ExtendedReport,
    ReceiverReferenceTime,
    UnknownBlock,
)
from sfu.rtp.rtcp.feedback import (
    FullIntraRequest,
    GenericNack,
    PictureLossIndication,
    PsfbFormat,
    ReceiverEstimatedMaximumBitrate,
    RtpfbFormat,
    build_nacks,
    is_remb,
)
from sfu.rtp.rtcp.framing import (
    MAX_COMPOUND_PACKETS,
    MAX_COMPOUND_SIZE,
    Frame,
    PacketType,
    split_compound_untrusted,
)
from sfu.rtp.rtcp.ntp import compact_delay, compact_ntp, ntp_from_unix, round_trip_time
from sfu.rtp.rtcp.reports import (
    App,
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SdesChunk,
    SdesItemType,
    SenderReport,
    SourceDescription,
    Unknown,
)
from sfu.rtp.rtcp.transport_cc import TransportFeedback, build_transport_feedback

__all__ = [
    "RtcpPacket",
    "parse_compound_untrusted",
    "build_compound",
    "SenderReport",
    "ReceiverReport",
    "ReportBlock",
    "SourceDescription",
    "SdesChunk",
    "SdesItemType",
    "Goodbye",
    "App",
    "ExtendedReport",
    "ReceiverReferenceTime",
    "DelaySinceLastReceiverReport",
    "UnknownBlock",
    "GenericNack",
    "build_nacks",
    "TransportFeedback",
    "build_transport_feedback",
    "PictureLossIndication",
    "FullIntraRequest",
    "ReceiverEstimatedMaximumBitrate",
    "Unknown",
    "ntp_from_unix",
    "compact_ntp",
    "compact_delay",
    "round_trip_time",
    "MAX_COMPOUND_SIZE",
    "MAX_COMPOUND_PACKETS",
]

RtcpPacket: TypeAlias = (
    SenderReport
    | ReceiverReport
    | SourceDescription
    | Goodbye
    | App
    | ExtendedReport
    | GenericNack
    | TransportFeedback
    | PictureLossIndication
    | FullIntraRequest
    | ReceiverEstimatedMaximumBitrate
    | Unknown
)

_BY_TYPE: dict[int, Callable[[Frame], RtcpPacket]] = {
    PacketType.SR: SenderReport.from_frame_untrusted,
    PacketType.RR: ReceiverReport.from_frame_untrusted,
    PacketType.SDES: SourceDescription.from_frame_untrusted,
    PacketType.BYE: Goodbye.from_frame_untrusted,
    PacketType.APP: App.from_frame_untrusted,
    PacketType.XR: ExtendedReport.from_frame_untrusted,
}

_BY_FORMAT: dict[tuple[int, int], Callable[[Frame], RtcpPacket]] = {
    (PacketType.RTPFB, RtpfbFormat.NACK): GenericNack.from_frame_untrusted,
    (PacketType.RTPFB, RtpfbFormat.TRANSPORT_CC): TransportFeedback.from_frame_untrusted,
    (PacketType.PSFB, PsfbFormat.PLI): PictureLossIndication.from_frame_untrusted,
    (PacketType.PSFB, PsfbFormat.FIR): FullIntraRequest.from_frame_untrusted,
}


def _parse_frame_untrusted(frame: Frame) -> RtcpPacket:
    parse = _BY_TYPE.get(frame.packet_type) or _BY_FORMAT.get((frame.packet_type, frame.count))
    if parse is None:
        if frame.packet_type == PacketType.PSFB and frame.count == PsfbFormat.AFB and is_remb(frame):
            return ReceiverEstimatedMaximumBitrate.from_frame_untrusted(frame)
        parse = Unknown.from_frame_untrusted
    return parse(frame)


def parse_compound_untrusted(data: bytes) -> list[RtcpPacket]:
    """The packets of a compound or reduced-size RTCP datagram, in their order.

    Raises :class:`~sfu.rtp.packet.RtpError` if any of it is malformed: the peer is authenticated, so that is
    its fault and not the network's. Which SSRCs it may speak of is for the caller to check.
    """
    return [_parse_frame_untrusted(frame) for frame in split_compound_untrusted(data)]


def build_compound(packets: Iterable[RtcpPacket]) -> bytes:
    """Packets one behind the other. Raises :class:`ValueError` if they exceed the caps of the parser."""
    parts = [packet.to_bytes() for packet in packets]
    data = b"".join(parts)
    if len(parts) > MAX_COMPOUND_PACKETS or len(data) > MAX_COMPOUND_SIZE:
        raise ValueError("RTCP compound too large")
    return data

"""RTCP of one transport: what a host needs in order to send well, and a viewer to play in step.

To a host go receiver reports, transport-wide feedback (or REMB where that is all it knows: without either
a browser never ramps up), NACK and PLI, and our time, which it answers: so we learn the round trip. To a
viewer go sender reports, in the host's own time, so that sound and picture stay together. What comes from
either is turned into :class:`Requests`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sfu.media.arrivals import ArrivalLog
from sfu.media.repair_budget import RepairBudget
from sfu.media.round_trip import RoundTrip
from sfu.rtp.packet import RtpError
from sfu.rtp.rtcp import (
    DelaySinceLastReceiverReport,
    ExtendedReport,
    FullIntraRequest,
    GenericNack,
    PictureLossIndication,
    ReceiverEstimatedMaximumBitrate,
    ReceiverReferenceTime,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SdesChunk,
    SdesItemType,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    build_nacks,
    compact_delay,
    compact_ntp,
    ntp_from_unix,
    parse_compound_untrusted,
    round_trip_time,
)

if TYPE_CHECKING:
    from sfu.media.objects import ReceivedStream, RoutedTransport

REPORT_INTERVAL: Final = 1.0
"""Seconds between reports of a transport (RFC 3550 6.2 would allow fewer; browsers measure with them)."""
MAX_COMPOUND: Final = 1100
"""Bytes of one compound packet: with SRTCP's tag and IP's headers it fits any path."""
MAX_BLOCKS: Final = 31
REMB_START: Final = 600_000
REMB_MIN: Final = 150_000
REMB_MAX: Final = 20_000_000
"""Bits per second."""
REMB_HEADROOM: Final = 1.5
"""While little is lost, the estimate is at least so much above what arrives."""
REMB_RISE_LOSS: Final = 0.02
REMB_FALL_LOSS: Final = 0.10
"""Shares of packets lost up to which the estimate rises, and above which it falls."""


@dataclass(slots=True)
class Requests:
    """What a peer's RTCP asks for and tells. All of it fits into one datagram."""

    nacks: list[tuple[int, list[int]]] = field(default_factory=list)
    """(SSRC of a consumer, sequence numbers of 16 bits that its budget lets us repeat)."""
    keyframes: list[int] = field(default_factory=list)
    """SSRCs whose viewer cannot decode (PLI or FIR)."""
    feedback: list[TransportFeedback] = field(default_factory=list)
    """On packets sent with a transport-wide sequence number."""
    remb: int | None = None
    """Bits per second that a viewer's REMB allows all that it receives."""
    reports: list[ReportBlock] = field(default_factory=list)
    """On media SSRCs that we send."""


@dataclass(frozen=True, slots=True)
class SenderTime:
    """What a host's latest sender report said of one stream."""

    ntp: float
    """Seconds since 1900 on the host's clock."""
    middle: int
    """The middle 32 bits of the NTP time, to be quoted in receiver reports."""
    timestamp: int
    """The RTP timestamp of that moment."""
    arrival: float
    """``now`` when it came in."""


class RtcpSession:
    """Everything about RTCP that one transport remembers."""

    def __init__(self, random_bytes: Callable[[int], bytes], wall_offset: float) -> None:
        self.ssrc = int.from_bytes(random_bytes(4), "big") or 1
        """What our own reports are sent under."""
        self.host_clock: float | None = None
        """``now`` minus the host's NTP time: the least seen, so the one that waited least on the way."""
        self._wall_offset = wall_offset
        self._report_at: float | None = None
        self._keyframes: list[int] = []
        self._arrivals = ArrivalLog()
        self._round_trip = RoundTrip()
        self._repairs: dict[int, RepairBudget] = {}
        """By SSRC of the consumer."""
        self._fir_sequence: dict[int, int] = {}
        self._octets_prior = 0
        self._octets_since = 0.0
        self._remb = float(REMB_START)

    @property
    def round_trip(self) -> float | None:
        """Seconds to the peer and back, smoothed; None until something tells."""
        return self._round_trip.seconds

    # ------------------------------------------------------------------- input

    def expect_media(self, now: float) -> None:
        """A producer or consumer was made: reports begin."""
        if self._report_at is None:
            self._report_at = now + REPORT_INTERVAL / 2
            self._octets_since = now

    def record_arrival(self, sequence_number: int, now: float) -> None:
        """A packet with a transport-wide sequence number came in."""
        self._arrivals.record(sequence_number, now)

    def request_keyframe(self, ssrc: int) -> None:
        """Send a PLI with the next packets."""
        if ssrc not in self._keyframes:
            self._keyframes.append(ssrc)

    def receive_untrusted(self, packet: bytes, transport: RoutedTransport, now: float) -> Requests:
        """Take an opened compound packet. What is malformed is ignored as a whole."""
        requests = Requests()
        try:
            packets = parse_compound_untrusted(packet)
        except RtpError:
            return requests
        for item in packets:
            match item:
                case SenderReport():
                    self._receive_sender_report(item, transport, now)
                    self._receive_blocks(item.blocks, requests, transport, now)
                case ReceiverReport():
                    self._receive_blocks(item.blocks, requests, transport, now)
                case ExtendedReport():
                    self._receive_delays(item, now)
                case TransportFeedback():
                    requests.feedback.append(item)
                case ReceiverEstimatedMaximumBitrate():
                    if not transport.consumers_by_ssrc.keys().isdisjoint(item.ssrcs):
                        requests.remb = item.bitrate
                case GenericNack():
                    self._receive_nack(item, requests, transport, now)
                case PictureLossIndication():
                    requests.keyframes.append(item.media_ssrc)
                case FullIntraRequest():
                    for ssrc, number in item.entries:
                        # A repetition has the number of the request it repeats (RFC 5104 4.3.1.1).
                        if ssrc in transport.consumers_by_ssrc and self._fir_sequence.get(ssrc) != number:
                            self._fir_sequence[ssrc] = number
                            requests.keyframes.append(ssrc)
                case _:
                    pass
        return requests

    def _receive_sender_report(self, report: SenderReport, transport: RoutedTransport, now: float) -> None:
        stream = transport.streams.get(report.ssrc)
        if stream is None:
            return
        ntp = report.ntp_timestamp / 2**32
        stream.entry.reference = (ntp, report.rtp_timestamp)
        stream.sender_time = SenderTime(ntp, compact_ntp(report.ntp_timestamp), report.rtp_timestamp, now)
        clock = now - ntp
        if self.host_clock is None or clock < self.host_clock or abs(clock - self.host_clock) > 1:
            self.host_clock = clock

    def _receive_blocks(
        self, blocks: Iterable[ReportBlock], requests: Requests, transport: RoutedTransport, now: float
    ) -> None:
        for block in blocks:
            if block.ssrc in transport.consumers_by_ssrc:
                requests.reports.append(block)
                self._measure(block.last_sender_report, block.delay_since_last_sender_report, now)

    def _receive_delays(self, report: ExtendedReport, now: float) -> None:
        for block in report.blocks:
            if isinstance(block, DelaySinceLastReceiverReport):
                for ssrc, last, delay in block.delays:
                    if ssrc == self.ssrc:
                        self._measure(last, delay, now)

    def _measure(self, last: int, delay: int, now: float) -> None:
        self._round_trip.on_report(round_trip_time(self._ntp(now), last, delay), now)

    def _receive_nack(
        self, nack: GenericNack, requests: Requests, transport: RoutedTransport, now: float
    ) -> None:
        ssrc = nack.media_ssrc
        consumer = transport.consumers_by_ssrc.get(ssrc)
        if consumer is None or consumer.entry is None:
            return
        budget = self._repairs.get(ssrc)
        if budget is None:
            budget = self._repairs[ssrc] = RepairBudget()
        lost = budget.allow(nack.sequence_numbers(), consumer.entry.packets, self.round_trip, now)
        if lost:
            requests.nacks.append((ssrc, lost))

    def _ntp(self, now: float) -> int:
        return ntp_from_unix(now + self._wall_offset)

    # -------------------------------------------------------------------- time

    def get_timer(self, transport: RoutedTransport) -> float | None:
        """When there is something to send next. None while the transport cannot send."""
        entry = transport.wire.entry
        if entry.sender is None or entry.address is None:
            return None
        timers = [self._report_at, self._arrivals.due]
        for stream in transport.streams.values():
            timers.append(stream.receiver.get_timer())
            timers.append(stream.keyframes.get_timer())
        return min((t for t in timers if t is not None), default=None)

    # ------------------------------------------------------------------ output

    def packets_to_send(self, transport: RoutedTransport, now: float) -> list[bytes]:
        """Compound packets, plain; the caller protects them."""
        packets: list[RtcpPacket] = []
        if self._report_at is not None and now >= self._report_at:
            self._report_at = now + REPORT_INTERVAL
            packets += self._reports(transport, now)
        for stream in transport.streams.values():
            self._ask(stream, packets, now)
        for ssrc in self._keyframes:
            packets.append(PictureLossIndication(self.ssrc, ssrc))
        self._keyframes.clear()
        if self._arrivals.due is not None and now >= self._arrivals.due:
            packets += self._arrivals.feedback(self.ssrc, next(iter(transport.streams), 0))
        return list(_compounds(packets))

    def _ask(self, stream: ReceivedStream, packets: list[RtcpPacket], now: float) -> None:
        missing = stream.receiver.missing
        if missing is not None:
            if missing.repair_time is not None:
                self._round_trip.on_repair(missing.repair_time, now)
                missing.repair_time = None
            round_trip = self._round_trip.seconds
            if round_trip is not None and round_trip != missing.round_trip:
                missing.round_trip = stream.keyframes.round_trip = round_trip
        due, given_up = stream.receiver.due_nacks(now)
        if due:
            packets += build_nacks(self.ssrc, stream.entry.ssrc, due)
        if given_up and stream.producer.kind == "video" and stream.keyframes.request(now):
            self.request_keyframe(stream.entry.ssrc)
        if stream.keyframes.handle_timer(now):
            self.request_keyframe(stream.entry.ssrc)

    def _reports(self, transport: RoutedTransport, now: float) -> list[RtcpPacket]:
        packets: list[RtcpPacket] = []
        blocks = [self._block(s, now) for s in transport.streams.values() if s.receiver.received]
        packets += [
            ReceiverReport(self.ssrc, tuple(blocks[start : start + MAX_BLOCKS]))
            for start in range(0, len(blocks), MAX_BLOCKS)
        ]
        if blocks:
            packets.append(ExtendedReport(self.ssrc, (ReceiverReferenceTime(self._ntp(now)),)))
        if blocks and not any(s.entry.transport_sequence_id for s in transport.streams.values()):
            packets += self._estimate(transport, now)
        self._repairs = {ssrc: b for ssrc, b in self._repairs.items() if ssrc in transport.consumers_by_ssrc}
        ntp_now = self._ntp(now)
        for consumer in transport.consumers.values():
            entry = consumer.entry
            if entry is None or not entry.packets:
                continue
            host = consumer.producer.transport
            stream = host.streams.get(entry.group.stream.ssrc)
            host_clock = host.rtcp.host_clock
            if stream is None or stream.sender_time is None or host_clock is None:
                continue
            elapsed = (now - host_clock) - stream.sender_time.ntp
            timestamp = stream.sender_time.timestamp + round(elapsed * stream.entry.clock_rate)
            timestamp += entry.shape.timestamp_offset
            packets.append(
                SenderReport(
                    entry.ssrc,
                    ntp_now,
                    timestamp & 0xFFFFFFFF,
                    entry.packets & 0xFFFFFFFF,
                    entry.octets & 0xFFFFFFFF,
                )
            )
            cname = consumer.parameters.rtcp.cname
            if isinstance(cname, str):
                name = (SdesItemType.CNAME, cname.encode()[:255])
                packets.append(SourceDescription((SdesChunk(entry.ssrc, (name,)),)))
        return packets

    def _block(self, stream: ReceivedStream, now: float) -> ReportBlock:
        fraction, lost, highest = stream.receiver.report()
        sender_time = stream.sender_time
        return ReportBlock(
            ssrc=stream.entry.ssrc,
            fraction_lost=fraction,
            packets_lost=lost,
            highest_sequence=highest,
            jitter=int(stream.receiver.jitter) & 0xFFFFFFFF,
            last_sender_report=sender_time.middle if sender_time is not None else 0,
            delay_since_last_sender_report=(
                compact_delay(now - sender_time.arrival) if sender_time is not None else 0
            ),
        )

    def _estimate(self, transport: RoutedTransport, now: float) -> list[RtcpPacket]:
        """REMB by loss alone: a host that knows no transport-wide feedback gets no word of growing delay.

        Little loss: up to what arrives and a half. Much: down from what arrives. The host's own loss control
        does the rest.
        """
        streams = transport.streams.values()
        wanted = [
            s.entry.ssrc
            for s in streams
            if any(f.type == "goog-remb" for c in s.producer.parameters.codecs for f in c.rtcp_feedback)
        ]
        span = now - self._octets_since
        if not wanted or span <= 0:
            return []
        octets = sum(s.entry.octets for s in streams)
        rate = max(0, octets - self._octets_prior) * 8 / span  # a closed stream takes its octets with it
        self._octets_prior, self._octets_since = octets, now
        expected = sum(s.receiver.expected_interval for s in streams)
        loss = sum(s.receiver.lost_interval for s in streams) / expected if expected > 0 else 0.0
        if loss > REMB_FALL_LOSS:
            self._remb = max(REMB_MIN, min(self._remb, rate) * (1 - loss / 2))
        elif loss <= REMB_RISE_LOSS:
            self._remb = min(REMB_MAX, max(self._remb, REMB_HEADROOM * rate))
        return [ReceiverEstimatedMaximumBitrate(self.ssrc, int(self._remb), tuple(wanted[:255]))]


def _compounds(packets: Iterable[RtcpPacket]) -> Iterable[bytes]:
    """Join packets into compounds that fit a datagram (reduced-size ones among them, RFC 5506)."""
    compound = b""
    for packet in packets:
        data = packet.to_bytes()
        if compound and len(compound) + len(data) > MAX_COMPOUND:
            yield compound
            compound = b""
        compound += data
    if compound:
        yield compound

"""RTCP of one transport: what a host needs in order to send well, and a viewer to play in step.

To a host go receiver reports, transport-wide feedback (or REMB where that is all it knows: without either
a browser never ramps up), NACK and PLI. To a viewer go sender reports, in the host's own time, so that sound
and picture stay together. What comes from either is turned into :class:`Requests`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sfu.rtp.packet import RtpError, SequenceUnwrapper
from sfu.rtp.rtcp import (
    FullIntraRequest,
    GenericNack,
    PictureLossIndication,
    ReceiverEstimatedMaximumBitrate,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SdesChunk,
    SdesItemType,
    SenderReport,
    SourceDescription,
    build_nacks,
    build_transport_feedback,
    compact_delay,
    compact_ntp,
    ntp_from_unix,
    parse_compound_untrusted,
)

if TYPE_CHECKING:
    from sfu.media.objects import ReceivedStream, RoutedTransport

REPORT_INTERVAL: Final = 1.0
"""Seconds between reports of a transport (RFC 3550 6.2 would allow fewer; browsers measure with them)."""
FEEDBACK_INTERVAL: Final = 0.05
"""Seconds between transport-wide feedback: often enough for a quick ramp, 20 small packets a second."""
MAX_ARRIVALS: Final = 4096
"""Arrivals remembered for one feedback; far more than a host sends in an interval."""
MAX_COMPOUND: Final = 1100
"""Bytes of one compound packet: with SRTCP's tag and IP's headers it fits any path."""
MAX_BLOCKS: Final = 31
REPAIR_RATE: Final = 1000.0
"""Packets per second that one viewer may have repeated, with bursts of :data:`REPAIR_BURST`."""
REPAIR_BURST: Final = 300.0
REMB_START: Final = 600_000
REMB_MAX: Final = 20_000_000
"""Bits per second."""
REMB_LOSS: Final = 0.1
"""Share of packets lost above which the estimate shrinks."""


@dataclass(slots=True)
class Requests:
    """What a peer's RTCP asks for."""

    nacks: list[tuple[int, list[int]]] = field(default_factory=list)
    """(SSRC, sequence numbers of 16 bits)."""
    keyframes: list[int] = field(default_factory=list)
    """SSRCs whose viewer cannot decode (PLI or FIR)."""


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
        self._feedback_at: float | None = None
        self._keyframes: list[int] = []
        self._sequence = SequenceUnwrapper()
        self._arrivals: dict[int, float] = {}
        self._next_feedback_sequence: int | None = None
        self._feedback_count = 0
        self._feedback_ssrc = 0
        self._fir_sequence: dict[int, int] = {}
        self._octets_prior = 0
        self._octets_since = 0.0
        self._remb = float(REMB_START)
        self._repair_tokens = REPAIR_BURST
        self._repair_at = 0.0

    # ------------------------------------------------------------------- input

    def expect_media(self, now: float) -> None:
        """A producer or consumer was made: reports begin."""
        if self._report_at is None:
            self._report_at = now + REPORT_INTERVAL / 2
            self._octets_since = now

    def record_arrival(self, sequence_number: int, now: float) -> None:
        """A packet with a transport-wide sequence number came in."""
        extended = self._sequence.unwrap(sequence_number)
        if len(self._arrivals) < MAX_ARRIVALS:
            self._arrivals.setdefault(extended, now)
        if self._feedback_at is None:
            self._feedback_at = now + FEEDBACK_INTERVAL

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
                case GenericNack():
                    requests.nacks.append((item.media_ssrc, list(item.sequence_numbers())))
                case PictureLossIndication():
                    requests.keyframes.append(item.media_ssrc)
                case FullIntraRequest():
                    for ssrc, number in item.entries:
                        # A repetition has the number of the request it repeats (RFC 5104 4.3.1.1).
                        if ssrc in transport.consumers_by_ssrc and self._fir_sequence.get(ssrc) != number:
                            self._fir_sequence[ssrc] = number
                            requests.keyframes.append(ssrc)
                case _:
                    pass  # receiver reports and estimates steer layers, once there are layers to choose
        return requests

    def _receive_sender_report(self, report: SenderReport, transport: RoutedTransport, now: float) -> None:
        stream = transport.streams.get(report.ssrc)
        if stream is None:
            return
        ntp = report.ntp_timestamp / 2**32
        stream.sender_time = SenderTime(ntp, compact_ntp(report.ntp_timestamp), report.rtp_timestamp, now)
        clock = now - ntp
        if self.host_clock is None or clock < self.host_clock or abs(clock - self.host_clock) > 1:
            self.host_clock = clock

    def allowed_repairs(self, lost: Sequence[int], now: float) -> Sequence[int]:
        """As many of the packets asked for as the viewer's budget allows."""
        self._repair_tokens = min(REPAIR_BURST, self._repair_tokens + (now - self._repair_at) * REPAIR_RATE)
        self._repair_at = now
        allowed = lost[: int(self._repair_tokens)]
        self._repair_tokens -= len(allowed)
        return allowed

    # -------------------------------------------------------------------- time

    def get_timer(self, transport: RoutedTransport) -> float | None:
        """When there is something to send next. None while the transport cannot send."""
        entry = transport.wire.entry
        if entry.sender is None or entry.address is None:
            return None
        timers = [self._report_at, self._feedback_at]
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
        if self._feedback_at is not None and now >= self._feedback_at:
            packets += self._feedback(transport)
        return list(_compounds(packets))

    def _ask(self, stream: ReceivedStream, packets: list[RtcpPacket], now: float) -> None:
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
        if blocks and not any(s.entry.transport_sequence_id for s in transport.streams.values()):
            packets += self._estimate(transport, blocks, now)
        ntp_now = ntp_from_unix(now + self._wall_offset)
        for consumer in transport.consumers.values():
            entry = consumer.entry
            if entry is None or not entry.packets:
                continue
            stream = consumer.producer.streams[-1]
            host_clock = consumer.producer.transport.rtcp.host_clock
            if stream.sender_time is None or host_clock is None:
                continue
            elapsed = (now - host_clock) - stream.sender_time.ntp
            timestamp = stream.sender_time.timestamp + round(elapsed * stream.entry.clock_rate)
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

    def _estimate(
        self, transport: RoutedTransport, blocks: Iterable[ReportBlock], now: float
    ) -> list[RtcpPacket]:
        """REMB by loss alone: up by half above what arrives, down with heavy loss."""
        wanted = [
            s.entry.ssrc
            for s in transport.streams.values()
            if any(f.type == "goog-remb" for c in s.producer.parameters.codecs for f in c.rtcp_feedback)
        ]
        span = now - self._octets_since
        if not wanted or span <= 0:
            return []
        octets = sum(s.entry.octets for s in transport.streams.values())
        rate = max(0, octets - self._octets_prior) * 8 / span  # a closed stream takes its octets with it
        self._octets_prior, self._octets_since = octets, now
        loss = max(b.fraction_lost for b in blocks) / 256
        if loss > REMB_LOSS:
            self._remb = max(REMB_START / 4, self._remb * (1 - loss / 2))
        else:
            self._remb = min(REMB_MAX, max(self._remb, 1.5 * rate, REMB_START))
        return [ReceiverEstimatedMaximumBitrate(self.ssrc, int(self._remb), tuple(wanted[:255]))]

    def _feedback(self, transport: RoutedTransport) -> list[RtcpPacket]:
        """Transport-wide feedback on everything since the last one."""
        self._feedback_at = None
        if not self._arrivals:
            return []
        packets = build_transport_feedback(
            self.ssrc,
            next(iter(transport.streams), 0),
            self._arrivals.items(),
            self._feedback_count,
            base=self._next_feedback_sequence,
        )
        self._feedback_count = (self._feedback_count + len(packets)) & 0xFF
        self._next_feedback_sequence = max(self._arrivals) + 1
        self._arrivals.clear()
        return list(packets)


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

"""The things a router routes between: producers, consumers, and their data-channel counterparts.

They are records; what happens to them is in :mod:`sfu.media.router`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sfu.media.ortc import RtpMapping
from sfu.media.parameters import Kind, RtpParameters, SctpStreamParameters
from sfu.media.reception import KeyframeRequester, StreamReceiver
from sfu.media.rtcp_session import RtcpSession, SenderTime
from sfu.media.stats import StreamStats, TransportStats
from sfu.media.table import ConsumerEntry, ProducerStream
from sfu.media.transport import Transport

if TYPE_CHECKING:
    from sfu.media.line import ViewerLine

MAX_PRODUCERS: Final = 32
"""Producers, and as many data producers, of one transport."""
MAX_CONSUMERS: Final = 4096
"""Consumers of one transport. Data consumers are as many as there are SCTP streams."""
MAX_USED_SSRCS: Final = 65_536
"""SSRCs that one transport may hand out in its life, two for each consumer."""


@dataclass(slots=True, eq=False)
class ReceivedStream:
    """One RTP stream of a producer with its bookkeeping."""

    producer: Producer
    index: int
    """Of its encoding among the producer's."""
    entry: ProducerStream
    receiver: StreamReceiver
    keyframes: KeyframeRequester = field(default_factory=KeyframeRequester)
    sender_time: SenderTime | None = None

    def stats(self) -> StreamStats:
        """What has been counted."""
        receiver = self.receiver
        return StreamStats(
            producer_id=self.producer.id,
            kind=self.producer.kind,
            ssrc=self.entry.ssrc,
            packets=receiver.received,
            octets=self.entry.octets,
            lost=receiver.lost,
            fraction_lost=receiver.fraction_lost,
            jitter=receiver.jitter / self.entry.clock_rate,
            score=receiver.score,
        )


@dataclass(frozen=True, slots=True)
class Rung:
    """Something of a producer that a consumer can be given."""

    stream: ReceivedStream
    size: int
    """Place of the stream among those of the producer, 0 for the one with the smallest picture."""
    spatial: int
    """Highest spatial layer that is part of it; :data:`MAX_SPATIAL` for all."""
    temporal: int
    """Highest temporal layer that is part of it; :data:`MAX_TEMPORAL` for all."""
    bitrate: int
    """Bits of payload per second, as measured lately."""


@dataclass(slots=True, eq=False)
class Producer:
    """A track that a peer sends (W3C RTCRtpSender seen from the other end; mediasoup's Producer)."""

    id: str
    kind: Kind
    transport: RoutedTransport
    parameters: RtpParameters
    mapping: RtpMapping
    consumable: RtpParameters
    streams: list[ReceivedStream] = field(default_factory=list)
    """In the order of its encodings as far as they are known: the lowest layer first."""
    rungs: list[Rung] = field(default_factory=list)
    """What its consumers can be given, lowest first; empty while nothing has been seen."""
    consumers: dict[str, Consumer] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Consumer:
    """A track that a peer receives."""

    id: str
    producer: Producer
    transport: RoutedTransport
    parameters: RtpParameters
    ignore_dtx: bool
    entry: ConsumerEntry | None = None
    """None until the producer's stream is known (a RID not seen yet)."""


@dataclass(slots=True, eq=False)
class DataProducer:
    """One direction of a data channel, from a peer."""

    id: str
    transport: RoutedTransport
    stream: SctpStreamParameters
    label: str
    protocol: str
    binary_only: bool = False
    """Whether text ends it."""
    consumers: dict[str, DataConsumer] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class DataConsumer:
    """One direction of a data channel, to a peer."""

    id: str
    producer: DataProducer
    transport: RoutedTransport
    stream_id: int
    ordered: bool
    max_retransmits: int | None
    max_lifetime: float | None
    """Seconds."""
    dropped: int = 0
    """Messages that found the peer's send buffer full."""


@dataclass(slots=True, eq=False)
class RoutedTransport:
    """A transport in its router, with all that was made on it."""

    router_id: str
    wire: Transport
    rtcp: RtcpSession
    producers: dict[str, Producer] = field(default_factory=dict)
    consumers: dict[str, Consumer] = field(default_factory=dict)
    consumers_by_ssrc: dict[int, Consumer] = field(default_factory=dict)
    streams: dict[int, ReceivedStream] = field(default_factory=dict)
    """By SSRC, RTX streams not among them."""
    used_ssrcs: set[int] = field(default_factory=set)
    """All that were ever handed out: under one key an SSRC is never used twice."""
    data_producers: dict[str, DataProducer] = field(default_factory=dict)
    data_producers_by_stream: dict[int, DataProducer] = field(default_factory=dict)
    data_consumers: dict[str, DataConsumer] = field(default_factory=dict)
    cname: str | None = None
    next_mid: int = 0
    next_stream_id: int = 0
    """Where the search for a free SCTP stream goes on."""
    line: ViewerLine | None = None
    """What it carries, once there is something to choose."""
    messages_received: int = 0
    """On its data channels."""
    timer: float | None = None
    """The deadline that is in the timer heap for it."""

    def stats(self) -> TransportStats:
        """What has been counted."""
        entries = [c.entry for c in self.consumers.values() if c.entry is not None]
        return TransportStats(
            transport_id=self.wire.id,
            router_id=self.router_id,
            state=self.wire.state.value,
            streams=tuple(stream.stats() for stream in self.streams.values()),
            consumers=len(self.consumers),
            packets_sent=sum(entry.packets for entry in entries),
            octets_sent=sum(entry.octets for entry in entries),
            retransmitted=sum(entry.retransmitted for entry in entries),
            messages_received=self.messages_received,
            messages_dropped=sum(c.dropped for c in self.data_consumers.values()),
        )

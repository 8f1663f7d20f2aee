"""The forwarding table: what an engine needs to know to move packets, as plain data.

The router writes it, an engine executes it. Streams of producers come in through a :class:`TransportEntry`;
each has forwarding groups: consumers that want the same layers and so share every decision and the numbering
of packets. What differs between the consumers of a group (SSRC, MID, offsets, key, address) is a constant of
each.

A consumer may change its group, also to one of another stream of the producer (simulcast). It does so at a
packet with which a decoder can go on (:mod:`sfu.media.switching`), and its numbers go on too. What it was
sent before is kept as a short list of :class:`Segment`, so that it can still be repeated.

Everything an engine sends under an SSRC is numbered by that engine alone, so that no (SSRC, index) is ever
sealed twice: see :attr:`ConsumerEntry.sequence_offset` and :attr:`ConsumerEntry.repair_index`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from sfu.ice.address import Address
from sfu.media.egress import Priority
from sfu.rtp.dependency_descriptor import DependencyDescriptorReader
from sfu.rtp.layers import PacketLayers
from sfu.rtp.packet import SequenceUnwrapper, Unwrapper
from sfu.rtp.payload import VideoCodec
from sfu.rtp.srtp import SrtpReceiver, SrtpSender

CACHE_SIZE: Final = 2048
"""Packets kept per producer stream for retransmission (a power of two): about 3 s at 6 Mbit/s."""
CACHE_AGE: Final = 3.0
"""Seconds after which a packet is not worth repeating."""
MAX_STREAMS: Final = 64
"""Producer streams of one transport."""
MAX_SENT: Final = 4096
"""Runs of packets that wait to be looked at by the estimator of a line."""
MAX_SEGMENTS: Final = 4
"""Changes of group that a consumer's repairs reach back over."""
MAX_SPATIAL: Final = 8
MAX_TEMPORAL: Final = 8
"""Layers that a stream may have (VP9 and the dependency descriptor count in three bits)."""
MAX_REMEMBERED_DROPS: Final = 256
"""Packets left out of a group that it can still number around."""


SentRun: TypeAlias = tuple[int, Sequence[int], float, int]
"""Packets of one drain: transport-wide number of the first, bytes of each on the wire, when, and the probe
that they are, or 0."""


@dataclass(slots=True, eq=False)
class TransportEntry:
    """One transport as the packet path sees it."""

    transport_id: str
    address: Address | None = None
    """Where to send: the tuple that ICE selected."""
    receiver: SrtpReceiver | None = None
    """Opens what the peer sends; None until DTLS has connected."""
    sender: SrtpSender | None = None
    next_transport_sequence: int = 1
    """Transport-wide sequence number of the next packet that carries one; 16 bits of it go on the wire."""
    sent: list[SentRun] | None = None
    """What went out since it was last looked at, oldest first; None unless the line is estimated."""
    streams: dict[int, ProducerStream] = field(default_factory=dict)
    """By SSRC."""
    repairs: dict[int, ProducerStream] = field(default_factory=dict)
    """By SSRC of the RTX stream."""


class MediaPacket:
    """One packet of a producer, opened and parsed once for all its consumers.

    Not a dataclass: this is made per packet.
    """

    __slots__ = (
        "begins",
        "elements",
        "extended",
        "layers",
        "marker",
        "payload",
        "payload_type",
        "received",
        "timestamp",
    )

    def __init__(
        self,
        extended: int,
        marker: bool,
        payload_type: int,
        timestamp: int,
        payload: bytes,
        elements: tuple[tuple[int, bytes], ...],
        received: float,
        layers: PacketLayers,
        begins: bool,
    ) -> None:
        self.extended = extended
        """The producer's sequence number, unwrapped."""
        self.marker = marker
        self.payload_type = payload_type
        """The router's."""
        self.timestamp = timestamp
        self.payload = payload
        """Without padding."""
        self.elements = elements
        """Header extension elements to pass on, under the router's ids."""
        self.received = received
        self.layers = layers
        """What its payload says of layers; nothing for audio."""
        self.begins = begins
        """Whether it is the first that came of its picture, and in order."""


class RetransmissionCache:
    """The latest packets of one producer stream, by unwrapped sequence number."""

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        self._slots: list[MediaPacket | None] = [None] * CACHE_SIZE

    def put(self, packet: MediaPacket) -> bool:
        """Keep a packet. False if it, or one that is newer by a whole cache, is there already."""
        i = packet.extended % CACHE_SIZE
        held = self._slots[i]
        if held is not None and held.extended >= packet.extended:
            return False
        self._slots[i] = packet
        return True

    def get(self, extended: int, now: float) -> MediaPacket | None:
        packet = self._slots[extended % CACHE_SIZE]
        if packet is None or packet.extended != extended or now - packet.received > CACHE_AGE:
            return None
        return packet


@dataclass(slots=True, eq=False)
class ProducerStream:
    """One RTP stream of a producer (one SSRC; one layer of a simulcast)."""

    transport: TransportEntry
    producer_id: str
    ssrc: int
    repair_ssrc: int | None
    priority: Priority
    clock_rate: int
    payload_types: dict[int, tuple[int, VideoCodec | None]]
    """The producer's payload type to the router's, and how to find its key frames (None: it has none)."""
    repair_types: dict[int, int]
    """The producer's RTX payload type to the payload type that it repairs."""
    elements: dict[int, int]
    """The producer's header extension ids to the router's, for those that are passed on."""
    transport_sequence_id: int | None
    """The producer's id of the transport-wide sequence number."""
    descriptor_id: int | None = None
    """The producer's id of the dependency descriptor."""
    descriptors: DependencyDescriptorReader = field(default_factory=DependencyDescriptorReader)
    sequence: SequenceUnwrapper = field(default_factory=SequenceUnwrapper)
    timestamp: int | None = None
    """RTP timestamp of the newest packet."""
    arrival: float = 0.0
    """``now`` of it."""
    reference: tuple[float, int] | None = None
    """A moment by the host's sender reports: NTP seconds and the RTP timestamp of it."""
    cache: RetransmissionCache | None = None
    vp8_types: frozenset[int] = frozenset()
    """The router's payload types of VP8, whose picture ids may have to be rewritten."""
    octets: int = 0
    """Bytes of all its RTP packets so far, repairs included."""
    layer_octets: list[int] = field(default_factory=lambda: [0] * (MAX_SPATIAL * MAX_TEMPORAL))
    """Payload bytes so far of each layer: spatial times :data:`MAX_TEMPORAL` plus temporal."""
    groups: list[ForwardingGroup] = field(default_factory=list)
    armed: list[ConsumerEntry] = field(default_factory=list)
    """Consumers that wait for a packet with which they can go over to :attr:`ConsumerEntry.target`."""
    burst: list[MediaPacket] = field(default_factory=list)
    """Packets of the drain in hand."""


class SequenceCompactor:
    """Numbers the packets of a group without the ones that were left out of it.

    A packet's group number is its extended number minus how many before it were dropped.
    """

    __slots__ = ("_before", "_drops")

    def __init__(self) -> None:
        self._before = 0
        """Drops too long ago to be listed."""
        self._drops: list[int] = []

    def drop(self, extended: int) -> None:
        """Leave a packet out. Only for packets that nobody has been sent a later one of, or number anew."""
        insort(self._drops, extended)
        if len(self._drops) > MAX_REMEMBERED_DROPS:
            del self._drops[0]
            self._before += 1

    def number(self, extended: int) -> int:
        """The group number of a packet that was not dropped."""
        drops = self._drops
        if not drops or extended > drops[-1]:
            return extended - self._before - len(drops)
        return extended - self._before - bisect_left(drops, extended)

    def extended(self, number: int) -> int:
        """The inverse of :meth:`number`."""
        extended = number + self._before
        for drop in self._drops:
            if drop > extended:
                break
            extended += 1
        return extended


class PictureNumbers:
    """Numbers VP8 pictures without the ones that were left out (RFC 7741 4.2: picture ids count by one)."""

    __slots__ = ("_compactor", "_dropped", "_unwrapper")

    def __init__(self, bits: int) -> None:
        """``bits`` of the stream's picture ids: 7 or 15."""
        self._unwrapper = Unwrapper(1 << bits)
        self._compactor = SequenceCompactor()
        self._dropped = -1

    def drop(self, picture_id: int) -> None:
        """Leave a picture out; each of its packets may say so."""
        extended = self._unwrapper.unwrap(picture_id)
        if extended > self._dropped:
            self._dropped = extended
            self._compactor.drop(extended)

    def number(self, picture_id: int) -> int:
        """What a picture that was not left out is called."""
        return self._compactor.number(self._unwrapper.unwrap(picture_id))


@dataclass(slots=True, eq=False)
class Shape:
    """Consumers of a group whose headers are laid out alike: they differ only in numbers.

    A header extension is, in this order: MID, transport-wide sequence number, and a tail that all share.
    """

    mid_length: int
    """Bytes of the MID element with its head, 0 without one."""
    transport_sequence_id: int
    """0 without one."""
    abs_send_time_id: int
    """0 without one."""
    accepted: frozenset[int]
    """Ids of passed-on elements that these consumers know."""
    timestamp_offset: int = 0
    """Added to the stream's timestamps: what is left of the streams that these consumers saw before."""
    picture_offset: int = 0
    """Added to the group's VP8 picture ids, for the same reason."""
    tl0_offset: int = 0
    """Added to the stream's VP8 TL0PICIDX."""
    consumers: list[ConsumerEntry] = field(default_factory=list)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for shapes that prepare packets alike."""
        return (
            self.mid_length,
            self.transport_sequence_id,
            self.abs_send_time_id,
            self.accepted,
            self.timestamp_offset,
            self.picture_offset,
            self.tl0_offset,
        )

    def shifted(self, timestamp_offset: int, picture_offset: int, tl0_offset: int) -> Shape:
        """The same layout with these offsets, and without consumers."""
        return Shape(
            self.mid_length,
            self.transport_sequence_id,
            self.abs_send_time_id,
            self.accepted,
            timestamp_offset,
            picture_offset,
            tl0_offset,
        )


@dataclass(slots=True, eq=False)
class ForwardingGroup:
    """Consumers of one producer stream that want the same of it."""

    stream: ProducerStream
    drop_dtx: bool = False
    """Leave out Opus packets that say "nothing to hear"."""
    needs_keyframe: bool = True
    spatial: int = MAX_SPATIAL
    """Highest spatial layer that is forwarded."""
    temporal: int = MAX_TEMPORAL
    """Highest temporal layer that is forwarded."""
    compactor: SequenceCompactor = field(default_factory=SequenceCompactor)
    pictures: PictureNumbers | None = None
    """How VP8 picture ids are numbered without the pictures left out; None while none was."""
    shapes: list[Shape] = field(default_factory=list)
    highest: int = -1
    """Highest extended sequence number seen."""
    latest: PacketLayers | None = None
    """Of the newest packet forwarded."""

    @property
    def whole(self) -> bool:
        """Whether all layers are forwarded."""
        return self.spatial >= MAX_SPATIAL and self.temporal >= MAX_TEMPORAL

    def drop_picture(self, layers: PacketLayers) -> None:
        """Number pictures on without the one that this packet is of."""
        if layers.picture_id is not None:
            if self.pictures is None:
                self.pictures = PictureNumbers(layers.picture_id_bits)
            self.pictures.drop(layers.picture_id)

    def wants(self, layers: PacketLayers) -> bool:
        """Whether packets of these layers are forwarded."""
        return layers.spatial <= self.spatial and layers.temporal <= self.temporal


@dataclass(slots=True, eq=False)
class ConsumerEntry:
    """One consumer as the packet path sees it."""

    consumer_id: str
    transport: TransportEntry
    group: ForwardingGroup
    shape: Shape
    ssrc: int
    repair_ssrc: int | None
    repair_types: dict[int, int]
    """Payload type to its RTX payload type."""
    mid: bytes
    """The MID element with its head, ready for the wire."""
    target: ForwardingGroup | None = None
    """The group that it goes over to as soon as it can; None if it is where it should be."""
    first: int | None = None
    """Group number of its first packet from this group; None until it has started."""
    segments: list[Segment] = field(default_factory=list)
    """What it was sent from groups before this one, oldest first."""
    sequence_offset: int = 0
    """Packet index (48 bits: rollover counter and sequence number) minus group number."""
    repair_index: int = 0
    """Packet index of the next RTX packet."""
    packets: int = 0
    """Sent, for sender reports; RTX not counted."""
    octets: int = 0
    """Payload bytes sent, likewise."""
    retransmitted: int = 0
    highest_index: int = 0
    """Highest packet index sent."""

    @property
    def timestamp_offset(self) -> int:
        """What it sees is the stream's timestamp plus this."""
        return self.shape.timestamp_offset


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of packet indices that a consumer was sent from one group."""

    first: int
    """Group number of its first packet."""
    sequence_offset: int
    group: ForwardingGroup
    shape: Shape

"""The ``python`` engine: executes the forwarding table, packet by packet, without sockets.

:meth:`PythonEngine.process` takes one drain of a socket and leaves two things behind: :class:`Upward`, what
needs judgement (STUN, DTLS, RTCP, digests of media), and the :class:`~sfu.media.egress.Egress` of what was
forwarded. It is also the oracle that a faster engine has to equal.

Per packet there is no logging, no lookup by string, and no work that could be done per group instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from sfu.ice.address import Address, Datagram
from sfu.media.egress import Egress, Priority
from sfu.media.fanout import EngineCounters, Fanout
from sfu.media.switching import can_switch, leave, switch
from sfu.media.table import (
    MAX_SPATIAL,
    MAX_TEMPORAL,
    ConsumerEntry,
    ForwardingGroup,
    MediaPacket,
    ProducerStream,
    TransportEntry,
)
from sfu.rtp.extensions import packet_elements_untrusted
from sfu.rtp.layers import KEYFRAME, NO_LAYERS, read_layers
from sfu.rtp.packet import RtpError, RtpPacket, parse_untrusted
from sfu.rtp.payload import VideoCodec, opus_is_dtx
from sfu.rtp.rtx import recover_untrusted
from sfu.rtp.srtp import SrtpError

_PARTLY_MARKED: Final = frozenset((VideoCodec.H264, VideoCodec.AV1))
"""Codecs that name the layer in the first packet of a frame only: too little to leave any out by."""
STUN_RATE: Final = 2000
"""STUN packets per second that addresses unknown to the table may send up."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What the receiving side's bookkeeping needs to know of one media packet."""

    stream: ProducerStream
    extended: int
    """Unwrapped sequence number; of the original packet where a repair brought it."""
    timestamp: int
    arrival: float
    repaired: bool
    keyframe: bool
    duplicate: bool


@dataclass(slots=True)
class Upward:
    """What one drain brought that an engine does not decide."""

    stun: list[tuple[bytes, Address]] = field(default_factory=list)
    dtls: list[tuple[TransportEntry, bytes, Address]] = field(default_factory=list)
    rtcp: list[tuple[TransportEntry, bytes]] = field(default_factory=list)
    """Opened."""
    unknown: list[tuple[TransportEntry, bytes]] = field(default_factory=list)
    """Opened RTP of an SSRC that is not in the table (yet); :meth:`PythonEngine.inject` takes it back."""
    digests: list[Digest] = field(default_factory=list)
    transport_sequences: list[tuple[TransportEntry, int, float]] = field(default_factory=list)
    """(transport, transport-wide sequence number, arrival) of every packet that carried one."""
    faults: list[tuple[TransportEntry, Exception]] = field(default_factory=list)
    """(transport, what it raised) of every packet that brought about what nothing expects."""


class PythonEngine:
    """Moves packets as the table says. All methods are synchronous and leave egress for :meth:`egress`."""

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self.tuples: dict[Address, TransportEntry] = {}
        """Addresses that ICE has validated."""
        self.counters = EngineCounters()
        self.upward = Upward()
        self._random_bytes = random_bytes
        self._fanout = Fanout(self.counters)
        self._touched: list[ProducerStream] = []
        self._stun_window = 0.0
        self._stun_count = 0

    # ---------------------------------------------------------------- commands

    def add_stream(self, stream: ProducerStream) -> None:
        """Route an SSRC of a transport. The caller has checked that it is free."""
        stream.transport.streams[stream.ssrc] = stream
        if stream.repair_ssrc is not None:
            stream.transport.repairs[stream.repair_ssrc] = stream

    def remove_stream(self, stream: ProducerStream) -> None:
        """Forget a stream; its groups get nothing more."""
        entry = stream.transport
        if entry.streams.get(stream.ssrc) is stream:
            del entry.streams[stream.ssrc]
        if stream.repair_ssrc is not None and entry.repairs.get(stream.repair_ssrc) is stream:
            del entry.repairs[stream.repair_ssrc]
        stream.groups.clear()
        for consumer in stream.armed:
            consumer.target = None
        stream.armed.clear()

    def add_repair(self, stream: ProducerStream, ssrc: int) -> None:
        """The SSRC of a stream's RTX became known."""
        if stream.repair_ssrc is None and ssrc not in stream.transport.streams:
            stream.repair_ssrc = ssrc
            stream.transport.repairs[ssrc] = stream

    def forget_transport(self, entry: TransportEntry) -> None:
        """Nothing comes from or goes to it any more."""
        entry.address = entry.sender = entry.receiver = None
        entry.streams.clear()
        entry.repairs.clear()

    def add_consumer(self, consumer: ConsumerEntry) -> None:
        """Take a consumer. It stays silent until it is armed."""
        # A first number in the lower half keeps early reordering clear of the wrap below zero.
        consumer.repair_index = int.from_bytes(self._random_bytes(2), "big") >> 1

    def group(
        self,
        stream: ProducerStream,
        *,
        drop_dtx: bool = False,
        spatial: int = MAX_SPATIAL,
        temporal: int = MAX_TEMPORAL,
    ) -> ForwardingGroup:
        """The group of those who want this of a stream; it is made if nobody does so far."""
        for group in stream.groups:
            if (group.drop_dtx, group.spatial, group.temporal) == (drop_dtx, spatial, temporal):
                return group
        is_video = stream.priority is Priority.VIDEO
        return ForwardingGroup(stream, drop_dtx, is_video, spatial, temporal)

    def arm(self, consumer: ConsumerEntry, group: ForwardingGroup | None = None) -> None:
        """Let a consumer start, or go over to another group, at the next packet with which a decoder can."""
        self._disarm(consumer)
        target = group or consumer.group
        if consumer.first is not None and target is consumer.group:
            return
        stream = target.stream
        consumer.target = target
        stream.armed.append(consumer)
        if target not in stream.groups:
            stream.groups.append(target)

    def _disarm(self, consumer: ConsumerEntry) -> None:
        """It stays where it is."""
        target, consumer.target = consumer.target, None
        if target is not None:
            target.stream.armed.remove(consumer)
            self._let_go(target)

    def remove_consumer(self, consumer: ConsumerEntry) -> None:
        """Forget a consumer. Its SSRC must not be used again under the same key."""
        self._disarm(consumer)
        leave(consumer)
        self._let_go(consumer.group)

    @staticmethod
    def _let_go(group: ForwardingGroup) -> None:
        """Do no more for a group that has no consumers and expects none."""
        stream = group.stream
        if not group.shapes and group in stream.groups and all(c.target is not group for c in stream.armed):
            stream.groups.remove(group)

    # ----------------------------------------------------------------- ingress

    def process(self, batch: Iterable[Datagram], now: float) -> Upward:
        """Take one drain: forward what the table knows, and return what goes up.

        The result is reused by the next call.
        """
        upward = self.upward = Upward()
        tuples = self.tuples
        counters = self.counters
        for data, address, arrival in batch:
            counters.received += 1
            if len(data) < 2:
                counters.unknown_protocol += 1
                continue
            first = data[0]
            entry = tuples.get(address)
            if 128 <= first < 192:
                if entry is None:
                    counters.foreign += 1
                elif entry.receiver is None:
                    counters.not_ready += 1
                else:
                    try:
                        if 192 <= data[1] < 224:
                            upward.rtcp.append((entry, entry.receiver.unprotect_rtcp_untrusted(data)))
                        else:
                            self._receive(entry, entry.receiver.unprotect_rtp_untrusted(data), arrival)
                    except SrtpError:
                        counters.srtp_refused += 1
                    except RtpError:
                        counters.malformed += 1
                    except Exception as error:  # noqa: BLE001 - a fault of ours must not end the others' media
                        upward.faults.append((entry, error))
            elif first < 4:
                if entry is None and not self._allow_stun(now):
                    counters.stun_limited += 1
                else:
                    upward.stun.append((data, address))
            elif 20 <= first < 64:
                if entry is None:
                    counters.foreign += 1
                else:
                    upward.dtls.append((entry, data, address))
            else:
                counters.unknown_protocol += 1
        self._forward_bursts(now)
        return upward

    def inject(self, entry: TransportEntry, plain: bytes, now: float) -> Upward:
        """Take back an opened packet whose SSRC has been put into the table meanwhile."""
        self.upward = Upward()
        try:
            self._receive(entry, plain, now)
        except RtpError:
            self.counters.malformed += 1
        except Exception as error:  # noqa: BLE001 - as in process()
            self.upward.faults.append((entry, error))
        self._forward_bursts(now)
        return self.upward

    def _allow_stun(self, now: float) -> bool:
        if now - self._stun_window >= 1.0:
            self._stun_window = now
            self._stun_count = 0
        self._stun_count += 1
        return self._stun_count <= STUN_RATE

    def _receive(self, entry: TransportEntry, plain: bytes, arrival: float) -> None:
        packet = parse_untrusted(plain)
        elements = packet_elements_untrusted(packet)
        upward = self.upward
        stream = entry.streams.get(packet.ssrc)
        repaired = stream is None
        if stream is None:
            stream = entry.repairs.get(packet.ssrc)
            if stream is None:
                upward.unknown.append((entry, plain))
                return
        stream.octets += len(plain)
        if stream.transport_sequence_id is not None:
            found = elements.get(stream.transport_sequence_id)
            if found is not None and found[1] == 2:
                at = found[0]
                upward.transport_sequences.append((entry, plain[at] << 8 | plain[at + 1], arrival))
        if repaired:
            original = recover_untrusted(
                packet,
                ssrc=stream.ssrc,
                payload_type=stream.repair_types.get(packet.payload_type, packet.payload_type),
            )
            if original is None:
                return  # a bandwidth probe
            packet = original  # its header, and so its extension, is where it was
        self._take(stream, packet, elements, repaired, arrival)

    def _take(
        self,
        stream: ProducerStream,
        packet: RtpPacket,
        elements: dict[int, tuple[int, int]],
        repaired: bool,
        arrival: float,
    ) -> None:
        """Turn one packet into its router form and put it into its stream's burst."""
        known = stream.payload_types.get(packet.payload_type)
        if known is None:
            self.counters.unknown_payload_type += 1
            return
        plain = packet.data
        start = packet.payload_offset
        size = packet.payload_length
        payload = plain[start : start + size]
        codec = known[1]
        layers = NO_LAYERS if codec is None else read_layers(codec, payload)
        if codec in _PARTLY_MARKED and (layers.spatial or layers.temporal):
            layers = KEYFRAME if layers.keyframe else NO_LAYERS
        if stream.descriptor_id in elements:
            at, length = elements[stream.descriptor_id]
            descriptor = stream.descriptors.read_untrusted(plain[at : at + length])
            if descriptor is not None:
                layers = descriptor.layers(layers.keyframe)
        stream.layer_octets[layers.spatial * MAX_TEMPORAL + layers.temporal] += size
        newest = stream.sequence.highest
        extended = stream.sequence.unwrap(packet.sequence_number)
        begins = False
        if newest is None or extended > newest:
            begins = packet.timestamp != stream.timestamp
            stream.timestamp = packet.timestamp
            stream.arrival = arrival
        passed = tuple(
            [
                (stream.elements[identifier], plain[at : at + length])
                for identifier, (at, length) in elements.items()
                if identifier in stream.elements
            ]
        )
        media = MediaPacket(
            extended, packet.marker, known[0], packet.timestamp, payload, passed, arrival, layers, begins
        )
        duplicate = stream.cache is not None and not stream.cache.put(media)
        self.upward.digests.append(
            Digest(stream, extended, packet.timestamp, arrival, repaired, layers.keyframe, duplicate)
        )
        if duplicate:
            self.counters.duplicate += 1
            return
        if not stream.groups:
            return
        if not stream.burst:
            self._touched.append(stream)
        stream.burst.append(media)

    # ----------------------------------------------------------------- forward

    def _forward_bursts(self, now: float) -> None:
        for stream in self._touched:
            try:
                self._forward_burst(stream, stream.burst, now)
            except Exception as error:  # noqa: BLE001 - as in process()
                self.upward.faults.append((stream.transport, error))
            stream.burst.clear()
        self._touched.clear()

    def _forward_burst(self, stream: ProducerStream, burst: list[MediaPacket], now: float) -> None:
        """Send a burst to all groups of a stream, cut where consumers begin or change their group."""
        begin = 0
        if stream.armed:
            for i, packet in enumerate(burst):
                if not packet.payload:
                    continue
                movers = [consumer for consumer in stream.armed if can_switch(consumer, packet)]
                if not movers:
                    continue
                if i > begin:
                    self._forward_all(stream, burst[begin:i], now)
                    begin = i
                for consumer in movers:
                    stream.armed.remove(consumer)
                    left = consumer.group
                    switch(consumer, packet, int.from_bytes(self._random_bytes(2), "big") >> 1)
                    self._let_go(left)
        self._forward_all(stream, burst[begin:] if begin else burst, now)

    def _forward_all(self, stream: ProducerStream, burst: list[MediaPacket], now: float) -> None:
        for group in stream.groups:
            self._forward(group, burst, now)

    def _forward(self, group: ForwardingGroup, burst: list[MediaPacket], now: float) -> None:
        """Send a burst, or what is wanted of it, to all consumers of a group."""
        compactor = group.compactor
        whole = group.whole
        packets: list[tuple[int, MediaPacket]] = []
        for packet in burst:
            extended = packet.extended
            in_order = extended > group.highest
            if in_order:
                group.highest = extended
            layers = packet.layers
            if (
                not packet.payload
                or (group.drop_dtx and opus_is_dtx(packet.payload))
                or not (whole or group.wants(layers))
            ):
                # Only what comes in order can be numbered around; a late one leaves a gap, as a loss does.
                if in_order:
                    compactor.drop(extended)
                    if packet.payload_type in group.stream.vp8_types:
                        group.drop_picture(layers)
                continue
            if in_order:
                group.latest = layers
            packets.append((compactor.number(extended), packet))
        if packets:
            for shape in group.shapes:
                self._fanout.send(group, shape, packets, now)

    # ------------------------------------------------------------------ egress

    def retransmit(self, consumer: ConsumerEntry, lost: Iterable[int], now: float) -> int:
        """Repeat packets that a consumer misses: see :meth:`sfu.media.fanout.Fanout.retransmit`."""
        return self._fanout.retransmit(consumer, lost, now)

    def probe(self, consumer: ConsumerEntry, size: int, now: float, cluster: int) -> int:
        """Send more than there is to send: see :meth:`sfu.media.fanout.Fanout.probe`."""
        return self._fanout.probe(consumer, size, now, cluster)

    def egress(self) -> list[Egress]:
        """What is to be sent, audio before video; the engine keeps nothing of it."""
        return self._fanout.egress()

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
from functools import cache
from struct import Struct
from typing import Final

from sfu.ice.address import Address
from sfu.media.egress import MAX_SEGMENTED_BYTES, MAX_SEGMENTS, Egress, Priority
from sfu.media.table import (
    ConsumerEntry,
    ForwardingGroup,
    MediaPacket,
    ProducerStream,
    Shape,
    TransportEntry,
)
from sfu.rtp.extensions import packet_elements_untrusted
from sfu.rtp.packet import RtpError, RtpPacket, build_padding, parse_untrusted
from sfu.rtp.payload import is_keyframe_start, opus_is_dtx
from sfu.rtp.rtx import recover_untrusted
from sfu.rtp.srtp import SrtpError

MAX_WIRE_PACKET: Final = 1200
"""Bytes to which RTP padding may extend a packet, SRTP's tag included."""
MAX_PADDING: Final = 32
"""Bytes of RTP padding that one packet may get to fit its run."""
MAX_PADDING_SHARE: Final = 50
"""Padding is added when it is at most one part in this many of the drain."""
STUN_RATE: Final = 2000
"""STUN packets per second that addresses unknown to the table may send up."""
MAX_TAG: Final = 16

_HEADER = Struct("!BBHII")


@cache
def _layout(mid: int, tail: int, *, numbered: bool) -> Callable[..., bytes]:
    """Packs a whole header: fixed part, extension head, MID (and the head of the next element), the
    transport-wide sequence number, tail. Made once per layout; there are a few dozen.
    """
    number = "H" if numbered else ""
    return Struct(f"!BBHII4s{mid}s{number}{tail}s").pack


_EXTENSION_PROFILE: Final = b"\xbe\xde"
_PADDING: Final = tuple(build_padding(n) if n else b"" for n in range(MAX_PADDING + 1))
_ZEROS: Final = (b"", b"\0", b"\0\0", b"\0\0\0")
_WORDS: Final = tuple(n.to_bytes(2, "big") for n in range(64))


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
    received: list[tuple[TransportEntry, int]] = field(default_factory=list)
    """(transport, bytes) of every authentic RTP packet."""


@dataclass(slots=True)
class EngineCounters:
    """Packets that went nowhere, by reason, and those that did."""

    received: int = 0
    forwarded: int = 0
    """Sent to consumers, one for each."""
    retransmitted: int = 0
    foreign: int = 0
    """Not STUN, from an address that ICE has not validated."""
    stun_limited: int = 0
    unknown_protocol: int = 0
    not_ready: int = 0
    """RTP or RTCP before DTLS connected."""
    srtp_refused: int = 0
    """Forged, replayed or damaged."""
    malformed: int = 0
    unknown_payload_type: int = 0
    duplicate: int = 0
    unroutable: int = 0
    """For a consumer whose transport has no address at the moment."""


class PythonEngine:
    """Moves packets as the table says. All methods are synchronous and leave egress for :meth:`egress`."""

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self.tuples: dict[Address, TransportEntry] = {}
        """Addresses that ICE has validated."""
        self.counters = EngineCounters()
        self.upward = Upward()
        self._random_bytes = random_bytes
        self._egress: list[Egress] = []
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
        """Put a consumer into its group and shape. It stays silent until it is armed."""
        group = consumer.group
        if consumer.shape not in group.shapes:
            group.shapes.append(consumer.shape)
        # A first number in the lower half keeps early reordering clear of the wrap below zero.
        consumer.repair_index = int.from_bytes(self._random_bytes(2), "big") >> 1

    def arm(self, consumer: ConsumerEntry) -> None:
        """Let a consumer start at the next packet that a decoder can start with."""
        if consumer.first is None and consumer not in consumer.group.armed:
            consumer.group.armed.append(consumer)

    def remove_consumer(self, consumer: ConsumerEntry) -> None:
        """Forget a consumer. Its SSRC must not be used again under the same key."""
        group, shape = consumer.group, consumer.shape
        if consumer in group.armed:
            group.armed.remove(consumer)
        if consumer in shape.consumers:
            shape.consumers.remove(consumer)
        if not shape.consumers and not any(c.shape is shape for c in group.armed) and shape in group.shapes:
            group.shapes.remove(shape)

    # ----------------------------------------------------------------- ingress

    def process(self, batch: Iterable[tuple[bytes, Address]], now: float) -> Upward:
        """Take one drain: forward what the table knows, and return what goes up.

        The result is reused by the next call.
        """
        upward = self.upward = Upward()
        tuples = self.tuples
        counters = self.counters
        for data, address in batch:
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
                            self._receive(entry, entry.receiver.unprotect_rtp_untrusted(data), now)
                    except SrtpError:
                        counters.srtp_refused += 1
                    except RtpError:
                        counters.malformed += 1
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

    def inject(self, entry: TransportEntry, plain: bytes, now: float) -> None:
        """Take back an opened packet whose SSRC has been put into the table meanwhile."""
        try:
            self._receive(entry, plain, now)
        except RtpError:
            self.counters.malformed += 1
        self._forward_bursts(now)

    def _allow_stun(self, now: float) -> bool:
        if now - self._stun_window >= 1.0:
            self._stun_window = now
            self._stun_count = 0
        self._stun_count += 1
        return self._stun_count <= STUN_RATE

    def _receive(self, entry: TransportEntry, plain: bytes, now: float) -> None:
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
        upward.received.append((entry, len(plain)))
        if stream.transport_sequence_id is not None:
            found = elements.get(stream.transport_sequence_id)
            if found is not None and found[1] == 2:
                at = found[0]
                upward.transport_sequences.append((entry, plain[at] << 8 | plain[at + 1], now))
        if repaired:
            original = recover_untrusted(
                packet,
                ssrc=stream.ssrc,
                payload_type=stream.repair_types.get(packet.payload_type, packet.payload_type),
            )
            if original is None:
                return  # a bandwidth probe
            packet = original  # its header, and so its extension, is where it was
        self._take(stream, packet, elements, repaired, now)

    def _take(
        self,
        stream: ProducerStream,
        packet: RtpPacket,
        elements: dict[int, tuple[int, int]],
        repaired: bool,
        now: float,
    ) -> None:
        """Turn one packet into its router form and put it into its stream's burst."""
        known = stream.payload_types.get(packet.payload_type)
        if known is None:
            self.counters.unknown_payload_type += 1
            return
        plain = packet.data
        start = packet.payload_offset
        payload = plain[start : start + packet.payload_length]
        extended = stream.sequence.unwrap(packet.sequence_number)
        codec = known[1]
        keyframe = codec is not None and is_keyframe_start(codec, payload)
        passed = tuple(
            [
                (stream.elements[identifier], plain[at : at + size])
                for identifier, (at, size) in elements.items()
                if identifier in stream.elements
            ]
        )
        media = MediaPacket(
            extended, packet.marker, known[0], packet.timestamp, payload, passed, now, keyframe
        )
        duplicate = stream.cache is not None and not stream.cache.put(media)
        self.upward.digests.append(
            Digest(stream, extended, packet.timestamp, now, repaired, keyframe, duplicate)
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
            for group in stream.groups:
                self._forward(group, stream.burst, now)
            stream.burst.clear()
        self._touched.clear()

    def _forward(self, group: ForwardingGroup, burst: list[MediaPacket], now: float) -> None:
        """Send a burst to all consumers of a group."""
        compactor = group.compactor
        packets: list[tuple[int, MediaPacket]] = []
        start = 0
        starters: list[ConsumerEntry] = []
        for packet in burst:
            if not packet.payload or (group.drop_dtx and opus_is_dtx(packet.payload)):
                # Only what comes in order can be numbered around; a late one leaves a gap, as a loss does.
                if packet.extended > group.highest:
                    group.highest = packet.extended
                    compactor.drop(packet.extended)
                continue
            if packet.extended > group.highest:
                group.highest = packet.extended
            number = compactor.number(packet.extended)
            if group.armed and (packet.keyframe or not group.needs_keyframe):
                start = len(packets)
                starters = self._start(group, number)
            packets.append((number, packet))
        if not packets:
            return
        for shape in group.shapes:
            if shape.consumers:
                self._send_shape(shape, group.stream.priority, packets, now)
        if starters:
            for consumer in starters:
                shape = consumer.shape
                alone = Shape(
                    shape.mid_length,
                    shape.transport_sequence_id,
                    shape.abs_send_time_id,
                    shape.accepted,
                    [consumer],
                )
                self._send_shape(alone, group.stream.priority, packets[start:], now)
                shape.consumers.append(consumer)

    def _start(self, group: ForwardingGroup, number: int) -> list[ConsumerEntry]:
        """Give all armed consumers their first packet index, for the packet of this group number."""
        starters, group.armed = group.armed, []
        for consumer in starters:
            consumer.first = number
            consumer.sequence_offset = (int.from_bytes(self._random_bytes(2), "big") >> 1) - number
        return starters

    def _send_shape(
        self, shape: Shape, priority: Priority, packets: list[tuple[int, MediaPacket]], now: float
    ) -> None:
        """Build, seal and queue packets for all consumers of one header layout."""
        prepared = []
        lengths = []
        octets = 0
        abs_send_time = b""
        if shape.abs_send_time_id:
            # 24 bits of 6.18 fixed point seconds
            abs_send_time = (
                (shape.abs_send_time_id << 28) | (2 << 24) | (int(now * 262144) & 0xFFFFFF)
            ).to_bytes(4, "big")
        numbered = shape.transport_sequence_id != 0
        own = shape.mid_length + (3 if numbered else 0)
        oldest = packets[0][0]
        for number, packet in packets:
            tail = abs_send_time
            for identifier, value in packet.elements:
                if identifier in shape.accepted and 0 < len(value) <= 16:
                    tail += bytes((identifier << 4 | (len(value) - 1),)) + value
            size = own + len(tail)
            if size:
                tail += _ZEROS[-size % 4]
                size = (size + 3) & ~3
                lead = _EXTENSION_PROFILE + _WORDS[size >> 2]
                layout = _layout(own - 2 if numbered else own, len(tail), numbered=numbered)
                first = 0x90
                length = 16 + size + len(packet.payload)
            else:
                lead = b""
                layout = _HEADER.pack
                first = 0x80
                length = 12 + len(packet.payload)
            second = packet.payload_type | (0x80 if packet.marker else 0)
            octets += len(packet.payload)
            lengths.append(length)
            if number < oldest:
                oldest = number
            prepared.append((layout, first, second, number, packet.timestamp, lead, tail, packet.payload))
        if len(prepared) > 1 and priority is Priority.VIDEO:
            self._pad(prepared, lengths)
        runs = _runs(lengths)
        counters = self.counters
        egress = self._egress
        sequence_head = bytes((shape.transport_sequence_id << 4 | 1,)) if numbered else b""
        for consumer in shape.consumers:
            entry = consumer.transport
            sender = entry.sender
            address = entry.address
            if sender is None or address is None:
                counters.unroutable += len(prepared)
                continue
            assert consumer.first is not None
            if oldest < consumer.first:
                self._send_late(consumer, priority, prepared)
                continue
            seal = sender.seal
            ssrc = consumer.ssrc
            offset = consumer.sequence_offset
            mid = consumer.mid + sequence_head
            buffers: list[bytes] = []
            index = 0
            for layout, first, second, number, timestamp, lead, tail, payload in prepared:
                index = number + offset
                if numbered:
                    sequence = entry.next_transport_sequence
                    entry.next_transport_sequence = sequence + 1
                    header = layout(
                        first, second, index & 0xFFFF, timestamp, ssrc, lead, mid, sequence & 0xFFFF, tail
                    )
                elif lead:
                    header = layout(first, second, index & 0xFFFF, timestamp, ssrc, lead, mid, tail)
                else:
                    header = layout(first, second, index & 0xFFFF, timestamp, ssrc)
                buffers.append(header)
                buffers.append(seal(header, payload, ssrc, index))
            consumer.highest_index = max(consumer.highest_index, index)
            tag = len(buffers[1]) - len(prepared[0][7])
            for begin, end in runs:
                count = end - begin
                egress.append(
                    Egress(
                        address,
                        buffers[2 * begin : 2 * end],
                        priority,
                        lengths[begin] + tag if count > 1 else 0,
                        count,
                    )
                )
            consumer.packets += len(prepared)
            consumer.octets += octets
            counters.forwarded += len(prepared)

    def _send_late(self, consumer: ConsumerEntry, priority: Priority, prepared: list[Prepared]) -> None:
        """Send to a consumer that started after the oldest packet of this burst: that one is not for it."""
        first = consumer.first
        assert first is not None
        entry = consumer.transport
        assert entry.sender is not None
        assert entry.address is not None
        for _, begin, second, number, timestamp, lead, tail, payload in prepared:
            if number < first:
                continue
            index = number + consumer.sequence_offset
            header = _HEADER.pack(begin, second, index & 0xFFFF, timestamp, consumer.ssrc) + lead
            if lead:
                header += self._own_elements(consumer) + tail
            body = entry.sender.seal(header, payload, consumer.ssrc, index)
            self._egress.append(Egress(entry.address, [header, body], priority))
            consumer.highest_index = max(consumer.highest_index, index)
            consumer.packets += 1
            consumer.octets += len(payload)
            self.counters.forwarded += 1

    def _own_elements(self, consumer: ConsumerEntry) -> bytes:
        """MID and a fresh transport-wide sequence number, as the consumer's shape has them."""
        identifier = consumer.shape.transport_sequence_id
        if not identifier:
            return consumer.mid
        entry = consumer.transport
        sequence = entry.next_transport_sequence
        entry.next_transport_sequence = sequence + 1
        return consumer.mid + bytes((identifier << 4 | 1, sequence >> 8 & 0xFF, sequence & 0xFF))

    def _pad(self, prepared: list[Prepared], lengths: list[int]) -> None:
        """Make a burst of nearly equal packets one run of equal ones, where that costs next to nothing."""
        longest = max(lengths)
        if longest + MAX_TAG > MAX_WIRE_PACKET:
            return
        # The last packet of a run may be shorter, so it is left as it is.
        short = [i for i in range(len(lengths) - 1) if 0 < longest - lengths[i] <= MAX_PADDING]
        if lengths[-1] != longest and longest - lengths[-1] <= MAX_PADDING and not short:
            return
        total = sum(longest - lengths[i] for i in short)
        if not total or total * MAX_PADDING_SHARE > sum(lengths):
            return
        for i in short:
            layout, first, second, number, timestamp, lead, tail, payload = prepared[i]
            prepared[i] = (
                layout,
                first | 0x20,
                second,
                number,
                timestamp,
                lead,
                tail,
                payload + _PADDING[longest - lengths[i]],
            )
            lengths[i] = longest

    # ----------------------------------------------------------------- repairs

    def retransmit(self, consumer: ConsumerEntry, lost: Iterable[int], now: float) -> int:
        """Repeat packets that a consumer misses, over its RTX stream (RFC 4588).

        ``lost`` are sequence numbers (16 bits) as the consumer saw them. Returns how many could be repeated:
        not those that were never sent, or are no longer kept.
        """
        cache = consumer.group.stream.cache
        entry = consumer.transport
        if (
            cache is None
            or consumer.repair_ssrc is None
            or consumer.first is None
            or entry.sender is None
            or entry.address is None
        ):
            return 0
        sent = 0
        highest = consumer.highest_index
        for sequence_number in lost:
            index = highest - ((highest - sequence_number) & 0xFFFF)
            number = index - consumer.sequence_offset
            if number < consumer.first:
                continue
            packet = cache.get(consumer.group.compactor.extended(number), now)
            if packet is None or not packet.payload:
                continue
            repair_type = consumer.repair_types.get(packet.payload_type)
            if repair_type is None:
                continue
            header = self._repair_header(consumer, packet, repair_type, now)
            payload = (index & 0xFFFF).to_bytes(2, "big") + packet.payload
            body = entry.sender.seal(header, payload, consumer.repair_ssrc, consumer.repair_index)
            consumer.repair_index += 1
            self._egress.append(Egress(entry.address, [header, body], Priority.VIDEO))
            sent += 1
        consumer.retransmitted += sent
        self.counters.retransmitted += sent
        return sent

    def _repair_header(
        self, consumer: ConsumerEntry, packet: MediaPacket, payload_type: int, now: float
    ) -> bytes:
        shape = consumer.shape
        extension = self._own_elements(consumer)
        if shape.abs_send_time_id:
            extension += bytes((shape.abs_send_time_id << 4 | 2,))
            extension += (int(now * 262144) & 0xFFFFFF).to_bytes(3, "big")
        for identifier, value in packet.elements:
            if identifier in shape.accepted and 0 < len(value) <= 16:
                extension += bytes((identifier << 4 | (len(value) - 1),)) + value
        extension += _ZEROS[-len(extension) % 4]
        assert consumer.repair_ssrc is not None
        header = _HEADER.pack(
            0x90 if extension else 0x80,
            payload_type | (0x80 if packet.marker else 0),
            consumer.repair_index & 0xFFFF,
            packet.timestamp,
            consumer.repair_ssrc,
        )
        if extension:
            header += _EXTENSION_PROFILE + _WORDS[len(extension) >> 2] + extension
        return header

    # ------------------------------------------------------------------ egress

    def egress(self) -> list[Egress]:
        """What is to be sent, audio before video; the engine keeps nothing of it."""
        egress, self._egress = self._egress, []
        if len(egress) > 1:
            egress.sort(key=_priority)
        return egress


Prepared = tuple[Callable[..., bytes], int, int, int, int, bytes, bytes, bytes]
"""Header layout, first and second byte, group number, timestamp, extension head and tail, payload."""


def _priority(egress: Egress) -> int:
    return egress.priority


def _runs(lengths: list[int]) -> list[tuple[int, int]]:
    """Cut a burst where segmentation cannot go on: [begin, end) of packets as long as the first, and one
    shorter one at the end.
    """
    runs = []
    begin = 0
    count = len(lengths)
    while begin < count:
        length = lengths[begin]
        most = min(begin + MAX_SEGMENTS, begin + MAX_SEGMENTED_BYTES // (length + MAX_TAG), count)
        end = begin + 1
        while end < most:
            if lengths[end] != length:
                if lengths[end] < length:
                    end += 1
                break
            end += 1
        runs.append((begin, end))
        begin = end
    return runs

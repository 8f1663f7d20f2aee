"""The sending half of the ``python`` engine: from one packet of a group to a sealed packet for each consumer.

Whatever depends on packet and header layout is computed once per :class:`~sfu.media.table.Shape`: extension
tails, where a burst is cut into runs for segmentation, which packets are padded so that a run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from struct import Struct
from typing import Final

from sfu.media.egress import MAX_SEGMENTED_BYTES, MAX_SEGMENTS, Egress, Priority
from sfu.media.switching import altered, is_altered
from sfu.media.table import (
    MAX_SENT,
    ConsumerEntry,
    ForwardingGroup,
    MediaPacket,
    Segment,
    Shape,
    TransportEntry,
)
from sfu.rtp.packet import build_padding

MAX_WIRE_PACKET: Final = 1200
"""Bytes to which RTP padding may extend a packet, SRTP's tag included."""
MAX_PADDING: Final = 32
"""Bytes of RTP padding that one packet may get to fit its run."""
MAX_PADDING_SHARE: Final = 50
"""Padding is added when it is at most one part in this many of the drain."""
MAX_TAG: Final = 16
PROBE_REACH: Final = 8
"""Of a consumer's latest packets, how many a probe repeats."""

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


@dataclass(slots=True)
class EngineCounters:
    """Packets that went nowhere, by reason, and those that did."""

    received: int = 0
    forwarded: int = 0
    """Sent to consumers, one for each."""
    retransmitted: int = 0
    probes: int = 0
    """Packets repeated only to see what a line carries."""
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


class Fanout:
    """Builds, seals and queues packets; :meth:`egress` hands them over."""

    def __init__(self, counters: EngineCounters) -> None:
        self._counters = counters
        self._egress: list[Egress] = []

    def send(
        self, group: ForwardingGroup, shape: Shape, packets: list[tuple[int, MediaPacket]], now: float
    ) -> None:
        """Build, seal and queue packets for all consumers of one header layout."""
        priority = group.stream.priority
        as_they_came = not is_altered(group, shape)
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
        oldest = newest = packets[0][0]
        for number, packet in packets:
            payload, timestamp, marker = packet.payload, packet.timestamp, packet.marker
            if not as_they_came:
                payload, timestamp, marker = altered(group, shape, packet)
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
                length = 16 + size + len(payload)
            else:
                lead = b""
                layout = _HEADER.pack
                first = 0x80
                length = 12 + len(payload)
            second = packet.payload_type | (0x80 if marker else 0)
            octets += len(payload)
            lengths.append(length)
            if number < oldest:
                oldest = number
            elif number > newest:
                newest = number
            prepared.append((layout, first, second, number, timestamp, lead, tail, payload))
        if len(prepared) > 1 and priority is Priority.VIDEO:
            self._pad(prepared, lengths)
        runs = _runs(lengths)
        sizes: list[int] = []
        counters = self._counters
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
                self._send_late(consumer, priority, prepared, now)
                continue
            seal = sender.seal
            ssrc = consumer.ssrc
            offset = consumer.sequence_offset
            mid = consumer.mid + sequence_head
            buffers: list[bytes] = []
            if entry.sent is not None and (numbered or priority is Priority.VIDEO):
                sizes = sizes or [length + MAX_TAG for length in lengths]
                _record(entry, entry.next_transport_sequence, sizes, now)
                if not numbered:
                    entry.next_transport_sequence += len(sizes)
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
            consumer.highest_index = max(consumer.highest_index, newest + offset)
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

    def _send_late(
        self, consumer: ConsumerEntry, priority: Priority, prepared: list[Prepared], now: float
    ) -> None:
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
                if entry.sent is not None and consumer.shape.transport_sequence_id:
                    size = len(header) + len(payload) + MAX_TAG
                    _record(entry, entry.next_transport_sequence, (size,), now)
                header += self._own_elements(consumer) + tail
            body = entry.sender.seal(header, payload, consumer.ssrc, index)
            self._egress.append(Egress(entry.address, [header, body], priority))
            consumer.highest_index = max(consumer.highest_index, index)
            consumer.packets += 1
            consumer.octets += len(payload)
            self._counters.forwarded += 1

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
        not those that were never sent, or are no longer kept. A number that came to stand for a packet of a
        layer that the consumer does not get is filled with an empty one.
        """
        if consumer.first is None:
            return 0
        sent = 0
        highest = consumer.highest_index
        for sequence_number in lost:
            if self._repeat(consumer, highest - ((highest - sequence_number) & 0xFFFF), now):
                sent += 1
        consumer.retransmitted += sent
        self._counters.retransmitted += sent
        return sent

    def probe(self, consumer: ConsumerEntry, size: int, now: float, cluster: int) -> int:
        """Send at least ``size`` bytes more than there is to send: the latest packets once more, over RTX.

        Returns how many packets that were; 0 if there are none to repeat.
        """
        if consumer.first is None:
            return 0
        sent = 0
        while size > 0:
            before = sent
            for back in range(PROBE_REACH):
                sealed = self._repeat(consumer, consumer.highest_index - back, now, cluster)
                if sealed:
                    sent += 1
                    size -= sealed
                if size <= 0:
                    break
            if sent == before:
                break
        self._counters.probes += sent
        return sent

    def _repeat(self, consumer: ConsumerEntry, index: int, now: float, cluster: int = 0) -> int:
        """Send one packet again over RTX. Returns its bytes on the wire, 0 if it cannot be sent."""
        entry = consumer.transport
        sender = entry.sender
        segment = _segment(consumer, index)
        if consumer.repair_ssrc is None or sender is None or entry.address is None or segment is None:
            return 0
        group = segment.group
        cache = group.stream.cache
        if cache is None:
            return 0
        packet = cache.get(group.compactor.extended(index - segment.sequence_offset), now)
        repair_type = None if packet is None else consumer.repair_types.get(packet.payload_type)
        if packet is None or repair_type is None:
            return 0
        payload, timestamp, marker = altered(group, segment.shape, packet)
        if not group.wants(packet.layers):
            payload = b""
        second = repair_type | (0x80 if marker else 0)
        number = entry.next_transport_sequence
        header = self._repair_header(consumer, packet, second, timestamp, now)
        payload = (index & 0xFFFF).to_bytes(2, "big") + payload
        body = sender.seal(header, payload, consumer.repair_ssrc, consumer.repair_index)
        consumer.repair_index += 1
        self._egress.append(Egress(entry.address, [header, body], Priority.VIDEO))
        size = len(header) + len(body)
        if entry.sent is not None and entry.next_transport_sequence != number:
            _record(entry, number, (size,), now, cluster)
        return size

    def _repair_header(
        self, consumer: ConsumerEntry, packet: MediaPacket, second: int, timestamp: int, now: float
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
            second,
            consumer.repair_index & 0xFFFF,
            timestamp,
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


def _record(entry: TransportEntry, first: int, sizes: Sequence[int], now: float, cluster: int = 0) -> None:
    """Note what goes out, for the estimator of the line."""
    assert entry.sent is not None
    if len(entry.sent) < MAX_SENT:
        entry.sent.append((first, sizes, now, cluster))


def _segment(consumer: ConsumerEntry, index: int) -> Segment | None:
    """Where a packet index of a consumer came from; None if it was never sent or is too long ago."""
    assert consumer.first is not None
    if index >= consumer.first + consumer.sequence_offset:
        return Segment(consumer.first, consumer.sequence_offset, consumer.group, consumer.shape)
    for segment in reversed(consumer.segments):
        if index >= segment.first + segment.sequence_offset:
            return segment
    return None


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

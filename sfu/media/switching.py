"""When a consumer may go from one forwarding group to another, and how its numbers go on then.

A decoder can go on with another stream (simulcast), or with a higher spatial layer, at a key frame; with
fewer layers at any picture; with more temporal layers at a picture that refers to none it has not seen.
"""

from __future__ import annotations

from typing import Final

from sfu.media.table import MAX_SEGMENTS, ConsumerEntry, ForwardingGroup, MediaPacket, Segment, Shape
from sfu.rtp.layers import rewrite_vp8

MAX_DISAGREEMENT: Final = 1.0
"""Seconds by which sender reports and arrivals may differ on how far one stream is behind another."""
_TIMESTAMPS: Final = 1 << 32


def needs_keyframe(consumer: ConsumerEntry) -> bool:
    """Whether only a key frame lets it go on to its target."""
    target, group = consumer.target, consumer.group
    if target is None or not target.needs_keyframe:
        return False
    return consumer.first is None or target.stream is not group.stream or target.spatial > group.spatial


def can_switch(consumer: ConsumerEntry, packet: MediaPacket) -> bool:
    """Whether a consumer that is armed can go over to its target with this packet of the target's stream."""
    target, group = consumer.target, consumer.group
    assert target is not None
    if packet.layers.keyframe:
        return True
    if needs_keyframe(consumer):
        return False
    if consumer.first is None:
        return True
    layers = packet.layers
    if not packet.begins or not target.wants(layers):
        return False
    if target.temporal > group.temporal:
        return layers.temporal > group.temporal and layers.switch_up
    return True


def switch(consumer: ConsumerEntry, packet: MediaPacket, first_index: int) -> None:
    """Take a consumer into its target group, beginning with this packet.

    ``first_index``: the packet index of one that has not been sent anything yet.
    """
    target, group = consumer.target, consumer.group
    assert target is not None
    number = target.compactor.number(packet.extended)
    shape = consumer.shape
    if consumer.first is None:
        index = first_index
    else:
        leave(consumer)
        consumer.segments.append(Segment(consumer.first, consumer.sequence_offset, group, shape))
        del consumer.segments[:-MAX_SEGMENTS]
        index = consumer.highest_index + 1
        shape = _continued(consumer, packet)
    consumer.target = None
    consumer.group = target
    consumer.first = number
    consumer.sequence_offset = index - number
    _join(consumer, target, shape)


def leave(consumer: ConsumerEntry) -> None:
    """Take a consumer out of its group."""
    group, shape = consumer.group, consumer.shape
    if consumer in shape.consumers:
        shape.consumers.remove(consumer)
        if not shape.consumers:
            group.shapes.remove(shape)


def _join(consumer: ConsumerEntry, group: ForwardingGroup, shape: Shape) -> None:
    """Put a consumer among those of a group whose packets are prepared as ``shape`` says."""
    key = shape.key
    for other in group.shapes:
        if other.key == key:
            shape = other
            break
    else:
        group.shapes.append(shape)
    shape.consumers.append(consumer)
    consumer.shape = shape


def _continued(consumer: ConsumerEntry, packet: MediaPacket) -> Shape:
    """A shape whose offsets let the target look as if it went on from what the consumer saw last."""
    group, target, shape = consumer.group, consumer.target, consumer.shape
    latest, layers = group.latest, packet.layers
    assert target is not None
    timestamp_offset, picture_offset, tl0_offset = shape.timestamp_offset, 0, shape.tl0_offset
    if packet.payload_type not in target.stream.vp8_types:
        latest = None
    if latest is not None and latest.picture_id is not None and layers.picture_id is not None:
        shown = _picture_id(group, latest.picture_id) + shape.picture_offset
        picture_offset = (shown + 1 - _picture_id(target, layers.picture_id)) & 0x7FFF
    if target.stream is not group.stream:
        timestamp_offset = _timestamp_offset(consumer, packet)
        tl0_offset = 0
        if latest is not None and latest.tl0_index is not None and layers.tl0_index is not None:
            tl0_offset = (latest.tl0_index + shape.tl0_offset + 1 - layers.tl0_index) & 0xFF
    return shape.shifted(timestamp_offset, picture_offset, tl0_offset)


def _timestamp_offset(consumer: ConsumerEntry, packet: MediaPacket) -> int:
    """What to add to the new stream's timestamps, so that they go on in the time of the old one.

    The streams of a producer count from different random starts (RFC 3550 5.1). Sender reports say how they
    relate; before there are any, the times of arrival do.
    """
    assert consumer.target is not None
    old, new = consumer.group.stream, consumer.target.stream
    if old.timestamp is None:
        return 0
    rate = old.clock_rate
    ahead = by_arrival = round((packet.received - old.arrival) * rate)
    if old.reference is not None and new.reference is not None:
        (old_moment, old_timestamp), (new_moment, new_timestamp) = old.reference, new.reference
        since = _signed(packet.timestamp - new_timestamp) - _signed(old.timestamp - old_timestamp)
        by_reports = since + round((new_moment - old_moment) * rate)
        if abs(by_reports - by_arrival) <= MAX_DISAGREEMENT * rate:
            ahead = by_reports
    shown = old.timestamp + consumer.shape.timestamp_offset
    return (shown + max(ahead, 1) - packet.timestamp) % _TIMESTAMPS


def _signed(difference: int) -> int:
    """The nearest difference of two numbers of 32 bits."""
    return (difference + (_TIMESTAMPS >> 1)) % _TIMESTAMPS - (_TIMESTAMPS >> 1)


def _picture_id(group: ForwardingGroup, picture_id: int) -> int:
    """A picture id without those of the pictures that the group leaves out."""
    return picture_id if group.pictures is None else group.pictures.number(picture_id)


def is_altered(group: ForwardingGroup, shape: Shape) -> bool:
    """Whether packets are not forwarded as they came."""
    return bool(not group.whole or shape.timestamp_offset or shape.picture_offset or shape.tl0_offset)


def altered(group: ForwardingGroup, shape: Shape, packet: MediaPacket) -> tuple[bytes, int, bool]:
    """Payload, timestamp and marker of a packet as the consumers of a shape get it."""
    layers = packet.layers
    payload = packet.payload
    if packet.payload_type in group.stream.vp8_types and layers.picture_id_bits:
        number = _picture_id(group, layers.picture_id or 0) + shape.picture_offset
        payload = rewrite_vp8(payload, layers, number, (layers.tl0_index or 0) + shape.tl0_offset)
    # The last packet of the highest layer that is forwarded ends the picture for these consumers.
    marker = packet.marker or (layers.ends and layers.spatial == group.spatial)
    return payload, (packet.timestamp + shape.timestamp_offset) % _TIMESTAMPS, marker

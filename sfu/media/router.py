"""A router: one room's producers and consumers, and the part of the forwarding table that serves them.

Everything in here is decision, made when something is created, closed or reported, never per packet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UNSET

from sfu.media.egress import Priority
from sfu.media.engine import PythonEngine
from sfu.media.errors import MediaRefused
from sfu.media.events import CoreEvent, DataProducerClosed, ProducerClosed
from sfu.media.objects import (
    MAX_CONSUMERS,
    MAX_PRODUCERS,
    MAX_USED_SSRCS,
    Consumer,
    DataConsumer,
    DataProducer,
    Producer,
    ReceivedStream,
    RoutedTransport,
    Rung,
)
from sfu.media.ortc import (
    can_consume,
    consumable_parameters,
    consumer_parameters,
    is_rtx,
    producer_mapping,
    validate_rtp_parameters,
)
from sfu.media.parameters import (
    JsonObject,
    Kind,
    OrtcError,
    RtpCapabilities,
    RtpParameters,
    SctpStreamParameters,
    decode_untrusted,
    to_json,
)
from sfu.media.reception import StreamReceiver
from sfu.media.selection import by_size
from sfu.media.switching import needs_keyframe
from sfu.media.table import (
    MAX_STREAMS,
    ConsumerEntry,
    ProducerStream,
    RetransmissionCache,
    Shape,
)
from sfu.media.transport import TransportState
from sfu.rtp.extensions import ExtensionUri
from sfu.rtp.payload import VideoCodec

NEVER_PASSED_ON: Final = frozenset(
    {
        ExtensionUri.MID,
        ExtensionUri.RTP_STREAM_ID,
        ExtensionUri.REPAIRED_RTP_STREAM_ID,
        ExtensionUri.ABS_SEND_TIME,
        ExtensionUri.TRANSPORT_WIDE_CC,
        ExtensionUri.MEDIASOUP_PACKET_ID,
    }
)
"""Header extensions that belong to one hop: read or written by us, never copied."""
_CNAME: Final = re.compile(r"[!-~]{1,255}")
"""A CNAME that viewers can put into SDP. Chromium, sending simulcast, knows none and says ``""``."""
MAX_CAUSE: Final = 200
"""Characters that the log says about what a client sent."""
STREAMS: Final = 1024
"""SCTP streams in each direction of a transport, and so its data producers and data consumers at a time."""


class Router:
    """One room on this worker."""

    def __init__(
        self,
        router_id: str,
        capabilities: RtpCapabilities,
        engine: PythonEngine,
        emit: Callable[[CoreEvent], None],
        random_bytes: Callable[[int], bytes] = os.urandom,
        *,
        require_binary: bool = True,
    ) -> None:
        """``require_binary``: text ends a data producer whose protocol is not ``json``."""
        self.id = router_id
        self.transports: dict[str, RoutedTransport] = {}
        self.producers: dict[str, Producer] = {}
        self.data_producers: dict[str, DataProducer] = {}
        self._capabilities = capabilities
        self._engine = engine
        self._emit = emit
        self._random_bytes = random_bytes
        self._require_binary = require_binary
        self._next_mapped_ssrc = self._random_ssrc()

    def _random_ssrc(self) -> int:
        """Room for a few consecutive ones above it."""
        return 0x10000000 + int.from_bytes(self._random_bytes(4), "big") % 0xE0000000

    # --------------------------------------------------------------- producers

    def produce(
        self,
        transport: RoutedTransport,
        producer_id: str,
        kind: Kind,
        rtp_parameters: JsonObject,
        *,
        replaces: str | None = None,
    ) -> Producer:
        """Make a producer, in the place of the one that it ``replaces``, if there is that.

        Raises :class:`OrtcError` or :class:`MediaRefused`; nothing has changed then.
        """
        old = None if replaces is None else self.producers.get(replaces)
        if sum(p is not old for p in transport.producers.values()) >= MAX_PRODUCERS:
            raise MediaRefused(f"more than {MAX_PRODUCERS} producers on one transport")
        parameters = validate_rtp_parameters(kind, decode_untrusted(rtp_parameters, RtpParameters))
        mapping = producer_mapping(parameters, self._capabilities, self._next_mapped_ssrc)
        entry = transport.wire.entry
        others = [s for s in entry.streams.values() if old is None or s.producer_id != old.id]
        taken = {s.ssrc for s in others} | {s.repair_ssrc for s in others if s.repair_ssrc is not None}
        for encoding in mapping.encodings:
            for ssrc in (encoding.ssrc, encoding.rtx_ssrc):
                if ssrc in taken:
                    raise OrtcError(f"ssrc {ssrc} is in use on this transport")
        if len(others) + len(mapping.encodings) > MAX_STREAMS:
            raise MediaRefused(f"more than {MAX_STREAMS} streams on one transport")
        self._next_mapped_ssrc += len(mapping.encodings)
        if transport.cname is None:
            cname = parameters.rtcp.cname
            named = cname is not UNSET and _CNAME.fullmatch(cname)
            transport.cname = named.group() if named else self._random_bytes(4).hex()
        consumable = consumable_parameters(kind, parameters, self._capabilities, mapping, transport.cname)
        if old is not None:
            self.close_producer(old)
        producer = Producer(producer_id, kind, transport, parameters, mapping, consumable)
        self.producers[producer_id] = transport.producers[producer_id] = producer
        for index, encoding in enumerate(mapping.encodings):
            if encoding.ssrc is not None:
                self.add_stream(producer, index, encoding.ssrc, encoding.rtx_ssrc)
        return producer

    def add_stream(
        self, producer: Producer, index: int, ssrc: int, repair_ssrc: int | None
    ) -> ReceivedStream:
        """Put one encoding of a producer into the table, now that its SSRC is known."""
        parameters, mapping = producer.parameters, producer.mapping
        clock_rate = next(c.clock_rate for c in parameters.codecs if not is_rtx(c))
        router_ids = {e.uri: e.preferred_id for e in self._capabilities.header_extensions}
        passed_on = {e.uri for e in producer.consumable.header_extensions} - NEVER_PASSED_ON
        entry = ProducerStream(
            transport=producer.transport.wire.entry,
            producer_id=producer.id,
            ssrc=ssrc,
            repair_ssrc=repair_ssrc,
            priority=Priority.VIDEO if producer.kind == "video" else Priority.AUDIO,
            clock_rate=clock_rate,
            payload_types={
                c.payload_type: (
                    mapping.payload_types[c.payload_type],
                    VideoCodec.from_mime_type(c.mime_type),
                )
                for c in parameters.codecs
                if not is_rtx(c)
            },
            repair_types={
                c.payload_type: int(c.parameters["apt"] or 0) for c in parameters.codecs if is_rtx(c)
            },
            elements={e.id: router_ids[e.uri] for e in parameters.header_extensions if e.uri in passed_on},
            transport_sequence_id=next(
                (e.id for e in parameters.header_extensions if e.uri == ExtensionUri.TRANSPORT_WIDE_CC),
                None,
            ),
            descriptor_id=next(
                (e.id for e in parameters.header_extensions if e.uri == ExtensionUri.DEPENDENCY_DESCRIPTOR),
                None,
            ),
            cache=RetransmissionCache() if producer.kind == "video" else None,
            vp8_types=frozenset(
                mapping.payload_types[c.payload_type]
                for c in parameters.codecs
                if VideoCodec.from_mime_type(c.mime_type) is VideoCodec.VP8
            ),
        )
        wants_repair = any(f.is_generic_nack() for c in parameters.codecs for f in c.rtcp_feedback)
        stream = ReceivedStream(producer, index, entry, StreamReceiver(clock_rate, wants_repair=wants_repair))
        producer.streams.append(stream)
        producer.streams.sort(key=lambda s: s.index)
        self._engine.add_stream(entry)
        producer.transport.streams[ssrc] = stream
        for consumer in producer.consumers.values():
            if consumer.entry is None:
                self._enter(consumer)
        return stream

    def close_producer(self, producer: Producer) -> None:
        """Close it and its consumers. No event: the caller knows, or says so."""
        for consumer in list(producer.consumers.values()):
            self.close_consumer(consumer)
        for stream in producer.streams:
            self._engine.remove_stream(stream.entry)
            producer.transport.streams.pop(stream.entry.ssrc, None)
        producer.streams.clear()
        del self.producers[producer.id]
        del producer.transport.producers[producer.id]

    # --------------------------------------------------------------- consumers

    def consume(
        self,
        transport: RoutedTransport,
        consumer_id: str,
        producer_id: str,
        rtp_capabilities: JsonObject,
        *,
        ignore_dtx: bool,
    ) -> Consumer:
        """Make a consumer. Raises :class:`MediaRefused` ``cannot consume``."""
        producer = self.producers.get(producer_id)
        if producer is None:
            raise MediaRefused("cannot consume", "there is no such producer in the room")
        try:
            capabilities = decode_untrusted(rtp_capabilities, RtpCapabilities)
        except OrtcError as error:
            raise MediaRefused("cannot consume", f"rtpCapabilities: {error}"[:MAX_CAUSE]) from None
        if not can_consume(producer.consumable, capabilities):
            sent = ", ".join(c.mime_type for c in producer.consumable.codecs if not is_rtx(c))
            known = ", ".join(c.mime_type for c in capabilities.codecs if c.kind == producer.kind)
            cause = f"sent is {sent}; received could be {known or 'nothing'}"
            raise MediaRefused("cannot consume", cause[:MAX_CAUSE])
        if len(transport.consumers) >= MAX_CONSUMERS:
            raise MediaRefused(f"more than {MAX_CONSUMERS} consumers on one transport")
        if len(transport.used_ssrcs) + 2 > MAX_USED_SSRCS:
            raise MediaRefused(f"more than {MAX_USED_SSRCS // 2} consumers in the life of one transport")
        ssrc = self._random_ssrc()
        while ssrc in transport.used_ssrcs or ssrc + 1 in transport.used_ssrcs:
            ssrc = self._random_ssrc()
        transport.used_ssrcs.update((ssrc, ssrc + 1))
        parameters = consumer_parameters(
            producer.kind,
            producer.consumable,
            capabilities,
            ssrc=ssrc,
            rtx_ssrc=ssrc + 1,
            mid=str(transport.next_mid),
        )
        transport.next_mid += 1
        consumer = Consumer(
            consumer_id, producer, transport, parameters, ignore_dtx and producer.kind == "audio"
        )
        producer.consumers[consumer_id] = transport.consumers[consumer_id] = consumer
        transport.consumers_by_ssrc[ssrc] = consumer
        if producer.streams:
            self._enter(consumer)
        return consumer

    def _enter(self, consumer: Consumer) -> None:
        """Give a consumer its place in the table: the largest stream that is known, until told otherwise."""
        stream = by_size(consumer.producer)[-1].entry
        group = self._engine.group(stream, drop_dtx=consumer.ignore_dtx)
        parameters = consumer.parameters
        encoding = parameters.encodings[0]
        assert encoding.ssrc is not UNSET
        ids = {e.uri: e.id for e in parameters.header_extensions}
        mid = b""
        if ExtensionUri.MID in ids and parameters.mid is not UNSET:
            value = parameters.mid.encode()
            mid = bytes((ids[ExtensionUri.MID] << 4 | (len(value) - 1),)) + value
        shape = Shape(
            mid_length=len(mid),
            transport_sequence_id=ids.get(ExtensionUri.TRANSPORT_WIDE_CC, 0),
            abs_send_time_id=ids.get(ExtensionUri.ABS_SEND_TIME, 0),
            accepted=frozenset(i for uri, i in ids.items() if uri not in NEVER_PASSED_ON),
        )
        consumer.entry = ConsumerEntry(
            consumer_id=consumer.id,
            transport=consumer.transport.wire.entry,
            group=group,
            shape=shape,
            ssrc=encoding.ssrc,
            repair_ssrc=encoding.rtx.ssrc if encoding.rtx is not UNSET else None,
            repair_types={
                int(c.parameters["apt"] or 0): c.payload_type for c in parameters.codecs if is_rtx(c)
            },
            mid=mid,
        )
        self._engine.add_consumer(consumer.entry)

    def start(self, consumer: Consumer, now: float) -> None:
        """Its transport is connected: let it begin with the next key frame, and ask for one."""
        if consumer.entry is None or consumer.transport.wire.state is not TransportState.CONNECTED:
            return
        self._engine.arm(consumer.entry)
        self.request_keyframe(consumer, now)

    def select(self, consumer: Consumer, rung: Rung, now: float) -> None:
        """Let a consumer have these layers as soon as it can change over to them."""
        entry = consumer.entry
        if entry is None:
            return
        group = self._engine.group(
            rung.stream.entry, drop_dtx=consumer.ignore_dtx, spatial=rung.spatial, temporal=rung.temporal
        )
        if group is (entry.target or entry.group):
            return
        if entry.first is None and entry.target is None:
            entry.group = group  # its transport is not connected yet
            return
        self._engine.arm(entry, group)
        if needs_keyframe(entry):
            self.request_keyframe(consumer, now)

    def request_keyframe(self, consumer: Consumer, now: float, *, by_viewer: bool = False) -> None:
        """Ask the producer for a key frame on a consumer's behalf (one request under way at a time)."""
        producer = consumer.producer
        if producer.kind != "video" or consumer.entry is None:
            return
        group = consumer.entry.target or consumer.entry.group
        stream = producer.transport.streams[group.stream.ssrc]
        ask = stream.keyframes.request_by_viewer if by_viewer else stream.keyframes.request
        if ask(now):
            producer.transport.rtcp.request_keyframe(stream.entry.ssrc)

    def close_consumer(self, consumer: Consumer) -> None:
        if consumer.entry is not None:
            self._engine.remove_consumer(consumer.entry)
        ssrc = consumer.parameters.encodings[0].ssrc
        assert ssrc is not UNSET
        del consumer.transport.consumers_by_ssrc[ssrc]
        consumer.producer.consumers.pop(consumer.id, None)
        consumer.transport.consumers.pop(consumer.id, None)

    # -------------------------------------------------------------------- data

    def produce_data(
        self,
        transport: RoutedTransport,
        producer_id: str,
        sctp_stream_parameters: JsonObject,
        label: str,
        protocol: str,
        now: float,
        *,
        replaces: str | None = None,
    ) -> DataProducer:
        """Make a data producer, in the place of the one that it ``replaces``, if there is that.

        Raises :class:`OrtcError` or :class:`MediaRefused`; nothing has changed then.
        """
        old = None if replaces is None else self.data_producers.get(replaces)
        if sum(p is not old for p in transport.data_producers.values()) >= MAX_PRODUCERS:
            raise MediaRefused(f"more than {MAX_PRODUCERS} data producers on one transport")
        parameters = validate_stream_parameters(sctp_stream_parameters)
        if transport.data_producers_by_stream.get(parameters.stream_id) not in (None, old):
            raise MediaRefused(f"streamId {parameters.stream_id} is in use on this transport")
        if old is not None:
            self.close_data_producer(old, now)
        binary_only = self._require_binary and protocol != "json"
        producer = DataProducer(producer_id, transport, parameters, label, protocol, binary_only)
        self.data_producers[producer_id] = transport.data_producers[producer_id] = producer
        transport.data_producers_by_stream[parameters.stream_id] = producer
        return producer

    def close_data_producer(self, producer: DataProducer, now: float) -> None:
        for consumer in list(producer.consumers.values()):
            self.close_data_consumer(consumer, now)
        del self.data_producers[producer.id]
        del producer.transport.data_producers[producer.id]
        del producer.transport.data_producers_by_stream[producer.stream.stream_id]

    def consume_data(self, transport: RoutedTransport, consumer_id: str, producer_id: str) -> DataConsumer:
        """Make a data consumer on the next unused stream of a transport."""
        producer = self.data_producers.get(producer_id)
        if producer is None:
            raise MediaRefused(f'DataProducer with id "{producer_id}" not found')
        stream_id = _free_stream_id(transport)
        if stream_id is None:
            raise MediaRefused("no sctpStreamId available")
        stream = producer.stream
        lifetime, retransmits = stream.max_packet_life_time, stream.max_retransmits
        consumer = DataConsumer(
            id=consumer_id,
            producer=producer,
            transport=transport,
            stream_id=stream_id,
            ordered=stream.ordered is not False,
            max_retransmits=None if retransmits is UNSET else retransmits,
            max_lifetime=None if lifetime is UNSET else lifetime / 1000,
        )
        transport.next_stream_id = (stream_id + 1) % STREAMS
        producer.consumers[consumer_id] = transport.data_consumers[consumer_id] = consumer
        return consumer

    def close_data_consumer(self, consumer: DataConsumer, now: float) -> None:
        """Close it; its outgoing stream is reset, so that the peer sees the channel close (RFC 8831 6.7)."""
        consumer.producer.consumers.pop(consumer.id, None)
        consumer.transport.data_consumers.pop(consumer.id, None)
        consumer.transport.wire.reset_stream(consumer.stream_id, now)

    # ----------------------------------------------------------------- closing

    def close_transport(self, transport: RoutedTransport, now: float, *, report: bool) -> None:
        """Close all that was made on a transport and forget it. ``report``: say which producers ended."""
        for consumer in list(transport.consumers.values()):
            self.close_consumer(consumer)
        for data_consumer in list(transport.data_consumers.values()):
            self.close_data_consumer(data_consumer, now)
        for producer in list(transport.producers.values()):
            self.close_producer(producer)
            if report:
                self._emit(ProducerClosed(producer.id))
        for data_producer in list(transport.data_producers.values()):
            self.close_data_producer(data_producer, now)
            if report:
                self._emit(DataProducerClosed(data_producer.id))
        del self.transports[transport.wire.id]


def _free_stream_id(transport: RoutedTransport) -> int | None:
    """The next SCTP stream of a transport that no data consumer has: those let go come last."""
    used = {consumer.stream_id for consumer in transport.data_consumers.values()}
    first = transport.next_stream_id
    return next((i % STREAMS for i in range(first, first + STREAMS) if i % STREAMS not in used), None)


def validate_stream_parameters(json: JsonObject) -> SctpStreamParameters:
    """Check a data producer's parameters (RFC 8831 6.4). Raises :class:`OrtcError`."""
    if "streamId" not in json:
        raise OrtcError("missing params.streamId")
    parameters = decode_untrusted(json, SctpStreamParameters)
    lifetime, retransmits = parameters.max_packet_life_time, parameters.max_retransmits
    if not 0 <= parameters.stream_id < STREAMS:
        raise OrtcError("invalid params.streamId")
    for name, value in (("maxPacketLifeTime", lifetime), ("maxRetransmits", retransmits)):
        if value is not UNSET and not 0 <= value <= 65535:
            raise OrtcError(f"invalid params.{name}")
    if lifetime is not UNSET and retransmits is not UNSET:
        raise OrtcError("cannot provide both maxPacketLifeTime and maxRetransmits")
    unreliable = lifetime is not UNSET or retransmits is not UNSET
    if parameters.ordered is True and unreliable:
        raise OrtcError("cannot be ordered with maxPacketLifeTime or maxRetransmits")
    ordered = not unreliable if parameters.ordered is UNSET else parameters.ordered
    return msgspec.structs.replace(parameters, ordered=ordered)


def consumer_json(consumer: Consumer) -> JsonObject:
    """The acknowledgement of ``sfu-consume``."""
    return {
        "id": consumer.id,
        "producerId": consumer.producer.id,
        "kind": consumer.producer.kind,
        "rtpParameters": to_json(consumer.parameters),
    }


def data_consumer_json(consumer: DataConsumer) -> JsonObject:
    """The acknowledgement of ``consumedata``, without what signaling adds."""
    producer = consumer.producer
    return {
        "id": consumer.id,
        "dataProducerId": producer.id,
        "sctpStreamParameters": {**to_json(producer.stream), "streamId": consumer.stream_id},
        "label": producer.label,
        "protocol": producer.protocol,
    }

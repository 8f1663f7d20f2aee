"""All transports and routers of one worker behind one face: datagrams and time in, egress and events out.

Incoming STUN finds its transport by username fragment, everything else by the address that ICE validated for
it. Only one deadline per transport is kept in a heap; :meth:`MediaCore.get_timer` is the earliest.
"""

from __future__ import annotations

import heapq
import os
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Final

from sfu.dtls.certificate import Certificate
from sfu.ice.address import Address, Datagram
from sfu.ice.candidate import IceCandidate
from sfu.ice.stun import StunError, local_ufrag_untrusted
from sfu.media.choice import LayerChoice
from sfu.media.discovery import discover_untrusted
from sfu.media.egress import Egress, Priority
from sfu.media.engine import Digest, PythonEngine, Upward
from sfu.media.errors import MediaRefused
from sfu.media.events import CoreEvent, DataProducerClosed, Fault, TransportClosed
from sfu.media.objects import DataProducer, RoutedTransport
from sfu.media.parameters import (
    DtlsParameters,
    JsonObject,
    Kind,
    RtpCapabilities,
    decode_untrusted,
)
from sfu.media.relay import DataRelay
from sfu.media.router import Router, consumer_json, data_consumer_json
from sfu.media.rtcp_session import RtcpSession
from sfu.media.stats import MAX_STATS_ROWS, TransportStats, WorkerStats
from sfu.media.switching import needs_keyframe
from sfu.media.table import TransportEntry
from sfu.media.transport import (
    Closed,
    Connected,
    Transport,
    TransportState,
    TupleAdded,
    TupleLost,
    UfragRetired,
)
from sfu.rtp.packet import RtpError
from sfu.sctp.events import Direction, MessageReceived, StreamsReset
from sfu.sctp.ppid import DCEP, TEXT

MAX_TRANSPORTS: Final = 10_000
"""Transports of one worker."""
FAULT_INTERVAL: Final = 1.0
"""Seconds between reports of faults; those in between are only counted."""
MAX_TRACEBACK: Final = 4000
"""Characters of a fault's traceback, its end."""
SCTP_PARAMETERS: Final = {
    "port": 5000,
    "OS": 1024,
    "MIS": 1024,
    "maxMessageSize": 262144,
    "sendBufferSize": 262144,
    "sctpBufferedAmount": 0,
    "isDataChannel": True,
}


class MediaCore:
    """The sans-I/O whole of one media worker."""

    def __init__(
        self,
        *,
        certificate: Certificate,
        capabilities: RtpCapabilities,
        candidates: Sequence[IceCandidate],
        wall_offset: float,
        require_binary_data_channel: bool = True,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """``wall_offset`` added to ``now`` is the time of day (seconds since 1970), for RTCP. With
        ``require_binary_data_channel`` text ends a data producer whose protocol is not ``json``.
        """
        self.engine = PythonEngine(random_bytes)
        self._certificate = certificate
        self._capabilities = capabilities
        self._candidates = list(candidates)
        self._wall_offset = wall_offset
        self._require_binary = require_binary_data_channel
        self._random_bytes = random_bytes
        self._routers: dict[str, Router] = {}
        self._transports: dict[str, RoutedTransport] = {}
        self._by_ufrag: dict[str, RoutedTransport] = {}
        self._timers: list[tuple[float, str]] = []
        self._events: deque[CoreEvent] = deque()
        self._egress: list[Egress] = []
        self._stirred: dict[str, RoutedTransport] = {}
        """Transports that may have something to send, or another deadline, than before."""
        self._relay = DataRelay(self._stir, self._fault)
        self._choice = LayerChoice(self.engine, self._routers, self._stir, self._fault)
        self._faults = 0
        self._report_faults_at = float("-inf")

    # ---------------------------------------------------------------- requests

    def create_router(self, router_id: str) -> None:
        if router_id not in self._routers:
            self._routers[router_id] = Router(
                router_id,
                self._capabilities,
                self.engine,
                self._events.append,
                self._random_bytes,
                require_binary=self._require_binary,
            )

    def close_router(self, router_id: str, now: float) -> None:
        router = self._routers.pop(router_id, None)
        if router is not None:
            for transport in list(router.transports.values()):
                self._close(router, transport, now)

    def create_transport(self, router_id: str, transport_id: str) -> JsonObject:
        """Make a transport; the result is its TransportInfo."""
        router = self._routers.get(router_id)
        if router is None:
            raise MediaRefused("no such room")
        if len(self._transports) >= MAX_TRANSPORTS:
            raise MediaRefused(f"this worker has {MAX_TRANSPORTS} transports already")
        wire = Transport(transport_id, self._certificate, random_bytes=self._random_bytes)
        transport = RoutedTransport(router_id, wire, RtcpSession(self._random_bytes, self._wall_offset))
        self._transports[transport_id] = router.transports[transport_id] = transport
        self._by_ufrag[wire.ice.credentials.username_fragment] = transport
        self._stir(transport)
        return {
            "id": transport_id,
            "iceParameters": wire.ice.credentials.to_json(),
            "iceCandidates": [c.to_json() for c in self._candidates],
            "dtlsParameters": {
                "role": "auto",
                "fingerprints": [
                    {"algorithm": f.algorithm, "value": f.value} for f in self._certificate.fingerprints
                ],
            },
            "sctpParameters": dict(SCTP_PARAMETERS),
        }

    def connect_transport(self, transport_id: str, dtls_parameters: JsonObject, now: float) -> None:
        transport = self._transport(transport_id)
        transport.wire.connect(decode_untrusted(dtls_parameters, DtlsParameters), now)
        self._stir(transport)

    def restart_ice(self, transport_id: str, now: float) -> JsonObject:
        transport = self._transport(transport_id)
        credentials = transport.wire.restart_ice(now)
        self._by_ufrag[credentials.username_fragment] = transport
        self._stir(transport)
        return credentials.to_json()

    def close_transport(self, transport_id: str, now: float) -> None:
        transport = self._transports.get(transport_id)
        if transport is not None:
            self._close(self._routers[transport.router_id], transport, now)

    def produce(
        self,
        transport_id: str,
        producer_id: str,
        kind: Kind,
        rtp_parameters: JsonObject,
        now: float,
        *,
        replaces: str | None = None,
    ) -> None:
        transport = self._transport(transport_id)
        router = self._routers[transport.router_id]
        producer = router.produce(transport, producer_id, kind, rtp_parameters, replaces=replaces)
        if kind == "video":
            self._choice.watch(producer, now)
        transport.rtcp.expect_media(now)
        self._stir(transport)

    def close_producer(self, producer_id: str) -> None:
        for router in self._routers.values():
            producer = router.producers.get(producer_id)
            if producer is not None:
                router.close_producer(producer)

    def consume(
        self,
        transport_id: str,
        consumer_id: str,
        producer_id: str,
        rtp_capabilities: JsonObject,
        now: float,
        *,
        ignore_dtx: bool = False,
    ) -> JsonObject:
        transport = self._transport(transport_id)
        router = self._routers[transport.router_id]
        consumer = router.consume(
            transport, consumer_id, producer_id, rtp_capabilities, ignore_dtx=ignore_dtx
        )
        self._choice.choose(transport, now)
        router.start(consumer, now)
        transport.rtcp.expect_media(now)
        self._stir(transport)
        self._stir(consumer.producer.transport)
        return consumer_json(consumer)

    def produce_data(
        self,
        transport_id: str,
        producer_id: str,
        sctp_stream_parameters: JsonObject,
        label: str,
        protocol: str,
        now: float,
        *,
        replaces: str | None = None,
    ) -> None:
        transport = self._transport(transport_id)
        router = self._routers[transport.router_id]
        old = None if replaces is None else router.data_producers.get(replaces)
        if old is not None:
            self._stir_consumers(old)
        router.produce_data(
            transport, producer_id, sctp_stream_parameters, label, protocol, now, replaces=replaces
        )

    def close_data_producer(self, producer_id: str, now: float) -> None:
        for router in self._routers.values():
            producer = router.data_producers.get(producer_id)
            if producer is not None:
                self._stir_consumers(producer)
                router.close_data_producer(producer, now)

    def consume_data(self, transport_id: str, consumer_id: str, producer_id: str) -> JsonObject:
        transport = self._transport(transport_id)
        router = self._routers[transport.router_id]
        return data_consumer_json(router.consume_data(transport, consumer_id, producer_id))

    def stats(self, counters: dict[str, int]) -> WorkerStats:
        """What has been counted, ``counters`` of those around this core included."""
        rows, room = list[TransportStats](), MAX_STATS_ROWS
        for transport in self._transports.values():
            room -= 1 + len(transport.streams)
            if room < 0:
                break
            rows.append(transport.stats())
        counted = {
            **asdict(self.engine.counters),
            **asdict(self._relay.counters),
            **counters,
            "faults": self._faults,
        }
        return WorkerStats(tuple(rows), len(self._transports) - len(rows), counted)

    def close(self, now: float) -> None:
        """Close everything, telling the peers."""
        for router_id in list(self._routers):
            self.close_router(router_id, now)

    def _transport(self, transport_id: str) -> RoutedTransport:
        transport = self._transports.get(transport_id)
        if transport is None:
            raise MediaRefused("transport not found")
        return transport

    def _close(
        self, router: Router, transport: RoutedTransport, now: float, *, report: str | None = None
    ) -> None:
        """Close a transport and all on it, and forget it. ``report``: say so, with this reason."""
        wire = transport.wire
        for producer in transport.data_producers.values():
            self._stir_consumers(producer)
        for address in wire.ice.tuples:
            self._unmap(address, wire.entry)
        try:
            router.close_transport(transport, now, report=report is not None)
            wire.close(now)
            self._collect(transport, now)
        except Exception as error:  # noqa: BLE001 - it is forgotten all the same
            self.record_fault(error, now, wire.id)
            router.transports.pop(wire.id, None)
        self.engine.forget_transport(wire.entry)
        for ufrag in [u for u, t in self._by_ufrag.items() if t is transport]:
            del self._by_ufrag[ufrag]
        del self._transports[wire.id]
        self._stirred.pop(wire.id, None)
        transport.timer = None
        if report is not None:
            self._events.append(TransportClosed(wire.id, report))

    # ------------------------------------------------------------------- input

    def receive_batch(self, batch: Iterable[Datagram], now: float) -> None:
        """Take the datagrams of one drain. Nothing in them raises."""
        upward = self.engine.process(batch, now)
        # Input first: data channels, then what keeps transports alive, then media's bookkeeping.
        for entry, data, address in upward.dtls:
            transport = self._transports.get(entry.transport_id)
            if transport is not None:
                self._receive(transport, data, address, now)
        for data, address in upward.stun:
            try:
                transport = self._by_ufrag.get(local_ufrag_untrusted(data))
            except StunError:
                continue
            if transport is not None:
                self._receive(transport, data, address, now)
        self._bookkeep(upward, now)
        for entry, packet in upward.rtcp:
            transport = self._transports.get(entry.transport_id)
            if transport is not None:
                try:
                    self._receive_rtcp(transport, packet, now)
                except Exception as error:  # noqa: BLE001 - see _fault
                    self._fault(transport, error, now)
        for entry, packet in upward.unknown:
            transport = self._transports.get(entry.transport_id)
            if transport is not None:
                try:
                    self._learn_stream(transport, packet, now)
                except Exception as error:  # noqa: BLE001 - see _fault
                    self._fault(transport, error, now)

    def _receive(self, transport: RoutedTransport, data: bytes, address: Address, now: float) -> None:
        try:
            transport.wire.receive_datagram_untrusted(data, address, now)
            self._react(transport, now)
        except Exception as error:  # noqa: BLE001 - see _fault
            self._fault(transport, error, now)

    def _fault(self, transport: RoutedTransport, error: Exception, now: float) -> None:
        """Handle an exception that nothing expects, raised on behalf of one transport.

        It means a fault of ours that a peer has found. Nobody knows what state the transport is in, so it
        ends; the others, and the worker, go on.
        """
        self.record_fault(error, now, transport.wire.id)
        if self._transports.get(transport.wire.id) is transport:
            self._close(self._routers[transport.router_id], transport, now, report="internal error")

    def record_fault(self, error: Exception, now: float, transport_id: str = "") -> None:
        """Count an exception that nothing expects, and report it unless another one was a moment ago."""
        self._faults += 1
        if now >= self._report_faults_at:
            self._report_faults_at = now + FAULT_INTERVAL
            text = "".join(traceback.format_exception(error))[-MAX_TRACEBACK:]
            self._events.append(Fault(transport_id, text, self._faults))

    def _bookkeep(self, upward: Upward, now: float) -> None:
        for entry, sequence, arrival in upward.transport_sequences:
            transport = self._transports.get(entry.transport_id)
            if transport is not None:
                transport.rtcp.record_arrival(sequence, arrival)
                self._stir(transport)
        for digest in upward.digests:
            transport = self._transports.get(digest.stream.transport.transport_id)
            if transport is not None:
                try:
                    self._account(transport, digest, now)
                except Exception as error:  # noqa: BLE001 - see _fault
                    self._fault(transport, error, now)
        for entry, fault in upward.faults:
            transport = self._transports.get(entry.transport_id)
            if transport is not None:
                self._fault(transport, fault, now)

    def _account(self, transport: RoutedTransport, digest: Digest, now: float) -> None:
        stream = transport.streams.get(digest.stream.ssrc)
        if stream is None or digest.duplicate:
            return
        lost_track = stream.receiver.on_packet(
            digest.extended, digest.timestamp, digest.arrival, repaired=digest.repaired
        )
        if digest.keyframe and stream.producer.kind == "video":
            stream.keyframes.on_keyframe()
            stream.receiver.on_keyframe(digest.extended)
            # One that was armed after this key frame had gone through waits for another.
            if any(map(needs_keyframe, digest.stream.armed)) and stream.keyframes.request(now):
                transport.rtcp.request_keyframe(digest.stream.ssrc)
        elif lost_track and stream.producer.kind == "video" and stream.keyframes.request(now, anew=True):
            transport.rtcp.request_keyframe(digest.stream.ssrc)
        self._stir(transport)

    def _receive_rtcp(self, transport: RoutedTransport, packet: bytes, now: float) -> None:
        requests = transport.rtcp.receive_untrusted(packet, transport, now)
        if transport.line is not None:
            transport.line.receive(requests, transport.rtcp.round_trip, now)
            self._choice.send_probe(transport, now)
        for ssrc, lost in requests.nacks:
            consumer = transport.consumers_by_ssrc.get(ssrc)
            if consumer is not None and consumer.entry is not None:
                self.engine.retransmit(consumer.entry, lost, now)
        for ssrc in requests.keyframes:
            consumer = transport.consumers_by_ssrc.get(ssrc)
            if consumer is not None:
                router = self._routers[transport.router_id]
                router.request_keyframe(consumer, now, by_viewer=True)
                self._stir(consumer.producer.transport)
        self._stir(transport)

    def _learn_stream(self, transport: RoutedTransport, plain: bytes, now: float) -> None:
        """Take a packet whose SSRC signaling did not name."""
        try:
            found = discover_untrusted(transport, plain)
        except RtpError:
            return
        if found is None:
            return
        if found.repairs is not None:
            self.engine.add_repair(found.repairs.entry, found.ssrc)
            return
        router = self._routers[transport.router_id]
        waiting = [c for c in found.producer.consumers.values() if c.entry is None]
        router.add_stream(found.producer, found.index, found.ssrc, None)
        for consumer in waiting:
            router.start(consumer, now)
        self._stir(transport)
        self._bookkeep(self.engine.inject(transport.wire.entry, plain, now), now)

    def address_closed(self, address: Address, now: float) -> None:
        """A TCP connection ended."""
        entry = self.engine.tuples.get(address)
        transport = self._transports.get(entry.transport_id) if entry is not None else None
        if transport is not None:
            try:
                transport.wire.address_closed(address, now)
                self._react(transport, now)
            except Exception as error:  # noqa: BLE001 - see _fault
                self._fault(transport, error, now)

    def is_validated(self, address: Address) -> bool:
        """Whether ICE accepted what comes from there."""
        return address in self.engine.tuples

    # --------------------------------------------------------------- reactions

    def _stir(self, transport: RoutedTransport) -> None:
        self._stirred[transport.wire.id] = transport

    def _stir_consumers(self, producer: DataProducer) -> None:
        for consumer in producer.consumers.values():
            self._stir(consumer.transport)

    def _react(self, transport: RoutedTransport, now: float) -> None:
        """Act on what a transport reports."""
        self._stir(transport)
        wire = transport.wire
        while (event := wire.next_event()) is not None:
            match event:
                case TupleAdded(address=address):
                    self._map(address, wire.entry)
                case TupleLost(address=address):
                    self._unmap(address, wire.entry)
                case UfragRetired(ufrag=ufrag):
                    self._by_ufrag.pop(ufrag, None)
                case Connected():
                    router = self._routers[transport.router_id]
                    for consumer in transport.consumers.values():
                        router.start(consumer, now)
                        self._stir(consumer.producer.transport)
                case MessageReceived(stream_id=stream_id, ppid=ppid, data=data):
                    self._take_message(transport, stream_id, ppid, data, now)
                case StreamsReset():
                    self._streams_reset(transport, event, now)
                case Closed(reason=reason):
                    self._close(self._routers[transport.router_id], transport, now, report=reason)
                    return

    def _map(self, address: Address, entry: TransportEntry) -> None:
        self.engine.tuples[address] = entry

    def _unmap(self, address: Address, entry: TransportEntry) -> None:
        if self.engine.tuples.get(address) is entry:
            del self.engine.tuples[address]

    def _take_message(
        self, transport: RoutedTransport, stream_id: int, ppid: int, data: bytes, now: float
    ) -> None:
        """Handle a message of a data channel."""
        if ppid == DCEP:
            self._relay.answer_dcep_untrusted(transport, stream_id, data, now)
            return
        transport.messages_received += 1
        producer = transport.data_producers_by_stream.get(stream_id)
        if producer is None:
            return
        if producer.binary_only and ppid in TEXT:
            self._end_data_producer(producer, now, f"text (PPID {ppid}) on a channel for binary messages")
            return
        self._relay.relay(producer, ppid, data, now)

    def _streams_reset(self, transport: RoutedTransport, event: StreamsReset, now: float) -> None:
        """The peer closed channels (RFC 8831 6.7): its data producers on them end."""
        if event.direction is not Direction.INCOMING:
            return
        ended: list[DataProducer] = [
            producer
            for stream_id, producer in transport.data_producers_by_stream.items()
            if stream_id in event.stream_ids
        ]
        for producer in ended:
            self._end_data_producer(producer, now)

    def _end_data_producer(self, producer: DataProducer, now: float, reason: str = "") -> None:
        """Close a data producer and report it."""
        self._stir_consumers(producer)
        self._routers[producer.transport.router_id].close_data_producer(producer, now)
        self._events.append(DataProducerClosed(producer.id, reason))

    # -------------------------------------------------------------------- time

    def get_timer(self) -> float | None:
        timers = self._timers
        look_at = self._choice.get_timer()
        while timers:
            deadline, transport_id = timers[0]
            transport = self._transports.get(transport_id)
            if transport is not None and transport.timer == deadline:
                return deadline if look_at is None else min(deadline, look_at)
            heapq.heappop(timers)
        return look_at

    def handle_timer(self, now: float) -> None:
        self._choice.handle_timer(now)
        timers = self._timers
        while timers and timers[0][0] <= now:
            deadline, transport_id = heapq.heappop(timers)
            transport = self._transports.get(transport_id)
            if transport is None or transport.timer != deadline:
                continue
            transport.timer = None
            try:
                transport.wire.handle_timer(now)
                if transport.line is not None:
                    transport.line.handle_timer(now)
                    self._choice.send_probe(transport, now)
                self._react(transport, now)
            except Exception as error:  # noqa: BLE001 - see _fault
                self._fault(transport, error, now)

    def _schedule(self, transport: RoutedTransport) -> None:
        """Put a transport's deadline into the heap if it is another than the one that is there."""
        ours, media = transport.wire.get_timer(), transport.rtcp.get_timer(transport)
        line = None if transport.line is None else transport.line.get_timer()
        deadline = min((t for t in (ours, media, line) if t is not None), default=None)
        if deadline is None:
            transport.timer = None
        elif transport.timer is None or deadline < transport.timer:
            # A later one waits: when the earlier fires, nothing is due and the later one takes its place.
            transport.timer = deadline
            heapq.heappush(self._timers, (deadline, transport.wire.id))

    # ------------------------------------------------------------------ output

    def egress(self, now: float) -> list[Egress]:
        """Everything that is ready for the wire: data, then audio and reports, then video."""
        while self._stirred:
            stirred, self._stirred = self._stirred, {}
            for transport in stirred.values():
                try:
                    transport.wire.flush_data(now)
                    self._react_once(transport, now)
                    if transport.wire.id in self._transports:
                        self._collect(transport, now)
                        self._schedule(transport)
                except Exception as error:  # noqa: BLE001 - see _fault
                    self._fault(transport, error, now)
        data, self._egress = self._egress, []
        data += self.engine.egress()
        return data

    def _react_once(self, transport: RoutedTransport, now: float) -> None:
        """React to events that flushing brought, without stirring the transport again."""
        self._react(transport, now)
        self._stirred.pop(transport.wire.id, None)

    def _collect(self, transport: RoutedTransport, now: float) -> None:
        """Take what one transport has to send."""
        wire = transport.wire
        for datagram, address in wire.datagrams_to_send(now):
            self._egress.append(Egress(address, [datagram], Priority.DATA))
        entry = wire.entry
        if entry.sender is None or entry.address is None or wire.state is not TransportState.CONNECTED:
            return
        for packet in transport.rtcp.packets_to_send(transport, now):
            self._egress.append(Egress(entry.address, [entry.sender.protect_rtcp(packet)], Priority.AUDIO))

    def next_event(self) -> CoreEvent | None:
        return self._events.popleft() if self._events else None

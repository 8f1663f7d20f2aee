"""The media side in memory: objects with ids that know what they belong to, and events."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import trio

from sfu.worker.port import (
    DataProducerClosed,
    JsonObject,
    Kind,
    MediaError,
    MediaEvent,
    ProducerClosed,
    RouterLost,
    TransportClosed,
    WorkerStats,
)

CAPABILITIES: JsonObject = {"codecs": [{"kind": "audio", "mimeType": "audio/opus"}], "headerExtensions": []}


class MemoryMedia:
    """Implements :class:`sfu.worker.port.Media`."""

    def __init__(self) -> None:
        self.available = True
        self.rtp_capabilities = CAPABILITIES
        self.routers: set[str] = set()
        self.transports: dict[str, str] = {}
        """Router by transport."""
        self.connected: dict[str, JsonObject] = {}
        self.producers: dict[str, tuple[str, Kind, JsonObject]] = {}
        """Transport, kind and parameters."""
        self.data_producers: dict[str, tuple[str, JsonObject, str, str]] = {}
        """Transport, stream parameters, label and protocol."""
        self.consumers: dict[str, tuple[str, str, bool]] = {}
        """Transport, producer and ignore_dtx."""
        self.log: list[str] = []
        """Names of the calls, in order."""
        self.held: trio.Event | None = None
        """While set and not fired, calls wait for it before they answer."""
        self._send, self._receive = trio.open_memory_channel[MediaEvent](1000)

    async def events(self) -> AsyncIterator[MediaEvent]:
        async for event in self._receive:
            yield event

    async def create_router(self, router_id: str) -> None:
        await self._answer("create_router")
        if not self.available:
            raise MediaError("worker not available")
        self.routers.add(router_id)

    async def close_router(self, router_id: str) -> None:
        await self._answer("close_router")
        self._drop_router(router_id)

    async def create_transport(self, router_id: str) -> JsonObject:
        await self._answer("create_transport")
        if router_id not in self.routers:
            raise MediaError("no such room")
        transport_id = str(uuid.uuid4())
        self.transports[transport_id] = router_id
        return {
            "id": transport_id,
            "iceParameters": {"usernameFragment": "u", "password": "p", "iceLite": True},
            "iceCandidates": [],
            "dtlsParameters": {"role": "auto", "fingerprints": []},
            "sctpParameters": {"port": 5000, "OS": 1024, "MIS": 1024, "maxMessageSize": 262144},
        }

    async def connect_transport(self, transport_id: str, dtls_parameters: JsonObject) -> None:
        await self._answer("connect_transport")
        self._router_of(transport_id)
        if transport_id in self.connected:
            raise MediaError("connect() already called")
        self.connected[transport_id] = dtls_parameters

    async def restart_ice(self, transport_id: str) -> JsonObject:
        await self._answer("restart_ice")
        self._router_of(transport_id)
        return {"usernameFragment": "u2", "password": "p2", "iceLite": True}

    async def close_transport(self, transport_id: str) -> None:
        await self._answer("close_transport")
        self._drop_transport(transport_id)

    async def produce(
        self, transport_id: str, kind: Kind, rtp_parameters: JsonObject, *, replaces: str | None = None
    ) -> str:
        await self._answer("produce")
        self._router_of(transport_id)
        if not rtp_parameters.get("codecs"):
            raise MediaError("missing params.codecs")
        ssrcs = self._ssrcs(rtp_parameters)
        for other, (transport, _, parameters) in self.producers.items():
            if other != replaces and transport == transport_id and ssrcs & self._ssrcs(parameters):
                raise MediaError("ssrc in use on this transport")
        if replaces is not None:
            self._drop_producer(replaces)
        producer_id = str(uuid.uuid4())
        self.producers[producer_id] = (transport_id, kind, rtp_parameters)
        return producer_id

    async def close_producer(self, producer_id: str) -> None:
        await self._answer("close_producer")
        self._drop_producer(producer_id)

    async def consume(
        self, transport_id: str, producer_id: str, rtp_capabilities: JsonObject, *, ignore_dtx: bool = False
    ) -> JsonObject:
        await self._answer("consume")
        router = self._router_of(transport_id)
        producer = self.producers.get(producer_id)
        if producer is None or self.transports[producer[0]] != router or not rtp_capabilities.get("codecs"):
            raise MediaError("cannot consume")
        consumer_id = str(uuid.uuid4())
        self.consumers[consumer_id] = (transport_id, producer_id, ignore_dtx)
        return {"id": consumer_id, "producerId": producer_id, "kind": producer[1], "rtpParameters": {}}

    async def produce_data(
        self,
        transport_id: str,
        sctp_stream_parameters: JsonObject,
        label: str,
        protocol: str,
        *,
        replaces: str | None = None,
    ) -> str:
        await self._answer("produce_data")
        self._router_of(transport_id)
        stream_id = sctp_stream_parameters.get("streamId")
        if stream_id is None:
            raise MediaError("missing params.streamId")
        for other, (transport, parameters, _, _) in self.data_producers.items():
            if other != replaces and transport == transport_id and parameters.get("streamId") == stream_id:
                raise MediaError("streamId in use on this transport")
        if replaces is not None:
            self._drop_producer(replaces)
        producer_id = str(uuid.uuid4())
        self.data_producers[producer_id] = (transport_id, sctp_stream_parameters, label, protocol)
        return producer_id

    async def close_data_producer(self, data_producer_id: str) -> None:
        await self._answer("close_data_producer")
        self._drop_producer(data_producer_id)

    async def consume_data(self, transport_id: str, data_producer_id: str) -> JsonObject:
        await self._answer("consume_data")
        router = self._router_of(transport_id)
        producer = self.data_producers.get(data_producer_id)
        if producer is None or self.transports[producer[0]] != router:
            raise MediaError(f'DataProducer with id "{data_producer_id}" not found')
        consumer_id = str(uuid.uuid4())
        self.consumers[consumer_id] = (transport_id, data_producer_id, False)
        return {
            "id": consumer_id,
            "dataProducerId": data_producer_id,
            "sctpStreamParameters": {"streamId": 0, "ordered": True},
            "label": producer[2],
            "protocol": producer[3],
        }

    async def stats(self) -> dict[int, WorkerStats]:
        return {}

    # What happens by itself

    def end_transport(self, transport_id: str) -> None:
        """The peer closed it."""
        ended = [p for p, (t, *_) in self.producers.items() if t == transport_id]
        ended_data = [p for p, (t, *_) in self.data_producers.items() if t == transport_id]
        self._drop_transport(transport_id)
        self._send.send_nowait(TransportClosed(transport_id, "dtls close"))
        for producer_id in ended:
            self._send.send_nowait(ProducerClosed(producer_id))
        for producer_id in ended_data:
            self._send.send_nowait(DataProducerClosed(producer_id))

    def end_producer(self, producer_id: str) -> None:
        data = producer_id in self.data_producers
        self._drop_producer(producer_id)
        event = DataProducerClosed(producer_id) if data else ProducerClosed(producer_id)
        self._send.send_nowait(event)

    def lose_router(self, router_id: str) -> None:
        """Its worker died."""
        self._drop_router(router_id)
        self._send.send_nowait(RouterLost(router_id))

    @property
    def is_empty(self) -> bool:
        return not (
            self.routers or self.transports or self.producers or self.data_producers or self.consumers
        )

    async def _answer(self, call: str) -> None:
        self.log.append(call)
        if self.held is not None:
            await self.held.wait()
        await trio.lowlevel.checkpoint()

    def _router_of(self, transport_id: str) -> str:
        router = self.transports.get(transport_id)
        if router is None:
            raise MediaError("transport not found")
        return router

    def _drop_router(self, router_id: str) -> None:
        self.routers.discard(router_id)
        for transport_id in [t for t, router in self.transports.items() if router == router_id]:
            self._drop_transport(transport_id)

    def _drop_transport(self, transport_id: str) -> None:
        self.transports.pop(transport_id, None)
        self.connected.pop(transport_id, None)
        for producer_id in [p for p, (t, *_) in self._all_producers() if t == transport_id]:
            self._drop_producer(producer_id)
        for consumer_id in [c for c, (t, *_) in self.consumers.items() if t == transport_id]:
            del self.consumers[consumer_id]

    def _drop_producer(self, producer_id: str) -> None:
        self.producers.pop(producer_id, None)
        self.data_producers.pop(producer_id, None)
        for consumer_id in [c for c, (_, p, _) in self.consumers.items() if p == producer_id]:
            del self.consumers[consumer_id]

    def _all_producers(self) -> list[tuple[str, tuple[Any, ...]]]:
        return [*self.producers.items(), *self.data_producers.items()]

    @staticmethod
    def _ssrcs(rtp_parameters: JsonObject) -> set[int]:
        return set(
            msgspec.convert([e.get("ssrc", 0) for e in rtp_parameters.get("encodings", [])], list[int])
        )

"""The seam between signaling and media: what the node asks of its media workers and what they report.

Signaling knows only this module of the media side. The supervisor implements :class:`Media` over the control
channels of its worker processes. All ids are lower-case UUIDv4 strings; payloads that come from or go to a
browser's ``mediasoup-client`` stay plain JSON objects here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol, TypeAlias

from msgspec import Struct

from sfu.media.events import DataProducerClosed, ProducerClosed, TransportClosed
from sfu.media.stats import StreamStats, TransportStats, WorkerStats

__all__ = [
    "DataProducerClosed",
    "JsonObject",
    "Kind",
    "Media",
    "MediaError",
    "MediaEvent",
    "ProducerClosed",
    "RouterLost",
    "StreamStats",
    "TransportClosed",
    "TransportStats",
    "WorkerStats",
]

JsonObject: TypeAlias = dict[str, Any]
Kind: TypeAlias = Literal["audio", "video"]


class MediaError(Exception):
    """A request that the media side refused. ``str(error)`` is the text a client gets, never empty."""

    def __init__(self, error: str = "error", cause: str = "") -> None:
        super().__init__(error or "error")
        self.cause = cause
        """For logs only: what the client is not told; may be empty."""


class RouterLost(Struct, frozen=True, tag=True):
    """The worker of a router died: all its transports, producers and consumers are gone."""

    router_id: str


MediaEvent: TypeAlias = TransportClosed | ProducerClosed | DataProducerClosed | RouterLost


class Media(Protocol):
    """The media side as the node sees it. Every call may raise :class:`MediaError`."""

    @property
    def available(self) -> bool:
        """Whether at least one worker runs."""
        ...

    @property
    def rtp_capabilities(self) -> JsonObject:
        """The router's RtpCapabilities (``signaling.md`` 5.1): the same for every room, a constant."""
        ...

    def events(self) -> AsyncIterator[MediaEvent]:
        """What closed without having been asked to. One reader."""
        ...

    async def create_router(self, router_id: str) -> None:
        """Make a router (one per room) on the least loaded worker; nothing happens if it exists."""
        ...

    async def close_router(self, router_id: str) -> None:
        """Close a router and all on it; nothing happens if it does not exist."""
        ...

    async def create_transport(self, router_id: str) -> JsonObject:
        """Make a WebRTC transport and return its TransportInfo (``signaling.md`` 5.3)."""
        ...

    async def connect_transport(self, transport_id: str, dtls_parameters: JsonObject) -> None: ...

    async def restart_ice(self, transport_id: str) -> JsonObject:
        """New ICE credentials: ``{"usernameFragment", "password", "iceLite": true}``."""
        ...

    async def close_transport(self, transport_id: str) -> None:
        """Close a transport and all producers and consumers on it; no event is sent for what this closes."""
        ...

    async def produce(
        self, transport_id: str, kind: Kind, rtp_parameters: JsonObject, *, replaces: str | None = None
    ) -> str:
        """Make a producer, return its id.

        ``replaces`` is the id of a producer in the same router whose place it takes: once the new one has
        been found sound (it may have SSRCs of the old one), the old one closes with its consumers, without
        an event. A refused one leaves it as it is.
        """
        ...

    async def close_producer(self, producer_id: str) -> None: ...

    async def consume(
        self, transport_id: str, producer_id: str, rtp_capabilities: JsonObject, *, ignore_dtx: bool = False
    ) -> JsonObject:
        """Make a consumer: ``{"id", "producerId", "kind", "rtpParameters"}``, not paused."""
        ...

    async def produce_data(
        self,
        transport_id: str,
        sctp_stream_parameters: JsonObject,
        label: str,
        protocol: str,
        *,
        replaces: str | None = None,
    ) -> str:
        """Make a data producer, return its id. ``replaces`` is as for :meth:`produce`; the stream may be the
        same."""
        ...

    async def close_data_producer(self, data_producer_id: str) -> None: ...

    async def consume_data(self, transport_id: str, data_producer_id: str) -> JsonObject:
        """Make a data consumer: ``{"id", "dataProducerId", "sctpStreamParameters", "label", "protocol"}``."""
        ...

    async def stats(self) -> dict[int, WorkerStats]:
        """What every running worker has counted, by the worker's number."""
        ...

"""What the media side reports without having been asked."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class TransportClosed(Struct, frozen=True, tag=True):
    """A transport closed by itself; all producers and consumers on it are gone."""

    transport_id: str
    reason: str
    """For logs: ``dtls close``, ``dtls failed: ...``, ``ice consent expired``."""


class ProducerClosed(Struct, frozen=True, tag=True):
    """A producer ended, with its transport or by itself. Its consumers are closed already."""

    producer_id: str


class DataProducerClosed(Struct, frozen=True, tag=True):
    """A data producer ended, with its transport, by a stream reset, or by policy."""

    data_producer_id: str


CoreEvent: TypeAlias = TransportClosed | ProducerClosed | DataProducerClosed

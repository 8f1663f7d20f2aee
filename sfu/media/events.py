"""What the media side reports without having been asked."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class TransportClosed(Struct, frozen=True, tag=True):
    """A transport closed by itself; all producers and consumers on it are gone."""

    transport_id: str
    reason: str
    """For logs: ``dtls closed: ...``, ``dtls failed: ...``, ``ice disconnected for too long: ...``."""


class ProducerClosed(Struct, frozen=True, tag=True):
    """A producer ended, with its transport or by itself. Its consumers are closed already."""

    producer_id: str


class DataProducerClosed(Struct, frozen=True, tag=True):
    """A data producer ended, with its transport, by a stream reset, or by policy."""

    data_producer_id: str
    reason: str = ""
    """For logs: why, where it broke a rule; empty otherwise."""


class Fault(Struct, frozen=True, tag=True):
    """Something that a peer sent raised an exception that nothing in the code expects."""

    transport_id: str
    """Of the transport that is closed for it; empty if it was a request."""
    traceback: str
    count: int
    """Such exceptions in all: not each of them is reported."""


CoreEvent: TypeAlias = TransportClosed | ProducerClosed | DataProducerClosed | Fault

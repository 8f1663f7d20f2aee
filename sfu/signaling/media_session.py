"""Which transports, producers and consumers belong to whom. Only tables: nothing here talks to workers.

How many a socket may have is in :class:`sfu.signaling.limits.SignalingLimits`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

MAX_EARLY_ENDINGS = 1024
"""Ends of producers that are remembered because nobody knows the producer, or not yet."""

Kind: TypeAlias = Literal["audio", "video", "data"]


@dataclass(eq=False, slots=True)
class Producer:
    """One stream that a client sends."""

    id: str
    kind: Kind
    transport_id: str
    role: tuple[str, ...] | None
    """A later producer of the same socket with the same role takes its place; None: nothing does."""
    session: MediaSession
    label: str = ""
    """Of a data channel."""
    consumers: dict[str, Consumer] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Consumer:
    """One stream that a client receives. It ends with its producer."""

    id: str
    transport_id: str
    producer: Producer
    session: MediaSession


@dataclass(eq=False, slots=True)
class MediaSession:
    """The media of one socket in one room."""

    socket_id: str
    room_id: str
    closed: bool = False
    """Whoever awaited something has to look: a closed session takes nothing any more."""
    transports: dict[str, None] = field(default_factory=dict)
    producers: dict[str, Producer] = field(default_factory=dict)
    consumers: dict[str, Consumer] = field(default_factory=dict)

    def count_producers(self, *, data: bool) -> int:
        return sum((producer.kind == "data") is data for producer in self.producers.values())

    def count_consumers(self, *, data: bool) -> int:
        if not self.consumers:
            return 0
        return sum((consumer.producer.kind == "data") is data for consumer in self.consumers.values())

    def in_role(self, role: tuple[str, ...] | None) -> Producer | None:
        """The producer that one with this role would replace."""
        if role is None:
            return None
        return next((producer for producer in self.producers.values() if producer.role == role), None)


class MediaTable:
    """All sessions of a node, found by socket, transport and producer."""

    def __init__(self) -> None:
        self._sessions: dict[str, MediaSession] = {}
        self._transports: dict[str, MediaSession] = {}
        self._producers: dict[str, Producer] = {}
        self._ended_early: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, socket_id: str) -> MediaSession | None:
        return self._sessions.get(socket_id)

    def open(self, socket_id: str, room_id: str) -> MediaSession:
        """The session of a socket, made if it has none."""
        session = self._sessions.get(socket_id)
        if session is None:
            session = self._sessions[socket_id] = MediaSession(socket_id, room_id)
        return session

    def in_room(self, room_id: str) -> list[MediaSession]:
        return [session for session in self._sessions.values() if session.room_id == room_id]

    def of_transport(self, transport_id: str) -> MediaSession | None:
        return self._transports.get(transport_id)

    def producer(self, producer_id: str) -> Producer | None:
        return self._producers.get(producer_id)

    def producers_of(self, socket_id: str, *, data: bool) -> Iterator[Producer]:
        session = self._sessions.get(socket_id)
        if session is not None:
            for producer in session.producers.values():
                if (producer.kind == "data") is data:
                    yield producer

    def add_transport(self, session: MediaSession, transport_id: str) -> None:
        session.transports[transport_id] = None
        self._transports[transport_id] = session

    def add_producer(self, producer: Producer) -> None:
        producer.session.producers[producer.id] = producer
        self._producers[producer.id] = producer

    def add_consumer(self, consumer: Consumer) -> None:
        consumer.session.consumers[consumer.id] = consumer
        consumer.producer.consumers[consumer.id] = consumer

    def end_producer(self, producer_id: str) -> Producer | None:
        """Forget a producer and its consumers. One that is unknown may be about to be added: see
        :meth:`ended_early`."""
        producer = self._producers.pop(producer_id, None)
        if producer is None:
            self._ended_early[producer_id] = None
            if len(self._ended_early) > MAX_EARLY_ENDINGS:
                self._ended_early.popitem(last=False)
            return None
        del producer.session.producers[producer_id]
        for consumer in producer.consumers.values():
            del consumer.session.consumers[consumer.id]
        producer.consumers.clear()
        return producer

    def ended_early(self, producer_id: str) -> bool:
        """Whether a new producer has ended before its maker heard of it. Asks once."""
        if producer_id not in self._ended_early:
            return False
        del self._ended_early[producer_id]
        return True

    def end_transport(self, transport_id: str) -> list[Producer]:
        """Forget a transport and what is on it; returns its producers."""
        session = self._transports.pop(transport_id, None)
        if session is None:
            return []
        del session.transports[transport_id]
        ended = [p for p in session.producers.values() if p.transport_id == transport_id]
        for producer in ended:
            self.end_producer(producer.id)
        for consumer in [c for c in session.consumers.values() if c.transport_id == transport_id]:
            del session.consumers[consumer.id]
            del consumer.producer.consumers[consumer.id]
        return ended

    def end_session(self, socket_id: str) -> tuple[list[str], list[Producer]]:
        """Forget all of a socket's media; returns what was there: transport ids and producers."""
        session = self._sessions.pop(socket_id, None)
        if session is None:
            return [], []
        session.closed = True
        transports = list(session.transports)
        ended = [producer for transport_id in transports for producer in self.end_transport(transport_id)]
        return transports, ended

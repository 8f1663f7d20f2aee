"""What a worker has counted, in the shape in which it is asked for: numbers for logs and operators."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from sfu.media.parameters import Kind

MAX_STATS_ROWS: Final = 1000
"""Transports and producer streams in one answer: a few milliseconds of work, a small part of a message."""


class StreamStats(Struct, frozen=True):
    """One RTP stream of a producer: one SSRC, one layer of a simulcast."""

    producer_id: str
    kind: Kind
    ssrc: int
    packets: int
    """Received, repairs included."""
    octets: int
    """Of whole RTP packets, repairs included."""
    lost: int
    """Packets that never came, not even repaired."""
    fraction_lost: float
    """What the line lost of the packets of the last report interval (a second), repaired or not: 0 to 1."""
    jitter: float
    """Interarrival jitter in seconds (RFC 3550 6.4.1)."""
    score: int
    """10: everything came in the last report interval, if only as repairs; 0: nothing did."""


class TransportStats(Struct, frozen=True):
    """One transport, and what its peer sends."""

    transport_id: str
    router_id: str
    state: str
    streams: tuple[StreamStats, ...]
    consumers: int
    packets_sent: int
    """Of the consumers that are open now, without retransmissions."""
    octets_sent: int
    """Payload bytes of the same packets."""
    retransmitted: int
    messages_received: int
    """Of all data channels."""
    messages_dropped: int
    """For the data consumers that are open now: the peer's send buffer was full."""


class WorkerStats(Struct, frozen=True):
    """One worker."""

    transports: tuple[TransportStats, ...]
    omitted: int
    """Transports that would have exceeded :data:`MAX_STATS_ROWS`."""
    counters: dict[str, int]
    """Packets and datagrams by what became of them, and ``faults``: exceptions that nothing expects."""

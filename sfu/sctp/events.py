"""What an association tells the layer above, read with :meth:`Association.next_event`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias


class Direction(enum.Enum):
    """Which half of a stream."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"


class CloseReason(enum.Enum):
    """Why an association ended."""

    ABORTED = "aborted by this side"
    PEER_ABORTED = "aborted by the peer"
    SHUTDOWN = "shut down in order"
    UNREACHABLE = "too many retransmissions without an answer"
    STALLED = "the peer kept its receive window closed for too long"
    VIOLATION = "the peer broke the protocol"
    OVERRUN = "the peer sent beyond its window and what we hold for it"


@dataclass(frozen=True, slots=True)
class AssociationEstablished:
    """The association is up. After a restart by the peer (RFC 9260 5.2.4.1) it comes again."""

    outbound_streams: int
    """Streams we may send on: ids below this."""
    inbound_streams: int
    """Streams the peer may send on."""
    partial_reliability: bool
    """Whether the peer takes FORWARD-TSN; otherwise limits only discard what was never sent."""
    stream_reset: bool
    """Whether the peer takes RE-CONFIG."""
    zero_checksum: bool
    """Whether the peer takes packets without a checksum (RFC 9653), so that ours have none."""
    restarted: bool
    """Whether this replaces an earlier association, whose unacknowledged and undelivered messages are gone.
    """


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A whole user message, in the order its stream demands."""

    stream_id: int
    ppid: int
    """Payload protocol identifier as sent; see :mod:`sfu.sctp.ppid`."""
    data: bytes
    """Never empty: an empty user message is one zero byte under PPID 56 or 57."""


@dataclass(frozen=True, slots=True)
class StreamsReset:
    """One half of some streams starts again at sequence number 0 (RFC 6525).

    ``INCOMING``: the peer reset its sending half; in data channels that is its ``close()``, and the answer is
    to reset ours. ``OUTGOING``: our request was carried out; the ids may be used again.
    """

    stream_ids: tuple[int, ...]
    direction: Direction


@dataclass(frozen=True, slots=True)
class StreamResetFailed:
    """The peer refused our reset, or left it "in progress" for too long. The streams go on as they were."""

    stream_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HandshakeTimedOut:
    """Our INIT or COOKIE-ECHO was never answered. The association waits for the peer's INIT, or for
    ``start``."""


@dataclass(frozen=True, slots=True)
class AssociationClosed:
    """The association has ended; nothing more comes of it."""

    reason: CloseReason
    detail: str
    """For people and logs; may quote the peer (printable, bounded), so never trust it."""


Event: TypeAlias = (
    AssociationEstablished
    | MessageReceived
    | StreamsReset
    | StreamResetFailed
    | HandshakeTimedOut
    | AssociationClosed
)

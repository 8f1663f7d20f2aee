"""Data Channel Establishment Protocol (RFC 8832): the messages of PPID 50, DATA_CHANNEL_OPEN and
DATA_CHANNEL_ACK.

mediasoup-style clients negotiate their channels by signaling and send neither; a peer that opens a channel by
itself (aiortc, a plain browser page) does.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final

MAX_LABEL_LENGTH = 1024
"""Bytes of UTF-8 accepted for a label; the field could say 65,535."""
MAX_PROTOCOL_LENGTH = 256
"""Bytes of UTF-8 accepted for a subprotocol."""

_OPEN: Final = struct.Struct("!BBHIHH")
_MESSAGE_OPEN = 0x03
_MESSAGE_ACK = 0x02
_UNORDERED = 0x80


class DcepError(ValueError):
    """A message of PPID 50 that is no well-formed DCEP message. The only error the parser raises."""


class Reliability(enum.IntEnum):
    """The lower bits of the channel type (RFC 8832 5.1)."""

    RELIABLE = 0
    MAX_RETRANSMITS = 1
    MAX_LIFETIME = 2


@dataclass(frozen=True, slots=True)
class DataChannelOpen:
    """DATA_CHANNEL_OPEN (RFC 8832 5.1)."""

    label: str = ""
    protocol: str = ""
    ordered: bool = True
    max_retransmits: int | None = None
    """Retransmissions at most, 0 to 4,294,967,295; excludes ``max_lifetime_ms``."""
    max_lifetime_ms: int | None = None
    """Lifetime in milliseconds, as long a range."""
    priority: int = 256
    """0 to 65,535 (RFC 8831 6.4: 128 below normal, 256 normal, 512 high, 1024 extra high). Other numbers mean
    what their order says, so they are no error."""

    def encode(self) -> bytes:
        """The message. Raises :class:`ValueError` for both limits at once and for what exceeds a field or a
        cap."""
        if self.max_retransmits is not None and self.max_lifetime_ms is not None:
            raise ValueError("a channel has one reliability limit at most")
        label, protocol = self.label.encode(), self.protocol.encode()
        if len(label) > MAX_LABEL_LENGTH or len(protocol) > MAX_PROTOCOL_LENGTH:
            raise ValueError("label or protocol too long")
        kind, limit = Reliability.RELIABLE, 0
        if self.max_retransmits is not None:
            kind, limit = Reliability.MAX_RETRANSMITS, self.max_retransmits
        elif self.max_lifetime_ms is not None:
            kind, limit = Reliability.MAX_LIFETIME, self.max_lifetime_ms
        channel_type = kind | (0 if self.ordered else _UNORDERED)
        if not 0 <= limit <= 0xFFFF_FFFF or not 0 <= self.priority <= 0xFFFF:
            raise ValueError("reliability limit or priority out of range")
        return (
            _OPEN.pack(_MESSAGE_OPEN, channel_type, self.priority, limit, len(label), len(protocol))
            + label
            + protocol
        )


@dataclass(frozen=True, slots=True)
class DataChannelAck:
    """DATA_CHANNEL_ACK (RFC 8832 5.2)."""

    def encode(self) -> bytes:
        return bytes((_MESSAGE_ACK,))


def parse_dcep_untrusted(data: bytes) -> DataChannelOpen | DataChannelAck:
    """Parse a message of PPID 50.

    Raises :class:`DcepError` for an unknown message or channel type, a length that is not exactly what the
    fields say, a label or protocol beyond its cap, and text that is not UTF-8.
    """
    if not data:
        raise DcepError("empty message")
    if data[0] == _MESSAGE_ACK:
        if len(data) != 1:
            raise DcepError("DATA_CHANNEL_ACK with a body")
        return DataChannelAck()
    if data[0] != _MESSAGE_OPEN:
        raise DcepError("unknown message type")
    if len(data) < _OPEN.size:
        raise DcepError("DATA_CHANNEL_OPEN too short")
    _, channel_type, priority, limit, label_length, protocol_length = _OPEN.unpack_from(data)
    if label_length > MAX_LABEL_LENGTH or protocol_length > MAX_PROTOCOL_LENGTH:
        raise DcepError("label or protocol too long")
    if len(data) != _OPEN.size + label_length + protocol_length:
        raise DcepError("length does not match label and protocol")
    try:
        reliability = Reliability(channel_type & ~_UNORDERED)
    except ValueError:
        raise DcepError("unknown channel type") from None
    try:
        label = data[_OPEN.size : _OPEN.size + label_length].decode()
        protocol = data[_OPEN.size + label_length :].decode()
    except UnicodeDecodeError:
        raise DcepError("label or protocol is not UTF-8") from None
    return DataChannelOpen(
        label=label,
        protocol=protocol,
        ordered=not channel_type & _UNORDERED,
        max_retransmits=limit if reliability is Reliability.MAX_RETRANSMITS else None,
        max_lifetime_ms=limit if reliability is Reliability.MAX_LIFETIME else None,
        priority=priority,
    )

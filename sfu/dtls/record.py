"""The plaintext frame of DTLS 1.2: records and handshake fragments (RFC 6347 4.1, 4.2.2). No cryptography.

Epoch 0 is neither encrypted nor authenticated, which makes its record numbers ours to assign: whatever is
sent there gets a fresh one, repeated or not. Records of epoch 1 are sealed and can only be passed on as they
are.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass

RECORD_HEADER_LENGTH = 13
HANDSHAKE_HEADER_LENGTH = 12

MAX_RECORD_BODY = 2**14 + 256
"""Longest record body looked at: 2^14 bytes of plaintext and what an AEAD cipher adds (RFC 5246 6.2.3)."""

_HEADER = struct.Struct("!BHHHIH")
_VERSION_MAJOR = 0xFE


class ContentType(enum.IntEnum):
    """Record content types (RFC 5246 6.2.1)."""

    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23


class HandshakeType(enum.IntEnum):
    """Types of plaintext messages in a DTLS 1.2 handshake of ours (RFC 5246 7.4, RFC 6347 4.3.2)."""

    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    HELLO_VERIFY_REQUEST = 3
    CERTIFICATE = 11
    SERVER_KEY_EXCHANGE = 12
    CERTIFICATE_REQUEST = 13
    SERVER_HELLO_DONE = 14
    CERTIFICATE_VERIFY = 15
    CLIENT_KEY_EXCHANGE = 16


class RecordError(Exception):
    """The body of a plaintext record is malformed."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record (RFC 6347 4.1)."""

    content_type: int
    version: int
    epoch: int
    sequence: int
    """Record number within the epoch, 48 bits."""
    body: bytes

    def encode(self, sequence: int | None = None) -> bytes:
        """The record's bytes, with another record number if one is given."""
        number = self.sequence if sequence is None else sequence
        return (
            _HEADER.pack(
                self.content_type,
                self.version,
                self.epoch,
                number >> 32,
                number & 0xFFFFFFFF,
                len(self.body),
            )
            + self.body
        )


@dataclass(frozen=True, slots=True)
class Fragment:
    """The header of one fragment of a plaintext handshake message (RFC 6347 4.2.2)."""

    message_type: int
    length: int
    """Length of the whole message, 24 bits."""
    message_seq: int
    offset: int
    fragment_length: int


def split_datagram_untrusted(data: bytes) -> list[Record]:
    """The whole records at the start of a datagram.

    Cannot fail: what follows the first thing that is no record is dropped silently (RFC 6347 4.1.2.7).
    """
    records = []
    at = 0
    end = len(data)
    while end - at >= RECORD_HEADER_LENGTH:
        content_type, version, epoch, high, low, length = _HEADER.unpack_from(data, at)
        at += RECORD_HEADER_LENGTH
        if version >> 8 != _VERSION_MAJOR or length > MAX_RECORD_BODY or length > end - at:
            break
        records.append(Record(content_type, version, epoch, high << 32 | low, data[at : at + length]))
        at += length
    return records


def parse_fragments_untrusted(body: bytes) -> list[Fragment]:
    """The headers of all fragments in a plaintext handshake record; at least one.

    Raises :class:`RecordError` if the record does not consist of whole fragments, or if one is
    inconsistent in itself: beyond its message's end, or empty although the message is not.
    """
    fragments = []
    at = 0
    while at < len(body):
        if len(body) - at < HANDSHAKE_HEADER_LENGTH:
            raise RecordError("truncated handshake header")
        fragment = Fragment(
            message_type=body[at],
            length=int.from_bytes(body[at + 1 : at + 4], "big"),
            message_seq=int.from_bytes(body[at + 4 : at + 6], "big"),
            offset=int.from_bytes(body[at + 6 : at + 9], "big"),
            fragment_length=int.from_bytes(body[at + 9 : at + 12], "big"),
        )
        at += HANDSHAKE_HEADER_LENGTH + fragment.fragment_length
        if at > len(body):
            raise RecordError("truncated handshake fragment")
        if fragment.offset + fragment.fragment_length > fragment.length:
            raise RecordError("handshake fragment beyond the end of its message")
        if fragment.fragment_length == 0 and fragment.length:
            raise RecordError("empty handshake fragment")
        fragments.append(fragment)
    if not fragments:
        raise RecordError("empty handshake record")
    return fragments


def pack_datagrams(records: Iterable[bytes], mtu: int) -> list[bytes]:
    """Join encoded records into as few datagrams of at most ``mtu`` bytes as their order allows.

    A record is never split; one that is longer than ``mtu`` gets a datagram of its own.
    """
    datagrams: list[bytes] = []
    pending: list[bytes] = []
    size = 0
    for record in records:
        if pending and size + len(record) > mtu:
            datagrams.append(b"".join(pending))
            pending = []
            size = 0
        pending.append(record)
        size += len(record)
    if pending:
        datagrams.append(b"".join(pending))
    return datagrams

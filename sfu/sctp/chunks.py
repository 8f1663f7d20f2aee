"""Chunks (RFC 9260 3.3, RFC 3758 3.2, RFC 6525 3.1): one frozen class each, from bytes and to bytes.

DATA and SACK are what a busy association consists of, so they are named tuples (built in a third of the time
of a frozen dataclass); the others are dataclasses. ``value`` is everything after the four-byte chunk header,
without padding. I-DATA and I-FORWARD-TSN (RFC 8260) are not offered: Chrome has them switched off, and what
they are for here, :mod:`~sfu.sctp.send_queue` does without them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Protocol, Self

from sfu.sctp.causes import Cause, encode_causes, parse_causes_untrusted
from sfu.sctp.errors import SctpError
from sfu.sctp.parameters import Parameter, encode_parameters, parse_parameters_untrusted
from sfu.sctp.tlv import PADDING

CHUNK_HEADER: Final = struct.Struct("!BBH")
DATA_HEADER: Final = struct.Struct("!BBHIHHI")
"""A whole DATA chunk header: type, flags, length, TSN, stream id, stream sequence number, PPID."""
DATA_FIELDS: Final = struct.Struct("!IHHI")
SACK_FIELDS: Final = struct.Struct("!IIHH")
_INIT_FIELDS: Final = struct.Struct("!IIHHI")
_U32: Final = struct.Struct("!I")

DATA_HEADER_LENGTH = DATA_HEADER.size

FLAG_END = 0x01
FLAG_BEGIN = 0x02
FLAG_WHOLE = FLAG_BEGIN | FLAG_END
FLAG_UNORDERED = 0x04
FLAG_IMMEDIATE = 0x08
"""I bit (RFC 7053): acknowledge at once."""
FLAG_TAG_REFLECTED = 0x01
"""T bit of ABORT and SHUTDOWN-COMPLETE: the packet carries the receiver's own idea of the tag (RFC 9260
8.5.1)."""

STOP_BIT = 0x80
"""Clear in the type of an unknown chunk: discard the rest of the packet (RFC 9260 3.2)."""
REPORT_BIT = 0x40
"""Set in the type of an unknown chunk: report it in an ERROR chunk."""


class Chunk(Protocol):
    """What all chunks have."""

    @property
    def type(self) -> int: ...

    @property
    def wire_flags(self) -> int: ...

    @property
    def value(self) -> bytes: ...


class DataChunk(NamedTuple):
    """DATA (3.3.1)."""

    tsn: int
    stream_id: int
    ssn: int
    """Stream sequence number; without meaning if unordered."""
    ppid: int
    flags: int
    data: bytes
    """The fragment. An empty one parses, because its sender is owed an ABORT with cause 9."""

    @property
    def type(self) -> int:
        return 0

    @property
    def wire_flags(self) -> int:
        return self.flags

    @property
    def value(self) -> bytes:
        return DATA_FIELDS.pack(self.tsn, self.stream_id, self.ssn, self.ppid) + self.data


class SackChunk(NamedTuple):
    """SACK (3.3.4)."""

    cumulative_tsn: int
    a_rwnd: int
    """Advertised receive window, bytes."""
    gaps: tuple[tuple[int, int], ...] = ()
    """Gap ack blocks: first and last offset from the cumulative TSN. As received: any order, any nonsense."""
    duplicates: tuple[int, ...] = ()
    """TSNs received more than once."""

    @property
    def type(self) -> int:
        return 3

    @property
    def wire_flags(self) -> int:
        return 0

    @property
    def value(self) -> bytes:
        fields = SACK_FIELDS.pack(self.cumulative_tsn, self.a_rwnd, len(self.gaps), len(self.duplicates))
        gaps = b"".join(struct.pack("!HH", first, last) for first, last in self.gaps)
        return fields + gaps + struct.pack(f"!{len(self.duplicates)}I", *self.duplicates)

    @classmethod
    def parse_untrusted(cls, value: bytes) -> Self:
        """Parse; raises :class:`SctpError` unless the length is exactly what the two counts say."""
        if len(value) < 12:
            raise SctpError("SACK too short")
        cumulative_tsn, a_rwnd, gap_count, duplicate_count = SACK_FIELDS.unpack_from(value)
        if len(value) != 12 + 4 * (gap_count + duplicate_count):
            raise SctpError("SACK length does not match its counts")
        numbers = struct.unpack_from(f"!{2 * gap_count}H", value, 12)
        gaps = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        return cls(
            cumulative_tsn,
            a_rwnd,
            gaps,
            struct.unpack_from(f"!{duplicate_count}I", value, 12 + 4 * gap_count),
        )


@dataclass(frozen=True, slots=True)
class _InitFields:
    """What INIT and INIT-ACK share (3.3.2)."""

    initiate_tag: int
    a_rwnd: int
    outbound_streams: int
    inbound_streams: int
    initial_tsn: int
    parameters: tuple[Parameter, ...] = ()

    wire_flags: ClassVar[int] = 0

    @property
    def value(self) -> bytes:
        return _INIT_FIELDS.pack(
            self.initiate_tag, self.a_rwnd, self.outbound_streams, self.inbound_streams, self.initial_tsn
        ) + encode_parameters(self.parameters)

    @classmethod
    def parse_untrusted(cls, _flags: int, value: bytes) -> Self:
        if len(value) < _INIT_FIELDS.size:
            raise SctpError("INIT too short")
        tag, a_rwnd, outbound, inbound, tsn = _INIT_FIELDS.unpack_from(value)
        parameters = parse_parameters_untrusted(value[_INIT_FIELDS.size :])
        return cls(tag, a_rwnd, outbound, inbound, tsn, parameters)


@dataclass(frozen=True, slots=True)
class InitChunk(_InitFields):
    """INIT (3.3.2)."""

    type: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class InitAckChunk(_InitFields):
    """INIT-ACK (3.3.3)."""

    type: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class _HeartbeatFields:
    info: bytes
    """The Heartbeat Info parameter, header included: its sender's business, echoed as it is."""

    wire_flags: ClassVar[int] = 0

    @property
    def value(self) -> bytes:
        return self.info

    @classmethod
    def parse_untrusted(cls, _flags: int, value: bytes) -> Self:
        if len(value) < 4:
            raise SctpError("HEARTBEAT without its parameter")
        return cls(value)


@dataclass(frozen=True, slots=True)
class HeartbeatChunk(_HeartbeatFields):
    """HEARTBEAT (3.3.5)."""

    type: ClassVar[int] = 4


@dataclass(frozen=True, slots=True)
class HeartbeatAckChunk(_HeartbeatFields):
    """HEARTBEAT-ACK (3.3.6)."""

    type: ClassVar[int] = 5


@dataclass(frozen=True, slots=True)
class AbortChunk:
    """ABORT (3.3.7)."""

    type: ClassVar[int] = 6
    causes: tuple[Cause, ...] = ()
    tag_reflected: bool = False

    @property
    def wire_flags(self) -> int:
        return FLAG_TAG_REFLECTED if self.tag_reflected else 0

    @property
    def value(self) -> bytes:
        return encode_causes(self.causes)

    @classmethod
    def parse_untrusted(cls, flags: int, value: bytes) -> Self:
        return cls(parse_causes_untrusted(value), bool(flags & FLAG_TAG_REFLECTED))


@dataclass(frozen=True, slots=True)
class ShutdownChunk:
    """SHUTDOWN (3.3.8)."""

    type: ClassVar[int] = 7
    cumulative_tsn: int

    wire_flags: ClassVar[int] = 0

    @property
    def value(self) -> bytes:
        return _U32.pack(self.cumulative_tsn)

    @classmethod
    def parse_untrusted(cls, _flags: int, value: bytes) -> Self:
        if len(value) != 4:
            raise SctpError("SHUTDOWN of the wrong length")
        return cls(_U32.unpack(value)[0])


@dataclass(frozen=True, slots=True)
class ErrorChunk:
    """ERROR (3.3.10)."""

    type: ClassVar[int] = 9
    causes: tuple[Cause, ...]

    wire_flags: ClassVar[int] = 0

    @property
    def value(self) -> bytes:
        return encode_causes(self.causes)

    @classmethod
    def parse_untrusted(cls, _flags: int, value: bytes) -> Self:
        return cls(parse_causes_untrusted(value))


@dataclass(frozen=True, slots=True)
class CookieEchoChunk:
    """COOKIE-ECHO (3.3.11)."""

    type: ClassVar[int] = 10
    cookie: bytes

    wire_flags: ClassVar[int] = 0

    @property
    def value(self) -> bytes:
        return self.cookie

    @classmethod
    def parse_untrusted(cls, _flags: int, value: bytes) -> Self:
        return cls(value)


@dataclass(frozen=True, slots=True)
class _Bare:
    """A chunk that is only its header. A value from a talkative sender is not kept."""

    wire_flags: ClassVar[int] = 0

    @property
    def value(self) -> bytes:
        return b""

    @classmethod
    def parse_untrusted(cls, _flags: int, _value: bytes) -> Self:
        return cls()


@dataclass(frozen=True, slots=True)
class ShutdownAckChunk(_Bare):
    """SHUTDOWN-ACK (3.3.9)."""

    type: ClassVar[int] = 8


@dataclass(frozen=True, slots=True)
class CookieAckChunk(_Bare):
    """COOKIE-ACK (3.3.12)."""

    type: ClassVar[int] = 11


@dataclass(frozen=True, slots=True)
class ShutdownCompleteChunk:
    """SHUTDOWN-COMPLETE (3.3.13)."""

    type: ClassVar[int] = 14
    tag_reflected: bool = False

    @property
    def wire_flags(self) -> int:
        return FLAG_TAG_REFLECTED if self.tag_reflected else 0

    @property
    def value(self) -> bytes:
        return b""

    @classmethod
    def parse_untrusted(cls, flags: int, _value: bytes) -> Self:
        return cls(bool(flags & FLAG_TAG_REFLECTED))


@dataclass(frozen=True, slots=True)
class ReconfigChunk:
    """RE-CONFIG (RFC 6525 3.1)."""

    type: ClassVar[int] = 130
    parameters: tuple[Parameter, ...]

    wire_flags: ClassVar[int] = 0

    @property
    def value(self) -> bytes:
        return encode_parameters(self.parameters)

    @classmethod
    def parse_untrusted(cls, _flags: int, value: bytes) -> Self:
        return cls(parse_parameters_untrusted(value))


@dataclass(frozen=True, slots=True)
class ForwardTsnChunk:
    """FORWARD-TSN (RFC 3758 3.2)."""

    type: ClassVar[int] = 192
    cumulative_tsn: int
    """The receiver is to act as if it had received everything up to here."""
    streams: tuple[tuple[int, int], ...] = ()
    """Stream id and largest skipped stream sequence number, of streams whose ordered messages were skipped.
    """

    wire_flags: ClassVar[int] = 0

    @property
    def value(self) -> bytes:
        return _U32.pack(self.cumulative_tsn) + b"".join(struct.pack("!HH", *pair) for pair in self.streams)

    @classmethod
    def parse_untrusted(cls, _flags: int, value: bytes) -> Self:
        if len(value) < 4 or len(value) & 3:
            raise SctpError("FORWARD-TSN of the wrong length")
        numbers = struct.unpack_from(f"!{(len(value) - 4) // 2}H", value, 4)
        return cls(_U32.unpack_from(value)[0], tuple(zip(numbers[::2], numbers[1::2], strict=True)))


@dataclass(frozen=True, slots=True)
class UnknownChunk:
    """A chunk of a type we do not know; its two upper bits say what to do (3.2)."""

    type: int
    wire_flags: int
    value: bytes

    @property
    def stops(self) -> bool:
        """Whether the rest of the packet is to be discarded."""
        return not self.type & STOP_BIT

    @property
    def reported(self) -> bool:
        """Whether the sender asks to be told."""
        return bool(self.type & REPORT_BIT)


_CLASSES: Final = (
    InitChunk,
    InitAckChunk,
    HeartbeatChunk,
    HeartbeatAckChunk,
    AbortChunk,
    ShutdownChunk,
    ShutdownAckChunk,
    ErrorChunk,
    CookieEchoChunk,
    CookieAckChunk,
    ShutdownCompleteChunk,
    ReconfigChunk,
    ForwardTsnChunk,
)
CHUNKS: Final = {cls.type: cls for cls in _CLASSES}
"""Every chunk class by type, but DATA and SACK, which the packet parser reads in place."""


def parse_chunk_untrusted(kind: int, flags: int, value: bytes) -> Chunk:
    """Parse one chunk that is neither DATA nor SACK. Raises :class:`SctpError`."""
    cls = CHUNKS.get(kind)
    return UnknownChunk(kind, flags, value) if cls is None else cls.parse_untrusted(flags, value)


def encode_chunk(chunk: Chunk) -> bytes:
    """Encode a chunk with header and padding."""
    value = chunk.value
    return CHUNK_HEADER.pack(chunk.type, chunk.wire_flags, 4 + len(value)) + value + PADDING[len(value) & 3]

"""Chunk parameters: of INIT and INIT-ACK (RFC 9260 3.3.2, 3.3.3) and of RE-CONFIG (RFC 6525 4).

One frozen class per parameter, with ``TYPE``, ``parse_untrusted`` and ``value``. A type that is not in
:data:`PARAMETERS` becomes an :class:`UnknownParameter`; what to do with it is written in its two upper bits.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol, Self

from sfu.sctp.errors import SctpError
from sfu.sctp.tlv import join_tlvs, split_tlvs_untrusted

_U32 = struct.Struct("!I")
_U32X2 = struct.Struct("!II")
_U32X3 = struct.Struct("!III")
_ADD_STREAMS = struct.Struct("!IHH")


class Parameter(Protocol):
    """What all parameters have."""

    @property
    def type(self) -> int: ...

    @property
    def value(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class StateCookie:
    """State Cookie (RFC 9260 3.3.3.1): opaque to the peer, who echoes it."""

    type: ClassVar[int] = 7
    cookie: bytes

    @property
    def value(self) -> bytes:
        return self.cookie

    @classmethod
    def parse_untrusted(cls, value: bytes) -> Self:
        return cls(value)


@dataclass(frozen=True, slots=True)
class UnrecognizedParameter:
    """Unrecognized Parameter (RFC 9260 3.3.3.1): a parameter of the INIT that the answering side did not
    know."""

    type: ClassVar[int] = 8
    parameter: bytes
    """The whole parameter, header included."""

    @property
    def value(self) -> bytes:
        return self.parameter

    @classmethod
    def parse_untrusted(cls, value: bytes) -> Self:
        return cls(value)


@dataclass(frozen=True, slots=True)
class SupportedExtensions:
    """Supported Extensions (RFC 5061 4.2.7): the chunk types beyond the base protocol that a peer
    understands."""

    type: ClassVar[int] = 0x8008
    chunk_types: tuple[int, ...]

    @property
    def value(self) -> bytes:
        return bytes(self.chunk_types)

    @classmethod
    def parse_untrusted(cls, value: bytes) -> Self:
        return cls(tuple(value))


@dataclass(frozen=True, slots=True)
class ForwardTsnSupported:
    """Forward-TSN-Supported (RFC 3758 3.1): no value."""

    type: ClassVar[int] = 0xC000

    @property
    def value(self) -> bytes:
        return b""

    @classmethod
    def parse_untrusted(cls, value: bytes) -> Self:
        if value:
            raise SctpError("Forward-TSN-Supported with a value")
        return cls()


@dataclass(frozen=True, slots=True)
class ZeroChecksumAcceptable:
    """Zero Checksum Acceptable (RFC 9653 4): its sender takes packets without a checksum."""

    DTLS: ClassVar[int] = 1
    """The error detection method (EDMID) of SCTP over DTLS."""
    type: ClassVar[int] = 0x8001
    method: int
    """Error detection method."""

    @property
    def value(self) -> bytes:
        return _U32.pack(self.method)

    @classmethod
    def parse_untrusted(cls, value: bytes) -> Self:
        if len(value) != 4:
            raise SctpError("Zero Checksum Acceptable of the wrong length")
        return cls(_U32.unpack(value)[0])


@dataclass(frozen=True, slots=True)
class OutgoingResetRequest:
    """Outgoing SSN Reset Request (RFC 6525 4.1): the sender resets streams it sends on."""

    type: ClassVar[int] = 13
    request: int
    """Re-configuration request sequence number."""
    response: int
    """The last request of the other side that was answered; of use with incoming requests only."""
    last_tsn: int
    """Last TSN the sender assigned before the reset."""
    stream_ids: tuple[int, ...]
    """Which streams; none means all."""

    @property
    def value(self) -> bytes:
        return _U32X3.pack(self.request, self.response, self.last_tsn) + _pack_ids(self.stream_ids)

    @classmethod
    def parse_untrusted(cls, value: bytes) -> Self:
        if len(value) < 12 or len(value) & 1:
            raise SctpError("Outgoing SSN Reset Request of the wrong length")
        request, response, last_tsn = _U32X3.unpack_from(value)
        return cls(request, response, last_tsn, _unpack_ids(value[12:]))


@dataclass(frozen=True, slots=True)
class IncomingResetRequest:
    """Incoming SSN Reset Request (RFC 6525 4.2): asks the receiver to reset streams it sends on."""

    type: ClassVar[int] = 14
    request: int
    stream_ids: tuple[int, ...]

    @property
    def value(self) -> bytes:
        return _U32.pack(self.request) + _pack_ids(self.stream_ids)

    @classmethod
    def parse_untrusted(cls, value: bytes) -> Self:
        if len(value) < 4 or len(value) & 1:
            raise SctpError("Incoming SSN Reset Request of the wrong length")
        return cls(_U32.unpack_from(value)[0], _unpack_ids(value[4:]))


@dataclass(frozen=True, slots=True)
class TsnResetRequest:
    """SSN/TSN Reset Request (RFC 6525 4.3)."""

    type: ClassVar[int] = 15
    request: int

    @property
    def value(self) -> bytes:
        return _U32.pack(self.request)

    @classmethod
    def parse_untrusted(cls, value: bytes) -> Self:
        if len(value) != 4:
            raise SctpError("SSN/TSN Reset Request of the wrong length")
        return cls(_U32.unpack(value)[0])


class ReconfigResult(enum.IntEnum):
    """Result of a re-configuration request (RFC 6525 4.4)."""

    NOTHING_TO_DO = 0
    PERFORMED = 1
    DENIED = 2
    WRONG_SSN = 3
    ALREADY_IN_PROGRESS = 4
    BAD_SEQUENCE_NUMBER = 5
    IN_PROGRESS = 6


@dataclass(frozen=True, slots=True)
class ReconfigResponse:
    """Re-configuration Response (RFC 6525 4.4)."""

    type: ClassVar[int] = 16
    response: int
    """The request this answers."""
    result: int
    """A :class:`ReconfigResult`, or a number that is none."""
    tsns: tuple[int, int] | None = None
    """Sender's next TSN, receiver's next TSN: only in answers to an SSN/TSN reset."""

    @property
    def value(self) -> bytes:
        return _U32X2.pack(self.response, self.result) + (_U32X2.pack(*self.tsns) if self.tsns else b"")

    @classmethod
    def parse_untrusted(cls, value: bytes) -> Self:
        if len(value) not in (8, 16):
            raise SctpError("Re-configuration Response of the wrong length")
        response, result = _U32X2.unpack_from(value)
        return cls(response, result, _U32X2.unpack_from(value, 8) if len(value) == 16 else None)


@dataclass(frozen=True, slots=True)
class AddOutgoingStreams:
    """Add Outgoing Streams Request (RFC 6525 4.5): the sender wants to send on more streams."""

    type: ClassVar[int] = 17
    request: int
    count: int

    @property
    def value(self) -> bytes:
        return _ADD_STREAMS.pack(self.request, self.count, 0)

    @classmethod
    def parse_untrusted(cls, value: bytes) -> Self:
        if len(value) != 8:
            raise SctpError("Add Outgoing Streams of the wrong length")
        request, count, _ = _ADD_STREAMS.unpack(value)
        return cls(request, count)


@dataclass(frozen=True, slots=True)
class AddIncomingStreams:
    """Add Incoming Streams Request (RFC 6525 4.6): asks the receiver to send on more streams."""

    type: ClassVar[int] = 18
    request: int
    count: int

    @property
    def value(self) -> bytes:
        return _ADD_STREAMS.pack(self.request, self.count, 0)

    @classmethod
    def parse_untrusted(cls, value: bytes) -> Self:
        if len(value) != 8:
            raise SctpError("Add Incoming Streams of the wrong length")
        request, count, _ = _ADD_STREAMS.unpack(value)
        return cls(request, count)


STOP_BITS = 0x8000
"""Clear in the type of an unknown parameter: do not read those after it (RFC 9260 3.2.1)."""
REPORT_BITS = 0x4000
"""Set in the type of an unknown parameter: tell the sender that it was not understood."""

IGNORED_TYPES: Final = frozenset(
    {
        5,  # IPv4 address
        6,  # IPv6 address
        9,  # cookie preservative
        11,  # host name (withdrawn)
        12,  # supported address types
        0x8000,  # ECN capable
        0x8002,  # random (RFC 4895)
        0x8003,  # chunk list (RFC 4895)
        0x8004,  # requested HMAC algorithms (RFC 4895)
        0x8005,  # padding (RFC 4820)
        0xC006,  # adaptation layer indication (RFC 5061)
    }
)
"""Parameters we know and have no use for over DTLS: neither unknown nor reported."""


@dataclass(frozen=True, slots=True)
class UnknownParameter:
    """A parameter without a class of its own, among them those in :data:`IGNORED_TYPES`."""

    type: int
    value: bytes

    @property
    def stops(self) -> bool:
        """Whether the parameters after it must not be read."""
        return self.type not in IGNORED_TYPES and not self.type & STOP_BITS

    @property
    def reported(self) -> bool:
        """Whether the sender asks to be told."""
        return self.type not in IGNORED_TYPES and bool(self.type & REPORT_BITS)


_CLASSES: Final = (
    StateCookie,
    UnrecognizedParameter,
    SupportedExtensions,
    ForwardTsnSupported,
    ZeroChecksumAcceptable,
    OutgoingResetRequest,
    IncomingResetRequest,
    TsnResetRequest,
    ReconfigResponse,
    AddOutgoingStreams,
    AddIncomingStreams,
)
PARAMETERS: Final = {cls.type: cls for cls in _CLASSES}


def parse_parameters_untrusted(data: bytes) -> tuple[Parameter, ...]:
    """Parse the parameters of a chunk, up to and including the first that says "stop". Raises
    :class:`SctpError`."""
    parameters: list[Parameter] = []
    for kind, value in split_tlvs_untrusted(data):
        cls = PARAMETERS.get(kind)
        if cls is not None:
            parameters.append(cls.parse_untrusted(value))
            continue
        unknown = UnknownParameter(kind, value)
        parameters.append(unknown)
        if unknown.stops:
            break
    return tuple(parameters)


def encode_parameters(parameters: Iterable[Parameter]) -> bytes:
    """Encode parameters; the last is not padded."""
    return join_tlvs((parameter.type, parameter.value) for parameter in parameters)


def _pack_ids(stream_ids: tuple[int, ...]) -> bytes:
    return struct.pack(f"!{len(stream_ids)}H", *stream_ids)


def _unpack_ids(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"!{len(data) // 2}H", data)

"""RTP packets: headers, demultiplexing, numbers that wrap (RFC 3550 5.1, RFC 5761, RFC 7983).

Parsing copies nothing: an :class:`RtpPacket` keeps the received bytes and says where its parts begin. One
parser error exists for the whole package: :class:`RtpError`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from struct import Struct
from typing import Final

RTP_VERSION: Final = 2
FIXED_HEADER_SIZE: Final = 12
MAX_CSRC: Final = 15
MAX_PADDING: Final = 255
MAX_EXTENSION_SIZE: Final = 4 * 0xFFFF
"""Bytes in a header extension without its own four-byte header: the length field counts 32-bit words."""

SEQUENCE_MODULUS: Final = 1 << 16
TIMESTAMP_MODULUS: Final = 1 << 32

_FIXED_HEADER = Struct("!BBHII")
_EXTENSION_HEADER = Struct("!HH")
_CSRC = tuple(Struct(f"!{count}I") for count in range(MAX_CSRC + 1))


class RtpError(Exception):
    """Bytes from the network that are not what they should be. Nothing has changed; drop the packet."""


# --- demultiplexing -------------------------------------------------------------------------------


class DatagramKind(enum.Enum):
    """What a datagram on a multiplexed transport is, by its first two bytes (RFC 7983 7, RFC 5761 4)."""

    STUN = enum.auto()
    DTLS = enum.auto()
    RTP = enum.auto()
    RTCP = enum.auto()
    UNKNOWN = enum.auto()
    """Empty, ZRTP, TURN channel data, QUIC or undefined: nothing that is spoken here."""


_FIRST_BYTE: Final = tuple(
    DatagramKind.STUN
    if byte < 4
    else DatagramKind.DTLS
    if 20 <= byte < 64
    else DatagramKind.RTP
    if 128 <= byte < 192
    else DatagramKind.UNKNOWN
    for byte in range(256)
)


def is_rtcp(data: bytes) -> bool:
    """Whether a datagram of the RTP/RTCP range is RTCP: packet types 192 to 223 (RFC 5761 4).

    The first byte is not looked at. Those types are the RTP payload types 64 to 95 with the marker bit set,
    so such payload types cannot be negotiated.
    """
    return len(data) > 1 and 192 <= data[1] < 224


def classify(data: bytes) -> DatagramKind:
    """The protocol a datagram belongs to. Never fails, and promises nothing about the rest of the bytes."""
    if not data:
        return DatagramKind.UNKNOWN
    kind = _FIRST_BYTE[data[0]]
    if kind is DatagramKind.RTP and is_rtcp(data):
        return DatagramKind.RTCP
    return kind


# --- packets --------------------------------------------------------------------------------------


@dataclass(slots=True)
class RtpPacket:
    """One parsed RTP packet. Offsets are into ``data``; treat it as immutable.

    Not ``frozen``: that sets each field through ``object.__setattr__``, which makes parsing twice as dear.
    """

    data: bytes
    """The whole packet, as received (after SRTP)."""
    marker: bool
    payload_type: int
    """0 to 127."""
    sequence_number: int
    """16 bits."""
    timestamp: int
    """32 bits, in units of the payload's clock rate."""
    ssrc: int
    """32 bits."""
    csrc: tuple[int, ...]
    """At most 15 contributing sources."""
    extension_profile: int | None
    """The 16 bits "defined by profile" of the header extension, or ``None`` without one."""
    extension_offset: int
    """Where the extension's body begins, behind its four-byte header; 0 without one."""
    extension_length: int
    """Bytes in the extension's body: a multiple of 4."""
    payload_offset: int
    """Also the length of the header, which SRTP leaves in the clear."""
    payload_length: int
    """Bytes of payload, without padding."""
    padding_length: int
    """Bytes of RTP padding at the end, including the count byte; 0 if the P bit is clear."""

    @property
    def header(self) -> bytes:
        """A copy of everything before the payload."""
        return self.data[: self.payload_offset]

    @property
    def payload(self) -> bytes:
        """A copy of the payload, without padding."""
        return self.data[self.payload_offset : self.payload_offset + self.payload_length]


def header_length_untrusted(data: bytes) -> int:
    """Length of the RTP header with its CSRC list and extension: where the payload begins (RFC 3550 5.1).

    Raises :class:`RtpError` unless the whole header is there and its version is 2.
    """
    size = len(data)
    if size < FIXED_HEADER_SIZE:
        raise RtpError("RTP packet shorter than its fixed header")
    first = data[0]
    if first >> 6 != RTP_VERSION:
        raise RtpError("RTP version is not 2")
    length = FIXED_HEADER_SIZE + 4 * (first & 0x0F)
    if first & 0x10:
        if length + 4 > size:
            raise RtpError("RTP header extension is cut off")
        length += 4 + 4 * (data[length + 2] << 8 | data[length + 3])
    if length > size:
        raise RtpError("RTP header is longer than the packet")
    return length


def parse_untrusted(data: bytes) -> RtpPacket:
    """Parse one RTP packet (RFC 3550 5.1). Raises :class:`RtpError`."""
    payload_offset = header_length_untrusted(data)
    first, second, sequence_number, timestamp, ssrc = _FIXED_HEADER.unpack_from(data)
    csrc_count = first & 0x0F
    csrc = _CSRC[csrc_count].unpack_from(data, FIXED_HEADER_SIZE) if csrc_count else ()
    extension_profile: int | None = None
    extension_offset = extension_length = padding_length = 0
    if first & 0x10:
        extension_offset = FIXED_HEADER_SIZE + 4 * csrc_count + 4
        extension_length = payload_offset - extension_offset
        extension_profile = data[extension_offset - 4] << 8 | data[extension_offset - 3]
    payload_length = len(data) - payload_offset
    if first & 0x20:
        padding_length = data[-1] if payload_length else 0
        if not 0 < padding_length <= payload_length:
            raise RtpError("RTP padding does not fit the payload")
        payload_length -= padding_length
    return RtpPacket(
        data,
        second >= 0x80,
        second & 0x7F,
        sequence_number,
        timestamp,
        ssrc,
        csrc,
        extension_profile,
        extension_offset,
        extension_length,
        payload_offset,
        payload_length,
        padding_length,
    )


def build_header(
    *,
    payload_type: int,
    sequence_number: int,
    timestamp: int,
    ssrc: int,
    marker: bool = False,
    padding: bool = False,
    csrc: tuple[int, ...] = (),
    extension: bytes = b"",
) -> bytes:
    """An RTP header (RFC 3550 5.1).

    ``extension`` is a whole header extension with its own four-byte header, as
    :func:`sfu.rtp.extensions.build_extension` makes it, or empty. Raises :class:`ValueError` on a value out
    of range.
    """
    if not 0 <= payload_type < 128:
        raise ValueError("payload type out of range")
    if not (0 <= sequence_number < SEQUENCE_MODULUS and 0 <= timestamp < TIMESTAMP_MODULUS):
        raise ValueError("sequence number or timestamp out of range")
    if not all(0 <= source < 1 << 32 for source in (ssrc, *csrc)):
        raise ValueError("SSRC or CSRC out of range")
    if len(csrc) > MAX_CSRC:
        raise ValueError("too many CSRCs")
    if extension and (
        len(extension) < 4 or len(extension) - 4 != 4 * _EXTENSION_HEADER.unpack_from(extension)[1]
    ):
        raise ValueError("header extension does not agree with its length field")
    first = RTP_VERSION << 6 | padding << 5 | bool(extension) << 4 | len(csrc)
    fixed = _FIXED_HEADER.pack(first, marker << 7 | payload_type, sequence_number, timestamp, ssrc)
    return fixed + _CSRC[len(csrc)].pack(*csrc) + extension


def build_padding(length: int) -> bytes:
    """``length`` bytes of RTP padding, 1 to 255 (RFC 3550 5.1). Raises :class:`ValueError`."""
    if not 0 < length <= MAX_PADDING:
        raise ValueError("padding out of range")
    return bytes(length - 1) + bytes((length,))


# --- numbers that wrap ----------------------------------------------------------------------------


def sequence_distance(newer: int, older: int) -> int:
    """Signed 16-bit difference ``newer - older``, -32768 to 32767: positive if ``newer`` is ahead."""
    return ((newer - older + 0x8000) & 0xFFFF) - 0x8000


class Unwrapper:
    """Extends a counter that wraps to one that does not, whatever the order of arrival.

    Each value is taken as the one nearest to the **highest** seen so far: at most half the range minus one
    ahead, at most half the range behind (the exact middle counts as behind). So a late value gets its true,
    smaller number and never moves the reference. The count begins one whole cycle above zero, so that values
    reordered before the very first keep positive numbers. A jump of more than half the range is beyond what
    any receiver can tell, here as in RFC 3711 3.3.1.
    """

    __slots__ = ("_half", "_modulus", "highest")

    highest: int | None
    """The highest extended value so far, ``None`` before the first; modulo the modulus it is on the wire."""

    def __init__(self, modulus: int) -> None:
        self._modulus = modulus
        self._half = modulus >> 1
        self.highest = None

    def unwrap(self, value: int) -> int:
        """The extended number of ``value``, which is 0 to ``modulus - 1``."""
        highest = self.highest
        if highest is None:
            self.highest = extended = self._modulus + value
            return extended
        distance = (value - highest) % self._modulus
        if 0 < distance < self._half:
            self.highest = extended = highest + distance
            return extended
        return highest + distance - self._modulus if distance else highest


class SequenceUnwrapper(Unwrapper):
    """:class:`Unwrapper` for 16-bit sequence numbers. The first one gets 65536 plus its value."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(SEQUENCE_MODULUS)


class TimestampUnwrapper(Unwrapper):
    """:class:`Unwrapper` for 32-bit RTP timestamps."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(TIMESTAMP_MODULUS)

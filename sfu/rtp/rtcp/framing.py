"""What all RTCP packets share: the four-byte header, padding, and the caps (RFC 3550 6.1, 6.4.1)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from struct import Struct
from typing import Final

from sfu.rtp.packet import RTP_VERSION, RtpError

MAX_COMPOUND_SIZE: Final = 1500
"""Bytes in a compound packet. All counts within are bounded by it: nothing is announced that is not there."""
MAX_COMPOUND_PACKETS: Final = 64
MAX_COUNT: Final = 31
"""Report blocks, SDES chunks or BYE sources in one packet: five bits."""
MAX_TEXT: Final = 255
"""Bytes in an SDES item or a BYE reason: one length byte."""

HEADER_SIZE: Final = 4

_HEADER = Struct("!BBH")
_PADDING = 0x20


class PacketType(enum.IntEnum):
    """RTCP packet types (RFC 3550 12.1, RFC 4585 6.1, RFC 3611 2)."""

    SR = 200
    RR = 201
    SDES = 202
    BYE = 203
    APP = 204
    RTPFB = 205
    PSFB = 206
    XR = 207


@dataclass(frozen=True, slots=True)
class Frame:
    """One packet of a compound, header and padding taken off."""

    packet_type: int
    """192 to 223."""
    count: int
    """The five bits behind version and P: a count, a subtype or a feedback format."""
    body: bytes
    """Everything behind the four-byte header."""


def split_compound_untrusted(data: bytes) -> list[Frame]:
    """The packets of a compound, one after the other (RFC 3550 6.1; any first packet, RFC 5506).

    Raises :class:`RtpError` if one does not have version 2 and a type in 192 to 223, or they do not end where
    the data ends, or its padding does not fit, or there are too many bytes or packets.
    """
    size = len(data)
    if not size or size > MAX_COMPOUND_SIZE:
        raise RtpError("RTCP compound is empty or too long")
    frames: list[Frame] = []
    offset = 0
    while offset < size:
        if len(frames) == MAX_COMPOUND_PACKETS:
            raise RtpError("too many packets in an RTCP compound")
        if size - offset < HEADER_SIZE:
            raise RtpError("RTCP header is cut off")
        first, packet_type, words = _HEADER.unpack_from(data, offset)
        if first >> 6 != RTP_VERSION or not 192 <= packet_type < 224:
            raise RtpError("not an RTCP header")
        begin = offset + HEADER_SIZE
        offset = end = begin + 4 * words
        if end > size:
            raise RtpError("RTCP packet is longer than its compound")
        if first & _PADDING:
            padding = data[end - 1] if words else 0
            if not 0 < padding <= end - begin:
                raise RtpError("RTCP padding does not fit the packet")
            end -= padding
        frames.append(Frame(packet_type, first & 0x1F, data[begin:end]))
    return frames


def build_packet(packet_type: int, count: int, body: bytes, *, pad: bool = False) -> bytes:
    """Header and body.

    With ``pad``, a body that is not of whole words is filled up with RTCP padding (RFC 3550 6.4.1), which is
    not part of it. Raises :class:`ValueError` on such a body otherwise, and on a count above 31.
    """
    if not 0 <= count <= MAX_COUNT:
        raise ValueError("RTCP count out of range")
    first = RTP_VERSION << 6 | count
    if missing := -len(body) % 4:
        if not pad:
            raise ValueError("RTCP body is not a multiple of four bytes")
        body += bytes(missing - 1) + bytes((missing,))
        first |= _PADDING
    return _HEADER.pack(first, packet_type, len(body) // 4) + body

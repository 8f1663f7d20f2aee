"""The SCTP packet: common header, CRC32c, chunks (RFC 9260 3, 3.1, appendix A).

The checksum covers the packet with its own field zeroed. The header of all packets of one direction of an
association is the same, so :class:`PacketHeader` keeps the CRC of those first twelve bytes and a packet costs
one ``extend`` over the rest, in either direction; or nothing, with a zero checksum (RFC 9653): DTLS has found
every error before.
"""

from __future__ import annotations

import struct
from typing import Final

from google_crc32c import extend as _extend

from sfu.sctp.chunks import (
    CHUNK_HEADER,
    DATA_FIELDS,
    DATA_HEADER_LENGTH,
    Chunk,
    CookieEchoChunk,
    DataChunk,
    InitChunk,
    SackChunk,
    UnknownChunk,
    parse_chunk_untrusted,
)
from sfu.sctp.errors import SctpError

HEADER_LENGTH = 12
MIN_PACKET_SIZE = HEADER_LENGTH + 4
MAX_PACKET_SIZE = 16_384
"""Largest packet parsed: one DTLS record holds no more (RFC 6347 4.1, RFC 8261 5)."""

_PREFIX: Final = struct.Struct("!HHI")
_TAG: Final = struct.Struct("!I")
_CRC: Final = struct.Struct("<I")
BARE_SACK_HEADER: Final = CHUNK_HEADER.pack(3, 0, 16)
"""Chunk header of a SACK without gaps and duplicates."""
BARE_SACK_SIZE: Final = 12 + 16
"""Size of a packet that is only such a SACK."""
BARE_SACK_FIELDS: Final = struct.Struct("!III")
"""Cumulative TSN, a_rwnd, and both counts as one number, which must be 0."""
_ZERO_CRC: Final = bytes(4)
_NEVER_ZERO: Final = (InitChunk.type, CookieEchoChunk.type)


class PacketHeader:
    """The common header of one direction: ports and verification tag, with the CRC32c of its twelve bytes.

    Immutable by convention; made anew when a tag changes.
    """

    __slots__ = ("crc", "prefix", "zero_checksum")

    def __init__(
        self, source_port: int, destination_port: int, tag: int, *, zero_checksum: bool = False
    ) -> None:
        self.prefix = _PREFIX.pack(source_port, destination_port, tag)
        """The eight bytes before the checksum, as they travel."""
        self.crc: int = _extend(0, self.prefix + _ZERO_CRC)
        """CRC32c of the twelve bytes with the checksum zeroed."""
        self.zero_checksum = zero_checksum
        """Whether packets are sent with a checksum of zero, and taken with it."""

    def packet(self, body: bytes) -> bytes:
        """Put header and checksum before encoded chunks."""
        if self.zero_checksum:
            return self.prefix + _ZERO_CRC + body
        return self.prefix + _CRC.pack(_extend(self.crc, body)) + body

    def checksum_matches(self, data: bytes) -> bool:
        """Check the CRC32c of a packet that begins with :attr:`prefix` and has at least 13 bytes; zero will
        do if :attr:`zero_checksum`, except for INIT and COOKIE-ECHO (RFC 9653 5.3)."""
        if self.zero_checksum and data[8:12] == _ZERO_CRC and data[12] not in _NEVER_ZERO:
            return True
        return bool(_CRC.pack(_extend(self.crc, data[12:])) == data[8:12])


def parse_header_untrusted(data: bytes, *, zero_checksum: bool = False) -> PacketHeader:
    """Read the common header of a packet. Raises :class:`SctpError` if the size cannot be right."""
    _check_size(data)
    return PacketHeader(*_PREFIX.unpack_from(data), zero_checksum=zero_checksum)


def tag_of(data: bytes) -> int:
    """The verification tag of a packet of at least eight bytes."""
    tag: int = _TAG.unpack_from(data, 4)[0]
    return tag


def parse_chunks_untrusted(data: bytes) -> list[Chunk]:
    """Parse all chunks of a packet; the checksum is the caller's business.

    Raises :class:`SctpError` for anything malformed anywhere in the packet, so that a packet is acted upon as
    a whole or not at all. Stops after an unknown chunk whose type says so (RFC 9260 3.2): it is the last of
    the list.
    """
    _check_size(data)
    chunks: list[Chunk] = []
    position, total = HEADER_LENGTH, len(data)
    while position < total:
        kind, flags, length = CHUNK_HEADER.unpack_from(data, position)
        end = position + length
        if length < 4 or end > total:
            raise SctpError("chunk length out of bounds")
        if kind == 0:
            if length < DATA_HEADER_LENGTH:
                raise SctpError("DATA too short")
            tsn, stream_id, ssn, ppid = DATA_FIELDS.unpack_from(data, position + 4)
            chunks.append(DataChunk(tsn, stream_id, ssn, ppid, flags, data[position + 16 : end]))
        elif kind == 3:
            chunks.append(SackChunk.parse_untrusted(data[position + 4 : end]))
        else:
            chunk = parse_chunk_untrusted(kind, flags, data[position + 4 : end])
            chunks.append(chunk)
            if type(chunk) is UnknownChunk and chunk.stops:
                break
        position = end + 3 & ~3
    return chunks


def _check_size(data: bytes) -> None:
    if len(data) < MIN_PACKET_SIZE or len(data) & 3 or len(data) > MAX_PACKET_SIZE:
        raise SctpError("packet too short, too long, or not a multiple of four bytes")

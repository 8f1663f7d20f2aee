"""The RTCP packets of RFC 3550 6: SR, RR, SDES, BYE, APP; and :class:`Unknown` for all that is not parsed.

Every class reads itself from a :class:`~sfu.rtp.rtcp.framing.Frame` (``RtpError`` if it cannot) and writes
itself with ``to_bytes``, which raises :class:`ValueError` or :class:`struct.error` on a field out of range.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from struct import Struct
from typing import Final

from sfu.rtp.packet import RtpError
from sfu.rtp.rtcp.framing import MAX_TEXT, Frame, PacketType, build_packet

BLOCK_SIZE: Final = 24
MAX_PACKETS_LOST: Final = (1 << 23) - 1
MIN_PACKETS_LOST: Final = -(1 << 23)

_BLOCK = Struct("!II4I")
_SENDER = Struct("!IQ3I")
_SSRC = Struct("!I")


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """How one source is received (RFC 3550 6.4.1)."""

    ssrc: int
    """The source that is reported on."""
    fraction_lost: int
    """Lost since the last report, in 256ths: 0 to 255."""
    packets_lost: int
    """Lost since the beginning, signed 24 bits: duplicates can make it negative."""
    highest_sequence: int
    """Highest sequence number received, with the count of cycles in the upper 16 bits."""
    jitter: int
    """Interarrival jitter in RTP clock units."""
    last_sender_report: int
    """LSR: the middle 32 bits of the NTP time of the last SR, 0 if there was none."""
    delay_since_last_sender_report: int
    """DLSR, in units of 1/65536 s."""

    def to_bytes(self) -> bytes:
        """24 bytes."""
        if not (0 <= self.fraction_lost < 256 and MIN_PACKETS_LOST <= self.packets_lost <= MAX_PACKETS_LOST):
            raise ValueError("report block loss out of range")
        return _BLOCK.pack(
            self.ssrc,
            self.fraction_lost << 24 | self.packets_lost & 0xFFFFFF,
            self.highest_sequence,
            self.jitter,
            self.last_sender_report,
            self.delay_since_last_sender_report,
        )


def _blocks_untrusted(count: int, body: bytes, offset: int) -> tuple[ReportBlock, ...]:
    """``count`` blocks. What follows them, a profile-specific extension, is ignored (RFC 3550 6.4.3)."""
    if offset + count * BLOCK_SIZE > len(body):
        raise RtpError("report blocks are cut off")
    blocks = []
    for _ in range(count):
        ssrc, lost, highest, jitter, lsr, dlsr = _BLOCK.unpack_from(body, offset)
        offset += BLOCK_SIZE
        total = lost & 0xFFFFFF
        total -= (total & 0x800000) << 1
        blocks.append(ReportBlock(ssrc, lost >> 24, total, highest, jitter, lsr, dlsr))
    return tuple(blocks)


@dataclass(frozen=True, slots=True)
class SenderReport:
    """SR (RFC 3550 6.4.1)."""

    ssrc: int
    ntp_timestamp: int
    """64 bits, 32.32 fixed point seconds since 1900: when the report was sent."""
    rtp_timestamp: int
    """The same moment on the stream's RTP clock."""
    packet_count: int
    octet_count: int
    """Payload bytes sent, without headers and padding."""
    blocks: tuple[ReportBlock, ...] = ()

    @classmethod
    def from_frame_untrusted(cls, frame: Frame) -> SenderReport:
        if len(frame.body) < _SENDER.size:
            raise RtpError("SR is cut off")
        ssrc, ntp, rtp, packets, octets = _SENDER.unpack_from(frame.body)
        blocks = _blocks_untrusted(frame.count, frame.body, _SENDER.size)
        return cls(ssrc, ntp, rtp, packets, octets, blocks)

    def to_bytes(self) -> bytes:
        sender = _SENDER.pack(
            self.ssrc, self.ntp_timestamp, self.rtp_timestamp, self.packet_count, self.octet_count
        )
        blocks = b"".join(block.to_bytes() for block in self.blocks)
        return build_packet(PacketType.SR, len(self.blocks), sender + blocks)


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RR (RFC 3550 6.4.2)."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()

    @classmethod
    def from_frame_untrusted(cls, frame: Frame) -> ReceiverReport:
        if len(frame.body) < _SSRC.size:
            raise RtpError("RR is cut off")
        (ssrc,) = _SSRC.unpack_from(frame.body)
        return cls(ssrc, _blocks_untrusted(frame.count, frame.body, _SSRC.size))

    def to_bytes(self) -> bytes:
        blocks = b"".join(block.to_bytes() for block in self.blocks)
        return build_packet(PacketType.RR, len(self.blocks), _SSRC.pack(self.ssrc) + blocks)


class SdesItemType(enum.IntEnum):
    """The SDES items that mean something here (RFC 3550 6.5, RFC 9143 15.2, RFC 8852 3)."""

    CNAME = 1
    RTP_STREAM_ID = 12
    REPAIRED_RTP_STREAM_ID = 13
    MID = 15


@dataclass(frozen=True, slots=True)
class SdesChunk:
    """What a source says of itself (RFC 3550 6.5)."""

    ssrc: int
    items: tuple[tuple[int, bytes], ...]
    """``(item type, text)`` in their order; types 1 to 255, texts of at most 255 bytes of UTF-8."""

    @property
    def cname(self) -> bytes | None:
        """The first CNAME."""
        return next((text for kind, text in self.items if kind == SdesItemType.CNAME), None)


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """SDES (RFC 3550 6.5)."""

    chunks: tuple[SdesChunk, ...]

    @classmethod
    def from_frame_untrusted(cls, frame: Frame) -> SourceDescription:
        body, size, offset = frame.body, len(frame.body), 0
        chunks = []
        for _ in range(frame.count):
            if offset + 4 > size:
                raise RtpError("SDES chunk is cut off")
            (ssrc,) = _SSRC.unpack_from(body, offset)
            offset += 4
            items = []
            while True:
                if offset >= size:
                    raise RtpError("SDES chunk has no end")
                kind = body[offset]
                if not kind:
                    break
                begin = offset + 2
                if begin > size or begin + body[offset + 1] > size:
                    raise RtpError("SDES item is cut off")
                offset = begin + body[offset + 1]
                items.append((kind, body[begin:offset]))
            offset += 4 - offset % 4  # the end mark, and zeros up to the next word
            if offset > size:
                raise RtpError("SDES chunk is not padded")
            chunks.append(SdesChunk(ssrc, tuple(items)))
        return cls(tuple(chunks))

    def to_bytes(self) -> bytes:
        body = bytearray()
        for chunk in self.chunks:
            body += _SSRC.pack(chunk.ssrc)
            for kind, text in chunk.items:
                if not (0 < kind < 256 and len(text) <= MAX_TEXT):
                    raise ValueError("SDES item out of range")
                body += bytes((kind, len(text))) + text
            body += bytes(4 - len(body) % 4)
        return build_packet(PacketType.SDES, len(self.chunks), bytes(body))


@dataclass(frozen=True, slots=True)
class Goodbye:
    """BYE (RFC 3550 6.6)."""

    ssrcs: tuple[int, ...]
    """The sources that leave. Whether they are the peer's own is for the receiver to check."""
    reason: bytes = b""
    """At most 255 bytes of UTF-8."""

    @classmethod
    def from_frame_untrusted(cls, frame: Frame) -> Goodbye:
        body, end = frame.body, 4 * frame.count
        if end > len(body):
            raise RtpError("BYE is cut off")
        reason = b""
        if end < len(body):
            reason = body[end + 1 : end + 1 + body[end]]
            if len(reason) != body[end]:
                raise RtpError("BYE reason is cut off")
        return cls(tuple(ssrc for (ssrc,) in _SSRC.iter_unpack(body[:end])), reason)

    def to_bytes(self) -> bytes:
        if len(self.reason) > MAX_TEXT:
            raise ValueError("BYE reason too long")
        body = b"".join(map(_SSRC.pack, self.ssrcs))
        if self.reason:
            body += bytes((len(self.reason),)) + self.reason
        return build_packet(PacketType.BYE, len(self.ssrcs), body + bytes(-len(body) % 4))


@dataclass(frozen=True, slots=True)
class App:
    """APP (RFC 3550 6.7), not interpreted."""

    subtype: int
    """0 to 31."""
    ssrc: int
    name: bytes
    """Four bytes."""
    data: bytes = b""
    """Whole words."""

    @classmethod
    def from_frame_untrusted(cls, frame: Frame) -> App:
        if len(frame.body) < 8:
            raise RtpError("APP is cut off")
        (ssrc,) = _SSRC.unpack_from(frame.body)
        return cls(frame.count, ssrc, frame.body[4:8], frame.body[8:])

    def to_bytes(self) -> bytes:
        if len(self.name) != 4:
            raise ValueError("APP name is not four bytes")
        return build_packet(PacketType.APP, self.subtype, _SSRC.pack(self.ssrc) + self.name + self.data)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A packet of a type or feedback format that is not interpreted."""

    packet_type: int
    count: int
    """Count, subtype or feedback format: 0 to 31."""
    body: bytes

    @classmethod
    def from_frame_untrusted(cls, frame: Frame) -> Unknown:
        return cls(frame.packet_type, frame.count, frame.body)

    def to_bytes(self) -> bytes:
        return build_packet(self.packet_type, self.count, self.body, pad=True)

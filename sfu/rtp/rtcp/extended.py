"""Extended reports: how one who sends no media measures the round trip (RFC 3611 2, 4.4, 4.5).

The conventions are those of :mod:`sfu.rtp.rtcp.reports`. A receiver tells its time, the sender of media
answers with how long ago it read that: the counterpart of LSR and DLSR in the other direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final, TypeAlias

from sfu.rtp.packet import RtpError
from sfu.rtp.rtcp.framing import Frame, PacketType, build_packet

RECEIVER_REFERENCE_TIME: Final = 4
"""Block type of RRTR."""
DELAY_SINCE_LAST_RECEIVER_REPORT: Final = 5
"""Block type of DLRR."""

_SSRC = Struct("!I")
_BLOCK_HEADER = Struct("!BBH")
_NTP = Struct("!Q")
_DELAY = Struct("!III")


@dataclass(frozen=True, slots=True)
class ReceiverReferenceTime:
    """RRTR (RFC 3611 4.4)."""

    ntp_timestamp: int
    """64 bits, 32.32 fixed point seconds since 1900: when the report was sent."""

    def to_bytes(self) -> bytes:
        return _BLOCK_HEADER.pack(RECEIVER_REFERENCE_TIME, 0, 2) + _NTP.pack(self.ntp_timestamp)


@dataclass(frozen=True, slots=True)
class DelaySinceLastReceiverReport:
    """DLRR (RFC 3611 4.5)."""

    delays: tuple[tuple[int, int, int], ...]
    """``(SSRC of the receiver, LRR, DLRR)``: the middle 32 bits of the NTP time of its last RRTR, and the
    delay since that came in, in units of 1/65536 s."""

    def to_bytes(self) -> bytes:
        header = _BLOCK_HEADER.pack(DELAY_SINCE_LAST_RECEIVER_REPORT, 0, 3 * len(self.delays))
        return header + b"".join(_DELAY.pack(*delay) for delay in self.delays)


@dataclass(frozen=True, slots=True)
class UnknownBlock:
    """A block that is not interpreted."""

    block_type: int
    """0 to 255."""
    specific: int
    """The byte whose meaning depends on the type."""
    body: bytes
    """Whole words."""

    def to_bytes(self) -> bytes:
        if len(self.body) % 4:
            raise ValueError("XR block is not a multiple of four bytes")
        return _BLOCK_HEADER.pack(self.block_type, self.specific, len(self.body) // 4) + self.body


ExtendedBlock: TypeAlias = ReceiverReferenceTime | DelaySinceLastReceiverReport | UnknownBlock


@dataclass(frozen=True, slots=True)
class ExtendedReport:
    """XR (RFC 3611 2)."""

    ssrc: int
    blocks: tuple[ExtendedBlock, ...] = ()

    @classmethod
    def from_frame_untrusted(cls, frame: Frame) -> ExtendedReport:
        body, size = frame.body, len(frame.body)
        if size < _SSRC.size:
            raise RtpError("XR is cut off")
        (ssrc,) = _SSRC.unpack_from(body)
        blocks = []
        offset = _SSRC.size
        while offset < size:
            if offset + _BLOCK_HEADER.size > size:
                raise RtpError("XR block header is cut off")
            block_type, specific, words = _BLOCK_HEADER.unpack_from(body, offset)
            begin = offset + _BLOCK_HEADER.size
            offset = begin + 4 * words
            if offset > size:
                raise RtpError("XR block is longer than its packet")
            blocks.append(_block_untrusted(block_type, specific, body[begin:offset]))
        return cls(ssrc, tuple(blocks))

    def to_bytes(self) -> bytes:
        blocks = b"".join(block.to_bytes() for block in self.blocks)
        return build_packet(PacketType.XR, 0, _SSRC.pack(self.ssrc) + blocks)


def _block_untrusted(block_type: int, specific: int, body: bytes) -> ExtendedBlock:
    if block_type == RECEIVER_REFERENCE_TIME:
        if len(body) != _NTP.size:
            raise RtpError("RRTR of a wrong length")
        return ReceiverReferenceTime(_NTP.unpack(body)[0])
    if block_type == DELAY_SINCE_LAST_RECEIVER_REPORT:
        if len(body) % _DELAY.size:
            raise RtpError("DLRR is cut off")
        return DelaySinceLastReceiverReport(
            tuple((ssrc, last, delay) for ssrc, last, delay in _DELAY.iter_unpack(body))
        )
    return UnknownBlock(block_type, specific, body)

"""Feedback messages: generic NACK, PLI, FIR, REMB (RFC 4585, RFC 5104, draft-alvestrand-rmcat-remb-03).

The conventions are those of :mod:`sfu.rtp.rtcp.reports`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from sfu.rtp.packet import SEQUENCE_MODULUS, RtpError
from sfu.rtp.rtcp.framing import Frame, PacketType, build_packet

MAX_NACK_ITEMS: Final = 256
"""Items in one packet of :func:`build_nacks`: 1,036 bytes, up to 4,352 packets."""
MAX_REMB_SSRCS: Final = 255
"""One count byte."""
MAX_BITRATE: Final = (1 << 64) - 1
"""Bits per second in a REMB. Its format reaches 2^81; libwebrtc, too, refuses what 64 bits cannot hold."""

_SSRCS = Struct("!II")
_NACK_ITEM = Struct("!HH")
_FIR_ENTRY = Struct("!IB3x")
_SSRC = Struct("!I")
_REMB = b"REMB"
_REMB_FIXED: Final = 16


class RtpfbFormat(enum.IntEnum):
    """FMT of transport layer feedback, packet type 205."""

    NACK = 1
    TRANSPORT_CC = 15


class PsfbFormat(enum.IntEnum):
    """FMT of payload-specific feedback, packet type 206."""

    PLI = 1
    FIR = 4
    AFB = 15
    """Application layer feedback: REMB if it says so."""


def feedback_ssrcs_untrusted(frame: Frame) -> tuple[int, int]:
    """``(sender, media source)`` of a feedback packet (RFC 4585 6.1)."""
    if len(frame.body) < _SSRCS.size:
        raise RtpError("feedback message is cut off")
    sender, media = _SSRCS.unpack_from(frame.body)
    return sender, media


# --- NACK -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GenericNack:
    """Packets that are missing (RFC 4585 6.2.1)."""

    sender_ssrc: int
    media_ssrc: int
    items: tuple[tuple[int, int], ...]
    """``(PID, BLP)``: a sequence number, and a bit for each of the 16 that follow it. At least one item."""

    @classmethod
    def from_frame_untrusted(cls, frame: Frame) -> GenericNack:
        sender, media = feedback_ssrcs_untrusted(frame)
        fci = frame.body[_SSRCS.size :]
        if not fci or len(fci) % _NACK_ITEM.size:
            raise RtpError("NACK is empty or cut off")
        return cls(sender, media, tuple((pid, blp) for pid, blp in _NACK_ITEM.iter_unpack(fci)))

    def to_bytes(self) -> bytes:
        if not self.items:
            raise ValueError("NACK without items")
        items = b"".join(_NACK_ITEM.pack(pid, blp) for pid, blp in self.items)
        return build_packet(
            PacketType.RTPFB, RtpfbFormat.NACK, _SSRCS.pack(self.sender_ssrc, self.media_ssrc) + items
        )

    def sequence_numbers(self) -> Iterator[int]:
        """The 16-bit numbers asked for, in their order, possibly repeated. At most 17 an item."""
        for pid, blp in self.items:
            yield pid
            while blp:
                lowest = blp & -blp
                yield (pid + lowest.bit_length()) % SEQUENCE_MODULUS
                blp ^= lowest


def build_nacks(sender_ssrc: int, media_ssrc: int, sequence_numbers: Iterable[int]) -> list[GenericNack]:
    """The fewest items that ask for all of ``sequence_numbers`` (16-bit), in as many packets as they need.

    The order of the packets follows the numbers around the circle, beginning behind the widest gap.
    """
    numbers = sorted(set(sequence_numbers))
    if not numbers:
        return []
    gaps = [(number - numbers[at - 1]) % SEQUENCE_MODULUS for at, number in enumerate(numbers)]
    start = gaps.index(max(gaps))
    items: list[tuple[int, int]] = []
    for number in numbers[start:] + numbers[:start]:
        if items:
            pid, blp = items[-1]
            distance = (number - pid) % SEQUENCE_MODULUS
            if distance <= 16:
                items[-1] = pid, blp | 1 << distance - 1
                continue
        items.append((number, 0))
    return [
        GenericNack(sender_ssrc, media_ssrc, tuple(items[at : at + MAX_NACK_ITEMS]))
        for at in range(0, len(items), MAX_NACK_ITEMS)
    ]


# --- key frames -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PictureLossIndication:
    """PLI (RFC 4585 6.3.1)."""

    sender_ssrc: int
    media_ssrc: int

    @classmethod
    def from_frame_untrusted(cls, frame: Frame) -> PictureLossIndication:
        return cls(*feedback_ssrcs_untrusted(frame))

    def to_bytes(self) -> bytes:
        body = _SSRCS.pack(self.sender_ssrc, self.media_ssrc)
        return build_packet(PacketType.PSFB, PsfbFormat.PLI, body)


@dataclass(frozen=True, slots=True)
class FullIntraRequest:
    """FIR (RFC 5104 4.3.1)."""

    sender_ssrc: int
    entries: tuple[tuple[int, int], ...]
    """``(media SSRC, command sequence number)``, the number 0 to 255. A repeated number is a repetition of
    the same request. At least one entry."""

    @classmethod
    def from_frame_untrusted(cls, frame: Frame) -> FullIntraRequest:
        sender, _ = feedback_ssrcs_untrusted(frame)  # the media source is in the entries
        fci = frame.body[_SSRCS.size :]
        if not fci or len(fci) % _FIR_ENTRY.size:
            raise RtpError("FIR is empty or cut off")
        return cls(sender, tuple((ssrc, number) for ssrc, number in _FIR_ENTRY.iter_unpack(fci)))

    def to_bytes(self) -> bytes:
        if not self.entries:
            raise ValueError("FIR without entries")
        entries = b"".join(_FIR_ENTRY.pack(ssrc, number) for ssrc, number in self.entries)
        return build_packet(PacketType.PSFB, PsfbFormat.FIR, _SSRCS.pack(self.sender_ssrc, 0) + entries)


# --- bandwidth ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReceiverEstimatedMaximumBitrate:
    """REMB (draft-alvestrand-rmcat-remb-03 2)."""

    sender_ssrc: int
    bitrate: int
    """Bits per second for all ``ssrcs`` together. Written with 18 bits of precision, rounded down."""
    ssrcs: tuple[int, ...]
    """At most 255."""

    @classmethod
    def from_frame_untrusted(cls, frame: Frame) -> ReceiverEstimatedMaximumBitrate:
        sender, _ = feedback_ssrcs_untrusted(frame)
        body = frame.body
        if not is_remb(frame) or len(body) < _REMB_FIXED + 4 * body[12]:
            raise RtpError("REMB is cut off")
        packed = int.from_bytes(body[13:16], "big")
        bitrate = (packed & 0x3FFFF) << (packed >> 18)
        if bitrate > MAX_BITRATE:
            raise RtpError("REMB bitrate does not fit 64 bits")
        ssrcs = body[_REMB_FIXED : _REMB_FIXED + 4 * body[12]]
        return cls(sender, bitrate, tuple(ssrc for (ssrc,) in _SSRC.iter_unpack(ssrcs)))

    def to_bytes(self) -> bytes:
        if len(self.ssrcs) > MAX_REMB_SSRCS or not 0 <= self.bitrate <= MAX_BITRATE:
            raise ValueError("REMB out of range")
        exponent = max(0, self.bitrate.bit_length() - 18)
        packed = len(self.ssrcs) << 24 | exponent << 18 | self.bitrate >> exponent
        body = _SSRCS.pack(self.sender_ssrc, 0) + _REMB + packed.to_bytes(4, "big")
        return build_packet(PacketType.PSFB, PsfbFormat.AFB, body + b"".join(map(_SSRC.pack, self.ssrcs)))


def is_remb(frame: Frame) -> bool:
    """Whether application layer feedback is REMB by its identifier, with all of its fixed part."""
    return frame.body[8:12] == _REMB and len(frame.body) >= _REMB_FIXED

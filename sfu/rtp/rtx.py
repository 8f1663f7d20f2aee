"""Retransmission payloads (RFC 4588 4): an original packet under another SSRC, behind its old number.

The RTX packet has the original's header but for SSRC, payload type and sequence number; its payload is the
original sequence number (OSN) and the original payload. Padding is taken off on the way in.
"""

from __future__ import annotations

from typing import Final

from sfu.rtp.packet import RtpError, RtpPacket, parse_untrusted

OSN_SIZE: Final = 2
"""Bytes by which a retransmission is longer than the original."""


def _header(packet: RtpPacket, ssrc: int, payload_type: int, sequence_number: int) -> bytes:
    """``packet``'s header with another stream's identity, and no padding."""
    data = packet.data
    return b"".join(
        (
            bytes((data[0] & 0xDF, data[1] & 0x80 | payload_type)),
            sequence_number.to_bytes(2, "big"),
            data[4:8],
            ssrc.to_bytes(4, "big"),
            data[12 : packet.payload_offset],
        )
    )


def build_rtx(
    packet: RtpPacket, *, ssrc: int, payload_type: int, sequence_number: int
) -> tuple[bytes, bytes]:
    """``(header, payload)`` that retransmit ``packet``, ready to be sealed.

    Timestamp, marker, CSRCs and extension are the original's. Raises :class:`OverflowError` or
    :class:`ValueError` on a value out of range.
    """
    if not 0 <= payload_type < 128:
        raise ValueError("payload type out of range")
    payload = packet.sequence_number.to_bytes(OSN_SIZE, "big") + packet.payload
    return _header(packet, ssrc, payload_type, sequence_number), payload


def recover_untrusted(packet: RtpPacket, *, ssrc: int, payload_type: int) -> RtpPacket | None:
    """The original that an RTX packet carries, with the ``ssrc`` and ``payload_type`` of its stream.

    ``None`` for a packet without payload: libwebrtc probes bandwidth with padding on the RTX SSRC. Raises
    :class:`~sfu.rtp.packet.RtpError` if there is payload too short for an original sequence number.
    """
    if not packet.payload_length:
        return None
    if packet.payload_length < OSN_SIZE:
        raise RtpError("RTX payload without its original sequence number")
    payload = packet.payload
    original = int.from_bytes(payload[:OSN_SIZE], "big")
    return parse_untrusted(_header(packet, ssrc, payload_type, original) + payload[OSN_SIZE:])

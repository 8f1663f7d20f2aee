"""Engine.IO version 4 packets, sans-I/O.

A packet is one type digit and its data. It travels as a *frame*: over WebSocket one message, where a text
message is the digit and the data, and a binary message is the data of a ``message`` packet without any
digit. Over long-polling several frames make one *payload*, joined by U+001E; a binary frame is written
there as ``b`` and its base64 form.

Frames are what everything above this module queues and counts: ``str`` for text, ``bytes`` for binary.
"""

from __future__ import annotations

import binascii
import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

SEPARATOR = "\x1e"
"""Joins the frames of a polling payload."""

MAX_PAYLOAD_PACKETS = 16_384
"""Packets in one polling payload. A browser that emitted for minutes while offline stays far below it."""

Frame = str | bytes
"""One packet in its WebSocket form."""


class EngineIoError(Exception):
    """Bytes from the network that are not Engine.IO version 4."""


class PacketType(enum.Enum):
    """What a packet says; the value is its digit on the wire."""

    OPEN = "0"
    """Server to client, first packet of a session: its id and parameters."""
    CLOSE = "1"
    """Either side ends the session."""
    PING = "2"
    """Server to client: heartbeat. Client to server only as ``2probe`` on a WebSocket that wants to take
    over."""
    PONG = "3"
    """Client to server: answer to a ping. Server to client only as ``3probe``."""
    MESSAGE = "4"
    """Data of the layer above."""
    UPGRADE = "5"
    """Client to server: this WebSocket takes over."""
    NOOP = "6"
    """Nothing: ends a poll without data."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet."""

    type: PacketType
    data: str | bytes = ""
    """Text, or for :attr:`PacketType.MESSAGE` only, bytes."""


CLOSE_FRAME = "1"
PING_FRAME = "2"
NOOP_FRAME = "6"
UPGRADE_FRAME = "5"
PROBE_FRAME = "2probe"
PROBE_ANSWER_FRAME = "3probe"

_TYPES = {packet_type.value: packet_type for packet_type in PacketType}


def encode_packet(packet: Packet) -> Frame:
    """The frame of a packet.

    Raises:
        ValueError: bytes in anything but a message.
    """
    if isinstance(packet.data, str):
        return packet.type.value + packet.data
    if packet.type is not PacketType.MESSAGE:
        raise ValueError(f"a {packet.type.name} packet carries text only")
    return packet.data


def decode_frame_untrusted(frame: Frame) -> Packet:
    """The packet in one WebSocket message.

    Raises:
        EngineIoError: empty, or the first character is not a packet type.
    """
    if not isinstance(frame, str):
        return Packet(PacketType.MESSAGE, frame)
    packet_type = _TYPES.get(frame[:1])
    if packet_type is None:
        raise EngineIoError("unknown packet type")
    return Packet(packet_type, frame[1:])


def encode_payload(frames: Iterable[Frame]) -> bytes:
    """The polling payload of some frames, UTF-8."""
    return SEPARATOR.join(
        frame if isinstance(frame, str) else "b" + binascii.b2a_base64(frame, newline=False).decode("ascii")
        for frame in frames
    ).encode()


def decode_payload_untrusted(
    body: bytes, *, max_bytes: int, max_packets: int = MAX_PAYLOAD_PACKETS
) -> list[Packet]:
    """The packets of a polling payload, all of them or none. Size and count are checked before anything is
    parsed.

    Raises:
        EngineIoError: over a limit, not UTF-8, an empty or unknown packet, or bad base64.
    """
    if len(body) > max_bytes:
        raise EngineIoError("payload too large")
    if body.count(SEPARATOR.encode()) >= max_packets:
        raise EngineIoError("too many packets")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise EngineIoError("payload is not UTF-8") from None
    return [_decode_part_untrusted(part) for part in text.split(SEPARATOR)]


def _decode_part_untrusted(part: str) -> Packet:
    if not part.startswith("b"):
        return decode_frame_untrusted(part)
    try:
        return Packet(PacketType.MESSAGE, binascii.a2b_base64(part[1:], strict_mode=True))
    except ValueError:  # binascii.Error, or a character outside ASCII
        raise EngineIoError("bad base64") from None


def encode_open(
    *, sid: str, upgrades: Sequence[str], ping_interval: float, ping_timeout: float, max_payload: int
) -> str:
    """The first frame of a session; times in seconds here, in milliseconds on the wire."""
    parameters = {
        "sid": sid,
        "upgrades": upgrades,
        "pingInterval": round(ping_interval * 1000),
        "pingTimeout": round(ping_timeout * 1000),
        "maxPayload": max_payload,
    }
    return PacketType.OPEN.value + msgspec.json.encode(parameters).decode()


def frame_size(frame: Frame) -> int:
    """Bytes of a frame as a WebSocket would carry it."""
    if isinstance(frame, str) and not frame.isascii():
        return len(frame.encode("utf-8", "surrogatepass"))
    return len(frame)

"""RFC 4571 framing: packets over a TCP connection, each behind its 16-bit length (RFC 6544 section 3).

The decoder holds at most one unfinished frame. A frame larger than the cap ends the stream for good: nothing
after a length field that cannot be trusted has a meaning.
"""

from __future__ import annotations

from typing import Final

MAX_FRAME_SIZE: Final = 4096
"""Largest frame accepted by default, in bytes. WebRTC peers send what would fit a 1,500-byte UDP path."""
MAX_LENGTH_FIELD: Final = 0xFFFF
"""Largest frame the format can express."""

_LENGTH_SIZE: Final = 2


class FramingError(Exception):
    """The stream announced a frame larger than the cap. The connection has to be closed."""


class FrameDecoder:
    """Cut the bytes of one TCP connection into frames, in whatever chunks they come."""

    __slots__ = ("_failed", "_max_frame_size", "_partial")

    def __init__(self, max_frame_size: int = MAX_FRAME_SIZE) -> None:
        """Accept frames of up to ``max_frame_size`` bytes (1 to 65,535)."""
        if not 1 <= max_frame_size <= MAX_LENGTH_FIELD:
            raise ValueError("max_frame_size must be 1 to 65535")
        self._max_frame_size = max_frame_size
        self._partial = b""
        self._failed = False

    @property
    def buffered(self) -> int:
        """Bytes of the unfinished frame held back, its length field included: at most the cap plus one."""
        return len(self._partial)

    def receive_data_untrusted(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes of the stream and return the frames that they complete.

        Empty frames are legal and carry nothing (RFC 4571 section 2): they are skipped. Raises
        :class:`FramingError` for a frame beyond the cap, as soon as its length field is there, and from then
        on for everything; other frames of that chunk are lost with the connection.
        """
        if self._failed:
            raise FramingError("the stream failed before")
        data = self._partial + chunk if self._partial else chunk
        frames: list[bytes] = []
        position, size = 0, len(data)
        while size - position >= _LENGTH_SIZE:
            length = data[position] << 8 | data[position + 1]
            if length > self._max_frame_size:
                self._failed = True
                self._partial = b""
                raise FramingError(f"frame of {length} bytes, at most {self._max_frame_size} are accepted")
            end = position + _LENGTH_SIZE + length
            if end > size:
                break
            if length:
                frames.append(data[position + _LENGTH_SIZE : end])
            position = end
        self._partial = data[position:]
        return frames


def encode_frame(packet: bytes) -> bytes:
    """Return ``packet`` behind its length. Raises ``ValueError`` beyond 65,535 bytes."""
    if len(packet) > MAX_LENGTH_FIELD:
        raise ValueError("packet too long for RFC 4571")
    return len(packet).to_bytes(_LENGTH_SIZE, "big") + packet

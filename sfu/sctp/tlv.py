"""Type-length-value items: the shape of parameters and error causes (RFC 9260 3.2.1 and 3.3.10).

The length counts the four header bytes and the value, not the padding. All items but the last are padded to a
multiple of four; the padding of the last one belongs to the chunk around it and may or may not be part of
what is given here. Padding is never interpreted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from sfu.sctp.errors import SctpError

MAX_ITEMS = 64
"""Items accepted in one chunk. The longest honest list (an INIT with every extension) has about a dozen."""

_HEADER = struct.Struct("!HH")
PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
"""Padding for a length, by its remainder modulo four."""


def split_tlvs_untrusted(data: bytes) -> list[tuple[int, bytes]]:
    """Split into ``(type, value)`` pairs.

    Raises :class:`SctpError` for a length below four or beyond the data, for bytes left over that are no
    item, and for more than :data:`MAX_ITEMS`.
    """
    items: list[tuple[int, bytes]] = []
    position, total = 0, len(data)
    while position < total:
        if total - position < 4:
            raise SctpError("bytes left over after the last parameter or cause")
        kind, length = _HEADER.unpack_from(data, position)
        end = position + length
        if length < 4 or end > total:
            raise SctpError("parameter or cause length out of bounds")
        if len(items) == MAX_ITEMS:
            raise SctpError("too many parameters or causes")
        items.append((kind, data[position + 4 : end]))
        position = end + 3 & ~3
    return items


def join_tlvs(items: Iterable[tuple[int, bytes]]) -> bytes:
    """The inverse of :func:`split_tlvs_untrusted`; the last item is not padded."""
    out = b""
    for kind, value in items:
        out += PADDING[len(out) & 3] + _HEADER.pack(kind, 4 + len(value)) + value
    return out

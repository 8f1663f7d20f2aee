"""Payload protocol identifiers of WebRTC data channels (RFC 8831 6.6 and 8) and how empty messages travel.

SCTP has no empty messages: one travels as a single zero byte under a PPID of its own. A relay forwards PPID
and bytes as they came; only an endpoint needs :func:`to_wire` and :func:`from_wire`.
"""

from __future__ import annotations

import enum
from typing import Final

DCEP: Final = 50
STRING: Final = 51
BINARY_PARTIAL: Final = 52
"""Deprecated fragment of a binary message (RFC 8831 6.6); accepted as binary, never sent."""
BINARY: Final = 53
STRING_PARTIAL: Final = 54
"""Deprecated fragment of a text; accepted as text, never sent."""
STRING_EMPTY: Final = 56
BINARY_EMPTY: Final = 57

TEXT: Final = frozenset({STRING, STRING_PARTIAL, STRING_EMPTY})
"""What carries text, in whatever form."""

_EMPTY_BODY: Final = b"\0"


class MessageKind(enum.Enum):
    """What a browser's ``onmessage`` would hand out."""

    TEXT = "text"
    BINARY = "binary"


_KINDS: Final = {
    STRING: MessageKind.TEXT,
    STRING_PARTIAL: MessageKind.TEXT,
    STRING_EMPTY: MessageKind.TEXT,
    BINARY: MessageKind.BINARY,
    BINARY_PARTIAL: MessageKind.BINARY,
    BINARY_EMPTY: MessageKind.BINARY,
}


def to_wire(kind: MessageKind, data: bytes) -> tuple[int, bytes]:
    """PPID and bytes that carry a user message, which may be empty."""
    if kind is MessageKind.TEXT:
        return (STRING, data) if data else (STRING_EMPTY, _EMPTY_BODY)
    return (BINARY, data) if data else (BINARY_EMPTY, _EMPTY_BODY)


def from_wire(ppid: int, data: bytes) -> tuple[MessageKind, bytes] | None:
    """The user message under a PPID; ``None`` if it carries none (DCEP, unknown). Text is not checked for
    UTF-8."""
    kind = _KINDS.get(ppid)
    if kind is None:
        return None
    return kind, b"" if ppid in (STRING_EMPTY, BINARY_EMPTY) else data

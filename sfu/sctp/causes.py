"""Error causes of ABORT and ERROR chunks (RFC 9260 3.3.10)."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from sfu.sctp.tlv import join_tlvs, split_tlvs_untrusted

MAX_REASON_LENGTH = 200
"""Bytes of an abort reason that are sent, and characters of the peer's that are kept."""


class CauseCode(enum.IntEnum):
    """The cause codes of RFC 9260 3.3.10."""

    INVALID_STREAM = 1
    MISSING_PARAMETER = 2
    STALE_COOKIE = 3
    OUT_OF_RESOURCE = 4
    UNRESOLVABLE_ADDRESS = 5
    UNRECOGNIZED_CHUNK = 6
    INVALID_PARAMETER = 7
    UNRECOGNIZED_PARAMETERS = 8
    NO_USER_DATA = 9
    COOKIE_WHILE_SHUTTING_DOWN = 10
    RESTART_WITH_NEW_ADDRESSES = 11
    USER_INITIATED_ABORT = 12
    PROTOCOL_VIOLATION = 13


@dataclass(frozen=True, slots=True)
class Cause:
    """One error cause."""

    code: int
    """A :class:`CauseCode`, or a number that is none."""
    info: bytes = b""
    """Cause-specific information."""

    def describe(self) -> str:
        """Text for people: the name of the code, and the reason if the cause carries one. Printable,
        bounded."""
        try:
            name = CauseCode(self.code).name.replace("_", " ").lower()
        except ValueError:
            return f"cause {self.code}"
        if self.code not in (CauseCode.USER_INITIATED_ABORT, CauseCode.PROTOCOL_VIOLATION) or not self.info:
            return name
        text = self.info[:MAX_REASON_LENGTH].decode("utf-8", "replace")
        return f"{name}: " + "".join(char if char.isprintable() else "?" for char in text)


def invalid_stream(stream_id: int) -> Cause:
    """Invalid Stream Identifier (3.3.10.1)."""
    return Cause(CauseCode.INVALID_STREAM, struct.pack("!HH", stream_id, 0))


def no_user_data(tsn: int) -> Cause:
    """No User Data (3.3.10.9)."""
    return Cause(CauseCode.NO_USER_DATA, struct.pack("!I", tsn))


def stale_cookie(staleness: float) -> Cause:
    """Stale Cookie (3.3.10.3). ``staleness`` in seconds; it travels in microseconds."""
    return Cause(CauseCode.STALE_COOKIE, struct.pack("!I", min(int(staleness * 1e6), 0xFFFF_FFFF)))


def user_abort(reason: str) -> Cause:
    """User-Initiated Abort (3.3.10.12)."""
    return Cause(CauseCode.USER_INITIATED_ABORT, _reason(reason))


def protocol_violation(reason: str) -> Cause:
    """Protocol Violation (3.3.10.13)."""
    return Cause(CauseCode.PROTOCOL_VIOLATION, _reason(reason))


def parse_causes_untrusted(data: bytes) -> tuple[Cause, ...]:
    """Parse the causes of an ABORT or ERROR chunk. Raises :class:`SctpError`."""
    return tuple(Cause(code, info) for code, info in split_tlvs_untrusted(data))


def encode_causes(causes: Iterable[Cause]) -> bytes:
    """Encode causes; the last is not padded."""
    return join_tlvs((cause.code, cause.info) for cause in causes)


def _reason(text: str) -> bytes:
    return text.encode("utf-8", "replace")[:MAX_REASON_LENGTH]

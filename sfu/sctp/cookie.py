"""The state cookie (RFC 9260 5.1.3): all that an INIT-ACK promised, sealed, so that nothing need be
remembered.

The cookie is a fixed structure and an HMAC-SHA256 under a key that only this association knows. It never
leaves the DTLS connection; the seal keeps a peer from inventing an association we did not offer, and the age
bounds replay.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import Final, Self

from sfu.sctp.errors import SctpError

COOKIE_LIFETIME = 60.0
"""Seconds a cookie is good for (Valid.Cookie.Life, RFC 9260 16)."""
KEY_LENGTH = 32

_FIELDS: Final = struct.Struct("!dIIIIIIIHHBBB")
_MAC_LENGTH: Final = hashlib.sha256().digest_size
COOKIE_LENGTH = _FIELDS.size + _MAC_LENGTH


@dataclass(frozen=True, slots=True)
class Cookie:
    """What an INIT and our INIT-ACK agreed upon."""

    created: float
    """When, on the association's clock."""
    local_tag: int
    local_tsn: int
    peer_tag: int
    peer_tsn: int
    peer_window: int
    """The peer's advertised receive window, bytes."""
    tie_local: int
    """Our tag of the association that existed then (Local Tie-Tag, 5.2.2), or 0."""
    tie_peer: int
    """The peer's tag of that association, or 0."""
    outbound_streams: int
    inbound_streams: int
    partial_reliability: bool
    stream_reset: bool
    zero_checksum: bool

    def seal(self, key: bytes) -> bytes:
        """Encode and sign."""
        fields = _FIELDS.pack(
            self.created,
            self.local_tag,
            self.local_tsn,
            self.peer_tag,
            self.peer_tsn,
            self.peer_window,
            self.tie_local,
            self.tie_peer,
            self.outbound_streams,
            self.inbound_streams,
            self.partial_reliability,
            self.stream_reset,
            self.zero_checksum,
        )
        return fields + hmac.digest(key, fields, "sha256")

    @classmethod
    def open_untrusted(cls, key: bytes, data: bytes) -> Self:
        """Check and decode.

        Raises :class:`SctpError` for anything that :meth:`seal` did not make under this key.
        """
        if len(data) != COOKIE_LENGTH:
            raise SctpError("cookie of the wrong length")
        fields, mac = data[: _FIELDS.size], data[_FIELDS.size :]
        if not hmac.compare_digest(hmac.digest(key, fields, "sha256"), mac):
            raise SctpError("cookie not made here")
        values = _FIELDS.unpack(fields)
        return cls(*values[:10], *map(bool, values[10:]))

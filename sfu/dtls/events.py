"""What a :class:`~sfu.dtls.endpoint.DtlsEndpoint` reports through ``next_event()``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from sfu.dtls.profile import SrtpProfile


@dataclass(frozen=True, slots=True)
class DtlsConnected:
    """The peer proved that it holds the signaled certificate; SRTP keys are there (RFC 5764 4.2).

    Keys and salts are left out of ``repr`` so that no log line ever shows them.
    """

    profile: SrtpProfile
    """The negotiated protection profile; it fixes the lengths of what follows."""

    local_key: bytes = field(repr=False)
    """SRTP master key for what this side sends."""

    local_salt: bytes = field(repr=False)
    """SRTP master salt for what this side sends."""

    remote_key: bytes = field(repr=False)
    """SRTP master key for what the peer sends."""

    remote_salt: bytes = field(repr=False)
    """SRTP master salt for what the peer sends."""


@dataclass(frozen=True, slots=True)
class ApplicationData:
    """One record of application data: one SCTP packet (RFC 8261)."""

    data: bytes
    """The decrypted, authenticated bytes; never empty."""


@dataclass(frozen=True, slots=True)
class DtlsClosed:
    """The peer ended an established association with ``close_notify`` (RFC 5246 7.2.1). Nothing follows."""

    reason: str
    """For logs; never empty."""


@dataclass(frozen=True, slots=True)
class DtlsFailed:
    """The handshake cannot succeed any more, or an established association broke. Nothing follows."""

    reason: str
    """For logs; never empty."""


DtlsEvent: TypeAlias = DtlsConnected | ApplicationData | DtlsClosed | DtlsFailed

"""States of a DTLS association as this package sees it.

An endpoint is made ``NEW`` and does nothing until it is started. ``CONNECTING`` lasts from there to the end
of the handshake; only here does OpenSSL see handshake records. ``CONNECTED`` begins once the handshake is
complete *and* the peer's certificate has been compared with the signaled fingerprints; only here are there
SRTP keys and application data. ``CLOSED`` (by either side's ``close_notify``, or by ``close()`` at any time)
and ``FAILED`` (refused peer, broken or overdue handshake, authenticated fatal alert) are final: everything
that arrives later is ignored, nothing is sent and no timer runs.

A transition that is not in the table is a bug of ours, and raises ``KeyError``.
"""

from __future__ import annotations

import enum


class DtlsState(enum.Enum):
    """Where the association is."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"
    FAILED = "failed"


class Cause(enum.Enum):
    """What moves an association from one state to the next."""

    START = enum.auto()
    """The caller started it."""
    HANDSHAKE_DONE = enum.auto()
    """OpenSSL finished the handshake and the certificate check passed."""
    PEER_CLOSED = enum.auto()
    """The peer's ``close_notify`` arrived."""
    LOCAL_CLOSE = enum.auto()
    """The caller closed it."""
    FAULT = enum.auto()
    """No way to go on."""


TRANSITIONS: dict[DtlsState, dict[Cause, DtlsState]] = {
    DtlsState.NEW: {
        Cause.START: DtlsState.CONNECTING,
        Cause.LOCAL_CLOSE: DtlsState.CLOSED,
    },
    DtlsState.CONNECTING: {
        Cause.HANDSHAKE_DONE: DtlsState.CONNECTED,
        Cause.LOCAL_CLOSE: DtlsState.CLOSED,
        Cause.FAULT: DtlsState.FAILED,
    },
    DtlsState.CONNECTED: {
        Cause.PEER_CLOSED: DtlsState.CLOSED,
        Cause.LOCAL_CLOSE: DtlsState.CLOSED,
        Cause.FAULT: DtlsState.FAILED,
    },
    DtlsState.CLOSED: {Cause.LOCAL_CLOSE: DtlsState.CLOSED},
    DtlsState.FAILED: {Cause.LOCAL_CLOSE: DtlsState.FAILED},
}

"""DTLS 1.2 with ``use_srtp`` (RFC 6347, RFC 5764), sans-I/O over OpenSSL. See ``docs/protocols/dtls.md``."""

from __future__ import annotations

from sfu.dtls.certificate import Certificate
from sfu.dtls.context import DtlsRole
from sfu.dtls.endpoint import DtlsEndpoint, DtlsError
from sfu.dtls.events import ApplicationData, DtlsClosed, DtlsConnected, DtlsEvent, DtlsFailed
from sfu.dtls.fingerprint import Fingerprint, FingerprintError
from sfu.dtls.profile import SrtpProfile
from sfu.dtls.state import DtlsState

__all__ = [
    "Certificate",
    "Fingerprint",
    "FingerprintError",
    "DtlsEndpoint",
    "DtlsError",
    "DtlsRole",
    "DtlsState",
    "SrtpProfile",
    "DtlsEvent",
    "DtlsConnected",
    "ApplicationData",
    "DtlsClosed",
    "DtlsFailed",
]

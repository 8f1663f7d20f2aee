"""Our certificate (RFC 8827 6.5)."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from sfu.dtls.context import DtlsRole, make_context
from sfu.dtls.fingerprint import HASH_NAMES, Fingerprint

VALIDITY = timedelta(days=3650)
"""How long a generated certificate is valid. Peers only look at the fingerprint."""

BACKDATED = timedelta(days=1)
"""How far a generated certificate's validity begins in the past, for peers whose clock is behind."""


class Certificate:
    """A self-signed certificate with its key, shared by all associations of a process.

    Holds one OpenSSL context for each role, made when first needed; nothing changes them afterwards.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate
        self._contexts: dict[DtlsRole, SSL.Context] = {}

    @classmethod
    def generate(cls, now: datetime) -> Certificate:
        """Make a key (ECDSA, P-256) and a certificate valid around ``now`` (time zone aware)."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "WebRTC")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + VALIDITY)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @cached_property
    def der(self) -> bytes:
        """The certificate as it goes over the wire."""
        return self._certificate.public_bytes(Encoding.DER)

    @cached_property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """One fingerprint for each usable hash, sha-256 last."""
        return tuple(Fingerprint.of(self.der, algorithm) for algorithm in HASH_NAMES)

    def context(self, role: DtlsRole) -> SSL.Context:
        """The OpenSSL context that all associations of that role share."""
        context = self._contexts.get(role)
        if context is None:
            context = self._contexts[role] = make_context(role, self._key, self._certificate)
        return context

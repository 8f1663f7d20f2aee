"""The one decision about who the peer is: does its certificate have a signaled fingerprint (RFC 8827 6.5)?"""

from __future__ import annotations

from collections.abc import Iterable

from OpenSSL.SSL import X509VerificationCodes

from sfu.dtls.fingerprint import Fingerprint, strongest

EXPIRED: int = X509VerificationCodes.ERR_CERT_HAS_EXPIRED


class PeerCheck:
    """Compares the certificate a peer shows with what it signaled.

    ``verified`` stays False until a leaf certificate matched, whatever else happens: no certificate shown,
    the callback never called, a session resumed. Whoever hands out keys asks for it.

    Refused are certificates without a matching fingerprint and expired ones. All else that X.509 has to say
    (self-signed, unknown issuer, not yet valid because a clock is wrong) does not matter.
    """

    __slots__ = ("_expected", "refusal", "verified")

    def __init__(self, fingerprints: Iterable[Fingerprint]) -> None:
        self._expected = strongest(fingerprints)
        self.verified = False
        self.refusal: str | None = None
        """Why the peer was refused."""

    @property
    def possible(self) -> bool:
        """Whether any certificate at all could pass."""
        return bool(self._expected)

    def accept(self, der: bytes, error: int, depth: int) -> bool:
        """OpenSSL's question about one certificate of the chain, asked once or more for each. Cannot fail.

        ``error`` is what X.509 verification found (0 if nothing), ``depth`` 0 for the peer's own certificate.
        """
        if depth:
            return True
        if error == EXPIRED:
            self.refusal = "the peer's certificate has expired"
        elif not any(fingerprint.matches(der) for fingerprint in self._expected):
            self.refusal = "the peer's certificate does not have the signaled fingerprint"
        self.verified = self.refusal is None
        return self.verified

"""Fingerprints, by which peers know each other's certificates (RFC 8122 5, RFC 8827 6.5)."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_ALGORITHM_LENGTH = 16
"""Longest hash algorithm name that is looked at; the longest known one has 7 characters."""

MAX_DIGEST_LENGTH = 64
"""Bytes of the longest digest that is looked at (sha-512)."""

HASH_NAMES: dict[str, str] = {
    "sha-1": "sha1",
    "sha-224": "sha224",
    "sha-384": "sha384",
    "sha-512": "sha512",
    "sha-256": "sha256",
}
"""Usable hash functions: name in RFC 8122 5 -> name in hashlib. RFC 8122 forbids md5 and md2.

Listed in the order in which our own fingerprints are signaled: sha-256 comes last, because the browser
library puts only the last one into the SDP and every peer knows sha-256.
"""

STRENGTH: tuple[str, ...] = ("sha-512", "sha-384", "sha-256", "sha-224", "sha-1")
"""The usable hash functions, strongest first."""

_HEX_PAIRS = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*")


class FingerprintError(ValueError):
    """A signaled fingerprint is malformed."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The hash of a certificate's DER form (RFC 8122 5)."""

    algorithm: str
    """Hash algorithm in lower case, not necessarily a usable one."""

    digest: bytes
    """The hash itself; has the algorithm's length if the algorithm is usable."""

    @classmethod
    def parse(cls, algorithm: str, value: str) -> Fingerprint:
        """Read a signaled fingerprint: name of the hash and hex pairs joined by colons, case-insensitive.

        A name this daemon does not know is no error (such fingerprints are skipped later, RFC 8122 5.1).
        Raises :class:`FingerprintError` for an absurd name, for anything but hex pairs, and for a digest
        whose length is not that of the hash.
        """
        if not 0 < len(algorithm) <= MAX_ALGORITHM_LENGTH or not algorithm.isascii():
            raise FingerprintError("bad hash algorithm name")
        if len(value) > 3 * MAX_DIGEST_LENGTH or _HEX_PAIRS.fullmatch(value) is None:
            raise FingerprintError("fingerprint is not a list of hex pairs")
        name = algorithm.lower()
        digest = bytes.fromhex(value.replace(":", ""))
        if name in HASH_NAMES and len(digest) != hashlib.new(HASH_NAMES[name]).digest_size:
            raise FingerprintError(f"{name} fingerprint has {len(digest)} bytes")
        return cls(name, digest)

    @classmethod
    def of(cls, der: bytes, algorithm: str) -> Fingerprint:
        """The fingerprint of a DER-encoded certificate. ``KeyError`` if the algorithm is not usable."""
        return cls(algorithm, hashlib.new(HASH_NAMES[algorithm], der).digest())

    @property
    def usable(self) -> bool:
        """Whether this daemon can compute the hash."""
        return self.algorithm in HASH_NAMES

    @property
    def value(self) -> str:
        """Upper-case hex pairs joined by colons, as signaled."""
        return self.digest.hex(":").upper()

    def matches(self, der: bytes) -> bool:
        """Whether this is the fingerprint of that certificate (constant time; False if not usable)."""
        return self.usable and hmac.compare_digest(self.digest, Fingerprint.of(der, self.algorithm).digest)


def strongest(fingerprints: Iterable[Fingerprint]) -> tuple[Fingerprint, ...]:
    """The fingerprints that decide about a peer: all those of the strongest usable hash (RFC 8122 5.1).

    Empty if no hash is usable. Weaker hashes next to a strong one cannot weaken the check.
    """
    usable = [fingerprint for fingerprint in fingerprints if fingerprint.usable]
    for algorithm in STRENGTH:
        chosen = tuple(fingerprint for fingerprint in usable if fingerprint.algorithm == algorithm)
        if chosen:
            return chosen
    return ()

"""SRTP protection profiles of the ``use_srtp`` extension (RFC 5764 4.1.2, RFC 7714 14.2)."""

from __future__ import annotations

import enum


class SrtpProfile(enum.Enum):
    """A protection profile this daemon accepts. The order of definition is the order of preference."""

    AEAD_AES_128_GCM = (0x0007, b"SRTP_AEAD_AES_128_GCM", 16, 12)
    AEAD_AES_256_GCM = (0x0008, b"SRTP_AEAD_AES_256_GCM", 32, 12)
    AES_CM_128_HMAC_SHA1_80 = (0x0001, b"SRTP_AES128_CM_SHA1_80", 16, 14)

    def __init__(self, number: int, openssl_name: bytes, key_length: int, salt_length: int) -> None:
        self.number = number
        """The profile's number on the wire (IANA "DTLS-SRTP Protection Profiles")."""
        self.openssl_name = openssl_name
        """What OpenSSL calls it."""
        self.key_length = key_length
        """Bytes of one master key."""
        self.salt_length = salt_length
        """Bytes of one master salt."""

    @property
    def keying_material_length(self) -> int:
        """Bytes to export for both directions (RFC 5764 4.2)."""
        return 2 * (self.key_length + self.salt_length)


PREFERENCE: tuple[SrtpProfile, ...] = tuple(SrtpProfile)
"""What is offered, best first. As a server the first of these that the client offers is taken."""

BY_OPENSSL_NAME: dict[bytes, SrtpProfile] = {profile.openssl_name: profile for profile in SrtpProfile}

"""SRTP profiles, session keys and packet transforms (RFC 3711 4, RFC 7714, RFC 6188).

A transform is stateless but for its keys: it seals or opens one packet under an index that the caller names.
All cryptography is OpenSSL's; this module only frames it: which bytes are a key, an IV, associated data.

======================= ============ ============== =================================================
profile                  IV            authenticates  RTP packet on the wire
======================= ============ ============== =================================================
``AEAD_AES_*_GCM``       12 bytes      AAD + tag 16   header, ciphertext, tag
``AES_CM_128_..._80``    16 bytes      HMAC-SHA1 10   header, ciphertext, tag over all that and the ROC
======================= ============ ============== =================================================

SRTCP carries its index in a word of its own with the E bit in front: behind the tag with GCM (RFC 7714 9.2),
before it with AES-CM (RFC 3711 3.4).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from hmac import compare_digest
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.hmac import HMAC

MAX_INDEX: Final = (1 << 48) - 1
"""Highest SRTP packet index: rollover counter and sequence number (RFC 3711 3.3.1)."""
MAX_RTCP_INDEX: Final = (1 << 31) - 1
RTCP_CLEAR: Final = 8
"""Bytes of an SRTCP packet that are never encrypted: the first header and the sender's SSRC."""
GCM_TAG_SIZE: Final = 16
CM_TAG_SIZE: Final = 10
RTCP_ENCRYPTED: Final = 1 << 31
"""The E bit in front of the SRTCP index."""

_GCM_SALT_SIZE: Final = 12
_CM_SALT_SIZE: Final = 14
_CM_AUTH_KEY_SIZE: Final = 20
_BLOCK: Final = 16


class SrtpReason(enum.Enum):
    """Why a packet was refused, or could not be protected."""

    MALFORMED = "malformed"
    """Too short or too long, not version 2, header cut off, or SRTCP without the E bit."""
    AUTH = "authentication failed"
    REPLAY = "replayed, or older than the replay window"
    TOO_MANY_STREAMS = "too many streams"
    EXHAUSTED = "packet index exhausted"
    """The key has protected all it may (RFC 3711 9.2): a new transport is needed."""


class SrtpError(Exception):
    """A packet was not accepted, or cannot be sent. No state has changed."""

    def __init__(self, reason: SrtpReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class SrtpProfile(enum.IntEnum):
    """Protection profiles by their DTLS-SRTP numbers (RFC 5764 4.1.2, RFC 7714 14.2)."""

    AES128_CM_HMAC_SHA1_80 = 0x0001
    AEAD_AES_128_GCM = 0x0007
    AEAD_AES_256_GCM = 0x0008

    @property
    def key_size(self) -> int:
        """Bytes in the master key."""
        return 32 if self is SrtpProfile.AEAD_AES_256_GCM else 16

    @property
    def salt_size(self) -> int:
        """Bytes in the master salt."""
        return _CM_SALT_SIZE if self is SrtpProfile.AES128_CM_HMAC_SHA1_80 else _GCM_SALT_SIZE

    @property
    def tag_size(self) -> int:
        """Bytes that protection adds to an RTP packet."""
        return CM_TAG_SIZE if self is SrtpProfile.AES128_CM_HMAC_SHA1_80 else GCM_TAG_SIZE


# --- key derivation -------------------------------------------------------------------------------


class KeyLabel(enum.IntEnum):
    """RFC 3711 4.3.1, 4.3.2."""

    RTP_ENCRYPTION = 0
    RTP_AUTHENTICATION = 1
    RTP_SALT = 2
    RTCP_ENCRYPTION = 3
    RTCP_AUTHENTICATION = 4
    RTCP_SALT = 5


def derive_key(master_key: bytes, master_salt: bytes, label: KeyLabel, size: int) -> bytes:
    """``size`` bytes of session key for ``label`` (RFC 3711 4.3.3; AES-256: RFC 6188 3; GCM: RFC 7714 11).

    The generator is AES in counter mode over zeros. A 12-byte salt counts as 14 with zeros behind it. Keys
    are derived once: the key derivation rate of DTLS-SRTP is 0.
    """
    block = bytearray(master_salt.ljust(_BLOCK, b"\0"))
    block[7] ^= label
    generator = Cipher(AES(master_key), CTR(bytes(block))).encryptor()
    return generator.update(bytes(size))


@dataclass(frozen=True, slots=True, repr=False)
class SessionKeys:
    """The keys of one transform. Not shown by ``repr``: they do not belong in a log."""

    encryption: bytes
    salt: bytes
    authentication: bytes
    """Empty for GCM."""


def derive_session_keys(
    profile: SrtpProfile, master_key: bytes, master_salt: bytes
) -> tuple[SessionKeys, SessionKeys]:
    """Session keys for SRTP and for SRTCP. Raises :class:`ValueError` on a key or salt of another length."""
    if len(master_key) != profile.key_size or len(master_salt) != profile.salt_size:
        raise ValueError(f"wrong length of master key or salt for {profile.name}")
    auth_size = _CM_AUTH_KEY_SIZE if profile is SrtpProfile.AES128_CM_HMAC_SHA1_80 else 0

    def keys(encryption: KeyLabel, salt: KeyLabel, authentication: KeyLabel) -> SessionKeys:
        return SessionKeys(
            derive_key(master_key, master_salt, encryption, profile.key_size),
            derive_key(master_key, master_salt, salt, profile.salt_size),
            derive_key(master_key, master_salt, authentication, auth_size),
        )

    return (
        keys(KeyLabel.RTP_ENCRYPTION, KeyLabel.RTP_SALT, KeyLabel.RTP_AUTHENTICATION),
        keys(KeyLabel.RTCP_ENCRYPTION, KeyLabel.RTCP_SALT, KeyLabel.RTCP_AUTHENTICATION),
    )


# --- initialisation vectors -----------------------------------------------------------------------
# Every packet that is sealed or opened passes one of these two. An index beyond 48 bits would run into the
# SSRC and so could repeat another stream's IV: it is refused, as is a negative one.


def gcm_iv(salt: int, ssrc: int, index: int) -> bytes:
    """RFC 7714 8.1 (SRTP, 48-bit index) and 9.1 (SRTCP, 31-bit index)."""
    if index >> 48:
        raise SrtpError(SrtpReason.EXHAUSTED)
    return (salt ^ (ssrc << 48 | index)).to_bytes(12, "big")


def cm_iv(salt: int, ssrc: int, index: int) -> bytes:
    """RFC 3711 4.1.1: the low 16 bits count AES blocks within the packet."""
    if index >> 48:
        raise SrtpError(SrtpReason.EXHAUSTED)
    return ((salt ^ (ssrc << 48 | index)) << 16).to_bytes(16, "big")


# --- transforms -----------------------------------------------------------------------------------


class RtpTransform(Protocol):
    """Seals and opens RTP packets under one session key."""

    def seal(self, header: bytes, payload: bytes, ssrc: int, index: int) -> bytes:
        """Ciphertext and tag, to be sent right behind ``header``."""
        ...

    def open_untrusted(self, data: bytes, header_length: int, ssrc: int, index: int) -> bytes | None:
        """The packet in the clear, ``None`` if it is not authentic. ``data`` has room for header and tag."""
        ...


class RtcpTransform(Protocol):
    """Seals and opens RTCP packets under one session key."""

    overhead: int
    """Bytes added to a packet."""

    def seal(self, packet: bytes, index: int) -> bytes:
        """The whole SRTCP packet."""
        ...

    def index_word(self, data: bytes) -> int:
        """E bit and index of an SRTCP packet that is long enough to have them."""
        ...

    def open_untrusted(self, data: bytes, ssrc: int, index: int) -> bytes | None:
        """The packet in the clear, ``None`` if it is not authentic."""
        ...


class GcmRtpTransform:
    """AEAD_AES_128_GCM or AEAD_AES_256_GCM by the length of the key (RFC 7714 8)."""

    __slots__ = ("_decrypt", "_encrypt", "_salt")

    def __init__(self, keys: SessionKeys) -> None:
        aead = AESGCM(keys.encryption)
        self._encrypt = aead.encrypt
        self._decrypt = aead.decrypt
        self._salt = int.from_bytes(keys.salt, "big")

    def seal(self, header: bytes, payload: bytes, ssrc: int, index: int) -> bytes:
        """Associated data is the header (RFC 7714 8.2)."""
        return self._encrypt(gcm_iv(self._salt, ssrc, index), payload, header)

    def open_untrusted(self, data: bytes, header_length: int, ssrc: int, index: int) -> bytes | None:
        header = data[:header_length]
        try:
            return header + self._decrypt(gcm_iv(self._salt, ssrc, index), data[header_length:], header)
        except InvalidTag:
            return None


class GcmRtcpTransform:
    """RFC 7714 9: associated data is the first eight bytes and the index word."""

    __slots__ = ("_aead", "_salt")

    overhead = GCM_TAG_SIZE + 4

    def __init__(self, keys: SessionKeys) -> None:
        self._aead = AESGCM(keys.encryption)
        self._salt = int.from_bytes(keys.salt, "big")

    def seal(self, packet: bytes, index: int) -> bytes:
        clear = packet[:RTCP_CLEAR]
        word = (RTCP_ENCRYPTED | index).to_bytes(4, "big")
        iv = gcm_iv(self._salt, int.from_bytes(clear[4:], "big"), index)
        return clear + self._aead.encrypt(iv, packet[RTCP_CLEAR:], clear + word) + word

    def index_word(self, data: bytes) -> int:
        return int.from_bytes(data[-4:], "big")

    def open_untrusted(self, data: bytes, ssrc: int, index: int) -> bytes | None:
        clear = data[:RTCP_CLEAR]
        try:
            return clear + self._aead.decrypt(
                gcm_iv(self._salt, ssrc, index), data[RTCP_CLEAR:-4], clear + data[-4:]
            )
        except InvalidTag:
            return None


class CmRtpTransform:
    """AES_CM_128_HMAC_SHA1_80 (RFC 3711 3.3): AES-128 in counter mode, HMAC-SHA1 cut to 80 bits.

    The OpenSSL contexts are keyed once and reused: a fresh cipher costs 3 us and a fresh HMAC 1 us per
    packet, a new nonce and a copy of the keyed state a few hundred ns.
    """

    __slots__ = ("_keyed_mac", "_salt", "_set_iv", "_update")

    def __init__(self, keys: SessionKeys) -> None:
        cipher: CipherContext = Cipher(AES(keys.encryption), CTR(bytes(_BLOCK))).encryptor()
        self._set_iv = cipher.reset_nonce
        self._update = cipher.update  # counter mode: encrypts and decrypts alike
        self._keyed_mac = HMAC(keys.authentication, SHA1()).copy  # noqa: S303 - the profile says so
        self._salt = int.from_bytes(keys.salt, "big")

    def seal(self, header: bytes, payload: bytes, ssrc: int, index: int) -> bytes:
        """The tag covers header, ciphertext and rollover counter (RFC 3711 4.2)."""
        self._set_iv(cm_iv(self._salt, ssrc, index))
        ciphertext = self._update(payload)
        mac = self._keyed_mac()
        mac.update(header + ciphertext + (index >> 16).to_bytes(4, "big"))
        return ciphertext + mac.finalize()[:CM_TAG_SIZE]

    def open_untrusted(self, data: bytes, header_length: int, ssrc: int, index: int) -> bytes | None:
        mac = self._keyed_mac()
        mac.update(data[:-CM_TAG_SIZE] + (index >> 16).to_bytes(4, "big"))
        if not compare_digest(mac.finalize()[:CM_TAG_SIZE], data[-CM_TAG_SIZE:]):
            return None
        self._set_iv(cm_iv(self._salt, ssrc, index))
        return data[:header_length] + self._update(data[header_length:-CM_TAG_SIZE])


class CmRtcpTransform:
    """RFC 3711 3.4: the tag comes last and covers everything before it."""

    __slots__ = ("_cipher", "_mac", "_salt")

    overhead = 4 + CM_TAG_SIZE

    def __init__(self, keys: SessionKeys) -> None:
        self._cipher: CipherContext = Cipher(AES(keys.encryption), CTR(bytes(_BLOCK))).encryptor()
        self._mac = HMAC(keys.authentication, SHA1())  # noqa: S303 - the profile says so
        self._salt = int.from_bytes(keys.salt, "big")

    def _tag(self, data: bytes) -> bytes:
        mac = self._mac.copy()
        mac.update(data)
        return mac.finalize()[:CM_TAG_SIZE]

    def _crypt(self, data: bytes, ssrc: int, index: int) -> bytes:
        self._cipher.reset_nonce(cm_iv(self._salt, ssrc, index))
        return self._cipher.update(data)

    def seal(self, packet: bytes, index: int) -> bytes:
        clear = packet[:RTCP_CLEAR]
        ciphertext = self._crypt(packet[RTCP_CLEAR:], int.from_bytes(clear[4:], "big"), index)
        sealed = clear + ciphertext + (RTCP_ENCRYPTED | index).to_bytes(4, "big")
        return sealed + self._tag(sealed)

    def index_word(self, data: bytes) -> int:
        return int.from_bytes(data[-CM_TAG_SIZE - 4 : -CM_TAG_SIZE], "big")

    def open_untrusted(self, data: bytes, ssrc: int, index: int) -> bytes | None:
        if not compare_digest(self._tag(data[:-CM_TAG_SIZE]), data[-CM_TAG_SIZE:]):
            return None
        return data[:RTCP_CLEAR] + self._crypt(data[RTCP_CLEAR : -CM_TAG_SIZE - 4], ssrc, index)


def rtp_transform(profile: SrtpProfile, keys: SessionKeys) -> RtpTransform:
    """The RTP transform of ``profile`` under session ``keys``."""
    return CmRtpTransform(keys) if profile is SrtpProfile.AES128_CM_HMAC_SHA1_80 else GcmRtpTransform(keys)


def rtcp_transform(profile: SrtpProfile, keys: SessionKeys) -> RtcpTransform:
    """The RTCP transform of ``profile`` under session ``keys``."""
    return CmRtcpTransform(keys) if profile is SrtpProfile.AES128_CM_HMAC_SHA1_80 else GcmRtcpTransform(keys)

"""Published vectors: RFC 3711 appendix B, RFC 6188 7.2, RFC 7714 16 and 17."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sfu.rtp.srtp import SrtpError, SrtpProfile, SrtpReason
from sfu.rtp.srtp_crypto import (
    MAX_INDEX,
    CmRtpTransform,
    GcmRtcpTransform,
    GcmRtpTransform,
    KeyLabel,
    SessionKeys,
    cm_iv,
    derive_key,
    derive_session_keys,
    gcm_iv,
)

MASTER_KEY = bytes.fromhex("e1f97a0d3e018be0d64fa32c06de4139")
MASTER_SALT = bytes.fromhex("0ec675ad498afeebb6960b3aabe6")


def test_rfc3711_b2_keystream() -> None:
    """65,282 blocks: the counter runs through its low 16 bits almost to their end."""
    salt = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfd")
    keys = SessionKeys(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"), salt, bytes(20))
    keystream = CmRtpTransform(keys).seal(bytes(12), bytes(1044512), ssrc=0, index=0)[:-10]
    assert keystream[:48].hex() == (
        "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0"
    )
    assert keystream[-48:].hex() == (
        "ec8cdf7398607cb0f2d21675ea9ea1e4362b7c3c6773516318a077d7fc5073ae6a2cc3787889374fbeb4c81b17ba6c44"
    )


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (KeyLabel.RTP_ENCRYPTION, "c61e7a93744f39ee10734afe3ff7a087"),
        (KeyLabel.RTP_SALT, "30cbbc08863d8c85d49db34a9ae1"),
        (
            KeyLabel.RTP_AUTHENTICATION,
            (
                "cebe321f6ff7716b6fd4ab49af256a156d38baa48f0a0acf3c34e2359e6cdbcee049646c43d9327ad175578ef7227098"
                "6371c10c9a369ac2f94a8c5fbcdddc256d6e919a48b610ef17c2041e474035766b68642c59bbfc2f34db60dbdfb2"
            ),
        ),
    ],
)
def test_rfc3711_b3_key_derivation(label: KeyLabel, expected: str) -> None:
    assert derive_key(MASTER_KEY, MASTER_SALT, label, len(expected) // 2).hex() == expected


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (
            KeyLabel.RTP_ENCRYPTION,
            "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
        ),
        (KeyLabel.RTP_SALT, "fa31791685ca444a9e07c6c64e93"),
        (KeyLabel.RTP_AUTHENTICATION, "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"),
    ],
)
def test_rfc6188_key_derivation_with_256_bits(label: KeyLabel, expected: str) -> None:
    key = bytes.fromhex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6")
    salt = bytes.fromhex("3b04803de51ee7c96423ab5b78d2")
    assert derive_key(key, salt, label, len(expected) // 2).hex() == expected


# RFC 7714 16 and 17 give session keys, not master keys.
GCM_SALT = bytes.fromhex("517569642070726f2071756f")
GCM_KEYS = {
    128: SessionKeys(bytes(range(16)), GCM_SALT, b""),
    256: SessionKeys(bytes(range(32)), GCM_SALT, b""),
}
RTP = bytes.fromhex("8040f17b8041f8d35501a0b2") + b"Gallia est omnis divisa in partes tres"
SRTP = {
    128: "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833"
    "899d7f27beb16a9152cf765ee4390cce",
    256: "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b"
    "7aa3db36dfffd6b0f9bb7878d7a76c13",
}
RTCP = bytes.fromhex(
    "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
)
SRTCP = {
    128: "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded"
    "0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
    256: "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de047"
    "6f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
}
SSRC = 0x5501A0B2


@pytest.mark.parametrize("bits", [128, 256])
def test_rfc7714_16_rtp(bits: int) -> None:
    transform = GcmRtpTransform(GCM_KEYS[bits])
    assert transform.seal(RTP[:12], RTP[12:], SSRC, 0xF17B).hex() == SRTP[bits]
    sealed = RTP[:12] + bytes.fromhex(SRTP[bits])
    assert transform.open_untrusted(sealed, 12, SSRC, 0xF17B) == RTP
    assert transform.open_untrusted(sealed, 12, SSRC, 0x1F17B) is None


def test_rfc7714_16_iv() -> None:
    assert gcm_iv(int.from_bytes(GCM_SALT, "big"), SSRC, 0xF17B).hex() == "51753c6580c2726f20718414"


@pytest.mark.parametrize("bits", [128, 256])
def test_rfc7714_17_rtcp(bits: int) -> None:
    transform = GcmRtcpTransform(GCM_KEYS[bits])
    assert transform.seal(RTCP, 0x5D4).hex() == SRTCP[bits]
    sealed = bytes.fromhex(SRTCP[bits])
    assert transform.index_word(sealed) == 0x800005D4
    assert transform.open_untrusted(sealed, int.from_bytes(b"Mars", "big"), 0x5D4) == RTCP


@pytest.mark.parametrize("iv", [gcm_iv, cm_iv])
@pytest.mark.parametrize("index", [-1, MAX_INDEX + 1])
def test_an_index_that_would_run_into_the_ssrc_is_refused(
    iv: Callable[[int, int, int], bytes], index: int
) -> None:
    with pytest.raises(SrtpError) as caught:
        iv(0, 1, index)
    assert caught.value.reason is SrtpReason.EXHAUSTED
    assert iv(0, 1, MAX_INDEX) != iv(0, 2, 0)


@pytest.mark.parametrize("profile", list(SrtpProfile))
def test_key_and_salt_lengths_are_checked(profile: SrtpProfile) -> None:
    key, salt = bytes(profile.key_size), bytes(profile.salt_size)
    derive_session_keys(profile, key, salt)
    for bad_key, bad_salt in ((key + b"x", salt), (key[1:], salt), (key, salt + b"x"), (key, salt[1:])):
        with pytest.raises(ValueError, match="wrong length"):
            derive_session_keys(profile, bad_key, bad_salt)


def test_profiles_have_the_numbers_of_dtls_srtp() -> None:
    """RFC 5764 4.1.2 and RFC 7714 14.2, with the lengths that an exporter must yield."""
    assert {
        profile.name: (profile.value, profile.key_size, profile.salt_size) for profile in SrtpProfile
    } == {
        "AES128_CM_HMAC_SHA1_80": (0x0001, 16, 14),
        "AEAD_AES_128_GCM": (0x0007, 16, 12),
        "AEAD_AES_256_GCM": (0x0008, 32, 12),
    }


def test_keys_do_not_show_in_a_log() -> None:
    assert "2b7e" not in repr(SessionKeys(bytes.fromhex("2b7e"), b"", b"")).lower()
    assert "+~" not in repr(SessionKeys(b"+~", b"", b""))

"""libsrtp, through pylibsrtp, as the oracle of the SRTP tests."""

from __future__ import annotations

from typing import Protocol

import pylibsrtp

from sfu.rtp.srtp import REPLAY_WINDOW, SrtpProfile

PROFILES = {
    SrtpProfile.AEAD_AES_128_GCM: pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    SrtpProfile.AEAD_AES_256_GCM: pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    SrtpProfile.AES128_CM_HMAC_SHA1_80: pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
}

LibsrtpError = pylibsrtp.Error


class Session(Protocol):
    """What the tests use of ``pylibsrtp.Session``."""

    def protect(self, packet: bytes) -> bytes: ...

    def protect_rtcp(self, packet: bytes) -> bytes: ...

    def unprotect(self, packet: bytes) -> bytes: ...

    def unprotect_rtcp(self, packet: bytes) -> bytes: ...


def _session(profile: SrtpProfile, key: bytes, salt: bytes, direction: int) -> Session:
    policy = pylibsrtp.Policy(key=key + salt, ssrc_type=direction, srtp_profile=PROFILES[profile])
    policy.window_size = REPLAY_WINDOW
    session: Session = pylibsrtp.Session(policy)
    return session


def sender(profile: SrtpProfile, key: bytes, salt: bytes) -> Session:
    """A session that protects any SSRC."""
    return _session(profile, key, salt, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)


def receiver(profile: SrtpProfile, key: bytes, salt: bytes) -> Session:
    """A session that opens any SSRC, with our replay window."""
    return _session(profile, key, salt, pylibsrtp.Policy.SSRC_ANY_INBOUND)

"""Netplay tokens: compact JWS, HS256 only (``romm-api.md`` 2; RFC 7515, 7518, 7519; advice of RFC 8725).

A *read* token is good until it expires. A *write* token (and the old kind, ``sfu``) carries a ``jti`` and is
good only while that ``jti`` is listed, which is the store's business (:mod:`sfu.romm.store`). This module
signs, and checks everything about a token that can be seen from the token alone.

PyJWT is used for the JWS layer only: the claims are checked here, because the order of the checks and the
texts of the refusals are part of RomM's interface (1.5).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import jwt
import msgspec

from sfu.romm.jsontext import BadJson, parse_untrusted
from sfu.romm.port import TokenRefused

ISSUER: Final = "romm:sfu"
ALGORITHM: Final = "HS256"
READ_TOKEN_TTL: Final = 900
"""Seconds."""
WRITE_TOKEN_TTL: Final = 30
"""Seconds."""
LONGEST_TTL: Final = 172_800
"""Seconds; no RomM gives a token more (``romm-api.md`` 2.3)."""
CLOCK_SKEW: Final = 5
"""Seconds of tolerance on ``exp`` and ``nbf``."""
MIN_KEY_BYTES: Final = 32
"""RFC 7518 section 3.2: a key at least as long as the hash."""
MAX_TOKEN_CHARS: Final = 8192
"""Longer tokens are refused unread."""


class TokenKind(StrEnum):
    """The ``type`` claim."""

    READ = "sfu:read"
    WRITE = "sfu:write"
    LEGACY = "sfu"

    @property
    def one_time(self) -> bool:
        """Whether the token must be listed, and can be consumed."""
        return self is not TokenKind.READ


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says."""

    sub: str
    """Never empty."""
    kind: TokenKind
    exp: int
    """Epoch seconds."""
    jti: str | None
    """Never None for a one-time kind."""
    uid: str | None
    """Stable id of the user, where the issuer gave one (7.2.5)."""
    iat: float = -math.inf
    """When it was issued, in epoch seconds; the beginning of time where it does not say. Never a reason to
    refuse a token by itself."""


@dataclass(frozen=True, slots=True)
class Minted:
    """A fresh token."""

    token: str
    claims: Claims
    lifetime: int
    """Seconds."""


class Tokens:
    """Signs and checks tokens with one key."""

    def __init__(
        self,
        key: bytes,
        *,
        read_ttl: int = READ_TOKEN_TTL,
        write_ttl: int = WRITE_TOKEN_TTL,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """:raises ValueError: the key is shorter than :data:`MIN_KEY_BYTES` or a lifetime is not positive."""
        if len(key) < MIN_KEY_BYTES:
            raise ValueError(f"the signing key must have at least {MIN_KEY_BYTES} bytes")
        if read_ttl < 1 or write_ttl < 1:
            raise ValueError("token lifetimes are at least one second")
        self._key = key
        self._ttl = {TokenKind.READ: read_ttl, TokenKind.WRITE: write_ttl}
        self._random_bytes = random_bytes
        self._jws = jwt.PyJWS(algorithms=[ALGORITHM])

    @property
    def longest_life(self) -> int:
        """Seconds after which every token of today is refused, be it ours or of a RomM with the same key."""
        return max(LONGEST_TTL, *self._ttl.values()) + CLOCK_SKEW

    def mint(self, kind: TokenKind, *, sub: str, uid: str | None, now: float) -> Minted:
        """Sign a read or a write token. ``now`` is epoch seconds."""
        lifetime = self._ttl[kind]
        issued = int(now)
        claims = Claims(
            sub=sub,
            kind=kind,
            exp=issued + lifetime,
            jti=self._random_bytes(16).hex() if kind.one_time else None,
            uid=uid,
            iat=issued,
        )
        payload: dict[str, Any] = {
            "iss": ISSUER,
            "sub": sub,
            "type": str(kind),
            "iat": issued,
            "exp": claims.exp,
        }
        if claims.jti is not None:
            payload["jti"] = claims.jti
        if uid is not None:
            payload["uid"] = uid
        # The header is exactly {"typ":"JWT","alg":"HS256"}, in that order (2.1).
        token = self._jws.encode(msgspec.json.encode(payload), self._key, ALGORITHM, sort_headers=False)
        return Minted(token, claims, lifetime)

    def verify_untrusted(self, token: str, now: float) -> Claims:
        """Check a token up to, not including, whether its ``jti`` is listed. ``now`` is epoch seconds.

        :raises TokenRefused: with RomM's own text for the first check that failed (1.5, steps 1 to 10).
        """
        payload = self._open_untrusted(token)
        seconds = int(now)
        nbf = payload.get("nbf")
        if nbf is not None and seconds + CLOCK_SKEW < _int_untrusted(nbf, "invalid nbf"):
            raise TokenRefused("jwt not active")
        if payload.get("exp") is None:
            raise TokenRefused("missing exp")
        exp = _int_untrusted(payload["exp"], "invalid exp")
        if seconds - CLOCK_SKEW >= exp:
            raise TokenRefused("jwt expired")
        if payload.get("iss") != ISSUER:
            raise TokenRefused("invalid issuer")
        kind = _KINDS.get(_string(payload, "type"))
        if kind is None:
            raise TokenRefused("invalid token type")
        sub = _string(payload, "sub")
        if not sub:
            raise TokenRefused("missing sub")
        jti = _string(payload, "jti")
        if kind.one_time and not jti:
            raise TokenRefused("missing jti")
        return Claims(
            sub=sub,
            kind=kind,
            exp=exp,
            jti=jti if kind.one_time else None,
            uid=_string(payload, "uid") or None,
            iat=_issued_untrusted(payload),
        )

    def _open_untrusted(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            raise TokenRefused("invalid token")
        try:
            opened = self._jws.decode_complete(token, self._key, algorithms=[ALGORITHM])
            payload = parse_untrusted(opened["payload"])
        except (jwt.PyJWTError, BadJson):
            raise TokenRefused("invalid token") from None
        # We understand no critical extension at all (RFC 7515 section 4.1.11).
        if "crit" in opened["header"] or not isinstance(payload, dict):
            raise TokenRefused("invalid token")
        return payload


_KINDS: Final[dict[str, TokenKind]] = {str(kind): kind for kind in TokenKind}


def _string(payload: dict[str, Any], claim: str) -> str:
    """The claim if it is a string, else the empty string."""
    value = payload.get(claim)
    return value if isinstance(value, str) else ""


def _int_untrusted(value: Any, detail: str) -> int:
    """Numeric strings count; floats are cut (1.5, step 5)."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise TokenRefused(detail) from None


def _issued_untrusted(payload: dict[str, Any]) -> float:
    try:
        return _int_untrusted(payload.get("iat"), "")
    except TokenRefused:
        return -math.inf


def token_type_untrusted(token: str) -> str | None:
    """The ``type`` claim, read **without** the signature: only for a token that RomM has just accepted."""
    try:
        opened = jwt.PyJWS().decode_complete(token, options={"verify_signature": False})
        claims = parse_untrusted(opened["payload"])
    except (jwt.PyJWTError, BadJson, UnicodeEncodeError):
        return None
    kind = _KINDS.get(_string(claims, "type")) if isinstance(claims, dict) else None
    return None if kind is None else str(kind)

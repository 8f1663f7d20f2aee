"""Who a client is: where its token is found, and which id its verified name gives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from urllib.parse import unquote_to_bytes

from sfu.signaling.application import Handshake
from sfu.signaling.http import Request, parse_cookies

MAX_TOKEN_LENGTH = 8192
"""Characters; a longer token is refused unseen."""

TOKEN_COOKIES = ("romm_sfu_token", "sfu_token")

_BEARER = re.compile(r"\s*bearer\s+(\S+)\s*", re.IGNORECASE)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def derive_userid(sub: str) -> str:
    """The id of a user: 36 hex digits of SHA-256 in groups of 8-4-4-4-16. Stable, and no secret.

    Raises:
        ValueError: ``sub`` is empty or cannot be encoded.
    """
    if not sub:
        raise ValueError("empty sub")
    digest = sha256(sub.encode()).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:36]))


def handshake_token(handshake: Handshake) -> str | None:
    """The token of a CONNECT: ``auth``, query, cookie, ``Authorization``. The first one there counts, even if
    it is empty."""
    auth = handshake.auth.get("token") if isinstance(handshake.auth, dict) else handshake.auth
    if isinstance(auth, str):
        return auth
    return _first(
        _query_token(handshake.query),
        _cookie_token(parse_cookies(handshake.headers.get("cookie", ""))),
        _bearer_token(handshake.headers.get("authorization")),
    )


def request_token(request: Request) -> str | None:
    """The token of an HTTP request: query, ``Authorization``, cookie. The first one there counts, even if
    it is empty."""
    return _first(
        _query_token(request.query),
        _bearer_token(request.headers.get("authorization")),
        _cookie_token(request.cookies),
    )


def _first(*tokens: str | None) -> str | None:
    return next((token for token in tokens if token is not None), None)


def _query_token(query: Sequence[tuple[str, str]]) -> str | None:
    tokens = [value for name, value in query if name == "token"]
    return tokens[0] if len(tokens) == 1 else None


def _bearer_token(header: str | None) -> str | None:
    match = _BEARER.fullmatch(header) if header is not None else None
    return match[1] if match is not None else None


def _cookie_token(cookies: Iterable[tuple[str, str]]) -> str | None:
    for name, value in cookies:
        if name in TOKEN_COOKIES:
            return _percent_decode(value).strip()
    return None


def _percent_decode(value: str) -> str:
    """As ``decodeURIComponent``; what it would not take stays as it is."""
    if _BAD_ESCAPE.search(value):
        return value
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        return value

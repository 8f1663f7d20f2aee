"""Tokens: any text is refused in the declared way, and no bit of a good one can be changed."""

from __future__ import annotations

import base64
from typing import Any

import jwt
import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sfu.romm.port import TokenRefused
from sfu.romm.records import BadRecord, from_json_untrusted, to_json
from sfu.romm.tokens import CLOCK_SKEW, TokenKind, Tokens, token_type_untrusted

KEY = b"0123456789abcdef0123456789abcdef"
NOW = 1_800_000_000
TOKENS = Tokens(KEY)
DETAILS = {
    "invalid token",
    "invalid nbf",
    "jwt not active",
    "missing exp",
    "invalid exp",
    "jwt expired",
    "invalid issuer",
    "invalid token type",
    "missing sub",
    "missing jti",
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
claim_values = (
    json_values
    | st.integers(NOW - 20, NOW + 20)
    | st.sampled_from(["romm:sfu", "sfu", "sfu:read", "sfu:write", "", "ann"])
)
claims = st.dictionaries(
    st.sampled_from(["iss", "sub", "type", "iat", "exp", "nbf", "jti", "uid"]) | st.text(max_size=4),
    claim_values,
)


def check(token: str) -> str | None:
    """None for a good token, else the refusal, which is one of the known texts."""
    try:
        good = TOKENS.verify_untrusted(token, NOW)
    except TokenRefused as refused:
        assert str(refused) in DETAILS
        return str(refused)
    assert good.sub
    assert good.exp > NOW - CLOCK_SKEW
    assert (good.jti is not None) == good.kind.one_time
    return None


def sign(payload: bytes) -> str:
    return jwt.PyJWS().encode(payload, KEY, "HS256")


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
@example("\ud800")
@example("a.b.\ud800")
@example("..")
@example("eyJhbGciOiJIUzI1NiJ9..")
def test_any_text(token: str) -> None:
    assert check(token) is not None
    assert token_type_untrusted(token) is None


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_any_segments(segments: list[bytes]) -> None:
    token = b".".join(base64.urlsafe_b64encode(segment).rstrip(b"=") for segment in segments).decode()
    assert check(token) == "invalid token"
    token_type_untrusted(token)


@given(st.binary(max_size=200) | claims.map(msgspec.json.encode))
def test_any_signed_payload(payload: bytes) -> None:
    token = sign(payload)
    refusal = check(token)
    kind = token_type_untrusted(token)
    assert kind is None or kind in set(TokenKind)
    assert refusal is not None or kind is not None


@given(
    kind=st.sampled_from([TokenKind.READ, TokenKind.WRITE]),
    sub=st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable()),
    uid=st.none() | st.text("0123456789abcdef", min_size=1, max_size=32),
    elapsed=st.integers(-5, 960),
)
def test_round_trip(kind: TokenKind, sub: str, uid: str | None, elapsed: int) -> None:
    minted = TOKENS.mint(kind, sub=sub, uid=uid, now=NOW + 0.5)
    assert minted.claims.exp == NOW + minted.lifetime
    assert token_type_untrusted(minted.token) == str(kind)
    if elapsed < minted.lifetime + CLOCK_SKEW:
        assert TOKENS.verify_untrusted(minted.token, NOW + elapsed) == minted.claims
    else:
        with pytest.raises(TokenRefused, match="jwt expired"):
            TOKENS.verify_untrusted(minted.token, NOW + elapsed)


@given(position=st.integers(0, 400), char=st.characters(codec="ascii"))
def test_no_character_can_be_changed(position: int, char: str) -> None:
    token = TOKENS.mint(TokenKind.WRITE, sub="ann", uid="u", now=NOW).token
    position %= len(token)
    assume(token[position] != char)
    assert check(token[:position] + char + token[position + 1 :]) == "invalid token"
    assert check(token[:position]) == "invalid token"


@given(st.binary(min_size=32, max_size=64))
def test_other_keys_do_not_open_it(key: bytes) -> None:
    assume(key != KEY)
    token = Tokens(key).mint(TokenKind.READ, sub="ann", uid=None, now=NOW).token
    assert check(token) == "invalid token"


@given(st.binary(max_size=31))
def test_short_keys_are_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        Tokens(key)


@pytest.mark.parametrize(("read", "write"), [(0, 30), (900, 0), (-1, 30)])
def test_lifetimes_are_positive(read: int, write: int) -> None:
    with pytest.raises(ValueError, match="at least one second"):
        Tokens(KEY, read_ttl=read, write_ttl=write)


@given(json_values, st.none() | st.text(max_size=5))
def test_any_json_is_a_record_or_not(value: Any, name: str | None) -> None:
    try:
        record = from_json_untrusted(value, name=name)
    except BadRecord:
        return
    again = from_json_untrusted(msgspec.json.decode(msgspec.json.encode(to_json(record))))
    assert again == record

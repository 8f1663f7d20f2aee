"""The state cookie: what we sealed opens, nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.sctp.cookie import COOKIE_LENGTH, KEY_LENGTH, Cookie
from sfu.sctp.errors import SctpError
from tests.sctp.strategies import u16, u32

KEY = bytes(range(KEY_LENGTH))
cookies = st.builds(
    Cookie,
    st.floats(0, 1e9),
    u32, u32, u32, u32, u32, u32, u32,
    u16, u16,
    st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip


@given(cookies)
def test_round_trip(cookie: Cookie) -> None:
    sealed = cookie.seal(KEY)
    assert len(sealed) == COOKIE_LENGTH
    assert Cookie.open_untrusted(KEY, sealed) == cookie


@given(cookies, st.integers(0, 8 * COOKIE_LENGTH - 1))
def test_any_changed_bit_is_found(cookie: Cookie, bit: int) -> None:
    forged = bytearray(cookie.seal(KEY))
    forged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SctpError):
        Cookie.open_untrusted(KEY, bytes(forged))


@given(cookies, st.integers(0, COOKIE_LENGTH - 1))
def test_a_cut_or_foreign_cookie_is_refused(cookie: Cookie, length: int) -> None:
    sealed = cookie.seal(KEY)
    for data in (sealed[:length], sealed + b"\0"):
        with pytest.raises(SctpError):
            Cookie.open_untrusted(KEY, data)
    with pytest.raises(SctpError):
        Cookie.open_untrusted(bytes(KEY_LENGTH), sealed)

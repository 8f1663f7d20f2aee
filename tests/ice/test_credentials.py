"""Credentials: their shape, their spread, and that a password is not printed."""

from __future__ import annotations

import os
import re
from collections import Counter

import pytest

from sfu.ice.credentials import CREDENTIAL_ALPHABET, make_credentials


@pytest.mark.parametrize("source", [os.urandom, bytes, lambda size: b"\xff" * size], ids=["os", "0", "1"])
def test_shape(source: object) -> None:
    assert callable(source)
    credentials = make_credentials(source)
    for text in (credentials.username_fragment, credentials.password):
        assert re.fullmatch(r"[0-9a-z]{32}", text)
    assert credentials.to_json() == {
        "usernameFragment": credentials.username_fragment,
        "password": credentials.password,
        "iceLite": True,
    }


def test_every_character_is_as_likely() -> None:
    """36,000 of each of 64,000 x 32 / 36 expected; beyond five standard deviations something is wrong."""
    counts: Counter[str] = Counter()
    for _ in range(2000):
        credentials = make_credentials(os.urandom)
        counts.update(credentials.username_fragment + credentials.password)
    expected = 2000 * 64 / 36
    assert set(counts) == set(CREDENTIAL_ALPHABET)
    assert all(abs(count - expected) < 6 * expected**0.5 for count in counts.values())


def test_password_is_not_printed() -> None:
    credentials = make_credentials(os.urandom)
    assert credentials.password not in repr(credentials)

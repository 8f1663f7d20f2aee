"""Which URLs lead every machine to itself."""

from __future__ import annotations

import pytest

from sfu.addresses import is_loopback_url


@pytest.mark.contract("D89")
@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:3001", True),
        ("http://sfu.localhost", True),
        ("https://127.0.0.1/x", True),
        ("http://[::1]:3001", True),
        ("http://192.0.2.1:3001", False),
        ("https://play.example", False),
        ("http://[bad", False),
        ("", False),
    ],
)
def test_which_urls_lead_every_machine_to_itself(url: str, local: bool) -> None:
    assert is_loopback_url(url) is local

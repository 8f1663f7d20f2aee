"""How values are shown: never with a secret in them."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from sfu.config import Settings, shown
from sfu.config.limits import LIMITS
from sfu.config.source import masked, quoted
from tests.config.reading import KEY, alone, service


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "on"),
        (False, "off"),
        (None, ""),
        (7, "7"),
        (25.0, "25"),
        (0.5, "0.5"),
        (1_000_000.0, "1000000"),
        ((), ""),
        (("a", "b"), "a, b"),
        ("", ""),
        (SecretStr("hunter2"), "********"),
        ("https://sfu.example:8443/a", "https://sfu.example:8443/a"),
    ],
)
def test_shown(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://redis:6379/0", "redis://redis:6379/0"),
        ("redis://ann:hunter2@redis:6379/0", "redis://********@redis:6379/0"),
        ("redis://:hunter2@redis", "redis://********@redis"),
        ("rediss://ann:hunter2/hunter2@hunter2@redis", "rediss://********@redis"),
        ("ann:hunter2@redis", "********@redis"),
        ("redis://redis?db=1&password=hunter2", "redis://redis?db=1&password=********"),
        ("redis://redis?Password=hunter2&db=1", "redis://redis?Password=********&db=1"),
        ("https://a https://ann:hunter2@b", "https://a https://********@b"),
        ("ann@example", "ann@example"),
        ("[::1]:80", "[::1]:80"),
    ],
)
def test_passwords_in_urls(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.contract("D6")
def test_wrong_values_are_repeated_in_print() -> None:
    assert quoted("a\nb\x1b[0m") == r"'a\nb\x1b[0m'"
    assert quoted("http://ann:hunter2@romm") == "'http://********@romm'"
    assert quoted("x" * 80) == repr("x" * 80)
    assert quoted("x" * 81) == "(81 characters)"


@pytest.mark.contract("D11", "D12")
def test_secrets_do_not_show() -> None:
    node = alone(
        ROMM_AUTH_SECRET_KEY=KEY,
        ROMM_SFU_INTERNAL_SECRET="hunter2",
        PUBLIC_URL="https://ann:hunter2@sfu.example",
        SFU_TURN_SERVER1="a",
        SFU_TURN_USER1="u",
        SFU_TURN_PASS1="hunter2",
    )
    romm = service(SFU_REDIS_URL="redis://:hunter2@redis")
    texts = [shown(value) for settings in (node, romm) for _, value in settings]
    assert not any("hunter2" in text or KEY in text for text in texts)
    assert KEY not in f"{node!r} {romm!r}"


def test_limits_are_no_secrets() -> None:
    for limit in LIMITS.values():
        value = getattr(getattr(Settings(standalone=True), limit.group), limit.name)
        assert shown(value) == ("" if value is None else str(value))

"""The settings of RomM's side as a service of its own."""

from __future__ import annotations

import pytest

from sfu.config import RommSettings, load_romm
from sfu.config.romm import SOURCES
from sfu.romm.proxy_identity import IDENTITY_HEADER
from sfu.romm.tokens import READ_TOKEN_TTL, WRITE_TOKEN_TTL
from tests.config.reading import KEY, SERVICE, service, service_problems


def test_defaults() -> None:
    values = service()
    assert (values.http_listen_ip, values.port) == ("127.0.0.1", 3002)
    assert values.redis_url is None
    assert values.identity_header == IDENTITY_HEADER
    assert values.allowed_origins == ()
    assert values.trusted_proxies == ()
    assert (values.read_token_ttl_seconds, values.write_token_ttl_seconds) == (
        READ_TOKEN_TTL,
        WRITE_TOKEN_TTL,
    )
    assert values.allowlist_format == "string"
    assert values.log_level == "warn"
    assert [server.urls for server in values.ice_servers] == ["stun:stun.l.google.com:19302"]


def test_all_of_them() -> None:
    values = service(
        SFU_REDIS_URL="rediss://ann:hunter2@redis:6379/1",
        HTTP_LISTEN_IP="0.0.0.0",
        PORT="8080",
        SFU_IDENTITY_HEADER="Remote-User",
        SFU_TRUSTED_PROXIES="10.0.0.2",
        SFU_ALLOWED_ORIGINS="https://games.example",
        SFU_READ_TOKEN_TTL_SECONDS="60",
        SFU_WRITE_TOKEN_TTL_SECONDS="10",
        SFU_ALLOWLIST_FORMAT="HASH",
        LOG_LEVEL="debug",
        STUN_SERVERS="a",
    )
    assert values.redis_url == "rediss://ann:hunter2@redis:6379/1"
    assert (values.http_listen_ip, values.port) == ("0.0.0.0", 8080)
    assert values.identity_header == "Remote-User"
    assert list(map(str, values.trusted_proxies)) == ["10.0.0.2/32"]
    assert values.allowed_origins == ("https://games.example",)
    assert (values.read_token_ttl_seconds, values.write_token_ttl_seconds) == (60, 10)
    assert (values.allowlist_format, values.log_level) == ("hash", "debug")
    assert [server.urls for server in values.ice_servers] == ["stun:a"]


def test_secrets_are_required() -> None:
    assert service_problems({}) == [
        "ROMM_SFU_INTERNAL_SECRET is not set: give the same one as to the nodes",
        "ROMM_AUTH_SECRET_KEY is not set: make one with openssl rand -hex 32",
    ]
    assert service_problems({**SERVICE, "ROMM_SFU_INTERNAL_SECRET": KEY}) == [
        "ROMM_AUTH_SECRET_KEY and ROMM_SFU_INTERNAL_SECRET must differ"
    ]
    (problem,) = service_problems({**SERVICE, "ROMM_AUTH_SECRET_KEY": KEY[:-1]})
    assert problem.startswith("ROMM_AUTH_SECRET_KEY must have at least 32 characters")


def test_who_names_users_should_be_said_and_cannot_be_everyone() -> None:
    assert load_romm(SERVICE).warnings == ("SFU_TRUSTED_PROXIES: not set; nobody gets a token",)
    for everyone in ("0.0.0.0/0", "::/0"):
        (problem,) = service_problems({**SERVICE, "SFU_TRUSTED_PROXIES": f"127.0.0.1 {everyone}"})
        assert problem.startswith("SFU_TRUSTED_PROXIES must not be everyone")


@pytest.mark.contract("D6")
@pytest.mark.parametrize(
    ("variable", "text", "reason"),
    [
        ("SFU_REDIS_URL", "redis://re\ndis", "printable text"),
        ("SFU_REDIS_URL", "redis", "a URL like redis://"),
        ("SFU_REDIS_URL", "http://redis", "a URL like redis://"),
        ("SFU_REDIS_URL", "redis://redis:99999", "a URL like redis://"),
        ("SFU_REDIS_URL", "redis://[", "a URL like redis://"),
        ("SFU_REDIS_URL", "unix:", "a URL like redis://"),
        ("SFU_IDENTITY_HEADER", "X User", "the name of an HTTP header"),
        ("SFU_TRUSTED_PROXIES", "nginx", "addresses or networks"),
        ("SFU_ALLOWLIST_FORMAT", "json", "string or hash"),
        ("SFU_READ_TOKEN_TTL_SECONDS", "29", "a whole number from 30 to 2592000"),
        ("PORT", "x", "a whole number from 1 to 65535"),
    ],
)
def test_what_cannot_be_meant(variable: str, text: str, reason: str) -> None:
    (problem,) = service_problems({**SERVICE, variable: text})
    assert problem.startswith(f"{variable}={text!r}: must be {reason}")


def test_a_password_in_a_wrong_address_is_not_repeated() -> None:
    (problem,) = service_problems({**SERVICE, "SFU_REDIS_URL": "http://ann:hunter2@redis"})
    assert problem.startswith("SFU_REDIS_URL='http://********@redis': must be a URL like")


def test_flags_and_warnings() -> None:
    environ = {**SERVICE, "SFU_TRUSTED_PROXIES": "::1", "PORT": "1", "SFU_REDIS": "x"}
    loaded = load_romm({**environ, "SFU_LIMIT_ROOMS": "a node's"}, {"port": "2"})
    assert (loaded.settings.port, loaded.origins["port"]) == (2, "--port")
    assert loaded.warnings == ("SFU_REDIS: unknown, did you mean SFU_REDIS_URL?",)


def test_every_setting_has_a_source_and_a_description() -> None:
    for name, field in RommSettings.model_fields.items():
        assert field.description
        assert (name in SOURCES) != (name == "ice_servers")
    assert not any(source.flag for source in SOURCES.values() if source.secret)

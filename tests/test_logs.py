"""Logs: their form, their levels, and that no secret gets into them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from sfu import logs
from sfu.logs import REDACTED, configure, redacted_text
from sfu.romm.tokens import TokenKind, Tokens

TOKEN = Tokens(b"0123456789abcdef0123456789abcdef").mint(TokenKind.READ, sub="ann", uid=None, now=0).token


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def logged(level: str = "debug", *, stream: io.StringIO | None = None, **values: Any) -> str:
    stream = stream or io.StringIO()
    configure(level, stream=stream)
    structlog.get_logger("test").info("event", **values)
    return stream.getvalue()


def test_json_by_default() -> None:
    event = json.loads(logged(room="a", n=1, none=None, on=True, ids=(1, 2)))
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "event",
        "level": "info",
        "room": "a",
        "n": 1,
        "none": None,
        "on": True,
        "ids": [1, 2],
    }


def test_columns_on_a_terminal() -> None:
    text = logged(stream=Terminal(), room="a")
    assert "event" in text
    assert "{" not in text


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error", "critical"]),
        ("info", ["info", "warning", "error", "critical"]),
        ("warn", ["warning", "error", "critical"]),
        ("error", ["error", "critical"]),
        ("silent", []),
    ],
)
def test_levels(level: str, shown: list[str]) -> None:
    for logger in (structlog.get_logger, lambda: logging.getLogger("some.package")):
        stream = io.StringIO()
        configure(level, stream=stream)
        for method in ("debug", "info", "warning", "error", "critical"):
            getattr(logger(), method)("x")
        assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == shown


def test_all_levels_of_the_settings_exist() -> None:
    assert list(logs.LEVELS) == ["debug", "info", "warn", "error", "silent"]


def test_http_client_is_quiet() -> None:
    stream = io.StringIO()
    configure("debug", stream=stream)
    logging.getLogger("httpx").info("HTTP Request: GET http://romm/?room=secret")
    logging.getLogger("httpcore.http11").debug("headers")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
@pytest.mark.parametrize(
    "values",
    [
        {"token": TOKEN},
        {"token": 5},
        {"Password": "hunter2"},
        {"room_password": "hunter2"},
        {"romm_secret": "hunter2"},
        {"headers": {"Authorization": "hunter2", "cookie": "hunter2"}},
        {"headers": [("Set-Cookie", "hunter2")]},
        {"turn": [{"credential": "hunter2"}]},
        {"deep": {"a": {"b": {"c": {"d": {"e": {"f": {"g": "hunter2"}}}}}}}},
        {"auth": {"token": {"x": "hunter2"}}},
        {"url": "/list?token=hunter2&domain=x"},
        {"url": "/list?domain=x&access_token=hunter2"},
        {"url": "http://user:hunter2@romm/x"},
        {"header": "Bearer hunter2hunter2"},
        {"text": f"got {TOKEN} from somebody"},
        {"data": b"token " + TOKEN.encode()},
        {"error": ValueError(f"bad {TOKEN}")},
        {"text": TOKEN[:60]},
        {"anything": SimpleNamespace(inner=TOKEN)},
    ],
)
def test_secrets_are_redacted(values: dict[str, Any], stream: type[io.StringIO]) -> None:
    text = logged(stream=stream(), **values)
    assert "hunter2" not in text
    assert TOKEN[:40] not in text
    assert REDACTED in text or "..." in text


def test_harmless_values_stay() -> None:
    event = json.loads(logged(token_type="sfu:read", tokens=3, url="/list?domain=x&game_id=7", secret=None))
    assert (event["token_type"], event["tokens"], event["secret"]) == ("sfu:read", 3, None)
    assert event["url"] == "/list?domain=x&game_id=7"


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_tracebacks_are_redacted(stream: io.StringIO) -> None:
    configure("debug", stream=stream)
    try:
        raise ValueError(f"bad {TOKEN}")
    except ValueError:
        structlog.get_logger().exception("oops")
        logging.getLogger("x").exception("oops")
    assert stream.getvalue().count("ValueError: bad [redacted]") == 2
    assert TOKEN not in stream.getvalue()


def test_other_packages_are_redacted() -> None:
    stream = io.StringIO()
    configure("info", stream=stream)
    logging.getLogger("x").warning("GET /list?token=%s", "hunter2")
    assert json.loads(stream.getvalue())["event"] == f"GET /list?token={REDACTED}"


@pytest.mark.timeout(30)  # a fraction of a second, or hours
@pytest.mark.parametrize(
    "piece", ["a", "?", "&token", "bearer ", "bearer\t", "://", "eyJ-", "eyJa.", "&token=", ";"]
)
def test_redaction_takes_linear_time(piece: str) -> None:
    redacted_text("eyJ" + piece * 500_000)

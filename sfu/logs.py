"""Logging: structlog, one line per event on standard error, for people on a terminal and as JSON elsewhere.

Tokens, passwords and secrets do not get into the log, whoever logs them: values under telling names are
replaced, and so is whatever looks like a token inside a text, tracebacks included. Records of the standard
library's logging (from packages that we use) take the same way.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, NoReturn, TextIO

import structlog

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "silent": logging.CRITICAL + 10,
}
REDACTED: Final = "[redacted]"
_MAX_DEPTH: Final = 6
"""Levels of nesting that are looked into; what is deeper is left out."""

_TELLING: Final = re.compile(
    r"token|passw|passphrase|secret|authorization|cookie|credential|private_?key", re.IGNORECASE
)
_HARMLESS: Final = frozenset({"token_type", "tokens", "token_count", "require_write_token"})
# Every pattern takes linear time: repetitions are bounded, or cannot start within themselves.
_IN_TEXT: Final = (
    # A token, a password or a secret in a URL's query.
    (
        re.compile(r"(?i)([?&;][^=&?;\s]{0,40}(?:token|passw|secret|credential)[^=&?;\s]{0,40}=)[^&#\s\"']+"),
        rf"\1{REDACTED}",
    ),
    # Authorization headers.
    (re.compile(r"(?i)\b(bearer|basic)\s++[A-Za-z0-9+/=._~-]{8,}+"), rf"\1 {REDACTED}"),
    # A JWS in compact form: it begins with {" in base64.
    (re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{4,}+\.[A-Za-z0-9_-]*+(?:\.[A-Za-z0-9_-]*+)?"), REDACTED),
    # User name and password in a URL.
    (re.compile(r"(://)[^/\s@]++@"), rf"\1{REDACTED}@"),
)


def configure(level: str, *, stream: TextIO | None = None) -> None:
    """Set up logging for this process.

    :param level: one of :data:`LEVELS`.
    :param stream: standard error if not given; colours and columns if it is a terminal, else JSON.
    """
    stream = sys.stderr if stream is None else stream
    threshold = LEVELS[level]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if stream.isatty():
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    last: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, redact, renderer]
    structlog.configure(
        processors=[*shared, *last] if threshold <= logging.CRITICAL else [_drop],
        wrapper_class=structlog.make_filtering_bound_logger(min(threshold, logging.CRITICAL)),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    # They log every request at INFO and every header at DEBUG.
    for name in ("httpx", "httpcore", "hpack"):
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


def _drop(_logger: object, _method: str, _event: MutableMapping[str, Any]) -> NoReturn:
    raise structlog.DropEvent


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor that takes secrets out of an event."""
    return _redacted_mapping(event, 0)


def redacted_text(text: str) -> str:
    """A text without what looks like a token or a password in it."""
    for pattern, replacement in _IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _redacted_mapping(values: Mapping[str, Any], depth: int) -> dict[str, Any]:
    return {
        key: REDACTED if _is_telling(key) and value is not None else _redacted(value, depth)
        for key, value in values.items()
    }


def _is_telling(key: object) -> bool:
    name = str(key)
    return name.lower() not in _HARMLESS and _TELLING.search(name) is not None


def _redacted(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, bytes):
        return redacted_text(value.decode("latin-1"))
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth >= _MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return _redacted_mapping(value, depth + 1)
    if isinstance(value, list | tuple | set | frozenset):
        match list(value):
            case [str(key), _] if _is_telling(key):  # a header, or a parameter of a query
                return [key, REDACTED]
        return [_redacted(item, depth + 1) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redacted_text(repr(value))

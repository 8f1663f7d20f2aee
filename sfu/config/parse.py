"""How the text of each setting is read (``signaling.md`` 8).

Each function takes a trimmed, non-empty text and a callback for warnings; it raises ValueError with a reason
that can follow "must be". The original took anything for a switch and the leading digits for a number; so do
we, with a warning, but ``true`` and ``false``, ``yes`` and ``no``, ``on`` and ``off`` mean what they say.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from pydantic import SecretStr

Warn: TypeAlias = Callable[[str], None]
Parser: TypeAlias = Callable[[str, Warn], Any]

VIDEO_CODECS: Final = ("VP9", "H264", "VP8", "AV1")
"""All that the router can offer, in the order in which it does by default."""
_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})


def plain(text: str, _: Warn) -> str:
    if not text.isprintable():  # nor encodable, where the environment was not UTF-8
        raise ValueError("printable text")
    return text


def secret(text: str, _: Warn) -> SecretStr:
    if not text.isascii() or not text.isprintable():
        raise ValueError("printable ASCII, for example the output of: openssl rand -hex 32")
    return SecretStr(text)


def on_unless_off(text: str, warn: Warn) -> bool:
    """For what is on by default."""
    if text.lower() not in _YES | _NO:
        warn("is neither 0 nor 1, taken as 1")
    return text.lower() not in _NO


def off_unless_on(text: str, warn: Warn) -> bool:
    """For what is off by default."""
    if text.lower() not in _YES | _NO:
        warn("is neither 0 nor 1, taken as 0")
    return text.lower() in _YES


def whole(text: str, warn: Warn) -> int:
    """The leading decimal number."""
    match = re.match(r"[+-]?[0-9]{1,15}(?![0-9])", text)
    if match is None:
        raise ValueError("a whole number")
    number = int(match[0])
    if match.end() != len(text):
        warn(f"taken as {number}")
    return number


def number(text: str, _: Warn) -> float:
    """A decimal number, with or without a fraction."""
    if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?", text):
        raise ValueError("a number")
    return float(text)


def grace(text: str, warn: Warn) -> int:
    match = re.fullmatch(r"[0-9]{1,9}", text)
    if match is None:
        warn("must be a whole number of seconds, taken as 30")
    return int(text) if match else 30


def workers(text: str, warn: Warn) -> int | None:
    """None for as many as there are processors."""
    if text.lower() == "auto":
        return None
    match = re.match(r"[0-9]{1,9}(?![0-9])", text)
    number = int(match[0]) if match else 0
    if number < 1:
        warn("must be a whole number from 1 up, or auto; taken as 1")
    return max(number, 1)


def address(text: str, _: Warn) -> str:
    try:
        return str(ipaddress.ip_address("127.0.0.1" if text.lower() == "localhost" else text))
    except ValueError:
        raise ValueError("an IP address of this machine, 0.0.0.0 or ::") from None


_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?"
)


def announced(text: str, _: Warn) -> tuple[str, ...]:
    """Addresses or host names; those that nobody can reach are refused."""
    words = _words(text)
    for word in words:
        try:
            address = ipaddress.ip_address(word)
        except ValueError:
            if not _HOST_NAME.fullmatch(word) or re.fullmatch(r"[0-9.]+", word):
                raise ValueError("IP addresses or host names that browsers can reach") from None
        else:
            if address.is_unspecified or address.is_multicast:
                raise ValueError("addresses that browsers can reach, not 0.0.0.0 or the like")
    return words


Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(text: str, _: Warn) -> tuple[Network, ...]:
    """Addresses and networks; the word ``none`` for an empty list."""
    if text.lower() == "none":
        return ()
    try:
        return tuple(ipaddress.ip_network(word) for word in _words(text))
    except ValueError:
        raise ValueError("addresses or networks like 127.0.0.1 10.0.0.0/8, or none") from None


def base_url(text: str, warn: Warn) -> str:
    plain(text, warn)
    try:
        url = urlsplit(text)
        good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        good = False
    else:
        if url.username is not None or url.query or url.fragment:
            raise ValueError("a URL without user name, query and fragment")
    if not good:
        raise ValueError("a URL like http://romm:8080")
    return text.rstrip("/")


def redis_url(text: str, warn: Warn) -> str:
    plain(text, warn)
    try:
        url = urlsplit(text)
        place = {"redis": url.hostname, "rediss": url.hostname, "unix": url.path}.get(url.scheme)
        good = bool(place) and url.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("a URL like redis://localhost:6379/0, rediss://user:password@host or unix:///path")
    return text


def socket_path(text: str, _: Warn) -> str:
    """A path with a slash at both ends, which are supplied if missing."""
    if not re.fullmatch(r"/?[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*/?", text):
        raise ValueError("a path like /socket.io/")
    return f"/{text.strip('/')}/"


def header_name(text: str, _: Warn) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", text):
        raise ValueError("the name of an HTTP header, like X-Forwarded-User")
    return text


def origins(text: str, _: Warn) -> tuple[str, ...]:
    words = _words(text)
    for word in words:
        if word != "*" and not re.fullmatch(r"https?://[^/?#@\s]+", word):
            raise ValueError("* or origins like https://games.example")
    return words


def codecs(text: str, _: Warn) -> tuple[str, ...]:
    words = _words(text.upper())
    if not words or set(words) - set(VIDEO_CODECS):
        raise ValueError(f"one or more of {', '.join(VIDEO_CODECS)}")
    return words


def write_token(text: str, _: Warn) -> str:
    meanings = {"0": "off", "false": "off", "no": "off", "1": "room", "true": "room", "yes": "room"}
    word = meanings.get(text.lower(), text.lower())
    if word not in ("off", "room", "connect"):
        raise ValueError("off, room or connect")
    return word


def log_level(text: str, warn: Warn) -> str:
    word = {"warning": "warn"}.get(text.lower(), text.lower())
    if word not in ("debug", "info", "warn", "error", "silent"):
        warn("must be debug, info, warn, error or silent; taken as warn")
        return "warn"
    return word


def allowlist_format(text: str, _: Warn) -> str:
    if text.lower() not in ("string", "hash"):
        raise ValueError("string or hash")
    return text.lower()


def upper(text: str, warn: Warn) -> str:
    return plain(text, warn).upper()


def _words(text: str) -> tuple[str, ...]:
    """Words separated by commas and blanks, each once."""
    return tuple(dict.fromkeys(word for word in re.split(r"[\s,]+", text) if word))

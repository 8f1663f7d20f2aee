"""STUN and TURN servers for browsers, out of the environment (``signaling.md`` 1.8 and 8.4).

What a browser would choke on is left out with a warning: one bad URL makes ``RTCPeerConnection`` throw, and
with that the whole list is lost. The forms are those of RFC 7064, ``stun:host[:port]``, and RFC 7065,
``turn:host[:port][?transport=udp|tcp]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

DEFAULT_STUN: Final = "stun:stun.l.google.com:19302"
STUN_VARIABLES: Final = ("SFU_STUN_SERVERS", "STUN_SERVERS")
"""The first one that is not blank counts."""
TURN_VARIABLE: Final = "SFU_TURN_SERVERS"
TURN_NUMBERS: Final = range(1, 5)
"""``SFU_TURN_SERVER1`` to ``4``, with ``SFU_TURN_USERn`` and ``SFU_TURN_PASSn``."""
ICE_VARIABLES: Final = (
    *STUN_VARIABLES,
    TURN_VARIABLE,
    *(f"SFU_TURN_{part}{number}" for number in TURN_NUMBERS for part in ("SERVER", "USER", "PASS")),
)
"""All that are looked at."""

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9._])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"


@dataclass(frozen=True, slots=True)
class _Kind:
    """STUN or TURN."""

    name: str
    scheme: re.Pattern[str]
    other: re.Pattern[str]
    """Scheme of the other kind, which has no place here."""
    url: re.Pattern[str]


_STUN_SCHEME: Final = re.compile(r"stuns?:", re.IGNORECASE)
_TURN_SCHEME: Final = re.compile(r"turns?:", re.IGNORECASE)
_STUN: Final = _Kind("stun", _STUN_SCHEME, _TURN_SCHEME, re.compile(rf"stuns?:{_HOST}", re.IGNORECASE))
_TURN: Final = _Kind(
    "turn",
    _TURN_SCHEME,
    _STUN_SCHEME,
    re.compile(rf"turns?:{_HOST}(?:\?transport=(?:udp|tcp))?", re.IGNORECASE),
)


@dataclass(frozen=True, slots=True)
class IceServer:
    """An entry of ``RTCConfiguration.iceServers``."""

    urls: str | tuple[str, ...]
    """A string or a list on the wire, as the source of the entry has it."""
    username: str | None = None
    credential: str | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The entry as browsers take it."""
        urls = self.urls if isinstance(self.urls, str) else list(self.urls)
        if self.username is None:
            return {"urls": urls}
        return {"urls": urls, "username": self.username, "credential": self.credential}


def ice_servers(environ: Mapping[str, str]) -> tuple[tuple[IceServer, ...], list[str]]:
    """All servers in order (STUN, JSON TURN, numbered TURN), and warnings about what was left out.

    Warnings never repeat what was configured: there may be a password in it.
    """
    warnings: list[str] = []
    servers = [*_stun(environ, warnings), *_json_turn(environ, warnings), *_numbered_turn(environ, warnings)]
    return tuple(servers), warnings


def _stun(environ: Mapping[str, str], warnings: list[str]) -> list[IceServer]:
    for name in STUN_VARIABLES:
        if environ.get(name, "").strip():
            return [IceServer(url) for url in _urls(_STUN, environ[name], name, warnings)]
    return [IceServer(DEFAULT_STUN)]


def _json_turn(environ: Mapping[str, str], warnings: list[str]) -> list[IceServer]:
    text = environ.get(TURN_VARIABLE, "").strip()
    if not text:
        return []
    try:
        entries = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        warnings.append(f"{TURN_VARIABLE}: ignored, it must be a JSON array of {_SHAPE}")
        return []
    servers = []
    for position, entry in enumerate(entries, 1):
        server = _turn_entry(entry, f"{TURN_VARIABLE}, entry {position}", warnings)
        if server is None:
            warnings.append(f"{TURN_VARIABLE}, entry {position}: left out, it must be like {_SHAPE}")
        else:
            servers.append(server)
    return servers


_SHAPE: Final = '{"urls": "turn:host:port", "username": "…", "credential": "…"}'


def _turn_entry(entry: Any, where: str, warnings: list[str]) -> IceServer | None:
    if not isinstance(entry, dict):
        return None
    given = entry.get("urls")
    texts = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    urls = [url for text in texts if isinstance(text, str) for url in _urls(_TURN, text, where, warnings)]
    username = _string(entry.get("username"))
    credential = _string(entry.get("credential"))
    if not urls or not username or not credential:
        return None
    return IceServer(urls[0] if len(urls) == 1 else tuple(urls), username, credential)


def _string(value: Any) -> str:
    """Numbers and booleans are taken as their JSON text, anything else as nothing."""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode() if isinstance(value, int | float) else ""


def _numbered_turn(environ: Mapping[str, str], warnings: list[str]) -> list[IceServer]:
    servers = []
    for number in TURN_NUMBERS:
        names = (f"SFU_TURN_SERVER{number}", f"SFU_TURN_USER{number}", f"SFU_TURN_PASS{number}")
        server, user, password = (environ.get(name, "").strip() for name in names)
        urls = _urls(_TURN, server, names[0], warnings)
        if urls and user and password:
            servers.append(IceServer(tuple(urls), user, password))
        elif server or user or password:
            warnings.append(f"{names[0]}: left out, it takes all of {', '.join(names)}")
    return servers


def _urls(kind: _Kind, text: str, where: str, warnings: list[str]) -> list[str]:
    """The good URLs among words separated by commas and blanks; the kind's scheme is supplied if missing."""
    urls = []
    for position, word in enumerate(re.split(r"[\s,]+", text.strip(" \t\r\n,")), 1):
        bare = word.removeprefix("//")
        url = bare if kind.scheme.match(bare) else f"{kind.name}:{bare}"
        if not kind.other.match(bare) and _valid(kind.url, url):
            urls.append(url)
        elif word:
            warnings.append(f"{where}: left out word {position}, not like {kind.name}:host:port")
    return urls


def _valid(pattern: re.Pattern[str], url: str) -> bool:
    if not pattern.fullmatch(url):
        return False
    port = re.search(r":([0-9]+)(?:\?|$)", url.partition(":")[2].rpartition("]")[2])
    return port is None or 1 <= int(port[1]) <= 65535

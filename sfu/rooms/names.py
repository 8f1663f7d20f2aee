"""Names, passwords and modes: the small values a client chooses for a room.

Each ``parse_*_untrusted`` takes any decoded JSON value and returns the clean one or raises :class:`Refused`.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sfu.rooms.limits import DEFAULT_LIMITS, RoomLimits

MAX_PLAYERS = 8
"""Seats that a room can have; slot 8 means spectator, so slots are 0 to 7."""

DEFAULT_PLAYERS = 4

_MAX_DIGITS = 64

_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})


class Refused(Exception):
    """A command that is turned down; nothing has changed. ``error`` is what the client's ack carries."""

    def __init__(self, error: str | Mapping[str, Any]) -> None:
        super().__init__(error)
        self.error = error


class Mode(StrEnum):
    """How a room plays. On the wire also 0, 1 and 2, in this order."""

    LIVE_STREAM = "live_stream"
    DELAY_SYNC = "delay_sync"
    ARCADE = "arcade"


class Phase(StrEnum):
    """Where a room stands; rooms that stream live are ``running`` from the start."""

    LOBBY = "lobby"
    PREPARE = "prepare"
    RUNNING = "running"


class LobbyPhase(StrEnum):
    """The same as the second lobby API calls it."""

    WAITING = "waiting"
    READY = "ready"
    LAUNCHING = "launching"
    STARTED = "started"


_MODES: dict[object, Mode] = {mode.value: mode for mode in Mode} | dict(enumerate(Mode))


def parse_room_name_untrusted(value: object, limits: RoomLimits = DEFAULT_LIMITS) -> str:
    """Trim a room name: 1 to 64 code points by default, no controls, no bidirectional marks."""
    if not isinstance(value, str):
        raise Refused("invalid")
    name = value.strip()
    if not 1 <= len(name) <= limits.room_name_length:
        raise Refused("invalid")
    if any(unicodedata.category(char) in _REFUSED_CATEGORIES or char in _BIDI_CONTROLS for char in name):
        raise Refused("invalid")
    return name


def parse_password_untrusted(value: object, limits: RoomLimits = DEFAULT_LIMITS) -> str:
    """The password of a new room; none and the empty string both mean an open room."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > limits.password_length:
        raise Refused("invalid")
    return value


def parse_max_players_untrusted(value: object) -> int:
    """The number of seats: 1 to 8, by default 4, as a number or a numeric string."""
    if value is None:
        return DEFAULT_PLAYERS
    number = whole_number(value)
    if number is None and isinstance(value, str) and value.isascii() and value.strip().isdigit():
        number = int(value) if len(value) <= _MAX_DIGITS else None
    if number is None or not 1 <= number <= MAX_PLAYERS:
        raise Refused("invalid")
    return number


def parse_mode_untrusted(value: object) -> Mode:
    """A mode by name or number; anything else is a live stream, as it is for the reference."""
    return known_mode_untrusted(value) or Mode.LIVE_STREAM


def known_mode_untrusted(value: object) -> Mode | None:
    """A mode by name or number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return _MODES.get(value)


def whole_number(value: object) -> int | None:
    """``value`` as an int if it is a JSON number without a fraction, else None. Booleans are not numbers."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None


def same_password(expected: str, given: object) -> bool:
    """Compare in constant time. Only a string can be right."""
    if not isinstance(given, str):
        return False
    return hmac.compare_digest(
        expected.encode("utf-8", "surrogatepass"), given.encode("utf-8", "surrogatepass")
    )

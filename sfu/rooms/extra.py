"""``extra``: the free-form object in which a client describes itself and, when opening, its room.

What a client sends is shown to the whole room, so it is bounded in size, depth and count, must be plain JSON,
and keys whose meaning is the server's to decide are dropped: otherwise a guest could wear the host's badge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sfu.rooms.limits import DEFAULT_LIMITS, RoomLimits
from sfu.rooms.names import Refused, parse_room_name_untrusted
from sfu.rooms.slots import SPECTATOR, wanted_slot

Json: TypeAlias = Any
"""A value that JSON can carry."""

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest whole number that a browser keeps exactly."""

SERVER_KEYS = frozenset(
    {
        "is_host", "isHost", "host", "reconnecting", "disconnectedAt", "ready", "validationStatus",
        "validationReason", "socketId", "socket_id", "userid", "player_name", "netplay_username", "slot",
        "is_spectator", "__proto__",
    }
)  # fmt: skip
"""Keys that a client's word does not count for."""

_VALUE_COST = 8


@dataclass(frozen=True, slots=True)
class Extra:
    """A client's ``extra``, cleaned."""

    room_name: str
    """Trimmed and checked."""
    wanted: int | None
    """The slot asked for; None if the client leaves the choice to the server."""
    fields: Mapping[str, Json]
    """The client's own keys with bounded JSON values, in its order; ``room_name`` is the trimmed one."""


def parse_extra_untrusted(value: object, limits: RoomLimits = DEFAULT_LIMITS) -> Extra:
    """Clean an ``extra``; :class:`Refused` ``invalid`` if it has no usable room name or is out of bounds."""
    if not isinstance(value, dict):
        raise Refused("invalid")
    room_name = parse_room_name_untrusted(value.get("room_name"), limits)
    if len(value) > limits.extra_keys:
        raise Refused("invalid")
    check_json_untrusted(value, max_bytes=limits.extra_bytes, max_depth=limits.extra_depth)
    fields = {key: item for key, item in value.items() if key not in SERVER_KEYS}
    fields["room_name"] = room_name
    wanted = SPECTATOR if value.get("is_spectator") is True else wanted_slot(value.get("player_slot"))
    return Extra(room_name, wanted, fields)


def check_json_untrusted(value: object, *, max_bytes: int, max_depth: int) -> None:
    """Raise :class:`Refused` ``invalid`` unless ``value`` is plain JSON within the bounds.

    Walks with a stack of its own: depth costs nothing before it is refused.
    """
    budget = max_bytes
    pending: list[tuple[object, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        match item:
            case str():
                budget -= _text_cost(item)
            case None | bool():
                budget -= _VALUE_COST
            case int() if abs(item) <= MAX_SAFE_INTEGER:
                budget -= _VALUE_COST
            case float() if math.isfinite(item):
                budget -= _VALUE_COST
            case dict() if depth <= max_depth:
                budget -= _VALUE_COST * (len(item) + 1)
                for key, inner in item.items():
                    if not isinstance(key, str):
                        raise Refused("invalid")
                    budget -= _text_cost(key)
                    pending.append((inner, depth + 1))
            case list() if depth <= max_depth:
                budget -= _VALUE_COST * (len(item) + 1)
                if budget >= 0:
                    pending.extend((inner, depth + 1) for inner in item)
            case _:
                raise Refused("invalid")
        if budget < 0:
            raise Refused("invalid")


def _text_cost(text: str) -> int:
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:  # a lone surrogate has no place on the wire
        raise Refused("invalid") from None

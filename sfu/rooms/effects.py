"""What follows from a command, in the order in which it has to be done.

Effects name sockets by id: connected members of the room concerned, and the one that a command sends away.
They share structure with the model's state, which changes no value in place once it has been in an effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
"""One member as others see it."""

UserMap: TypeAlias = dict[str, Row]
"""Rows by userid."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The caller's ack: no error and, if given, one value."""

    value: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The caller's ack: an error."""

    error: str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One event with one payload for some sockets."""

    to: tuple[str, ...]
    event: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UsersUpdated:
    """``users-updated``: who is in a room."""

    to: tuple[str, ...]
    """Sockets that get exactly ``users``."""
    users: UserMap
    plus_own: tuple[tuple[str, str, Row], ...] = ()
    """(socket, userid, row): sockets that get ``users`` and, after it, their own row, which is not in it."""


@dataclass(frozen=True, slots=True)
class RoomsUpdated:
    """``rooms-updated`` with :meth:`sfu.rooms.model.Rooms.listing`, for every socket of the node."""


@dataclass(frozen=True, slots=True)
class CloseMedia:
    """Close all media of a socket, which is no longer a member (or has been replaced)."""

    socket_id: str
    tell: tuple[str, ...]
    """Connected members of the room, who learn that these producers are gone."""


@dataclass(frozen=True, slots=True)
class CloseRoom:
    """A room is gone: its media router may go, its name is free."""

    room_id: str


@dataclass(frozen=True, slots=True)
class DropSocket:
    """Disconnect a socket whose user has taken over on another one."""

    socket_id: str


@dataclass(frozen=True, slots=True)
class RegistryChanged:
    """The registry's record of this name is out of date: write what the model has now, or delete it."""

    room_name: str


Effect: TypeAlias = (
    Accepted
    | Rejected
    | Broadcast
    | UsersUpdated
    | RoomsUpdated
    | CloseMedia
    | CloseRoom
    | DropSocket
    | RegistryChanged
)

"""What can happen to rooms. A command carries clean values and needs nothing looked up outside the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from sfu.rooms.extra import Extra


@dataclass(frozen=True, slots=True)
class Caller:
    """Who acts: an authenticated user on one socket."""

    socket_id: str
    userid: str
    """Derived from the verified token; one user may have several sockets."""
    name: str
    """The token's ``sub``, shown to others."""


@dataclass(frozen=True, slots=True)
class OpenRoom:
    """Make a room, or take back one's own."""

    caller: Caller
    extra: Extra
    max_players: int
    password: str
    rival_seen: float | None = None
    """When the caller's entry in that room was last heard of on another, still connected socket
    (:meth:`sfu.rooms.model.Rooms.rival`); None if there is no such socket."""


@dataclass(frozen=True, slots=True)
class JoinRoom:
    """Enter a room, or enter it again."""

    caller: Caller
    extra: Extra
    password: object = None
    """As the client sent it; only the right string opens a room that has a password."""
    rival_seen: float | None = None
    """As in :class:`OpenRoom`."""


@dataclass(frozen=True, slots=True)
class LeaveRoom:
    socket_id: str
    room_name: str | None = None
    """None: the room that the socket is in."""


@dataclass(frozen=True, slots=True)
class ChangeSlot:
    socket_id: str
    room_name: str
    slot: int | None
    """None: the client sent something that is not a whole number."""


@dataclass(frozen=True, slots=True)
class StartMedia:
    """The socket has media of its own now: what its user left on earlier sockets may go."""

    socket_id: str


@dataclass(frozen=True, slots=True)
class LoseSocket:
    """The socket is gone, for whatever reason."""

    socket_id: str


Command: TypeAlias = OpenRoom | JoinRoom | LeaveRoom | ChangeSlot | StartMedia | LoseSocket

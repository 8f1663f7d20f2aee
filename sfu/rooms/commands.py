"""What can happen to rooms. Needs nothing looked up outside the model.

A field of type ``object`` is what a client sent, for the model to judge; all others are clean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sfu.rooms.extra import Extra, Json


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
    """Give up one's place, also one that is kept while one is away."""

    caller: Caller
    room_name: str | None = None
    """None: the room that the socket is in."""


@dataclass(frozen=True, slots=True)
class ChangeSlot:
    socket_id: str
    room_name: str
    slot: int | None
    """None: the client sent something that is not a whole number."""


@dataclass(frozen=True, slots=True)
class CreateRoom:
    """Make a room over HTTP, without being in it yet."""

    userid: str
    name: str
    room_name: str
    max_players: int
    password: str
    fields: Mapping[str, Json]
    """What is said about the room, cleaned like an ``extra`` and under the same names."""


@dataclass(frozen=True, slots=True)
class ReserveSeat:
    """Hold a seat over HTTP."""

    userid: str
    name: str
    room_name: str
    password: object = None


@dataclass(frozen=True, slots=True)
class ReleaseSeat:
    """Give up the seat that is held for one over HTTP, if there is one."""

    userid: str
    room_name: str


@dataclass(frozen=True, slots=True)
class UpdateRoomMetadata:
    socket_id: str
    room_name: str
    metadata: object


@dataclass(frozen=True, slots=True)
class UpdatePlayerMetadata:
    socket_id: str
    room_name: str
    metadata: object


@dataclass(frozen=True, slots=True)
class ToggleReady:
    socket_id: str
    room_name: str


@dataclass(frozen=True, slots=True)
class SetReady:
    """``player-ready`` and ``player-unready``."""

    socket_id: str
    room_name: str
    ready: bool


@dataclass(frozen=True, slots=True)
class StartGame:
    """Have all players go to their first frame."""

    socket_id: str
    room_name: str


@dataclass(frozen=True, slots=True)
class ReadyAtFrame:
    """A player has got there: ``ready-at-frame-1``."""

    socket_id: str
    room_name: str
    frame: object


@dataclass(frozen=True, slots=True)
class LaunchGame:
    """Start at once, without anyone being waited for."""

    socket_id: str
    room_name: str


@dataclass(frozen=True, slots=True)
class JoinInfo:
    """What a member plays with, to be compared with the room's game."""

    socket_id: str
    room_name: str
    rom_hash: object
    emulator_id: object
    emulator_version: object
    netplay_mode: object = None


@dataclass(frozen=True, slots=True)
class Chat:
    """A message to everyone in the socket's room. There is no ack: only a refusal is answered."""

    socket_id: str
    message: object
    message_id: str
    """Unique; clients tell messages apart by it."""


@dataclass(frozen=True, slots=True)
class PauseHost:
    """``netplay-host-paused`` and ``netplay-host-resumed``."""

    socket_id: str
    room_name: str | None
    """None, or a room that the socket is not in: the one it is in."""
    paused: bool


@dataclass(frozen=True, slots=True)
class StartMedia:
    """The socket has media of its own now: what its user left on earlier sockets may go."""

    socket_id: str


@dataclass(frozen=True, slots=True)
class LoseSocket:
    """The socket is gone, for whatever reason."""

    socket_id: str


Command: TypeAlias = (
    OpenRoom
    | JoinRoom
    | LeaveRoom
    | ChangeSlot
    | CreateRoom
    | ReserveSeat
    | ReleaseSeat
    | UpdateRoomMetadata
    | UpdatePlayerMetadata
    | ToggleReady
    | SetReady
    | StartGame
    | ReadyAtFrame
    | LaunchGame
    | JoinInfo
    | Chat
    | PauseHost
    | StartMedia
    | LoseSocket
)

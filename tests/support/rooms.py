"""A model with a clock, and clients that act on it, for tests."""

from __future__ import annotations

import itertools
from typing import Any

from sfu.rooms import (
    Accepted,
    Broadcast,
    Caller,
    ChangeSlot,
    Chat,
    CloseMedia,
    CreateRoom,
    Effect,
    JoinInfo,
    JoinRoom,
    LaunchGame,
    LeaveRoom,
    LoseSocket,
    OpenRoom,
    PauseHost,
    ReadyAtFrame,
    Rejected,
    ReleaseSeat,
    ReserveSeat,
    Rooms,
    RoomsUpdated,
    SetReady,
    StartGame,
    StartMedia,
    ToggleReady,
    UpdatePlayerMetadata,
    UpdateRoomMetadata,
    UsersUpdated,
    parse_extra_untrusted,
)
from sfu.rooms.names import parse_max_players_untrusted, parse_password_untrusted
from sfu.rooms.room import Room
from sfu.rooms.slots import wanted_slot


class World:
    """Rooms in virtual time, where milliseconds since 1970 are a thousand times the clock's seconds.

    A socket's name is its user's with anything after a dash: ``ann``, ``ann-2``.
    """

    def __init__(self, **settings: Any) -> None:
        ids = itertools.count(1)
        self._message_ids = itertools.count(1)
        self.rooms = Rooms(lambda: f"room-{next(ids)}", wall_ms=lambda now: round(now * 1000), **settings)
        self.now = 1000.0
        self.last_seen: dict[str, float] = {}

    def caller(self, socket: str) -> Caller:
        user = socket.split("-")[0]
        return Caller(socket, f"id:{user}", user)

    def open(
        self, socket: str, room: str = "R", *, max_players: Any = 4, password: Any = None, **extra: Any
    ) -> list[Effect]:
        caller = self.caller(socket)
        return self.rooms.handle(
            OpenRoom(
                caller,
                parse_extra_untrusted({"room_name": room, **extra}),
                parse_max_players_untrusted(max_players),
                parse_password_untrusted(password),
                self._rival_seen(room, caller),
            ),
            self.now,
        )

    def join(self, socket: str, room: str = "R", *, password: Any = None, **extra: Any) -> list[Effect]:
        caller = self.caller(socket)
        command = JoinRoom(
            caller,
            parse_extra_untrusted({"room_name": room, **extra}),
            password,
            self._rival_seen(room, caller),
        )
        return self.rooms.handle(command, self.now)

    def leave(self, socket: str, room: str | None = None) -> list[Effect]:
        return self.rooms.handle(LeaveRoom(self.caller(socket), room), self.now)

    def slot(self, socket: str, slot: Any, room: str = "R") -> list[Effect]:
        return self.rooms.handle(ChangeSlot(socket, room, wanted_slot(slot)), self.now)

    def lose(self, socket: str) -> list[Effect]:
        return self.rooms.handle(LoseSocket(socket), self.now)

    def media(self, socket: str) -> list[Effect]:
        return self.rooms.handle(StartMedia(socket), self.now)

    # Over HTTP

    def create(
        self, user: str, room: str = "R", *, max_players: int = 4, password: str = "", **fields: Any
    ) -> list[Effect]:
        return self.rooms.handle(
            CreateRoom(f"id:{user}", user, room, max_players, password, fields), self.now
        )

    def reserve(self, user: str, room: str = "R", *, password: Any = None) -> list[Effect]:
        return self.rooms.handle(ReserveSeat(f"id:{user}", user, room, password), self.now)

    def release(self, user: str, room: str = "R") -> list[Effect]:
        return self.rooms.handle(ReleaseSeat(f"id:{user}", room), self.now)

    # Said in a room

    def describe_room(self, socket: str, metadata: Any, room: str = "R") -> list[Effect]:
        return self.rooms.handle(UpdateRoomMetadata(socket, room, metadata), self.now)

    def describe_player(self, socket: str, metadata: Any, room: str = "R") -> list[Effect]:
        return self.rooms.handle(UpdatePlayerMetadata(socket, room, metadata), self.now)

    def info(
        self, socket: str, rom: Any = None, core: Any = None, version: Any = None, *, mode: Any = None,
        room: str = "R",
    ) -> list[Effect]:  # fmt: skip
        return self.rooms.handle(JoinInfo(socket, room, rom, core, version, mode), self.now)

    def chat(self, socket: str, message: Any) -> list[Effect]:
        return self.rooms.handle(Chat(socket, message, f"m{next(self._message_ids)}"), self.now)

    def pause(self, socket: str, *, room: str | None = None, paused: bool = True) -> list[Effect]:
        return self.rooms.handle(PauseHost(socket, room, paused), self.now)

    # In the lobby

    def toggle(self, socket: str, room: str = "R") -> list[Effect]:
        return self.rooms.handle(ToggleReady(socket, room), self.now)

    def ready(self, socket: str, *, ready: bool = True, room: str = "R") -> list[Effect]:
        return self.rooms.handle(SetReady(socket, room, ready), self.now)

    def start(self, socket: str, room: str = "R") -> list[Effect]:
        return self.rooms.handle(StartGame(socket, room), self.now)

    def at_frame(self, socket: str, frame: Any = 1, room: str = "R") -> list[Effect]:
        return self.rooms.handle(ReadyAtFrame(socket, room, frame), self.now)

    def launch(self, socket: str, room: str = "R") -> list[Effect]:
        return self.rooms.handle(LaunchGame(socket, room), self.now)

    # Time

    def sleep(self, seconds: float) -> list[Effect]:
        """Let time pass, running every timer when it is due."""
        end = self.now + seconds
        effects: list[Effect] = []
        while (timer := self.rooms.get_timer()) is not None and timer <= end:
            self.now = max(self.now, timer)
            effects += self.rooms.handle_timer(self.now)
        self.now = end
        return effects

    def room(self, name: str = "R") -> Room:
        room = self.rooms.get(name)
        assert room is not None
        return room

    def slots(self, name: str = "R") -> dict[str, int]:
        return {member.name: member.slot for member in self.room(name).members.values()}

    def _rival_seen(self, room: str, caller: Caller) -> float | None:
        rival = self.rooms.rival(room, caller)
        return self.last_seen.get(rival, self.now) if rival is not None else None


def error(effects: list[Effect]) -> Any:
    """The error of a refused command, which must be all that there is."""
    [refusal] = effects
    assert isinstance(refusal, Rejected)
    return refusal.error


def value(effects: list[Effect]) -> Any:
    """The value with which a command was accepted."""
    [accepted] = [effect for effect in effects if isinstance(effect, Accepted)]
    return accepted.value


def heard(effects: list[Effect], socket: str) -> list[Any]:
    """What one socket gets, in order: ``(event, payload)``, with ``"ack"`` where the caller's ack goes."""
    messages: list[Any] = []
    for effect in effects:
        match effect:
            case Broadcast(to, event, payload) if socket in to:
                messages.append((event, payload))
            case UsersUpdated(to, users, _) if socket in to:
                messages.append(("users-updated", users))
            case UsersUpdated(_, users, plus_own):
                messages += [
                    ("users-updated", users | {userid: row})
                    for name, userid, row in plus_own
                    if name == socket
                ]
            case RoomsUpdated():
                messages.append(("rooms-updated", None))
            case Accepted() | Rejected():
                messages.append(("ack", None))
            case _:
                pass
    return messages


def events(effects: list[Effect], socket: str) -> list[str]:
    return [event for event, _ in heard(effects, socket)]


def users(effects: list[Effect], socket: str) -> Any:
    """The last user map that a socket gets."""
    return [payload for event, payload in heard(effects, socket) if event == "users-updated"][-1]


def closed_media(effects: list[Effect]) -> list[str]:
    return [effect.socket_id for effect in effects if isinstance(effect, CloseMedia)]

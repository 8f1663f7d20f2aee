"""The state of all rooms, and one turn of acting on it: a command, or what is due."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sfu.rooms.effects import (
    Accepted,
    Broadcast,
    Effect,
    RegistryChanged,
    RoomsUpdated,
    UsersUpdated,
)
from sfu.rooms.limits import RoomLimits
from sfu.rooms.names import Refused
from sfu.rooms.pace import Deadlines, Due, Pace, Timer
from sfu.rooms.passwords import PasswordTries
from sfu.rooms.room import Member, Room
from sfu.rooms.settings import RoomSettings

ROOMS_INTERVAL = 0.25
"""Seconds between two ``rooms-updated`` to everyone, at least."""

_ALL_ROOMS = Due(Timer.ROOMS)


@dataclass(frozen=True, slots=True)
class Takeover:
    """When a user's connected socket may be replaced by another one of the same user."""

    allowed: bool
    grace: float
    """Seconds for which the socket must have been silent; 0 for none."""

    def is_due(self, rival_seen: float | None, now: float) -> bool:
        if not self.allowed:
            return False
        return self.grace <= 0 or (rival_seen is not None and now - rival_seen > self.grace)


class State:
    """All that the rooms of a node share."""

    def __init__(
        self,
        new_id: Callable[[], str],
        wall_ms: Callable[[float], int],
        limits: RoomLimits,
        takeover: Takeover,
    ) -> None:
        self.new_id = new_id
        self.wall_ms = wall_ms
        self.limits = limits
        self.takeover = takeover
        self.rooms: dict[str, Room] = {}
        """By name, in the order of opening."""
        self.by_id: dict[str, Room] = {}
        self.places: dict[str, tuple[Room, Member]] = {}
        """By the socket that a connected member is on."""
        self.deadlines = Deadlines()
        self.rooms_pace = Pace(ROOMS_INTERVAL)
        self.tries = PasswordTries(limits.password_tries)

    def room(self, name: str) -> Room:
        """Raises ``no such room``."""
        room = self.rooms.get(name)
        if room is None:
            raise Refused("no such room")
        return room

    def member(self, room: Room, socket_id: str) -> Member:
        """The member that this socket is; raises ``not in room``."""
        place = self.places.get(socket_id)
        if place is None or place[0] is not room:
            raise Refused("not in room")
        return place[1]

    def add_room(self, name: str, owner: str, settings: RoomSettings) -> Room:
        room = Room(self.new_id(), name, owner, settings, chat_history=self.limits.chat_history)
        self.rooms[name] = self.by_id[room.id] = room
        return room


@dataclass(slots=True)
class Turn:
    """Collects effects. Who raises :class:`Refused` must not have changed anything yet."""

    state: State
    now: float
    out: list[Effect] = field(default_factory=list)

    def accept(self, value: Mapping[str, Any] | None = None) -> None:
        self.out.append(Accepted(value))

    def tell(self, to: Iterable[str], event: str, payload: Mapping[str, Any]) -> None:
        """Send an event to some sockets, if there are any."""
        sockets = tuple(to)
        if sockets:
            self.out.append(Broadcast(sockets, event, payload))

    def tell_change(self, room: Room, member: Member, event: str, payload: Mapping[str, Any]) -> None:
        """Send an event about a member to those whom it concerns; the user map has to tell the others."""
        room.touch(member)
        self.tell((other.socket_id for other in room.told_of_changes_to(member)), event, payload)

    def tell_own_slot(self, member: Member) -> None:
        payload = {"playerId": member.userid, "playerSlot": member.slot}
        self.tell((member.socket_id,), "player-slot-updated", payload)

    def tell_users(self, room: Room) -> None:
        """Send the user map to those for whom it has changed, now or when the room's pace allows it."""
        when = room.users_pace.ask(self.now)
        due = Due(Timer.USERS, room.id)
        if when is None:
            self.state.deadlines.clear(due)
            self.flush_users(room)
        else:
            self.state.deadlines.set(due, when)

    def tell_users_to(self, room: Room, member: Member) -> None:
        """Send the user map to one member."""
        self.out.append(UsersUpdated((member.socket_id,), room.users_for(member)))

    def flush_users(self, room: Room) -> None:
        to, users, plus_own = room.users_news()
        if to or plus_own:
            self.out.append(UsersUpdated(to, users, plus_own))

    def tell_rooms(self) -> None:
        """Send the room list to everyone, now or when the pace allows it."""
        when = self.state.rooms_pace.ask(self.now)
        if when is None:
            self.state.deadlines.clear(_ALL_ROOMS)
            self.out.append(RoomsUpdated())
        else:
            self.state.deadlines.set(_ALL_ROOMS, when)

    def register(self, room: Room) -> None:
        """The registry's record of this room is out of date."""
        self.out.append(RegistryChanged(room.name))

    # Deadlines of rooms

    def remind(self, timer: Timer, room: Room, seconds: float, userid: str = "") -> None:
        self.state.deadlines.set(Due(timer, room.id, userid), self.now + seconds)

    def drop_reservations(self, room: Room) -> None:
        """Hold no seat for anybody any more."""
        for userid in room.reservations:
            self.forget(Timer.RESERVATION, room, userid)
        room.reservations.clear()

    def forget(self, timer: Timer, room: Room, userid: str = "") -> None:
        self.state.deadlines.clear(Due(timer, room.id, userid))

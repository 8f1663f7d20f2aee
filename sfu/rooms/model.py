"""The room model: commands in, effects out.

``handle(command, now)`` changes the state and returns what has to be done, in order; a refused command
changes nothing. ``get_timer()`` and ``handle_timer(now)`` do the same for what time brings. ``now`` is in
seconds on a monotonic clock. Nothing here waits, so every command is atomic; who awaits something before a
command may find that it is refused by then.

Invariants, whatever happens: a room has at least one member; its owner is one of them; players hold distinct
slots from 0 to ``max_players - 1``; a socket is in one room at most, and hears of no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from sfu.rooms import slots
from sfu.rooms.commands import (
    Caller,
    ChangeSlot,
    Command,
    JoinRoom,
    LeaveRoom,
    LoseSocket,
    OpenRoom,
    StartMedia,
)
from sfu.rooms.compat import check_compatible
from sfu.rooms.effects import (
    Accepted,
    Broadcast,
    CloseMedia,
    CloseRoom,
    DropSocket,
    Effect,
    RegistryChanged,
    Rejected,
    RoomsUpdated,
    UsersUpdated,
)
from sfu.rooms.extra import Extra
from sfu.rooms.limits import DEFAULT_LIMITS, RoomLimits
from sfu.rooms.names import Mode, Refused, same_password
from sfu.rooms.pace import Deadlines, Due, Pace, Timer
from sfu.rooms.room import Member, Room
from sfu.rooms.settings import RoomSettings
from sfu.rooms.slots import SPECTATOR

GRACE = 60.0
"""Seconds for which a member whose socket is lost keeps its place, and its media."""

ROOMS_INTERVAL = 0.25
"""Seconds between two ``rooms-updated`` to everyone, at least."""

MAX_ROOMS_INTERVAL = 10.0
"""The same at most, however large the list and the audience."""

MAX_OLD_SOCKETS = 4
"""Earlier sockets of one member whose media may still run; beyond it the oldest closes early."""

_ALL_ROOMS = Due(Timer.ROOMS)


class Rooms:
    """All rooms of a node."""

    def __init__(
        self,
        new_id: Callable[[], str],
        *,
        wall_ms: Callable[[float], int],
        allow_takeover: bool = True,
        takeover_grace: float = 30.0,
        limits: RoomLimits = DEFAULT_LIMITS,
    ) -> None:
        """``new_id`` makes unique room ids. ``wall_ms`` turns a time of the monotonic clock into
        milliseconds since 1970, for clients. ``takeover_grace`` is the silence in seconds, 0 for none, after
        which a user's connected socket may be replaced by another one of the same user."""
        self._new_id = new_id
        self._wall_ms = wall_ms
        self.limits = limits
        self._allow_takeover = allow_takeover
        self._takeover_grace = takeover_grace
        self._rooms: dict[str, Room] = {}
        self._by_id: dict[str, Room] = {}
        self._places: dict[str, tuple[Room, Member]] = {}
        self._deadlines = Deadlines()
        self._rooms_pace = Pace(ROOMS_INTERVAL)

    # Questions

    def __iter__(self) -> Iterator[Room]:
        return iter(self._rooms.values())

    def __len__(self) -> int:
        return len(self._rooms)

    def get(self, name: str) -> Room | None:
        return self._rooms.get(name)

    def by_id(self, room_id: str) -> Room | None:
        return self._by_id.get(room_id)

    def room_of(self, socket_id: str) -> Room | None:
        """The room in which this socket is the current socket of a member."""
        place = self._places.get(socket_id)
        return place[0] if place is not None else None

    def member_of(self, socket_id: str) -> Member | None:
        place = self._places.get(socket_id)
        return place[1] if place is not None else None

    def peers(self, socket_id: str) -> tuple[str, ...]:
        """The other connected sockets of the room that this socket is in; none if it is in no room."""
        room = self.room_of(socket_id)
        return room.sockets(besides=socket_id) if room is not None else ()

    def rival(self, room_name: str, caller: Caller) -> str | None:
        """The other, connected socket that holds the caller's entry in a room."""
        room = self._rooms.get(room_name)
        member = room.members.get(caller.userid) if room is not None else None
        if member is None or not member.connected or member.socket_id == caller.socket_id:
            return None
        return member.socket_id

    def state_for(self, socket_id: str, room_name: str) -> dict[str, Any]:
        """The value of a ``request-room-state`` ack; raises :class:`Refused`."""
        room = self._rooms.get(room_name)
        if room is None:
            raise Refused("no such room")
        place = self._places.get(socket_id)
        if place is None or place[0] is not room:
            raise Refused("not in room")
        return room.welcome(place[1])

    def signal_target(self, socket_id: str, target: object, room_name: object) -> str | None:
        """The socket that a ``webrtc-signal`` is for; None if it is to be dropped.

        Signals stay within a room. ``host`` is whatever socket the room's owner is on now.
        """
        room = self.room_of(socket_id)
        if room is None or not isinstance(target, str):
            return None
        if isinstance(room_name, str) and room_name.strip() not in ("", room.name):
            return None
        if target == "host":
            owner = room.members[room.owner]
            target = owner.socket_id if owner.connected else ""
        return target if target != socket_id and self.room_of(target) is room else None

    def http_room(self, room_name: str) -> dict[str, Any] | None:
        """A room as HTTP answers describe it; None if there is none of this name."""
        room = self._rooms.get(room_name)
        return room.http_view() if room is not None else None

    def listing(self) -> list[dict[str, Any]]:
        """The payload of ``rooms-updated``: rooms that have a player, in the order of opening."""
        newest = (room.list_entry() for room in reversed(self._rooms.values()) if room.player_count)
        return list(islice(newest, self.limits.listed_rooms))[::-1]

    def pace_listing(self, interval: float) -> None:
        """Let ``rooms-updated`` go out less often: the list has become costly. In seconds, within bounds."""
        self._rooms_pace.interval = min(max(interval, ROOMS_INTERVAL), MAX_ROOMS_INTERVAL)

    # Commands

    def handle(self, command: Command, now: float) -> list[Effect]:
        """Do a command. A refusal is the single effect :class:`Rejected`."""
        effects: list[Effect] = []
        try:
            match command:
                case OpenRoom():
                    self._open(command, now, effects)
                case JoinRoom():
                    self._join(command, now, effects)
                case LeaveRoom():
                    self._leave(command, now, effects)
                case ChangeSlot():
                    self._change_slot(command, now, effects)
                case StartMedia():
                    self._start_media(command.socket_id, effects)
                case LoseSocket():
                    self._lose_socket(command.socket_id, now, effects)
        except Refused as refusal:
            return [Rejected(refusal.error)]
        return effects

    def check_open(self, name: str, caller: Caller, rival_seen: float | None, now: float) -> None:
        """Raise :class:`Refused` if opening this room would be refused as things stand."""
        room = self._rooms.get(name)
        if room is None:
            if len(self._rooms) >= self.limits.rooms:
                raise Refused("too many rooms")
            return
        member = room.members.get(caller.userid)
        alone = len(room.members) == 1
        if member is None or not (alone or (room.owner == caller.userid and not member.connected)):
            raise Refused("room exists")
        if self.rival(name, caller) is not None and not self._may_take_over(rival_seen, now):
            raise Refused("room exists")

    def _open(self, command: OpenRoom, now: float, out: list[Effect]) -> None:
        caller, extra = command.caller, command.extra
        self.check_open(extra.room_name, caller, command.rival_seen, now)
        settings = RoomSettings.from_extra(extra.fields, command.max_players, command.password)
        room = self._rooms.get(extra.room_name)
        if room is not None:
            member = room.members[caller.userid]
            if len(room.members) == 1:
                # Whoever has a room to oneself may open it afresh, after a reload as well.
                room.settings = settings
                member.slot = 0
                member.ready = False if settings.netplay_mode is Mode.DELAY_SYNC else None
            self._depart_elsewhere(caller.socket_id, room, now, out)
            self._reseat(room, member, caller, extra, out)
        else:
            self._depart_elsewhere(caller.socket_id, None, now, out)
            room = Room(self._new_id(), extra.room_name, caller.userid, settings)
            self._rooms[room.name] = self._by_id[room.id] = room
            self._admit(room, caller, extra, 0)
        self._tell_users(room, now, out)
        self._tell_rooms(now, out)
        out.append(RegistryChanged(room.name))
        out.append(Accepted())

    def _join(self, command: JoinRoom, now: float, out: list[Effect]) -> None:
        caller, extra = command.caller, command.extra
        room = self._rooms.get(extra.room_name)
        if room is None:
            raise Refused("no such room")
        member = room.members.get(caller.userid)
        if member is not None:
            if self.rival(room.name, caller) is not None and not self._may_take_over(command.rival_seen, now):
                raise Refused("userid in use")
            seats = room.taken_slots(besides=caller.userid)
            slot = slots.seat_returning(member.slot, extra.wanted, seats, room.settings.max_players)
            self._check_spectators(room, member.slot, slot)
            self._depart_elsewhere(caller.socket_id, room, now, out)
            member.slot = slot
            self._reseat(room, member, caller, extra, out)
        else:
            slot = self._seat_newcomer(room, command)
            self._depart_elsewhere(caller.socket_id, room, now, out)
            member = self._admit(room, caller, extra, slot)
            others = room.sockets_interested_in(member)
            if others:
                out.append(Broadcast(others, "room-player-joined", member.public_extra()))
        self._tell_users(room, now, out)
        out.append(RegistryChanged(room.name))
        out.append(Accepted(room.welcome(member)))
        # The oldest clients take the ack for the user map, and none learns its slot from it: say both again.
        out.append(UsersUpdated((caller.socket_id,), room.users_for(member)))
        out.append(_own_slot(member))
        self._tell_rooms(now, out)

    def _seat_newcomer(self, room: Room, command: JoinRoom) -> int:
        settings, extra = room.settings, command.extra
        if settings.password and not same_password(settings.password, command.password):
            raise Refused("bad password")
        if extra.wanted != SPECTATOR:
            check_compatible(settings, extra.fields)
        slot = slots.seat_newcomer(extra.wanted, room.taken_slots(), settings.max_players)
        self._check_spectators(room, None, slot)
        return slot

    def _leave(self, command: LeaveRoom, now: float, out: list[Effect]) -> None:
        place = self._places.get(command.socket_id)
        if command.room_name is not None:
            if command.room_name not in self._rooms:
                raise Refused("no such room")
            if place is not None and place[0].name != command.room_name:
                place = None
        if place is None:
            raise Refused("not a member")
        self._remove(*place, now, out)
        out.append(Accepted())
        self._tell_rooms(now, out)

    def _change_slot(self, command: ChangeSlot, now: float, out: list[Effect]) -> None:
        room = self._rooms.get(command.room_name)
        if room is None:
            raise Refused("no such room")
        place = self._places.get(command.socket_id)
        if place is None or place[0] is not room:
            raise Refused("not in room")
        member = place[1]
        if command.slot is None:
            raise Refused("invalid slot")
        seats = room.taken_slots(besides=member.userid)
        slot = slots.change_slot(member.slot, command.slot, seats, room.settings.max_players)
        self._check_spectators(room, member.slot, slot)
        member.slot = slot
        room.touch(member)
        change = {"playerId": member.userid, "playerSlot": member.slot}
        out.append(Broadcast(room.sockets(), "player-slot-updated", change))
        # Clients take any such event for their own slot, so each hears of its own again.
        out.extend(
            _own_slot(other) for other in room.members.values() if other.connected and other is not member
        )
        self._tell_users(room, now, out)
        out.append(RegistryChanged(room.name))
        out.append(Accepted())
        self._tell_rooms(now, out)

    def _start_media(self, socket_id: str, out: list[Effect]) -> None:
        place = self._places.get(socket_id)
        if place is not None:
            room, member = place
            for old in tuple(member.old_sockets):
                self._close_old(room, member, old, out)

    def _lose_socket(self, socket_id: str, now: float, out: list[Effect]) -> None:
        place = self._places.pop(socket_id, None)
        if place is None:
            return
        room, member = place
        member.connected = False
        room.touch(member)
        self._deadlines.set(Due(Timer.GRACE, room.id, member.userid), now + GRACE)
        self._tell_users(room, now, out)
        self._tell_rooms(now, out)

    # Time

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` next wants to be called."""
        return self._deadlines.next()

    def handle_timer(self, now: float) -> list[Effect]:
        """Do all that is due by ``now``."""
        effects: list[Effect] = []
        while (due := self._deadlines.pop(now)) is not None:
            room = self._by_id.get(due.room_id)
            match due.timer:
                case Timer.ROOMS:
                    self._rooms_pace.spoke(now)
                    effects.append(RoomsUpdated())
                case Timer.USERS if room is not None:
                    room.users_pace.spoke(now)
                    _flush_users(room, effects)
                case Timer.GRACE if room is not None:
                    self._expire(room, room.members[due.userid], now, effects)
                case Timer.OLD_MEDIA if room is not None:
                    self._close_old(room, room.members[due.userid], due.socket_id, effects)
        return effects

    def _expire(self, room: Room, member: Member, now: float, out: list[Effect]) -> None:
        self._remove(room, member, now, out)
        self._tell_rooms(now, out)

    # Coming and going

    def _may_take_over(self, rival_seen: float | None, now: float) -> bool:
        """Whether a connected socket of the same user may be replaced: it has been silent for too long."""
        if not self._allow_takeover:
            return False
        if self._takeover_grace <= 0:
            return True
        return rival_seen is not None and now - rival_seen > self._takeover_grace

    def _check_spectators(self, room: Room, held: int | None, slot: int) -> None:
        if slot == SPECTATOR and held != SPECTATOR and room.spectator_count >= self.limits.spectators:
            raise Refused("room full")

    def _admit(self, room: Room, caller: Caller, extra: Extra, slot: int) -> Member:
        ready = False if room.settings.netplay_mode is Mode.DELAY_SYNC else None
        member = Member(caller.userid, caller.name, caller.socket_id, slot, dict(extra.fields), ready)
        room.members[member.userid] = member
        self._places[caller.socket_id] = (room, member)
        return member

    def _reseat(self, room: Room, member: Member, caller: Caller, extra: Extra, out: list[Effect]) -> None:
        """Let a member go on with what its client says now, on the caller's socket."""
        member.take_extra(extra)
        member.name = caller.name
        room.touch(member)
        if member.socket_id == caller.socket_id:
            return
        old = member.socket_id
        if member.connected:
            del self._places[old]
            notice = {"room_name": room.name, "reason": "taken over"}
            out.append(Broadcast((old,), "room-closed", notice))
            out.append(DropSocket(old))
            out.append(CloseMedia(old, room.sockets(besides=old)))
        else:
            # Its media runs on until the new socket has its own, at most as long as the grace would have.
            grace = Due(Timer.GRACE, room.id, member.userid)
            deadline = self._deadlines.when(grace)
            self._deadlines.clear(grace)
            assert deadline is not None, "a lost member is in grace"
            self._deadlines.set(Due(Timer.OLD_MEDIA, room.id, member.userid, old), deadline)
            member.old_sockets.append(old)
        member.socket_id = caller.socket_id
        member.connected = True
        self._places[caller.socket_id] = (room, member)
        if len(member.old_sockets) > MAX_OLD_SOCKETS:
            self._close_old(room, member, member.old_sockets[0], out)

    def _close_old(self, room: Room, member: Member, socket_id: str, out: list[Effect]) -> None:
        member.old_sockets.remove(socket_id)
        self._deadlines.clear(Due(Timer.OLD_MEDIA, room.id, member.userid, socket_id))
        out.append(CloseMedia(socket_id, room.sockets(besides=member.socket_id)))

    def _depart_elsewhere(self, socket_id: str, target: Room | None, now: float, out: list[Effect]) -> None:
        """A socket is in one room: entering another one ends the membership it has."""
        place = self._places.get(socket_id)
        if place is not None and place[0] is not target:
            self._remove(*place, now, out)
            self._tell_rooms(now, out)

    def _remove(self, room: Room, member: Member, now: float, out: list[Effect]) -> None:
        """Take a member out of its room, and the room away with its last one."""
        del room.members[member.userid]
        expired = not member.connected
        if expired:
            self._deadlines.clear(Due(Timer.GRACE, room.id, member.userid))
        else:
            del self._places[member.socket_id]
        rest = room.sockets()
        for socket_id in member.media_sockets:
            self._deadlines.clear(Due(Timer.OLD_MEDIA, room.id, member.userid, socket_id))
            out.append(CloseMedia(socket_id, rest))
        heir = room.heir()
        if heir is None:
            del self._rooms[room.name], self._by_id[room.id]
            self._deadlines.clear(Due(Timer.USERS, room.id))
            out.append(CloseRoom(room.id))
        else:
            if room.owner == member.userid:
                room.owner = heir.userid
                room.touch(heir)
            # The reference's order: who leaves is named before the new map, who expires after it.
            told = room.sockets_interested_in(member)
            left = [Broadcast(told, "room-player-left", {"userid": member.userid})] if told else []
            if not expired:
                out.extend(left)
            self._tell_users(room, now, out)
            if expired:
                out.extend(left)
        out.append(RegistryChanged(room.name))

    # Telling

    def _tell_users(self, room: Room, now: float, out: list[Effect]) -> None:
        when = room.users_pace.ask(now)
        due = Due(Timer.USERS, room.id)
        if when is None:
            self._deadlines.clear(due)
            _flush_users(room, out)
        else:
            self._deadlines.set(due, when)

    def _tell_rooms(self, now: float, out: list[Effect]) -> None:
        when = self._rooms_pace.ask(now)
        if when is None:
            self._deadlines.clear(_ALL_ROOMS)
            out.append(RoomsUpdated())
        else:
            self._deadlines.set(_ALL_ROOMS, when)


def _flush_users(room: Room, out: list[Effect]) -> None:
    to, users, plus_own = room.users_news()
    if to or plus_own:
        out.append(UsersUpdated(to, users, plus_own))


def _own_slot(member: Member) -> Broadcast:
    payload = {"playerId": member.userid, "playerSlot": member.slot}
    return Broadcast((member.socket_id,), "player-slot-updated", payload)

"""Coming and going: opening, joining, leaving, losing the connection and finding back."""

from __future__ import annotations

from collections.abc import Mapping

from sfu.rooms import lobby, slots
from sfu.rooms.commands import Caller, ChangeSlot, JoinRoom, LeaveRoom, OpenRoom
from sfu.rooms.compat import misfit
from sfu.rooms.effects import Broadcast, CloseMedia, CloseRoom, DropSocket
from sfu.rooms.extra import Extra, Json
from sfu.rooms.names import LobbyPhase, Mode, Phase, Refused
from sfu.rooms.pace import Due, Timer
from sfu.rooms.room import Member, Room
from sfu.rooms.settings import RoomSettings
from sfu.rooms.slots import SPECTATOR
from sfu.rooms.turn import State, Turn

GRACE = 60.0
"""Seconds for which a member whose socket is lost keeps its place, and its media."""

MAX_OLD_SOCKETS = 4
"""Earlier sockets of one member whose media may still run; beyond it the oldest closes early."""


def rival(state: State, room_name: str, caller: Caller) -> str | None:
    """The other, connected socket that holds the caller's entry in a room."""
    room = state.rooms.get(room_name)
    member = room.members.get(caller.userid) if room is not None else None
    if member is None or not member.connected or member.socket_id == caller.socket_id:
        return None
    return member.socket_id


def _check_rival(
    state: State, room_name: str, caller: Caller, rival_seen: float | None, now: float, error: str
) -> None:
    """Refuse with ``error`` if the caller's entry is on another socket that may not be replaced."""
    if rival(state, room_name, caller) is not None and not state.takeover.is_due(rival_seen, now):
        raise Refused(error)


# Opening


def check_open(state: State, name: str, caller: Caller, rival_seen: float | None, now: float) -> None:
    """Raise :class:`Refused` if opening this room would be refused as things stand."""
    room = state.rooms.get(name)
    if room is None:
        if len(state.rooms) >= state.limits.rooms:
            raise Refused("too many rooms")
        return
    member = room.members.get(caller.userid)
    if member is None:
        if room.creator != caller.userid:
            raise Refused("room exists")
        return
    returning = room.owner == member.userid and member.socket_id != caller.socket_id
    if not (_has_to_itself(room, member) or returning or _may_reset(room, member, caller)):
        raise Refused("room exists")
    _check_rival(state, name, caller, rival_seen, now, "room exists")


def _has_to_itself(room: Room, member: Member) -> bool:
    """Whether nobody else is in the room, or expected there as its creator."""
    return list(room.members) == [member.userid] and room.creator is None


def _may_reset(room: Room, member: Member, caller: Caller) -> bool:
    """An owner may call its players back from a delay-sync game by opening the room again."""
    settings = room.settings
    started = settings.netplay_mode is Mode.DELAY_SYNC and settings.room_phase is not Phase.LOBBY
    return started and room.owner == member.userid and member.socket_id == caller.socket_id


def open_room(turn: Turn, command: OpenRoom) -> None:
    caller, extra = command.caller, command.extra
    check_open(turn.state, extra.room_name, caller, command.rival_seen, turn.now)
    room = turn.state.rooms.get(extra.room_name)
    if room is None:
        depart_elsewhere(turn, caller.socket_id, None)
        settings = RoomSettings.from_extra(extra.fields, command.max_players, command.password)
        room = turn.state.add_room(extra.room_name, caller.userid, settings)
        _admit(turn, room, caller, extra, 0)
    elif (member := room.members.get(caller.userid)) is not None:
        depart_elsewhere(turn, caller.socket_id, room)
        if _has_to_itself(room, member):
            settings = RoomSettings.from_extra(extra.fields, command.max_players, command.password)
            _open_afresh(turn, room, member, settings)
        elif _may_reset(room, member, caller):
            lobby.call_back(turn, room)
        _reseat(turn, room, member, caller, extra)
    else:
        # Made by this user over HTTP: what it described there stands, this adds to it.
        slot = _newcomers_slot(turn, room, caller.userid, extra)
        depart_elsewhere(turn, caller.socket_id, room)
        room.settings.describe(extra.fields)
        _announce(turn, room, _admit(turn, room, caller, extra, slot))
    turn.tell_users(room)
    lobby.settle(turn, room)
    turn.tell_rooms()
    turn.register(room)
    turn.accept()


def _open_afresh(turn: Turn, room: Room, member: Member, settings: RoomSettings) -> None:
    """Whoever has a room to itself may open it anew, after a reload as well."""
    lobby.cancel(turn, room)
    turn.drop_reservations(room)
    room.settings = settings
    room.chat.clear()
    member.slot = 0
    member.ready = lobby.first_ready(room)
    member.validation = None


# Joining


def join_room(turn: Turn, command: JoinRoom) -> None:
    caller, extra = command.caller, command.extra
    room = turn.state.room(extra.room_name)
    member = room.members.get(caller.userid)
    heard_all = member is not None and member.socket_id == caller.socket_id
    if member is not None:
        slot = _members_slot(turn, room, member, command)
        depart_elsewhere(turn, caller.socket_id, room)
        member.slot = slot
        _reseat(turn, room, member, caller, extra)
    else:
        turn.state.tries.check(room.settings, caller.userid, command.password, turn.now, wrong="bad password")
        if extra.wanted != SPECTATOR and (error := _misfit(room, caller.userid, extra.fields)) is not None:
            raise Refused(error)
        slot = _newcomers_slot(turn, room, caller.userid, extra)
        depart_elsewhere(turn, caller.socket_id, room)
        member = _admit(turn, room, caller, extra, slot)
        _announce(turn, room, member)
    turn.tell_users(room)
    lobby.settle(turn, room)
    turn.register(room)
    turn.accept(room.welcome(member))
    # The oldest clients take the ack for the user map, and none learns its slot from it: say both again.
    turn.tell_users_to(room, member)
    turn.tell_own_slot(member)
    if not heard_all:
        for message in room.chat:
            turn.tell((caller.socket_id,), "chat-message", message)
    turn.tell_rooms()


def _members_slot(turn: Turn, room: Room, member: Member, command: JoinRoom) -> int:
    """The slot of a member who joins again; raises ``userid in use`` if it still is on another socket."""
    _check_rival(turn.state, room.name, command.caller, command.rival_seen, turn.now, "userid in use")
    fits = _misfit(room, member.userid, command.extra.fields) is None
    slot = slots.seat_returning(
        member.slot,
        command.extra.wanted,
        room.taken_slots(besides=member.userid),
        room.settings.max_players,
        may_play=fits and not room.is_full_for(member.userid),
    )
    _check_spectators(turn, room, member.slot, slot)
    return slot


def _newcomers_slot(turn: Turn, room: Room, userid: str, extra: Extra) -> int:
    slot = slots.seat_newcomer(
        extra.wanted, room.taken_slots(), room.settings.max_players, full=room.is_full_for(userid)
    )
    _check_spectators(turn, room, None, slot)
    return slot


def _misfit(room: Room, userid: str, fields: Mapping[str, Json]) -> dict[str, Json] | None:
    """Why a user whose ``extra`` has these fields cannot come to play. Whose room it is, is not asked: hosts
    describe their own game in several ways."""
    return misfit(room.settings, fields) if userid not in (room.owner, room.creator) else None


def _check_spectators(turn: Turn, room: Room, held: int | None, slot: int) -> None:
    if slot == SPECTATOR and held != SPECTATOR and room.spectator_count >= turn.state.limits.spectators:
        raise Refused("room full")


def _announce(turn: Turn, room: Room, member: Member) -> None:
    turn.tell(room.sockets_interested_in(member), "room-player-joined", member.public_extra())


def change_slot(turn: Turn, command: ChangeSlot) -> None:
    room = turn.state.room(command.room_name)
    member = turn.state.member(room, command.socket_id)
    if command.slot is None:
        raise Refused("invalid slot")
    slot = slots.change_slot(
        member.slot,
        command.slot,
        room.taken_slots(besides=member.userid),
        room.settings.max_players,
        full=room.is_full_for(member.userid),
    )
    _check_spectators(turn, room, member.slot, slot)
    if not member.is_player and slot != SPECTATOR:
        error = _misfit(room, member.userid, member.extra)
        if error is not None:
            raise Refused(error["message"])  # clients take only join errors apart
    if slot == member.slot:
        turn.tell_own_slot(member)
        turn.accept()
        return
    member.slot = slot
    turn.tell_change(
        room, member, "player-slot-updated", {"playerId": member.userid, "playerSlot": member.slot}
    )
    # Clients take any such event for their own slot, so each who got it hears of its own again.
    for other in room.told_of_changes_to(member):
        if other is not member:
            turn.tell_own_slot(other)
    turn.tell_users(room)
    lobby.settle(turn, room)
    turn.register(room)
    turn.accept()
    turn.tell_rooms()


# Places


def _admit(turn: Turn, room: Room, caller: Caller, extra: Extra, slot: int) -> Member:
    """Put a newcomer into a room."""
    ready = lobby.first_ready(room)
    member = Member(caller.userid, caller.name, caller.socket_id, slot, dict(extra.fields), ready)
    room.members[member.userid] = member
    turn.state.places[caller.socket_id] = (room, member)
    room.reservations.discard(member.userid)
    turn.forget(Timer.RESERVATION, room, member.userid)
    if room.creator == member.userid:
        room.creator = None
        turn.forget(Timer.CREATOR, room)
        _make_owner(room, member)
    elif room.owner not in room.members:
        _make_owner(room, member)
    return member


def _make_owner(room: Room, member: Member) -> None:
    """Both rows change: the one that loses the badge and the one that gets it."""
    former = room.members.get(room.owner)
    if former is not None:
        room.touch(former)
    room.owner = member.userid
    room.touch(member)


def _reseat(turn: Turn, room: Room, member: Member, caller: Caller, extra: Extra) -> None:
    """Let a member go on with what its client says now, on the caller's socket."""
    member.take_extra(extra)
    member.name = caller.name
    room.touch(member)
    if member.socket_id == caller.socket_id:
        return
    old = member.socket_id
    if member.connected:
        del turn.state.places[old]
        turn.tell((old,), "room-closed", {"room_name": room.name, "reason": "taken over"})
        turn.out.append(DropSocket(old))
        turn.out.append(CloseMedia(old, room.sockets(besides=old)))
    else:
        # Its media runs on until the new socket has its own, at most as long as the grace would have.
        grace = Due(Timer.GRACE, room.id, member.userid)
        deadline = turn.state.deadlines.when(grace)
        turn.state.deadlines.clear(grace)
        assert deadline is not None, "a lost member is in grace"
        turn.state.deadlines.set(Due(Timer.OLD_MEDIA, room.id, member.userid, old), deadline)
        member.old_sockets.append(old)
    member.socket_id = caller.socket_id
    member.connected = True
    turn.state.places[caller.socket_id] = (room, member)
    if len(member.old_sockets) > MAX_OLD_SOCKETS:
        close_old_media(turn, room, member, member.old_sockets[0])


def start_media(turn: Turn, socket_id: str) -> None:
    place = turn.state.places.get(socket_id)
    if place is not None:
        room, member = place
        for old in tuple(member.old_sockets):
            close_old_media(turn, room, member, old)


def close_old_media(turn: Turn, room: Room, member: Member, socket_id: str) -> None:
    """Close what a member left running on an earlier socket."""
    member.old_sockets.remove(socket_id)
    turn.state.deadlines.clear(Due(Timer.OLD_MEDIA, room.id, member.userid, socket_id))
    turn.out.append(CloseMedia(socket_id, room.sockets(besides=member.socket_id)))


# Going


def leave_room(turn: Turn, command: LeaveRoom) -> None:
    caller = command.caller
    place = turn.state.places.get(caller.socket_id)
    target = turn.state.room(command.room_name) if command.room_name is not None else None
    if target is not None and (place is None or place[0] is not target):
        # Clients reconnect without joining again, and then their user wants to leave. Live tabs stay in.
        absent = target.members.get(caller.userid)
        place = (target, absent) if absent is not None and not absent.connected else None
    if place is None:
        raise Refused("not a member")
    _remove(turn, *place)
    turn.accept()
    turn.tell_rooms()


def lose_socket(turn: Turn, socket_id: str) -> None:
    place = turn.state.places.pop(socket_id, None)
    if place is None:
        return
    room, member = place
    member.connected = False
    room.touch(member)
    turn.remind(Timer.GRACE, room, GRACE, member.userid)
    turn.tell_users(room)
    lobby.settle(turn, room)
    turn.tell_rooms()


def expire(turn: Turn, room: Room, member: Member) -> None:
    """The grace of a lost member has ended."""
    _remove(turn, room, member)
    turn.tell_rooms()


def depart_elsewhere(turn: Turn, socket_id: str, target: Room | None) -> None:
    """A socket is in one room: entering another one ends the membership it has."""
    place = turn.state.places.get(socket_id)
    if place is not None and place[0] is not target:
        _remove(turn, *place)
        turn.tell_rooms()


def _remove(turn: Turn, room: Room, member: Member) -> None:
    """Take a member out of its room, and the room away with its last one."""
    del room.members[member.userid]
    expired = not member.connected
    if expired:
        turn.forget(Timer.GRACE, room, member.userid)
    else:
        del turn.state.places[member.socket_id]
    rest = room.sockets()
    for socket_id in member.media_sockets:
        turn.state.deadlines.clear(Due(Timer.OLD_MEDIA, room.id, member.userid, socket_id))
        turn.out.append(CloseMedia(socket_id, rest))
    heir = room.heir()
    if heir is None:
        _leave_empty(turn, room)
        return
    if room.owner == member.userid:
        _make_owner(room, heir)
    # The reference's order: who leaves is named before the new map, who expires after it.
    told = room.sockets_interested_in(member)
    left = [Broadcast(told, "room-player-left", {"userid": member.userid})] if told else []
    if not expired:
        turn.out.extend(left)
    turn.tell_users(room)
    if expired:
        turn.out.extend(left)
    lobby.settle(turn, room)
    turn.register(room)


def _leave_empty(turn: Turn, room: Room) -> None:
    """Nobody is in the room any more: it goes, unless its creator is still expected."""
    if room.creator is None:
        remove_room(turn, room)
        return
    room.owner = room.creator
    room.settings.room_phase = room.settings.first_phase
    room.told_phase = LobbyPhase.WAITING
    room.chat.clear()
    lobby.cancel(turn, room)
    turn.forget(Timer.USERS, room)
    turn.register(room)


def remove_room(turn: Turn, room: Room) -> None:
    """Take away a room that nobody is in."""
    del turn.state.rooms[room.name], turn.state.by_id[room.id]
    for timer in (Timer.USERS, Timer.FRESH, Timer.CREATOR, Timer.BARRIER):
        turn.forget(timer, room)
    turn.drop_reservations(room)
    turn.out.append(CloseRoom(room.id))
    turn.register(room)

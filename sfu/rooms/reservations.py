"""Rooms and seats over HTTP: made and held by people who are not there yet.

A room made this way waits two minutes for its creator, and holds a seat for it. Until then it may be empty;
who comes first looks after it as its owner, and when the creator comes, it is the creator's. After two
minutes it is a room like any other, or gone if nobody is in it. Seats of others are held for a minute each.
"""

from __future__ import annotations

from sfu.rooms import membership
from sfu.rooms.commands import CreateRoom, ReleaseSeat, ReserveSeat
from sfu.rooms.names import Refused
from sfu.rooms.pace import Timer
from sfu.rooms.room import Room
from sfu.rooms.settings import RoomSettings
from sfu.rooms.turn import Turn

CREATOR_SECONDS = 120.0
"""How long a room waits for who made it."""

FRESH_SECONDS = 30.0
"""How long lists show a room that nobody plays in."""

RESERVATION_SECONDS = 60.0
"""How long a seat is held."""


def create_room(turn: Turn, command: CreateRoom) -> None:
    state, limits = turn.state, turn.state.limits
    if command.room_name in state.rooms:
        raise Refused("room already exists")
    mine = sum(room.creator == command.userid for room in state.rooms.values())
    if len(state.rooms) >= limits.rooms or mine >= limits.http_rooms_per_user:
        raise Refused("too many rooms")
    settings = RoomSettings.from_extra(command.fields, command.max_players, command.password)
    room = state.add_room(command.room_name, command.userid, settings)
    room.creator, room.fresh = command.userid, True
    turn.remind(Timer.FRESH, room, FRESH_SECONDS)
    _hold_seat(turn, room, command.userid, CREATOR_SECONDS)
    turn.remind(Timer.CREATOR, room, CREATOR_SECONDS)
    turn.tell_rooms()
    turn.register(room)
    turn.accept()


def reserve_seat(turn: Turn, command: ReserveSeat) -> None:
    room, userid = _room(turn, command.room_name), command.userid
    member = room.members.get(userid)
    if member is None:
        turn.state.tries.check(room.settings, userid, command.password, turn.now, wrong="incorrect password")
    if member is None or not member.is_player:
        others = len(room.reservations - {userid})
        if room.is_full_for(userid) or others >= turn.state.limits.reservations:
            raise Refused("room is full")
    # A member needs no seat held, and the creator's is held for longer than this.
    if member is None and not (userid == room.creator and userid in room.reservations):
        _hold_seat(turn, room, userid, RESERVATION_SECONDS)
    turn.accept()


def release_seat(turn: Turn, command: ReleaseSeat) -> None:
    room = _room(turn, command.room_name)
    turn.forget(Timer.RESERVATION, room, command.userid)
    drop_reservation(room, command.userid)
    turn.accept()


def drop_reservation(room: Room, userid: str) -> None:
    """A seat is no longer held, if it was."""
    room.reservations.discard(userid)


def end_freshness(turn: Turn, room: Room) -> None:
    """Lists show the room from now on only while somebody plays in it."""
    room.fresh = False
    if not room.player_count:
        turn.tell_rooms()


def stop_waiting(turn: Turn, room: Room) -> None:
    """The creator has not come: the room belongs to those who have, or goes."""
    room.creator = None
    if not room.members:
        membership.remove_room(turn, room)
        turn.tell_rooms()


def _room(turn: Turn, name: str) -> Room:
    room = turn.state.rooms.get(name)
    if room is None:
        raise Refused("room not found")
    return room


def _hold_seat(turn: Turn, room: Room, userid: str, seconds: float) -> None:
    room.reservations.add(userid)
    turn.remind(Timer.RESERVATION, room, seconds, userid)

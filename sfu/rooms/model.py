"""The room model: commands in, effects out.

``handle(command, now)`` changes the state and returns what has to be done, in order; a refused command
changes nothing. ``get_timer()`` and ``handle_timer(now)`` do the same for what time brings. ``now`` is in
seconds on a monotonic clock. Nothing here waits, so every command is atomic; who awaits something before a
command may find that it is refused by then.

Invariants, whatever happens: a room has a member, or was made over HTTP and waits for its creator; while
anyone is in it, its owner is one of them; players hold distinct slots from 0 to ``max_players - 1``, and
together with the seats that are held for others they are no more than ``max_players``; a socket is in one
room at most, and hears of no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, assert_never

from sfu.rooms import chat, lobby, membership, metadata, reservations, signals
from sfu.rooms.commands import (
    Caller,
    ChangeSlot,
    Chat,
    Command,
    CreateRoom,
    JoinInfo,
    JoinRoom,
    LaunchGame,
    LeaveRoom,
    LoseSocket,
    OpenRoom,
    PauseHost,
    ReadyAtFrame,
    ReleaseSeat,
    ReserveSeat,
    SetReady,
    StartGame,
    StartMedia,
    ToggleReady,
    UpdatePlayerMetadata,
    UpdateRoomMetadata,
)
from sfu.rooms.effects import Effect, Rejected, RoomsUpdated
from sfu.rooms.limits import DEFAULT_LIMITS, RoomLimits
from sfu.rooms.names import Refused
from sfu.rooms.pace import Due, Timer
from sfu.rooms.room import Member, Room
from sfu.rooms.turn import State, Takeover, Turn


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
        self._state = State(new_id, wall_ms, limits, Takeover(allow_takeover, takeover_grace))

    # Questions

    @property
    def limits(self) -> RoomLimits:
        return self._state.limits

    def __iter__(self) -> Iterator[Room]:
        return iter(self._state.rooms.values())

    def __len__(self) -> int:
        return len(self._state.rooms)

    def get(self, name: str) -> Room | None:
        return self._state.rooms.get(name)

    def by_id(self, room_id: str) -> Room | None:
        return self._state.by_id.get(room_id)

    def room_of(self, socket_id: str) -> Room | None:
        """The room in which this socket is the current socket of a member."""
        place = self._state.places.get(socket_id)
        return place[0] if place is not None else None

    def member_of(self, socket_id: str) -> Member | None:
        place = self._state.places.get(socket_id)
        return place[1] if place is not None else None

    def peers(self, socket_id: str) -> tuple[str, ...]:
        """The other connected sockets of the room that this socket is in; none if it is in no room."""
        room = self.room_of(socket_id)
        return room.sockets(besides=socket_id) if room is not None else ()

    def rival(self, room_name: str, caller: Caller) -> str | None:
        """The other, connected socket that holds the caller's entry in a room."""
        return membership.rival(self._state, room_name, caller)

    def state_for(self, socket_id: str, room_name: str) -> dict[str, Any]:
        """The value of a ``request-room-state`` ack; raises ``no such room`` or ``not in room``."""
        room = self._state.room(room_name)
        return room.welcome(self._state.member(room, socket_id))

    def signal_target(self, socket_id: str, target: object, room_name: object) -> str | None:
        """The socket that a ``webrtc-signal`` is for; None if it is to be dropped."""
        return signals.signal_target(self._state, socket_id, target, room_name)

    def http_room(self, room_name: str) -> dict[str, Any] | None:
        """A room as HTTP answers describe it; None if there is none of this name."""
        room = self.get(room_name)
        return room.http_view() if room is not None else None

    def listing(self) -> list[dict[str, Any]]:
        """The payload of ``rooms-updated``, in the order of opening."""
        newest = (room.list_entry() for room in reversed(self._state.rooms.values()) if room.is_listed)
        return list(islice(newest, self.limits.listed_rooms))[::-1]

    def pace_listing(self, interval: float) -> None:
        """Let ``rooms-updated`` go out less often: the list has become costly. In seconds, within bounds."""
        self._state.rooms_pace.stretch(interval)

    def pace_users(self, socket_id: str, interval: float) -> None:
        """The same for ``users-updated`` in the room that this socket is in, for as long as it is large."""
        room = self.room_of(socket_id)
        if room is not None:
            room.users_pace.stretch(interval)

    def check_open(self, name: str, caller: Caller, rival_seen: float | None, now: float) -> None:
        """Raise :class:`Refused` if opening this room would be refused as things stand."""
        membership.check_open(self._state, name, caller, rival_seen, now)

    # Commands

    def handle(self, command: Command, now: float) -> list[Effect]:
        """Do a command. A refusal is the single effect :class:`Rejected`."""
        turn = Turn(self._state, now)
        try:
            self._do(turn, command)
        except Refused as refusal:
            return [Rejected(refusal.error)]
        return turn.out

    def _do(self, turn: Turn, command: Command) -> None:
        match command:
            case OpenRoom():
                membership.open_room(turn, command)
            case JoinRoom():
                membership.join_room(turn, command)
            case LeaveRoom():
                membership.leave_room(turn, command)
            case ChangeSlot():
                membership.change_slot(turn, command)
            case StartMedia(socket_id):
                membership.start_media(turn, socket_id)
            case LoseSocket(socket_id):
                membership.lose_socket(turn, socket_id)
            case CreateRoom():
                reservations.create_room(turn, command)
            case ReserveSeat():
                reservations.reserve_seat(turn, command)
            case ReleaseSeat():
                reservations.release_seat(turn, command)
            case UpdateRoomMetadata():
                metadata.update_room(turn, command)
            case UpdatePlayerMetadata():
                metadata.update_player(turn, command)
            case JoinInfo():
                metadata.join_info(turn, command)
            case ToggleReady():
                lobby.toggle_ready(turn, command)
            case SetReady():
                lobby.set_ready(turn, command)
            case StartGame():
                lobby.start_game(turn, command)
            case ReadyAtFrame():
                lobby.ready_at_frame(turn, command)
            case LaunchGame():
                lobby.launch_game(turn, command)
            case Chat():
                chat.chat(turn, command)
            case PauseHost():
                signals.pause_host(turn, command)
            case _:
                assert_never(command)

    # Time

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` next wants to be called."""
        return self._state.deadlines.next()

    def handle_timer(self, now: float) -> list[Effect]:
        """Do all that is due by ``now``."""
        turn = Turn(self._state, now)
        while (due := self._state.deadlines.pop(now)) is not None:
            if due.timer is Timer.ROOMS:
                self._state.rooms_pace.spoke(now)
                turn.out.append(RoomsUpdated())
            else:
                _do_due(turn, due, self._state.by_id[due.room_id])
        return turn.out


def _do_due(turn: Turn, due: Due, room: Room) -> None:
    """No deadline outlives what it is for, so the room is there, and the member."""
    match due.timer:
        case Timer.USERS:
            room.users_pace.spoke(turn.now)
            turn.flush_users(room)
        case Timer.GRACE:
            membership.expire(turn, room, room.members[due.userid])
        case Timer.OLD_MEDIA:
            membership.close_old_media(turn, room, room.members[due.userid], due.socket_id)
        case Timer.FRESH:
            reservations.end_freshness(turn, room)
        case Timer.CREATOR:
            reservations.stop_waiting(turn, room)
        case Timer.RESERVATION:
            reservations.drop_reservation(room, due.userid)
        case Timer.BARRIER:
            lobby.give_up_waiting(turn, room)

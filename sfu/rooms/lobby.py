"""The lobby of a delay-sync room: who is ready, and the way into a game that all start together.

The phases are ``lobby``, ``prepare`` and ``running`` (signaling.md 4.8). The owner's ``start-game`` leads
from the first to the second, where every player goes to its first frame; when all are there the game runs.
``launch-game`` of the second lobby API skips the waiting. Both APIs read and write one flag per member, and
a player whose connection is lost keeps nobody waiting.
"""

from __future__ import annotations

from collections.abc import Iterable

from sfu.rooms.commands import LaunchGame, ReadyAtFrame, SetReady, StartGame, ToggleReady
from sfu.rooms.extra import MAX_SAFE_INTEGER
from sfu.rooms.names import LobbyPhase, Mode, Phase, Refused, whole_number
from sfu.rooms.pace import Timer
from sfu.rooms.room import Barrier, Member, Room
from sfu.rooms.turn import Turn

START_DELAY_MS = 2000
"""How far ahead the announced start of a game is, so that all hear of it before."""

BARRIER_TIMEOUT = 30.0
"""Seconds that players have to reach their first frame."""

DEFAULT_FRAME_DELAY = 2


def first_ready(room: Room) -> bool | None:
    """The flag that a member starts with: None where nobody has to be ready."""
    return False if room.settings.netplay_mode is Mode.DELAY_SYNC else None


# Being ready


def toggle_ready(turn: Turn, command: ToggleReady) -> None:
    room = _in_lobby(turn, command.room_name)
    member = turn.state.member(room, command.socket_id)
    _set_ready(turn, room, member, not member.ready)
    turn.accept()


def set_ready(turn: Turn, command: SetReady) -> None:
    room = _delay_sync(turn, command.room_name)
    place = turn.state.places.get(command.socket_id)
    if command.ready and (place is None or place[0] is not room or not place[1].is_player):
        raise Refused("spectators cannot participate in lobby")
    _set_ready(turn, room, turn.state.member(room, command.socket_id), command.ready)
    turn.accept()


def _set_ready(turn: Turn, room: Room, member: Member, ready: bool) -> None:
    """Tell it in both APIs' ways."""
    member.ready = ready
    turn.tell_change(room, member, "player-ready-updated", {"playerId": member.userid, "ready": ready})
    _tell_state(turn, room, room.told_of_changes_to(member))
    if room.is_large:
        turn.tell_users(room)


def _tell_state(turn: Turn, room: Room, to: Iterable[Member]) -> None:
    room.told_phase = room.lobby_phase
    turn.tell((member.socket_id for member in to), "lobby-state", room.lobby_state())


# Starting


def start_game(turn: Turn, command: StartGame) -> None:
    room = _in_lobby(turn, command.room_name)
    member = turn.state.member(room, command.socket_id)
    if room.owner != member.userid:
        raise Refused("not host")
    if room.lobby_phase is not LobbyPhase.READY:
        raise Refused("not all players ready")
    room.settings.room_phase = Phase.PREPARE
    room.barrier = Barrier(frozenset(_players_here(room)))
    turn.remind(Timer.BARRIER, room, BARRIER_TIMEOUT)
    turn.tell(room.sockets(), "prepare-start", {"startTime": _start_time(turn), "startFrame": 1})
    turn.register(room)
    turn.accept()
    turn.tell_rooms()


def ready_at_frame(turn: Turn, command: ReadyAtFrame) -> None:
    room = turn.state.rooms.get(command.room_name)
    if room is None or room.barrier is None:
        raise Refused("not in prepare phase")
    member = turn.state.member(room, command.socket_id)
    frame = 1 if command.frame is None else whole_number(command.frame)
    if frame is None or not 0 <= frame <= MAX_SAFE_INTEGER:
        raise Refused("invalid")
    if member.is_player:
        room.barrier.arrived.add(member.userid)
        room.barrier.frame = frame
        settle(turn, room)
    turn.accept()


def launch_game(turn: Turn, command: LaunchGame) -> None:
    room = _delay_sync(turn, command.room_name)
    member = room.members.get(room.owner)
    if member is None or not member.connected or member.socket_id != command.socket_id:
        raise Refused("not room owner")
    if room.lobby_phase is not LobbyPhase.READY:
        raise Refused("not all players ready")
    config = room.settings.sync_config or {}
    delay = whole_number(config.get("frameDelay")) or DEFAULT_FRAME_DELAY
    room.settings.room_phase = Phase.RUNNING
    seed = turn.state.wall_ms(turn.now)
    turn.tell(room.sockets(), "game-launch", {"seed": seed, "delay": delay, "start_frame": 1})
    turn.register(room)
    turn.accept()
    turn.tell_rooms()


def _delay_sync(turn: Turn, room_name: str) -> Room:
    room = turn.state.rooms.get(room_name)
    if room is None or room.settings.netplay_mode is not Mode.DELAY_SYNC:
        raise Refused("not a delay sync room")
    return room


def _in_lobby(turn: Turn, room_name: str) -> Room:
    room = turn.state.room(room_name)
    if not _is_lobby(room):
        raise Refused("not in delay sync lobby")
    return room


def _is_lobby(room: Room) -> bool:
    return room.settings.netplay_mode is Mode.DELAY_SYNC and room.settings.room_phase is Phase.LOBBY


def _players_here(room: Room) -> set[str]:
    return {player.userid for player in room.players if player.connected}


def _start_time(turn: Turn) -> int:
    return turn.state.wall_ms(turn.now) + START_DELAY_MS


# The barrier


def settle(turn: Turn, room: Room) -> None:
    """Let the game run if a player is at its first frame and nobody who is here is waited for. In the lobby
    say it if all are ready now, or no longer.

    To be called whenever who plays, or who is connected, has changed.
    """
    if room.barrier is not None:
        here = _players_here(room)
        if here & room.barrier.arrived and here & room.barrier.awaited <= room.barrier.arrived:
            _run(turn, room, room.barrier.frame)
    elif _is_lobby(room) and room.lobby_phase is not room.told_phase:
        _tell_state(turn, room, room.told_of_changes_to(None))


def give_up_waiting(turn: Turn, room: Room) -> None:
    """The time for reaching the first frame is over: start with those who have, if any."""
    assert room.barrier is not None, "only a barrier has this deadline"
    if _players_here(room) & room.barrier.arrived:
        _run(turn, room, room.barrier.frame)
    else:
        call_back(turn, room)
        turn.tell_users(room)
        turn.register(room)


def _run(turn: Turn, room: Room, frame: int) -> None:
    cancel(turn, room)
    room.settings.room_phase = Phase.RUNNING
    turn.tell(room.sockets(), "start-game", {"frame": frame, "start_time": _start_time(turn)})
    turn.register(room)


def call_back(turn: Turn, room: Room) -> None:
    """Back to the lobby, where everyone has to be ready anew. The caller tells the user map."""
    cancel(turn, room)
    room.settings.room_phase = Phase.LOBBY
    reset_flags(room)
    _tell_state(turn, room, [member for member in room.members.values() if member.connected])


def reset_flags(room: Room) -> None:
    """Give every member the flag that the room's mode starts with."""
    for member in room.members.values():
        member.ready = first_ready(room)
        room.touch(member)


def cancel(turn: Turn, room: Room) -> None:
    """Wait for nobody any more."""
    room.barrier = None
    turn.forget(Timer.BARRIER, room)

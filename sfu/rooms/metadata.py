"""What is said later about a room, a member, and the game that a member has."""

from __future__ import annotations

from typing import Any

from sfu.rooms import lobby
from sfu.rooms.commands import JoinInfo, UpdatePlayerMetadata, UpdateRoomMetadata
from sfu.rooms.compat import validate_game
from sfu.rooms.extra import Json, check_json_untrusted
from sfu.rooms.limits import RoomLimits
from sfu.rooms.names import Mode, Refused, parse_mode_untrusted
from sfu.rooms.turn import Turn


def update_room(turn: Turn, command: UpdateRoomMetadata) -> None:
    room = turn.state.room(command.room_name)
    member = turn.state.member(room, command.socket_id)
    if room.owner != member.userid:
        raise Refused("not host")
    fields = _object_untrusted(command.metadata, turn.state.limits)
    room.settings.describe(fields)
    if room.settings.change_mode(fields.get("netplay_mode")):
        lobby.cancel(turn, room)
        lobby.reset_flags(room)
        turn.tell_users(room)
        lobby.settle(turn, room)
    turn.register(room)
    turn.accept()
    turn.tell_rooms()


def update_player(turn: Turn, command: UpdatePlayerMetadata) -> None:
    room = turn.state.room(command.room_name)
    member = turn.state.member(room, command.socket_id)
    limits = turn.state.limits
    news = _object_untrusted(command.metadata, limits)
    extra = dict(member.extra)
    if "netplay_mode" in news:
        extra["netplay_mode"] = news.pop("netplay_mode")
    before = extra.get("metadata")
    extra["metadata"] = _object_untrusted({**(before if isinstance(before, dict) else {}), **news}, limits)
    member.extra = extra
    room.touch(member)
    turn.tell_users(room)
    turn.accept()


def join_info(turn: Turn, command: JoinInfo) -> None:
    """Compare a member's game with the room's and show everyone the result; nobody is sent away."""
    room = turn.state.room(command.room_name)
    mode = room.settings.netplay_mode
    if mode is not Mode.DELAY_SYNC:
        turn.accept()
        return
    member = turn.state.member(room, command.socket_id)
    if command.netplay_mode is not None:
        expected = parse_mode_untrusted(command.netplay_mode)
        if expected is not mode:
            message = f"Room is {mode} but client expects {expected}"
            raise Refused({"error": "mode_mismatch", "message": message})
    member.validation = validate_game(
        room.settings, command.rom_hash, command.emulator_id, command.emulator_version
    )
    status, reason = member.validation
    turn.tell_change(
        room,
        member,
        "player-validation-updated",
        {"playerId": member.userid, "validationStatus": status, "validationReason": reason},
    )
    if room.is_large:
        turn.tell_users(room)
    turn.accept()


def _object_untrusted(value: object, limits: RoomLimits) -> dict[str, Json]:
    """A copy of a bounded JSON object; raises ``invalid``."""
    if not isinstance(value, dict) or len(value) > limits.extra_keys:
        raise Refused("invalid")
    check_json_untrusted(value, max_bytes=limits.metadata_bytes, max_depth=limits.extra_depth)
    copy: dict[str, Any] = dict(value)
    return copy

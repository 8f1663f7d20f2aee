"""Whether a player's game fits a room that plays in delay sync: all must run the same ROM on the same core.

The checks run in a fixed order and the first that fails decides. Their errors are objects, because clients
build a dialog from them.
"""

from __future__ import annotations

from collections.abc import Mapping

from sfu.rooms.extra import Json
from sfu.rooms.names import Mode
from sfu.rooms.settings import RoomSettings


def misfit(room: RoomSettings, fields: Mapping[str, Json]) -> dict[str, Json] | None:
    """The join error of a player with this ``extra``; None if it can play along. Has a ``message``."""
    if room.netplay_mode is not Mode.DELAY_SYNC:
        return None
    rom, core = _string(fields.get("rom_hash")), _string(fields.get("core_type"))
    if room.rom_hash and room.core_type and _differs(rom, room.rom_hash, core, room.core_type):
        return _incompatible(room)
    if not room.rom_hash:
        return _unmet("Room host has not provided ROM hash. Delay sync requires exact ROM matching.")
    if rom != room.rom_hash:
        what = f"room requires '{room.rom_hash}', client has '{rom or 'none'}'"
        return _mismatch(room, f"ROM hash mismatch: {what}", f"ROM hash: {what}", "ROM")
    if not room.core_type:
        return _unmet(
            "Room host has not provided emulator core type. Delay sync requires exact core matching."
        )
    if core != room.core_type:
        what = f"room requires '{room.core_type}', client has '{core or 'none'}'"
        return _mismatch(room, f"Emulator core mismatch: {what}", f"Emulator core: {what}", "core")
    return None


def validate_game(
    room: RoomSettings, rom_hash: object, emulator_id: object, emulator_version: object
) -> tuple[str, str | None]:
    """How a member's game fits the room's: a status for clients, and the reason if it is not ``ok``.

    What the room does not know, it does not ask for. Where several things differ, the last one counts.
    """
    status, reason = "ok", None
    if room.rom_hash and rom_hash != room.rom_hash:
        status = "rom_mismatch"
        reason = f"ROM mismatch: host is using {room.rom_name or 'Unknown ROM'}"
    if room.core_id and emulator_id not in (room.core_id, room.core_type):
        status, reason = "emulator_mismatch", f"Emulator mismatch: host is using {room.core_id}"
    if room.core_version and emulator_version and emulator_version != room.core_version:
        status, reason = "version_mismatch", f"Core version mismatch: host is using {room.core_version}"
    return status, reason


def _string(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _differs(rom: str, room_rom: str, core: str, room_core: str) -> bool:
    return bool(rom and rom != room_rom) or bool(core and core != room_core)


def _incompatible(room: RoomSettings) -> dict[str, Json]:
    message = "ROM or emulator core doesn't match room requirements"
    if room.spectator_mode != 1:
        return {
            "error": "incompatible_game",
            "message": f"{message} and spectators are not allowed",
            "canJoinAsSpectator": False,
        }
    return {
        "error": "incompatible_game",
        "message": message,
        "canJoinAsSpectator": True,
        "requiredRomHash": room.rom_hash,
        "requiredCoreType": room.core_type,
    }


def _unmet(message: str) -> dict[str, Json]:
    return {
        "error": "delay_sync_requirements_not_met",
        "message": message,
        "canJoinAsSpectator": False,
    }


def _mismatch(room: RoomSettings, message: str, issue: str, subject: str) -> dict[str, Json]:
    return _unmet(f"{message}. Delay sync requires exact {subject} match.") | {
        "compatibilityIssues": [issue],
        "requiredMetadata": {
            "rom_hash": room.rom_hash,
            "rom_name": room.rom_name,
            "core_type": room.core_type,
        },
    }

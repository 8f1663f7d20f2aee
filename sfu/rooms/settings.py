"""What a room is: its mode, capacity, password and the game it plays, as its opener described it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sfu.rooms.extra import Json
from sfu.rooms.names import Mode, Phase, parse_mode_untrusted

MAX_FIELD_LENGTH = 256
"""Code points in one descriptive text of a room (a hash, a core, a title)."""


@dataclass(slots=True)
class RoomSettings:
    """The describing half of a room; the living half is :class:`sfu.rooms.room.Room`."""

    max_players: int
    password: str
    netplay_mode: Mode
    room_phase: Phase
    sync_config: dict[str, Json] | None
    spectator_mode: int
    game_id: str | int | float | None
    rom_hash: str | None
    rom_name: str | None
    core_type: str | None
    core_id: str | None
    core_version: str | None
    system: str | None
    platform: str | None
    system_type: str | None

    @classmethod
    def from_extra(cls, fields: Mapping[str, Json], max_players: int, password: str) -> RoomSettings:
        """Settings of a new room. ``fields`` are bounded already; texts of the wrong type count as absent."""
        mode = parse_mode_untrusted(fields.get("netplay_mode"))
        core_type = _text(fields, "core_type", "coreId")
        return cls(
            max_players=max_players,
            password=password,
            netplay_mode=mode,
            room_phase=_phase(fields.get("room_phase"), mode),
            sync_config=_object(fields.get("sync_config")),
            spectator_mode=_spectator_mode(fields.get("spectator_mode")),
            game_id=_game_id(fields.get("game_id")),
            rom_hash=_text(fields, "romHash", "rom_hash"),
            rom_name=_text(fields, "rom_name", "romFilename"),
            core_type=core_type,
            core_id=_text(fields, "coreId") or core_type,
            core_version=_text(fields, "coreVersion"),
            system=_text(fields, "system"),
            platform=_text(fields, "platform"),
            system_type=_text(fields, "systemType"),
        )

    def game(self) -> dict[str, Any]:
        """What is played, under the names that lists use; absent ones are None."""
        return {
            "rom_hash": self.rom_hash,
            "core_type": self.core_type,
            "system": self.system,
            "platform": self.platform,
            "coreId": self.core_id,
            "coreVersion": self.core_version,
            "romHash": self.rom_hash,
            "systemType": self.system_type,
            "rom_name": self.rom_name,
        }


def _text(fields: Mapping[str, Json], *names: str) -> str | None:
    """The first of the named fields that is a non-empty string of acceptable length."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and 0 < len(value) <= MAX_FIELD_LENGTH:
            return value
    return None


def _phase(value: Json, mode: Mode) -> Phase:
    try:
        return Phase(value)
    except ValueError:
        return Phase.LOBBY if mode is Mode.DELAY_SYNC else Phase.RUNNING


def _object(value: Json) -> dict[str, Json] | None:
    return value if isinstance(value, dict) else None


def _spectator_mode(value: Json) -> int:
    """1 (spectators allowed) unless a number or false says otherwise; 0 stays 0."""
    return int(value) if isinstance(value, bool | int) else 1


def _game_id(value: Json) -> str | int | float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return value if not isinstance(value, str) or len(value) <= MAX_FIELD_LENGTH else None

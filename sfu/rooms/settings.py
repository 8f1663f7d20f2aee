"""What a room is: its mode, capacity, password and the game it plays, as its opener described it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sfu.rooms.extra import Json
from sfu.rooms.names import Mode, Phase, known_mode_untrusted, parse_mode_untrusted

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

    @property
    def first_phase(self) -> Phase:
        """Where a room of this mode starts."""
        return Phase.LOBBY if self.netplay_mode is Mode.DELAY_SYNC else Phase.RUNNING

    def describe(self, fields: Mapping[str, Json]) -> None:
        """Take over what is said about the game: null clears, what is absent or of the wrong type stays.

        The mode is not among it (:meth:`change_mode`), nor who may come in.
        """
        for attribute, *names in _DESCRIPTIONS:
            text = _text(fields, *names)
            if text is not None or any(name in fields and fields[name] is None for name in names):
                setattr(self, attribute, text)
        self.core_type = self.core_type or self.core_id
        self.core_id = self.core_id or self.core_type

    def change_mode(self, value: Json) -> bool:
        """Adopt a mode; returns whether it is another one than before. The room starts anew in it."""
        mode = known_mode_untrusted(value)
        if mode is None or mode is self.netplay_mode:
            return False
        self.netplay_mode = mode
        self.room_phase = self.first_phase
        return True

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


_DESCRIPTIONS = (
    ("rom_hash", "romHash", "rom_hash"),
    ("rom_name", "rom_name", "romFilename"),
    ("core_type", "core_type"),
    ("core_id", "coreId"),
    ("core_version", "coreVersion"),
    ("system", "system"),
    ("platform", "platform"),
    ("system_type", "systemType"),
)
"""Attributes and the keys that clients have for them."""


def _text(fields: Mapping[str, Json], *names: str) -> str | None:
    """The first of the named fields that is a non-empty string of acceptable length."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and 0 < len(value) <= MAX_FIELD_LENGTH:
            return value
    return None


def _phase(value: Json, mode: Mode) -> Phase:
    """Lobby or running as the client says. Nobody starts on the way from one to the other, where there would
    be no one to wait for."""
    if value in (Phase.LOBBY, Phase.RUNNING):
        return Phase(value)
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

from __future__ import annotations

from typing import Any

import pytest

from sfu.rooms.names import Mode, Phase
from sfu.rooms.settings import MAX_FIELD_LENGTH, RoomSettings


def settings(**fields: Any) -> RoomSettings:
    return RoomSettings.from_extra(fields, 4, "")


def test_a_bare_room_streams_live_and_plays_nothing_in_particular() -> None:
    room = settings()
    assert (room.netplay_mode, room.room_phase, room.spectator_mode) == (Mode.LIVE_STREAM, Phase.RUNNING, 1)
    assert (room.sync_config, room.game_id) == (None, None)
    assert set(room.game().values()) == {None}


def test_delay_sync_starts_in_the_lobby() -> None:
    assert settings(netplay_mode=1).room_phase is Phase.LOBBY
    assert settings(netplay_mode=1, room_phase="running").room_phase is Phase.RUNNING
    assert settings(netplay_mode=1, room_phase="nonsense").room_phase is Phase.LOBBY
    assert settings(room_phase={}).room_phase is Phase.RUNNING


def test_nobody_starts_where_there_is_nobody_to_wait_for() -> None:
    assert settings(netplay_mode=1, room_phase="prepare").room_phase is Phase.LOBBY
    assert settings(room_phase="prepare").room_phase is Phase.RUNNING


@pytest.mark.parametrize(
    ("fields", "game"),
    [
        ({"romHash": "a", "rom_hash": "b"}, {"rom_hash": "a", "romHash": "a"}),
        ({"rom_hash": "b"}, {"rom_hash": "b", "romHash": "b"}),
        ({"romHash": None, "rom_hash": "b"}, {"rom_hash": "b", "romHash": "b"}),
        ({"core_type": "t"}, {"core_type": "t", "coreId": "t"}),
        ({"coreId": "i"}, {"core_type": "i", "coreId": "i"}),
        ({"core_type": "t", "coreId": "i"}, {"core_type": "t", "coreId": "i"}),
        ({"rom_name": "", "romFilename": "f"}, {"rom_name": "f"}),
        ({"system": "s", "platform": "p", "coreVersion": "v", "systemType": "y"},
         {"system": "s", "platform": "p", "coreVersion": "v", "systemType": "y"}),
        ({"system": 5, "platform": {}, "rom_hash": ["x"]}, {}),
        ({"system": "x" * MAX_FIELD_LENGTH}, {"system": "x" * MAX_FIELD_LENGTH}),
        ({"system": "x" * (MAX_FIELD_LENGTH + 1)}, {}),
    ],
)  # fmt: skip
def test_the_game_has_its_aliases(fields: dict[str, Any], game: dict[str, Any]) -> None:
    assert {name: value for name, value in settings(**fields).game().items() if value is not None} == game


@pytest.mark.contract("D56", "M13")
@pytest.mark.parametrize(("given", "kept"), [(0, 0), (1, 1), (False, 0), (None, 1), ("x", 1), (2, 2)])
def test_spectator_mode_0_stays_0(given: Any, kept: int) -> None:
    assert settings(spectator_mode=given).spectator_mode == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [(5, 5), ("g", "g"), (None, None), (True, None), ([], None), ("x" * (MAX_FIELD_LENGTH + 1), None)],
)
def test_a_game_id_is_a_number_or_text(given: Any, kept: Any) -> None:
    assert settings(game_id=given).game_id == kept


@pytest.mark.contract("D39")
@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({}, {}),
        ({"rom_hash": "x"}, {"rom_hash": "x", "romHash": "x"}),
        ({"romHash": "x"}, {"rom_hash": "x", "romHash": "x"}),
        ({"romHash": None}, {"rom_hash": None, "romHash": None}),
        ({"core_type": None, "coreId": "j"}, {"core_type": "j", "coreId": "j"}),
        ({"core_type": None, "coreId": None}, {"core_type": None, "coreId": None}),
        ({"system": None}, {"system": None}),
        ({"system": 5, "rom_hash": "x" * (MAX_FIELD_LENGTH + 1)}, {}),
    ],
)  # fmt: skip
def test_describing_a_game_again(fields: dict[str, Any], changed: dict[str, Any]) -> None:
    room = settings(rom_hash="h", core_type="c", coreId="i", system="s")
    before = room.game()
    room.describe(fields)
    assert room.game() == before | changed
    assert (room.netplay_mode, room.max_players, room.password) == (Mode.LIVE_STREAM, 4, "")


@pytest.mark.contract("D57")
def test_changing_the_mode() -> None:
    room = settings()
    assert room.change_mode("delay_sync")
    assert (room.netplay_mode, room.room_phase) == (Mode.DELAY_SYNC, Phase.LOBBY)
    for same in (1, "delay_sync", None, "nonsense", True, [1]):
        assert not room.change_mode(same)
    assert room.change_mode(2)
    assert (room.netplay_mode, room.room_phase) == (Mode.ARCADE, Phase.RUNNING)

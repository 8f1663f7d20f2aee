"""The join errors of delay sync; clients build a dialog from these objects."""

from __future__ import annotations

from typing import Any

import pytest

from sfu.rooms.compat import misfit
from sfu.rooms.settings import RoomSettings


def refusal(room: dict[str, Any], client: dict[str, Any]) -> Any:
    settings = RoomSettings.from_extra({"netplay_mode": 1, "rom_name": "Game", **room}, 4, "")
    return misfit(settings, client)


ROOM = {"rom_hash": "h", "core_type": "c"}


@pytest.mark.contract("D55")
@pytest.mark.parametrize(
    "client", [{"rom_hash": "x"}, {"core_type": "x"}, {"rom_hash": "h", "core_type": "x"}]
)
def test_a_different_game_may_watch_where_watching_is_allowed(client: dict[str, Any]) -> None:
    assert refusal(ROOM, client) == {
        "error": "incompatible_game",
        "message": "ROM or emulator core doesn't match room requirements",
        "canJoinAsSpectator": True,
        "requiredRomHash": "h",
        "requiredCoreType": "c",
    }
    assert refusal(ROOM | {"spectator_mode": 0}, client) == {
        "error": "incompatible_game",
        "message": "ROM or emulator core doesn't match room requirements and spectators are not allowed",
        "canJoinAsSpectator": False,
    }


def test_a_host_without_a_hash_or_a_core() -> None:
    assert refusal({"core_type": "c"}, {"rom_hash": "h"}) == {
        "error": "delay_sync_requirements_not_met",
        "message": "Room host has not provided ROM hash. Delay sync requires exact ROM matching.",
        "canJoinAsSpectator": False,
    }
    assert refusal({"rom_hash": "h"}, {"rom_hash": "h"})["message"] == (
        "Room host has not provided emulator core type. Delay sync requires exact core matching."
    )


def test_a_client_without_a_hash() -> None:
    assert refusal(ROOM, {}) == {
        "error": "delay_sync_requirements_not_met",
        "message": (
            "ROM hash mismatch: room requires 'h', client has 'none'. Delay sync requires exact ROM match."
        ),
        "canJoinAsSpectator": False,
        "compatibilityIssues": ["ROM hash: room requires 'h', client has 'none'"],
        "requiredMetadata": {"rom_hash": "h", "rom_name": "Game", "core_type": "c"},
    }


def test_a_client_without_a_core() -> None:
    error = refusal(ROOM, {"rom_hash": "h"})
    assert error["message"] == (
        "Emulator core mismatch: room requires 'c', client has 'none'. Delay sync requires exact core match."
    )
    assert error["compatibilityIssues"] == ["Emulator core: room requires 'c', client has 'none'"]


@pytest.mark.contract("M4")
def test_the_same_game_fits_and_other_modes_do_not_ask() -> None:
    assert refusal(ROOM, ROOM) is None
    assert refusal(ROOM | {"netplay_mode": 0}, {"rom_hash": "other"}) is None

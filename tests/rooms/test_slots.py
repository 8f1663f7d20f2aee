from __future__ import annotations

import pytest

from sfu.rooms import slots
from sfu.rooms.names import Refused
from sfu.rooms.slots import SPECTATOR


@pytest.mark.contract("D34")
@pytest.mark.parametrize(
    ("wanted", "taken", "slot"),
    [
        (None, set(), 0),
        (None, {0, 1}, 2),
        (2, {0}, 2),
        (0, {0}, 1),
        (-1, set(), 0),
        (3, {0}, 1),
        (7, set(), 0),
        (SPECTATOR, {0, 1, 2}, SPECTATOR),
    ],
)
def test_a_newcomer_gets_the_wanted_seat_or_the_lowest_free_one(
    wanted: int | None, taken: set[int], slot: int
) -> None:
    assert slots.seat_newcomer(wanted, taken, 3, full=False) == slot


def test_a_newcomer_finds_a_full_room_full() -> None:
    with pytest.raises(Refused, match="room full"):
        slots.seat_newcomer(1, {0}, 3, full=True)


@pytest.mark.contract("D35")
@pytest.mark.parametrize(
    ("held", "wanted", "slot"),
    [(0, 2, 2), (0, 1, 0), (0, None, 0), (0, 9, 0), (0, 8, 8), (8, 1, 8), (8, 0, 0), (8, None, 8)],
)
def test_who_returns_keeps_the_seat_unless_the_wanted_one_is_free(
    held: int, wanted: int | None, slot: int
) -> None:
    assert slots.seat_returning(held, wanted, {1}, 3, may_play=True) == slot
    kept = held if held == SPECTATOR else slot
    assert slots.seat_returning(held, wanted, {1}, 3, may_play=False) == kept


@pytest.mark.parametrize(("held", "wanted"), [(0, 0), (0, 2), (0, 8), (8, 2), (8, 8)])
def test_moving_to_a_free_seat_or_to_watch(held: int, wanted: int) -> None:
    assert slots.change_slot(held, wanted, {1}, 3, full=False) == wanted


@pytest.mark.contract("D36", "D37", "M26")
@pytest.mark.parametrize(
    ("held", "wanted", "taken", "error"),
    [
        (0, -1, {1}, "invalid slot"),
        (0, 3, {1}, "invalid slot"),
        (0, 9, {1}, "invalid slot"),
        (0, 1, {1}, "slot taken"),
        (8, 1, {1}, "slot taken"),
        (8, 1, {0, 1, 2}, "room full"),
        (8, 5, {0, 1, 2}, "invalid slot"),
    ],
)
def test_other_moves_are_refused(held: int, wanted: int, taken: set[int], error: str) -> None:
    with pytest.raises(Refused, match=error):
        slots.change_slot(held, wanted, taken, 3, full=len(taken) == 3)

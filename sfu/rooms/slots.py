"""Seats. A player holds one of the slots 0 to ``max_players - 1`` alone; any number of spectators share 8."""

from __future__ import annotations

from collections.abc import Collection

from sfu.rooms.names import Refused, whole_number

SPECTATOR = 8
"""The slot of everyone who watches."""


def wanted_slot(value: object) -> int | None:
    """What a joining client asks for: a number, or None (missing or not a whole number) for any free seat."""
    return whole_number(value)


def is_seat(slot: int, max_players: int) -> bool:
    return 0 <= slot < max_players


def lowest_free(taken: Collection[int], max_players: int) -> int | None:
    return next((slot for slot in range(max_players) if slot not in taken), None)


def seat_newcomer(wanted: int | None, taken: Collection[int], max_players: int, *, full: bool) -> int:
    """The slot of a newcomer: the wanted one if it is a free seat, else the lowest free one.

    Raises ``room full`` when the room is ``full``: free seats may be held for others. Spectators always find
    room here.
    """
    if wanted == SPECTATOR:
        return SPECTATOR
    if full:
        raise Refused("room full")
    if wanted is not None and is_seat(wanted, max_players) and wanted not in taken:
        return wanted
    slot = lowest_free(taken, max_players)
    assert slot is not None, "a room with every seat taken is full"
    return slot


def seat_returning(
    held: int, wanted: int | None, taken: Collection[int], max_players: int, *, may_play: bool
) -> int:
    """The slot of a member who joins again: the wanted one if it is free (or spectating), else the one held.

    ``taken`` are the other members' seats. Who watches goes on watching unless it ``may_play``.
    """
    if wanted == SPECTATOR:
        return SPECTATOR
    if wanted is None or not is_seat(wanted, max_players) or wanted in taken:
        return held
    return wanted if held != SPECTATOR or may_play else held


def change_slot(held: int, wanted: int, taken: Collection[int], max_players: int, *, full: bool) -> int:
    """The slot of a member who asks to move. ``taken`` are the other members' seats.

    Raises ``invalid slot``, ``room full`` (a spectator where no seat is free) or ``slot taken``.
    """
    if wanted == SPECTATOR:
        return SPECTATOR
    if not is_seat(wanted, max_players):
        raise Refused("invalid slot")
    if held == SPECTATOR and full:
        raise Refused("room full")
    if wanted in taken:
        raise Refused("slot taken")
    return wanted

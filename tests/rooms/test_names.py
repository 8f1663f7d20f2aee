from __future__ import annotations

from typing import Any

import pytest

from sfu.rooms import names
from sfu.rooms.limits import DEFAULT_LIMITS, RoomLimits
from sfu.rooms.names import Mode, Refused


@pytest.mark.contract("D26")
@pytest.mark.parametrize(
    ("given", "clean"), [("R1", "R1"), ("  a b\t", "a b"), ("ü😀", "ü😀"), ("x" * 64, "x" * 64)]
)
def test_a_room_name_is_trimmed(given: str, clean: str) -> None:
    assert names.parse_room_name_untrusted(given) == clean


@pytest.mark.contract("D26")
@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "  ",
        5,
        True,
        [],
        {},
        b"R",
        "x" * (DEFAULT_LIMITS.room_name_length + 1),
        "a\nb",
        "a\x00b",
        "a\u2028b",
        "a\u202eb",
        "\ud800",
    ],
)
def test_other_room_names_are_invalid(given: Any) -> None:
    with pytest.raises(Refused) as refusal:
        names.parse_room_name_untrusted(given)
    assert refusal.value.error == "invalid"


@pytest.mark.parametrize(("given", "clean"), [(None, ""), ("", ""), ("pw", "pw"), ("x" * 256, "x" * 256)])
def test_passwords_are_strings(given: Any, clean: str) -> None:
    assert names.parse_password_untrusted(given) == clean


@pytest.mark.contract("D58")
@pytest.mark.parametrize("given", [5, True, ["a"], "x" * (DEFAULT_LIMITS.password_length + 1)])
def test_other_passwords_are_invalid(given: Any) -> None:
    with pytest.raises(Refused):
        names.parse_password_untrusted(given)


def test_lengths_can_be_set() -> None:
    limits = RoomLimits(room_name_length=2, password_length=2)
    assert names.parse_room_name_untrusted(" RR ", limits) == "RR"
    assert names.parse_password_untrusted("pw", limits) == "pw"
    for parse in (names.parse_room_name_untrusted, names.parse_password_untrusted):
        with pytest.raises(Refused):
            parse("abc", limits)


@pytest.mark.contract("D58")
@pytest.mark.parametrize(
    ("given", "same"),
    [
        ("pw", True),
        ("pW", False),
        ("", False),
        (None, False),
        (0, False),
        ("\ud800", False),
        ("pw" * 999, False),
    ],
)
def test_only_the_same_string_is_the_password(given: Any, same: bool) -> None:
    assert names.same_password("pw", given) is same


@pytest.mark.contract("D95")
@pytest.mark.parametrize(("given", "clean"), [(None, 4), (1, 1), (8, 8), ("3", 3), (" 2 ", 2), (4.0, 4)])
def test_a_capacity_is_a_whole_number_of_seats(given: Any, clean: int) -> None:
    assert names.parse_max_players_untrusted(given) == clean


@pytest.mark.contract("D95")
@pytest.mark.parametrize(
    "given", [0, 9, -1, 1.5, True, "", "x", "-1", "1.5", "²", "9" * 5000, [], {}, float("nan"), float("inf")]
)
def test_other_capacities_are_invalid(given: Any) -> None:
    with pytest.raises(Refused):
        names.parse_max_players_untrusted(given)


@pytest.mark.contract("D57")
@pytest.mark.parametrize(
    ("given", "mode"),
    [
        (0, Mode.LIVE_STREAM),
        (1, Mode.DELAY_SYNC),
        (1.0, Mode.DELAY_SYNC),
        (2, Mode.ARCADE),
        ("delay_sync", Mode.DELAY_SYNC),
        ("arcade", Mode.ARCADE),
        ("1", Mode.LIVE_STREAM),
        (True, Mode.LIVE_STREAM),
        (None, Mode.LIVE_STREAM),
        ({}, Mode.LIVE_STREAM),
        (3, Mode.LIVE_STREAM),
    ],
)
def test_modes_are_names_or_numbers(given: Any, mode: Mode) -> None:
    assert names.parse_mode_untrusted(given) is mode

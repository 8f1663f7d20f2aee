from __future__ import annotations

from typing import Any

import pytest

from sfu.rooms.extra import SERVER_KEYS, check_json_untrusted, parse_extra_untrusted
from sfu.rooms.limits import DEFAULT_LIMITS, RoomLimits
from sfu.rooms.names import Refused


def nested(depth: int, key: str | None = None) -> Any:
    """Arrays in arrays, or objects in objects."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if key is None else {key: value}
    return value


def test_own_keys_are_kept_in_order_and_the_name_is_trimmed() -> None:
    extra = parse_extra_untrusted({"custom": {"a": [1, None, "ü"]}, "room_name": " R ", "netplay_mode": 0})
    assert extra.room_name == "R"
    assert list(extra.fields.items()) == [
        ("custom", {"a": [1, None, "ü"]}),
        ("room_name", "R"),
        ("netplay_mode", 0),
    ]


@pytest.mark.contract("D20", "M20")
def test_keys_of_the_server_are_dropped() -> None:
    forged = dict.fromkeys(SERVER_KEYS, True)
    extra = parse_extra_untrusted({"room_name": "R"} | forged)
    assert extra.fields == {"room_name": "R"}


@pytest.mark.contract("D34")
@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"player_slot": None}, None),
        ({"player_slot": "2"}, None),
        ({"player_slot": True}, None),
        ({"player_slot": 1.5}, None),
        ({"player_slot": 2}, 2),
        ({"player_slot": 2.0}, 2),
        ({"player_slot": -1}, -1),
        ({"player_slot": 8}, 8),
        ({"player_slot": 1, "is_spectator": True}, 8),
        ({"player_slot": 1, "is_spectator": 1}, 1),
    ],
)
def test_the_slot_asked_for(fields: dict[str, Any], wanted: int | None) -> None:
    assert parse_extra_untrusted({"room_name": "R"} | fields).wanted == wanted


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "R",
        {},
        {"room_name": 5},
        {"room_name": "R", "x": b"bytes"},
        {"room_name": "R", "x": {1: 2}},
        {"room_name": "R", "x": float("nan")},
        {"room_name": "R", "x": float("inf")},
        {"room_name": "R", "x": 2**53},
        {"room_name": "R", "x": "\ud800"},
        {"room_name": "R", "\udfff": 1},
        {"room_name": "R", "x": (1,)},
    ],
)
def test_what_is_not_plain_json_with_a_room_name_is_invalid(value: Any) -> None:
    with pytest.raises(Refused) as refusal:
        parse_extra_untrusted(value)
    assert refusal.value.error == "invalid"


@pytest.mark.contract("D20")
def test_the_number_of_keys_is_bounded() -> None:
    fields: dict[str, Any] = {"room_name": "R"} | {f"k{n}": n for n in range(DEFAULT_LIMITS.extra_keys - 1)}
    parse_extra_untrusted(fields)
    with pytest.raises(Refused):
        parse_extra_untrusted(fields | {"more": 1})


@pytest.mark.contract("D20")
def test_the_depth_is_bounded_however_deep_it_gets() -> None:
    parse_extra_untrusted({"room_name": "R", "x": nested(DEFAULT_LIMITS.extra_depth - 1)})
    parse_extra_untrusted({"room_name": "R", "x": nested(DEFAULT_LIMITS.extra_depth - 1, "key")})
    for depth in (DEFAULT_LIMITS.extra_depth, 100_000):
        with pytest.raises(Refused):
            parse_extra_untrusted({"room_name": "R", "x": nested(depth)})
        with pytest.raises(Refused):
            parse_extra_untrusted({"room_name": "R", "x": nested(depth, "key")})


@pytest.mark.contract("D20")
def test_the_bytes_are_bounded_and_count_as_utf8() -> None:
    spare = DEFAULT_LIMITS.extra_bytes - 100
    parse_extra_untrusted({"room_name": "R", "x": "a" * spare})
    parse_extra_untrusted({"room_name": "R", "x": "ü" * (spare // 2)})
    for text in ("a" * DEFAULT_LIMITS.extra_bytes, "ü" * spare):
        with pytest.raises(Refused):
            parse_extra_untrusted({"room_name": "R", "x": text})
    with pytest.raises(Refused):
        parse_extra_untrusted({"room_name": "R", "x": [0] * DEFAULT_LIMITS.extra_bytes})


def test_scalars_pass_the_check() -> None:
    values: list[Any] = [None, True, 0, -1.5, "x", [], {}]
    for value in values:
        check_json_untrusted(value, max_bytes=64, max_depth=1)


def test_the_bounds_can_be_set() -> None:
    limits = RoomLimits(room_name_length=2, extra_keys=2, extra_bytes=64, extra_depth=2)
    assert parse_extra_untrusted({"room_name": "RR", "x": [1]}, limits).room_name == "RR"
    for value in ({"room_name": "RRR"}, {"room_name": "R", "x": [[1]]}, {"room_name": "R", "x": "y" * 64}):
        with pytest.raises(Refused):
            parse_extra_untrusted(value, limits)
    with pytest.raises(Refused):
        parse_extra_untrusted({"room_name": "R", "x": 1, "y": 2}, limits)

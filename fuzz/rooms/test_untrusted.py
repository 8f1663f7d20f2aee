"""Whatever JSON a client sends is cleaned or refused, and what is kept can be sent on."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sfu.rooms import Broadcast, Refused, Rejected, UsersUpdated, parse_extra_untrusted
from sfu.rooms.extra import SERVER_KEYS
from sfu.rooms.limits import DEFAULT_LIMITS
from sfu.rooms.names import (
    parse_max_players_untrusted,
    parse_mode_untrusted,
    parse_password_untrusted,
    parse_room_name_untrusted,
    same_password,
)
from sfu.rooms.settings import RoomSettings
from sfu.rooms.slots import wanted_slot
from tests.support.rooms import World

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.text(st.characters(exclude_categories=[]), max_size=5)
    | st.binary()
)
KEYS = st.sampled_from(
    [
        "room_name",
        "player_slot",
        "netplay_mode",
        "sync_config",
        "game_id",
        "romHash",
        "room_phase",
        *SERVER_KEYS,
    ]
) | st.text(max_size=8)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20)


@given(
    VALUES
    | st.dictionaries(KEYS, VALUES)
    | st.dictionaries(KEYS, VALUES).map(lambda d: d | {"room_name": "R"})
)
def test_any_extra_is_cleaned_or_refused(value: Any) -> None:
    try:
        extra = parse_extra_untrusted(value)
    except Refused as refusal:
        assert refusal.error == "invalid"
        return
    assert extra.room_name == extra.room_name.strip()
    assert 1 <= len(extra.room_name) <= DEFAULT_LIMITS.room_name_length
    assert not SERVER_KEYS & extra.fields.keys()
    assert len(extra.fields) <= DEFAULT_LIMITS.extra_keys
    encoded = msgspec.json.encode(extra.fields)
    assert msgspec.json.decode(encoded) == extra.fields
    assert len(encoded) <= 8 * DEFAULT_LIMITS.extra_bytes
    assert parse_extra_untrusted(dict(extra.fields)).fields == extra.fields
    room = RoomSettings.from_extra(extra.fields, 4, "")
    msgspec.json.encode([room.game(), room.game_id, room.sync_config, room.netplay_mode, room.room_phase])


@given(VALUES)
def test_any_value_is_a_setting_or_refused(value: Any) -> None:
    for parse in (parse_room_name_untrusted, parse_password_untrusted, parse_max_players_untrusted):
        try:
            parse(value)
        except Refused as refusal:
            assert refusal.error == "invalid"
    parse_mode_untrusted(value)
    wanted_slot(value)
    same_password("pw", value)


@given(VALUES | st.dictionaries(st.text(max_size=3), VALUES))
def test_any_value_may_come_where_the_model_judges(value: Any) -> None:
    world = World()
    world.open("ann", netplay_mode=1, rom_hash="h", core_type="c", coreVersion="v")
    world.join("bob", rom_hash="h", core_type="c")
    world.ready("bob")
    world.ready("ann")
    world.start("ann")
    for effects in (
        world.join("bob", password=value),
        world.reserve("cat", password=value),
        world.describe_player("bob", value),
        world.describe_room("ann", value),
        world.chat("bob", value),
        world.info("bob", value, value, value, mode=value),
        world.at_frame("bob", value),
    ):
        for effect in effects:
            match effect:
                case Rejected(refusal):
                    assert refusal
                case Broadcast(_, _, payload):
                    assert msgspec.json.decode(msgspec.json.encode(payload)) == payload
                case UsersUpdated(_, shown, _):
                    assert msgspec.json.decode(msgspec.json.encode(shown)) == shown
    assert world.rooms.signal_target("ann", value, value) is None
    msgspec.json.encode([world.rooms.listing(), world.rooms.http_room("R"), world.room().details()])

"""Every limit is a variable, with the default and the meaning that its class gives it."""

from __future__ import annotations

from dataclasses import fields

import pytest

from sfu.config import load
from sfu.config.limits import LARGEST, LIMITS
from sfu.rooms.limits import RoomLimits
from sfu.signaling.limits import SignalingLimits
from sfu.signaling.settings import SignalingSettings
from sfu.worker.limits import IceTcpLimits
from tests.config.reading import ALONE, CPUS, alone, problems


def test_all_limits_are_there_once() -> None:
    owners = (RoomLimits, SignalingLimits, IceTcpLimits)
    names = [field.name for owner in owners for field in fields(owner)]
    names += [field.name for field in fields(SignalingSettings) if field.name.startswith("max_")]
    names.remove("max_payload")  # SFU_MAX_PAYLOAD_BYTES
    assert list(LIMITS) == [f"SFU_LIMIT_{name.upper()}" for name in names]
    assert len(names) == len(set(names))


def test_some_names_that_people_rely_on() -> None:
    for variable in ("ROOMS", "CHAT_LENGTH", "EVENTS_BURST", "CONSUMERS", "MAX_CONNECTIONS_PER_REMOTE"):
        assert f"SFU_LIMIT_{variable}" in LIMITS


def test_defaults() -> None:
    values = alone()
    assert (values.room_limits, values.signaling_limits) == (RoomLimits(), SignalingLimits())
    assert values.transport_limits == SignalingSettings()


@pytest.mark.parametrize("variable", LIMITS)
def test_a_limit_is_set_and_no_other(variable: str) -> None:
    limit = LIMITS[variable]
    number = 1_000_001  # enough for the longest message, which queues must hold
    loaded = load({**ALONE, variable: f" {number} "}, cpus=CPUS)
    assert loaded.origins == {"standalone": "SFU_STANDALONE", variable: variable}
    for other in LIMITS.values():
        value = getattr(getattr(loaded.settings, other.group), other.name)
        assert value == (number if other is limit else other.default)


@pytest.mark.contract("D6")
@pytest.mark.parametrize("variable", LIMITS)
def test_a_wrong_limit_is_named(variable: str) -> None:
    for text in ("0", "-1", "x", str(LARGEST + 1)):
        assert problems({**ALONE, variable: text}) == [
            f"{variable}={text!r}: must be a whole number from 1 to 1000000000"
        ]


def test_blank_is_unset_and_leading_digits_count() -> None:
    variable = "SFU_LIMIT_ROOMS"
    assert alone(**{variable: " "}).room_limits.rooms == RoomLimits().rooms
    loaded = load({**ALONE, variable: "7 rooms"}, cpus=CPUS)
    assert loaded.settings.room_limits.rooms == 7
    assert loaded.warnings == (f"{variable}: taken as 7",)


def test_every_limit_says_what_it_is() -> None:
    for variable, limit in LIMITS.items():
        assert limit.description.endswith("."), variable
        assert "``" not in limit.description
        assert "  " not in limit.description
    assert LIMITS["SFU_LIMIT_CHATS_PER_SECOND"].description == "`chat-message`, of one socket."
    assert LIMITS["SFU_LIMIT_CHATS_BURST"].description == "The same at once, before the rate matters."

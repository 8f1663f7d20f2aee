from __future__ import annotations

from dataclasses import fields

import pytest

from sfu.rooms import RoomLimits


@pytest.mark.parametrize("name", [field.name for field in fields(RoomLimits)])
def test_every_limit_is_at_least_one(name: str) -> None:
    RoomLimits(**{name: 1})
    with pytest.raises(ValueError, match=name):
        RoomLimits(**{name: 0})

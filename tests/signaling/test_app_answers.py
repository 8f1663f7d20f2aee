"""What acknowledgements say: never nothing for a failure, and nothing that reads like something else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

import sfu
from sfu.signaling.access import WRITE_TOKEN_REQUIRED
from sfu.worker.port import MediaError
from tests.support.app_world import AppWorld

SOURCES = Path(sfu.__file__).parent


def refusals() -> Iterator[str]:
    """Every text in the source that a refused event can be answered with."""
    for folder in ("rooms", "signaling"):
        for path in (SOURCES / folder).glob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("Refused", "_unmet"):
                    for node in ast.walk(call):
                        if isinstance(node, ast.Constant) and isinstance(node.value, str):
                            yield node.value


@pytest.mark.contract("M19", "D85")
def test_no_refusal_reads_like_one_of_authentication() -> None:
    texts = set(refusals())
    assert {"no such room", "not in room", "too many rooms", "slot taken"} <= texts
    assert not [text for text in texts if re.search("unauthorized|token|auth", text) or not text]


@pytest.mark.contract("M19")
def test_the_one_that_does_is_meant_to() -> None:
    """It makes clients fetch a new token, which is what is needed."""
    assert "token" in WRITE_TOKEN_REQUIRED


@pytest.mark.contract("D85")
async def test_an_error_without_words_is_still_an_error(
    autojump_clock: MockClock, world: AppWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise MediaError

    ann = await world.host("ann")
    monkeypatch.setattr(world.media, "create_transport", fail)
    assert await ann.call("sfu-create-transport", {}) == ["error"]


@pytest.mark.parametrize(
    ("payload", "seats"), [({"max_players": 2}, 2), ({"max_players": "3"}, 3), ({"maxPlayers": 2}, 4)]
)
async def test_an_old_name_of_opening_a_room(
    autojump_clock: MockClock, world: AppWorld, payload: dict[str, Any], seats: int
) -> None:
    ann = await world.connect("ann")
    assert await ann.call("create-room", {"extra": {"room_name": "R"}, "password": "pw", **payload}) == [None]
    assert ann.events() == ["users-updated", "rooms-updated", "ack"]
    assert world.rooms.listing()[0]["max"] == seats
    assert world.rooms.listing()[0]["hasPassword"] is True
    assert await ann.call("create-room", {"extra": {}}) == ["invalid"]


@pytest.mark.contract("M2")
@pytest.mark.parametrize(
    ("old", "new"), [("sfu-produce-data", "producedata"), ("sfu-consume-data", "consumedata")]
)
async def test_old_names_of_data_events_are_answered_alike(
    autojump_clock: MockClock, world: AppWorld, old: str, new: str
) -> None:
    ann = await world.host("ann")
    for payload in ({"transportId": "x", "sctpStreamParameters": {}}, {"dataProducerId": "x"}, {}):
        answer = await ann.call(old, payload)
        assert answer == await ann.call(new, payload)
        assert answer


@pytest.mark.contract("D43")
async def test_one_room_at_a_time(autojump_clock: MockClock, world: AppWorld) -> None:
    await world.host("alice", "A")
    bob = await world.host("bob", "B")
    await bob.ask("join-room", {"extra": {"room_name": "A"}})
    assert [room.name for room in world.rooms] == ["A"]
    assert await bob.call("leave-room", {"roomName": "B"}) == ["no such room"]
    await world.settle()
    assert set(world.romm.rooms) == {"A"}

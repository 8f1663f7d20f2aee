"""The conversations of ``scripts/``, held with a real daemon. The README describes their form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.conversations.script import Script, read_script
from tests.conversations.stage import World, play
from tests.support.daemon import clean, running_daemon

SCRIPTS = [
    read_script(path, path.read_text()) for path in sorted(Path(__file__).with_name("scripts").glob("*.txt"))
]
SECRET = "a secret of both sides"
SETTINGS = {
    "ROMM_SFU_INTERNAL_SECRET": SECRET,
    "SFU_DEBUG_ROUTES": "1",
    "SFU_STUN_SERVERS": "stun.example.org:3478",
    "SFU_TURN_SERVER1": "turn.example.org",
    "SFU_TURN_USER1": "ann",
    "SFU_TURN_PASS1": "secret",
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One daemon for all conversations."""
    with running_daemon(variables=SETTINGS) as daemon:
        yield World(daemon, SECRET)
        assert clean(daemon.stderr)


def as_parameter(script: Script) -> Any:
    """A test of its own, which proves what the script says."""
    marks = [pytest.mark.contract(*script.proves)] if script.proves else []
    return pytest.param(script, id=script.path.stem, marks=marks)


@pytest.mark.interop
@pytest.mark.parametrize("script", [as_parameter(script) for script in SCRIPTS])
def test_conversation(world: World, script: Script) -> None:
    found = trio.run(play, world, script)
    if found is not None:
        pytest.fail(str(found), pytrace=False)


@pytest.mark.interop
@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("alice connects\nalice -> sfu-available {}\nalice <= [true]", "talk.txt:3: alice <= [true]"),
        ("alice connects\nalice -> open-room {}\nalice <- users-updated {}", "alice heard <="),
        ('alice connects\nalice -> open-room {}\nalice connects with {"auth":{}}', "refused:"),
        ("alice connects\nalice -> open-room {}\nalice hears nothing", "talk.txt:3: alice hears nothing"),
        ("alice connects\nalice -> open-room {}", "talk.txt:2: the end"),
        ("alice connects\nalice <= [null]", "nothing was asked"),
        ("bob <- x", "bob is not connected"),
        ("alice GET /list\nanswer 404", "404 expected, not 200"),
        ('alice GET /list\nanswer 200 {"a":1}', "'a' is missing"),
        ("alice GET /list\nanswer header x-y: <any>", "there is no header"),
        ("alice GET /list\nanswer no header content-type", "there is a header"),
    ],
)
def test_a_difference_is_found(world: World, text: str, report: str) -> None:
    found = trio.run(play, world, read_script(Path("talk.txt"), text))
    assert report in str(found)

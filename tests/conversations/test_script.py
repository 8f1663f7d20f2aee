"""Reading conversations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conversations.script import BadScript, Script, Step, read_script

PATH = Path("talk.txt")


def read(text: str) -> Script:
    return read_script(PATH, text)


def step(text: str) -> Step:
    [only] = read(text).steps
    return only


def test_a_file() -> None:
    script = read("# What it is about\nproves D1, M27 VER-02\n\nalice connects   # now\nquiet\n")
    assert script.title == "What it is about"
    assert script.proves == ("D1", "M27", "VER-02")
    assert script.rooms == "talk-"
    assert [(s.line, s.verb, s.who) for s in script.steps] == [(4, "connect", ("alice",)), (5, "quiet", ())]


def test_lines_that_go_on() -> None:
    first, second = read('alice -> x {"a":1,\n  # why\n  "b":2}\nbob, carol <- y\n').steps
    assert (first.verb, first.what, first.text) == ("call", "x", '{"a":1,\n"b":2}')
    assert (second.line, second.who, second.verb, second.text) == (4, ("bob", "carol"), "hear", "")


def test_loops() -> None:
    steps = read('for n in 2..4: fan{n} -> x {"n":{n}}').steps
    assert [(s.line, s.who, s.text) for s in steps] == [(1, (f"fan{n}",), f'{{"n":{n}}}') for n in (2, 3, 4)]


@pytest.mark.parametrize(
    ("line", "verb", "what", "text"),
    [
        ("alice connects as bob with {}", "connect", "bob", "{}"),
        ('alice connects with {"a":1}\n  and is refused {"b":2}', "refused", "", '{"a":1}, {"b":2}'),
        ("alice connects and is refused {}", "refused", "", "{}, {}"),
        ("alice <~ x 1, 2", "among", "x", "1, 2"),
        ("alice ~> x", "emit", "x", ""),
        ("alice <= [null]", "ack", "", "[null]"),
        ("alice is thrown out", "dropped", "", ""),
        ("alice, bob hear nothing", "nothing", "", ""),
        ("nobody GET /list?x=1 with {}", "request", "GET", "/list?x=1 with {}"),
        ("answer 200", "answer", "200", ""),
        ("answer header etag: /x/", "header", "etag", "/x/"),
        ("answer no header etag", "no-header", "etag", ""),
        ("let x_y = {}", "let", "x_y", "{}"),
        ("without rooms-updated", "without", "rooms-updated", ""),
    ],
)
def test_steps(line: str, verb: str, what: str, text: str) -> None:
    found = step(line)
    assert (found.verb, found.what, found.text) == (verb, what, text)


@pytest.mark.parametrize(
    "line", ["alice says hello", "alice <= null", "answer maybe", "let x", "Alice connects"]
)
def test_what_is_not_understood(line: str) -> None:
    with pytest.raises(BadScript, match=r"talk\.txt:2"):
        read(f"quiet\n{line}\n")

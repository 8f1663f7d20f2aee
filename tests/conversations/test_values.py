"""Values of conversations: read, sent, compared."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.conversations.values import BadValue, difference, plain, read_value, read_values

NAMED = {"alice.id": "A", "bob.id": "B", "row": {"a": 1, "b": 2}, "n": 5}


def value(text: str) -> Any:
    try:
        return read_value(text, NAMED.__getitem__)
    except KeyError as error:
        raise BadValue(str(error)) from None


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ('{"a":[1,-2.5e1,true,false,null,"x"]}', {"a": [1, -25.0, True, False, None, "x"]}),
        ('{"a":1,\n  # a comment\n "b":2}', {"a": 1, "b": 2}),
        ('{...$row,"b":3}', {"a": 1, "b": 3}),
        ('{$alice.id:"${bob.id}-${n}"}', {"A": "B-5"}),
        ("$row", {"a": 1, "b": 2}),
    ],
)
def test_what_can_be_sent(text: str, meaning: Any) -> None:
    assert plain(value(text)) == meaning


def test_several_values() -> None:
    assert read_values('{}, 1,"x"', NAMED.__getitem__) == [{}, 1, "x"]
    assert read_values("", NAMED.__getitem__) == []


@pytest.mark.parametrize("text", ["{", '{"a"}', "[1", "<nonsense>", "$nobody", "nil", "1 2", "", '{"a":1,}x'])
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(BadValue):
        value(text)


@pytest.mark.parametrize("text", ["<any>", "/x/", '{"a"?:1}', "{...}", "[1,...]", '{"a":[<ms>]}'])
def test_what_cannot_be_sent(text: str) -> None:
    with pytest.raises(BadValue, match="stands for no value"):
        plain(value(text))


NOW = int(time.time() * 1000)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ('{"a":1,"b"?:2}', {"a": 1}),
        ('{"a":1,"b"?:2}', {"b": 2, "a": 1}),
        ('{"a":1,...}', {"a": 1, "z": 9}),
        ("{...$row,...}", {"a": 1, "b": 2, "c": 3}),
        ("[1,...]", [1, 2, 3]),
        ("{$alice.id:1,$bob.id:2}", {"A": 1, "B": 2}),
        ("/h.*o/", "hello"),
        ("<uuid>", "0b8f6c2e-1234-4abc-8def-000000000001"),
        ("<socket>", "ABoqpPgjkz93_4tQAAAG"),
        ("[<any>,<text>,<int>,<number>,<bool>,<list>,<object>]", [None, "x", 1, 1.5, False, [], {}]),
        ("1", 1.0),
    ],
)
def test_what_is_alike(expected: str, found: Any) -> None:
    assert difference(value(expected), found, {}) is None


@pytest.mark.parametrize(
    ("expected", "found", "where"),
    [
        ('{"a":{"b":[1,2]}}', {"a": {"b": [1, 3]}}, "at a.b[1]: 2 expected, not 3"),
        ('{"a":1}', {}, "'a' is missing"),
        ('{"a":1}', {"a": 1, "b": 2}, "'b' should not be there"),
        ('{"a":1,"b"?:2}', {"a": 1, "b": 3}, "at b"),
        ("{$alice.id:1,$bob.id:2}", {"B": 2, "A": 1}, "another order"),
        ("[1]", [1, 2], "1 elements expected, not 2"),
        ("[1,2,...]", [1], "2 elements expected, not 1"),
        ("{}", [], "an object expected"),
        ("[]", {}, "a list expected"),
        ("1", True, "1 expected, not true"),
        ("true", 1, "true expected, not 1"),
        ("0", False, "0 expected, not false"),
        ("null", 0, "null expected"),
        ("/h/", "hello", "expected"),
        ("<int>", True, "<int> expected"),
        ("<int>", 1.5, "<int> expected"),
        ("<text>", "", "<text> expected"),
        ("<uuid>", "0b8f6c2e-1234-1abc-8def-000000000001", "<uuid> expected"),
    ],
)
def test_what_is_not(expected: str, found: Any, where: str) -> None:
    problem = difference(value(expected), found, {})
    assert problem is not None
    assert where in problem


def test_times() -> None:
    now = int(time.time() * 1000)
    assert difference(value("<ms>"), now, {}) is None
    assert difference(value("<ms+60000>"), now + 60_000, {}) is None
    assert difference(value("<ms+60000>"), now, {}) is not None
    assert difference(value("<ms>"), now / 1000, {}) is not None


def test_what_is_captured() -> None:
    captured: dict[str, Any] = {}
    assert (
        difference(value('[null,{"id":<uuid:x>,...},<any:rest>]'), [None, {"id": (i := UUID)}, [1]], captured)
        is None
    )
    assert captured == {"x": i, "rest": [1]}


UUID = "0b8f6c2e-1234-4abc-8def-000000000001"

"""The values of a conversation: JSON with placeholders, and whether a message is what was expected.

Beyond JSON there are

=====================  ==================================================================================
``$name``              a value named before by ``let`` or captured; ``$alice.id`` and the like, see the README
``"…${name}…"``        the same inside a string
``<kind>``             any value of a kind: ``any text uuid socket ms int number bool list object``
``<kind:name>``        the same, and what was found there is called ``$name`` from now on
``<ms+2000>``          a time in epoch milliseconds that lies 2,000 ms after the moment it was made
``/regex/``            a string that matches as a whole
``"key"?: value``      a key that may be missing
``{$name: value}``     a key that is named before; such maps are compared in order, as they are of users
``{...$name, …}``      the members of an object named before; later members replace them
``{…, ...}``           further keys are allowed; in a list, further elements
=====================  ==================================================================================
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

CLOCK_TOLERANCE: Final = 10_000
"""Milliseconds between the making of a time and our reading it, on one machine however busy."""


class BadValue(Exception):
    """The text of a conversation is no value."""


@dataclass(frozen=True, slots=True)
class Anything:
    """``<kind:name>``."""

    kind: str
    offset: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """``/regex/``."""

    pattern: re.Pattern[str]


@dataclass(slots=True)
class Members:
    """An object that is more than plain JSON."""

    values: dict[str, Any] = field(default_factory=dict)
    optional: set[str] = field(default_factory=set)
    more: bool = False
    ordered: bool = False


@dataclass(slots=True)
class Elements:
    """A list that may go on."""

    values: list[Any]


# Reading

_SPACE = re.compile(r"(?:\s|#[^\n]*(?:\n|$))*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAME = re.compile(r"\$([a-z_]\w*(?:\.[a-z_]+)*)")
_INSIDE = re.compile(r"\$\{([^}]*)\}")
_ANYTHING = re.compile(r"<([a-z]+)(?:\+(\d+))?(?::([a-z_]\w*))?>")
_REGEX = re.compile(r"/((?:[^/\\\n]|\\.)*)/")
_WORDS: Final = {"true": True, "false": False, "null": None}


def read_values(text: str, lookup: Callable[[str], Any]) -> list[Any]:
    """Values with commas between them, possibly none.

    :raises BadValue: it is something else, or names what is not known.
    """
    reader = _Reader(text, lookup)
    values: list[Any] = []
    while not reader.at_end():
        if values:
            reader.expect(",")
        values.append(reader.value())
    return values


def read_value(text: str, lookup: Callable[[str], Any]) -> Any:
    """Exactly one value. :raises BadValue: as :func:`read_values`."""
    values = read_values(text, lookup)
    if len(values) != 1:
        raise BadValue(f"one value expected, not {len(values)}")
    return values[0]


class _Reader:
    def __init__(self, text: str, lookup: Callable[[str], Any]) -> None:
        self._text = text
        self._at = 0
        self._lookup = lookup

    def at_end(self) -> bool:
        self._skip()
        return self._at >= len(self._text)

    def expect(self, sign: str) -> None:
        if not self._take(sign):
            raise BadValue(f"{sign!r} expected at {self._text[self._at : self._at + 30]!r}")

    def value(self) -> Any:
        self._skip()
        if self._take("{"):
            return self._object()
        if self._take("["):
            return self._list()
        if (found := self._match(_STRING)) is not None:
            return self._string(found.group())
        if (found := self._match(_NAME)) is not None:
            return self._lookup(found.group(1))
        if (found := self._match(_ANYTHING)) is not None:
            kind, offset, name = found.groups()
            if kind not in _KINDS:
                raise BadValue(f"no such kind of value: <{kind}>")
            return Anything(kind, int(offset or 0), name or "")
        if (found := self._match(_REGEX)) is not None:
            return Text(re.compile(found.group(1), re.DOTALL))
        if (found := self._match(_NUMBER)) is not None:
            return json.loads(found.group())
        for word, meaning in _WORDS.items():
            if self._take(word):
                return meaning
        raise BadValue(f"no value at {self._text[self._at : self._at + 30]!r}")

    def _object(self) -> Any:
        members = Members()
        while not self._take("}"):
            if members.values or members.more:
                self.expect(",")
            if self._take("..."):
                if (found := self._match(_NAME)) is None:
                    members.more = True
                    continue
                base = self._lookup(found.group(1))
                if isinstance(base, Members):
                    members.optional |= base.optional
                    members.more |= base.more
                members.values |= base.values if isinstance(base, Members) else base
                continue
            key = self._key(members)
            if self._take("?"):
                members.optional.add(key)
            else:
                members.optional.discard(key)
            self.expect(":")
            members.values[key] = self.value()
        special = members.optional or members.more or members.ordered
        return members if special else members.values

    def _key(self, members: Members) -> str:
        self._skip()
        if (found := self._match(_STRING)) is not None:
            return self._string(found.group())
        if (found := self._match(_NAME)) is not None:
            members.ordered = True
            return str(self._lookup(found.group(1)))
        raise BadValue(f"no key at {self._text[self._at : self._at + 30]!r}")

    def _list(self) -> Any:
        values: list[Any] = []
        more = False
        while not self._take("]"):
            if values:
                self.expect(",")
            if self._take("..."):
                more = True
                continue
            values.append(self.value())
        return Elements(values) if more else values

    def _string(self, literal: str) -> str:
        try:
            text = json.loads(literal)
        except ValueError:
            raise BadValue(f"no JSON string: {literal}") from None
        return _INSIDE.sub(lambda found: str(self._lookup(found.group(1))), text)

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _take(self, sign: str) -> bool:
        self._skip()
        if self._text.startswith(sign, self._at):
            self._at += len(sign)
            return True
        return False

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self._skip()
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found


def plain(value: Any) -> Any:
    """A value as JSON to be sent.

    :raises BadValue: it has placeholders that stand for no value.
    """
    match value:
        case dict():
            return {key: plain(inner) for key, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case Members(more=False) if not value.optional:
            return plain(value.values)
        case Members() | Elements() | Anything() | Text():
            raise BadValue(f"{show(value)} stands for no value that could be sent")
    return value


# Comparing


def _is_ms(value: Any, offset: int) -> bool:
    made = time.time() * 1000 + offset
    return isinstance(value, int) and not isinstance(value, bool) and abs(made - value) <= CLOCK_TOLERANCE


def _is_int(value: Any, _: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _like(pattern: str) -> Callable[[Any, int], bool]:
    compiled = re.compile(pattern)
    return lambda value, _: isinstance(value, str) and compiled.fullmatch(value) is not None


_KINDS: Final[Mapping[str, Callable[[Any, int], bool]]] = {
    "any": lambda *_: True,
    "text": lambda value, _: isinstance(value, str) and value != "",
    "uuid": _like(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
    "socket": _like(r"[A-Za-z0-9_-]{20}"),
    "ms": _is_ms,
    "int": _is_int,
    "number": lambda value, _: isinstance(value, int | float) and not isinstance(value, bool),
    "bool": lambda value, _: isinstance(value, bool),
    "list": lambda value, _: isinstance(value, list),
    "object": lambda value, _: isinstance(value, dict),
}


def difference(expected: Any, found: Any, captured: dict[str, Any], where: str = "") -> str | None:
    """The first difference, in words; None if there is none. Captures are put into ``captured``."""
    at = f"at {where}: " if where else ""
    match expected:
        case Anything(kind, offset, name):
            if not _KINDS[kind](found, offset):
                return f"{at}{show(expected)} expected, not {show(found)}"
            if name:
                captured[name] = found
            return None
        case Text(pattern):
            if isinstance(found, str) and pattern.fullmatch(found):
                return None
            return f"{at}{show(expected)} expected, not {show(found)}"
        case dict():
            return _object_difference(Members(expected), found, captured, where)
        case Members():
            return _object_difference(expected, found, captured, where)
        case list():
            return _list_difference(expected, found, captured, where, more=False)
        case Elements(values):
            return _list_difference(values, found, captured, where, more=True)
    # 1 == True and 1 == 1.0 in Python; in JSON the first two differ.
    if expected == found and isinstance(expected, bool) == isinstance(found, bool):
        return None
    return f"{at}{show(expected)} expected, not {show(found)}"


def _object_difference(expected: Members, found: Any, captured: dict[str, Any], where: str) -> str | None:
    at = f"at {where}: " if where else ""
    if not isinstance(found, dict):
        return f"{at}an object expected, not {show(found)}"
    for key, value in expected.values.items():
        if key not in found:
            if key in expected.optional:
                continue
            return f"{at}the key {key!r} is missing"
        inner = difference(value, found[key], captured, f"{where}.{key}" if where else key)
        if inner is not None:
            return inner
    surplus = [key for key in found if key not in expected.values]
    if surplus and not expected.more:
        return f"{at}the key {surplus[0]!r} should not be there (it is {show(found[surplus[0]])})"
    if expected.ordered:
        wanted = [key for key in expected.values if key in found]
        if wanted != [key for key in found if key in expected.values]:
            return f"{at}the keys come in another order: {', '.join(found)}"
    return None


def _list_difference(
    expected: list[Any], found: Any, captured: dict[str, Any], where: str, *, more: bool
) -> str | None:
    at = f"at {where}: " if where else ""
    if not isinstance(found, list):
        return f"{at}a list expected, not {show(found)}"
    for i, (value, got) in enumerate(zip(expected, found, strict=False)):
        inner = difference(value, got, captured, f"{where}[{i}]")
        if inner is not None:
            return inner
    if len(found) < len(expected) or (len(found) > len(expected) and not more):
        return f"{at}{len(expected)} elements expected, not {len(found)}: {show(found)}"
    return None


MAX_SHOWN: Final = 600


def show(value: Any) -> str:
    """A value as the conversation would write it, cut to a readable length."""
    text = _show(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + " …"


def _show(value: Any) -> str:
    match value:
        case Anything(kind, offset, _):
            return f"<{kind}+{offset}>" if offset else f"<{kind}>"
        case Text(pattern):
            return f"/{pattern.pattern}/"
        case Members():
            shown = [
                f"{json.dumps(key)}{'?' * (key in value.optional)}:{_show(inner)}"
                for key, inner in value.values.items()
            ]
            return "{" + ",".join(shown + ["..."] * value.more) + "}"
        case Elements(values):
            return "[" + ",".join([*map(_show, values), "..."]) + "]"
        case dict():
            return "{" + ",".join(f"{json.dumps(key)}:{_show(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_show, value)) + "]"
    return json.dumps(value, ensure_ascii=False)

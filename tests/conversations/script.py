"""Reading a conversation: lines of text to steps. The form is described in the README beside this file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

IDS = re.compile(r"[A-Z]+-?\d+")


class BadScript(Exception):
    """A line that says nothing we understand."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line, with its continuations."""

    line: int
    """From 1."""
    verb: str
    who: tuple[str, ...] = ()
    what: str = ""
    """Event, HTTP method, header name, variable, user."""
    text: str = ""
    """Values as written."""
    words: str = ""
    """Its first line, for reports."""


@dataclass(frozen=True, slots=True)
class Script:
    """A conversation file."""

    path: Path
    title: str
    proves: tuple[str, ...]
    """Entries of the wire contracts."""
    steps: tuple[Step, ...]

    @property
    def rooms(self) -> str:
        """What the names of this file's rooms begin with: its own name and a dash."""
        return f"{self.path.stem}-"


_LOOP = re.compile(r"for n in (\d+)\.\.(\d+): ")
_WHO = r"(?P<who>[a-z]\w*(?:, [a-z]\w*)*)"
_ONE = r"(?P<who>[a-z]\w*)"
_FORMS: Final = [
    ("proves", re.compile(r"proves (?P<text>.+)")),
    ("without", re.compile(r"without (?P<what>[a-z-]+)")),
    ("let", re.compile(r"let (?P<what>[a-z_]\w*) = (?P<text>.+)")),
    ("quiet", re.compile(r"quiet")),
    (
        "refused",
        re.compile(
            _ONE
            + r" connects(?: as (?P<what>[a-z]\w*))?(?: with (?P<with>.+?))?\s+and is refused (?P<text>.+)"
        ),
    ),
    ("connect", re.compile(_ONE + r" connects(?: as (?P<what>[a-z]\w*))?(?: with (?P<text>.+))?")),
    ("leave", re.compile(_WHO + r" disconnects")),
    ("lose", re.compile(_WHO + r" is lost")),
    ("dropped", re.compile(_WHO + r" is thrown out")),
    ("nothing", re.compile(_WHO + r" hears? nothing")),
    ("call", re.compile(_ONE + r" -> (?P<what>[\w-]+)(?: (?P<text>.+))?")),
    ("emit", re.compile(_ONE + r" ~> (?P<what>[\w-]+)(?: (?P<text>.+))?")),
    ("hear", re.compile(_WHO + r" <- (?P<what>[\w-]+)(?: (?P<text>.+))?")),
    ("among", re.compile(_WHO + r" <~ (?P<what>[\w-]+)(?: (?P<text>.+))?")),
    ("ack", re.compile(_ONE + r" <= (?P<text>\[.*)")),
    ("request", re.compile(_ONE + r" (?P<what>GET|HEAD|POST|PUT|OPTIONS|DELETE) (?P<text>/.*)")),
    ("no-header", re.compile(r"answer no header (?P<what>[\w-]+)")),
    ("header", re.compile(r"answer header (?P<what>[\w-]+): (?P<text>.+)")),
    ("answer", re.compile(r"answer (?P<what>\d{3})(?: (?P<text>.+))?")),
]


def read_script(path: Path, text: str) -> Script:
    """Take a conversation apart.

    :raises BadScript: with file and line.
    """
    steps: list[Step] = []
    proves: list[str] = []
    title = ""
    for number, line in _repeated(_logical_lines(text)):
        if line.startswith("#"):
            title = title or line.lstrip("# ")
            continue
        step = _step(path, number, line)
        if step.verb == "proves":
            proves += IDS.findall(step.text)
        else:
            steps.append(step)
    return Script(path, title, tuple(proves), tuple(steps))


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Lines with those joined that continue them, being indented; comments by themselves."""
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if not line[0].isspace():
            lines.append((number, line.rstrip()))
        elif not line.lstrip().startswith("#"):
            start, before = lines[-1]
            lines[-1] = (start, f"{before}\n{line.strip()}")
    return lines


def _repeated(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Lines with each loop written out."""
    written: list[tuple[int, str]] = []
    for number, line in lines:
        loop = _LOOP.match(line)
        if loop is None:
            written.append((number, line))
            continue
        first, last = int(loop.group(1)), int(loop.group(2))
        written += [(number, line[loop.end() :].replace("{n}", str(n))) for n in range(first, last + 1)]
    return written


def _step(path: Path, number: int, line: str) -> Step:
    for verb, form in _FORMS:
        found = re.fullmatch(form.pattern + r"(?:\s+#[^\n]*)?", line, re.DOTALL)
        if found is not None:
            parts = found.groupdict()
            text = parts.get("text") or ""
            if parts.get("with"):
                text = f"{parts['with']}, {text}"
            elif verb == "refused":
                text = f"{{}}, {text}"
            who = tuple((parts.get("who") or "").split(", ")) if parts.get("who") else ()
            return Step(number, verb, who, parts.get("what") or "", text, line.partition("\n")[0])
    raise BadScript(f"{path.name}:{number}: not understood: {line}")

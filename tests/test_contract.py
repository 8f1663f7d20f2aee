"""Every entry of the wire contracts is proved by a test that names it.

Tests name entries with ``@pytest.mark.contract("D17", ...)``, browser tests with ``[M11]`` in their title,
conversations with ``proves D17``.
``D``: defects not to reproduce (``signaling.md`` 10). ``M``: mismatches between client and reference
(``client.md`` 7). ``TOK``, ``VER``, ``REG``, ``ICE``, ``NGX``: conformance cases (``romm-api.md`` 8.2); its
cases about profiles, RomM's own configuration and pages concern no endpoint of ours.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

ENTRIES = frozenset(
    [f"D{n}" for n in range(1, 96)]
    + [f"M{n}" for n in range(1, 28)]
    + [f"TOK-{n:02}" for n in range(1, 16)]
    + [f"VER-{n:02}" for n in range(1, 37)]
    + [f"REG-{n:02}" for n in range(1, 22)]
    + ["ICE-01", "ICE-02", "NGX-01", "NGX-03"]
)

_TITLE = re.compile(r"""test\(\s*["'`]([^"'`]*)["'`]""")
_NAMED = re.compile(r"\[([A-Z]+-?\d+)\]")


def _is_marker(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "contract"


def _named_in_python(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and _is_marker(node.func):
            for argument in node.args:
                if isinstance(argument, ast.Constant):
                    yield str(argument.value)


def _named_in_script(path: Path) -> Iterator[str]:
    for title in _TITLE.findall(path.read_text()):
        yield from _NAMED.findall(title)


def _named_in_conversation(path: Path) -> Iterator[str]:
    for line in path.read_text().splitlines():
        if line.startswith("proves "):
            yield from line.split()[1:]


def named() -> dict[str, set[str]]:
    """Entries by the files whose tests name them."""
    found: dict[str, set[str]] = {}
    for folder in ("tests", "fuzz", "client/test"):
        for path in sorted((ROOT / folder).rglob("*")):
            if "node_modules" in path.parts or not path.is_file():
                continue
            if path.suffix == ".py":
                entries = _named_in_python(path)
            elif path.suffix in (".mjs", ".ts"):
                entries = _named_in_script(path)
            elif path.suffix == ".txt" and path.parent.name == "scripts":
                entries = _named_in_conversation(path)
            else:
                continue
            for entry in entries:
                found.setdefault(entry, set()).add(str(path.relative_to(ROOT)))
    return found


def test_every_entry_is_proved_by_a_test_that_names_it() -> None:
    missing = ENTRIES - named().keys()
    assert not missing, f"no test names {', '.join(sorted(missing))}"


def test_tests_name_only_entries_that_exist() -> None:
    unknown = {entry: files for entry, files in named().items() if entry not in ENTRIES}
    assert not unknown

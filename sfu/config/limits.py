"""Limits as settings: each field of the limit classes is one ``SFU_LIMIT_`` variable.

The classes themselves are the only place that knows names, defaults and meanings: a limit added there is a
setting, checked and documented, without another word here.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from sfu.rooms.limits import RoomLimits
from sfu.signaling.limits import SignalingLimits
from sfu.signaling.settings import SignalingSettings
from sfu.worker.limits import IceTcpLimits

PREFIX: Final = "SFU_LIMIT_"
LARGEST: Final = 1_000_000_000
"""No limit may be more; where a higher one made sense there would be no limit."""
ALLOWED: Final = f"a whole number from 1 to {LARGEST}"

_ELSEWHERE: Final = frozenset({"max_payload"})
"""What a client is told, and so a setting with a name of its own."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit."""

    group: str
    """The field of :class:`~sfu.config.settings.Settings` that it is a part of."""
    owner: type
    name: str
    """Its field in there."""
    default: int | None

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def description(self) -> str:
        """What the class says of it. Takes the source code, so it is for documentation only."""
        return _attribute_docstrings(self.owner)[self.name]


def _limits(group: str, owner: Any, prefix: str = "") -> list[Limit]:
    defaults = owner()
    return [
        Limit(group, owner, field.name, getattr(defaults, field.name))
        for field in fields(owner)
        if field.name.startswith(prefix) and field.name not in _ELSEWHERE
    ]


LIMITS: Final = {
    limit.variable: limit
    for limit in (
        *_limits("room_limits", RoomLimits),
        *_limits("signaling_limits", SignalingLimits),
        *_limits("ice_tcp_limits", IceTcpLimits),
        *_limits("transport_limits", SignalingSettings, "max_"),  # its other fields are times and the like
    )
}
"""By variable."""


def build(values: Mapping[str, int]) -> dict[str, Any]:
    """The groups with some limits set, by field of the settings; the others keep their defaults."""
    groups: dict[str, dict[str, int]] = {limit.group: {} for limit in LIMITS.values()}
    owners = {limit.group: limit.owner for limit in LIMITS.values()}
    for variable, value in values.items():
        limit = LIMITS[variable]
        groups[limit.group][limit.name] = value
    return {group: owners[group](**chosen) for group, chosen in groups.items()}


def _attribute_docstrings(owner: type) -> dict[str, str]:
    """The string below each field of a class, on one line and in Markdown.

    Of a rate's two fields only the first has one.
    """
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, below in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=True):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        name = field.target.id
        match below:
            case ast.Expr(ast.Constant(str(text))):
                found[name] = " ".join(text.replace("``", "`").split())
            case _ if name.endswith("_burst"):
                found[name] = "The same at once, before the rate matters."
    return found

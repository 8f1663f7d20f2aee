"""RomM's internal API as the daemon sees it (``romm-api.md`` 1.5 to 1.8).

Implemented over HTTP by :class:`sfu.romm.client.RommClient`, and in process by the standalone service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class RommError(Exception):
    """RomM did not do what was asked."""


class TokenRefused(RommError):
    """RomM looked at the token and refused it (401, or any other 4xx on verify)."""


class RommUnavailable(RommError):
    """No verdict: unreachable, timed out, 5xx, wrong secret, or an answer that is not RomM's."""


class RoomTaken(RommError):
    """The registry has a live room of this name for another node."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A verified token."""

    sub: str
    """Who it is: RomM's netplay id, or the username."""
    netplay_username: str | None
    """The user's current netplay id, if RomM knows one."""
    token_type: str | None
    """``sfu:read``, ``sfu:write`` or ``sfu``; None where neither RomM nor the token tells."""


@dataclass(frozen=True, slots=True)
class RoomRecord:
    """A room as the registry keeps it."""

    room_name: str
    current: int
    max: int
    has_password: bool
    node_id: str | None
    url: str | None
    extras: Mapping[str, Any]
    """What else the server kept (``romm-api.md`` 7.2.8); empty with an unmodified RomM."""


class Romm(Protocol):
    """Every call may raise :class:`RommUnavailable`; ``verify`` may raise :class:`TokenRefused`."""

    async def verify(self, token: str, *, consume: bool) -> Verified: ...

    async def upsert_room(self, record: RoomRecord, *, if_absent: bool = False) -> None:
        """Register a room, or refresh it. A RomM that knows no ownership does so in any case.

        :param if_absent: only if no live room of this name is registered, but by the same node
            (``romm-api.md`` 7.2.9). Otherwise a room that names no node is taken over as well.
        :raises RoomTaken:
        """
        ...

    async def delete_room(self, room_name: str, *, node_id: str | None = None) -> None:
        """Unregister a room; nothing happens if it is not registered.

        :param node_id: leave the room of another node alone, as far as RomM knows ownership.
        """
        ...

    async def resolve_room(self, room_name: str) -> RoomRecord | None:
        """The record, or None where no such room is registered."""
        ...

    async def list_rooms(self) -> dict[str, dict[str, Any]]:
        """All registered rooms by name, as RomM's JSON has them."""
        ...

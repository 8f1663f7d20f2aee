"""Where our RomM side keeps listed one-time tokens, revocations and registered rooms (``romm-api.md`` 4).

Values are kept as RomM keeps them in Redis, so that one service works on both: a listed token is a string or
a hash of strings, a room is JSON text. :class:`MemoryStore` is for one process; the other implementation is
:class:`sfu.romm.redis_store.RedisStore`.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

MAX_LISTED_TOKENS: Final = 10_000
"""Write tokens live 30 s: this is over 300 mints a second."""
MAX_ROOMS: Final = 2_000
"""Registered rooms; with the largest records a list of them all is about 18 MiB."""
MAX_REVOCATIONS: Final = 10_000
"""Users whose tokens were revoked and might not have expired yet."""
_HEAP_SLACK: Final = 64
"""Outdated deadlines that an :class:`ExpiringMap` may hold beyond its own size before it drops them."""

LISTED: Final = "0"
"""What the newest RomM writes for a listed token."""

TokenRecord: TypeAlias = str | Mapping[str, str]
"""A listed token: :data:`LISTED`; JSON text or a hash with ``sub``, ``iss``, ``jti`` in old data."""

V = TypeVar("V")


class StoreError(Exception):
    """The store cannot do it now: it is full, or out of reach."""


class Store(Protocol):
    """Every call may raise :class:`StoreError`. Life times are seconds."""

    async def list_token(self, jti: str, attributes: Mapping[str, str], ttl: float, /) -> None:
        """Make a one-time token usable for ``ttl`` seconds.

        :param attributes: what else is known of it (7.2.1), for a store that others look into.
        """
        ...

    async def listed_token(self, jti: str) -> TokenRecord | None:
        """The record of a token that was not consumed and has not expired."""
        ...

    async def consume_token(self, jti: str) -> bool:
        """Unlist a token. Of any number of concurrent callers exactly one is told True."""
        ...

    async def revoke(self, sub: str, before: float, ttl: float) -> None:
        """Remember for ``ttl`` seconds that the tokens of a user issued before an epoch second are void."""
        ...

    async def revoked_before(self, sub: str) -> float | None:
        """Tokens of this user issued earlier, in epoch seconds, are void; None if none are."""
        ...

    async def put_room(self, name: str, text: str, ttl: float) -> None:
        """Write a room, replacing what was there, and restart its life time."""
        ...

    async def room(self, name: str) -> str | None:
        """What is stored, whether or not it is a room's record."""
        ...

    async def delete_room(self, name: str) -> None:
        """Delete a room; nothing happens if it does not exist."""
        ...

    async def swap_room(self, name: str, old: str | None, text: str | None, ttl: float) -> bool:
        """Write a room, or delete it if ``text`` is None, provided that :meth:`room` would still say ``old``.

        Nobody else's write comes between the comparison and ours.
        """
        ...

    async def rooms(self) -> dict[str, str]:
        """All rooms by name."""
        ...


class ExpiringMap(Generic[V]):
    """At most ``limit`` values, each with a deadline; a value is gone from the instant of its deadline on."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: dict[str, tuple[float, V]] = {}
        # Every live key's deadline is in here, and some that no longer count.
        self._deadlines: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._values)

    def put(self, key: str, value: V, deadline: float, now: float) -> None:
        """:raises StoreError: a new key, and the map is full."""
        self.expire(now)
        if key not in self._values and len(self._values) >= self._limit:
            raise StoreError("full")
        self._values[key] = (deadline, value)
        heapq.heappush(self._deadlines, (deadline, key))
        if len(self._deadlines) > 2 * len(self._values) + _HEAP_SLACK:
            self._deadlines = [(deadline, key) for key, (deadline, _) in self._values.items()]
            heapq.heapify(self._deadlines)

    def get(self, key: str, now: float) -> V | None:
        entry = self._values.get(key)
        return entry[1] if entry is not None and now < entry[0] else None

    def pop(self, key: str, now: float) -> V | None:
        entry = self._values.pop(key, None)
        return entry[1] if entry is not None and now < entry[0] else None

    def items(self, now: float) -> dict[str, V]:
        self.expire(now)
        return {key: value for key, (_, value) in self._values.items()}

    def expire(self, now: float) -> dict[str, V]:
        """Drop what is over, and say what that was."""
        gone = {}
        while self._deadlines and self._deadlines[0][0] <= now:
            _, key = heapq.heappop(self._deadlines)
            entry = self._values.get(key)
            if entry is not None and entry[0] <= now:
                del self._values[key]
                gone[key] = entry[1]
        return gone


class MemoryStore:
    """The store of one process. No call ever waits, so that each is atomic."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_tokens: int = MAX_LISTED_TOKENS,
        max_rooms: int = MAX_ROOMS,
        max_revocations: int = MAX_REVOCATIONS,
    ) -> None:
        """``clock`` is monotonic seconds."""
        self._clock = clock
        self._tokens: ExpiringMap[TokenRecord] = ExpiringMap(max_tokens)
        self._rooms: ExpiringMap[str] = ExpiringMap(max_rooms)
        self._revoked: ExpiringMap[float] = ExpiringMap(max_revocations)

    async def list_token(self, jti: str, _attributes: Mapping[str, str], ttl: float, /) -> None:
        now = self._clock()
        self._tokens.put(jti, LISTED, now + ttl, now)

    async def listed_token(self, jti: str) -> TokenRecord | None:
        return self._tokens.get(jti, self._clock())

    async def consume_token(self, jti: str) -> bool:
        return self._tokens.pop(jti, self._clock()) is not None

    async def revoke(self, sub: str, before: float, ttl: float) -> None:
        now = self._clock()
        self._revoked.put(sub, before, now + ttl, now)

    async def revoked_before(self, sub: str) -> float | None:
        return self._revoked.get(sub, self._clock())

    async def put_room(self, name: str, text: str, ttl: float) -> None:
        now = self._clock()
        self._rooms.put(name, text, now + ttl, now)

    async def room(self, name: str) -> str | None:
        return self._rooms.get(name, self._clock())

    async def delete_room(self, name: str) -> None:
        self._rooms.pop(name, self._clock())

    async def swap_room(self, name: str, old: str | None, text: str | None, ttl: float) -> bool:
        now = self._clock()
        if self._rooms.get(name, now) != old:
            return False
        if text is None:
            self._rooms.pop(name, now)
        else:
            self._rooms.put(name, text, now + ttl, now)
        return True

    async def rooms(self) -> dict[str, str]:
        return self._rooms.items(self._clock())

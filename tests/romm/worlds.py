"""The two stores, each with time in the hand of the test and with a back door."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sfu.romm.identity import Identify
from sfu.romm.redis_store import AllowlistFormat, open_redis_store
from sfu.romm.store import ExpiringMap, MemoryStore, Store, TokenRecord
from tests.romm.support import Clock, Side
from tests.support.redis_server import RedisServer


class World(ABC):
    """A store, whatever its kind, and RomM sides on it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    def side(self, identify: Identify | None = None, **options: Any) -> Side:
        """A RomM side on this store; see :class:`~tests.romm.support.Side`."""
        return Side(identify, clock=self.clock, store=self.store, **options)

    @abstractmethod
    def elapse(self, seconds: float) -> None:
        """Let time go by, for the sides and for the store."""

    @abstractmethod
    def plant_token(self, jti: str, record: TokenRecord) -> None:
        """List a token as some other RomM would, for 30 s."""

    @abstractmethod
    def plant_room(self, name: str, text: str) -> None:
        """Register a room as some other RomM would, for 60 s."""

    @abstractmethod
    def tokens(self) -> dict[str, float]:
        """How many seconds each listed token has left, by ``jti``."""

    @abstractmethod
    def rooms(self) -> dict[str, float]:
        """The same for registered rooms, by name."""


class _OpenMemoryStore(MemoryStore):
    """With a back door."""

    def plant_token(self, jti: str, record: TokenRecord, ttl: float) -> None:
        now = self._clock()
        self._tokens.put(jti, record, now + ttl, now)

    def tokens_left(self) -> dict[str, float]:
        return self._left(self._tokens)

    def rooms_left(self) -> dict[str, float]:
        return self._left(self._rooms)

    def plant_room(self, name: str, text: str, ttl: float) -> None:
        now = self._clock()
        self._rooms.put(name, text, now + ttl, now)

    def _left(self, values: ExpiringMap[Any]) -> dict[str, float]:
        now = self._clock()
        return {key: values._values[key][0] - now for key in values.items(now)}


class MemoryWorld(World):
    """In memory."""

    def __init__(self) -> None:
        clock = Clock()
        self._open = _OpenMemoryStore(clock=clock.monotonic)
        super().__init__(self._open, clock)

    def elapse(self, seconds: float) -> None:
        self.clock.elapsed += seconds

    def plant_token(self, jti: str, record: TokenRecord) -> None:
        self._open.plant_token(jti, record, 30)

    def plant_room(self, name: str, text: str) -> None:
        self._open.plant_room(name, text, 60)

    def tokens(self) -> dict[str, float]:
        return self._open.tokens_left()

    def rooms(self) -> dict[str, float]:
        return self._open.rooms_left()


class RedisWorld(World):
    """In a real Redis."""

    def __init__(self, server: RedisServer, store: Store) -> None:
        super().__init__(store, Clock())
        self.server = server

    @classmethod
    @asynccontextmanager
    async def open(
        cls, server: RedisServer, allowlist_format: AllowlistFormat = "string"
    ) -> AsyncIterator[RedisWorld]:
        # No time-out of ours: on a busy machine the test shall wait.
        async with open_redis_store(server.url, allowlist_format=allowlist_format, call_timeout=60) as store:
            yield cls(server, store)

    def elapse(self, seconds: float) -> None:
        """Every key's life gets shorter, as if Redis's clock had advanced."""
        self.clock.elapsed += seconds
        for key in self.server.raw.scan_iter(count=1000):
            left = self.server.raw.pttl(key)
            if left > 0:
                self.server.raw.pexpire(key, max(0, left - round(seconds * 1000)))

    def plant_token(self, jti: str, record: TokenRecord) -> None:
        key = f"sfu:auth:jti:{jti}"
        if isinstance(record, Mapping):
            self.server.raw.hset(key, mapping={field.encode(): value for field, value in record.items()})
            self.server.raw.expire(key, 30)
        else:
            self.server.raw.set(key, record, ex=30)

    def plant_room(self, name: str, text: str) -> None:
        self.server.raw.set(f"sfu:room:{name}", text, ex=60)

    def tokens(self) -> dict[str, float]:
        return self._left(b"sfu:auth:jti:")

    def rooms(self) -> dict[str, float]:
        return self._left(b"sfu:room:")

    def _left(self, prefix: bytes) -> dict[str, float]:
        keys = self.server.raw.scan_iter(prefix + b"*", count=1000)
        return {key.removeprefix(prefix).decode(): self.server.raw.pttl(key) / 1000 for key in keys}

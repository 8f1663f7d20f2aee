"""The store that RomM uses as well: Redis, with RomM's own keys (``romm-api.md`` 4.1 and 7.2).

=============================  ==================  =====================================================
``sfu:auth:jti:<jti>``         string ``0``        a listed token; a hash under ``AllowlistFormat.HASH``
``sfu:auth:meta:<jti>``        hash                its ``sub``, ``iss``, ``jti``, ``iat``, ``exp``, ``source``
``sfu:auth:jti:used:<jti>``    any                 left by old RomMs: the token was consumed; read only
``sfu:auth:revoked:<sub>``     string              epoch seconds; tokens issued earlier are void
``sfu:room:<name>``            string              a room's record as JSON
=============================  ==================  =====================================================

What must not be interrupted by another client is one command, one transaction or one Lua script.

Importing this module imports trio-asyncio, which changes what :mod:`asyncio` does in the whole process:
import it only where a Redis is really going to be used.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, ParamSpec, TypeAlias, TypeVar
from urllib.parse import parse_qsl, urlsplit

import structlog
import trio
import trio_asyncio
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from sfu.romm.store import LISTED, MAX_REVOCATIONS, MAX_ROOMS, StoreError, TokenRecord

CALL_TIMEOUT: Final = 1.5
"""Seconds for a whole call; daemons wait 5 s for an answer of ours, which may take three calls."""
MAX_CONNECTIONS: Final = 16
"""To Redis; further calls wait, within their time-out."""
MAX_WAITING: Final = 1024
"""Calls under way or waiting; further ones fail at once."""
_CLOSE_TIMEOUT: Final = 0.5
_SCAN_COUNT: Final = 500

_TOKEN: Final = "sfu:auth:jti:"  # noqa: S105 - a prefix of keys
_USED: Final = "sfu:auth:jti:used:"
_META: Final = "sfu:auth:meta:"
_REVOKED: Final = "sfu:auth:revoked:"
_ROOM: Final = b"sfu:room:"

AllowlistFormat: TypeAlias = Literal["string", "hash"]
"""How a token is listed: as the newest RomM does, or as the first one did (``SFU_ALLOWLIST_FORMAT``)."""

# KEYS: token, used marker. A string's text, a hash's flat list, or nothing.
_LOOK_UP: Final = """
if redis.call('EXISTS', KEYS[2]) == 1 then return false end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'string' then return redis.call('GET', KEYS[1]) end
if kind == 'hash' then return redis.call('HGETALL', KEYS[1]) end
return false
"""

# KEYS: token, used marker, meta. 1 for the one caller who unlists the token.
_CONSUME: Final = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('DEL', KEYS[3])
return redis.call('DEL', KEYS[1])
"""

# KEYS: room. ARGV: whether a value is expected, that value, milliseconds to live, new value if any.
_SWAP: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
local there = false
if kind == 'string' then there = redis.call('GET', KEYS[1]) elseif kind ~= 'none' then there = '' end
if there ~= (ARGV[1] == '1' and ARGV[2]) then return 0 end
if ARGV[4] then
    redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
else
    redis.call('DEL', KEYS[1])
end
return 1
"""

P = ParamSpec("P")
R = TypeVar("R")

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_redis_store(
    url: str, *, allowlist_format: AllowlistFormat = "string", call_timeout: float = CALL_TIMEOUT
) -> AsyncIterator[RedisStore]:
    """A store for the length of the block. Redis need not be there: until it is, calls fail, and soon.

    :param url: see :func:`check_redis_url`.
    :param call_timeout: seconds.
    :raises ValueError: from :func:`check_redis_url`.
    """
    check_redis_url(url)
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(_log_stray_error)
        # Whether a command was carried out before its connection broke is unknown: repeating it here could
        # turn "consumed" into "was consumed already". Broken idle connections are replaced beforehand.
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=None,
            socket_timeout=None,
            socket_connect_timeout=call_timeout,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        try:
            yield RedisStore(Redis(connection_pool=pool), loop, allowlist_format, call_timeout)
        finally:
            with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                await trio_asyncio.aio_as_trio(pool.disconnect, loop=loop)()


def check_redis_url(url: str) -> None:
    """Accept ``redis[s]://[user:password@]host[:port][/database]``, with ``ssl_…`` options, and ``unix:///path``.

    :raises ValueError: with a reason that can follow "must be".
    """
    problem = "a URL like redis://localhost:6379/0, rediss://user:password@host or unix:///path?db=0"
    try:
        parts = urlsplit(url)
        options = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True, strict_parsing=False)]
        placed = bool(parts.path if parts.scheme == "unix" else parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(problem) from None
    allowed = {"unix": ("db",), "redis": (), "rediss": ()}.get(parts.scheme)
    if allowed is None or not placed or parts.fragment:
        raise ValueError(problem)
    database = parts.path.strip("/")
    if parts.scheme != "unix" and database and not database.isdecimal():
        raise ValueError(problem)
    if not all(name in allowed or (parts.scheme == "rediss" and name.startswith("ssl_")) for name in options):
        raise ValueError(problem)


class RedisStore:
    """Implements :class:`~sfu.romm.store.Store`. Made by :func:`open_redis_store`; any task may call it."""

    def __init__(
        self,
        client: Redis,
        loop: trio_asyncio.TrioEventLoop,
        allowlist_format: AllowlistFormat,
        timeout: float,
    ) -> None:
        self._client: Any = client  # redis-py's types are those of its blocking client at the same time
        self._loop = loop
        self._format = allowlist_format
        self._timeout = timeout
        self._waiting = 0
        self._away = False
        self._revocations: dict[str, float] = {}
        """What Redis said last, for when it is away; the one last heard of at the end."""
        self._look_up = client.register_script(_LOOK_UP)
        self._consume = client.register_script(_CONSUME)
        self._swap = client.register_script(_SWAP)

    async def ping(self) -> None:
        """:raises StoreError: Redis is not to be reached, or refuses us."""
        await self._call(self._client.ping)

    async def list_token(self, jti: str, attributes: Mapping[str, str], ttl: float, /) -> None:
        await self._call(self._aio_list_token, jti, dict(attributes), _milliseconds(ttl))

    async def listed_token(self, jti: str) -> TokenRecord | None:
        keys = [_key(_TOKEN, jti), _key(_USED, jti)]
        value = await self._call(self._look_up, keys=keys)
        if isinstance(value, list):
            return dict(zip(map(_text, value[::2]), map(_text, value[1::2]), strict=True))
        return None if value is None else _text(value)

    async def consume_token(self, jti: str) -> bool:
        keys = [_key(_TOKEN, jti), _key(_USED, jti), _key(_META, jti)]
        return bool(await self._call(self._consume, keys=keys))

    async def revoke(self, sub: str, before: float, ttl: float) -> None:
        await self._call(self._client.set, _key(_REVOKED, sub), f"{before:.0f}", px=_milliseconds(ttl))
        self._remember_revocation(sub, before)

    async def revoked_before(self, sub: str) -> float | None:
        """While Redis is away, what it said last of a user whose tokens were revoked."""
        try:
            value = await self._call(self._get, _key(_REVOKED, sub))
        except StoreError:
            if sub not in self._revocations:
                raise
            return self._revocations[sub]
        before = None if value is None else _revocation(value)
        self._remember_revocation(sub, before)
        return before

    def _remember_revocation(self, sub: str, before: float | None) -> None:
        self._revocations.pop(sub, None)
        if before is None:
            return
        if len(self._revocations) >= MAX_REVOCATIONS:
            del self._revocations[next(iter(self._revocations))]
        self._revocations[sub] = before

    async def put_room(self, name: str, text: str, ttl: float) -> None:
        await self._call(self._client.set, _room_key(name), _bytes(text), px=_milliseconds(ttl))

    async def room(self, name: str) -> str | None:
        """A value of a type other than string reads as the empty text, which is no room."""
        value = await self._call(self._get, _room_key(name))
        return None if value is None else _text(value)

    async def delete_room(self, name: str) -> None:
        await self._call(self._client.delete, _room_key(name))

    async def swap_room(self, name: str, old: str | None, text: str | None, ttl: float) -> bool:
        expected: list[bytes | int] = [0, b""] if old is None else [1, _bytes(old)]
        new = [] if text is None else [_bytes(text)]
        args = [*expected, _milliseconds(ttl), *new]
        return bool(await self._call(self._swap, keys=[_room_key(name)], args=args))

    async def rooms(self) -> dict[str, str]:
        """Rooms with a name in UTF-8, at most :data:`~sfu.romm.store.MAX_ROOMS`."""
        return await self._call(self._aio_rooms)

    async def _call(self, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run an asyncio function.

        :raises StoreError: it failed, or it takes too long.
        """
        if self._waiting >= MAX_WAITING:
            raise StoreError("too many calls are waiting for Redis")
        self._waiting += 1
        try:
            with trio.fail_after(self._timeout):
                result: R = await trio_asyncio.aio_as_trio(function, loop=self._loop)(*args, **kwargs)
        except trio.TooSlowError:
            raise self._lost(f"Redis did not answer within {self._timeout:g} s") from None
        except ResponseError as error:
            log.warning("Redis refused a call", error=type(error).__name__)
            raise StoreError(f"Redis: {type(error).__name__}") from None
        except (RedisError, OSError) as error:
            raise self._lost(f"Redis: {type(error).__name__}") from None
        finally:
            self._waiting -= 1
        if self._away:
            self._away = False
            log.warning("Redis answers again")
        return result

    def _lost(self, error: str) -> StoreError:
        """Nothing came back: logged once, until something does."""
        if not self._away:
            self._away = True
            log.warning("Redis is away; until it is back, only read tokens work", error=error)
        return StoreError(error)

    # What runs in asyncio.

    async def _aio_list_token(self, jti: str, attributes: dict[str, str], life: int) -> None:
        fields = {field.encode(): _bytes(value) for field, value in attributes.items()}
        token = _key(_TOKEN, jti)
        described = token if self._format == "hash" else _key(_META, jti)
        async with self._client.pipeline(transaction=True) as pipe:
            if self._format == "string":
                pipe.set(token, LISTED, px=life)
            pipe.delete(described)
            pipe.hset(described, mapping=fields)
            pipe.pexpire(described, life)
            await pipe.execute()

    async def _get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = await self._client.get(key)
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            return b""
        return value

    async def _aio_rooms(self) -> dict[str, str]:
        found: dict[str, str] = {}
        cursor = 0
        while True:
            cursor, keys = await self._client.scan(cursor, match=_ROOM + b"*", count=_SCAN_COUNT)
            if keys:
                found |= _rooms_untrusted(keys, await self._client.mget(keys))
            if cursor == 0 or len(found) >= MAX_ROOMS:
                return dict(list(found.items())[:MAX_ROOMS])


def _rooms_untrusted(keys: Iterable[bytes], values: Iterable[bytes | None]) -> dict[str, str]:
    """Rooms by name. What has expired meanwhile, or is of another type, has no value."""
    rooms = {}
    for key, value in zip(keys, values, strict=True):
        try:
            name = key.removeprefix(_ROOM).decode()
        except UnicodeDecodeError:
            continue
        if value is not None:
            rooms[name] = _text(value)
    return rooms


def _revocation(value: bytes) -> float:
    """Who meant to revoke and wrote no time shall have revoked for good."""
    return int(value) if value.isdigit() and len(value) < 20 else math.inf


def _key(prefix: str, name: str) -> bytes:
    return (prefix + name).encode("utf-8", "surrogatepass")


def _room_key(name: str) -> bytes:
    return _ROOM + name.encode("utf-8", "surrogatepass")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(value: bytes) -> str:
    """Bytes that are no UTF-8 stay recognisable, so that :func:`_bytes` gives them back."""
    return value.decode("utf-8", "surrogateescape")


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _log_stray_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An error that belongs to no call must not end the service, which is trio-asyncio's default."""
    log.warning(
        "error in the Redis client", message=context.get("message"), error=repr(context.get("exception"))
    )

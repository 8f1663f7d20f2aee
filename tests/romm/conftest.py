"""A world for each kind of store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

import tests.support.plain_asyncio  # noqa: F401 - these tests load trio-asyncio
from tests.romm.worlds import MemoryWorld, RedisWorld, World
from tests.support.redis_server import RedisServer, running_redis


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One server for all tests that leave it alive. They find it empty, but for a script cache."""
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    shared_redis.raw.flushall()
    return shared_redis


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """One to be killed, or set up otherwise."""
    with running_redis() as server:
        yield server


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.interop)])
def store_server(request: pytest.FixtureRequest) -> RedisServer | None:
    """What the store is on: nothing, or a Redis."""
    return request.getfixturevalue("redis_server") if request.param == "redis" else None


@pytest.fixture
async def world(store_server: RedisServer | None) -> AsyncIterator[World]:
    """Our RomM side with a store of one kind, then of the other."""
    if store_server is None:
        yield MemoryWorld()
        return
    async with RedisWorld.open(store_server) as world:
        yield world

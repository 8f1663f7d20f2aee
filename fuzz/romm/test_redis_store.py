"""Both stores do the same: any calls, any names, any texts, and time that passes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import tests.support.plain_asyncio  # noqa: F401 - the Redis store loads trio-asyncio
from sfu.romm.store import Store
from tests.romm.worlds import MemoryWorld, RedisWorld, World
from tests.support.redis_server import RedisServer, running_redis

Call = Callable[[Store], Awaitable[object]]

names = st.sampled_from(["a", "b", " b ", "*", "[a", "a:b", "used:a", "\U0001f47e\x00", ""])
texts = st.sampled_from(["", "0", "{}", '{"nodeId":"n"}', "\u2603", "\x00\r\n$5\r\n"]) | st.text(max_size=20)
# In seconds. No sum of waits comes near a life, so what Redis's own clock adds does not matter.
lives = st.sampled_from([10_000, 50_000])
waits = st.sampled_from([3000, 7001])

calls: st.SearchStrategy[Call] = st.one_of(
    st.builds(lambda jti, life: lambda store: store.list_token(jti, {"sub": "x"}, life), names, lives),
    st.builds(lambda jti: lambda store: store.listed_token(jti), names),
    st.builds(lambda jti: lambda store: store.consume_token(jti), names),
    st.builds(
        lambda sub, at, life: lambda store: store.revoke(sub, at, life), names, st.integers(0, 2**33), lives
    ),
    st.builds(lambda sub: lambda store: store.revoked_before(sub), names),
    st.builds(lambda name, text, life: lambda store: store.put_room(name, text, life), names, texts, lives),
    st.builds(lambda name: lambda store: store.room(name), names),
    st.builds(lambda name: lambda store: store.delete_room(name), names),
    st.builds(
        lambda name, old, new, life: lambda store: store.swap_room(name, old, new, life),
        names,
        st.none() | texts,
        st.none() | texts,
        lives,
    ),
    st.builds(lambda: lambda store: store.rooms()),
)


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.mark.interop
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(waits | calls, max_size=40))
@example(
    [
        lambda store: store.swap_room("a", None, "", 10_000),
        lambda store: store.swap_room("a", "", "x", 10_000),
    ]
)
async def test_both_stores_do_the_same(redis_server: RedisServer, steps: list[int | Call]) -> None:
    redis_server.raw.flushall()
    memory: World = MemoryWorld()
    async with RedisWorld.open(redis_server) as redis:
        for step in steps:
            if isinstance(step, int):
                memory.elapse(step)
                redis.elapse(step)
            else:
                assert await step(redis.store) == await step(memory.store)
        assert await redis.store.rooms() == await memory.store.rooms()
        assert redis.tokens().keys() == memory.tokens().keys()

"""The memory store: life times, limits, and that it does not grow."""

from __future__ import annotations

import pytest

from sfu.romm.store import _HEAP_SLACK, MAX_LISTED_TOKENS, ExpiringMap, MemoryStore, StoreError
from tests.romm.support import Clock


async def test_a_token_lives_for_its_time() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock.monotonic)
    await store.list_token("j", {}, 30)
    clock.elapsed = 29.99
    assert await store.listed_token("j") == "0"
    clock.elapsed = 30
    assert await store.listed_token("j") is None
    assert not await store.consume_token("j")


async def test_token_limit_counts_only_the_living() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock.monotonic, max_tokens=2)
    await store.list_token("a", {}, 30)
    await store.list_token("b", {}, 10)
    with pytest.raises(StoreError):
        await store.list_token("c", {}, 30)
    await store.list_token("a", {}, 30)
    clock.elapsed = 10
    await store.list_token("c", {}, 30)
    assert await store.consume_token("a")
    await store.list_token("d", {}, 30)


def test_default_limit() -> None:
    assert MAX_LISTED_TOKENS == 10_000


def test_rewriting_does_not_grow() -> None:
    values: ExpiringMap[int] = ExpiringMap(10)
    for number in range(10_000):
        values.put(str(number % 3), number, deadline=1e9 + number, now=0)
        assert len(values._deadlines) <= 2 * len(values) + _HEAP_SLACK + 1
    for number in range(10_000):
        values.put("x", number, deadline=1e9, now=0)
        values.pop("x", 0)
    assert len(values._deadlines) <= 2 * len(values) + _HEAP_SLACK + 1
    assert values.expire(2e9) == {"0": 9999, "1": 9997, "2": 9998}
    assert len(values) == 0


def test_a_shorter_life_than_before() -> None:
    values: ExpiringMap[str] = ExpiringMap(10)
    values.put("a", "long", deadline=100, now=0)
    values.put("a", "short", deadline=10, now=0)
    assert values.expire(10) == {"a": "short"}
    assert values.expire(100) == {}


def test_deadlines_stay_in_order_when_outdated_ones_are_dropped() -> None:
    values: ExpiringMap[int] = ExpiringMap(10)
    values.put("late", 0, deadline=1e9, now=0)
    values.put("soon", 0, deadline=20, now=0)
    while len(values._deadlines) != 2 or not values._values["late"][1]:
        values.put("late", values._values["late"][1] + 1, deadline=1e9, now=0)
    assert values.expire(20) == {"soon": 0}


async def test_a_room_is_swapped_only_for_what_is_there() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock.monotonic)
    assert not await store.swap_room("a", "x", "y", 60)
    assert await store.swap_room("a", None, "x", 60)
    assert not await store.swap_room("a", None, "y", 60)
    assert not await store.swap_room("a", "z", None, 60)
    assert await store.room("a") == "x"
    assert await store.swap_room("a", "x", "y", 60)
    assert await store.swap_room("a", "y", None, 60)
    assert await store.room("a") is None
    assert await store.swap_room("a", None, "x", 60)
    clock.elapsed = 60
    assert await store.swap_room("a", None, "y", 60)

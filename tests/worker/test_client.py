"""The node's end of the control channel, over memory streams."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from sfu.worker.client import MAX_UNSENT, WorkerClient
from sfu.worker.messages import (
    MAX_MESSAGE,
    Call,
    Consume,
    Notice,
    Ping,
    Result,
    Splitter,
    WorkerEvent,
    call_decoder,
    encode,
)
from sfu.worker.port import MediaError, TransportClosed


def client_pair(*, lockstep: bool = False) -> tuple[WorkerClient, trio.abc.Stream, list[WorkerEvent]]:
    """A client, the worker's end of its channel, and what it hears. ``lockstep``: nothing goes unread."""
    pair = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair
    ours, theirs = pair()
    heard: list[WorkerEvent] = []
    return WorkerClient(ours, heard.append), theirs, heard


async def read_calls(stream: trio.abc.Stream, count: int) -> list[Call]:
    splitter, calls = Splitter(), list[Call]()
    while len(calls) < count:
        calls += map(call_decoder.decode, splitter.feed(bytes(await stream.receive_some())))
    return calls


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def big() -> Consume:
    return Consume("t", "c", "p", {"padding": "x" * 1_000_000}, ignore_dtx=False)


async def test_answers_find_their_callers_in_any_order() -> None:
    client, theirs, _ = client_pair()
    results: dict[str, Any] = {}

    async def ask(name: str) -> None:
        results[name] = await client.call(Consume(name, "c", "p", {}, ignore_dtx=False))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        async with trio.open_nursery() as asking:
            for name in ("a", "b", "c"):
                asking.start_soon(ask, name)
            calls = await read_calls(theirs, 3)
            for call in reversed(calls):
                assert isinstance(call.request, Consume)
                await theirs.send_all(encode(Result(call.id, call.request.transport_id * 2)))
        nursery.cancel_scope.cancel()
    assert results == {"a": "aa", "b": "bb", "c": "cc"}


async def test_a_cancelled_call_leaves_the_channel_in_step() -> None:
    client, theirs, _ = client_pair(lockstep=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        with trio.move_on_after(0.01) as scope:
            await client.call(big())
        assert scope.cancelled_caught

        async def answer() -> None:
            first, second = await read_calls(theirs, 2)
            assert isinstance(first.request, Consume)
            await theirs.send_all(encode(Result(first.id, "too late")))
            await theirs.send_all(encode(Result(second.id, "pong")))

        nursery.start_soon(answer)
        assert await client.call(Ping()) == "pong"
        nursery.cancel_scope.cancel()


async def test_a_worker_that_reads_nothing_is_not_sent_more_than_the_cap() -> None:
    client, _, _ = client_pair(lockstep=True)
    refused: list[str] = []

    async def ask() -> None:
        with pytest.raises(MediaError) as caught:
            await client.call(big())
        refused.append(str(caught.value))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        async with trio.open_nursery() as asking:
            fits = MAX_UNSENT // len(encode(Call(1, big())))
            for _ in range(fits):
                asking.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert refused == []
            asking.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert refused == ["media worker overloaded"]
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await client.lost.wait()
    assert client.lost.is_set()


async def test_the_end_of_the_channel_fails_all_calls() -> None:
    client, theirs, heard = client_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        nursery.start_soon(read_calls, theirs, 1)

        async def ask() -> None:
            with pytest.raises(MediaError, match="media worker lost"):
                await client.call(Ping())

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        await theirs.aclose()
    assert client.lost.is_set()
    with pytest.raises(MediaError, match="media worker lost"):
        await client.call(Ping())
    assert heard == []


async def test_an_impossible_length_ends_the_channel() -> None:
    client, theirs, heard = client_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        await theirs.send_all(encode(Notice(TransportClosed("t", "over"))) + b"\xff\xff\xff\xff")
        await client.lost.wait()
        nursery.cancel_scope.cancel()
    assert heard == [TransportClosed("t", "over")]


@pytest.mark.parametrize(
    "value",
    [2**64, -(2**63) - 1, "x" * (MAX_MESSAGE + 1), "\ud800", nested(100_000)],
    ids=["large", "small", "long", "surrogate", "deep"],
)
async def test_what_cannot_be_sent_is_refused(value: Any) -> None:
    """Each is something that a JSON parser may let through."""
    client, theirs, _ = client_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        with pytest.raises(MediaError, match="invalid"):
            await client.call(Consume("t", "c", "p", {"x": value}, ignore_dtx=False))

        async def answer() -> None:
            [call] = await read_calls(theirs, 1)
            await theirs.send_all(encode(Result(call.id, "pong")))

        nursery.start_soon(answer)
        assert await client.call(Ping()) == "pong"
        nursery.cancel_scope.cancel()

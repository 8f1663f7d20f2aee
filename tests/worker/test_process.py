"""A worker's shell in this process: its control channel is in memory, its sockets are real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from sfu.media.core import MediaCore
from sfu.media.events import Fault
from sfu.worker.client import WorkerClient
from sfu.worker.messages import (
    Configure,
    ConnectTransport,
    Consume,
    CreateRouter,
    CreateTransport,
    GetStats,
    Ping,
    Produce,
    ProduceData,
    WorkerEvent,
)
from sfu.worker.port import MediaError
from sfu.worker.process import MAX_ERROR, MediaWorker
from tests.support.world import video_parameters


@asynccontextmanager
async def worker(**changes: Any) -> AsyncIterator[tuple[WorkerClient, list[WorkerEvent]]]:
    """A configured worker with a room ``r`` and a transport ``t``: the node's end, and what it hears."""
    ours, theirs = trio.testing.memory_stream_pair()
    heard: list[WorkerEvent] = []
    client = WorkerClient(ours, heard.append)
    values: dict[str, Any] = {
        "listen_ip": "127.0.0.1",
        "announced": ("127.0.0.1",),
        "port": 0,
        "tcp_port": None,
        "video_codecs": ("VP9",),
        **changes,
    }
    async with trio.open_nursery() as nursery:
        nursery.start_soon(MediaWorker(theirs).run)
        nursery.start_soon(client.run)
        await client.call(Configure(**values))
        await client.call(CreateRouter("r"))
        await client.call(CreateTransport("r", "t"))
        yield client, heard
        await ours.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.contract("D85")
async def test_a_request_that_finds_a_fault_ends_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    async with worker() as (client, heard):
        await client.call(Produce("t", "p", "video", video_parameters()))
        with monkeypatch.context() as patch:
            patch.setattr("sfu.media.router.Router.produce", fail)
            with pytest.raises(MediaError) as refusal:
                await client.call(Produce("t", "p2", "video", video_parameters()))
        assert str(refusal.value) == "error"
        await client.call(Ping())
        [fault] = heard
        assert isinstance(fault, Fault)
        assert (fault.transport_id, fault.count) == ("", 1)
        assert "planted" in fault.traceback
        stats = await client.call(GetStats())
        assert stats["counters"]["faults"] == 1
        assert [s["producer_id"] for t in stats["transports"] for s in t["streams"]] == ["p"]


@pytest.mark.contract("D72")
async def test_a_refusal_has_its_cause_with_it() -> None:
    async with worker() as (client, _):
        with pytest.raises(MediaError) as refusal:
            await client.call(Consume("t", "c", "nope", {}, ignore_dtx=False))
        assert str(refusal.value) == "cannot consume"
        assert refusal.value.cause == "there is no such producer in the room"


async def test_a_refusal_quotes_only_so_much() -> None:
    async with worker() as (client, _):
        with pytest.raises(MediaError) as refusal:
            await client.call(ConnectTransport("t", {"fingerprints": [], "role": "x" * 100_000}))
        assert str(refusal.value).startswith("invalid parameters: Invalid enum value 'xxx")
        assert len(str(refusal.value)) == MAX_ERROR


@pytest.mark.contract("D62")
@pytest.mark.parametrize(
    ("changes", "expected"), [({}, True), ({"require_binary_data_channel": False}, False)]
)
async def test_the_configuration_says_whether_text_is_allowed(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], expected: bool
) -> None:
    made: list[bool] = []

    def record(**options: Any) -> MediaCore:
        made.append(options["require_binary_data_channel"])
        return MediaCore(**options)

    monkeypatch.setattr("sfu.worker.process.MediaCore", record)
    async with worker(**changes):
        pass
    assert made == [expected]


@pytest.mark.contract("D65")
async def test_replacing_passes_through() -> None:
    async with worker() as (client, heard):
        await client.call(Produce("t", "p", "video", video_parameters()))
        await client.call(Produce("t", "p2", "video", video_parameters(), replaces="p"))
        with pytest.raises(MediaError, match="in use"):
            await client.call(Produce("t", "p3", "video", video_parameters(), replaces="p"))
        await client.call(ProduceData("t", "d", {"streamId": 0}, "", ""))
        await client.call(ProduceData("t", "d2", {"streamId": 0}, "", "", replaces="d"))
        with pytest.raises(MediaError, match="in use"):
            await client.call(ProduceData("t", "d3", {"streamId": 0}, "", "", replaces="d"))
        assert heard == []

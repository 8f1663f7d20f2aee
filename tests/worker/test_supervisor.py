"""The supervisor with real worker processes: their start, their death, their replacement, their end."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from sfu.media.events import Fault
from sfu.worker.messages import Configure
from sfu.worker.port import DataProducerClosed, JsonObject, MediaError, MediaEvent, RouterLost
from sfu.worker.supervisor import (
    PING_INTERVAL,
    PING_TIMEOUT,
    MediaWorkers,
    WorkerStartError,
    open_media_workers,
)
from tests.support.daemon import HOST, children_of, exists, stretched
from tests.support.world import video_parameters, viewer_capabilities

pytestmark = pytest.mark.interop

SOON = 15.0
"""Seconds for what must happen, on a machine that has other things to do."""


@pytest.fixture
def others() -> list[int]:
    """Children of this process that are no business of the test, like a server that serves many tests."""
    return children_of(os.getpid())


def configuration(**changes: Any) -> Configure:
    values: dict[str, Any] = {
        "listen_ip": HOST,
        "announced": (HOST,),
        "port": 0,
        "tcp_port": 0,
        "video_codecs": ("VP9",),
        **changes,
    }
    return Configure(**values)


class Events:
    """What the workers reported, collected in the background."""

    def __init__(self) -> None:
        self.all: list[MediaEvent] = []

    async def collect(self, media: MediaWorkers) -> None:
        async for event in media.events():
            self.all.append(event)


@asynccontextmanager
async def running(count: int, **changes: Any) -> AsyncIterator[tuple[MediaWorkers, Events]]:
    """Workers, and their events. Proves on the way out that no child is left."""
    events = Events()
    async with (
        open_media_workers([configuration(**changes) for _ in range(count)]) as media,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(events.collect, media)
        yield media, events
        pids = [pid for pid in media.pids if pid is not None]
        nursery.cancel_scope.cancel()
    assert not any(exists(pid) for pid in pids)


async def until(what: Any, seconds: float = SOON) -> float:
    """Wait until something holds; returns how long it took."""
    began = trio.current_time()
    with trio.fail_after(seconds):
        while not what():  # noqa: ASYNC110 - it happens in another process
            await trio.sleep(0.005)
    return trio.current_time() - began


def the_pid(media: MediaWorkers, index: int = 0) -> int:
    pid = media.pids[index]
    assert pid is not None
    return pid


async def test_workers_start_and_answer() -> None:
    async with running(2) as (media, _):
        assert media.available
        assert len({the_pid(media, 0), the_pid(media, 1)}) == 2
        assert all(ready is not None and ready.port and ready.tcp_port for ready in media.ready)
        assert [codec["mimeType"] for codec in media.rtp_capabilities["codecs"]] == [
            "audio/opus",
            "video/VP9",
            "video/rtx",
        ]
        await media.create_router("one")
        await media.create_router("two")
        await media.create_router("two")  # nothing happens
        infos = [await media.create_transport(name) for name in ("one", "two")]
        ports = [{candidate["port"] for candidate in info["iceCandidates"]} for info in infos]
        assert ports == [{ready.port, ready.tcp_port} for ready in media.ready if ready is not None]
        restarted = await media.restart_ice(infos[0]["id"])
        assert restarted["usernameFragment"] != infos[0]["iceParameters"]["usernameFragment"]
        await media.close_transport(infos[0]["id"])
        with pytest.raises(MediaError, match="transport not found"):
            await media.restart_ice(infos[0]["id"])
        await media.close_router("two")
        with pytest.raises(MediaError, match="transport not found"):
            await media.restart_ice(infos[1]["id"])
        with pytest.raises(MediaError, match="no such room"):
            await media.create_transport("two")


async def test_refusals_come_back_as_text() -> None:
    async with running(1) as (media, _):
        await media.create_router("room")
        info = await media.create_transport("room")
        with pytest.raises(MediaError, match=r"missing dtlsParameters\.fingerprints"):
            await media.connect_transport(info["id"], {"fingerprints": []})
        with pytest.raises(MediaError, match=r"missing params\.streamId"):
            await media.produce_data(info["id"], {}, "", "")
        with pytest.raises(MediaError, match="cannot consume"):
            await media.consume(info["id"], "nothing", {})
        assert media.pids  # and the worker lives on
        await media.create_transport("room")


async def test_other_addresses_are_announced_to_who_comes_later_by_new_workers_too() -> None:
    async with running(2) as (media, _):
        await media.announce(("203.0.113.44", "2001:db8::1"))
        for room in ("a", "b"):
            await media.create_router(room)
            assert await candidates(media, room) == [
                *(("udp", "203.0.113.44"), ("udp", "2001:db8::1")),
                *(("tcp", "203.0.113.44"), ("tcp", "2001:db8::1")),
            ]
        os.kill(the_pid(media), signal.SIGKILL)
        await until(lambda: not media.available or media.ready[0] is None)
        await media.announce(("203.0.113.45",))  # while a worker is being replaced
        await until(lambda: media.ready[0] is not None)
        await media.create_router("c")
        assert await candidates(media, "c") == [("udp", "203.0.113.45"), ("tcp", "203.0.113.45")]
        assert await candidates(media, "b") == [("udp", "203.0.113.45"), ("tcp", "203.0.113.45")]


async def candidates(media: MediaWorkers, room: str) -> list[tuple[str, str]]:
    info = await media.create_transport(room)
    return [(candidate["protocol"], candidate["ip"]) for candidate in info["iceCandidates"]]


@pytest.mark.contract("D3")
async def test_a_killed_worker_is_replaced_and_its_routers_are_reported() -> None:
    async with running(2) as (media, events):
        for name in ("a", "b", "c", "d"):  # a and c on the first, b and d on the second
            await media.create_router(name)
        lost = await media.create_transport("a")
        kept = await media.create_transport("b")
        victim, other = the_pid(media, 0), the_pid(media, 1)
        os.kill(victim, signal.SIGKILL)
        noticed = await until(lambda: len(events.all) == 2)
        assert events.all == [RouterLost("a"), RouterLost("c")]
        assert not exists(victim)
        assert media.available  # there is still the other one
        with pytest.raises(MediaError, match="transport not found"):
            await media.restart_ice(lost["id"])
        await media.restart_ice(kept["id"])
        await media.create_router("e")  # goes to the one that is left
        replaced = noticed + await until(lambda: media.pids[0] is not None and media.ready[0] is not None)
        print(f"noticed after {noticed:.3f} s, replaced after {replaced:.3f} s")
        assert noticed < stretched(0.4), "the end of the channel says it, not the next ping"
        assert replaced < stretched(1.0)
        assert the_pid(media, 0) != victim
        assert the_pid(media, 1) == other
        await media.create_router("a")  # the least loaded one is the new one
        info = await media.create_transport("a")
        ready = media.ready[0]
        assert ready is not None
        assert info["iceCandidates"][0]["port"] == ready.port


@pytest.mark.contract("D3")
async def test_a_worker_that_keeps_dying_keeps_being_replaced() -> None:
    async with running(1) as (media, events):
        pids = set()
        for round_ in range(3):
            await until(lambda: media.ready[0] is not None)
            pids.add(the_pid(media))
            await media.create_router(f"room {round_}")
            os.kill(the_pid(media), signal.SIGKILL)
            await until(lambda expected=round_ + 1: len(events.all) == expected)
            assert not media.available
            with pytest.raises(MediaError, match="worker not available"):
                await media.create_router("anything")
        await until(lambda: media.ready[0] is not None)
        assert len(pids | {the_pid(media)}) == 4
        assert events.all == [RouterLost(f"room {i}") for i in range(3)]


@pytest.mark.contract("D75")
async def test_a_room_that_many_want_at_once_is_made_once() -> None:
    async with running(2) as (media, _):
        infos: list[JsonObject] = []

        async def join() -> None:
            await media.create_router("room")
            infos.append(await media.create_transport("room"))

        async with trio.open_nursery() as nursery:
            for number in range(19):
                nursery.start_soon(join)
                if number == 10:
                    await join()  # and some come when others are there already
        assert len({candidate["port"] for info in infos for candidate in info["iceCandidates"]}) == 2
        producer_id = await media.produce(infos[0]["id"], "video", video_parameters())
        for info in infos[1:]:
            await media.consume(info["id"], producer_id, viewer_capabilities())
        assert sum(len(worker.transports) for worker in (await media.stats()).values()) == 20


@pytest.mark.contract("D76", "D78")
async def test_rooms_go_where_the_fewest_are_whoever_they_are() -> None:
    async with running(2) as (media, _):
        crowd = []
        for _ in range(3):  # everyone who comes in asks for the room
            await media.create_router("big")
            crowd.append((await media.create_transport("big"))["id"])
        for number in range(3):
            await media.create_router(f"small {number}")
            await media.create_transport(f"small {number}")
        assert [worker.load for worker in media._workers] == [6, 4], "big and the third; two small ones"
        for transport_id in crowd:
            await media.close_transport(transport_id)
            await media.close_transport(transport_id)
        await media.close_router("big")
        await media.close_router("big")
        assert [worker.load for worker in media._workers] == [2, 4]
        await media.create_router("next")
        assert media._routers["next"].index == 0


async def test_who_gives_up_waiting_for_a_room_leaves_it_to_the_others() -> None:
    async with running(1) as (media, _):
        with trio.move_on_after(0):
            await media.create_router("room")
        await media.create_router("room")
        await media.create_transport("room")


@pytest.mark.contract("D65", "D77")
async def test_what_is_replaced_or_ends_leaves_the_tables() -> None:
    async with running(1) as (media, events):
        await media.create_router("room")
        info = await media.create_transport("room")
        first = await media.produce(info["id"], "video", video_parameters())
        second = await media.produce(info["id"], "video", video_parameters(), replaces=first)
        with pytest.raises(MediaError):
            await media.produce(info["id"], "video", {"codecs": []}, replaces=second)
        data = await media.produce_data(info["id"], {"streamId": 0}, "l", "")
        data = await media.produce_data(info["id"], {"streamId": 0}, "l", "", replaces=data)
        assert set(media._producers) == {second, data}
        [worker] = (await media.stats()).values()
        [transport] = worker.transports
        assert [stream.producer_id for stream in transport.streams] == [second]
        with trio.move_on_after(0):
            await media.produce_data(info["id"], {"streamId": 1}, "given up", "")
        await media.produce_data(info["id"], {"streamId": 1}, "again", "")
        await media.close_transport(info["id"])
        assert (media._producers, media._transports) == ({}, {})
        assert events.all == []


def test_the_log_says_what_the_worker_says() -> None:
    media = MediaWorkers([configuration()])
    with capture_logs() as logs:
        media._heard(Fault("t", "Traceback ...", 3))
        media._producers["d"] = ("t", media._workers[0])
        media._heard(DataProducerClosed("d", "text (PPID 51) on a channel for binary messages"))
        media._heard(DataProducerClosed("d", "known to nobody"))
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("media fault", "error"),
        ("data producer closed", "warning"),
    ]
    assert (logs[0]["traceback"], logs[0]["count"]) == ("Traceback ...", 3)
    assert logs[1]["reason"] == "text (PPID 51) on a channel for binary messages"


async def test_a_stopped_worker_is_killed_and_replaced() -> None:
    async with running(1) as (media, events):
        await media.create_router("room")
        victim = the_pid(media)
        os.kill(victim, signal.SIGSTOP)
        began = trio.current_time()
        with pytest.raises(MediaError, match="media worker lost"):
            await media.create_transport("room")
        answered = trio.current_time() - began
        reported = answered + await until(lambda: events.all == [RouterLost("room")])
        print(f"call failed after {answered:.2f} s, reported after {reported:.2f} s")
        assert PING_TIMEOUT - PING_INTERVAL < answered < PING_TIMEOUT + PING_INTERVAL + stretched(0.5)
        assert reported < answered + stretched(0.5)
        assert not exists(victim)
        await until(lambda: media.ready[0] is not None)
        await media.create_router("room")


async def test_a_stopped_worker_is_replaced_although_requests_pile_up() -> None:
    """More requests than the channel's buffer holds: those waiting must not keep the ping from failing."""
    async with running(1) as (media, events):
        await media.create_router("room")
        info = await media.create_transport("room")
        os.kill(the_pid(media), signal.SIGSTOP)
        failures: list[str] = []

        async def ask() -> None:
            capabilities = {"padding": "x" * 100_000}
            try:
                await media.consume(info["id"], "nothing", capabilities)
            except MediaError as error:
                failures.append(str(error))

        with trio.fail_after(SOON):
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(ask)
        assert failures == ["media worker lost"] * 50
        await until(lambda: events.all == [RouterLost("room")])
        await until(lambda: media.ready[0] is not None)
        await media.create_router("room")


async def test_requests_that_cross_a_crash_all_end() -> None:
    async with running(1) as (media, events):
        await media.create_router("room")
        outcomes: list[str] = []

        async def ask() -> None:
            try:
                info = await media.create_transport("room")
                await media.produce_data(info["id"], {"streamId": 0}, "", "")
            except MediaError as error:
                outcomes.append(str(error))
            else:
                outcomes.append("done")

        with trio.fail_after(SOON):
            async with trio.open_nursery() as nursery:
                for _ in range(200):
                    nursery.start_soon(ask)
                await until(lambda: "done" in outcomes)
                os.kill(the_pid(media), signal.SIGKILL)
        assert len(outcomes) == 200
        assert set(outcomes) <= {"done", "media worker lost", "transport not found", "no such room"}
        await until(lambda: RouterLost("room") in events.all)
        await until(lambda: media.ready[0] is not None)
        # Nothing of the crash is left in the tables.
        assert (media._routers, media._transports, media._producers) == ({}, {}, {})
        await media.create_router("room")
        info = await media.create_transport("room")
        await media.close_transport(info["id"])


async def test_cancelled_requests_leave_the_channel_in_step() -> None:
    async with running(1) as (media, _):
        await media.create_router("room")
        made = []
        for i in range(100):
            with trio.move_on_after(0.00002 * i):
                made.append((await media.create_transport("room"))["id"])
        assert 0 < len(made) < 100, "some must be cancelled and some not for this to prove anything"
        assert sorted(media._transports) == sorted(made)
        await media.restart_ice(made[0])


async def test_a_port_in_use_is_named(others: list[int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
        with pytest.RaisesGroup(WorkerStartError, flatten_subgroups=True) as caught, trio.fail_after(SOON):
            async with open_media_workers([configuration(), configuration(port=port)]):
                raise AssertionError
    [error] = caught.value.exceptions
    while isinstance(error, BaseExceptionGroup):
        [error] = error.exceptions
    assert f"cannot listen on UDP {HOST}:{port}" in str(error)
    assert "in use" in str(error)
    assert children_of(os.getpid()) == others


async def test_a_tcp_port_in_use_is_named(others: list[int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.RaisesGroup(WorkerStartError, flatten_subgroups=True) as caught, trio.fail_after(SOON):
            async with open_media_workers([configuration(tcp_port=port)]):
                raise AssertionError
    [error] = caught.value.exceptions
    while isinstance(error, BaseExceptionGroup):
        [error] = error.exceptions
    assert f"cannot listen on TCP {HOST}:{port}" in str(error)
    assert children_of(os.getpid()) == others


async def test_a_replacement_that_cannot_start_is_tried_again() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    async with running(1, port=port) as (media, events):
        await media.create_router("room")
        os.kill(the_pid(media), signal.SIGKILL)
        await until(lambda: bool(events.all))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind((HOST, port))
            tried: set[int] = set()

            def tried_twice() -> bool:
                tried.update(pid for pid in media.pids if pid is not None)
                return len(tried) >= 2

            await until(tried_twice)
            assert not media.available
        await until(lambda: media.available)
        assert (ready := media.ready[0]) is not None
        assert ready.port == port


@pytest.mark.contract("D3")
async def test_a_machine_out_of_resources_loses_one_worker_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No process or no file descriptor to be had is no reason for the node to end."""
    failed = trio.Event()

    async def fail(*_: object, **__: object) -> trio.Process:
        failed.set()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with capture_logs() as logs:
        async with running(2) as (media, _):
            with monkeypatch.context() as patch:
                patch.setattr("trio.lowlevel.open_process", fail)
                os.kill(the_pid(media), signal.SIGKILL)
                with trio.fail_after(SOON):
                    await failed.wait()
                await media.create_router("room")  # on the other one
                assert list(await media.stats()) == [1]
            await until(lambda: media.ready[0] is not None)
    [why] = {entry["error"] for entry in logs if entry["event"] == "media worker does not start"}
    assert why == "media worker 0 did not start: Too many open files"


async def test_leaving_reaps_all_children_even_stopped_ones() -> None:
    async with open_media_workers([configuration() for _ in range(3)]) as media:
        pids = [the_pid(media, i) for i in range(3)]
        os.kill(pids[1], signal.SIGSTOP)
        began = trio.current_time()
    took = trio.current_time() - began
    print(f"left after {took:.2f} s")
    assert took < stretched(2.0)
    assert not any(exists(pid) for pid in pids)


async def test_being_cancelled_while_starting_leaves_nothing(others: list[int]) -> None:
    with trio.move_on_after(0.3):
        async with open_media_workers([configuration() for _ in range(2)]):
            await trio.sleep_forever()
    assert children_of(os.getpid()) == others


async def test_an_exception_in_the_block_passes_through(others: list[int]) -> None:
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with open_media_workers([configuration()]):
            raise ZeroDivisionError
    assert children_of(os.getpid()) == others


async def test_workers_end_with_their_node() -> None:
    """A node that is killed takes its workers along: their control channel ends."""
    script = (
        "import trio, sys\n"
        "from sfu.worker.supervisor import open_media_workers\n"
        "from tests.worker.test_supervisor import configuration\n"
        "async def main():\n"
        "    async with open_media_workers([configuration(), configuration()]) as media:\n"
        "        print(*media.pids, flush=True)\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, [sys.executable, "-c", script], stdout=subprocess.PIPE, check=False)
        )
        line = b""
        with trio.fail_after(SOON):
            while not line.endswith(b"\n"):
                line += await process.stdout.receive_some()
        pids = list(map(int, line.split()))
        assert all(exists(pid) for pid in pids)
        process.kill()
        took = await until(lambda: not any(exists(pid) for pid in pids))
        print(f"workers gone after {took:.2f} s")

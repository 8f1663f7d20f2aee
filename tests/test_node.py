"""The whole daemon as users start and stop it: a child process, real signals, real clients."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import socketio
import trio

import sfu.node
from tests.interop.member import LivePeer, eventually, open_member
from tests.interop.room import Room
from tests.support.daemon import (
    HOST,
    Daemon,
    StartFailed,
    clean,
    command,
    environment,
    exists,
    free_ports,
    is_free,
    open_daemon,
    resident,
    running_daemon,
    stretched,
)
from tests.support.world import VideoSource, received, video_parameters, viewer_capabilities

pytestmark = pytest.mark.interop

STOP_LIMIT = 2.0
"""Seconds from the signal to the end of the process, whoever is connected."""
REFUSAL_TIMEOUT = 30.0


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """One for all tests that do not stop it."""
    with running_daemon(workers=2) as one:
        yield one


def refused(*options: str) -> tuple[int, str]:
    """Start a daemon that is expected not to come up: exit status, standard error."""
    done = subprocess.run(
        command(*options),
        capture_output=True,
        timeout=REFUSAL_TIMEOUT,
        env=environment(),
        text=True,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


# Starting


def test_it_says_where_it_is(daemon: Daemon) -> None:
    with running_daemon(workers=2) as other:
        ended = other.stop()
    first, *rest = ended.stdout.splitlines()
    assert f"signaling on {HOST}:{other.port}" in first
    assert "2 media workers" in first
    assert f"UDP and TCP {other.media_port}, {other.media_port + 1}" in first
    assert f"announced as {HOST}" in first
    if sfu.node.PAGE.is_dir():
        assert rest == [f"Play at http://localhost:{other.port}/"]
    assert (ended.status, ended.stderr) == (0, "")


def test_media_over_udp_alone() -> None:
    with running_daemon(options=("--no-webrtc-tcp",)) as daemon:
        assert is_free(daemon.media_port, socket.SOCK_STREAM)
        assert not is_free(daemon.media_port, socket.SOCK_DGRAM)
        assert f"on UDP {daemon.media_port}," in daemon.stop().stdout


def test_a_second_daemon_says_what_to_do(daemon: Daemon) -> None:
    _, media_port = free_ports(1)
    status, stderr = refused(
        "--standalone",
        *("--port", str(daemon.port)),
        *("--webrtc-port", str(media_port)),
        *("--announced-ip", HOST),
        *("--workers", "1"),
    )
    assert status == 1
    [line] = stderr.splitlines()
    assert line.startswith(f"trio-sfu: cannot listen on {HOST}:{daemon.port} ")
    assert "--port" in line


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["UDP", "TCP"])
@pytest.mark.parametrize("worker", [0, 1])
def test_a_media_port_in_use_is_named(kind: socket.SocketKind, worker: int) -> None:
    port, media_port = free_ports(2)
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((HOST, media_port + worker))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        status, stderr = refused(
            "--standalone",
            *("--port", str(port)),
            *("--webrtc-port", str(media_port)),
            *("--announced-ip", HOST),
            *("--media-host", HOST),
            *("--workers", "2"),
        )
    assert status == 1
    protocol = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
    [line] = stderr.splitlines()
    assert line.startswith(f"trio-sfu: media worker {worker} did not start: ")
    assert f"cannot listen on {protocol} {HOST}:{media_port + worker}" in line
    for number in (port, media_port, media_port + 1):
        assert is_free(number, socket.SOCK_STREAM)
        assert is_free(number, socket.SOCK_DGRAM)


def test_a_host_name_without_address_is_named() -> None:
    port, media_port = free_ports(1)
    status, stderr = refused(
        *("--standalone", "--port", str(port), "--webrtc-port", str(media_port)),
        *("--announced-ip", "sfu.invalid", "--workers", "1"),
    )
    assert status == 1
    [line] = stderr.splitlines()
    assert line.startswith("trio-sfu: no address to announce: sfu.invalid (")
    assert "ANNOUNCED_IP" in line


def test_without_settings_it_says_what_is_missing() -> None:
    status, stderr = refused()
    assert status == 1
    assert all(line.startswith("trio-sfu: ") for line in stderr.splitlines())
    for wanted in ("ROMM_API_BASE_URL", "ROMM_SFU_INTERNAL_SECRET", "--standalone"):
        assert wanted in stderr


def test_a_daemon_that_does_not_come_up_fails_the_test_with_its_words() -> None:
    with (
        pytest.raises(StartFailed, match=r"neither a whole number from 1 up nor auto"),
        running_daemon(options=("--workers", "none")),
    ):
        raise AssertionError


# Serving


def test_tokens_and_the_room_list(daemon: Daemon) -> None:
    status, _, body = daemon.request("GET", "/list")
    assert (status, json.loads(body)) == (401, {"error": "unauthorized"})
    status, _, _ = daemon.request("GET", "/list?token=nonsense")
    assert status == 401
    token = daemon.mint("Ann")
    for target, headers in (
        (f"/list?token={token}", {}),
        ("/list", {"Authorization": f"Bearer {token}"}),
        ("/list", {"Cookie": f"romm_sfu_token={token}"}),
    ):
        status, fields, body = daemon.request("GET", target, headers=headers)
        assert (status, json.loads(body)) == (200, {})
        assert fields["content-type"].startswith("application/json")
    status, _, body = daemon.request("GET", "/ice", headers={"Authorization": f"Bearer {token}"})
    assert status == 200
    assert json.loads(body)["announcedIp"] == HOST


@pytest.mark.skipif(not sfu.node.PAGE.is_dir(), reason="the page is not built")
def test_the_page_is_served(daemon: Daemon) -> None:
    status, headers, body = daemon.request("GET", "/")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert body == (sfu.node.PAGE / "index.html").read_bytes()
    script = next(Path(sfu.node.PAGE).glob("*.js")).name
    status, headers, _ = daemon.request("GET", f"/{script}")
    assert status == 200
    assert "javascript" in headers["content-type"]
    for target in ("/../node.py", "/%2e%2e/node.py", "/nothing.html"):
        assert daemon.request("GET", target)[0] == 404


async def test_a_room_is_listed_while_it_lives(daemon: Daemon) -> None:
    async with open_member(daemon, "Ann") as ann:
        await ann.open("listed")
        target = f"/list?token={await trio.to_thread.run_sync(daemon.mint, 'Bob')}"
        _, _, body = await trio.to_thread.run_sync(daemon.request, "GET", target)
        assert json.loads(body)["listed"]["current"] == 1
        await ann.signaling.call("leave-room", {"roomName": "listed"})
        _, _, body = await trio.to_thread.run_sync(daemon.request, "GET", target)
        assert "listed" not in json.loads(body)


async def test_media_passes_and_stays_in_its_room(daemon: Daemon) -> None:
    """Two rooms, on two workers: a picture reaches whoever consumes it, and nobody else may."""
    async with (
        open_member(daemon, "host") as host,
        open_member(daemon, "viewer") as viewer,
        open_member(daemon, "stranger") as stranger,
    ):
        await host.open("mine")
        await stranger.open("theirs")
        await viewer.join("mine")
        sending, receiving, outside = (
            await host.transport(),
            await viewer.transport(),
            await stranger.transport(),
        )
        assert sending.peer.server == receiving.peer.server != outside.peer.server
        producer = await host.signaling.call(
            "sfu-produce",
            {
                "transportId": sending.transport_id,
                "kind": "video",
                "rtpParameters": video_parameters(),
            },
        )
        await eventually(
            lambda: viewer.signaling.heard("new-producer") == [{"id": producer, "kind": "video"}]
        )
        request = {"producerId": producer, "rtpCapabilities": viewer_capabilities()}
        answer = await stranger.signaling.call_raw(
            "sfu-consume", {**request, "transportId": outside.transport_id}
        )
        assert answer == ["cannot consume"]
        consumer = await viewer.signaling.call(
            "sfu-consume", {**request, "transportId": receiving.transport_id}
        )
        ssrc = consumer["rtpParameters"]["encodings"][0]["ssrc"]
        source = VideoSource(sending.peer)
        for index in range(10):
            source.frame(key=index == 0)
            sending.flush()
            await trio.sleep(0.01)
        await eventually(lambda: len(received(receiving.peer, ssrc)) == 30)
        sequence = [packet.sequence_number for packet in received(receiving.peer, ssrc)]
        assert [(number - sequence[0]) % 65536 for number in sequence] == list(range(30))
        assert outside.peer.rtp == []


# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_time_with_everybody_connected(number: signal.Signals) -> None:
    async with open_daemon(workers=2) as daemon, AsyncExitStack() as stack:
        members = [await stack.enter_async_context(open_member(daemon, f"guest {i}")) for i in range(8)]
        lives: list[LivePeer] = []
        for index, member in enumerate(members):
            if index < 2:
                await member.open(f"room {index}")
            else:
                await member.join(f"room {index % 2}")
            lives += [await member.transport(), await member.transport()]
        await members[0].signaling.call(
            "sfu-produce",
            {"transportId": lives[0].transport_id, "kind": "video", "rtpParameters": video_parameters()},
        )
        source = VideoSource(lives[0].peer)
        for port, data in ((daemon.port, b""), (daemon.port, b"GET / HT"), (daemon.media_port, b"\x00")):
            idle = await stack.enter_async_context(await trio.open_tcp_stream(HOST, port))
            await idle.send_all(data)
        pids = daemon.worker_pids
        assert len(pids) == 2
        source.frame(key=True)
        lives[0].flush()
        ended = await trio.to_thread.run_sync(daemon.stop, number)
        assert ended.status == 0
        assert ended.seconds < stretched(STOP_LIMIT)
        assert ended.stderr == ""
        print(f"{number.name}: gone after {ended.seconds:.2f} s")
        for member in members:
            with trio.fail_after(1):
                await member.signaling.over.wait()
            # Not a disconnect by the server: after that, browsers' clients would not come back by themselves.
            assert member.signaling.disconnected == "closed 1000"
            assert member.signaling.heard("room-closed")[0]["reason"] == "server stopping"
        await eventually(lambda: all(live.peer.ended is not None for live in lives))
        assert not any(exists(pid) for pid in pids)
        for port in range(daemon.port, daemon.media_port + 2):
            assert is_free(port, socket.SOCK_STREAM)
            assert is_free(port, socket.SOCK_DGRAM)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_an_independent_client_is_told_and_let_go(transport: str) -> None:
    async def session(daemon: Daemon) -> list[object]:
        client = socketio.AsyncClient(reconnection=False)
        told: list[object] = []
        gone = asyncio.Event()
        client.on("room-closed", told.append)
        client.on("disconnect", gone.set)
        await client.connect(daemon.url, transports=[transport], auth={"token": daemon.mint("Ann")})
        error = await client.call("open-room", {"extra": {"room_name": "room"}, "maxPlayers": 2}, timeout=10)
        assert error is None
        stopping = asyncio.create_task(asyncio.to_thread(daemon.stop))
        async with asyncio.timeout(5):
            await gone.wait()
        await stopping
        await client.disconnect()
        return told

    with running_daemon() as daemon:
        told = asyncio.run(session(daemon))
        ended = daemon.stop()
    assert told == [{"room_name": "room", "reason": "server stopping"}]
    assert ended.status == 0
    assert ended.seconds < stretched(STOP_LIMIT)
    assert ended.stderr == ""


def test_a_signal_while_it_starts_ends_it() -> None:
    port, media_port = free_ports(2)
    for delay in (0.05, 0.3, 0.6):
        one = Daemon(workers=2, port=port, media_port=media_port)
        time.sleep(delay)
        ended = one.stop()
        assert ended.seconds < stretched(STOP_LIMIT)
        assert ended.status in (0, -signal.SIGTERM)  # the latter before its own handler is in place
        assert clean(ended.stderr)
        assert is_free(media_port, socket.SOCK_DGRAM)


def test_workers_do_not_outlive_a_killed_node() -> None:
    with running_daemon(workers=2) as daemon:
        pids = daemon.worker_pids
        ended = daemon.stop(signal.SIGKILL)
        assert ended.status == -signal.SIGKILL
        deadline = time.monotonic() + 5
        while not is_free(daemon.media_port, socket.SOCK_DGRAM) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert is_free(daemon.media_port, socket.SOCK_DGRAM)
        assert is_free(daemon.media_port + 1, socket.SOCK_DGRAM)
    assert len(pids) == 2


async def test_a_worker_that_dies_takes_only_its_rooms_media() -> None:
    """Its members are told and make their media anew; on the other worker nothing happens at all."""
    async with (
        open_daemon(workers=2) as daemon,
        open_member(daemon, "one") as one,
        open_member(daemon, "two") as two,
        open_member(daemon, "three") as three,
        open_member(daemon, "four") as four,
    ):
        rooms = Room("first", daemon, one, two), Room("second", daemon, three, four)
        for room in rooms:
            await room.start()
            await room.prove()
        assert rooms[0].sending.peer.server != rooms[1].sending.peer.server
        victim = daemon.worker_pids[0]
        os.kill(victim, signal.SIGKILL)
        began = trio.current_time()
        told = one.signaling, three.signaling
        await eventually(lambda: any(host.heard("transports-lost") for host in told))
        lost, kept = rooms if told[0].heard("transports-lost") else reversed(rooms)
        await kept.prove()
        await eventually(lambda: lost.viewer.signaling.heard("transports-lost"))
        gone = await lost.host.signaling.call_raw(
            "sfu-restart-ice", {"transportId": lost.sending.transport_id}
        )
        assert gone == ["transport not found"]
        await lost.connect()
        await lost.prove()
        print(f"media again after {trio.current_time() - began:.2f} s")
        await kept.prove()
        for member, count in ((lost.host, 1), (lost.viewer, 1), (kept.host, 0), (kept.viewer, 0)):
            assert len(member.signaling.heard("transports-lost")) == count
        await eventually(lambda: len(daemon.worker_pids) == 2)
        assert victim not in daemon.worker_pids
        # The log has the death, as an error, and nothing else.
        [line] = daemon.stderr.splitlines()
        assert "media worker died, replacing it" in line


async def test_media_over_tcp(daemon: Daemon) -> None:
    """A network that lets no UDP through: picture and data over the TCP candidate."""
    async with open_member(daemon, "host") as host, open_member(daemon, "viewer") as viewer:
        room = Room("over TCP", daemon, host, viewer)
        await room.start(tcp=True)
        await room.prove()
        await room.prove()


async def test_memory_is_in_bounds_at_rest(daemon: Daemon) -> None:
    """A small box is the usual host: node and workers together stay below 120 MiB each."""
    for pid in (daemon.pid, *daemon.worker_pids):
        print(pid, resident(pid) >> 20, "MiB")
        assert resident(pid) < 120 << 20

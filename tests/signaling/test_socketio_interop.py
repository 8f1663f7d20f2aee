"""The official JavaScript client and python-socketio's client as judges, over TCP and in real time."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from sfu.signaling.application import Ack, Socket
from sfu.signaling.frontdoor import serve_http
from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import Recorder

pytestmark = pytest.mark.interop

HERE = Path(__file__).parent
NODE = HERE / "node"
EVENTS = 10_000

LIBRARIES = ["socket.io-client", "socket.io-client-4.6"]
TRANSPORTS = ["polling", "websocket", "polling,websocket"]

UPGRADE_DELAY = 0.25
"""Seconds by which :func:`relay` holds up WebSockets, so that they take over amid traffic."""


@dataclass
class Judged(Recorder):
    """Also kicks and shuts down on request."""

    shut_down: trio.CancelScope | None = None
    everybody_left: trio.Event = field(default_factory=trio.Event)

    async def disconnect(self, socket: Socket, reason: str) -> None:
        await super().disconnect(socket, reason)
        if len(self.goodbyes) == len(self.sockets):
            self.everybody_left.set()
            self.everybody_left = trio.Event()

    async def event(self, socket: Socket, name: str, args: Sequence[Any], ack: Ack) -> None:
        match name:
            case "kick":
                socket.disconnect()
            case "shutdown":
                assert self.shut_down is not None
                self.shut_down.cancel()
            case _:
                await super().event(socket, name, args, ack)


@pytest.fixture(scope="session")
def node() -> str:
    """The node binary, with the clients installed."""
    binary = shutil.which("node")
    if binary is None:
        pytest.skip("no node")
    with (NODE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes side by side
        if not (NODE / "node_modules").exists():
            npm = shutil.which("npm")
            assert npm is not None
            subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=NODE, check=True, timeout=110)
    return binary


@asynccontextmanager
async def serve(
    app: Judged, settings: SignalingSettings | None = None, *, slow_upgrade: bool = False
) -> AsyncIterator[int]:
    """Run a door on a free port; yields the port."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        app.shut_down = nursery.cancel_scope
        await nursery.start(partial(serve_http, [listener], application=app, settings=settings))
        port = listener.socket.getsockname()[1]
        if slow_upgrade:
            (proxy,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, partial(relay, port), [proxy])
            port = proxy.socket.getsockname()[1]
        yield port
        nursery.cancel_scope.cancel()


async def relay(port: int, client: trio.SocketStream) -> None:
    """Carry one connection to ``port``; a WebSocket comes late."""

    async def carry(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            async for data in source:
                await sink.send_all(data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            nursery.cancel_scope.cancel()

    async with client, await trio.open_tcp_stream("127.0.0.1", port) as server:
        head = await client.receive_some()
        if b"\r\nupgrade: websocket" in head.lower():
            await trio.sleep(UPGRADE_DELAY)
        try:
            await server.send_all(head)
        except trio.BrokenResourceError:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carry, client, server)
            nursery.start_soon(carry, server, client)


async def run_client(
    node: str,
    app: Judged,
    scenario: str,
    library: str,
    transports: str,
    settings: SignalingSettings | None = None,
    *,
    slow_upgrade: bool = False,
) -> dict[str, Any]:
    output = b""
    async with serve(app, settings, slow_upgrade=slow_upgrade) as port:
        with trio.CancelScope(shield=True):  # the door may be shut by the scenario
            command = [node, "client.mjs", f"http://127.0.0.1:{port}", scenario, library, transports]
            done = await trio.run_process(command, cwd=NODE, capture_stdout=True)
            output = done.stdout
        # What the client did last has to arrive.
        if len(app.goodbyes) < len(app.sockets):
            with trio.move_on_after(5.0):
                await app.everybody_left.wait()
    result: dict[str, Any] = json.loads(output)
    return result


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_basics(node: str, library: str, transports: str) -> None:
    app = Judged()
    result = await run_client(node, app, "basics", library, transports)
    assert result["id"] == app.sockets[0].id
    assert result["first"] == transports.split(",")[0]
    assert result["last"] == transports.split(",")[-1]
    assert result["ack"] == result["value"][0]
    assert result["echoed"] == result["value"]
    assert result["binary"] == [[0, 30, 255], [0, 30, 255]]
    assert app.sockets[0].handshake.auth == {"token": "t"}
    assert app.events[0] == ("echo", result["value"])
    assert app.reasons in (["client namespace disconnect"], ["transport close"])


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_no_event_is_lost_or_overtaken(node: str, library: str, transports: str) -> None:
    app = Judged()
    result = await run_client(node, app, "order", library, transports, slow_upgrade=True)
    assert result["received"] == EVENTS
    assert result["wrong"] is None
    assert result["acksInOrder"]
    assert [args for _, args in app.events] == [[number] for number in range(EVENTS)]
    assert result["last"] == transports.split(",")[-1]
    if "," in transports:
        sent, received = result["upgradedAt"]
        assert sent > 0
        assert 0 < received < EVENTS


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_a_burst_before_the_connection_stands(node: str, transports: str) -> None:
    app = Judged()
    result = await run_client(node, app, "burst", LIBRARIES[0], transports)
    assert result == {"received": EVENTS, "wrong": 0}


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_refusals(node: str, transports: str) -> None:
    app = Judged()
    result = await run_client(node, app, "refused", LIBRARIES[0], transports)
    assert result == {"message": "unauthorized", "data": None, "active": False}
    result = await run_client(node, app, "namespace", LIBRARIES[0], transports)
    assert result == {"message": "Invalid namespace"}
    assert app.sockets == []


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_reconnection(node: str, transports: str) -> None:
    app = Judged()
    result = await run_client(node, app, "reconnect", LIBRARIES[0], transports)
    assert result["different"] == 4
    assert result["ack"] == 1
    assert len(app.goodbyes) == 4
    result = await run_client(node, app, "again", LIBRARIES[0], transports)
    assert result["different"] == 3


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_a_kicked_client_stays_away(node: str, transports: str) -> None:
    app = Judged()
    result = await run_client(node, app, "kicked", LIBRARIES[0], transports)
    assert result == {"reason": "io server disconnect", "active": False}
    assert app.reasons == ["server namespace disconnect"]


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_heartbeats(node: str, transports: str) -> None:
    app = Judged()
    settings = SignalingSettings(ping_interval=0.3, ping_timeout=5.0)
    result = await run_client(node, app, "heartbeat", LIBRARIES[0], transports, settings)
    assert result["pings"] >= 3
    assert result["before"] == []


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_shutdown_is_a_clean_close(node: str, transports: str) -> None:
    app = Judged()
    result = await run_client(node, app, "shutdown", LIBRARIES[0], transports)
    assert result == {"reason": "transport close"}
    assert app.reasons == ["server shutting down"]


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_python_socketio(transports: str) -> None:
    """In a process of its own, because it needs asyncio."""
    app = Judged()
    async with serve(app, SignalingSettings()) as port:
        command = [sys.executable, str(HERE / "python_client.py"), f"http://127.0.0.1:{port}", transports]
        done = await trio.run_process(command, capture_stdout=True)
    result = json.loads(done.stdout)
    assert result["ack"] == [1, {"a": None}]
    assert result["numbers"] == list(range(1000))
    assert result["binary"] == [0, 255]
    assert result["transport"] == transports.split(",")[-1]
    assert result["refusal"] == {"message": "no entry"}
    assert [args for name, args in app.events if name == "number"] == [[n] for n in range(1000)]

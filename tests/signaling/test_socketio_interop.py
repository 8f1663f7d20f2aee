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

from sfu.signaling.application import Ack, AckTimeout, Socket
from sfu.signaling.frontdoor import serve_http
from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import Recorder

pytestmark = pytest.mark.interop

HERE = Path(__file__).parent
NODE = HERE / "node"
EVENTS = 10_000

LIBRARIES = [
    "socket.io-client",  # 4.8.1, which the game client carries
    "socket.io-client-4.6",
    "socket.io-client-4.7",
    "socket.io-client-latest",
]
TRANSPORTS = ["polling", "websocket", "polling,websocket"]

UPGRADE_DELAY = 0.25
"""Seconds by which :func:`relay` holds up WebSockets, so that they take over amid traffic."""


@dataclass
class Judged(Recorder):
    """Also kicks, asks back and shuts down on request."""

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
                # A client on long-polling is to hear this, and must then still be told of the end.
                socket.emit("last words", 1)
                await trio.testing.wait_all_tasks_blocked()
                assert self.shut_down is not None
                self.shut_down.cancel()
            case "ask me":
                question, *rest = args
                try:
                    ack(await socket.emit_with_ack(question, *rest, timeout=0.5))
                except AckTimeout:
                    ack("no answer")
            case "silence":
                pass
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
        if not all((NODE / "node_modules" / library).exists() for library in LIBRARIES):
            npm = shutil.which("npm")
            assert npm is not None
            subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=NODE, check=True, timeout=110)
    return binary


@asynccontextmanager
async def serve(
    app: Judged, settings: SignalingSettings | None = None, *, slow_upgrade: bool = False, doors: int = 1
) -> AsyncIterator[int]:
    """Run a door on a free port, and another one there each time that one is shut; yields the port."""

    async def open_doors(task_status: trio.TaskStatus[int]) -> None:
        port = 0
        for _ in range(doors):
            (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
            port = listener.socket.getsockname()[1]
            with trio.CancelScope() as app.shut_down:
                task_status.started(port)
                task_status = trio.TASK_STATUS_IGNORED
                await serve_http([listener], application=app, namespaces={"/admin": app}, settings=settings)

    async with trio.open_nursery() as nursery:
        port = await nursery.start(open_doors)
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
    doors: int = 1,
) -> dict[str, Any]:
    async with serve(app, settings, slow_upgrade=slow_upgrade, doors=doors) as port:
        command = [node, "client.mjs", f"http://127.0.0.1:{port}", scenario, library, transports]
        done = await trio.run_process(command, cwd=NODE, capture_stdout=True)
        # What the client did last has to arrive.
        if len(app.goodbyes) < len(app.sockets):
            with trio.move_on_after(5.0):
                await app.everybody_left.wait()
    result: dict[str, Any] = json.loads(done.stdout)
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
    assert [args for _, args in app.events] == [
        [number] if number % 7 else [number, bytes([number % 256])] for number in range(EVENTS)
    ]
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


@pytest.mark.contract("D5")
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_shutdown_is_a_clean_close(node: str, library: str, transports: str) -> None:
    app = Judged()
    result = await run_client(node, app, "shutdown", library, transports)
    assert result == {"reason": "transport close", "heard": [1]}
    assert app.reasons == ["server shutting down"]


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_clients_come_back_to_a_server_that_was_restarted(node: str, transports: str) -> None:
    app = Judged()
    result = await run_client(node, app, "restart", LIBRARIES[0], transports, doors=3)
    assert result == {"reasons": ["transport close"] * 2, "different": True, "ack": 1}
    assert app.reasons[:2] == ["server shutting down"] * 2


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_two_namespaces_over_one_connection(node: str, library: str, transports: str) -> None:
    app = Judged()
    result = await run_client(node, app, "namespaces", library, transports)
    assert result == {
        "refusal": "Invalid namespace",
        "numbers": {"main": list(range(500)), "admin": list(range(0, -500, -1))},
        "acks": ["m", "a"],
        "alone": "alone",
        "again": "again",
        "different": 3,
        "open": "open",
    }
    assert [socket.namespace for socket in app.sockets] in (
        ["/", "/admin", "/admin"],
        ["/admin", "/", "/admin"],
    )
    assert {tuple(socket.handshake.auth.values()) for socket in app.sockets} == {("main",), ("admin",)}


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_the_query_of_an_address_is_no_part_of_the_namespace(node: str, transports: str) -> None:
    app = Judged()
    assert await run_client(node, app, "query", LIBRARIES[0], transports) == {"ack": 1}
    assert app.sockets[0].namespace == "/admin"
    assert ("token", "in the query") in app.sockets[0].handshake.query


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_acknowledgements_both_ways(node: str, library: str, transports: str) -> None:
    app = Judged()
    result = await run_client(node, app, "acks", library, transports)
    assert result == {
        "binary": [1, 2],
        "asked": [7, [3, 4]],
        "empty": [],
        "nobody": "no answer",
        "silence": "operation has timed out",
        "many": True,
        "after": [8, [5]],
    }


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_python_socketio(transports: str) -> None:
    """In a process of its own, because it needs asyncio."""
    app = Judged()
    async with serve(app, SignalingSettings()) as port:
        command = [sys.executable, str(HERE / "python_client.py"), f"http://127.0.0.1:{port}", transports]
        done = await trio.run_process(command, capture_stdout=True)
    result = json.loads(done.stdout)
    assert result["ack"] == [1, {"a": None}]
    assert result["asked"] == [[7, [1]], [7, [1]]]
    assert result["nobody"] == []  # this client acknowledges what it has no handler for
    assert result["silence"] == "timeout"
    assert result["ids"] == [
        next(socket.id for socket in app.sockets if socket.namespace == namespace)
        for namespace in ("/", "/admin")
    ]
    assert result["numbers"] == list(range(1000))
    assert result["binary"] == [0, 255]
    assert result["transport"] == transports.split(",")[-1]
    assert result["refusal"] == {"message": "no entry"}
    assert [args for name, args in app.events if name == "number"] == [[n] for n in range(1000)]

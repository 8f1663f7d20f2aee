"""What stands behind and before a reverse proxy: front doors on loopback TCP that write down what reaches
them, and clients with addresses of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import trio
from trio_websocket import wrap_client_stream

from sfu.signaling.frontdoor import serve_http
from sfu.signaling.http import Mount, Request, Response, json_response
from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import WEBSOCKET, Client, Recorder, Ws
from tests.support.daemon import HOST

AT_ONCE = 0.01
"""Seconds."""


class CountingListener(trio.abc.Listener[trio.SocketStream]):
    """Knows how many connections it has accepted."""

    def __init__(self, listener: trio.SocketListener) -> None:
        self._listener = listener
        self.accepted = 0

    @property
    def port(self) -> int:
        return int(self._listener.socket.getsockname()[1])

    async def accept(self) -> trio.SocketStream:
        stream = await self._listener.accept()
        self.accepted += 1
        return stream

    async def aclose(self) -> None:
        await self._listener.aclose()


@dataclass
class Door:
    """A front door with an echoing Socket.IO server, which takes any request outside it."""

    name: str
    listener: CountingListener
    app: Recorder = field(default_factory=Recorder)
    requests: list[Request] = field(default_factory=list)
    """Those outside Engine.IO, oldest first."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    over: trio.Event = field(default_factory=trio.Event)

    @property
    def port(self) -> int:
        return self.listener.port

    async def shut(self) -> None:
        """Close it before its time, as a daemon that ends."""
        self.scope.cancel()
        await self.over.wait()

    async def take(self, request: Request) -> Response:
        """Write a request down; the answer says whose door it was."""
        self.requests.append(request)
        await trio.lowlevel.checkpoint()
        return json_response({"door": self.name})


@asynccontextmanager
async def open_door(
    name: str, settings: SignalingSettings | None = None, *, port: int = 0
) -> AsyncIterator[Door]:
    """A door for the length of a block; by default on a free port. It shuts without waiting for pollers."""
    settings = replace(settings or SignalingSettings(), close_timeout=AT_ONCE)
    [listener] = await trio.open_tcp_listeners(port, host=HOST)
    door = Door(name, CountingListener(listener))

    async def serve(task_status: trio.TaskStatus[object]) -> None:
        with door.scope:
            await serve_http(
                [door.listener],
                application=door.app,
                mounts=[Mount("/", door.take)],
                settings=settings,
                task_status=task_status,
            )
        door.over.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        yield door
        door.scope.cancel()


@asynccontextmanager
async def open_client(port: int, address: str = HOST) -> AsyncIterator[Client]:
    """An HTTP connection from a loopback address of the caller's choice."""
    async with await trio.open_tcp_stream(HOST, port, local_address=address) as stream:
        yield Client(stream)


@asynccontextmanager
async def open_websocket(
    port: int,
    target: str = WEBSOCKET,
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
    address: str = HOST,
) -> AsyncIterator[Ws]:
    """A WebSocket likewise."""
    async with (
        await trio.open_tcp_stream(HOST, port, local_address=address) as stream,
        trio.open_nursery() as nursery,
    ):
        host = f"{HOST}:{port}"
        yield Ws(await wrap_client_stream(nursery, stream, host, target, extra_headers=list(headers)))
        nursery.cancel_scope.cancel()

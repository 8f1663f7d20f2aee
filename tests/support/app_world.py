"""The application with sockets in memory: what is emitted is encoded and decoded as on the wire."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
from trio.testing import wait_all_tasks_blocked

from sfu.rooms import Rooms
from sfu.signaling.app import SfuApplication
from sfu.signaling.app_settings import AppSettings
from sfu.signaling.application import EncodedEvent, Handshake
from sfu.signaling.http import HttpError, Request, Response, Router, error_response, parse_cookies
from sfu.signaling.identity import derive_userid
from sfu.signaling.socketio import codec
from tests.support.memory_media import MemoryMedia
from tests.support.memory_romm import MemoryRomm

_numbers = itertools.count(1)


def on_the_wire(encoded: EncodedEvent) -> Any:
    """What a client decodes from a packet."""
    assert isinstance(encoded, codec.Encoded)
    decoder = codec.Decoder(max_attachment_bytes=10**6)
    packet: Any = None
    for frame in encoded.frames:
        packet = decoder.receive_untrusted(frame[1:] if isinstance(frame, str) else frame)
    return packet


class MemorySocket:
    """Implements :class:`sfu.signaling.application.Socket`; ``received`` is what its client has got, in
    order: ``(event, *args)``, and ``("ack", *args)`` where an ack was called."""

    def __init__(self, world: AppWorld, handshake: Handshake) -> None:
        self.id = f"socket-{next(_numbers):013}"
        self.namespace = "/"
        self.handshake = handshake
        self.connected = False
        self.last_seen = trio.current_time()
        self.silent = False
        """Its link is dead, and nobody has noticed."""
        self.received: list[tuple[Any, ...]] = []
        self._world = world

    def emit(self, event: str, *args: object) -> None:
        self.emit_encoded(codec.encode_event(event, *args))

    def emit_encoded(self, packet: EncodedEvent) -> None:
        if self.connected:
            event = on_the_wire(packet)
            self.received.append((event.name, *event.args))

    async def emit_with_ack(self, event: str, *args: object, timeout: float) -> Sequence[Any]:  # noqa: ASYNC109
        raise AssertionError("the application asks its clients nothing")

    async def is_alive(self, within: float) -> bool:
        if self.silent:
            await trio.sleep(within)
        elif self.connected:
            self.last_seen = trio.current_time()
        return self.connected and not self.silent

    def disconnect(self) -> None:
        if self.connected:
            self.connected = False
            self._world.nursery.start_soon(self._world.app.disconnect, self, "server namespace disconnect")

    # What its client does

    @property
    def userid(self) -> str:
        return derive_userid(self.handshake.auth["token"].partition(":")[2])

    async def call(self, event: str, *args: Any) -> list[Any] | None:
        """Send an event that wants an ack; returns what the ack carries, None if there was none."""
        answer: list[Any] | None = None

        def ack(*values: object) -> None:
            nonlocal answer
            if answer is None:
                answer = list(on_the_wire(codec.encode(codec.Ack(1, values))).args)
                self.received.append(("ack", *answer))

        self.last_seen = trio.current_time()
        await self._world.app.event(self, event, args, ack)
        return answer

    async def ask(self, event: str, *args: Any) -> Any:
        """Send an event that succeeds; returns the value."""
        answer = await self.call(event, *args)
        assert answer is not None
        assert answer[0] is None, answer
        return answer[1] if len(answer) > 1 else None

    async def leave(self, *, reason: str = "transport close") -> None:
        """Lose the connection."""
        if self.connected:
            self.connected = False
            await self._world.app.disconnect(self, reason)

    def take(self) -> list[tuple[Any, ...]]:
        """What has been received since the last time."""
        received, self.received = self.received, []
        return received

    def events(self) -> list[str]:
        """The names of what has been received since the last time."""
        return [name for name, *_ in self.take()]


class AppWorld:
    """One node."""

    def __init__(self, nursery: trio.Nursery, settings: AppSettings, romm: MemoryRomm) -> None:
        self.nursery = nursery
        self.media = MemoryMedia()
        self.romm = romm
        self.app = SfuApplication(settings, self.media, self.romm)
        self.router = Router(self.app.routes())

    @property
    def rooms(self) -> Rooms:
        return self.app._core.rooms

    @property
    def table_size(self) -> int:
        return len(self.app._core.table)

    async def handshake(
        self,
        auth: Any = None,
        query: list[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        remote: str = "192.0.2.1",
    ) -> MemorySocket:
        """Connect a socket however it comes in."""
        socket = MemorySocket(self, Handshake(auth, query or [], headers or {}, remote))
        await self.app.connect(socket)
        socket.connected = True
        return socket

    async def connect(self, user: str, *, kind: str = "t", remote: str = "192.0.2.1") -> MemorySocket:
        """Connect a user with a read token, or another kind that :class:`MemoryRomm` knows."""
        return await self.handshake({"token": f"{kind}:{user}"}, remote=remote)

    async def host(self, user: str, room: str = "R", **payload: Any) -> MemorySocket:
        """Connect someone who opens a room."""
        socket = await self.connect(user)
        await socket.ask("open-room", {"extra": {"room_name": room}, **payload})
        return socket

    async def guest(self, user: str, room: str = "R", **extra: Any) -> MemorySocket:
        """Connect someone who joins a room."""
        socket = await self.connect(user)
        await socket.ask("join-room", {"extra": {"room_name": room, **extra}})
        return socket

    async def settle(self) -> None:
        """Let everything that has been started come to an end, and held-back messages go out."""
        await wait_all_tasks_blocked()
        await trio.sleep(1)
        await wait_all_tasks_blocked()

    async def get(
        self, path: str, query: list[tuple[str, str]] | None = None, headers: dict[str, str] | None = None
    ) -> Response:
        """A ``GET`` request."""
        return await self.request("GET", path, query=query, headers=headers)

    async def post(self, path: str, body: Any = None, *, token: str = "t:ann") -> Response:
        """A ``POST`` request with a JSON body; raw bytes go as they are."""
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        data = body if isinstance(body, bytes) else msgspec.json.encode({} if body is None else body)
        return await self.request("POST", path, headers=headers, body=data)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        remote: str = "192.0.2.1",
    ) -> Response:
        """An HTTP request, answered as the front door does."""
        headers = headers or {}
        request = Request(
            method,
            path,
            query=query or [],
            headers=headers,
            cookies=parse_cookies(headers.get("cookie", "")),
            body=body,
            remote=remote,
        )
        try:
            found = self.router.find(request)
            if found is None:
                return error_response(404, "not found")
            handler, request = found
            return await handler(request)
        except HttpError as error:
            return error_response(error.status, str(error))


def body_of(response: Response) -> tuple[int, Any]:
    """Status and decoded JSON body of a response."""
    return response.status, msgspec.json.decode(response.body)


@asynccontextmanager
async def open_world(**settings: Any) -> AsyncIterator[AppWorld]:
    """A running node; ``romm=`` shares another one's RomM."""
    romm = settings.pop("romm", None) or MemoryRomm()
    defaults: dict[str, Any] = {"public_url": "http://here", "node_id": "node-1"}
    async with trio.open_nursery() as nursery:
        world = AppWorld(nursery, AppSettings(**(defaults | settings)), romm)
        await nursery.start(world.app.run)
        romm.calls.clear()  # the node has looked for what it has left behind
        yield world
        nursery.cancel_scope.cancel()

"""A front door in the test's own process, and raw clients for it.

Everything runs over memory streams, so that tests can use a virtual clock; TCP is for the tests with real
peers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from sfu.signaling.application import Ack, Application, ConnectionRefused, Socket
from sfu.signaling.engineio.server import MakeHandler
from sfu.signaling.frontdoor import FrontDoor, serve_http
from sfu.signaling.http import Mount, Route, StaticFolder
from sfu.signaling.settings import SignalingSettings

POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"

UPGRADE_HEADERS = (
    "Host: sfu.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


def upgrade_request(target: str, headers: str = UPGRADE_HEADERS) -> bytes:
    return f"GET {target} HTTP/1.1\r\n{headers}\r\n".encode("latin-1")


def frame(first: int, payload: bytes, *, mask: bool = True) -> bytes:
    """A client frame; ``first`` is FIN, RSV and opcode."""
    key = b"\x01\x7f\x80\xfe" if mask else b""
    bit = 0x80 if mask else 0
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", first, bit | length)
    elif length < 65536:
        head = struct.pack("!BBH", first, bit | 126, length)
    else:
        head = struct.pack("!BBQ", first, bit | 127, length)
    if mask:
        payload = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return head + key + payload


async def read_until(stream: trio.abc.Stream, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        data = await stream.receive_some()
        assert data, received
        received += data
    return received


class Echo:
    """Acknowledges an event's arguments and sends them back."""

    async def connect(self, socket: Socket) -> None:
        await trio.lowlevel.checkpoint()

    async def event(self, socket: Socket, name: str, args: Sequence[Any], ack: Ack) -> None:
        ack(*args)
        socket.emit(name, *args)
        await trio.lowlevel.checkpoint()

    async def disconnect(self, socket: Socket, reason: str) -> None:
        await trio.lowlevel.checkpoint()


@dataclass
class Recorder(Echo):
    """Echoes, writes down what it was called with, and refuses whoever sends ``{"refuse": why}``."""

    sockets: list[Socket] = field(default_factory=list)
    events: list[tuple[str, list[Any]]] = field(default_factory=list)
    goodbyes: list[tuple[str, str]] = field(default_factory=list)
    connect_delay: float = 0.0
    event_delay: float = 0.0
    silent: bool = False
    """Not to echo."""

    async def connect(self, socket: Socket) -> None:
        await trio.sleep(self.connect_delay)
        if socket.handshake.auth and "refuse" in socket.handshake.auth:
            raise ConnectionRefused(socket.handshake.auth["refuse"])
        self.sockets.append(socket)

    async def event(self, socket: Socket, name: str, args: Sequence[Any], ack: Ack) -> None:
        self.events.append((name, list(args)))
        await trio.sleep(self.event_delay)
        if name == "fail":
            raise RuntimeError("as asked")
        if not self.silent:
            await super().event(socket, name, args, ack)

    async def disconnect(self, socket: Socket, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.goodbyes.append((socket.id, reason))

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason in self.goodbyes]


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Hands out one end of a memory stream pair for each :meth:`connect`."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](1000)

    async def accept(self) -> trio.abc.Stream:
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            raise trio.ClosedResourceError from None

    async def aclose(self) -> None:
        await self._receive.aclose()

    def connect(self, *, lockstep: bool = False) -> trio.StapledStream[Any, Any]:
        """``lockstep``: nothing can be sent that the other end does not read."""
        pair = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair
        client, server = pair()
        self._send.send_nowait(server)
        return client


@dataclass
class House:
    """A running front door."""

    door: FrontDoor
    listener: MemoryListener
    scope: trio.CancelScope
    """Cancelled to shut the door."""
    over: trio.Event
    """The door is shut."""

    def client(self, *, lockstep: bool = False) -> Client:
        return Client(self.listener.connect(lockstep=lockstep))

    async def open_polling(self) -> Poller:
        """A session over long-polling, without a socket yet."""
        client = self.client()
        answer = await client.get(POLLING)
        assert answer.status == 200, answer
        return Poller(self, client, json.loads(answer.body[1:])["sid"])

    async def connect_polling(self, auth: str = "") -> Poller:
        """The same with a socket."""
        poller = await self.open_polling()
        assert (await poller.post("40" + auth)).status == 200
        answer = await poller.poll()
        assert answer.body.startswith(b"40{"), answer
        return poller

    @asynccontextmanager
    async def websocket(self, target: str = WEBSOCKET) -> AsyncIterator[Ws]:
        async with trio.open_nursery() as nursery:
            stream: Any = self.listener.connect()
            connection = await wrap_client_stream(nursery, stream, "sfu.test", target)
            yield Ws(connection)
            await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def connected_websocket(self, auth: str = "") -> AsyncIterator[Ws]:
        """A WebSocket with a session and a socket."""
        async with self.websocket() as ws:
            ws.sid = json.loads((await ws.text())[1:])["sid"]
            await ws.send("40" + auth)
            answer = await ws.text()
            assert answer.startswith("40{"), answer
            yield ws


@asynccontextmanager
async def open_house(
    application: Application | None = None,
    settings: SignalingSettings | None = None,
    *,
    namespaces: Mapping[str, Application] | None = None,
    engine_handler: MakeHandler | None = None,
    routes: Sequence[Route] = (),
    mounts: Sequence[Mount] = (),
    static: StaticFolder | None = None,
) -> AsyncIterator[House]:
    """Run a front door; on exit it is shut."""
    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        over = trio.Event()

        async def serve(task_status: trio.TaskStatus[FrontDoor]) -> None:
            with scope:
                await serve_http(
                    [listener],
                    application=application,
                    namespaces=namespaces,
                    engine_handler=engine_handler,
                    routes=routes,
                    mounts=mounts,
                    static=static,
                    settings=settings,
                    task_status=task_status,
                )
            over.set()

        yield House(await nursery.start(serve), listener, scope, over)
        scope.cancel()


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One HTTP connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._h11 = h11.Connection(h11.CLIENT)

    async def request(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        fields = {"Host": "sfu.test", **(headers or {})}
        if body or method == "POST":
            fields.setdefault("Content-Length", str(len(body)))
        head = h11.Request(method=method, target=target, headers=list(fields.items()))
        data = self._h11.send(head) or b""
        if body:
            data += self._h11.send(h11.Data(data=body)) or b""
        await self.stream.send_all(data + (self._h11.send(h11.EndOfMessage()) or b""))
        return await self.answer()

    async def answer(self) -> Answer:
        """Read the response to what was sent."""
        response: h11.Response | None = None
        body = bytearray()
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                self._h11.receive_data(bytes(await self.stream.receive_some()))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        assert response is not None
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        headers = {name.decode().lower(): value.decode() for name, value in response.headers}
        return Answer(response.status_code, headers, bytes(body))

    async def get(self, target: str, **headers: str) -> Answer:
        return await self.request("GET", target, headers=headers)

    async def send_raw(self, data: bytes) -> Answer:
        """Send bytes as they are and read one response."""
        await self.stream.send_all(data)
        self._h11 = h11.Connection(h11.CLIENT)
        self._h11.send(h11.Request(method="GET", target="/", headers=[("Host", "sfu.test")]))
        self._h11.send(h11.EndOfMessage())
        return await self.answer()

    async def is_closed(self) -> bool:
        """Whether the server has closed; reads what is left."""
        try:
            while await self.stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
        return True


@dataclass
class Poller:
    """A long-polling session with one connection for polls and one for posts."""

    house: House
    polls: Client
    sid: str
    posts: Client | None = None

    @property
    def target(self) -> str:
        return f"{POLLING}&sid={self.sid}"

    async def poll(self) -> Answer:
        return await self.polls.get(self.target)

    async def post(self, body: str | bytes) -> Answer:
        data = body.encode() if isinstance(body, str) else body
        self.posts = self.posts or self.house.client()
        return await self.posts.request("POST", self.target, data)


class Ws:
    """The client's end of a WebSocket."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self.sid = ""

    async def send(self, *messages: str | bytes) -> None:
        for message in messages:
            await self.connection.send_message(message)

    async def receive(self) -> str | bytes:
        message: str | bytes = await self.connection.get_message()
        return message

    async def text(self) -> str:
        message = await self.receive()
        assert isinstance(message, str)
        return message

    async def closed(self) -> int:
        """Read to the end; the close code."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed as closed:
            assert closed.reason is not None
            return int(closed.reason.code)

"""A Socket.IO client with no mind of its own: it keeps everything that it hears, in the order it came."""

from __future__ import annotations

import json
import socket
import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self
from urllib.parse import urlencode

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from tests.support.daemon import HOST

FIRST_PROBE: Final = 1_000_000
"""Ack ids from here on are ours, not the conversation's."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One thing that the server said."""

    kind: Literal["event", "ack", "thrown out", "closed"]
    name: str
    """Event; for an ack, the event it answers; for an end, how."""
    args: list[Any]
    ack_id: int = -1


class Refusal(Exception):
    """CONNECT_ERROR; the argument is its payload."""


class Client:
    """One connected socket."""

    def __init__(self, stream: trio.SocketStream, websocket: WebSocketConnection) -> None:
        """Use :meth:`open`."""
        self._stream = stream
        self._websocket = websocket
        self._next_ack = 0
        self._next_probe = FIRST_PROBE
        self._calls: dict[int, str] = {}
        self._probes: dict[int, trio.Event] = {}
        self.id = ""
        self.heard: deque[Heard] = deque()
        """What has not been accounted for."""
        self.unanswered: deque[int] = deque()
        """Ack ids of calls, oldest first."""
        self.news = trio.Event()
        """Set, and replaced, when something is heard."""
        self.ended = False
        self.last_lists: dict[str, float] = {}
        """When each kind of event was last heard."""
        self.room_list: Any = None
        """The room list accounted for last."""

    @classmethod
    async def open(
        cls,
        nursery: trio.Nursery,
        port: int,
        *,
        auth: Any = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        namespace: str = "/",
    ) -> Self:
        """Connect over WebSocket alone.

        :raises Refusal: the server answered CONNECT_ERROR.
        """
        stream = await trio.open_tcp_stream(HOST, port)
        parameters = urlencode({"EIO": "4", "transport": "websocket", **(query or {})})
        websocket = await wrap_client_stream(
            nursery,
            stream,
            f"{HOST}:{port}",
            f"/socket.io/?{parameters}",
            extra_headers=[(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        )
        client = cls(stream, websocket)
        opened = await client._message()
        assert opened.startswith("0{"), opened
        place = "" if namespace == "/" else f"{namespace},"
        await client.send(f"40{place}" + ("" if auth is None else json.dumps(auth)))
        answer = await client._message()
        if answer.startswith("44"):
            await websocket.aclose()
            await trio.aclose_forcefully(stream)
            raise Refusal(json.loads(answer[answer.index("{") :]))
        assert answer.startswith("40{"), answer
        client.id = json.loads(answer[2:])["sid"]
        nursery.start_soon(client._run)
        return client

    async def send(self, message: str) -> None:
        """One Engine.IO packet."""
        await self._websocket.send_message(message)

    async def call(self, event: str, args: list[Any]) -> None:
        """Emit with an acknowledgement."""
        self._next_ack += 1
        self._calls[self._next_ack] = event
        self.unanswered.append(self._next_ack)
        await self.send(f"42{self._next_ack}" + json.dumps([event, *args]))

    async def emit(self, event: str, args: list[Any]) -> None:
        """Emit without one."""
        await self.send("42" + json.dumps([event, *args]))

    async def probe(self) -> None:
        """Wait until the server has seen to everything sent so far, and we have heard what it said before."""
        if self.ended:
            return
        ack_id = self._next_probe
        self._next_probe += 1
        answered = self._probes[ack_id] = trio.Event()
        await self.send(f'42{ack_id}["sfu-available",{{}}]')
        await answered.wait()

    async def disconnect(self) -> None:
        """As ``socket.disconnect()`` does."""
        self.ended = True
        try:
            await self.send("41")
            await self._websocket.aclose()
        except ConnectionClosed:
            pass  # the server was faster

    async def lose(self) -> None:
        """As if the network broke: a reset, no goodbye."""
        self.ended = True
        self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self._stream.aclose()

    async def _message(self) -> str:
        """The next packet that is no heartbeat."""
        while True:
            message = await self._websocket.get_message()
            assert isinstance(message, str), message
            if message != "2":
                return message
            await self.send("3")

    async def _run(self) -> None:
        try:
            while True:
                self._take(await self._message())
        except ConnectionClosed as closed:
            if not self.ended:
                reason = closed.reason
                self._hear(Heard("closed", "" if reason is None else f"{reason.code}", []))
                self.ended = True
        finally:
            for probe in self._probes.values():
                probe.set()
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)

    def _take(self, message: str) -> None:
        if message == "41":
            self._hear(Heard("thrown out", "io server disconnect", []))
        elif message.startswith("42"):
            name, *args = json.loads(message[2:])
            self.last_lists[name] = trio.current_time()
            self._hear(Heard("event", name, args))
        elif message.startswith("43"):
            digits = message[2 : message.index("[")]
            ack_id = int(digits)
            if ack_id >= FIRST_PROBE:
                self._probes.pop(ack_id).set()
            else:
                args = json.loads(message[2 + len(digits) :])
                self._hear(Heard("ack", self._calls.pop(ack_id, "?"), args, ack_id))
        elif message != "6":
            raise AssertionError(f"a packet that no conversation knows: {message}")

    def _hear(self, heard: Heard) -> None:
        self.heard.append(heard)
        self.news.set()
        self.news = trio.Event()

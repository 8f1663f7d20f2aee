"""A room member made of our own machines on real sockets: Socket.IO over WebSocket, peers over UDP."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from sfu.ice.address import Address
from tests.support.daemon import HOST, Daemon
from tests.support.peer import Peer

ANSWER_TIMEOUT = 10.0
"""Seconds for an acknowledgement, and for anything else that must happen soon."""
MAX_DATAGRAM = 65536


class Refused(Exception):
    """The server's acknowledgement was an error."""


async def eventually(what: Callable[[], Any], seconds: float = ANSWER_TIMEOUT) -> None:
    """Wait until something holds that other tasks bring about."""
    with trio.move_on_after(seconds):
        while not what():  # noqa: ASYNC110 - it happens in another process
            await trio.sleep(0.01)
    assert what()


class Signaling:
    """A connected Socket.IO client."""

    def __init__(self, websocket: WebSocketConnection) -> None:
        self._websocket = websocket
        self._next_ack = 0
        self._waiting: dict[int, trio.MemorySendChannel[list[Any]]] = {}
        self.events: list[tuple[str, list[Any]]] = []
        """What the server sent unasked, oldest first."""
        self.disconnected: str | None = None
        """Why it ended: ``io server disconnect``, or the WebSocket's close code."""
        self.over = trio.Event()

    async def call(self, event: str, payload: Any = None) -> Any:
        """Emit and wait for ``(error, value)``; returns the value or raises :class:`Refused`."""
        answer = await self.call_raw(event, payload)
        if answer and answer[0] is not None:
            raise Refused(answer[0])
        return answer[1] if len(answer) > 1 else None

    async def call_raw(self, event: str, *args: Any) -> list[Any]:
        """Emit and wait for the acknowledgement as it comes."""
        return await self.call_text(json.dumps([event, *args]))

    async def call_text(self, body: str) -> list[Any]:
        """The same with the event's JSON given as text."""
        self._next_ack += 1
        ack_id = self._next_ack
        send, receive = trio.open_memory_channel[list[Any]](1)
        self._waiting[ack_id] = send
        await self.send(f"42{ack_id}{body}")
        with trio.fail_after(ANSWER_TIMEOUT):
            return await receive.receive()

    async def emit(self, event: str, *args: Any) -> None:
        await self.send("42" + json.dumps([event, *args]))

    async def send(self, packet: str | bytes) -> None:
        """One WebSocket message as it is."""
        await self._websocket.send_message(packet)

    def heard(self, event: str) -> list[Any]:
        """First arguments of all events of a name."""
        return [args[0] if args else None for name, args in self.events if name == event]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read until the end."""
        task_status.started()
        try:
            while True:
                message = await self._websocket.get_message()
                assert isinstance(message, str)
                if message.startswith("2"):
                    await self._websocket.send_message("3" + message[1:])
                elif message.startswith("41"):
                    self.disconnected = "io server disconnect"
                elif message.startswith("42"):
                    name, *args = json.loads(message[2:])
                    self.events.append((name, args))
                elif message.startswith("43"):
                    digits = message[2 : message.index("[")]
                    waiting = self._waiting.pop(int(digits), None)
                    if waiting is not None:
                        waiting.send_nowait(json.loads(message[2 + len(digits) :]))
        except ConnectionClosed as closed:
            if self.disconnected is None:
                self.disconnected = f"closed {closed.reason.code if closed.reason else None}"
        finally:
            self.over.set()
            for waiting in self._waiting.values():
                waiting.close()


@asynccontextmanager
async def open_signaling(daemon: Daemon, token: str) -> AsyncIterator[Signaling]:
    """Connect over WebSocket alone."""
    url = f"ws://{HOST}:{daemon.port}/socket.io/?EIO=4&transport=websocket"
    async with open_websocket_url(url, max_message_size=1 << 24) as websocket, trio.open_nursery() as nursery:
        assert str(await websocket.get_message()).startswith("0{")
        await websocket.send_message("40" + json.dumps({"token": token}))
        answer = str(await websocket.get_message())
        assert answer.startswith("40{"), answer
        signaling = Signaling(websocket)
        await nursery.start(signaling.run)
        yield signaling
        nursery.cancel_scope.cancel()


class LivePeer:
    """A :class:`Peer` on a UDP socket of its own."""

    def __init__(self, transport_id: str, info: dict[str, Any]) -> None:
        self.transport_id = transport_id
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((HOST, 0))
        address: Address = self.socket.getsockname()
        self.peer = Peer(address, info)

    async def run(self) -> None:
        """Carry datagrams and time until cancelled."""
        peer = self.peer
        try:
            while True:
                self.flush()
                timer = peer.get_timer()
                with trio.move_on_at(float("inf") if timer is None else timer):
                    await trio.lowlevel.wait_readable(self.socket)
                await trio.lowlevel.checkpoint()
                now = trio.current_time()
                try:
                    while True:
                        data, source = self.socket.recvfrom(MAX_DATAGRAM)
                        peer.receive(data, source, peer.address, now)
                except BlockingIOError:
                    pass
                timer = peer.get_timer()
                if timer is not None and timer <= now:
                    peer.handle_timer(now)
        finally:
            self.socket.close()

    def flush(self) -> None:
        """Send what the peer has ready; after anything that was asked of it from outside."""
        for data, _, destination in self.peer.take_output(trio.current_time()):
            self.send(data, destination)

    def send(self, data: bytes, destination: Address | None = None) -> None:
        """One datagram as it is; dropped where the kernel has no room for it."""
        try:
            self.socket.sendto(data, destination or self.peer.server)
        except BlockingIOError:
            pass


class Member:
    """Somebody in a room."""

    def __init__(self, signaling: Signaling, nursery: trio.Nursery) -> None:
        self.signaling = signaling
        self._nursery = nursery

    async def transport(self) -> LivePeer:
        """A new transport, connected, with data channels ready."""
        info = await self.signaling.call("sfu-create-transport", {"direction": "send"})
        live = LivePeer(info["id"], info)
        await self.signaling.call(
            "sfu-connect-transport", {"transportId": info["id"], "dtlsParameters": live.peer.dtls_parameters}
        )
        self._nursery.start_soon(live.run)
        await eventually(lambda: live.peer.connected and live.peer.established)
        return live

    async def open(self, room: str) -> None:
        await self.signaling.call("open-room", {"extra": {"room_name": room}, "maxPlayers": 4})

    async def join(self, room: str) -> None:
        await self.signaling.call("join-room", {"extra": {"room_name": room}})


@asynccontextmanager
async def open_member(daemon: Daemon, name: str) -> AsyncIterator[Member]:
    """Sign in as a guest."""
    token = await trio.to_thread.run_sync(daemon.mint, name)
    async with open_signaling(daemon, token) as signaling, trio.open_nursery() as nursery:
        yield Member(signaling, nursery)
        nursery.cancel_scope.cancel()

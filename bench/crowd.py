"""Very many Socket.IO clients in one thread, at the price of a few microseconds a message.

Plain sockets and one epoll: only the framing that the measured server uses is understood (text frames without
compression), and what is masked is masked with zeros, which is allowed and costs nothing. Payloads are not
parsed beyond acknowledgement ids.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, Final

HOST: Final = "127.0.0.1"
PATIENCE: Final = 60.0
"""Seconds until what must happen is given up."""
CHUNK: Final = 1 << 18

_UPGRADE: Final = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Client:
    """One connected socket."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.unread = b""
        self.next_ack = 0
        self.sent: dict[int, float] = {}
        """When each call that waits for its acknowledgement was sent."""


class Crowd:
    """All clients of a measurement."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._by_descriptor: dict[int, Client] = {}
        self.received = 0
        """Bytes, WebSocket headers included."""
        self.heartbeats = 0
        self.delays: list[float] = []
        """Seconds from each call to its acknowledgement."""
        self.refused: list[str] = []
        """Acknowledgements that were errors."""
        self.watched = b""
        """Messages that begin with this are counted in ``seen``."""
        self.seen = 0
        self.last_seen = 0.0

    def __len__(self) -> int:
        return len(self._by_descriptor)

    def connect(self, token: str) -> Client:
        """Open a WebSocket and sign in, seeing to the others meanwhile."""
        stream = socket.create_connection((HOST, self._port), timeout=PATIENCE)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.sendall(_UPGRADE.format(host=HOST, port=self._port).encode())
        client = Client(stream)
        head = b""
        while b"\r\n\r\n" not in head:
            head += stream.recv(CHUNK)
        assert head.startswith(b"HTTP/1.1 101 "), head
        client.unread = head.partition(b"\r\n\r\n")[2]
        assert self._next(client).startswith(b"0{")
        self._send(client, "40" + json.dumps({"token": token}))
        answer = self._next(client)
        assert answer.startswith(b"40{"), answer
        self._epoll.register(stream.fileno(), select.EPOLLIN)
        self._by_descriptor[stream.fileno()] = client
        self.pump(0)
        return client

    def call(self, client: Client, event: str, payload: Any) -> None:
        """Emit with an acknowledgement."""
        client.next_ack += 1
        client.sent[client.next_ack] = time.perf_counter()
        self._send(client, f"42{client.next_ack}" + json.dumps([event, payload]))

    def emit(self, client: Client, event: str, payload: Any) -> None:
        """Emit without one."""
        self._send(client, "42" + json.dumps([event, payload]))

    def settle(self, *clients: Client) -> None:
        """Wait until these have all their acknowledgements."""
        self.until(lambda: not any(client.sent for client in clients))

    def until(self, done: Callable[[], bool]) -> None:
        """Receive until something holds. Raises :class:`TimeoutError`."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError
            self.pump(0.1)

    def see(self, count: int) -> None:
        """Wait until so many watched messages have come."""
        self.until(lambda: self.seen >= count)

    def listen(self, seconds: float) -> None:
        """Receive, and answer heartbeats, for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.pump(left)

    def pump(self, timeout: float) -> None:
        """Receive what is there, waiting for the first up to ``timeout`` seconds."""
        for descriptor, _ in self._epoll.poll(timeout):
            client = self._by_descriptor[descriptor]
            data = client.stream.recv(CHUNK)
            if not data:
                raise ConnectionError("the server hung up")
            self.received += len(data)
            client.unread += data
            while (message := _take(client)) is not None:
                self._handle(client, message)

    def close(self) -> None:
        for client in self._by_descriptor.values():
            client.stream.close()
        self._epoll.close()

    def _handle(self, client: Client, message: bytes) -> None:
        if message == b"2":
            self.heartbeats += 1
            self._send(client, "3")
        elif message.startswith(b"43"):
            bracket = message.index(b"[")
            self.delays.append(time.perf_counter() - client.sent.pop(int(message[2:bracket])))
            if not message.startswith((b"[null", b"[{"), bracket):
                self.refused.append(message[bracket:].decode())
        elif self.watched and message.startswith(self.watched):
            self.seen += 1
            self.last_seen = time.perf_counter()

    def _next(self, client: Client) -> bytes:
        """The next message, waiting for it."""
        while (message := _take(client)) is None:
            data = client.stream.recv(CHUNK)
            if not data:
                raise ConnectionError("the server hung up")
            client.unread += data
        return message

    def _send(self, client: Client, text: str) -> None:
        data = text.encode()
        size = len(data)
        head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + struct.pack("!H", size)
        client.stream.sendall(head + b"\0\0\0\0" + data)


def _take(client: Client) -> bytes | None:
    """A whole message from what has been read; None if there is none yet."""
    data = client.unread
    if len(data) < 2:
        return None
    size, start = data[1], 2
    if size == 126:
        start = 4
        if len(data) < start:
            return None
        (size,) = struct.unpack_from("!H", data, 2)
    elif size == 127:
        start = 10
        if len(data) < start:
            return None
        (size,) = struct.unpack_from("!Q", data, 2)
    if len(data) < start + size:
        return None
    assert data[0] == 0x81, data[:16]
    client.unread = data[start + size :]
    return data[start : start + size]

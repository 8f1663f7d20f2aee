"""A server-side WebSocket on a connection whose request was already read (RFC 6455).

trio-websocket parses the request again, so it is given a stream that replays the bytes. Around it this
module adds what that library leaves to its user: a check of everything in the handshake that could make
its reader fail, a bound on input that never becomes a message, a close frame when the peer broke the
protocol, and time-outs for closing.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
from wsproto.utilities import ProtocolError

from sfu.signaling.engineio.codec import frame_size
from sfu.signaling.http import Request

log = structlog.get_logger(__name__)

NORMAL = 1000
TOO_LARGE = 1009
_ABNORMAL = 1006

MESSAGE_QUEUE = 4
"""Messages that trio-websocket reads ahead."""

INPUT_ALLOWANCE = 65_536
"""Bytes on top of twice the message limit that may arrive between two messages: frame headers, pings.
Without it, empty fragments would pile up in trio-websocket for as long as they come."""

_CLOSE_FRAME = 0x88
"""First byte of a close frame."""


class WebSocketClosed(Exception):
    """The peer, the network or this side ended the WebSocket."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code
        """RFC 6455 section 7.4; 1006 if there was no close frame."""

    @property
    def is_error(self) -> bool:
        """Whether the peer broke a rule, as opposed to having gone."""
        return self.code in (1002, 1003, 1007, TOO_LARGE)


def is_upgrade(request: Request) -> bool:
    """Whether a request asks for a WebSocket (RFC 6455 section 4.2.1, items 1, 3 and 4)."""
    return (
        request.method == "GET"
        and "websocket" in _tokens(request, "upgrade")
        and "upgrade" in _tokens(request, "connection")
    )


def handshake_fault(request: Request) -> str | None:
    """What is wrong with the headers of an upgrade request; None if trio-websocket can be given it."""
    headers = request.headers
    try:
        key = binascii.a2b_base64(headers.get("sec-websocket-key", "").strip(), strict_mode=True)
    except ValueError:
        key = b""
    if len(key) != 16:
        return "bad Sec-WebSocket-Key"
    if headers.get("sec-websocket-version", "").strip() != "13":
        return "bad Sec-WebSocket-Version"
    if headers["upgrade"].strip().lower() != "websocket":
        return "bad Upgrade"
    try:
        headers.get("host", "").encode("latin-1").decode("idna")
        for name in ("connection", "sec-websocket-protocol", "sec-websocket-extensions"):
            headers.get(name, "").encode("ascii")
    except UnicodeError:
        return "bad header"
    return None


def _tokens(request: Request, name: str) -> list[str]:
    return [token.strip().lower() for token in request.headers.get(name, "").split(",")]


class ServerWebSocket:
    """An accepted WebSocket."""

    def __init__(
        self, connection: WebSocketConnection, wire: _Wire, *, max_message_size: int, close_timeout: float
    ) -> None:
        self._connection = connection
        self._wire = wire
        self._max_message_size = max_message_size
        self._close_timeout = close_timeout

    async def receive(self) -> str | bytes:
        """The next message.

        Raises:
            WebSocketClosed: there is none any more, or it was too large.
        """
        try:
            message: str | bytes = await self._connection.get_message()
        except ConnectionClosed as closed:
            raise _closed(closed) from None
        self._wire.replenish()
        # The library's limit counts characters.
        if isinstance(message, str) and frame_size(message) > self._max_message_size:
            await self.close(TOO_LARGE)
            raise WebSocketClosed(TOO_LARGE)
        return message

    async def send(self, message: str | bytes) -> None:
        """Send a message; waits while the connection is full.

        Raises:
            WebSocketClosed: it is closed.
        """
        try:
            await self._connection.send_message(message)
        except ConnectionClosed as closed:
            raise _closed(closed) from None
        except ProtocolError:
            raise WebSocketClosed(_ABNORMAL) from None

    async def close(self, code: int = NORMAL) -> None:
        """Close, and give the peer a moment to do so too. Idempotent."""
        with trio.move_on_after(self._close_timeout):
            try:
                await self._connection.aclose(code)
            except ProtocolError:
                await self._wire.aclose()


def _closed(closed: ConnectionClosed) -> WebSocketClosed:
    return WebSocketClosed(_ABNORMAL if closed.reason is None else closed.reason.code)


@asynccontextmanager
async def accept_websocket(
    stream: trio.abc.Stream, head: bytes, trailing: bytes, *, max_message_size: int, close_timeout: float
) -> AsyncIterator[ServerWebSocket]:
    """Answer an upgrade request that passed :func:`handshake_fault`, and close the WebSocket on exit.

    Args:
        stream: the connection; its owner closes it.
        head: the request as it was received.
        trailing: what was received after it.
        max_message_size: bytes; a larger message closes with 1009.
        close_timeout: seconds for the closing handshake.
    """
    wire = _Wire(stream, head, trailing, budget=2 * max_message_size + INPUT_ALLOWANCE)
    try:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(
                nursery,
                wire,
                message_queue_size=MESSAGE_QUEUE,
                max_message_size=max_message_size,
                receive_buffer_size=None,
            )
            connection = await request.accept()
            wire.accepted(connection)
            websocket = ServerWebSocket(
                connection, wire, max_message_size=max_message_size, close_timeout=close_timeout
            )
            try:
                yield websocket
            finally:
                await websocket.close()
                nursery.cancel_scope.cancel()
    except* (ConnectionClosed, ProtocolError) as errors:
        # The library's reader meets these when the peer goes, or goes on, while a close frame is on its
        # way.
        log.debug("websocket ended early", errors=[str(error) for error in errors.exceptions])
    with trio.move_on_after(close_timeout):
        await wire.blame()


class _Wire(trio.abc.Stream):
    """The connection as trio-websocket sees it: first the head, and nothing more until it has been
    answered (wsproto would lose what comes earlier)."""

    def __init__(self, stream: trio.abc.Stream, head: bytes, trailing: bytes, *, budget: int) -> None:
        self._stream = stream
        self._head = head
        self._trailing = trailing
        self._full_budget = budget
        self._budget = budget
        self._connection: WebSocketConnection | None = None
        self._accepted = trio.Event()
        self._sent_close = False
        self._closed = False

    def accepted(self, connection: WebSocketConnection) -> None:
        """The head has been answered with 101."""
        self._connection = connection
        self._accepted.set()

    def replenish(self) -> None:
        """A message was read: its bytes are accounted for."""
        self._budget = self._full_budget

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._head:
            head, self._head = self._head, b""
            return head
        await self._accepted.wait()
        if self._closed:
            raise trio.ClosedResourceError
        if self._trailing:
            trailing, self._trailing = self._trailing, b""
            return trailing
        if self._budget <= 0:
            raise trio.BrokenResourceError("input without messages")
        data = await self._stream.receive_some(max_bytes)
        self._budget -= len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        # wsproto hands out one frame at a time.
        self._sent_close = self._sent_close or data[0] == _CLOSE_FRAME
        try:
            await self._stream.send_all(data)
        except trio.Cancelled:
            self._closed = (
                True  # half a frame may be out: whatever followed would be taken for the rest of it
            )
            raise

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """End the library's use of the connection."""
        self._closed = True
        await trio.lowlevel.checkpoint()

    async def blame(self) -> None:
        """When the library has done: if the peer broke a rule, and was not told, name it in a close frame."""
        reason = None if self._connection is None else self._connection.closed
        if reason is None or self._sent_close or not WebSocketClosed(reason.code).is_error:
            return
        try:
            await self._stream.send_all(struct.pack("!BBH", _CLOSE_FRAME, 2, reason.code))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

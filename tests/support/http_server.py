"""Loopback servers for tests of HTTP clients: one that speaks HTTP through h11, one for raw misbehaviour."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import h11
import trio


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in."""

    method: str
    target: str
    """Path and query, still percent-encoded."""
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What to answer."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


Handler = Callable[[Request], Awaitable[Response]]
RawHandler = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def serve_raw(handler: RawHandler) -> AsyncIterator[str]:
    """Run ``handler`` on every connection; yields the base URL."""

    async def guarded(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                await handler(stream)
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                pass  # the client went away

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(partial(trio.serve_listeners, guarded, listeners))
        yield f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def serve_http(handler: Handler) -> AsyncIterator[str]:
    """Answer HTTP/1.1 requests, with keep-alive; yields the base URL."""

    async def connection(stream: trio.SocketStream) -> None:
        http = h11.Connection(h11.SERVER)

        async def next_event() -> h11.Event:
            while (event := http.next_event()) is h11.NEED_DATA:
                http.receive_data(await stream.receive_some(65536))
            assert isinstance(event, h11.Event)
            return event

        while isinstance(head := await next_event(), h11.Request):
            body = b""
            while isinstance(part := await next_event(), h11.Data):
                body += part.data
            headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
            answer = await handler(Request(head.method.decode(), head.target.decode(), headers, body))
            length = ("Content-Length", str(len(answer.body)))
            start = h11.Response(status_code=answer.status, headers=[*answer.headers, length])
            data = b"".join(
                http.send(event) or b"" for event in (start, h11.Data(data=answer.body), h11.EndOfMessage())
            )
            await stream.send_all(data)
            if http.our_state is not h11.DONE:
                return
            http.start_next_cycle()

    async with serve_raw(connection) as url:
        yield url

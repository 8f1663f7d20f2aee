"""The node's end of one worker's control channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from sfu.worker.messages import (
    Call,
    ChannelError,
    Notice,
    Request,
    Result,
    Splitter,
    WorkerEvent,
    encode,
    upward_decoder,
)
from sfu.worker.port import MediaError

LOST = "media worker lost"
OVERLOADED = "media worker overloaded"
UNSENDABLE = "invalid"
MAX_UNSENT = 16 * 1024 * 1024
"""Bytes of requests that a worker has not taken yet; further ones are refused."""


class WorkerClient:
    """Calls one worker and hears its events.

    :meth:`run` carries everything until the channel ends; every call that is still waiting then fails. A call
    only queues its request, so that cancelling one leaves the channel in step and a worker that has stopped
    reading holds up nobody: not even the ping that is to find that out.
    """

    def __init__(self, stream: trio.abc.Stream, on_event: Callable[[WorkerEvent], None]) -> None:
        self._stream = stream
        self._on_event = on_event
        self._outbox = bytearray()
        self._outbox_wake = trio.Event()
        self._sending = 0
        self._next_id = 0
        self._waiting: dict[int, _Waiter] = {}
        self.lost = trio.Event()
        """Set when the channel has ended."""

    async def call(self, request: Request) -> Any:
        """Ask and wait for the answer. Raises :class:`MediaError` if refused or if the worker is lost."""
        if self.lost.is_set():
            raise MediaError(LOST)
        self._next_id += 1
        call_id = self._next_id
        try:
            message = encode(Call(call_id, request))
        except (ChannelError, OverflowError, RecursionError, ValueError):
            raise MediaError(UNSENDABLE) from None  # a client's JSON can hold what MessagePack cannot
        if self._sending + len(self._outbox) + len(message) > MAX_UNSENT:
            raise MediaError(OVERLOADED)
        self._outbox += message
        self._outbox_wake.set()
        waiter = self._waiting[call_id] = _Waiter()
        try:
            await waiter.done.wait()
        finally:
            del self._waiting[call_id]
        if waiter.result is None:
            raise MediaError(LOST)
        if waiter.result.error is not None:
            raise MediaError(waiter.result.error, waiter.result.cause)
        return waiter.result.value

    async def run(self) -> None:
        """Send requests, read answers and events, until the worker closes the channel or breaks it."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self.lost.set()
            for waiter in self._waiting.values():
                waiter.done.set()

    async def _write(self) -> None:
        while True:
            await self._outbox_wake.wait()
            self._outbox_wake = trio.Event()
            chunk, self._outbox = self._outbox, bytearray()
            self._sending = len(chunk)
            try:
                await self._stream.send_all(chunk)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the reader sees the end too
            self._sending = 0

    async def _read(self) -> None:
        splitter = Splitter()
        try:
            async for data in self._stream:
                for body in splitter.feed(bytes(data)):
                    message = upward_decoder.decode(body)
                    if isinstance(message, Notice):
                        self._on_event(message.event)
                    else:
                        self._answer(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError, ChannelError):
            pass

    def _answer(self, result: Result) -> None:
        waiter = self._waiting.get(result.id)
        if waiter is not None:  # else its caller was cancelled
            waiter.result = result
            waiter.done.set()


class _Waiter:
    __slots__ = ("done", "result")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.result: Result | None = None

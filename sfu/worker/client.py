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


class WorkerClient:
    """Calls one worker and hears its events.

    :meth:`run` reads until the channel ends; every call that is still waiting then fails.
    """

    def __init__(self, stream: trio.abc.Stream, on_event: Callable[[WorkerEvent], None]) -> None:
        self._stream = stream
        self._on_event = on_event
        self._sending = trio.Lock()
        self._next_id = 0
        self._waiting: dict[int, _Waiter] = {}
        self._lost = False

    async def call(self, request: Request) -> Any:
        """Ask and wait for the answer. Raises :class:`MediaError` if refused or if the worker is lost."""
        if self._lost:
            raise MediaError(LOST)
        self._next_id += 1
        call_id = self._next_id
        waiter = self._waiting[call_id] = _Waiter()
        try:
            try:
                # A message half sent would put the channel out of step: cancelling waits for its end.
                with trio.CancelScope(shield=True):
                    async with self._sending:
                        await self._stream.send_all(encode(Call(call_id, request)))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise MediaError(LOST) from None
            await waiter.done.wait()
        finally:
            del self._waiting[call_id]
        if waiter.result is None:
            raise MediaError(LOST)
        if waiter.result.error is not None:
            raise MediaError(waiter.result.error)
        return waiter.result.value

    async def run(self) -> None:
        """Read answers and events until the worker closes the channel or breaks it."""
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
        finally:
            self._lost = True
            for waiter in self._waiting.values():
                waiter.done.set()

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

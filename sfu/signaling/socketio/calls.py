"""Events of one socket that its client is to acknowledge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from sfu.signaling.application import TooManyCalls

ACK_IDS = 2**31
"""Acknowledgement ids in use; they begin again at 0, leaving out those that are still waited for."""


@dataclass(slots=True)
class Call:
    """One event whose acknowledgement is waited for."""

    ack_id: int
    over: trio.Event = field(default_factory=trio.Event)
    """There is nothing more to wait for."""
    args: list[Any] | None = None
    """What the client answered; None while it has not."""


class Calls:
    """The calls of one socket that are under way."""

    def __init__(self, *, max_calls: int) -> None:
        """
        Args:
            max_calls: how many may be under way at once.
        """
        self._max_calls = max_calls
        self._open: dict[int, Call] = {}
        self._next_id = 0
        self._ended = False

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def open(self) -> Iterator[Call]:
        """A call that can be answered within the ``with`` block, and never later; after :meth:`end` it is
        over from the start.

        Raises:
            TooManyCalls: the limit is reached.
        """
        if len(self._open) >= self._max_calls:
            raise TooManyCalls(f"{len(self._open)} acknowledgements are waited for")
        while self._next_id in self._open:
            self._next_id = (self._next_id + 1) % ACK_IDS
        call = self._open[self._next_id] = Call(self._next_id)
        self._next_id = (self._next_id + 1) % ACK_IDS
        if self._ended:
            call.over.set()
        try:
            yield call
        finally:
            del self._open[call.ack_id]

    def answer(self, ack_id: int, args: list[Any]) -> None:
        """The client acknowledged. Ignored if nobody waits for that, or has the answer already."""
        call = self._open.get(ack_id)
        if call is not None and not call.over.is_set():
            call.args = args
            call.over.set()

    def end(self) -> None:
        """No more answers will come."""
        self._ended = True
        for call in self._open.values():
            call.over.set()

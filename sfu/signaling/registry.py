"""Keeps RomM's registry in step with this node's rooms, without anyone waiting for it.

What is wanted is looked up at the moment of writing, so a record that changes many times while one write is
under way is written once more. Writes of one name never overlap. A failure is logged, and the next refresh
tries again; a record that could not be deleted, RomM forgets by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog
import trio

from sfu.romm.port import Romm, RommError, RoomRecord

log = structlog.get_logger(__name__)

MAX_WRITES = 8
"""Calls to RomM under way at once."""


class Registry:
    """Upserts and deletes of this node's records."""

    def __init__(self, romm: Romm, wanted: Callable[[str], RoomRecord | None]) -> None:
        """``wanted`` gives the record that a name should have now, None for none."""
        self._romm = romm
        self._wanted = wanted
        self._limit = trio.CapacityLimiter(MAX_WRITES)
        self._dirty: set[str] = set()
        self._busy: set[str] = set()
        self._published: set[str] = set()

    def changed(self, name: str, nursery: trio.Nursery) -> None:
        """A record is out of date. Returns at once; the writing is done in ``nursery``."""
        self._dirty.add(name)
        if name not in self._busy:
            self._busy.add(name)
            nursery.start_soon(self._write, name)

    async def refresh(self, names: Callable[[], Iterable[str]], interval: float) -> None:
        """Write all records again every ``interval`` seconds, each for itself."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(interval)
                for name in names():
                    self.changed(name, nursery)

    async def withdraw(self) -> None:
        """Delete all records that this node has written."""
        async with trio.open_nursery() as nursery:
            for name in self._published:
                nursery.start_soon(self._withdraw_one, name)

    async def _write(self, name: str) -> None:
        try:
            while name in self._dirty:
                async with self._limit:
                    self._dirty.discard(name)
                    await self._write_once(name)
        finally:
            self._busy.discard(name)

    async def _write_once(self, name: str) -> None:
        record = self._wanted(name)
        try:
            if record is not None:
                self._published.add(name)
                await self._romm.upsert_room(record)
            else:
                self._published.discard(name)
                await self._romm.delete_room(name)
        except RommError as error:
            log.warning("room registry not updated", room=name, error=str(error))

    async def _withdraw_one(self, name: str) -> None:
        try:
            async with self._limit:
                await self._romm.delete_room(name)
        except RommError as error:
            log.warning("room registry not cleaned up", room=name, error=str(error))

"""Keeps RomM's registry in step with this node's rooms (``signaling.md`` 7), mostly without anyone waiting.

What is wanted is looked up at the moment of writing, so a record that changes many times between two writes
is written once. Calls about one name never overlap. A failure is logged, and the next refresh tries again; a
record that could not be deleted, RomM forgets by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import structlog
import trio

from sfu.addresses import is_loopback_url
from sfu.romm.port import Romm, RommUnavailable, RoomRecord, RoomTaken

log = structlog.get_logger(__name__)

MAX_WRITES = 8
"""Background calls to RomM under way at once."""

PUSH_INTERVAL = 0.5
"""Seconds from one write of a name to the next, so that a room in turmoil is not one call for each change. A
deletion does not wait."""

CLEAN_UP_TIMEOUT = 2.0
"""Seconds that a node's start waits for RomM; what is not cleaned up then goes when somebody asks for it."""


class Registry:
    """This node's records, and what it asks about those of others."""

    def __init__(
        self, romm: Romm, wanted: Callable[[str], RoomRecord | None], *, node_id: str, url: str
    ) -> None:
        """``wanted`` gives the record that a name should have now, None for none. ``node_id`` and ``url`` are
        this node's, as its records have them."""
        self._romm = romm
        self._wanted = wanted
        self._node_id = node_id
        self._url = url
        self._limit = trio.CapacityLimiter(MAX_WRITES)
        self._turns: dict[str, trio.Lock] = {}
        self._dirty: set[str] = set()
        self._pushing: dict[str, trio.Event] = {}
        """By name; the event ends the wait for the next write."""
        self._claims: Counter[str] = Counter()
        """How many are about to make a room of this name."""
        self._published: dict[str, RoomRecord | None] = {}
        """What RomM has; None if it may be out of date."""
        self._nursery: trio.Nursery | None = None

    async def run(
        self,
        names: Callable[[], Iterable[str]],
        interval: float,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Do the writing until cancelled, and write everything again every ``interval`` seconds, each record
        for itself. It is started when what this node has left behind, ending without warning, is deleted."""
        with trio.move_on_after(CLEAN_UP_TIMEOUT):
            await self._clean_up()
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            try:
                while True:
                    await trio.sleep(interval)
                    for name in names():
                        self._published[name] = None
                        self.changed(name)
            finally:
                self._nursery = None

    def changed(self, name: str) -> None:
        """A record may be out of date. Returns at once; does nothing unless :meth:`run` runs."""
        if self._nursery is None:
            return
        self._dirty.add(name)
        if name not in self._pushing:
            self._pushing[name] = trio.Event()
            self._nursery.start_soon(self._push, name)
        elif self._wanted(name) is None:
            self._pushing[name].set()

    @asynccontextmanager
    async def claim(self, record: RoomRecord) -> AsyncIterator[None]:
        """Have a name while a room of it is being made. If there is none at the end, the name is given back.

        If RomM cannot be asked, the name counts as free.

        Raises:
            RoomTaken: another node has it.
        """
        name = record.room_name
        self._claims[name] += 1
        try:
            try:
                if self._wanted(name) is None:
                    await self._take(record)
            except RommUnavailable as error:
                log.warning("room not claimed", room=name, error=str(error))
            yield
        finally:
            self._claims[name] -= 1
            if not self._claims[name]:
                del self._claims[name]
                if name in self._published and self._wanted(name) is None:
                    self.changed(name)

    async def find(self, name: str) -> RoomRecord | None:
        """The record of a room that another node has; None if there is none, as far as RomM can tell."""
        try:
            return await self.locate(name)
        except RommUnavailable as error:
            log.warning("room registry not asked", room=name, error=str(error))
            return None

    async def locate(self, name: str) -> RoomRecord | None:
        """The record of a room that another node has; None if there is none.

        One that this node has left behind is deleted: the room it tells of is no more.

        Raises:
            RommUnavailable: there is no way to tell.
        """
        record = await self._romm.resolve_room(name)
        if record is None or not self.is_own(record.node_id, record.url):
            return record
        async with self._turn(name):
            if name not in self._claims and self._wanted(name) is None:
                await self._delete(name, record.node_id)
        return None

    def is_own(self, node_id: str | None, url: str | None) -> bool:
        """Whether a record was written by this node, now or before it was restarted.

        A URL that leads every machine to itself tells nothing.
        """
        return node_id == self._node_id or (url == self._url and not is_loopback_url(self._url))

    async def withdraw(self) -> None:
        """Delete all records that this node has written."""
        async with trio.open_nursery() as nursery:
            for name in self._published:
                nursery.start_soon(self._withdraw_one, name)

    async def _clean_up(self) -> None:
        try:
            registered = await self._romm.list_rooms()
        except RommUnavailable as error:
            log.warning("room registry not cleaned up", error=str(error))
            return
        for name, record in registered.items():
            node_id = record.get("nodeId")
            if self.is_own(node_id, record.get("url")):
                await self._delete(name, node_id)

    async def _take(self, record: RoomRecord) -> None:
        """Write the record of a room to be, unless another node has one of this name.

        RomM is asked first, as it may not know of ownership and would write it in any case.
        """
        name = record.room_name
        async with self._turn(name):
            if self._wanted(name) is not None:
                return
            known = await self._romm.resolve_room(name)
            if known is not None:
                own = self.is_own(known.node_id, known.url)
                if known.url and not own:
                    raise RoomTaken("room exists")
                if own and known.node_id != self._node_id:
                    await self._delete(name, known.node_id)
            self._published[name] = None
            try:
                await self._romm.upsert_room(record, if_absent=True)
            except RoomTaken:
                del self._published[name]
                raise
            self._published[name] = record

    async def _push(self, name: str) -> None:
        try:
            while name in self._dirty:
                async with self._limit, self._turn(name):
                    self._dirty.discard(name)
                    await self._write(name)
                with trio.move_on_after(PUSH_INTERVAL):
                    await self._pushing[name].wait()
                self._pushing[name] = trio.Event()
        finally:
            del self._pushing[name]

    async def _write(self, name: str) -> None:
        record = self._wanted(name)
        if record is None:
            if name not in self._claims and name in self._published:
                del self._published[name]
                await self._delete(name, self._node_id)
            return
        if record == self._published.get(name):
            return
        self._published[name] = None
        try:
            await self._romm.upsert_room(record)
            self._published[name] = record
        except RoomTaken:
            # Both rooms stay: their people would not know why theirs had to go.
            log.warning("another node has a room of this name", room=name)
        except RommUnavailable as error:
            log.warning("room registry not updated", room=name, error=str(error))

    async def _delete(self, name: str, node_id: str | None) -> None:
        try:
            await self._romm.delete_room(name, node_id=node_id)
        except RommUnavailable as error:
            log.warning("room registry not cleaned up", room=name, error=str(error))

    async def _withdraw_one(self, name: str) -> None:
        async with self._limit:
            await self._delete(name, self._node_id)

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[None]:
        """Wait until nobody else calls RomM about this name."""
        turn = self._turns.setdefault(name, trio.Lock())
        try:
            async with turn:
                yield
        finally:
            if not turn.locked() and self._turns.get(name) is turn:
                del self._turns[name]

"""RomM in memory: tokens that tests mint, and a registry that keeps what it is told."""

from __future__ import annotations

from typing import Any

import trio

from sfu.romm.port import RommUnavailable, RoomRecord, RoomTaken, TokenRefused, Verified


class MemoryRomm:
    """Implements :class:`sfu.romm.port.Romm`. The token ``t:ann`` is Ann's and good for ever, ``once:ann``
    is good until it is consumed."""

    def __init__(self) -> None:
        self.rooms: dict[str, RoomRecord] = {}
        self.used: set[str] = set()
        self.calls: list[tuple[Any, ...]] = []
        self.down = False
        """Every call ends in :class:`RommUnavailable`."""
        self.held: trio.Event | None = None
        """While set and not fired, calls wait for it."""
        self.running = 0
        self.most_running = 0

    async def verify(self, token: str, *, consume: bool) -> Verified:
        await self._answer("verify", token, consume)
        kind, _, sub = token.partition(":")
        if kind not in ("t", "once") or token in self.used:
            raise TokenRefused("refused")
        if kind == "once" and consume:
            self.used.add(token)
        return Verified(sub, None, "sfu:write" if kind == "once" else "sfu:read")

    async def upsert_room(self, record: RoomRecord, *, if_absent: bool = False) -> None:
        await self._answer("upsert", record.room_name)
        there = self.rooms.get(record.room_name)
        if there is not None:
            nobodys = there.node_id is None
            if (nobodys and if_absent) or (not nobodys and there.node_id != record.node_id):
                raise RoomTaken("room exists")
        self.rooms[record.room_name] = record

    async def delete_room(self, room_name: str, *, node_id: str | None = None) -> None:
        await self._answer("delete", room_name)
        there = self.rooms.get(room_name)
        if there is not None and node_id in (None, there.node_id):
            del self.rooms[room_name]

    async def resolve_room(self, room_name: str) -> RoomRecord | None:
        await self._answer("resolve", room_name)
        return self.rooms.get(room_name)

    async def list_rooms(self) -> dict[str, dict[str, Any]]:
        await self._answer("list")
        return {
            record.room_name: {
                "room_name": record.room_name,
                "current": record.current,
                "max": record.max,
                "hasPassword": record.has_password,
                "nodeId": record.node_id,
                "url": record.url,
            }
            for record in self.rooms.values()
        }

    async def _answer(self, *call: Any) -> None:
        self.calls.append(call)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.held is not None:
                await self.held.wait()
            await trio.lowlevel.checkpoint()
        finally:
            self.running -= 1
        if self.down:
            raise RommUnavailable("down")

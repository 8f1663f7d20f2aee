"""Many clients act on rooms in any order; the invariants hold after every step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sfu.rooms import (
    Broadcast,
    CloseMedia,
    CloseRoom,
    DropSocket,
    Effect,
    Rejected,
    UsersUpdated,
)
from sfu.rooms.room import FULL_MAP_MEMBERS
from sfu.rooms.slots import SPECTATOR
from tests.support.rooms import World

SOCKETS = st.sampled_from([f"{user}-{n}" for user in ("ann", "bob", "cat") for n in range(2)])
ROOMS = st.sampled_from(["A", "A", "B"])
SLOTS = st.sampled_from([None, -1, 0, 1, 2, 3, 7, 8, 9, "1", 1.5])
PASSWORDS = st.sampled_from([None, None, None, "", "pw"])
LONGEST_GRACE = 60.0


class Clients(RuleBasedStateMachine):
    """Six sockets of three users. A lost socket never comes back: its name then means a fresh one."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.lost = 0
        self.names: dict[str, str] = {}
        self.media: set[str] = set()
        self.rooms_seen: set[str] = set()

    def socket(self, name: str) -> str:
        return self.names.get(name, name)

    def apply(self, effects: list[Effect]) -> None:
        """Check that effects stay within rooms, and do what the application would."""
        for effect in effects:
            if isinstance(effect, CloseMedia):
                self.media.discard(effect.socket_id)
                assert effect.socket_id not in effect.tell
                self.check_audience(effect.tell)
            elif isinstance(effect, CloseRoom):
                assert self.world.rooms.by_id(effect.room_id) is None
            elif isinstance(effect, UsersUpdated):
                self.check_users(effect)
        dropped = [effect.socket_id for effect in effects if isinstance(effect, DropSocket)]
        for effect in effects:
            if isinstance(effect, Broadcast) and effect.event == "room-closed":
                assert set(effect.to) == set(dropped)
            elif isinstance(effect, Broadcast):
                assert effect.to
                self.check_audience(effect.to)
        if any(isinstance(effect, Rejected) for effect in effects):
            assert len(effects) == 1
        for socket in dropped:
            self.apply(self.world.lose(socket))
            self.forget(socket)

    def check_audience(self, sockets: Iterable[str]) -> None:
        """All are connected members of one room."""
        rooms = [self.world.rooms.room_of(socket) for socket in sockets]
        assert None not in rooms
        assert len({room.id for room in rooms if room is not None}) <= 1

    def check_users(self, effect: UsersUpdated) -> None:
        rows = {userid: (socket, row) for socket, userid, row in effect.plus_own}
        assert not set(rows) & set(effect.users)
        sockets = {row["socketId"] for row in effect.users.values()} | {socket for socket, _ in rows.values()}
        assert set(effect.to) <= sockets
        audience = [*effect.to, *(socket for socket, _ in rows.values())]
        self.check_audience(audience)
        room = self.world.rooms.room_of(audience[0])
        assert room is not None
        named = {row["room_name"] for row in (*effect.users.values(), *(row for _, row in rows.values()))}
        assert named == {room.name}
        assert [row.get("is_host") for row in effect.users.values()].count(True) <= 1
        for userid, row in effect.users.items():
            assert row["userid"] == userid
            assert row.get("is_host", True) is True

    def forget(self, socket: str) -> None:
        self.lost += 1
        for name in [name for name, current in self.names.items() if current == socket]:
            del self.names[name]
        base = "-".join(socket.split("-")[:2])
        self.names[base] = f"{base}-{self.lost}"
        self.world.last_seen.pop(socket, None)

    @rule(name=SOCKETS, room=ROOMS, max_players=st.integers(1, 8), password=PASSWORDS, mode=st.integers(0, 2))
    def open(self, name: str, room: str, max_players: int, password: str | None, mode: int) -> None:
        socket = self.socket(name)
        before = self.world.rooms.room_of(socket)
        effects = self.world.open(socket, room, max_players=max_players, password=password, netplay_mode=mode)
        self.apply(effects)
        self.entered(socket, room, effects, before)

    @rule(name=SOCKETS, room=ROOMS, slot=SLOTS, password=PASSWORDS, watch=st.booleans())
    def join(self, name: str, room: str, slot: Any, password: str | None, watch: bool) -> None:
        socket = self.socket(name)
        before = self.world.rooms.room_of(socket)
        extra: dict[str, Any] = {"player_slot": slot, "is_host": True, "rom_hash": "h", "core_type": "c"}
        if watch:
            extra["is_spectator"] = True
        effects = self.world.join(socket, room, password=password, **extra)
        self.apply(effects)
        self.entered(socket, room, effects, before)

    def entered(self, socket: str, room: str, effects: list[Effect], before: Any) -> None:
        now = self.world.rooms.room_of(socket)
        if any(isinstance(effect, Rejected) for effect in effects):
            assert now is before, "a refusal changes nothing"
        else:
            assert now is not None
            assert now.name == room
            self.media.add(socket)

    @rule(name=SOCKETS, room=st.none() | ROOMS)
    def leave(self, name: str, room: str | None) -> None:
        socket = self.socket(name)
        others = {m.socket_id for r in self.world.rooms for m in r.members.values()} - {socket}
        self.apply(self.world.leave(socket, room))
        assert others <= {m.socket_id for r in self.world.rooms for m in r.members.values()}

    @rule(name=SOCKETS, room=ROOMS, slot=SLOTS)
    def change_slot(self, name: str, room: str, slot: Any) -> None:
        self.apply(self.world.slot(self.socket(name), slot, room))

    @rule(name=SOCKETS)
    def start_media(self, name: str) -> None:
        self.apply(self.world.media(self.socket(name)))
        member = self.world.rooms.member_of(self.socket(name))
        assert member is None or member.old_sockets == []

    @rule(name=SOCKETS)
    def disconnect(self, name: str) -> None:
        socket = self.socket(name)
        self.apply(self.world.lose(socket))
        self.forget(socket)

    @precondition(lambda self: len(self.world.rooms) > 0)
    @rule(data=st.data(), slot=SLOTS, silent=st.booleans())
    def reload(self, data: st.DataObject, slot: Any, silent: bool) -> None:
        """A member comes back on a fresh socket; its old one is lost, or just silent."""
        room = data.draw(st.sampled_from(list(self.world.rooms)), "room")
        member = data.draw(st.sampled_from(list(room.members.values())), "member")
        old, fresh = member.socket_id, f"{member.name}-new-{self.lost}"
        if silent:
            self.world.last_seen[old] = self.world.now - 100
        elif member.connected:
            self.apply(self.world.lose(old))
            self.forget(old)
        self.lost += 1
        self.names[f"{member.name}-0"] = fresh
        effects = self.world.join(fresh, room.name, player_slot=slot)
        self.apply(effects)
        self.entered(fresh, room.name, effects, None)
        assert member.socket_id == fresh, "a lost or silent socket never keeps its user out"

    @rule(name=SOCKETS)
    def fall_silent(self, name: str) -> None:
        self.world.last_seen[self.socket(name)] = self.world.now - 100

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.25, 1.0, 30.0, 59.9, 61.0]))
    def wait(self, seconds: float) -> None:
        before = {m.socket_id for room in self.world.rooms for m in room.members.values() if m.connected}
        self.apply(self.world.sleep(seconds))
        after = {m.socket_id for room in self.world.rooms for m in room.members.values() if m.connected}
        assert before == after, "time takes lost members only"
        if seconds > LONGEST_GRACE:
            assert all(m.connected for room in self.world.rooms for m in room.members.values())

    @precondition(lambda self: len(self.world.rooms) > 0)
    @rule(suffix=st.integers(0, 10**9), size=st.integers(1, 40))
    def crowd(self, suffix: int, size: int) -> None:
        room = next(iter(self.world.rooms))
        for n in range(size):
            socket = f"fan{n}-{suffix}"
            self.apply(self.world.join(socket, room.name, password=room.settings.password, player_slot=8))
        for n in range(size):
            self.apply(self.world.leave(f"fan{n}-{suffix}"))

    @invariant()
    def every_room_is_sound(self) -> None:
        for room in self.world.rooms:
            assert room.members, "a room has members"
            assert room.owner in room.members, "one of which owns it"
            slots = [member.slot for member in room.members.values() if member.slot != SPECTATOR]
            assert len(slots) == len(set(slots)), "seats are held alone"
            assert all(0 <= slot < room.settings.max_players for slot in slots)
            assert room.list_entry()["current"] == len(slots) <= room.settings.max_players
            for member in room.members.values():
                assert member.userid == f"id:{member.name}"
                held = self.world.rooms.room_of(member.socket_id)
                assert (held is room) is member.connected, "a lost socket is nowhere"

    @invariant()
    def a_socket_is_in_one_room(self) -> None:
        sockets = [m.socket_id for room in self.world.rooms for m in room.members.values() if m.connected]
        assert len(sockets) == len(set(sockets))

    @invariant()
    def the_list_shows_what_there_is(self) -> None:
        listed = {entry["name"]: entry["current"] for entry in self.world.rooms.listing()}
        assert listed == {room.name: room.player_count for room in self.world.rooms if room.player_count}

    @invariant()
    def media_lives_with_membership(self) -> None:
        allowed = {s for room in self.world.rooms for m in room.members.values() for s in m.media_sockets}
        assert self.media <= allowed, "nobody outside a room keeps media"

    @invariant()
    def small_rooms_show_everyone(self) -> None:
        for room in self.world.rooms:
            for member in room.members.values():
                shown = room.users_for(member)
                assert sum(row.get("is_host", False) for row in shown.values()) <= 1
                assert member.userid in shown
                if len(room.members) <= FULL_MAP_MEMBERS:
                    assert list(shown) == list(room.members)

    def teardown(self) -> None:
        """Everyone disconnects; after the grace nothing is left."""
        for room in list(self.world.rooms):
            for socket in room.sockets():
                self.apply(self.world.lose(socket))
        self.apply(self.world.sleep(LONGEST_GRACE + 1))
        assert len(self.world.rooms) == 0
        assert self.world.rooms.get_timer() is None
        assert not self.media
        assert not self.world.rooms._state.places
        assert not self.world.rooms._state.by_id


TestClients = Clients.TestCase
TestClients.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)

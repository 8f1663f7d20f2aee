"""Many clients act on rooms in any order; the invariants hold after every step."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sfu.rooms import (
    Accepted,
    Broadcast,
    CloseMedia,
    CloseRoom,
    DropSocket,
    Effect,
    RegistryChanged,
    Rejected,
    Room,
    RoomLimits,
    RoomsUpdated,
    UsersUpdated,
)
from sfu.rooms.names import Mode, Phase
from sfu.rooms.pace import Due, Timer
from sfu.rooms.slots import SPECTATOR
from tests.support.rooms import World

USERS = ("ann", "bob", "cat")
NAMES = st.sampled_from(USERS)
SOCKETS = st.sampled_from([f"{user}-{n}" for user in USERS for n in range(2)])
ROOMS = st.sampled_from(["A", "A", "B"])
SLOTS = st.sampled_from([None, -1, 0, 1, 2, 3, 7, 8, 9, "1", 1.5])
PASSWORDS = st.sampled_from([None, None, None, "", "pw"])
MODES = st.sampled_from([0, 1, 1, 2])
METADATA = st.sampled_from([None, {}, {"a": 1}, {"netplay_mode": 1}, {"netplay_mode": 0, "rom_hash": "h"}])
GAME = {"rom_hash": "h", "core_type": "c"}
INSIDERS = st.integers(0, 11)
"""Mostly the number of somebody who is in a room; from ``OUTSIDERS`` on, whoever."""
OUTSIDERS = 10
OWN_ROOMS = st.sampled_from([None, None, None, None, "A", "B"])
"""Mostly the room that one is in."""
LONGEST_GRACE = 60.0
LONGEST_WAIT = 200.0
CHAT_HISTORY = 3


class Clients(RuleBasedStateMachine):
    """Six sockets of three users. A lost socket never comes back: its name then means a fresh one."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(limits=RoomLimits(chat_history=CHAT_HISTORY, http_rooms_per_user=2))
        self.state = self.world.rooms._state
        self.lost = 0
        self.names: dict[str, str] = {}
        self.media: set[str] = set()
        self.maps: dict[str, Any] = {}
        """What each client believes about who is in its room."""
        self.list: Any = []
        """What all clients believe about rooms."""
        self.registry: dict[str, Any] = {}
        """What RomM believes about rooms."""

    def socket(self, name: str) -> str:
        return self.names.get(name, name)

    def insider(self, number: int) -> str:
        sockets = list(self.state.places)
        if not sockets or number >= OUTSIDERS:
            return self.socket(f"{USERS[number % len(USERS)]}-0")
        return sockets[number % len(sockets)]

    def room_for(self, socket: str, name: str | None) -> str:
        room = self.world.rooms.room_of(socket)
        return name or (room.name if room is not None else "A")

    @initialize(kind=st.sampled_from(["nothing", "lobby", "over http", "large"]), owner_watches=st.booleans())
    def begin(self, kind: str, owner_watches: bool) -> None:
        """Some states are reached too seldom by chance."""
        if kind == "over http":
            self.create("ann", "A", 3, None, 1)
        elif kind != "nothing":
            self.open("ann-0", "A", 3, None, 1)
            self.join("bob-0", "A", 1, None, False)
            if kind == "large":
                self.crowd(0, 35, True)
            if owner_watches:
                self.command(self.world.slot("ann-0", 8, "A"))

    # Doing what the application would

    def command(self, effects: list[Effect]) -> None:
        """Effects of a command that has an ack: it comes exactly once."""
        assert sum(isinstance(effect, Accepted | Rejected) for effect in effects) == 1
        if any(isinstance(effect, Rejected) for effect in effects):
            assert len(effects) == 1
        self.apply(effects)

    def happening(self, effects: list[Effect]) -> None:
        """Effects of what nobody waits for."""
        assert not any(isinstance(effect, Accepted | Rejected) for effect in effects)
        self.apply(effects)

    def apply(self, effects: list[Effect]) -> None:
        """Check that effects stay within rooms, and do what the application would."""
        dropped = [effect.socket_id for effect in effects if isinstance(effect, DropSocket)]
        for effect in effects:
            match effect:
                case CloseMedia(socket_id, tell):
                    self.media.discard(socket_id)
                    assert socket_id not in tell
                    self.check_audience(tell)
                case CloseRoom(room_id):
                    assert self.world.rooms.by_id(room_id) is None
                case UsersUpdated(to, shared, plus_own):
                    self.check_users(effect)
                    self.maps |= {socket: copy.deepcopy(shared) for socket in to}
                    self.maps |= {
                        socket: copy.deepcopy(shared | {userid: row}) for socket, userid, row in plus_own
                    }
                case Broadcast(to, "room-closed", _):
                    assert set(to) == set(dropped)
                case Broadcast(to, event, payload):
                    assert to
                    self.check_audience(to)
                    self.hear(to, event, payload)
                case RoomsUpdated():
                    self.list = self.world.rooms.listing()
                case RegistryChanged(name):
                    self.registry[name] = self.record(name)
                case _:
                    pass
        for socket in dropped:
            self.happening(self.world.lose(socket))
            self.forget(socket)

    def hear(self, to: Iterable[str], event: str, payload: Any) -> None:
        """Events that change single marks in what clients believe."""
        for users in (self.maps.get(socket, {}) for socket in to):
            row = users.get(payload.get("playerId"), {})
            if event == "player-ready-updated":
                row["ready"] = payload["ready"]
            elif event == "player-validation-updated":
                row |= {key: value for key, value in payload.items() if key != "playerId"}

    def record(self, name: str) -> Any:
        room = self.world.rooms.get(name)
        if room is None:
            return None
        return (
            room.id,
            room.player_count,
            room.settings.max_players,
            bool(room.settings.password),
            room.details(),
        )

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
        self.maps.pop(socket, None)

    # Coming and going

    @rule(name=SOCKETS, room=ROOMS, max_players=st.integers(1, 8), password=PASSWORDS, mode=MODES)
    def open(self, name: str, room: str, max_players: int, password: str | None, mode: int) -> None:
        socket = self.socket(name)
        before = self.world.rooms.room_of(socket)
        effects = self.world.open(
            socket, room, max_players=max_players, password=password, netplay_mode=mode, **GAME
        )
        self.command(effects)
        self.entered(socket, room, effects, before)

    @rule(name=SOCKETS, room=ROOMS, slot=SLOTS, password=PASSWORDS, watch=st.booleans())
    def join(self, name: str, room: str, slot: Any, password: str | None, watch: bool) -> None:
        socket = self.socket(name)
        before = self.world.rooms.room_of(socket)
        extra: dict[str, Any] = {"player_slot": slot, "is_host": True, **GAME}
        if watch:
            extra["is_spectator"] = True
        effects = self.world.join(socket, room, password=password, **extra)
        self.command(effects)
        self.entered(socket, room, effects, before)

    def entered(self, socket: str, room: str, effects: list[Effect], before: Any) -> None:
        now = self.world.rooms.room_of(socket)
        if any(isinstance(effect, Rejected) for effect in effects):
            assert now is before, "a refusal changes nothing"
        else:
            assert now is not None
            assert now.name == room
            self.media.add(socket)

    @rule(who=INSIDERS, room=OWN_ROOMS)
    def leave(self, who: int, room: str | None) -> None:
        socket = self.insider(who)
        user = self.world.caller(socket).userid
        before = {(r.name, m.userid) for r in self.world.rooms for m in r.members.values()}
        connected = set(self.state.places) - {socket}
        self.command(self.world.leave(socket, room))
        gone = before - {(r.name, m.userid) for r in self.world.rooms for m in r.members.values()}
        assert len(gone) <= 1
        assert {userid for _, userid in gone} <= {user}, "nobody leaves for another"
        assert connected <= set(self.state.places), "nor for another tab"

    @rule(who=INSIDERS, room=OWN_ROOMS, slot=SLOTS)
    def change_slot(self, who: int, room: str | None, slot: Any) -> None:
        socket = self.insider(who)
        self.command(self.world.slot(socket, slot, self.room_for(socket, room)))

    @rule(name=SOCKETS)
    def start_media(self, name: str) -> None:
        self.happening(self.world.media(self.socket(name)))
        member = self.world.rooms.member_of(self.socket(name))
        assert member is None or member.old_sockets == []

    @rule(who=INSIDERS)
    def disconnect(self, who: int) -> None:
        socket = self.insider(who)
        self.happening(self.world.lose(socket))
        self.forget(socket)

    @precondition(lambda self: any(room.members for room in self.world.rooms))
    @rule(data=st.data(), slot=SLOTS, silent=st.booleans())
    def reload(self, data: st.DataObject, slot: Any, silent: bool) -> None:
        """A member comes back on a fresh socket; its old one is lost, or just silent."""
        rooms = [room for room in self.world.rooms if room.members]
        room = data.draw(st.sampled_from(rooms), "room")
        member = data.draw(st.sampled_from(list(room.members.values())), "member")
        old, fresh = member.socket_id, f"{member.name}-new-{self.lost}"
        if silent:
            self.world.last_seen[old] = self.world.now - 100
        elif member.connected:
            self.happening(self.world.lose(old))
            self.forget(old)
        self.lost += 1
        self.names[f"{member.name}-0"] = fresh
        effects = self.world.join(fresh, room.name, player_slot=slot)
        self.command(effects)
        self.entered(fresh, room.name, effects, None)
        assert member.socket_id == fresh, "a lost or silent socket never keeps its user out"

    @rule(name=SOCKETS)
    def fall_silent(self, name: str) -> None:
        self.world.last_seen[self.socket(name)] = self.world.now - 100

    @precondition(lambda self: len(self.world.rooms) > 0)
    @rule(suffix=st.integers(0, 10**9), size=st.integers(1, 40), stay=st.booleans())
    def crowd(self, suffix: int, size: int, stay: bool) -> None:
        room = next(iter(self.world.rooms))
        sockets = [self.socket(f"fan{n}-{suffix}") for n in range(size)]
        for socket in sockets:
            self.command(self.world.join(socket, room.name, password=room.settings.password, player_slot=8))
        if not stay:
            for socket in sockets:
                self.command(self.world.leave(socket))

    # Over HTTP

    @rule(user=NAMES, room=ROOMS, max_players=st.integers(1, 4), password=PASSWORDS, mode=MODES)
    def create(self, user: str, room: str, max_players: int, password: str | None, mode: int) -> None:
        effects = self.world.create(
            user, room, max_players=max_players, password=password or "", netplay_mode=mode, **GAME
        )
        self.command(effects)

    @rule(user=NAMES, room=ROOMS, password=PASSWORDS)
    def reserve(self, user: str, room: str, password: str | None) -> None:
        effects = self.world.reserve(user, room, password=password)
        self.command(effects)
        there = self.world.rooms.get(room)
        if there is not None and Accepted() in effects:
            assert there.reservations & {f"id:{user}"} or f"id:{user}" in there.members

    @rule(user=NAMES, room=ROOMS)
    def release(self, user: str, room: str) -> None:
        self.command(self.world.release(user, room))
        there = self.world.rooms.get(room)
        assert there is None or f"id:{user}" not in there.reservations

    # Said in a room

    @rule(who=INSIDERS, room=OWN_ROOMS, metadata=METADATA, own=st.booleans())
    def describe(self, who: int, room: str | None, metadata: Any, own: bool) -> None:
        socket = self.insider(who)
        describe = self.world.describe_player if own else self.world.describe_room
        self.command(describe(socket, metadata, self.room_for(socket, room)))

    @rule(who=INSIDERS, room=OWN_ROOMS, rom=st.sampled_from(["h", "x", None]))
    def tell_game(self, who: int, room: str | None, rom: str | None) -> None:
        socket = self.insider(who)
        self.command(self.world.info(socket, rom, "c", room=self.room_for(socket, room)))

    @rule(who=INSIDERS, message=st.sampled_from(["hi", " hi ", "", 5, "x" * 501]))
    def chat(self, who: int, message: Any) -> None:
        socket = self.insider(who)
        effects = self.world.chat(socket, message)
        if any(isinstance(effect, Rejected) for effect in effects):
            self.command(effects)
            return
        self.happening(effects)
        [said] = effects
        room = self.world.rooms.room_of(socket)
        assert isinstance(said, Broadcast)
        assert room is not None
        assert said.to == room.sockets()

    @rule(who=INSIDERS, room=OWN_ROOMS, paused=st.booleans())
    def pause(self, who: int, room: str | None, paused: bool) -> None:
        self.command(self.world.pause(self.insider(who), room=room, paused=paused))

    @rule(who=INSIDERS, to=INSIDERS | st.just("host"), room=OWN_ROOMS)
    def signal(self, who: int, to: int | str, room: str | None) -> None:
        socket = self.insider(who)
        target = self.insider(to) if isinstance(to, int) else to
        reached = self.world.rooms.signal_target(socket, target, room)
        if reached is not None:
            assert reached != socket
            self.check_audience([socket, reached])

    # In the lobby

    @rule(who=INSIDERS, room=OWN_ROOMS)
    def toggle(self, who: int, room: str | None) -> None:
        socket = self.insider(who)
        self.command(self.world.toggle(socket, self.room_for(socket, room)))

    @rule(who=INSIDERS, room=OWN_ROOMS, ready=st.booleans())
    def set_ready(self, who: int, room: str | None, ready: bool) -> None:
        socket = self.insider(who)
        self.command(self.world.ready(socket, ready=ready, room=self.room_for(socket, room)))

    @precondition(lambda self: any(room.members for room in self.world.rooms))
    @rule(ready=st.booleans(), launch=st.sampled_from([False, False, True]))
    def start(self, ready: bool, launch: bool) -> None:
        """An owner starts; half the time everyone is made ready before."""
        room = next(room for room in self.world.rooms if room.members)
        for player in list(room.players) if ready else ():
            if player.connected and not player.ready:
                self.command(self.world.toggle(player.socket_id, room.name))
        owner = room.members[room.owner].socket_id
        start = self.world.launch if launch else self.world.start
        self.command(start(owner, room.name))

    @rule(who=INSIDERS, room=OWN_ROOMS, frame=st.sampled_from([1, 1, 7, "x"]))
    def at_frame(self, who: int, room: str | None, frame: Any) -> None:
        socket = self.insider(who)
        self.command(self.world.at_frame(socket, frame, self.room_for(socket, room)))

    # Time

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.25, 1.0, 30.0, 31.0, 59.9, 61.0, 121.0]))
    def wait(self, seconds: float) -> None:
        before = {m.socket_id for room in self.world.rooms for m in room.members.values() if m.connected}
        self.happening(self.world.sleep(seconds))
        after = {m.socket_id for room in self.world.rooms for m in room.members.values() if m.connected}
        assert before == after, "time takes lost members only"
        if seconds > LONGEST_GRACE:
            assert all(m.connected for room in self.world.rooms for m in room.members.values())

    # What always holds

    @invariant()
    def every_room_is_sound(self) -> None:
        for room in self.world.rooms:
            if room.members:
                assert room.owner in room.members, "one of the members owns the room"
            else:
                assert room.owner == room.creator, "an empty room waits for its creator"
            assert room.creator not in room.members
            slots = [member.slot for member in room.members.values() if member.slot != SPECTATOR]
            assert len(slots) == len(set(slots)), "seats are held alone"
            assert all(0 <= slot < room.settings.max_players for slot in slots)
            assert len(slots) + len(room.reservations) <= room.settings.max_players
            assert not room.reservations & room.members.keys(), "nobody is counted twice"
            assert room.list_entry()["current"] == len(slots)
            assert room.http_view()["current"] == len(slots) + len(room.reservations)
            assert len(room.chat) <= CHAT_HISTORY
            for member in room.members.values():
                assert member.userid == f"id:{member.name}"
                held = self.world.rooms.room_of(member.socket_id)
                assert (held is room) is member.connected, "a lost socket is nowhere"

    @invariant()
    def every_lobby_is_sound(self) -> None:
        for room in self.world.rooms:
            delay_sync = room.settings.netplay_mode is Mode.DELAY_SYNC
            assert all((member.ready is not None) is delay_sync for member in room.members.values())
            assert (room.barrier is not None) is (room.settings.room_phase is Phase.PREPARE)
            if delay_sync and room.settings.room_phase is Phase.LOBBY and room.sockets():
                assert room.told_phase is room.lobby_phase, "nobody waits for those who are gone"
            if room.barrier is not None:
                assert delay_sync
                here = {player.userid for player in room.players if player.connected}
                arrived = here & room.barrier.arrived
                assert not arrived or here & room.barrier.awaited - arrived, "a game runs when it can"

    @invariant()
    def a_socket_is_in_one_room(self) -> None:
        sockets = [m.socket_id for room in self.world.rooms for m in room.members.values() if m.connected]
        assert len(sockets) == len(set(sockets))
        assert set(sockets) == set(self.state.places)

    @invariant()
    def the_list_shows_what_there_is(self) -> None:
        listed = {entry["name"]: entry["current"] for entry in self.world.rooms.listing()}
        shown = (room for room in self.world.rooms if room.player_count or room.fresh)
        assert listed == {room.name: room.player_count for room in shown}

    @invariant()
    def deadlines_are_for_what_there_is(self) -> None:
        due = {due for due in self.state.deadlines._when if due.timer not in (Timer.USERS, Timer.ROOMS)}
        assert due == {due for room in self.world.rooms for due in self.expected_deadlines(room)}
        for held_back in (due for due in self.state.deadlines._when if due.timer is Timer.USERS):
            assert held_back.room_id in self.state.by_id

    def expected_deadlines(self, room: Room) -> Iterable[Due]:
        for member in room.members.values():
            if not member.connected:
                yield Due(Timer.GRACE, room.id, member.userid)
            for socket in member.old_sockets:
                yield Due(Timer.OLD_MEDIA, room.id, member.userid, socket)
        for userid in room.reservations:
            yield Due(Timer.RESERVATION, room.id, userid)
        if room.creator is not None:
            yield Due(Timer.CREATOR, room.id)
        if room.fresh:
            yield Due(Timer.FRESH, room.id)
        if room.barrier is not None:
            yield Due(Timer.BARRIER, room.id)

    @invariant()
    def everyone_knows_what_concerns_them(self) -> None:
        """What clients and RomM were told is how things are, or about to be corrected."""
        pending = {due.room_id for due in self.state.deadlines._when if due.timer is Timer.USERS}
        for socket, (room, member) in self.state.places.items():
            assert room.id in pending or self.maps[socket] == room.users_for(member)
        if self.state.deadlines.when(Due(Timer.ROOMS)) is None:
            assert self.list == self.world.rooms.listing()
        for name in {*self.registry, *(room.name for room in self.world.rooms)}:
            assert self.registry.get(name) == self.record(name)

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
                if not room.is_large:
                    assert list(shown) == list(room.members)

    def teardown(self) -> None:
        """Everyone disconnects; after the longest wait nothing is left."""
        for room in list(self.world.rooms):
            for socket in room.sockets():
                self.happening(self.world.lose(socket))
        self.happening(self.world.sleep(LONGEST_WAIT))
        assert len(self.world.rooms) == 0
        assert self.world.rooms.get_timer() is None
        assert not self.media
        assert not self.state.places
        assert not self.state.by_id
        assert not any(self.registry.values())


TestClients = Clients.TestCase
TestClients.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)

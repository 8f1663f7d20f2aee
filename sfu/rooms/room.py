"""A room and its members, and the shapes in which others see them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sfu.rooms.effects import Row, UserMap
from sfu.rooms.extra import Extra, Json
from sfu.rooms.names import LobbyPhase, Mode, Phase
from sfu.rooms.pace import Pace
from sfu.rooms.settings import RoomSettings
from sfu.rooms.slots import SPECTATOR

USERS_INTERVAL = 0.25
"""Seconds between two ``users-updated`` to one room."""

FULL_MAP_MEMBERS = 32
"""Up to this many members, everyone sees everyone; above, all players and oneself."""

_LOBBY_PHASES = {Phase.PREPARE: LobbyPhase.LAUNCHING, Phase.RUNNING: LobbyPhase.STARTED}


@dataclass(slots=True)
class Member:
    """One user in one room, connected or in grace."""

    userid: str
    name: str
    socket_id: str
    """The socket it is on, or was on when it was lost."""
    slot: int
    extra: dict[str, Json]
    """The client's own keys. Replaced as a whole, never changed in place."""
    ready: bool | None = None
    """None outside delay sync."""
    validation: tuple[str, str | None] | None = None
    """How its game fits the room's, and why it does not; None until it has said what it plays."""
    connected: bool = True
    old_sockets: list[str] = field(default_factory=list)
    """Sockets it came back from whose media may still run, the oldest first."""

    @property
    def is_player(self) -> bool:
        return self.slot != SPECTATOR

    @property
    def media_sockets(self) -> tuple[str, ...]:
        """All sockets under which media of this member may run."""
        return (*self.old_sockets, self.socket_id)

    def take_extra(self, extra: Extra) -> None:
        """Adopt what the client says now; metadata that it set earlier stays unless it brings new."""
        metadata = self.extra.get("metadata")
        self.extra = dict(extra.fields)
        if metadata is not None and self.extra.get("metadata") is None:
            self.extra["metadata"] = metadata

    def row(self, *, is_host: bool) -> Row:
        """How ``users-updated`` shows this member. Flags that are not set are absent."""
        row = self.public_extra()
        row["player_name"] = self.name
        if is_host:
            row["is_host"] = True
        if not self.connected:
            row["reconnecting"] = True
        return row

    def public_extra(self) -> Row:
        """The payload of ``room-player-joined``."""
        row = {
            **self.extra,
            "player_slot": self.slot,
            "socketId": self.socket_id,
            "socket_id": self.socket_id,
            "netplay_username": self.name,
            "userid": self.userid,
        }
        if not self.is_player:
            row["is_spectator"] = True
        if self.ready is not None:
            row["ready"] = self.ready
        if self.validation is not None:
            row["validationStatus"], row["validationReason"] = self.validation
        return row


@dataclass(slots=True)
class Barrier:
    """The way from the lobby to a running game, which all players take together."""

    awaited: frozenset[str]
    """Userids of those who were players when it began; who comes later is not waited for."""
    arrived: set[str] = field(default_factory=set)
    """Players who are at their first frame."""
    frame: int = 1
    """What the last of them called it."""


class Room:
    """A room. While anyone is in it, its owner is the userid of a member.

    A room that was made over HTTP may be empty for as long as it waits for its creator.
    """

    __slots__ = (
        "_sent", "_stale", "barrier", "chat", "creator", "fresh", "id", "members", "name", "owner",
        "reservations", "settings", "told_phase", "users_pace",
    )  # fmt: skip

    def __init__(
        self, room_id: str, name: str, owner: str, settings: RoomSettings, *, chat_history: int
    ) -> None:
        self.id = room_id
        self.name = name
        self.owner = owner
        self.settings = settings
        self.members: dict[str, Member] = {}
        """By userid, in the order of joining."""
        self.creator: str | None = None
        """Who made the room over HTTP and is still expected to come, and to own it then."""
        self.fresh = False
        """Whether lists show the room even without a player."""
        self.reservations: set[str] = set()
        """Userids for which a seat is held; none of them is a member."""
        self.barrier: Barrier | None = None
        """Set in the phase ``prepare``, and only there."""
        self.told_phase = LobbyPhase.WAITING
        """What the last ``lobby-state`` said."""
        self.chat: deque[dict[str, Any]] = deque(maxlen=chat_history)
        """Payloads of the latest ``chat-message``."""
        self.users_pace = Pace(USERS_INTERVAL)
        self._sent: UserMap | None = None
        self._stale: set[str] = set()

    # Counting

    @property
    def players(self) -> Iterator[Member]:
        return (member for member in self.members.values() if member.is_player)

    @property
    def player_count(self) -> int:
        """Seats taken, members in grace included."""
        return sum(1 for _ in self.players)

    @property
    def spectator_count(self) -> int:
        return len(self.members) - self.player_count

    def taken_slots(self, *, besides: str | None = None) -> set[int]:
        """Seats of players other than userid ``besides``."""
        return {member.slot for member in self.players if member.userid != besides}

    def is_full_for(self, userid: str) -> bool:
        """Whether all seats are taken by others, or held for them."""
        held = len(self.reservations - {userid})
        return len(self.taken_slots(besides=userid)) + held >= self.settings.max_players

    # Audiences

    @property
    def is_listed(self) -> bool:
        """Whether lists show it: somebody plays, or it was made over HTTP just now."""
        return self.fresh or any(self.players)

    @property
    def is_large(self) -> bool:
        """Whether spectators do not see one another."""
        return len(self.members) > FULL_MAP_MEMBERS

    def sockets(self, *, besides: str | None = None) -> tuple[str, ...]:
        """Connected members' sockets without socket ``besides``."""
        return tuple(
            member.socket_id
            for member in self.members.values()
            if member.connected and member.socket_id != besides
        )

    def sockets_interested_in(self, member: Member) -> tuple[str, ...]:
        """Connected sockets that are told of this member's coming and going: all others', but in a large room
        only the players' if it is a spectator."""
        crowd = self.is_large and not member.is_player
        return tuple(
            other.socket_id
            for other in self.members.values()
            if other.connected and other is not member and (other.is_player or not crowd)
        )

    def told_of_changes_to(self, member: Member | None) -> list[Member]:
        """Connected members that get an event of its own when something about this member changes, or about
        all players.

        In a large room these are the players and the member; spectators learn it from the user map.
        """
        return [
            other
            for other in self.members.values()
            if other.connected and (other is member or other.is_player or not self.is_large)
        ]

    def heir(self) -> Member | None:
        """The next owner: the first connected player in the order of joining, else the first member."""
        for member in self.players:
            if member.connected:
                return member
        return next(iter(self.members.values()), None)

    # Who sees whom

    def users_for(self, viewer: Member) -> UserMap:
        """The user map as ``viewer`` sees it."""
        if not self.is_large:
            return self._rows(self.members.values())
        users = self._rows(self.players)
        users.setdefault(viewer.userid, self._row(viewer))
        return users

    def touch(self, member: Member) -> None:
        """This member's own row has changed; in a large room nobody else might hear of it."""
        self._stale.add(member.userid)

    def users_news(self) -> tuple[tuple[str, ...], UserMap, tuple[tuple[str, str, Row], ...]]:
        """Who has to be sent which map now, as in ``UsersUpdated``.

        In a large room spectators coming and going changes nobody's view, so nobody is told.
        """
        stale, self._stale = self._stale, set()
        if not self.is_large:
            self._sent = None
            self.users_pace.stretch(USERS_INTERVAL)
            return self.sockets(), self._rows(self.members.values()), ()
        shared = self._rows(self.players)
        everyone = shared != self._sent
        self._sent = shared
        audience = [
            member
            for member in self.members.values()
            if member.connected and (everyone or member.userid in stale)
        ]
        return (
            tuple(member.socket_id for member in audience if member.is_player),
            shared,
            tuple(
                (member.socket_id, member.userid, self._row(member))
                for member in audience
                if not member.is_player
            ),
        )

    def _row(self, member: Member) -> Row:
        return member.row(is_host=member.userid == self.owner)

    def _rows(self, members: Iterable[Member]) -> UserMap:
        return {member.userid: self._row(member) for member in members}

    # What is said about the room

    def welcome(self, member: Member) -> dict[str, Any]:
        """The value of a ``join-room`` ack."""
        settings = self.settings
        value: dict[str, Any] = {
            "users": self.users_for(member),
            "netplay_mode": settings.netplay_mode,
            "room_phase": settings.room_phase,
            "game_id": settings.game_id,
            "sync_config": settings.sync_config,
            "room_name": self.name,
            "max": settings.max_players,
            "hasPassword": bool(settings.password),
        }
        if settings.netplay_mode is Mode.DELAY_SYNC:
            value["lobby_state"] = self.lobby_state()
        return value

    def lobby_state(self) -> dict[str, Any]:
        """The payload of ``lobby-state``."""
        return {
            "phase": self.lobby_phase,
            "player_ready": {player.userid: bool(player.ready) for player in self.players},
        }

    @property
    def lobby_phase(self) -> LobbyPhase:
        """Where a delay-sync room stands. Players in grace keep nobody waiting."""
        phase = _LOBBY_PHASES.get(self.settings.room_phase)
        if phase is not None:
            return phase
        flags = [bool(player.ready) for player in self.players if player.connected]
        return LobbyPhase.READY if flags and all(flags) else LobbyPhase.WAITING

    def list_entry(self) -> dict[str, Any]:
        """One element of ``rooms-updated``."""
        return {
            "id": self.name,
            "name": self.name,
            "current": self.player_count,
            "max": self.settings.max_players,
            "hasPassword": bool(self.settings.password),
            "netplay_mode": self.settings.netplay_mode,
            **self.settings.game(),
        }

    def http_view(self) -> dict[str, Any]:
        """The ``room`` in answers to ``POST /create`` and ``/join``; here a held seat counts as taken."""
        settings = self.settings
        return {
            "room_name": self.name,
            "current": self.player_count + len(self.reservations),
            "max": settings.max_players,
            "hasPassword": bool(settings.password),
            "netplay_mode": settings.netplay_mode,
            "room_phase": settings.room_phase,
            "sync_config": settings.sync_config,
            "spectator_mode": settings.spectator_mode,
            "game_id": settings.game_id,
            "rom_hash": settings.rom_hash,
            "core_type": settings.core_type,
        }

    def details(self) -> dict[str, Any]:
        """What a cluster-wide list tells about the room besides name, counts, password and node."""
        settings = self.settings
        return {
            "netplay_mode": settings.netplay_mode,
            "room_phase": settings.room_phase,
            "sync_config": settings.sync_config,
            "spectator_mode": settings.spectator_mode,
            "game_id": settings.game_id,
            **settings.game(),
        }

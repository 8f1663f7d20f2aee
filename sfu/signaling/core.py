"""What all event handlers share: the rooms, the clients, their media, and the way effects become actions."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import assert_never

import msgspec
import structlog
import trio

from sfu.romm.port import Romm, RoomRecord
from sfu.rooms import (
    Accepted,
    Broadcast,
    Caller,
    CloseMedia,
    CloseRoom,
    Command,
    DropSocket,
    Effect,
    LoseSocket,
    Refused,
    RegistryChanged,
    Rejected,
    Room,
    Rooms,
    RoomsUpdated,
    UsersUpdated,
)
from sfu.signaling.access import Access
from sfu.signaling.admission import Admission, Allowance
from sfu.signaling.app_settings import AppSettings
from sfu.signaling.application import Ack, Socket
from sfu.signaling.media_session import MediaSession, MediaTable, Producer
from sfu.signaling.registry import Registry
from sfu.signaling.socketio.codec import encode_event
from sfu.worker.port import (
    DataProducerClosed,
    Media,
    MediaError,
    MediaEvent,
    ProducerClosed,
    RouterLost,
    TransportClosed,
)

log = structlog.get_logger(__name__)

PROBE_TIMEOUT = 1.5
"""Seconds for a client's link to show a sign of life when another one of the same user wants its place."""

LISTING_BUDGET = 8_000_000
"""Bytes per second that room lists may take for all sockets together; beyond it they go out less often."""

USERS_BUDGET = 8_000_000
"""The same for the user maps that a large room's spectators get."""


@dataclass(frozen=True, slots=True)
class Client:
    """A connected, authenticated socket."""

    socket: Socket
    caller: Caller
    allowance: Allowance
    may_write: bool = False
    """Whether it connected with a write token."""

    @property
    def id(self) -> str:
        return self.socket.id


def wall_ms(now: float) -> int:
    """Milliseconds since 1970 at a moment of trio's clock."""
    return round((time.time() + now - trio.current_time()) * 1000)


class Core:
    """State of the application and the few ways to act on it.

    Handlers of one socket run one after another, those of different sockets interleave at every await. After
    it, what was known before has to be asked again: :meth:`is_in`, ``session.closed``.
    """

    def __init__(self, settings: AppSettings, media: Media, romm: Romm) -> None:
        self.settings = settings
        self.media = media
        self.romm = romm
        self.admission = Admission(settings.limits)
        self.access = Access(romm, self.admission)
        self.rooms = Rooms(
            lambda: str(uuid.uuid4()),
            wall_ms=wall_ms,
            allow_takeover=settings.allow_takeover,
            takeover_grace=settings.takeover_grace,
            limits=settings.room_limits,
        )
        self.clients: dict[str, Client] = {}
        self.table = MediaTable()
        self.registry = Registry(romm, self.room_record, node_id=settings.node_id, url=settings.public_url)
        self._nursery: trio.Nursery | None = None
        self._timer_moved = trio.Event()

    # Tasks

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own all background work until cancelled; then take this node's rooms out of the registry."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._run_timers)
                nursery.start_soon(self._read_media_events)
                await nursery.start(self.registry.run, self._room_names, self.settings.registry_refresh)
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    self._nursery = None  # while it is still open: sockets may be leaving right now
        finally:
            with trio.move_on_after(self.settings.shutdown_timeout, shield=True):
                await self.registry.withdraw()

    def in_background(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        """Do something with the media side without waiting for it. Refusals are logged."""
        if self._nursery is not None:
            self._nursery.start_soon(self._quietly, work, *args)

    async def _quietly(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        try:
            await work(*args)
        except MediaError as error:
            log.info("media side refused", request=getattr(work, "__name__", ""), error=str(error))

    async def _run_timers(self) -> None:
        while True:
            self._timer_moved = trio.Event()
            deadline = self.rooms.get_timer()
            with trio.move_on_at(deadline if deadline is not None else float("inf")):
                await self._timer_moved.wait()
            self.perform(self.rooms.handle_timer(trio.current_time()))

    async def _read_media_events(self) -> None:
        async for event in self.media.events():
            self.take_media_event(event)

    def _room_names(self) -> list[str]:
        return [room.name for room in self.rooms]

    # Acting on rooms

    def do(self, command: Command, ack: Ack | None = None) -> None:
        """Have the room model do something now, and carry out what follows."""
        self.perform(self.rooms.handle(command, trio.current_time()), ack)
        self._timer_moved.set()

    def do_or_refuse(self, command: Command) -> None:
        """Have the room model do something for somebody who has no socket; raises :class:`Refused`."""
        effects = self.rooms.handle(command, trio.current_time())
        for effect in effects:
            if isinstance(effect, Rejected):
                raise Refused(effect.error)
        self.perform(effects)
        self._timer_moved.set()

    def perform(self, effects: Iterable[Effect], ack: Ack | None = None) -> None:
        """Carry out effects in order."""
        for effect in effects:
            match effect:
                case Accepted(value):
                    if ack is not None:
                        ack(*([None] if value is None else [None, value]))
                case Rejected(error):
                    if ack is not None:
                        ack(error)
                case Broadcast(to, event, payload):
                    self.send(to, event, payload)
                case UsersUpdated():
                    self._send_users(effect)
                case RoomsUpdated():
                    size = self.send(self.clients, "rooms-updated", self.rooms.listing())
                    self.rooms.pace_listing(size * len(self.clients) / LISTING_BUDGET)
                case CloseMedia(socket_id, tell):
                    for transport_id in self.end_session(socket_id, tell):
                        self.in_background(self.media.close_transport, transport_id)
                case CloseRoom(room_id):
                    self.in_background(self.media.close_router, room_id)
                case DropSocket(socket_id):
                    client = self.clients.get(socket_id)
                    if client is not None:
                        client.socket.disconnect()
                case RegistryChanged(name):
                    self.registry.changed(name)
                case _:
                    assert_never(effect)

    def send(self, to: Iterable[str], event: str, payload: object) -> int:
        """Send one event to some sockets, encoded once; returns its size in bytes, 0 if it went nowhere."""
        clients = [client for socket_id in to if (client := self.clients.get(socket_id)) is not None]
        if not clients:
            return 0
        packet = encode_event(event, payload)
        for client in clients:
            client.socket.emit_encoded(packet)
        return packet.size

    def _send_users(self, effect: UsersUpdated) -> None:
        self.send(effect.to, "users-updated", effect.users)
        if not effect.plus_own:
            return
        common = msgspec.json.encode(effect.users)[:-1] + (b"," if effect.users else b"")
        self.rooms.pace_users(effect.plus_own[0][0], len(common) * len(effect.plus_own) / USERS_BUDGET)
        for socket_id, userid, row in effect.plus_own:
            client = self.clients.get(socket_id)
            if client is not None:
                users = msgspec.Raw(common + msgspec.json.encode({userid: row})[1:])
                client.socket.emit("users-updated", users)

    # Asking about rooms

    def room_of(self, client: Client) -> Room:
        """The client's room; raises :class:`Refused` ``no room``."""
        room = self.rooms.room_of(client.id)
        if room is None:
            raise Refused("no room")
        return room

    def is_here(self, client: Client) -> bool:
        """Whether the client is still connected."""
        return client.socket.connected and self.clients.get(client.id) is client

    def is_in(self, client: Client, room: Room) -> bool:
        """Whether the client is still connected and a member of this very room."""
        return self.is_here(client) and self.rooms.room_of(client.id) is room

    async def silent_rival(self, room_name: str, caller: Caller) -> str | None:
        """Ask the other socket that holds the caller's entry for a sign of life. Its id if there is none.

        Pings are far apart, so a link that is dead may have been heard of not long ago.
        """
        rival_id = self.rooms.rival(room_name, caller)
        rival = self.clients.get(rival_id) if rival_id is not None else None
        settings = self.settings
        if rival is None or not settings.allow_takeover:
            return None
        if trio.current_time() - rival.socket.last_seen > settings.takeover_grace:
            return None  # heard of so long ago that it need not be asked
        return None if await rival.socket.is_alive(PROBE_TIMEOUT) else rival_id

    def rival_seen(self, room_name: str, caller: Caller, silent: str | None = None) -> float | None:
        """When the other connected socket that holds the caller's entry was last heard of; None without one.

        One that is disconnected, only not yet dealt with, is dealt with here.

        Args:
            room_name: where.
            caller: who wants its place.
            silent: what :meth:`silent_rival` has found; it counts as never heard of.
        """
        rival_id = self.rooms.rival(room_name, caller)
        if rival_id is None:
            return None
        rival = self.clients.get(rival_id)
        if rival is not None and rival.socket.connected:
            return -math.inf if rival_id == silent else rival.socket.last_seen
        self.do(LoseSocket(rival_id))
        return None

    def room_record(self, name: str) -> RoomRecord | None:
        """What the registry should know of a room; None if there is no such room here."""
        room = self.rooms.get(name)
        if room is None:
            return None
        return RoomRecord(
            room_name=name,
            current=room.player_count,
            max=room.settings.max_players,
            has_password=bool(room.settings.password),
            node_id=self.settings.node_id,
            url=self.settings.public_url,
            extras=room.details(),
        )

    def claim(self, name: str, *, max_players: int, password: str) -> AbstractAsyncContextManager[None]:
        """Have a name in the registry while a room of it is being made (:meth:`Registry.claim`)."""
        settings = self.settings
        return self.registry.claim(
            RoomRecord(name, 1, max_players, bool(password), settings.node_id, settings.public_url, {})
        )

    # Media

    def own_transport(self, client: Client, transport_id: str) -> MediaSession:
        """The client's session with this transport in it; raises :class:`Refused` ``transport not found``."""
        session = self.table.get(client.id)
        if session is None or transport_id not in session.transports:
            raise Refused("transport not found")
        return session

    def end_session(self, socket_id: str, tell: Iterable[str]) -> list[str]:
        """Forget a socket's media and tell others of its producers; returns the transports to close."""
        transports, producers = self.table.end_session(socket_id)
        self.tell_closed(producers, tell)
        return transports

    def tell_closed(self, producers: Iterable[Producer], to: Iterable[str]) -> None:
        to = tuple(to)
        for producer in producers:
            event = "data-producer-closed" if producer.kind == "data" else "producer-closed"
            self.send(to, event, {"id": producer.id})

    def forget_producer(self, producer: Producer) -> None:
        """Take a producer out of the table, if it is still there, and tell the others in its room."""
        if self.table.producer(producer.id) is producer:
            self.table.end_producer(producer.id)
            self._tell_room_of(producer.session, [producer])

    async def close_producer(self, producer: Producer) -> None:
        """Close a producer on the media side."""
        if producer.kind == "data":
            await self.media.close_data_producer(producer.id)
        else:
            await self.media.close_producer(producer.id)

    def take_media_event(self, event: MediaEvent) -> None:
        """Follow what the media side did by itself."""
        match event:
            case TransportClosed(transport_id, _):
                session = self.table.of_transport(transport_id)
                if session is not None:
                    self._tell_room_of(session, self.table.end_transport(transport_id))
            case ProducerClosed(producer_id) | DataProducerClosed(producer_id):
                producer = self.table.end_producer(producer_id)
                if producer is not None:
                    self._tell_room_of(producer.session, [producer])
            case RouterLost(router_id):
                for session in self.table.in_room(router_id):
                    self.table.end_session(session.socket_id)
                room = self.rooms.by_id(router_id)
                if room is not None:
                    self.send(room.sockets(), "transports-lost", {})
            case _:
                assert_never(event)

    def _tell_room_of(self, session: MediaSession, producers: Iterable[Producer]) -> None:
        room = self.rooms.by_id(session.room_id)
        if room is not None:
            self.tell_closed(producers, room.sockets(besides=session.socket_id))

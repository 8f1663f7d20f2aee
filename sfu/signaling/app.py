"""The rooms application: authenticates sockets, hands their events to handlers, owns the background work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
import trio

from sfu.romm.port import Romm
from sfu.rooms import Caller, LoseSocket, Refused
from sfu.signaling.access import AccessDenied, may_write
from sfu.signaling.admission import TOO_MANY, Kind
from sfu.signaling.app_settings import AppSettings
from sfu.signaling.application import Ack, ConnectionRefused, Socket
from sfu.signaling.core import Client, Core
from sfu.signaling.events import EVENTS
from sfu.signaling.http import Route
from sfu.signaling.identity import derive_userid, handshake_token
from sfu.signaling.routes import routes
from sfu.worker.port import Media, MediaError

log = structlog.get_logger(__name__)


class SfuApplication:
    """Implements :class:`sfu.signaling.application.Application`. Sockets may come while :meth:`run` runs."""

    def __init__(self, settings: AppSettings, media: Media, romm: Romm) -> None:
        self._core = Core(settings, media, romm)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do what nobody in particular asked for, until cancelled; then take this node's rooms out of the
        registry, which takes no longer than ``shutdown_timeout``."""
        await self._core.run(task_status=task_status)

    def say_goodbye(self, reason: str) -> None:
        """Tell everyone in a room that it ends, before the sockets are closed."""
        for room in self._core.rooms:
            self._core.send(room.sockets(), "room-closed", {"room_name": room.name, "reason": reason})

    def connected_names(self) -> set[str]:
        """``sub`` of everyone who is connected."""
        return {client.caller.name for client in self._core.clients.values()}

    def routes(self) -> list[Route]:
        """The HTTP side."""
        return routes(self._core)

    async def connect(self, socket: Socket) -> None:
        """Find out who this is, once and for good."""
        core, remote = self._core, socket.handshake.remote
        token = handshake_token(socket.handshake)
        try:
            verified = await core.access.verify(token, consume=True, remote=remote)
            userid = derive_userid(verified.sub)
        except AccessDenied as denied:
            raise ConnectionRefused(str(denied)) from None
        except ValueError:
            raise ConnectionRefused("unauthorized") from None
        required = core.settings.require_write_token
        if required == "connect" and not may_write(verified):
            raise ConnectionRefused("unauthorized")
        core.clients[socket.id] = Client(
            socket,
            Caller(socket.id, userid, verified.sub),
            core.admission.allowance(remote),
            may_write(verified),
        )

    async def event(self, socket: Socket, name: str, args: Sequence[Any], ack: Ack) -> None:
        """Handle one event; what goes wrong goes into its ack, never as an empty text."""
        event, client = EVENTS.get(name), self._core.clients.get(socket.id)
        if event is None or client is None or not (socket.connected or event.last_words):
            return
        if not self._core.admission.admits_event(client.allowance, event.kind, trio.current_time()):
            if not client.allowance.exceeded:
                client.allowance.exceeded = True
                log.info("a client asks for too much", socket=socket.id, event_name=name)
            if event.kind not in (Kind.RELAY, Kind.CHAT):
                ack(TOO_MANY)
            return
        try:
            await event.run(self._core, client, args, ack)
        except Refused as refusal:
            ack(refusal.error or "error")
        except MediaError as error:
            ack(str(error))  # never empty

    async def disconnect(self, socket: Socket, reason: str) -> None:
        """A socket is gone; its place in a room is kept for a while."""
        if self._core.clients.pop(socket.id, None) is not None:
            log.debug("socket gone", socket=socket.id, reason=reason)
            self._core.do(LoseSocket(socket.id))

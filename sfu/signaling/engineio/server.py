"""The Engine.IO server: its sessions, and the requests that open and feed them.

Requests are refused as the original server does, status 400 and ``{"code": n, "message": text}``.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog
import trio

from sfu.signaling.engineio.codec import EngineIoError, encode_open, encode_payload
from sfu.signaling.engineio.session import CloseReason, Link, Session, SessionHandler
from sfu.signaling.http import HttpError, Request, Response, error_response, json_response
from sfu.signaling.settings import SignalingSettings
from sfu.signaling.websocket import ServerWebSocket

log = structlog.get_logger(__name__)

SID_BYTES = 15
"""Random bytes in a session id: 20 characters of URL-safe base64, after the prefix."""

T = TypeVar("T")

MakeHandler = Callable[[Session, Request], SessionHandler]
"""Makes the layer above of a new session, from the request that opened it."""


class Refusal(enum.Enum):
    """Why a request is refused: code and message on the wire."""

    UNKNOWN_TRANSPORT = (0, "Transport unknown")
    UNKNOWN_SID = (1, "Session ID unknown")
    BAD_METHOD = (2, "Bad handshake method")
    BAD_REQUEST = (3, "Bad request")
    FORBIDDEN = (4, "Forbidden")
    UNSUPPORTED_VERSION = (5, "Unsupported protocol version")

    def response(self) -> Response:
        """The answer that says so."""
        code, message = self.value
        return json_response({"code": code, "message": message}, 403 if self is Refusal.FORBIDDEN else 400)


class ClientGone(Exception):
    """The client closed its connection before it had its answer."""


class Exchange(Protocol):
    """One HTTP request that is being answered."""

    @property
    def request(self) -> Request: ...

    async def read_body(self, limit: int) -> bytes:
        """The request body.

        Raises:
            HttpError: more than ``limit`` bytes, malformed, or too slow.
            ClientGone: it ended early.
        """
        ...

    async def while_connected(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Run something that takes long.

        Raises:
            ClientGone: the client went meanwhile, and what ran was cancelled.
        """
        ...

    async def respond(self, response: Response) -> None:
        """Answer.

        Raises:
            ClientGone: there is nobody to take it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Ticket:
    """A WebSocket request that may be accepted."""

    request: Request
    session: Session | None
    """The session it wants to take over, which is reserved for it; None for a new one."""


class EngineServer:
    """Sessions by id. ``nursery`` owns their tasks."""

    def __init__(
        self,
        settings: SignalingSettings,
        make_handler: MakeHandler,
        nursery: trio.Nursery,
    ) -> None:
        """
        Args:
            settings: limits and times.
            make_handler: see :data:`MakeHandler`.
            nursery: where sessions run.
        """
        self._settings = settings
        self._make_handler = make_handler
        self._nursery = nursery
        self._sessions: dict[str, Session] = {}
        self._lingering: dict[str, Session] = {}
        """Ended, with a poll still to say so."""
        self._lingering_changed = trio.lowlevel.ParkingLot()
        self._closing = False

    @property
    def session_count(self) -> int:
        """Sessions that have not ended."""
        return len(self._sessions)

    async def close_all(self) -> None:
        """Shut down: every session ends, new ones are refused. Returns when the clients on long-polling have
        heard of it, or have not asked for ``close_timeout``."""
        self._closing = True
        for session in list(self._sessions.values()):
            session.close(CloseReason.SHUTTING_DOWN, flush=True)
        with trio.move_on_after(self._settings.close_timeout):
            while self._lingering:
                await self._lingering_changed.park()

    # --- requests ---------------------------------------------------------------------------------

    async def serve_untrusted(self, exchange: Exchange) -> None:
        """Answer a request without WebSocket upgrade.

        Raises:
            ClientGone: see :class:`Exchange`.
        """
        request = exchange.request
        transport = request.query_one("transport")
        sid = _sid(request)
        if transport not in ("polling", "websocket"):
            return await exchange.respond(Refusal.UNKNOWN_TRANSPORT.response())
        if sid is not None:
            session = self._sessions.get(sid) or self._lingering.get(sid)
            if session is None:
                return await exchange.respond(Refusal.UNKNOWN_SID.response())
            if transport == "websocket" or session.link is Link.WEBSOCKET:
                return await exchange.respond(Refusal.BAD_REQUEST.response())
            match request.method:
                case "GET":
                    return await self._poll(exchange, session)
                case "POST":
                    return await self._post_untrusted(exchange, session)
            return await exchange.respond(Refusal.BAD_REQUEST.response())
        if request.method != "GET":
            return await exchange.respond(Refusal.BAD_METHOD.response())
        if transport == "websocket":
            return await exchange.respond(Refusal.BAD_REQUEST.response())
        if request.query_one("EIO") != "4":
            return await exchange.respond(Refusal.UNSUPPORTED_VERSION.response())
        if (full := self._no_room()) is not None:
            return await exchange.respond(full)
        session = await self._open(request, Link.POLLING)
        await self._answer_poll(exchange, session)
        return None

    def admit_websocket(self, request: Request) -> Ticket | Response:
        """Whether a WebSocket request may be accepted, and for which session; otherwise the refusal."""
        transport = request.query_one("transport")
        sid = _sid(request)
        if transport not in ("polling", "websocket"):
            return Refusal.UNKNOWN_TRANSPORT.response()
        if transport == "polling":
            return Refusal.BAD_REQUEST.response()
        if sid is not None:
            session = self._sessions.get(sid)
            if session is None:
                return Refusal.UNKNOWN_SID.response()
            return Ticket(request, session) if session.attach() else Refusal.BAD_REQUEST.response()
        if request.query_one("EIO") != "4":
            return Refusal.UNSUPPORTED_VERSION.response()
        return self._no_room() or Ticket(request, None)

    def withdraw(self, ticket: Ticket) -> None:
        """The WebSocket of a ticket did not come to anything. Harmless after it did."""
        if ticket.session is not None:
            ticket.session.detach()

    async def serve_websocket_untrusted(self, ticket: Ticket, websocket: ServerWebSocket) -> None:
        """Use an accepted WebSocket until it or its session ends."""
        session = ticket.session
        if session is None:
            if self._no_room() is not None:
                return  # what room there was when it was admitted has been taken meanwhile
            session = await self._open(ticket.request, Link.WEBSOCKET)
        elif not await session.upgrade_untrusted(websocket):
            return
        await session.serve_websocket_untrusted(websocket)

    # --- sessions ---------------------------------------------------------------------------------

    def _no_room(self) -> Response | None:
        if self._closing:
            return error_response(503, "shutting down")
        if len(self._sessions) + len(self._lingering) >= self._settings.max_sessions:
            return error_response(503, "too many sessions")
        return None

    async def _open(self, request: Request, link: Link) -> Session:
        sid = self._settings.sid_prefix + secrets.token_urlsafe(SID_BYTES)
        session = Session(sid, link, self._settings, self._forget)
        opening = encode_open(
            sid=session.sid,
            upgrades=["websocket"] if link is Link.POLLING else [],
            ping_interval=self._settings.ping_interval,
            ping_timeout=self._settings.ping_timeout,
            max_payload=self._settings.max_payload,
        )
        session.handler = self._make_handler(session, request)
        session.send([opening], len(opening))
        self._sessions[session.sid] = session
        await self._nursery.start(self._run, session)
        return session

    async def _run(self, session: Session, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            await session.run(task_status=task_status)
            with trio.move_on_at(session.ended_at + self._settings.close_timeout):
                while session.sid in self._lingering:
                    await self._lingering_changed.park()
        except Exception:
            log.exception("session failed")
        finally:
            self._let_go(session)

    def _forget(self, session: Session) -> None:
        del self._sessions[session.sid]
        if session.lingers:
            self._lingering[session.sid] = session

    def _let_go(self, session: Session) -> None:
        """The client knows that its session has ended, or does not ask."""
        if self._lingering.pop(session.sid, None) is not None:
            self._lingering_changed.unpark_all()

    async def _poll(self, exchange: Exchange, session: Session) -> None:
        if session.polling:
            session.close(CloseReason.TRANSPORT_ERROR)
            await exchange.respond(Refusal.BAD_REQUEST.response())
        else:
            await self._answer_poll(exchange, session)

    async def _answer_poll(self, exchange: Exchange, session: Session) -> None:
        session.polling = True
        try:
            # The client may poll again as soon as it has the answer, before this task knows that it has
            # been sent.
            try:
                frames = await exchange.while_connected(session.wait_for_frames)
            finally:
                session.polling = False
            await exchange.respond(
                Response(200, [("Content-Type", "text/plain; charset=UTF-8")], encode_payload(frames))
            )
            if session.farewell_taken:
                self._let_go(session)
        except (ClientGone, trio.Cancelled):
            session.close(CloseReason.TRANSPORT_ERROR)
            raise

    async def _post_untrusted(self, exchange: Exchange, session: Session) -> None:
        if session.posting:
            session.close(CloseReason.TRANSPORT_ERROR)
            return await exchange.respond(Refusal.BAD_REQUEST.response())
        session.posting = True
        try:
            body = await exchange.read_body(self._settings.max_payload)
            await session.receive_payload_untrusted(body)
        except EngineIoError:
            return await exchange.respond(Refusal.BAD_REQUEST.response())
        except (ClientGone, HttpError, trio.Cancelled):
            session.close(CloseReason.TRANSPORT_ERROR)
            raise
        finally:
            session.posting = False
        return await exchange.respond(Response(200, [("Content-Type", "text/plain; charset=UTF-8")], b"ok"))


def _sid(request: Request) -> str | None:
    """The session that a request names. One that names several names none that there is."""
    named = [value for name, value in request.query if name == "sid"]
    return ",".join(named) if named else None

"""The one port clients know: HTTP routes, Engine.IO over long-polling and WebSocket, and static files.

A whole server that echoes::

    class Echo:
        async def connect(self, socket): ...

        async def event(self, socket, name, args, ack):
            ack(*args)
            socket.emit(name, *args)

        async def disconnect(self, socket, reason): ...


    async def main():
        await serve_http(await trio.open_tcp_listeners(3001), application=Echo())
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import structlog
import trio

from sfu.signaling.application import Application
from sfu.signaling.connection import HttpConnection, is_trusted, linger
from sfu.signaling.engineio.server import ClientGone, EngineServer, MakeHandler, Ticket
from sfu.signaling.http import (
    HttpError,
    Mount,
    Request,
    Response,
    Route,
    Router,
    StaticFolder,
    error_response,
)
from sfu.signaling.settings import SignalingSettings
from sfu.signaling.socketio.connection import socketio_handler
from sfu.signaling.websocket import accept_websocket, handshake_fault, is_upgrade

log = structlog.get_logger(__name__)

ALLOWED_METHODS = "GET,HEAD,PUT,PATCH,POST,DELETE"


async def serve_http(
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
    *,
    application: Application | None = None,
    namespaces: Mapping[str, Application] | None = None,
    engine_handler: MakeHandler | None = None,
    routes: Sequence[Route] = (),
    mounts: Sequence[Mount] = (),
    static: StaticFolder | None = None,
    settings: SignalingSettings | None = None,
    task_status: trio.TaskStatus[FrontDoor] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled. Then clients are told, listeners close, the application says goodbye to each
    socket, and within ``shutdown_timeout`` all is over.

    Args:
        listeners: what to accept from; closed at the end.
        application: what Socket.IO clients of namespace ``/`` talk to.
        namespaces: the same for other namespaces, by name (``/admin``). The application of one may be that
            of another. Without any, and without ``application``, there is no Socket.IO.
        engine_handler: what Engine.IO sessions talk to instead of Socket.IO.
        routes: tried in order, before ``mounts``, before ``static``.
        mounts: handlers of whole prefixes.
        static: files for what is left.
        settings: limits and times.
        task_status: started with a :class:`FrontDoor` once connections are accepted.

    Raises:
        ValueError: a namespace that no client could name, two applications for one, or Socket.IO as well as
            ``engine_handler``.
    """
    settings = settings or SignalingSettings()
    applications = dict(namespaces or {})
    if application is not None and applications.setdefault("/", application) is not application:
        raise ValueError("two applications for namespace /")
    if applications:
        if engine_handler is not None:
            raise ValueError("Socket.IO and another engine_handler")
        engine_handler = socketio_handler(applications, settings)
    stop = trio.Event()
    async with trio.open_nursery() as outer:
        door = await outer.start(
            _run_shielded, listeners, engine_handler, Router(routes, mounts), static, settings, stop
        )
        task_status.started(door)
        try:
            await trio.sleep_forever()
        finally:
            stop.set()


async def _run_shielded(
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
    engine_handler: MakeHandler | None,
    router: Router,
    static: StaticFolder | None,
    settings: SignalingSettings,
    stop: trio.Event,
    *,
    task_status: trio.TaskStatus[FrontDoor],
) -> None:
    """Hold cancellation off until clients have been told."""
    with trio.CancelScope(shield=True) as shield:
        async with trio.open_nursery() as nursery:
            door = FrontDoor(engine_handler, router, static, settings, nursery)
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(door.accept_from, listener, nursery)
                task_status.started(door)
                await stop.wait()
                shield.deadline = trio.current_time() + settings.shutdown_timeout
                await door.end_sessions()
                accepting.cancel_scope.cancel()
            door.shut()


class FrontDoor:
    """Everything behind the listeners."""

    def __init__(
        self,
        engine_handler: MakeHandler | None,
        router: Router,
        static: StaticFolder | None,
        settings: SignalingSettings,
        nursery: trio.Nursery,
    ) -> None:
        """
        Args:
            engine_handler: None for a door without Engine.IO.
            router: routes and mounts.
            static: files for what is left.
            settings: limits and times.
            nursery: where sessions run.
        """
        self._router = router
        self._static = static
        self._settings = settings
        self._engine = None if engine_handler is None else EngineServer(settings, engine_handler, nursery)
        self._peers: Counter[str] = Counter()
        self._idle: set[trio.CancelScope] = set()
        self._closing = False
        """Nobody is let in any more."""
        self._shut = False
        """Nobody is listened to any more."""

    @property
    def connection_count(self) -> int:
        """Open TCP connections."""
        return self._peers.total()

    @property
    def session_count(self) -> int:
        """Engine.IO sessions."""
        return 0 if self._engine is None else self._engine.session_count

    async def end_sessions(self) -> None:
        """End all sessions. Until this returns, clients on long-polling may ask why, by a new connection if
        need be; all else is refused."""
        self._closing = True
        if self._engine is not None:
            await self._engine.close_all()

    def shut(self) -> None:
        """End idle connections; the rest end after their response."""
        self._shut = True
        for scope in self._idle:
            scope.cancel()

    # --- connections ------------------------------------------------------------------------------

    async def accept_from(self, listener: trio.abc.Listener[trio.abc.Stream], nursery: trio.Nursery) -> None:
        """Serve what a listener accepts in ``nursery``, until cancelled; then close the listener."""
        await trio.serve_listeners(self._serve_connection, [listener], handler_nursery=nursery)

    async def _serve_connection(self, stream: trio.abc.Stream) -> None:
        peer = _peer_address(stream)
        if not self._has_room(peer):
            await trio.aclose_forcefully(stream)
            return
        self._peers[peer] += 1
        connection = HttpConnection(stream, peer, self._settings)
        try:
            while await self._serve_request(connection):
                pass
        except ClientGone:
            pass
        except Exception:
            log.exception("connection failed")
        finally:
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]
            await trio.aclose_forcefully(stream)

    def _has_room(self, peer: str) -> bool:
        if self._shut or self.connection_count >= self._settings.max_connections:
            return False
        limit = self._settings.max_connections_per_remote
        return limit is None or self._peers[peer] < limit or is_trusted(peer, self._settings)

    async def _serve_request(self, connection: HttpConnection) -> bool:
        """Read and answer one request; False if it was the connection's last."""
        try:
            with self._while_open() as idle:
                if not await connection.read_head_untrusted(idle):
                    return False
            request = connection.request
            if self._engine is not None and request.path == self._settings.path and is_upgrade(request):
                return await self._upgrade(connection, self._engine)
            connection.last = self._closing
            await self._answer(connection)
        except HttpError as error:
            connection.last = True
            await connection.respond(error_response(error.status, str(error)))
        if connection.next_cycle():
            return True
        await self._linger(connection.stream)
        return False

    @contextmanager
    def _while_open(self) -> Iterator[trio.CancelScope]:
        """A scope, still to be entered, that is cancelled when the door shuts."""
        scope = trio.CancelScope()
        if self._shut:
            scope.cancel()
        self._idle.add(scope)
        try:
            yield scope
        finally:
            self._idle.discard(scope)

    async def _linger(self, stream: trio.abc.Stream) -> None:
        """Before closing: let the client read what was sent, although it may still be sending."""
        with self._while_open() as scope, scope:
            await linger(stream, self._settings.linger_timeout)

    # --- requests ---------------------------------------------------------------------------------

    async def _answer(self, connection: HttpConnection) -> None:
        request = connection.request
        if request.method == "OPTIONS":
            await connection.read_body(self._settings.max_body)
            await connection.respond(_preflight(request))
        elif self._engine is not None and request.path == self._settings.path:
            await self._engine.serve_untrusted(connection)
        elif self._closing:
            raise HttpError(503, "shutting down")
        else:
            body = await connection.read_body(self._settings.max_body)
            await connection.respond(await self._handle(replace(request, body=body)))

    async def _handle(self, request: Request) -> Response:
        try:
            if (found := self._router.find(request)) is not None:
                handler, request = found
                return await handler(request)
        except HttpError as error:
            return error_response(error.status, str(error))
        except Exception:
            log.exception("request handler failed", method=request.method, path=request.path)
            return error_response(500, "internal error")
        if self._static is not None and (response := self._static.find(request)) is not None:
            return response
        return error_response(404, "not found")

    async def _upgrade(self, connection: HttpConnection, engine: EngineServer) -> bool:
        """Serve a WebSocket request on the Engine.IO path. The connection is of no further use."""
        fault = handshake_fault(connection.request)
        if fault is not None or not connection.is_complete:
            raise HttpError(400, fault or "bad request")
        ticket = engine.admit_websocket(connection.request)
        if not isinstance(ticket, Ticket):
            connection.last = True
            await connection.respond(ticket)
            await self._linger(connection.stream)
            return False
        head, trailing = connection.take_over()
        try:
            async with accept_websocket(
                connection.stream,
                head,
                trailing,
                max_message_size=self._settings.max_payload,
                close_timeout=self._settings.close_timeout,
            ) as websocket:
                await engine.serve_websocket_untrusted(ticket, websocket)
        finally:
            engine.withdraw(ticket)
        await self._linger(connection.stream)
        return False


def _preflight(request: Request) -> Response:
    """The answer to any OPTIONS request."""
    headers = [
        ("Access-Control-Allow-Methods", ALLOWED_METHODS),
        ("Vary", "Access-Control-Request-Headers"),
        ("Content-Length", "0"),
    ]
    wanted = request.headers.get("access-control-request-headers", "")
    if wanted and wanted.isascii():  # names of headers are
        headers.append(("Access-Control-Allow-Headers", wanted))
    return Response(204, headers)


def _peer_address(stream: trio.abc.Stream) -> str:
    if isinstance(stream, trio.SocketStream):
        try:
            return str(stream.socket.getpeername()[0])
        except OSError:
            pass
    return "unknown"

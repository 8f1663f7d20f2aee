"""Socket.IO on one Engine.IO session: the sockets in it, at most one in each namespace at a time.

Packets find their socket by namespace. Where there never was one, or the application is still being asked,
only CONNECT may come; anything else ends the session, as with the original server. What still comes for a
socket that has ended was sent before the client knew, and is ignored.

The code that takes packets never waits: each socket has a bounded queue and one task, which asks the
application, hands over the events in order and says goodbye. A goodbye is owed exactly when
:meth:`Application.connect` returned. A session without any connected socket is closed after the connect
time-out.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog
import trio

from sfu.signaling.application import Ack, Application, ConnectionRefused, Handshake
from sfu.signaling.engineio.codec import frame_size
from sfu.signaling.engineio.server import MakeHandler
from sfu.signaling.engineio.session import CloseReason, Session
from sfu.signaling.http import Request
from sfu.signaling.settings import SignalingSettings
from sfu.signaling.socketio import codec
from sfu.signaling.socketio.codec import Connect, ConnectError, Disconnect, Event, SocketIoError
from sfu.signaling.socketio.socket import EventAck, ServerSocket, State

log = structlog.get_logger(__name__)

MAX_UNCONNECTED_MESSAGE = 65_536
"""Bytes of a message from a client without socket: a CONNECT with a token. Strangers make us little work."""

INVALID_NAMESPACE = "Invalid namespace"
INTERNAL_ERROR = "internal error"

HANDLER_FAILED = "error"
"""Acknowledges an event whose handler raised."""

UNUSABLE_DATA = "invalid"
"""Acknowledges an event whose data we cannot hold."""


def socketio_handler(applications: Mapping[str, Application], settings: SignalingSettings) -> MakeHandler:
    """What makes an Engine.IO server speak Socket.IO.

    Args:
        applications: by namespace.
        settings: limits and times.

    Raises:
        ValueError: a namespace that no client could name.
    """
    for namespace in applications:
        codec.check_namespace(namespace)

    def make_connection(session: Session, request: Request) -> Connection:
        return Connection(session, applications, request, settings)

    return make_connection


class Connection:
    """See the module; implements :class:`sfu.signaling.engineio.session.SessionHandler`."""

    def __init__(
        self,
        session: Session,
        applications: Mapping[str, Application],
        request: Request,
        settings: SignalingSettings,
    ) -> None:
        self._session = session
        self._applications = applications
        self._request = request
        self._settings = settings
        self._decoder = codec.Decoder(max_attachment_bytes=settings.max_payload)
        self._sockets: dict[str, ServerSocket] = {}
        """By namespace, the last socket, which may have ended."""
        self._serving: set[ServerSocket] = set()
        """Sockets with a task, some of which may have ended."""
        self._closed = False
        self._changed = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery | None = None
        self._received = 0

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Own the sockets' tasks, and wait for a client that does not connect."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            deadline = trio.current_time() + self._settings.connect_timeout
            while not self._closed:
                if self._has_connected_socket():
                    await self._changed.park()
                    deadline = trio.current_time() + self._settings.connect_timeout
                else:
                    with trio.move_on_at(deadline) as scope:
                        await self._changed.park()
                    if scope.cancelled_caught:
                        self._session.close(CloseReason.FORCED_CLOSE)

    def closed(self, reason: CloseReason) -> None:
        """The session has ended."""
        self._closed = True
        for socket in self._serving:
            # Whoever was not let in yet is not waited for; nor is anyone at shutdown.
            hurry = socket.state is State.CONNECTING or reason is CloseReason.SHUTTING_DOWN
            socket.end(reason, self._settings.drain_timeout)
            if hurry:
                socket.scope.cancel()
        self._changed.unpark_all()

    def _has_connected_socket(self) -> bool:
        return any(socket.connected for socket in self._sockets.values())

    # --- packets ----------------------------------------------------------------------------------

    def message(self, data: str | bytes) -> None:
        """Take one message of the session."""
        size = frame_size(data)
        if size > MAX_UNCONNECTED_MESSAGE and not self._has_connected_socket():
            self._session.close(CloseReason.PARSE_ERROR)
            return
        self._received += size
        try:
            packet = self._decoder.receive_untrusted(data)
        except SocketIoError as error:
            self._received = 0
            socket = self._sockets.get(error.namespace)
            if error.event_only and socket is not None and socket.state is not State.CONNECTING:
                socket.acknowledge(error.ack_id, UNUSABLE_DATA)
            else:
                log.info("closing a connection", error=str(error))
                self._session.close(CloseReason.PARSE_ERROR)
            return
        if packet is None:
            return
        size, self._received = self._received, 0
        if isinstance(packet, Connect):
            self._connect(packet)
        elif isinstance(packet, ConnectError):
            self._session.close(CloseReason.PARSE_ERROR)
        else:
            self._deliver(packet, size)

    def _deliver(self, packet: Event | codec.Ack | Disconnect, size: int) -> None:
        """Hand a packet to its socket. ``size``: bytes it came in."""
        socket = self._sockets.get(packet.namespace)
        if socket is None or socket.state is State.CONNECTING:
            self._session.close(CloseReason.FORCED_CLOSE)
        elif socket.state is State.ENDED:
            pass  # sent before the client knew
        elif isinstance(packet, Event):
            if not socket.enqueue(packet, size):
                log.warning("closing a connection", error="too many events wait for their handler")
                self._session.close(CloseReason.FORCED_CLOSE)
        elif isinstance(packet, Disconnect):
            socket.end(CloseReason.CLIENT_DISCONNECT, self._settings.drain_timeout)
        else:
            socket.acknowledged(packet)

    def _connect(self, packet: Connect) -> None:
        application = self._applications.get(packet.namespace)
        if application is None:
            refusal = codec.encode(ConnectError({"message": INVALID_NAMESPACE}, packet.namespace))
            self._session.send(refusal.frames, refusal.size)
            return
        previous = self._sockets.get(packet.namespace)
        if previous is not None and previous.state is not State.ENDED:
            self._session.close(CloseReason.FORCED_CLOSE)
            return
        handshake = Handshake(packet.data, self._request.query, self._request.headers, self._request.remote)
        socket = ServerSocket(
            self._session, packet.namespace, handshake, self._settings, self._changed.unpark_all
        )
        self._sockets[packet.namespace] = socket
        self._serving.add(socket)
        assert self._nursery is not None
        self._nursery.start_soon(self._serve, socket, application, previous)

    # --- one socket -------------------------------------------------------------------------------

    async def _serve(
        self, socket: ServerSocket, application: Application, previous: ServerSocket | None
    ) -> None:
        let_in = False
        try:
            with socket.scope:
                if previous is not None:
                    await previous.gone.wait()
                if (refusal := await self._ask(socket, application)) is None:
                    let_in = True
                    await self._hand_over(socket, application)
                else:
                    socket.refuse(refusal)
        finally:
            try:
                if let_in:
                    await self._say_goodbye(socket, application)
            finally:
                self._serving.discard(socket)
                socket.gone.set()

    async def _ask(self, socket: ServerSocket, application: Application) -> str | None:
        """Ask the application to let the client in. None if it did; a goodbye is owed then. Otherwise the
        refusal."""
        try:
            await application.connect(socket)
        except ConnectionRefused as refused:
            return str(refused)
        except Exception:
            log.exception("connect handler failed")
            return INTERNAL_ERROR
        return None

    async def _hand_over(self, socket: ServerSocket, application: Application) -> None:
        if socket.state is State.CONNECTING:
            socket.welcome()
        while (event := await socket.next_event()) is not None:
            ack: Ack = EventAck(socket, event.ack_id)
            try:
                await application.event(socket, event.name, event.args, ack)
            except Exception:
                log.exception("event handler failed", event_name=event.name[:64])
                ack(HANDLER_FAILED)

    async def _say_goodbye(self, socket: ServerSocket, application: Application) -> None:
        socket.end(CloseReason.FORCED_CLOSE, 0.0)
        reason = socket.reason
        assert reason is not None
        # Nothing but the shutdown's own time limit can cancel this earlier.
        with trio.move_on_after(self._settings.disconnect_timeout) as scope:
            try:
                await application.disconnect(socket, reason)
            except Exception:
                log.exception("disconnect handler failed")
        if scope.cancelled_caught:
            log.warning("disconnect handler took too long")

"""Socket.IO on one Engine.IO session: namespace ``/`` and the socket in it.

A session has at most one socket at a time; after leaving the namespace a client may connect again.

* WAITING: no socket. Only CONNECT may come, and must within the connect time-out.
* CONNECTING: the application is being asked, which may take seconds. Nothing may come meanwhile.
* CONNECTED: events are queued for the socket's own task, acknowledgements ignored.
* CLOSED: the session has ended.

The code that takes packets never waits: each socket has a bounded queue and one task, which asks the
application, hands over the events in order and says goodbye. A goodbye is owed exactly when
:meth:`Application.connect` returned.
"""

from __future__ import annotations

import enum
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
import trio

from sfu.signaling.application import Ack, Application, ConnectionRefused, EncodedEvent, Handshake
from sfu.signaling.engineio.codec import frame_size
from sfu.signaling.engineio.session import CloseReason, Session
from sfu.signaling.http import Request
from sfu.signaling.settings import SignalingSettings
from sfu.signaling.socketio import codec
from sfu.signaling.socketio.codec import Connect, ConnectError, Disconnect, Encoded, Event, SocketIoError

log = structlog.get_logger(__name__)

SOCKET_ID_BYTES = 15
"""Random bytes in a socket id: 20 characters of URL-safe base64."""

MAX_EARLY_EVENTS = 256
"""Events that the application may emit to a socket that it has not let in yet."""

MAX_UNCONNECTED_MESSAGE = 65_536
"""Bytes of a message from a client without socket: a CONNECT with a token. Strangers make us little work."""

INVALID_NAMESPACE: Mapping[str, str] = {"message": "Invalid namespace"}
INTERNAL_ERROR: Mapping[str, str] = {"message": "internal error"}

HANDLER_FAILED = "error"
"""Acknowledges an event whose handler raised."""

UNUSABLE_DATA = "invalid"
"""Acknowledges an event whose data we cannot hold."""


class State(enum.Enum):
    """See the module."""

    WAITING = enum.auto()
    CONNECTING = enum.auto()
    CONNECTED = enum.auto()
    CLOSED = enum.auto()


@dataclass(frozen=True, slots=True)
class _Queued:
    """An event that waits for the socket's task."""

    event: Event
    size: int


class ServerSocket:
    """The application's view of one client; implements :class:`sfu.signaling.application.Socket`."""

    def __init__(
        self,
        session: Session,
        handshake: Handshake,
        settings: SignalingSettings,
        on_end: Callable[[ServerSocket], None],
    ) -> None:
        """
        Args:
            session: what carries it.
            handshake: for the application.
            settings: limits and times.
            on_end: called once, when the socket has ended.
        """
        self.id = secrets.token_urlsafe(SOCKET_ID_BYTES)
        self.handshake = handshake
        self.gone = trio.Event()
        """Everything about this socket is over."""
        self.scope = trio.CancelScope()
        """Around what the application does for this socket."""
        self.reason: CloseReason | None = None
        """Why it ended; None while it has not."""
        self._session = session
        self._settings = settings
        self._on_end = on_end
        self._connected = False
        self._dismissed = False
        self._early: list[Encoded] = []
        self._queue: deque[_Queued] = deque()
        self._queued_bytes = 0
        self._queue_changed = trio.lowlevel.ParkingLot()

    @property
    def connected(self) -> bool:
        """Whether events still reach the client."""
        return self._connected

    @property
    def last_seen(self) -> float:
        """See :class:`sfu.signaling.application.Socket`."""
        return self._session.last_seen

    # --- for the application ----------------------------------------------------------------------

    def emit(self, event: str, *args: object) -> None:
        """Queue an event. Raises only what :func:`codec.encode_event` raises: the caller's own mistakes."""
        self.emit_encoded(codec.encode_event(event, *args))

    def emit_encoded(self, packet: EncodedEvent) -> None:
        """Queue an event made by :func:`codec.encode_event`."""
        assert isinstance(packet, Encoded)
        if self._connected:
            self.send(packet)
        elif self.reason is None:
            if len(self._early) < MAX_EARLY_EVENTS:
                self._early.append(packet)
            else:
                self._session.close(CloseReason.TRANSPORT_ERROR)

    def disconnect(self) -> None:
        """Leave the namespace from this side. Events still queued are forgotten.

        A client that is not let in yet is let in first, if it ever is.
        """
        self._dismissed = True
        if self._connected:
            self.send(codec.encode(Disconnect()))
            self._queue.clear()
            self.end(CloseReason.SERVER_DISCONNECT, self._settings.drain_timeout)

    # --- for the connection -----------------------------------------------------------------------

    def send(self, packet: Encoded) -> None:
        """Queue any packet."""
        self._session.send(packet.frames, packet.size)

    def welcome(self) -> None:
        """The application let the client in: say so, then send what was emitted early."""
        self._connected = True
        self.send(codec.encode(Connect(data={"sid": self.id})))
        for packet in self._early:
            self.send(packet)
        self._early.clear()
        if self._dismissed:
            self.disconnect()

    def enqueue(self, event: Event, size: int) -> bool:
        """Queue an event for the socket's task; False if that would exceed a limit."""
        if (
            len(self._queue) >= self._settings.max_pending_events
            or self._queued_bytes + size > self._settings.max_pending_bytes
        ):
            return False
        self._queue.append(_Queued(event, size))
        self._queued_bytes += size
        self._queue_changed.unpark_all()
        return True

    async def next_event(self) -> Event | None:
        """The next event; None when the socket has ended and none is left."""
        while not self._queue:
            if self.reason is not None:
                return None
            await self._queue_changed.park()
        await trio.lowlevel.checkpoint()
        if not self._queue:
            return None
        queued = self._queue.popleft()
        self._queued_bytes -= queued.size
        return queued.event

    def end(self, reason: CloseReason, patience: float) -> None:
        """The socket has ended; what the application does for it may take ``patience`` seconds more."""
        if self.reason is not None:
            return
        self.reason = reason
        self._connected = False
        self._early.clear()
        self.scope.deadline = trio.current_time() + patience
        self._queue_changed.unpark_all()
        self._on_end(self)

    def acknowledge(self, ack_id: int | None, *args: object) -> None:
        """Answer an event, if that is wanted and the socket is still there."""
        if ack_id is not None and self._connected:
            self.send(codec.encode(codec.Ack(ack_id, args)))


class EventAck:
    """Answers one event once; implements :class:`sfu.signaling.application.Ack`."""

    __slots__ = ("_ack_id", "_socket")

    def __init__(self, socket: ServerSocket, ack_id: int | None) -> None:
        self._socket = socket
        self._ack_id = ack_id

    def __call__(self, *args: object) -> None:
        """Answer. A second call does nothing."""
        ack_id, self._ack_id = self._ack_id, None
        self._socket.acknowledge(ack_id, *args)


class Connection:
    """See the module; implements :class:`sfu.signaling.engineio.session.SessionHandler`."""

    def __init__(
        self, session: Session, application: Application, request: Request, settings: SignalingSettings
    ) -> None:
        self._session = session
        self._application = application
        self._request = request
        self._settings = settings
        self._decoder = codec.Decoder(max_attachment_bytes=settings.max_payload)
        self._state = State.WAITING
        self._socket: ServerSocket | None = None
        self._previous: ServerSocket | None = None
        self._state_changed = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery | None = None
        self._received = 0

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Own the sockets' tasks, and wait for a client that does not connect."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            deadline = trio.current_time() + self._settings.connect_timeout
            while self._state is not State.CLOSED:
                if self._state is State.CONNECTED:
                    await self._state_changed.park()
                    deadline = trio.current_time() + self._settings.connect_timeout
                else:
                    with trio.move_on_at(deadline) as scope:
                        await self._state_changed.park()
                    if scope.cancelled_caught:
                        self._session.close(CloseReason.FORCED_CLOSE)

    def closed(self, reason: CloseReason) -> None:
        """The session has ended."""
        state = self._state
        self._set_state(State.CLOSED)
        # Whoever was not let in yet is not waited for; nor is anyone at shutdown.
        hurry = state is State.CONNECTING or reason is CloseReason.SHUTTING_DOWN
        for socket in (self._previous, self._socket):
            if socket is not None:
                socket.end(reason, self._settings.drain_timeout)
                if hurry:
                    socket.scope.cancel()

    def _ended(self, socket: ServerSocket) -> None:
        if self._socket is socket and self._state is not State.CLOSED:
            self._set_state(State.WAITING)

    def _set_state(self, state: State) -> None:
        self._state = state
        self._state_changed.unpark_all()

    # --- packets ----------------------------------------------------------------------------------

    def message(self, data: str | bytes) -> None:
        """Take one message of the session."""
        size = frame_size(data)
        if size > MAX_UNCONNECTED_MESSAGE and self._state is not State.CONNECTED:
            self._session.close(CloseReason.PARSE_ERROR)
            return
        self._received += size
        try:
            packet = self._decoder.receive_untrusted(data)
        except SocketIoError as error:
            self._received = 0
            if error.event_only and self._state is State.CONNECTED and self._socket is not None:
                self._socket.acknowledge(error.ack_id, UNUSABLE_DATA)
            else:
                log.info("closing a connection", error=str(error))
                self._session.close(CloseReason.PARSE_ERROR)
            return
        if packet is None:
            return
        size, self._received = self._received, 0
        if isinstance(packet, Connect):
            self._connect(packet)
        elif self._socket is not None and self._state is State.WAITING:
            pass  # sent before the client knew that its socket had ended
        elif self._socket is None or self._state is not State.CONNECTED or packet.namespace != "/":
            self._session.close(CloseReason.FORCED_CLOSE)
        elif isinstance(packet, Event):
            if not self._socket.enqueue(packet, size):
                log.warning("closing a connection", error="too many events wait for their handler")
                self._session.close(CloseReason.FORCED_CLOSE)
        elif isinstance(packet, Disconnect):
            self._socket.end(CloseReason.CLIENT_DISCONNECT, self._settings.drain_timeout)
        elif isinstance(packet, ConnectError):
            self._session.close(CloseReason.PARSE_ERROR)

    def _connect(self, packet: Connect) -> None:
        if packet.namespace != "/":
            refusal = codec.encode(ConnectError(INVALID_NAMESPACE, packet.namespace))
            self._session.send(refusal.frames, refusal.size)
            return
        if self._state is not State.WAITING:
            self._session.close(CloseReason.FORCED_CLOSE)
            return
        handshake = Handshake(packet.data, self._request.query, self._request.headers, self._request.remote)
        self._previous = self._socket
        self._socket = ServerSocket(self._session, handshake, self._settings, self._ended)
        self._set_state(State.CONNECTING)
        assert self._nursery is not None
        self._nursery.start_soon(self._serve, self._socket, self._previous)

    # --- one socket -------------------------------------------------------------------------------

    async def _serve(self, socket: ServerSocket, previous: ServerSocket | None) -> None:
        let_in = False
        try:
            with socket.scope:
                if previous is not None:
                    await previous.gone.wait()
                if (refusal := await self._ask(socket)) is None:
                    let_in = True
                    await self._hand_over(socket)
                else:
                    if socket.reason is None:
                        socket.send(codec.encode(ConnectError(refusal)))
                    socket.end(CloseReason.SERVER_DISCONNECT, 0.0)
        finally:
            try:
                if let_in:
                    await self._say_goodbye(socket)
            finally:
                socket.gone.set()

    async def _ask(self, socket: ServerSocket) -> Mapping[str, str] | None:
        """Ask the application to let the client in. None if it did; a goodbye is owed then. Otherwise the
        refusal."""
        try:
            await self._application.connect(socket)
        except ConnectionRefused as refused:
            return {"message": str(refused)}
        except Exception:
            log.exception("connect handler failed")
            return INTERNAL_ERROR
        return None

    async def _hand_over(self, socket: ServerSocket) -> None:
        if socket.reason is None:
            self._set_state(State.CONNECTED)
            socket.welcome()
        while (event := await socket.next_event()) is not None:
            ack: Ack = EventAck(socket, event.ack_id)
            try:
                await self._application.event(socket, event.name, event.args, ack)
            except Exception:
                log.exception("event handler failed", event_name=event.name[:64])
                ack(HANDLER_FAILED)

    async def _say_goodbye(self, socket: ServerSocket) -> None:
        socket.end(CloseReason.FORCED_CLOSE, 0.0)
        reason = socket.reason
        assert reason is not None
        # Nothing but the shutdown's own time limit can cancel this earlier.
        with trio.move_on_after(self._settings.disconnect_timeout) as scope:
            try:
                await self._application.disconnect(socket, reason)
            except Exception:
                log.exception("disconnect handler failed")
        if scope.cancelled_caught:
            log.warning("disconnect handler took too long")

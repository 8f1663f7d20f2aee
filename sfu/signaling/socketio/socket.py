"""One client in one namespace, as the application and the connection see it.

* CONNECTING: the application is being asked, which may take seconds. Nothing may come meanwhile; what the
  application emits waits.
* CONNECTED: events are queued for the socket's own task, acknowledgements handed to whoever waits for them.
* ENDED: either side left, or the session ended. Nothing leaves this state; a client that connects again gets
  another socket.
"""

from __future__ import annotations

import enum
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio

from sfu.signaling.application import AckTimeout, EncodedEvent, Handshake, SocketGone
from sfu.signaling.engineio.session import CloseReason, Session
from sfu.signaling.settings import SignalingSettings
from sfu.signaling.socketio import codec
from sfu.signaling.socketio.calls import Calls
from sfu.signaling.socketio.codec import Ack, Connect, ConnectError, Disconnect, Encoded, Event

SOCKET_ID_BYTES = 15
"""Random bytes in a socket id: 20 characters of URL-safe base64."""

MAX_EARLY_EVENTS = 256
"""Events that the application may emit to a socket that it has not let in yet."""


class State(enum.Enum):
    """See the module."""

    CONNECTING = enum.auto()
    CONNECTED = enum.auto()
    ENDED = enum.auto()


@dataclass(frozen=True, slots=True)
class _Queued:
    """An event that waits for the socket's task."""

    event: Event
    size: int


class ServerSocket:
    """See the module; implements :class:`sfu.signaling.application.Socket`."""

    def __init__(
        self,
        session: Session,
        namespace: str,
        handshake: Handshake,
        settings: SignalingSettings,
        on_change: Callable[[], object],
    ) -> None:
        """
        Args:
            session: what carries it.
            namespace: where it is.
            handshake: for the application.
            settings: limits and times.
            on_change: called when its state has changed. Must not block or raise.
        """
        self.id = secrets.token_urlsafe(SOCKET_ID_BYTES)
        self.namespace = namespace
        self.handshake = handshake
        self.state = State.CONNECTING
        self.reason: CloseReason | None = None
        """Why it ended; None while it has not."""
        self.gone = trio.Event()
        """Everything about this socket is over."""
        self.scope = trio.CancelScope()
        """Around what the application does for this socket."""
        self._session = session
        self._settings = settings
        self._on_change = on_change
        self._dismissed = False
        self._early: list[Encoded] = []
        self._calls = Calls(max_calls=settings.max_calls)
        self._queue: deque[_Queued] = deque()
        self._queued_bytes = 0
        self._queue_changed = trio.lowlevel.ParkingLot()

    @property
    def connected(self) -> bool:
        """Whether events still reach the client."""
        return self.state is State.CONNECTED

    @property
    def last_seen(self) -> float:
        """See :class:`sfu.signaling.application.Socket`."""
        return self._session.last_seen

    async def is_alive(self, within: float) -> bool:
        """See :class:`sfu.signaling.application.Socket`."""
        return await self._session.is_alive(within)

    # --- for the application ----------------------------------------------------------------------

    def emit(self, event: str, *args: object) -> None:
        """Queue an event. Raises only what :func:`codec.encode_event` raises: the caller's own mistakes."""
        self._emit(codec.encode_event(event, *args, namespace=self.namespace))

    def emit_encoded(self, packet: EncodedEvent) -> None:
        """See :class:`sfu.signaling.application.Socket`."""
        assert isinstance(packet, Encoded)
        if packet.namespace != self.namespace:
            raise ValueError(f"an event for {packet.namespace} in {self.namespace}")
        self._emit(packet)

    def _emit(self, packet: Encoded) -> None:
        if self.state is State.CONNECTED:
            self.send(packet)
        elif self.state is State.CONNECTING:
            if len(self._early) < MAX_EARLY_EVENTS:
                self._early.append(packet)
            else:
                self._session.close(CloseReason.TRANSPORT_ERROR)

    async def emit_with_ack(self, event: str, *args: object, timeout: float) -> list[Any]:  # noqa: ASYNC109
        """See :class:`sfu.signaling.application.Socket`."""
        with self._calls.open() as call:
            self._emit(codec.encode(Event(event, args, call.ack_id, self.namespace)))
            with trio.move_on_after(timeout):
                await call.over.wait()
        if call.args is not None:
            return call.args
        if self.state is State.ENDED:
            raise SocketGone(f"socket ended before it acknowledged {event!r}")
        raise AckTimeout(f"{event!r} was not acknowledged within {timeout} s")

    def disconnect(self) -> None:
        """Leave the namespace from this side. Events still queued are forgotten.

        A client that is not let in yet is let in first, if it ever is.
        """
        self._dismissed = True
        if self.state is State.CONNECTED:
            self.send(codec.encode(Disconnect(self.namespace)))
            self._queue.clear()
            self._queued_bytes = 0
            self.end(CloseReason.SERVER_DISCONNECT, self._settings.drain_timeout)

    # --- for the connection -----------------------------------------------------------------------

    def send(self, packet: Encoded) -> None:
        """Queue any packet."""
        self._session.send(packet.frames, packet.size)

    def welcome(self) -> None:
        """The application let the client in: say so, then send what was emitted early."""
        self.state = State.CONNECTED
        self.send(codec.encode(Connect(self.namespace, {"sid": self.id})))
        for packet in self._early:
            self.send(packet)
        self._early.clear()
        self._on_change()
        if self._dismissed:
            self.disconnect()

    def refuse(self, message: str) -> None:
        """The application did not let the client in: say so, unless it has gone anyway."""
        if self.state is State.CONNECTING:
            self.send(codec.encode(ConnectError({"message": message}, self.namespace)))
        self.end(CloseReason.SERVER_DISCONNECT, 0.0)

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
            if self.state is State.ENDED:
                return None
            await self._queue_changed.park()
        await trio.lowlevel.checkpoint()
        if not self._queue:
            return None
        queued = self._queue.popleft()
        self._queued_bytes -= queued.size
        return queued.event

    def acknowledged(self, ack: Ack) -> None:
        """The client acknowledged an event."""
        self._calls.answer(ack.ack_id, list(ack.args))

    def acknowledge(self, ack_id: int | None, *args: object) -> None:
        """Answer an event, if that is wanted and the socket is still there."""
        if ack_id is not None and self.state is State.CONNECTED:
            self.send(codec.encode(Ack(ack_id, args, self.namespace)))

    def end(self, reason: CloseReason, patience: float) -> None:
        """The socket has ended; what the application does for it may take ``patience`` seconds more."""
        if self.state is State.ENDED:
            return
        self.state = State.ENDED
        self.reason = reason
        self._early.clear()
        self._calls.end()
        self.scope.deadline = trio.current_time() + patience
        self._queue_changed.unpark_all()
        self._on_change()


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

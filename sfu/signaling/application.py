"""What a Socket.IO server asks of the application on top of it, and what it offers that application.

The transport layer (Engine.IO, Socket.IO, HTTP) knows nothing of rooms; the application knows nothing of
packets. Each socket's events are handed over one at a time, in the order in which they arrived; different
sockets run concurrently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class ConnectionRefused(Exception):
    """Raised by :meth:`Application.connect`: the client gets CONNECT_ERROR ``{"message": str(error)}``."""


class NoAnswer(Exception):
    """Raised by :meth:`Socket.emit_with_ack`: the client's acknowledgement will not come."""


class AckTimeout(NoAnswer):
    """It has not come in time."""


class SocketGone(NoAnswer):
    """The socket has ended."""


class TooManyCalls(NoAnswer):
    """Too many acknowledgements of this client are waited for; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """How a socket came in."""

    auth: Any
    """Payload of the CONNECT packet, decoded; None if it had none."""
    query: Sequence[tuple[str, str]]
    """Query of the first HTTP request, percent-decoded, in order."""
    headers: Mapping[str, str]
    """Headers of the first HTTP request by lower-case name; repeated ones joined with ``", "``."""
    remote: str
    """Peer address, for logs."""


class Socket(Protocol):
    """One client in one namespace."""

    @property
    def id(self) -> str:
        """20 URL-safe base64 characters, unguessable."""
        ...

    @property
    def namespace(self) -> str:
        """The namespace, ``/`` or like ``/admin``."""
        ...

    @property
    def handshake(self) -> Handshake: ...

    @property
    def connected(self) -> bool: ...

    @property
    def last_seen(self) -> float:
        """``trio.current_time()`` of the last packet of any kind from this client, pongs included."""
        ...

    async def is_alive(self, within: float) -> bool:
        """Ping the client, and say whether anything at all comes from it within so many seconds."""
        ...

    def emit(self, event: str, *args: object) -> None:
        """Queue an event. Never blocks, never fails; a client that does not drain its queue is closed.

        ``bytes`` anywhere in ``args`` travel as binary attachments.
        """
        ...

    def emit_encoded(self, packet: EncodedEvent) -> None:
        """Queue an event that was encoded once for many sockets.

        Raises:
            ValueError: it was encoded for another namespace.
        """
        ...

    async def emit_with_ack(self, event: str, *args: object, timeout: float) -> Sequence[Any]:  # noqa: ASYNC109
        """Queue an event and wait until the client acknowledges it.

        The acknowledgement overtakes events that wait for their handler, so a handler may call its own
        client.

        Args:
            event: name of the event.
            args: what it carries, ``bytes`` included.
            timeout: seconds to wait for the answer, at least 0.

        Returns:
            What the acknowledgement carries, ``bytes`` included.

        Raises:
            AckTimeout: no answer in time; one that comes later is ignored.
            SocketGone: the socket has ended, or ended meanwhile.
            TooManyCalls: too many such calls of this socket are under way.
        """
        ...

    def disconnect(self) -> None:
        """End the socket from the server's side; the client sees ``io server disconnect``."""
        ...


class EncodedEvent(Protocol):
    """An event encoded by ``encode_event(name, *args, namespace="/")``, opaque to the application."""


class Ack(Protocol):
    """Answers one event. Calling it again does nothing. Without an ack id in the packet it does nothing."""

    def __call__(self, *args: object) -> None: ...


class Application(Protocol):
    """The code that the sockets of a namespace talk to."""

    async def connect(self, socket: Socket) -> None:
        """A client asks to connect. Raise :class:`ConnectionRefused` to turn it away."""
        ...

    async def event(self, socket: Socket, name: str, args: Sequence[Any], ack: Ack) -> None:
        """One event. An exception other than cancellation is logged and acked as ``["error"]``."""
        ...

    async def disconnect(self, socket: Socket, reason: str) -> None:
        """A connected socket is gone. Runs even while the server shuts down, shielded and bounded."""
        ...

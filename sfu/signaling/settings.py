"""Every limit and time-out of the signaling transport, in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalingSettings:
    """Times in seconds, sizes in bytes. The defaults are the reference server's where clients can see them.

    Raises:
        ValueError: a time or size that is not positive, a path not of the form ``/…/``, or a prefix that has
            no place in a URL.
    """

    path: str = "/socket.io/"
    """Where Engine.IO lives."""
    sid_prefix: str = ""
    """What Engine.IO session ids begin with, so that a balancer can send all of a session to the node that
    opened it: letters, digits, ``.``, ``_`` and ``-``."""
    ping_interval: float = 25.0
    """From a pong to the next ping."""
    ping_timeout: float = 20.0
    """From a ping, or the last packet after it, to the end of a session that does not answer."""
    max_payload: int = 1_000_000
    """Largest polling payload and WebSocket message taken from a client."""
    connect_timeout: float = 45.0
    """How long a session may be without a connected socket."""
    upgrade_timeout: float = 10.0
    """From a WebSocket's handshake to its upgrade packet."""
    close_timeout: float = 1.0
    """For what is left to send, and the WebSocket closing handshake."""
    max_queued_packets: int = 16_384
    """Packets waiting for one client; one more ends the session."""
    max_queued_bytes: int = 4_194_304
    """The same in bytes."""
    max_pending_events: int = 16_384
    """Events of one socket that wait for its handler; one more ends the session."""
    max_pending_bytes: int = 2_000_000
    """The same in bytes as they came in."""
    max_calls: int = 256
    """Acknowledgements of one socket that the application waits for."""
    drain_timeout: float = 5.0
    """For events that were received before a client left, the one being handled included."""
    disconnect_timeout: float = 5.0
    """For the application to say goodbye to one socket."""
    max_sessions: int = 8_192
    """Engine.IO sessions; further ones are answered 503."""

    max_head: int = 16_384
    """Request line and headers."""
    max_body: int = 102_400
    """Body of a request outside Engine.IO."""
    head_timeout: float = 10.0
    """From the first byte of a request (or the accept) to the end of its head."""
    idle_timeout: float = 60.0
    """From a response to the first byte of the next request."""
    body_timeout: float = 30.0
    """For a request body."""
    send_timeout: float = 60.0
    """For a response."""
    linger_timeout: float = 1.0
    """For a client to take notice before its connection is closed with input unread."""
    max_connections: int = 8_192
    """TCP connections; further ones are closed at once."""
    max_connections_per_remote: int | None = None
    """The same for one peer address other than a trusted proxy. Off by default: behind an unlisted reverse
    proxy all clients share one."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Peers whose ``X-Forwarded-For`` is believed."""
    shutdown_timeout: float = 1.0
    """For clients to be told, connections to end and the application to say goodbye."""

    def __post_init__(self) -> None:
        if not (len(self.path) > 2 and self.path.startswith("/") and self.path.endswith("/")):
            raise ValueError(f"path must look like /socket.io/, not {self.path!r}")
        if not re.fullmatch(r"[\w.-]*", self.sid_prefix, re.ASCII):
            raise ValueError(f"sid_prefix must go into URLs as it is, not {self.sid_prefix!r}")
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, int | float) and value <= 0:
                raise ValueError(f"{name} must be positive, not {value!r}")

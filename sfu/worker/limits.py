"""Limits of what strangers may hold open at a media worker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IceTcpLimits:
    """Each holds for one worker."""

    ice_tcp_connections: int = 2000
    """Open connections; further ones are closed at once."""
    ice_tcp_connections_per_address: int = 512
    """The same from one address; with IPv6 from one /64 network. A browser opens one for each of its two
    transports and each announced address. Raise it where a proxy hides the clients' addresses."""

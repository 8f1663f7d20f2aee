"""What the application needs to know about its node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from sfu.rooms import RoomLimits
from sfu.signaling.layer_policy import LayerPolicy
from sfu.signaling.limits import SignalingLimits

WriteTokenUse: TypeAlias = Literal["off", "room", "connect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSettings:
    """Settings of the rooms application. Times in seconds."""

    public_url: str
    """Where browsers reach this node; compared with the registry's records."""
    node_id: str
    """Which node this is, in the registry's records."""
    ice_servers: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """``RTCIceServer`` objects for browsers; may hold credentials."""
    announced_ip: str | None = None
    """What media candidates announce, as ``/ice`` tells it."""
    allow_takeover: bool = True
    """Whether a user's silent socket may be replaced by another one of the same user."""
    takeover_grace: float = 30.0
    """How long a socket may be silent before that; 0 takes over at once. A healthy link shows a sign of life
    every 25 s, so less than that takes over idle ones."""
    require_write_token: WriteTokenUse = "off"  # noqa: S105 - no password
    """Where a write token is asked for: nowhere, to get into a room, or to connect at all."""
    room_redirect: bool = True
    """Whether who joins a room of another node is sent there; if not, there is no such room."""
    list_own_producers: bool = False
    """Whether lists of producers tell a client its own, as the original server does. None needs them."""
    debug_routes: bool = False
    """Whether ``/debug/*`` answers requests from this machine."""
    limits: SignalingLimits = field(default_factory=SignalingLimits)
    """What one socket, and one address, may ask for."""
    room_limits: RoomLimits = field(default_factory=RoomLimits)
    """How much there may be in rooms."""
    layer_policy: LayerPolicy = field(default_factory=LayerPolicy)
    """What video producers have to offer."""
    registry_refresh: float = 25.0
    """Between two refreshes of this node's records, which RomM forgets after 60 s."""
    shutdown_timeout: float = 1.0
    """For taking this node's records out of the registry at the end."""

    def __post_init__(self) -> None:
        for name in ("registry_refresh", "shutdown_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive")
        if not self.takeover_grace >= 0:
            raise ValueError("takeover_grace must not be negative")

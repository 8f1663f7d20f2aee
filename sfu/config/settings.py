"""The settings of a node: names, aliases, defaults, and what is wrong together (``signaling.md`` 8)."""

from __future__ import annotations

import ipaddress
import re
import secrets
import uuid
from typing import Final, Literal

from pydantic import Field, SecretStr, model_validator

from sfu.config import parse
from sfu.config.cpus import available_cpus
from sfu.config.parse import VIDEO_CODECS, Network
from sfu.config.source import (
    READ_TOKEN_TTL,
    WRITE_TOKEN_TTL,
    LogLevel,
    Port,
    SettingsModel,
    setting,
    signing_key_problems,
    sources_of,
)
from sfu.iceservers import IceServer, ice_servers
from sfu.rooms.limits import RoomLimits
from sfu.signaling.limits import SignalingLimits
from sfu.signaling.settings import SignalingSettings
from sfu.worker.limits import IceTcpLimits

REGISTRY_REFRESH: Final = (5.0, 25.0)
"""Shortest and longest interval in seconds; RomM forgets a room after 60 s."""
PRIVATE_NETWORKS: Final[tuple[Network, ...]] = tuple(
    map(
        ipaddress.ip_network,
        ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    )
)
"""Where a reverse proxy is usually found."""

_TRANSPORT: Final = SignalingSettings()
_URL_SAFE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Settings(SettingsModel):
    """The effective settings of a node."""

    standalone: bool = setting(
        "SFU_STANDALONE",
        parse=parse.off_unless_on,
        flag="--standalone/--no-standalone",
        default=False,
        about="Run without RomM: guests, tokens and registry of our own.",
    )

    # RomM
    romm_api_base_url: str | None = setting(
        *("ROMM_API_BASE_URL", "ROMM_BASE_URL", "ROMM_URL"),
        parse=parse.base_url,
        flag="--romm-url",
        metavar="URL",
        default=None,
        about="RomM's address as this machine sees it; a path prefix is kept.",
    )
    romm_sfu_internal_secret: SecretStr | None = setting(
        "ROMM_SFU_INTERNAL_SECRET",
        parse=parse.secret,
        secret=True,
        default=None,
        about="Secret shared with RomM.",
    )

    # Standalone
    romm_auth_secret_key: SecretStr | None = setting(
        "ROMM_AUTH_SECRET_KEY",
        parse=parse.secret,
        secret=True,
        default_factory=lambda data: SecretStr(secrets.token_hex(32)) if data["standalone"] else None,
        default_text="random, standalone only",
        about="Key that signs tokens (standalone only); tokens survive a restart if it is set.",
    )
    read_token_ttl_seconds: int = setting(
        "SFU_READ_TOKEN_TTL_SECONDS",
        parse=parse.whole,
        **READ_TOKEN_TTL,
        about="Life of read tokens (standalone only).",
    )
    write_token_ttl_seconds: int = setting(
        "SFU_WRITE_TOKEN_TTL_SECONDS",
        parse=parse.whole,
        **WRITE_TOKEN_TTL,
        about="Life of write tokens (standalone only).",
    )
    allowed_origins: tuple[str, ...] = setting(
        "SFU_ALLOWED_ORIGINS",
        parse=parse.origins,
        default=(),
        about="Pages of other hosts that may play here as guests (standalone only), or *.",
    )

    # Server
    http_listen_ip: str = setting(
        "HTTP_LISTEN_IP",
        parse=parse.address,
        flag="--host",
        metavar="ADDRESS",
        default_factory=lambda data: "127.0.0.1" if data["standalone"] else "0.0.0.0",  # noqa: S104
        default_text="0.0.0.0; 127.0.0.1 if standalone",
        about="Address of the signaling port.",
    )
    port: Port = setting(
        "PORT", parse=parse.whole, flag="--port", default=3001, about="Signaling port (HTTP and WebSocket)."
    )
    socket_path: str = setting(
        "SFU_SOCKET_PATH",
        parse=parse.socket_path,
        default=_TRANSPORT.path,
        about="Where Socket.IO lives on that port. Existing clients expect the default.",
    )
    trusted_proxies: tuple[Network, ...] = setting(
        "SFU_TRUSTED_PROXIES",
        parse=parse.networks,
        flag="--trusted-proxy",
        metavar="NETWORK",
        many=True,
        default=PRIVATE_NETWORKS,
        about="Peers whose X-Forwarded-For is believed, for limits per address and for logs; or none.",
    )
    ping_interval_seconds: float = setting(
        "SFU_PING_INTERVAL_SECONDS",
        parse=parse.number,
        default=_TRANSPORT.ping_interval,
        ge=0.1,
        le=300,
        about="From a client's pong to the next ping.",
    )
    ping_timeout_seconds: float = setting(
        "SFU_PING_TIMEOUT_SECONDS",
        parse=parse.number,
        default=_TRANSPORT.ping_timeout,
        ge=0.1,
        le=300,
        about="How long a client may leave a ping unanswered.",
    )
    connect_timeout_seconds: float = setting(
        "SFU_CONNECT_TIMEOUT_SECONDS",
        parse=parse.number,
        default=_TRANSPORT.connect_timeout,
        ge=0.1,
        le=300,
        about="How long a client may be there without having shown a token.",
    )
    max_payload_bytes: int = setting(
        "SFU_MAX_PAYLOAD_BYTES",
        parse=parse.whole,
        default=_TRANSPORT.max_payload,
        ge=1000,
        le=100_000_000,
        about="Longest message taken from a client.",
    )

    # Registry
    public_url: str = setting(
        "PUBLIC_URL",
        flag="--public-url",
        metavar="URL",
        default_factory=lambda data: f"http://localhost:{data['port']}",
        default_text="http://localhost:PORT",
        about="Address of this node for browsers; must differ between nodes.",
    )
    node_id: str = setting(
        "NODE_ID",
        flag="--node-id",
        metavar="NAME",
        default_factory=lambda: str(uuid.uuid4()),
        default_text="random",
        about="Name of this node in the registry; must differ between nodes and outlive restarts.",
    )
    room_registry_ttl_seconds: int = setting(
        "ROOM_REGISTRY_TTL_SECONDS",
        parse=parse.whole,
        default=60,
        ge=1,
        le=86_400,
        about="Rooms are registered anew after half of this, 5 to 25 s.",
    )
    room_redirect: bool = setting(
        "SFU_ROOM_REDIRECT",
        parse=parse.on_unless_off,
        default=True,
        about="Tell who joins a room of another node where that is; off: there is no such room.",
    )

    # WebRTC
    use_webrtc_server: bool = setting(
        "USE_WEBRTC_SERVER",
        parse=parse.on_unless_off,
        default=True,
        about="Accepted for compatibility; ports are always per worker.",
    )
    listen_ip: str = setting(
        "LISTEN_IP",
        parse=parse.address,
        flag="--media-host",
        metavar="ADDRESS",
        default="::",
        about="Address of the media sockets; :: is all of IPv4 and IPv6, 0.0.0.0 all of IPv4.",
    )
    announced_ips: tuple[str, ...] = setting(
        "ANNOUNCED_IP",
        parse=parse.announced,
        flag="--announced-ip",
        metavar="ADDRESS",
        many=True,
        default=(),
        default_text="addresses of this machine",
        about="Addresses or host names for ICE candidates, the preferred one first, separated by commas.",
    )
    webrtc_port: Port = setting(
        "WEBRTC_PORT",
        parse=parse.whole,
        flag="--webrtc-port",
        default=20000,
        about="First media port, UDP and TCP; worker i uses port + i.",
    )
    webrtc_udp_port: Port = setting(
        "WEBRTC_UDP_PORT",
        parse=parse.whole,
        default_factory=lambda data: data["webrtc_port"],
        default_text="WEBRTC_PORT",
        about="First UDP media port.",
    )
    webrtc_tcp_port: Port = setting(
        "WEBRTC_TCP_PORT",
        parse=parse.whole,
        default_factory=lambda data: data["webrtc_port"],
        default_text="WEBRTC_PORT",
        about="First TCP media port.",
    )
    enable_webrtc_tcp: bool = setting(
        "ENABLE_WEBRTC_TCP",
        parse=parse.on_unless_off,
        flag="--webrtc-tcp/--no-webrtc-tcp",
        default=True,
        about="Offer ICE over TCP.",
    )
    video_codecs: tuple[str, ...] = setting(
        "SFU_VIDEO_CODECS",
        parse=parse.codecs,
        flag="--video-codecs",
        metavar="NAMES",
        default=VIDEO_CODECS,
        about="Video codecs in order of preference.",
    )

    # Auth
    require_write_token: Literal["off", "room", "connect"] = setting(
        "SFU_REQUIRE_WRITE_TOKEN",
        parse=parse.write_token,
        flag="--require-write-token",
        default="off",
        about="What takes a write token: nothing (off), opening and joining rooms (room), or to connect.",
    )
    allow_auth_takeover: bool = setting(
        "SFU_ALLOW_AUTH_TAKEOVER",
        parse=parse.on_unless_off,
        default=True,
        about="A user's new connection may take the seat of a silent old one.",
    )
    auth_takeover_grace_seconds: int = setting(
        "SFU_AUTH_TAKEOVER_GRACE_SECONDS",
        parse=parse.grace,
        default=30,
        ge=0,
        about="How long a connection must be silent for that; 0 means at once.",
    )

    # Scaling and policy
    worker_count: int = setting(
        "SFU_WORKER_COUNT",
        parse=parse.workers,
        flag="--workers",
        metavar="N|auto",
        default_factory=available_cpus,
        default_text="one per processor",
        ge=1,
        about="Media worker processes, or auto.",
    )
    fanout_enabled: bool = setting(
        "SFU_FANOUT_ENABLED",
        parse=parse.off_unless_on,
        default=False,
        about="Spread the viewers of large rooms over several workers. No effect yet.",
    )
    fanout_viewer_threshold: int = setting(
        "SFU_FANOUT_VIEWER_THRESHOLD",
        parse=parse.whole,
        default=500,
        ge=1,
        about="Members from which on a room is large. No effect yet.",
    )
    expect_vp9_svc_mode: str | None = setting(
        "SFU_EXPECT_VP9_SVC_MODE",
        parse=parse.upper,
        default=None,
        about="VP9 scalability mode that hosts should send, like L1T2.",
    )
    enforce_vp9_svc_mode: bool = setting(
        "SFU_ENFORCE_VP9_SVC_MODE", parse=parse.off_unless_on, default=False, about="Refuse other modes."
    )
    enforce_2_layer_simulcast: bool = setting(
        "SFU_ENFORCE_2_LAYER_SIMULCAST",
        parse=parse.off_unless_on,
        default=False,
        about="Refuse simulcast with other than two layers.",
    )
    list_own_producers: bool = setting(
        "SFU_LIST_OWN_PRODUCERS",
        parse=parse.off_unless_on,
        default=False,
        about="Tell clients their own producers too when they ask for those of their room.",
    )
    require_binary_data_channel: bool = setting(
        "SFU_REQUIRE_BINARY_DATA_CHANNEL",
        parse=parse.on_unless_off,
        default=True,
        about="Close a data channel that sends text, unless its protocol is json.",
    )

    # Logging and debugging
    log_level: LogLevel = setting(
        "LOG_LEVEL",
        parse=parse.log_level,
        flag="--log-level",
        default="warn",
        about="debug, info, warn, error or silent.",
    )
    debug_stats: bool = setting(
        "SFU_DEBUG_STATS",
        parse=parse.off_unless_on,
        default=False,
        about="Log media statistics every 2 s, at level debug.",
    )
    debug_routes: bool = setting(
        "SFU_DEBUG_ROUTES",
        parse=parse.off_unless_on,
        default=False,
        about=(
            "Serve /debug/ to this machine alone: sockets, rooms and producers. "
            "Not behind a proxy on this machine that keeps client addresses to itself."
        ),
    )

    ice_servers: tuple[IceServer, ...] = Field(
        default_factory=lambda: ice_servers({})[0], description="STUN and TURN servers for browsers."
    )
    room_limits: RoomLimits = Field(default=RoomLimits(), description="Limits of rooms.")
    signaling_limits: SignalingLimits = Field(
        default=SignalingLimits(), description="Limits of a socket and of an address."
    )
    ice_tcp_limits: IceTcpLimits = Field(default=IceTcpLimits(), description="Limits of ICE over TCP.")
    transport_limits: SignalingSettings = Field(
        default=_TRANSPORT, description="Limits of connections; of its fields only those."
    )

    @property
    def announced_ip(self) -> str | None:
        """The one that ``/ice`` reports."""
        return self.announced_ips[0] if self.announced_ips else None

    @property
    def sid_prefix(self) -> str:
        """What session ids begin with, so that a balancer can tell by them whose they are: ``NODE_ID.``

        Empty where no name was given, or none that fits into a URL as it is.
        """
        given = "node_id" in self.model_fields_set and _URL_SAFE.fullmatch(self.node_id)
        return f"{self.node_id}." if given else ""

    @property
    def registry_refresh_seconds(self) -> float:
        """How often rooms are registered anew."""
        shortest, longest = REGISTRY_REFRESH
        return min(max(self.room_registry_ttl_seconds / 2, shortest), longest)

    @model_validator(mode="after")
    def _together(self) -> Settings:
        """What is right one by one may be wrong together."""
        problems = [*self._romm_problems(), *self._port_problems(), *self._size_problems()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _romm_problems(self) -> list[str]:
        key, secret = self.romm_auth_secret_key, self.romm_sfu_internal_secret
        if self.standalone:
            return signing_key_problems(key, secret)
        problems = []
        hint = "or use --standalone to run without RomM"
        if not self.romm_api_base_url:
            problems.append(
                f"ROMM_API_BASE_URL is not set: give RomM's address, like http://romm:8080, {hint}"
            )
        if not secret:
            problems.append(f"ROMM_SFU_INTERNAL_SECRET is not set: give the same one as to RomM, {hint}")
        return problems

    def _port_problems(self) -> list[str]:
        problems = []
        bases = {"WEBRTC_UDP_PORT": self.webrtc_udp_port}
        if self.enable_webrtc_tcp:
            bases["WEBRTC_TCP_PORT"] = self.webrtc_tcp_port
        for name, base in bases.items():
            if base + self.worker_count - 1 > 65535:
                problems.append(
                    f"{name} (or WEBRTC_PORT) is too high for {self.worker_count} workers, "
                    f"which use ports from {base} on: at most {65536 - self.worker_count}"
                )
        tcp = range(self.webrtc_tcp_port, self.webrtc_tcp_port + self.worker_count)
        if self.enable_webrtc_tcp and self.port in tcp:
            problems.append(
                f"PORT {self.port} is one of the TCP media ports {tcp[0]} to {tcp[-1]}: "
                "change PORT or WEBRTC_TCP_PORT"
            )
        return problems

    def _size_problems(self) -> list[str]:
        """A single message of the longest kind must fit the queues, or it would end its session."""
        limits = self.transport_limits
        queues = {
            "SFU_LIMIT_MAX_PENDING_BYTES": limits.max_pending_bytes,
            "SFU_LIMIT_MAX_QUEUED_BYTES": limits.max_queued_bytes,
        }
        return [
            f"{name} must be at least SFU_MAX_PAYLOAD_BYTES, which is {self.max_payload_bytes}"
            for name, value in queues.items()
            if value < self.max_payload_bytes
        ]


SOURCES: Final = sources_of(Settings)
"""By field."""

"""The node process: puts the front door, the rooms, RomM and the media workers together, and takes them down.

Everything runs below one nursery. SIGTERM and Ctrl-C cancel it; what that takes is bounded, so that the
process is gone within two seconds.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog
import trio

from sfu.announced import AddressError, AnnouncedAddresses
from sfu.config import Settings
from sfu.program import CannotStart, open_listeners, run_program
from sfu.romm.client import RommClient
from sfu.romm.http import RommHttp
from sfu.romm.identity import GuestIdentify
from sfu.romm.port import Romm
from sfu.romm.service import RommService
from sfu.romm.store import MemoryStore
from sfu.romm.tokens import Tokens
from sfu.romm_service import romm_mount
from sfu.signaling.app import SfuApplication
from sfu.signaling.app_settings import AppSettings
from sfu.signaling.frontdoor import serve_http
from sfu.signaling.http import Mount, StaticFolder
from sfu.signaling.layer_policy import LayerPolicy
from sfu.signaling.settings import SignalingSettings
from sfu.worker.messages import Configure
from sfu.worker.statslog import log_stats
from sfu.worker.supervisor import MediaWorkers, WorkerStartError, open_media_workers

KEEP_GUESTS_INTERVAL = 600.0
"""Seconds between renewals of connected guests' names; a lease lasts an hour at least."""
PAGE = Path(__file__).parent / "page"
"""The bundled page; built, not part of the repository."""

log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Run a node until it is told to stop. Ends the process with status 1 if it cannot start."""
    run_program("trio-sfu", (AddressError, CannotStart, WorkerStartError), partial(_main, settings))


async def _main(settings: Settings) -> None:
    async with trio.open_nursery() as nursery:
        node = await nursery.start(serve, settings)
        node.announce()


class Node:
    """A running node."""

    def __init__(
        self, settings: Settings, media: MediaWorkers, port: int, announced: tuple[str, ...]
    ) -> None:
        self.settings = settings
        self.media = media
        self.port = port
        """The signaling port in use."""
        self._announced = announced

    def announce(self) -> None:
        """Tell whoever started the daemon where to go, on standard output."""
        settings = self.settings
        host = settings.http_listen_ip
        shown = "localhost" if host in ("127.0.0.1", "::1", "0.0.0.0", "::") else host  # noqa: S104
        ready = [r for r in self.media.ready if r is not None]
        workers = "1 media worker" if len(ready) == 1 else f"{len(ready)} media workers"
        engines = ", ".join(sorted({r.engine for r in ready}))
        protocols = "UDP and TCP" if settings.enable_webrtc_tcp else "UDP"
        ports = ", ".join(str(r.port) for r in ready)
        addresses = ", ".join(self._announced)
        lines = [
            (
                f"trio-sfu: signaling on {host}:{self.port}; {workers} ({engines} engine) "
                f"on {protocols} {ports}, announced as {addresses}"
            )
        ]
        if settings.standalone and PAGE.is_dir():
            lines.append(f"Play at http://{shown}:{self.port}/")
        print("\n".join(lines), flush=True)  # noqa: T201 - this is the program's output


async def serve(settings: Settings, *, task_status: trio.TaskStatus[Node] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve until cancelled.

    Raises:
        AddressError: none of the announced host names has an address.
        CannotStart: the signaling port is not to be had.
        WorkerStartError: a media worker does not start.
    """
    addresses = AnnouncedAddresses(settings.announced_ips, settings.listen_ip, loopback=settings.standalone)
    await addresses.resolve()
    announced = addresses.current
    listeners = await open_listeners(settings.http_listen_ip, settings.port)
    async with (
        _open_romm(settings) as (romm, mounts, guests),
        open_media_workers(worker_configurations(settings, announced)) as media,
        trio.open_nursery() as nursery,
    ):
        application = SfuApplication(app_settings(settings, announced), media, romm)
        await nursery.start(application.run)
        nursery.start_soon(addresses.follow, media.announce)
        if settings.debug_stats:
            nursery.start_soon(log_stats, media)
        if guests is not None:
            nursery.start_soon(_keep_guests, guests, application)
        await nursery.start(
            lambda task_status: serve_http(
                listeners,
                application=application,
                routes=application.routes(),
                mounts=mounts,
                static=StaticFolder(PAGE) if settings.standalone and PAGE.is_dir() else None,
                settings=signaling_settings(settings),
                task_status=task_status,
            )
        )
        port = int(listeners[0].socket.getsockname()[1])
        task_status.started(Node(settings, media, port, announced))
        try:
            await trio.sleep_forever()
        finally:
            application.say_goodbye("server stopping")


async def _keep_guests(guests: GuestIdentify, application: SfuApplication) -> None:
    """Who plays for hours keeps their name, although nothing of theirs comes by the token service."""
    while True:
        await trio.sleep(KEEP_GUESTS_INTERVAL)
        guests.keep(application.connected_names())


def worker_configurations(settings: Settings, announced: tuple[str, ...]) -> list[Configure]:
    """One worker after the other, each on its own port."""
    return [
        Configure(
            listen_ip=settings.listen_ip,
            announced=announced,
            port=settings.webrtc_udp_port + i,
            tcp_port=settings.webrtc_tcp_port + i if settings.enable_webrtc_tcp else None,
            video_codecs=settings.video_codecs,
            ice_tcp_limits=settings.ice_tcp_limits,
            require_binary_data_channel=settings.require_binary_data_channel,
        )
        for i in range(settings.worker_count)
    ]


@asynccontextmanager
async def _open_romm(
    settings: Settings,
) -> AsyncIterator[tuple[Romm, list[Mount], GuestIdentify | None]]:
    """RomM as configured: over HTTP, or our own in this process with its HTTP side and its guests."""
    if not settings.standalone:
        assert settings.romm_api_base_url is not None
        assert settings.romm_sfu_internal_secret is not None
        secret = settings.romm_sfu_internal_secret.get_secret_value()
        async with RommClient(settings.romm_api_base_url, secret) as client:
            yield client, [], None
        return
    assert settings.romm_auth_secret_key is not None
    guests = GuestIdentify(
        token_ttl=settings.read_token_ttl_seconds, allowed_origins=settings.allowed_origins
    )
    service = RommService(
        Tokens(
            settings.romm_auth_secret_key.get_secret_value().encode(),
            read_ttl=settings.read_token_ttl_seconds,
            write_ttl=settings.write_token_ttl_seconds,
        ),
        MemoryStore(),
        guests,
        ice_servers=[server.to_json() for server in settings.ice_servers],
    )
    secret_or_none = settings.romm_sfu_internal_secret
    http = RommHttp(service, secret_or_none.get_secret_value() if secret_or_none is not None else None)
    yield service, [romm_mount(http)], guests


def signaling_settings(settings: Settings) -> SignalingSettings:
    """What the front door and the transport need to know."""
    return replace(
        settings.transport_limits,
        path=settings.socket_path,
        sid_prefix=settings.sid_prefix,
        ping_interval=settings.ping_interval_seconds,
        ping_timeout=settings.ping_timeout_seconds,
        connect_timeout=settings.connect_timeout_seconds,
        max_payload=settings.max_payload_bytes,
        trusted_proxies=settings.trusted_proxies,
    )


def app_settings(settings: Settings, announced: tuple[str, ...]) -> AppSettings:
    """What the rooms application needs to know."""
    return AppSettings(
        public_url=settings.public_url,
        node_id=settings.node_id,
        ice_servers=tuple(server.to_json() for server in settings.ice_servers),
        announced_ip=settings.announced_ip or announced[0],
        allow_takeover=settings.allow_auth_takeover,
        takeover_grace=float(settings.auth_takeover_grace_seconds),
        require_write_token=settings.require_write_token,
        room_redirect=settings.room_redirect,
        list_own_producers=settings.list_own_producers,
        debug_routes=settings.debug_routes,
        limits=settings.signaling_limits,
        room_limits=settings.room_limits,
        layer_policy=LayerPolicy(
            expected_vp9_mode=settings.expect_vp9_svc_mode,
            enforce_vp9_mode=settings.enforce_vp9_svc_mode,
            enforce_two_layers=settings.enforce_2_layer_simulcast,
        ),
        registry_refresh=settings.registry_refresh_seconds,
    )


if sys.platform != "linux":  # pragma: no cover
    raise ImportError("trio-sfu runs on Linux only: it needs wait_readable on UDP sockets and UDP_SEGMENT")

"""``trio-sfu romm``: RomM's netplay API as a service of its own, for installations without RomM.

It mints tokens for users whom a reverse proxy has logged in, checks them for any number of daemons, and keeps
their rooms, in Redis or in memory. With Redis there may be several of it, beside each other or beside RomM.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import trio

from sfu.program import CannotStart, open_listeners, run_program
from sfu.romm.http import PREFIX, RommHttp, RommRequest
from sfu.romm.proxy_identity import IDENTITY_HEADER, ProxyIdentify
from sfu.romm.service import RommService
from sfu.romm.store import MemoryStore, Store, StoreError
from sfu.romm.tokens import READ_TOKEN_TTL, WRITE_TOKEN_TTL, Tokens
from sfu.signaling.frontdoor import serve_http
from sfu.signaling.http import Mount, Request, Response
from sfu.signaling.settings import SignalingSettings

PORT = 3002
"""Where the service listens unless told otherwise: one beside the daemon's."""
SHUTDOWN_TIMEOUT = 1.0
"""Seconds for requests under way once the service was told to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RommServiceSettings:
    """How to run the service."""

    signing_key: str = field(repr=False)
    """``ROMM_AUTH_SECRET_KEY``: signs tokens. At least 32 bytes; the same for all services on one Redis."""
    internal_secret: str | None = field(default=None, repr=False)
    """``ROMM_SFU_INTERNAL_SECRET``: what daemons show. Without it the internal endpoints answer 503."""
    redis_url: str | None = field(default=None, repr=False)
    """``redis://…``, ``rediss://…`` or ``unix://…``; None keeps all in memory, for this process only."""
    allowlist_format: Literal["string", "hash"] = "string"
    """How one-time tokens are listed in Redis: as the newest RomM does, or the first."""
    host: str = "127.0.0.1"
    port: int = PORT
    """0 for any that is free."""
    read_token_ttl: int = READ_TOKEN_TTL
    """Seconds."""
    write_token_ttl: int = WRITE_TOKEN_TTL
    """Seconds."""
    ice_servers: Sequence[Mapping[str, Any]] = ()
    """For browsers, as ``RTCPeerConnection`` takes them."""
    identity_header: str = IDENTITY_HEADER
    """Where a trusted proxy puts the user's name."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Peers whose identity header is believed. With none, nobody can mint."""
    allowed_origins: tuple[str, ...] = ()
    """Pages of other hosts that may mint, as ``https://host[:port]``, or ``*``."""


@dataclass(frozen=True, slots=True)
class RommServer:
    """A running service."""

    port: int
    """The port in use."""


def run(settings: RommServiceSettings) -> None:
    """Run the service until it is told to stop. Ends the process with status 1 if it cannot start."""
    run_program("trio-sfu romm", (CannotStart,), partial(_main, settings))


async def _main(settings: RommServiceSettings) -> None:
    async with trio.open_nursery() as nursery:
        server: RommServer = await nursery.start(serve_romm, settings)
        print(_announcement(settings, server.port), flush=True)  # noqa: T201 - this is the program's output


def _announcement(settings: RommServiceSettings, port: int) -> str:
    store = "memory" if settings.redis_url is None else f"Redis at {_where(settings.redis_url)}"
    if settings.trusted_proxies:
        proxies = ", ".join(map(str, settings.trusted_proxies))
        users = f"users from {settings.identity_header} of {proxies}"
    else:
        users = "no trusted proxy, so nobody gets a token"
    return f"trio-sfu romm: listening on {settings.host}:{port}; everything in {store}; {users}"


def _where(redis_url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(redis_url)
    return parts.path if parts.scheme == "unix" else parts.netloc.rpartition("@")[2] + parts.path


async def serve_romm(
    settings: RommServiceSettings, *, task_status: trio.TaskStatus[RommServer] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; then requests under way get :data:`SHUTDOWN_TIMEOUT` to end.

    Raises:
        CannotStart: a setting is of no use, or the port is not to be had.
    """
    async with _open_store(settings) as store:
        http = RommHttp(_service(settings, store), settings.internal_secret)
        listeners = await open_listeners(settings.host, settings.port)
        async with trio.open_nursery() as nursery:
            await nursery.start(
                lambda task_status: serve_http(
                    listeners,
                    mounts=[romm_mount(http)],
                    # No trusted proxies here: the peer's own address decides whose identity header counts.
                    settings=SignalingSettings(trusted_proxies=(), shutdown_timeout=SHUTDOWN_TIMEOUT),
                    task_status=task_status,
                )
            )
            task_status.started(RommServer(int(listeners[0].socket.getsockname()[1])))


def romm_mount(http: RommHttp) -> Mount:
    """Our RomM side as a part of an HTTP server."""

    async def handle(request: Request) -> Response:
        response = await http.handle(
            RommRequest(
                method=request.method,
                path=unquote(request.path),
                query=request.query,
                headers=request.headers,
                body=request.body,
                remote=request.remote,
            )
        )
        return Response(response.status, response.headers, response.body)

    return Mount(PREFIX, handle)


@asynccontextmanager
async def _open_store(settings: RommServiceSettings) -> AsyncIterator[Store]:
    if settings.redis_url is None:
        yield MemoryStore()
        return
    # Not at the top: it brings asyncio, which has no place in a process without Redis.
    from sfu.romm.redis_store import check_redis_url, open_redis_store

    try:
        check_redis_url(settings.redis_url)
    except ValueError as error:
        raise CannotStart(f"the Redis URL must be {error}") from None
    async with open_redis_store(settings.redis_url, allowlist_format=settings.allowlist_format) as store:
        with suppress(StoreError):  # it is logged, and Redis may come later
            await store.ping()
        yield store


def _service(settings: RommServiceSettings, store: Store) -> RommService:
    try:
        return RommService(
            Tokens(
                settings.signing_key.strip().encode(),
                read_ttl=settings.read_token_ttl,
                write_ttl=settings.write_token_ttl,
            ),
            store,
            ProxyIdentify(
                settings.trusted_proxies,
                header=settings.identity_header,
                allowed_origins=settings.allowed_origins,
            ),
            ice_servers=settings.ice_servers,
        )
    except ValueError as error:
        raise CannotStart(str(error)) from None

"""The HTTP side of the application: ``GET /list`` and ``GET /ice``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from sfu.romm.port import RommUnavailable, TokenRefused, Verified
from sfu.signaling.core import Core
from sfu.signaling.http import HttpError, Request, Response, Route, json_response
from sfu.signaling.identity import is_plausible, request_token

log = structlog.get_logger(__name__)

AuthenticatedHandler = Callable[[Core, Request, Verified], Awaitable[Response]]


def routes(core: Core) -> list[Route]:
    """All routes, each behind a token."""
    return [
        Route("GET", "/list", _authenticated(core, list_rooms)),
        Route("GET", "/ice", _authenticated(core, ice)),
    ]


def _authenticated(
    core: Core, handler: AuthenticatedHandler, *, consume: bool = False
) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        return await handler(core, request, await authenticate(core, request, consume=consume))

    return handle


async def authenticate(core: Core, request: Request, *, consume: bool) -> Verified:
    """Whose request this is; 401 without a good token, 503 if nobody can say."""
    token = request_token(request)
    if token is None or not is_plausible(token):
        raise HttpError(401, "unauthorized")
    try:
        return await core.romm.verify(token, consume=consume)
    except TokenRefused:
        raise HttpError(401, "unauthorized") from None
    except RommUnavailable as error:
        log.warning("token not verified", error=str(error))
        raise HttpError(503, "auth unavailable") from None


async def list_rooms(core: Core, _request: Request, _verified: Verified) -> Response:
    """RomM's list of all nodes' rooms, with this node's own as it knows them itself."""
    try:
        registered = await core.romm.list_rooms()
    except RommUnavailable as error:
        log.warning("room registry not listed", error=str(error))
        registered = {}
    own = core.settings.node_id
    rooms: dict[str, Any] = {
        name: record
        for name, record in registered.items()
        if record.get("nodeId") != own  # our own records may be out of date
    }
    for room in core.rooms:
        if room.player_count:
            rooms[room.name] = {
                "room_name": room.name,
                "current": room.player_count,
                "max": room.settings.max_players,
                "hasPassword": bool(room.settings.password),
                **room.details(),
                "nodeId": own,
                "url": core.settings.public_url,
            }
    return json_response(rooms)


async def ice(core: Core, _request: Request, _verified: Verified) -> Response:
    """STUN and TURN servers, and which node this is."""
    settings = core.settings
    return json_response(
        {
            "iceServers": list(settings.ice_servers),
            "nodeId": settings.node_id,
            "url": settings.public_url,
            "announcedIp": settings.announced_ip,
        }
    )

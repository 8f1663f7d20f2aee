"""The HTTP side of the application (``signaling.md`` 1): who may ask, ``GET /list`` and ``GET /ice``."""

from __future__ import annotations

from typing import Any

import structlog

from sfu.romm.port import RommUnavailable
from sfu.signaling.core import Core
from sfu.signaling.debug_routes import debug_routes
from sfu.signaling.http import Request, Response, Route, json_response
from sfu.signaling.http_rooms import create_room, join_room, leave_room, resolve_room
from sfu.signaling.visitor import Visitor, authenticated

log = structlog.get_logger(__name__)


def routes(core: Core) -> list[Route]:
    """All routes. Those of section 1 are behind a token, which only making a room spends."""
    return [
        Route("GET", "/list", authenticated(core, list_rooms)),
        Route("GET", "/ice", authenticated(core, ice)),
        Route("POST", "/create", authenticated(core, create_room, consume=True)),
        Route("POST", "/join/:room_id", authenticated(core, join_room)),
        Route("POST", "/leave/:room_id", authenticated(core, leave_room)),
        Route("GET", "/resolve", authenticated(core, resolve_room)),
        *(debug_routes(core) if core.settings.debug_routes else []),
    ]


async def list_rooms(core: Core, _request: Request, _visitor: Visitor) -> Response:
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
        if not core.registry.is_own(record.get("nodeId"), record.get("url"))  # those may be out of date
    }
    for room in core.rooms:
        if room.is_listed:
            rooms[room.name] = {**room.http_view(), **room.details()} | {
                "nodeId": own,
                "url": core.settings.public_url,
            }
    return json_response(rooms)


async def ice(core: Core, _request: Request, _visitor: Visitor) -> Response:
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

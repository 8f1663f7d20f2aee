"""``GET /debug/*`` (``signaling.md`` 1.4): who produces what. Without a token, so for this machine only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address
from typing import Final

from sfu.rooms import Room
from sfu.signaling.core import Core
from sfu.signaling.http import Handler, HttpError, Request, Response, Route, json_response

FORWARDING: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Headers of requests that come from elsewhere through a proxy on this machine."""


def debug_routes(core: Core) -> list[Route]:
    """Routes that answer nobody but this machine; to others they do not exist."""

    def local(handler: Callable[[Core, Request], Awaitable[Response]]) -> Handler:
        async def handle(request: Request) -> Response:
            if not is_local(request):
                raise HttpError(404, "not found")
            return await handler(core, request)

        return handle

    return [
        Route("GET", "/debug/all-producers", local(all_producers)),
        Route("GET", "/debug/room-producers", local(room_producers)),
    ]


def is_local(request: Request) -> bool:
    """Whether a request was made on this machine, as far as one can see."""
    try:
        return ip_address(request.remote).is_loopback and not any(
            name in request.headers for name in FORWARDING
        )
    except ValueError:
        return False


async def all_producers(core: Core, _request: Request) -> Response:
    return json_response(
        [
            {"socket": socket_id, "producerId": producer_id}
            for room in core.rooms
            for socket_id, producer_id in _producers(core, room)
        ]
    )


async def room_producers(core: Core, request: Request) -> Response:
    name = (request.query_one("room") or "").strip()
    if not name:
        raise HttpError(400, "missing room query parameter")
    room = core.rooms.get(name)
    if room is None:
        raise HttpError(404, "no such room")
    producers = [{"producerId": producer_id} for _, producer_id in _producers(core, room)]
    return json_response({"room": name, "owner": room.owner, "producers": producers})


def _producers(core: Core, room: Room) -> Iterator[tuple[str, str]]:
    """Socket and id of each audio and video producer in a room."""
    for member in room.members.values():
        for socket_id in member.media_sockets:
            for producer in core.table.producers_of(socket_id, data=False):
                yield socket_id, producer.id

"""Rooms over HTTP (``signaling.md`` 1.4 to 1.7): what clients without a socket can do with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sfu.romm.port import RommUnavailable, RoomTaken
from sfu.rooms import Command, CreateRoom, Refused, ReleaseSeat, ReserveSeat, parse_extra_untrusted
from sfu.rooms.names import Mode, parse_max_players_untrusted, parse_mode_untrusted, parse_password_untrusted
from sfu.signaling.core import Core
from sfu.signaling.http import HttpError, Request, Response, json_response
from sfu.signaling.visitor import Visitor, check_write_token

ROOM_FIELDS: Final = (
    "netplay_mode", "sync_config", "spectator_mode", "game_id", "rom_hash", "romHash", "rom_name",
    "core_type", "coreId", "coreVersion", "system", "platform", "systemType",
)  # fmt: skip
"""What ``POST /create`` may say about the room besides name, size and password."""

STATUS: Final[Mapping[str, int]] = {
    "room already exists": 409,
    "room not found": 404,
    "incorrect password": 403,
    "room is full": 409,
    "invalid": 400,
}
"""How a refusal of the room model is answered; any other is 429, as it is about too much of something."""


async def create_room(core: Core, request: Request, visitor: Visitor) -> Response:
    body = _body(request)
    if not body.get("room_name"):
        raise HttpError(400, "room_name is required")
    command = _create_untrusted(core, visitor, body)
    await check_write_token(core, request, visitor, body.get("token"))
    name = command.room_name
    if core.rooms.get(name) is not None:
        raise HttpError(409, "room already exists")
    try:
        async with core.claim(name, max_players=command.max_players, password=command.password):
            _do(core, command)
            room = core.rooms.http_room(name)
    except RoomTaken:
        raise HttpError(409, "room already exists") from None
    assert room is not None, "it has just been made"
    shown = {key: room[key] for key in ("room_name", "current", "max", "hasPassword")}
    shown["netplay_mode"] = _mode_number(body.get("netplay_mode", 0))
    shown |= {key: room[key] for key in ("sync_config", "spectator_mode")}
    shown |= {key: room[key] for key in ("game_id", "rom_hash", "core_type") if key in body}
    return json_response({"room_id": name, "room": shown})


async def join_room(core: Core, request: Request, visitor: Visitor) -> Response:
    name, body = _room_name(request), _body(request)
    if core.rooms.get(name) is not None:
        await check_write_token(core, request, visitor, body.get("token"))
    _do(core, ReserveSeat(visitor.userid, visitor.name, name, body.get("password")))
    return json_response({"room_id": name, "room": core.rooms.http_room(name)})


async def leave_room(core: Core, request: Request, visitor: Visitor) -> Response:
    _do(core, ReleaseSeat(visitor.userid, _room_name(request)))
    return json_response({"success": True})


async def resolve_room(core: Core, request: Request, _visitor: Visitor) -> Response:
    """Which node has a room."""
    name = (request.query_one("room") or request.query_one("room_name") or "").strip()
    if not name:
        raise HttpError(400, "missing room query parameter")
    try:
        record = None if core.rooms.get(name) is not None else await core.registry.locate(name)
    except RommUnavailable:
        raise HttpError(503, "auth unavailable") from None
    if core.rooms.get(name) is not None:
        settings = core.settings
        return json_response({"room_name": name, "url": settings.public_url, "nodeId": settings.node_id})
    if record is None:
        raise HttpError(404, "not found")
    return json_response({"room_name": record.room_name, "url": record.url, "nodeId": record.node_id})


def _body(request: Request) -> dict[str, Any]:
    body = request.json()
    return body if isinstance(body, dict) else {}


def _room_name(request: Request) -> str:
    return request.path_params["room_id"].strip()


def _create_untrusted(core: Core, visitor: Visitor, body: Mapping[str, Any]) -> CreateRoom:
    """What the body of ``POST /create`` asks for; raises :class:`HttpError` 400."""
    limits = core.settings.room_limits
    try:
        extra = parse_extra_untrusted(
            {key: body[key] for key in ("room_name", *ROOM_FIELDS) if key in body}, limits
        )
        return CreateRoom(
            visitor.userid,
            visitor.name,
            extra.room_name,
            parse_max_players_untrusted(body.get("max_players")),
            parse_password_untrusted(body.get("password"), limits),
            extra.fields,
        )
    except Refused as refusal:
        raise HttpError(400, str(refusal.error)) from None


def _do(core: Core, command: Command) -> None:
    """Have the room model do something; raises :class:`HttpError` if it will not."""
    try:
        core.do_or_refuse(command)
    except Refused as refusal:
        error = str(refusal.error)
        raise HttpError(STATUS.get(error, 429), error) from None


def _mode_number(value: object) -> object:
    """The mode as ``POST /create`` echoes it: a number, the one that was sent if it was one."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return list(Mode).index(parse_mode_untrusted(value))

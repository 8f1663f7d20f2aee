"""Handlers of events about rooms: opening, joining, leaving, seats and lists (``signaling.md`` 3.1)."""

from __future__ import annotations

import trio

from sfu.romm.port import RoomRecord, RoomTaken
from sfu.rooms import (
    ChangeSlot,
    JoinRoom,
    LeaveRoom,
    OpenRoom,
    Refused,
    parse_extra_untrusted,
)
from sfu.rooms.names import parse_max_players_untrusted, parse_password_untrusted
from sfu.rooms.slots import wanted_slot
from sfu.signaling.access import AccessDenied
from sfu.signaling.application import Ack
from sfu.signaling.core import Client, Core
from sfu.signaling.payloads import (
    JoinRoomPayload,
    LeaveRoomPayload,
    OpenRoomPayload,
    RoomPayload,
    UpdatePlayerSlotPayload,
)


async def open_room(core: Core, client: Client, payload: OpenRoomPayload, ack: Ack) -> None:
    limits = core.settings.room_limits
    extra = parse_extra_untrusted(payload.extra, limits)
    max_players = parse_max_players_untrusted(payload.max_players)
    password = parse_password_untrusted(payload.password, limits)
    name, caller = extra.room_name, client.caller
    silent = await core.silent_rival(name, caller)
    core.rooms.check_open(name, caller, core.rival_seen(name, caller, silent), trio.current_time())
    await _check_write_token(core, client, payload.token, name)
    try:
        async with core.claim(name, max_players=max_players, password=password):
            if core.is_here(client):
                seen = core.rival_seen(name, caller, silent)
                core.do(OpenRoom(caller, extra, max_players, password, seen), ack)
    except RoomTaken:
        raise Refused("room exists") from None


async def join_room(core: Core, client: Client, payload: JoinRoomPayload, ack: Ack) -> None:
    extra = parse_extra_untrusted(payload.extra, core.settings.room_limits)
    name, caller = extra.room_name, client.caller
    if core.rooms.get(name) is None:
        record = await core.registry.find(name)
        if core.rooms.get(name) is None:
            _send_elsewhere(core, client, record, ack)
            return
    await _check_write_token(core, client, payload.token, name)
    silent = await core.silent_rival(name, caller)
    if core.is_here(client):
        core.do(JoinRoom(caller, extra, payload.password, core.rival_seen(name, caller, silent)), ack)


def _send_elsewhere(core: Core, client: Client, record: RoomRecord | None, ack: Ack) -> None:
    """Tell where a room is that this node does not have; raises :class:`Refused` ``no such room``."""
    settings = core.settings
    if record is None or not record.url or record.url == settings.public_url or not settings.room_redirect:
        raise Refused("no such room")
    where = {"room_name": record.room_name, "nodeId": record.node_id}
    core.send([client.id], "room-redirect", where | {"url": record.url})
    ack(None, where | {"redirect": record.url})


async def _check_write_token(core: Core, client: Client, token: object, room_name: str) -> None:
    """Where write tokens are required, have one shown by those who connected without and are not in the room.

    Raises :class:`Refused` with what is wrong.
    """
    if core.settings.require_write_token == "off" or client.may_write:  # noqa: S105 - no password
        return
    room = core.rooms.get(room_name)
    if room is not None and client.caller.userid in room.members:
        return
    try:
        await core.access.check_write_token(token, client.caller.name, remote=client.socket.handshake.remote)
    except AccessDenied as denied:
        raise Refused(str(denied)) from None


async def leave_room(core: Core, client: Client, payload: LeaveRoomPayload, ack: Ack) -> None:
    name = payload.room_name.strip() if payload.room_name is not None else None
    core.do(LeaveRoom(client.caller, name), ack)


async def update_player_slot(core: Core, client: Client, payload: UpdatePlayerSlotPayload, ack: Ack) -> None:
    slot = wanted_slot(payload.player_slot)
    core.do(ChangeSlot(client.id, payload.room_name.strip(), slot), ack)


async def request_room_list(core: Core, client: Client, _payload: None, ack: Ack) -> None:
    core.send([client.id], "rooms-updated", core.rooms.listing())
    ack(None)


async def request_room_state(core: Core, client: Client, payload: RoomPayload, ack: Ack) -> None:
    core.send([client.id], "rooms-updated", core.rooms.listing())
    ack(None, core.rooms.state_for(client.id, payload.room_name.strip()))


async def get_open_rooms(core: Core, _client: Client, _payload: None, ack: Ack) -> None:
    ack(None, core.rooms.listing())

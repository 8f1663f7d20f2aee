"""Handlers of events about rooms: opening, joining, leaving, seats and lists."""

from __future__ import annotations

from typing import Any

import msgspec
import trio

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
from sfu.signaling.application import Ack
from sfu.signaling.core import Client, Core
from sfu.signaling.payloads import (
    JoinRoomPayload,
    LeaveRoomPayload,
    OpenRoomPayload,
    UpdatePlayerSlotPayload,
)

MAX_DATA_MESSAGE = 16_384
"""Bytes of a relayed ``data-message`` as JSON, binary parts in base64."""


async def open_room(core: Core, client: Client, payload: OpenRoomPayload, ack: Ack) -> None:
    extra = parse_extra_untrusted(payload.extra)
    max_players = parse_max_players_untrusted(payload.max_players)
    password = parse_password_untrusted(payload.password)
    name, caller = extra.room_name, client.caller
    core.rooms.check_open(name, caller, core.rival_seen(name, caller), trio.current_time())
    if core.rooms.get(name) is None:
        if await core.is_held_elsewhere(name):
            raise Refused("room exists")
        if not core.is_here(client):
            return
    core.do(OpenRoom(caller, extra, max_players, password, core.rival_seen(name, caller)), ack)


async def join_room(core: Core, client: Client, payload: JoinRoomPayload, ack: Ack) -> None:
    extra = parse_extra_untrusted(payload.extra)
    seen = core.rival_seen(extra.room_name, client.caller)
    core.do(JoinRoom(client.caller, extra, payload.password, seen), ack)


async def leave_room(core: Core, client: Client, payload: LeaveRoomPayload, ack: Ack) -> None:
    name = payload.room_name.strip() if payload.room_name is not None else None
    core.do(LeaveRoom(client.id, name), ack)


async def update_player_slot(core: Core, client: Client, payload: UpdatePlayerSlotPayload, ack: Ack) -> None:
    slot = wanted_slot(payload.player_slot)
    core.do(ChangeSlot(client.id, payload.room_name.strip(), slot), ack)


async def request_room_list(core: Core, client: Client, _payload: None, ack: Ack) -> None:
    core.send([client.id], "rooms-updated", core.rooms.listing())
    ack(None)


async def get_open_rooms(core: Core, _client: Client, _payload: None, ack: Ack) -> None:
    ack(None, core.rooms.listing())


async def data_message(core: Core, client: Client, payload: Any, _ack: Ack) -> None:
    """Relay a message to the others in the room; what is too large, or not JSON, is dropped."""
    peers = core.rooms.peers(client.id)
    if not peers:
        return
    try:
        size = len(msgspec.json.encode(payload))
    except (ValueError, RecursionError):
        return
    if size <= MAX_DATA_MESSAGE:
        core.send(peers, "data-message", payload)

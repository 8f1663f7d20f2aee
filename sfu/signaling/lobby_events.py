"""Handlers of events within a room before and during the game: metadata, readiness, start, pause
(``signaling.md`` 3.2 and 3.3). Each is a command to the room model, which has all the rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sfu.rooms import (
    Command,
    JoinInfo,
    LaunchGame,
    PauseHost,
    ReadyAtFrame,
    SetReady,
    StartGame,
    ToggleReady,
    UpdatePlayerMetadata,
    UpdateRoomMetadata,
)
from sfu.signaling.application import Ack
from sfu.signaling.core import Client, Core
from sfu.signaling.payloads import (
    JoinInfoPayload,
    MetadataPayload,
    PausePayload,
    ReadyAtFramePayload,
    RoomPayload,
)


def of_room(
    command: Callable[[str, str], Command],
) -> Callable[[Core, Client, RoomPayload, Ack], Awaitable[None]]:
    """A handler of an event that says no more than which room it is about."""

    async def handle(core: Core, client: Client, payload: RoomPayload, ack: Ack) -> None:
        core.do(command(client.id, payload.room_name.strip()), ack)

    return handle


toggle_ready = of_room(ToggleReady)
player_ready = of_room(lambda socket_id, room_name: SetReady(socket_id, room_name, ready=True))
player_unready = of_room(lambda socket_id, room_name: SetReady(socket_id, room_name, ready=False))
start_game = of_room(StartGame)
launch_game = of_room(LaunchGame)


async def ready_at_frame_1(core: Core, client: Client, payload: ReadyAtFramePayload, ack: Ack) -> None:
    core.do(ReadyAtFrame(client.id, payload.room_name.strip(), payload.frame), ack)


async def update_room_metadata(core: Core, client: Client, payload: MetadataPayload, ack: Ack) -> None:
    core.do(UpdateRoomMetadata(client.id, payload.room_name.strip(), payload.metadata), ack)


async def update_player_metadata(core: Core, client: Client, payload: MetadataPayload, ack: Ack) -> None:
    core.do(UpdatePlayerMetadata(client.id, payload.room_name.strip(), payload.metadata), ack)


async def join_info(core: Core, client: Client, payload: JoinInfoPayload, ack: Ack) -> None:
    command = JoinInfo(
        client.id,
        payload.room_name.strip(),
        payload.rom_hash,
        payload.emulator_id,
        payload.emulator_version,
        payload.netplay_mode,
    )
    core.do(command, ack)


async def host_paused(core: Core, client: Client, payload: PausePayload, ack: Ack) -> None:
    _pause(core, client, payload, ack, paused=True)


async def host_resumed(core: Core, client: Client, payload: PausePayload, ack: Ack) -> None:
    _pause(core, client, payload, ack, paused=False)


def _pause(core: Core, client: Client, payload: PausePayload, ack: Ack, *, paused: bool) -> None:
    name = payload.room_name.strip() if payload.room_name is not None else None
    core.do(PauseHost(client.id, name, paused), ack)

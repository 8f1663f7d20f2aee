"""Every event a client may send: its payload and its handler. Any other name gets no answer at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sfu.signaling import lobby_events, media_events, relay_events, room_events
from sfu.signaling.admission import Kind
from sfu.signaling.application import Ack
from sfu.signaling.core import Client, Core
from sfu.signaling.payloads import (
    ChatPayload,
    ConnectTransportPayload,
    ConsumeDataPayload,
    ConsumePayload,
    CreateRoomPayload,
    CreateTransportPayload,
    JoinInfoPayload,
    JoinRoomPayload,
    LeaveRoomPayload,
    MetadataPayload,
    OpenRoomPayload,
    PausePayload,
    Payload,
    ProduceDataPayload,
    ProducePayload,
    ReadyAtFramePayload,
    RoomPayload,
    TransportPayload,
    UpdatePlayerSlotPayload,
    check_no_surplus_untrusted,
    decode_any_untrusted,
    decode_payload_untrusted,
)

P = TypeVar("P", bound=Payload)


@dataclass(frozen=True, slots=True)
class Event:
    """How one event is handled."""

    run: Callable[[Core, Client, Sequence[Any], Ack], Awaitable[None]]
    """Decodes the arguments and handles them; raises :class:`sfu.rooms.Refused` or
    :class:`sfu.worker.port.MediaError` for what the ack is to say."""
    kind: Kind = Kind.QUESTION
    last_words: bool = False
    """Whether it still counts when its socket is gone by the time of its turn."""


def _typed(
    payload_type: type[P],
    handler: Callable[[Core, Client, P, Ack], Awaitable[None]],
    kind: Kind = Kind.QUESTION,
    *,
    optional: bool = False,
    last_words: bool = False,
) -> Event:
    async def run(core: Core, client: Client, args: Sequence[Any], ack: Ack) -> None:
        await handler(core, client, decode_payload_untrusted(payload_type, args, optional=optional), ack)

    return Event(run, kind, last_words)


def _bare(handler: Callable[[Core, Client, None, Ack], Awaitable[None]], kind: Kind = Kind.QUESTION) -> Event:
    """An event whose payload is ignored."""

    async def run(core: Core, client: Client, args: Sequence[Any], ack: Ack) -> None:
        check_no_surplus_untrusted(args)
        await handler(core, client, None, ack)

    return Event(run, kind)


def _free(handler: Callable[[Core, Client, Any, Ack], Awaitable[None]]) -> Event:
    """An event that carries whatever it likes to somebody else."""

    async def run(core: Core, client: Client, args: Sequence[Any], ack: Ack) -> None:
        await handler(core, client, decode_any_untrusted(args), ack)

    return Event(run, Kind.RELAY, last_words=True)


_PRODUCE_DATA = _typed(ProduceDataPayload, media_events.produce_data, Kind.CHANGE)
_CONSUME_DATA = _typed(ConsumeDataPayload, media_events.consume_data)

EVENTS: Mapping[str, Event] = {
    # Rooms
    "open-room": _typed(OpenRoomPayload, room_events.open_room, Kind.CHANGE),
    "create-room": _typed(CreateRoomPayload, room_events.open_room, Kind.CHANGE),
    "join-room": _typed(JoinRoomPayload, room_events.join_room, Kind.CHANGE),
    "leave-room": _typed(
        LeaveRoomPayload, room_events.leave_room, Kind.CHANGE, optional=True, last_words=True
    ),
    "update-player-slot": _typed(UpdatePlayerSlotPayload, room_events.update_player_slot, Kind.CHANGE),
    "request-room-state": _typed(RoomPayload, room_events.request_room_state, Kind.CHANGE),
    "request-room-list": _bare(room_events.request_room_list, Kind.CHANGE),
    "get-open-rooms": _bare(room_events.get_open_rooms, Kind.CHANGE),
    # Before and during the game
    "update-room-metadata": _typed(MetadataPayload, lobby_events.update_room_metadata, Kind.CHANGE),
    "update-player-metadata": _typed(MetadataPayload, lobby_events.update_player_metadata, Kind.CHANGE),
    "toggle-ready": _typed(RoomPayload, lobby_events.toggle_ready, Kind.CHANGE),
    "player-ready": _typed(RoomPayload, lobby_events.player_ready, Kind.CHANGE),
    "player-unready": _typed(RoomPayload, lobby_events.player_unready, Kind.CHANGE),
    "start-game": _typed(RoomPayload, lobby_events.start_game, Kind.CHANGE),
    "ready-at-frame-1": _typed(ReadyAtFramePayload, lobby_events.ready_at_frame_1, Kind.CHANGE),
    "launch-game": _typed(RoomPayload, lobby_events.launch_game, Kind.CHANGE),
    "join-info": _typed(JoinInfoPayload, lobby_events.join_info, Kind.CHANGE),
    "netplay-host-paused": _typed(PausePayload, lobby_events.host_paused, Kind.CHANGE, optional=True),
    "netplay-host-resumed": _typed(PausePayload, lobby_events.host_resumed, Kind.CHANGE, optional=True),
    # What members say to one another
    "chat-message": _typed(ChatPayload, relay_events.chat_message, Kind.CHAT, last_words=True),
    "data-message": _free(relay_events.data_message),
    "webrtc-signal": _free(relay_events.webrtc_signal),
    # Media
    "sfu-available": _bare(media_events.available),
    "sfu-get-router-rtp-capabilities": _bare(media_events.router_rtp_capabilities),
    "sfu-create-transport": _typed(CreateTransportPayload, media_events.create_transport),
    "sfu-connect-transport": _typed(ConnectTransportPayload, media_events.connect_transport),
    "sfu-restart-ice": _typed(TransportPayload, media_events.restart_ice),
    "sfu-recreate-transports": _bare(media_events.recreate_transports, Kind.CHANGE),
    "sfu-produce": _typed(ProducePayload, media_events.produce, Kind.CHANGE),
    "sfu-consume": _typed(ConsumePayload, media_events.consume),
    "sfu-get-producers": _bare(media_events.get_producers),
    "sfu-get-data-producers": _bare(media_events.get_data_producers),
    "producedata": _PRODUCE_DATA,
    "sfu-produce-data": _PRODUCE_DATA,
    "consumedata": _CONSUME_DATA,
    "sfu-consume-data": _CONSUME_DATA,
}

"""What clients send, typed. Absent optional fields have their defaults, unknown fields are ignored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from sfu.rooms import Refused

MAX_LABEL_BYTES = 256
"""UTF-8 bytes of a data channel's label, and of its protocol."""


class Payload(msgspec.Struct, frozen=True, rename="camel"):
    """Base of all: camelCase on the wire."""


class OpenRoomPayload(Payload, frozen=True):
    extra: Any
    max_players: Any = None
    password: Any = None
    token: Any = None
    """A write token, where one is required and the socket has connected without."""


class CreateRoomPayload(OpenRoomPayload, frozen=True):
    """The same under an older name."""

    max_players: Any = msgspec.field(default=None, name="max_players")


class JoinRoomPayload(Payload, frozen=True):
    extra: Any
    password: Any = None
    token: Any = None


class LeaveRoomPayload(Payload, frozen=True):
    room_name: str | None = None


class RoomPayload(Payload, frozen=True):
    """The room that an event is about, which has to be the sender's."""

    room_name: str


class UpdatePlayerSlotPayload(RoomPayload, frozen=True):
    player_slot: Any = None


class MetadataPayload(RoomPayload, frozen=True):
    metadata: Any = None


class ReadyAtFramePayload(RoomPayload, frozen=True):
    frame: Any = None


class JoinInfoPayload(RoomPayload, frozen=True):
    rom_hash: Any = None
    emulator_id: Any = None
    emulator_version: Any = None
    netplay_mode: Any = None


class PausePayload(Payload, frozen=True):
    room_name: str | None = None


class ChatPayload(Payload, frozen=True):
    message: Any = None


class CreateTransportPayload(Payload, frozen=True):
    direction: Any = None


class ConnectTransportPayload(Payload, frozen=True):
    dtls_parameters: dict[str, Any]
    transport_id: str = ""


class TransportPayload(Payload, frozen=True):
    transport_id: str = ""


class ProducePayload(Payload, frozen=True):
    rtp_parameters: dict[str, Any]
    kind: str
    transport_id: str = ""
    app_data: Any = None


class ProduceDataPayload(Payload, frozen=True):
    sctp_stream_parameters: dict[str, Any]
    transport_id: str = ""
    label: str | None = None
    protocol: str | None = None
    app_data: Any = None


class ConsumePayload(Payload, frozen=True):
    producer_id: str = ""
    transport_id: str = ""
    rtp_capabilities: Any = None
    ignore_dtx: bool | None = None


class ConsumeDataPayload(Payload, frozen=True):
    data_producer_id: str = ""
    transport_id: str = ""


P = TypeVar("P", bound=Payload)


def decode_payload_untrusted(payload_type: type[P], args: Sequence[Any], *, optional: bool) -> P:
    """The payload of an event; raises :class:`Refused` ``invalid`` for anything else than one fitting object.

    Where it is ``optional``, no argument and null are an empty object.
    """
    if len(args) > 1:
        raise Refused("invalid")
    value = args[0] if args else None
    if value is None and optional:
        value = {}
    try:
        return msgspec.convert(value, payload_type)
    except (msgspec.ValidationError, RecursionError):
        raise Refused("invalid") from None


def decode_any_untrusted(args: Sequence[Any]) -> Any:
    """The one argument of an event that takes anything."""
    if len(args) != 1:
        raise Refused("invalid")
    return args[0]


def check_no_surplus_untrusted(args: Sequence[Any]) -> None:
    """For events whose payload is ignored."""
    if len(args) > 1:
        raise Refused("invalid")

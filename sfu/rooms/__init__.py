"""Rooms: who is where, in which seat, and who has to hear of it. Pure: no clock, no I/O, no randomness."""

from sfu.rooms.commands import (
    Caller,
    ChangeSlot,
    Chat,
    Command,
    CreateRoom,
    JoinInfo,
    JoinRoom,
    LaunchGame,
    LeaveRoom,
    LoseSocket,
    OpenRoom,
    PauseHost,
    ReadyAtFrame,
    ReleaseSeat,
    ReserveSeat,
    SetReady,
    StartGame,
    StartMedia,
    ToggleReady,
    UpdatePlayerMetadata,
    UpdateRoomMetadata,
)
from sfu.rooms.effects import (
    Accepted,
    Broadcast,
    CloseMedia,
    CloseRoom,
    DropSocket,
    Effect,
    RegistryChanged,
    Rejected,
    RoomsUpdated,
    UsersUpdated,
)
from sfu.rooms.extra import Extra, parse_extra_untrusted
from sfu.rooms.limits import RoomLimits
from sfu.rooms.model import Rooms
from sfu.rooms.names import Refused
from sfu.rooms.room import Member, Room

__all__ = [
    "Rooms", "RoomLimits", "Room", "Member",
    "Caller", "Command", "OpenRoom", "JoinRoom", "LeaveRoom", "ChangeSlot", "StartMedia", "LoseSocket",
    "CreateRoom", "ReserveSeat", "ReleaseSeat", "UpdateRoomMetadata", "UpdatePlayerMetadata", "JoinInfo",
    "ToggleReady", "SetReady", "StartGame", "ReadyAtFrame", "LaunchGame", "Chat", "PauseHost",
    "Effect", "Accepted", "Rejected", "Broadcast", "UsersUpdated", "RoomsUpdated", "CloseMedia", "CloseRoom",
    "DropSocket", "RegistryChanged",
    "Extra", "parse_extra_untrusted", "Refused",
]  # fmt: skip

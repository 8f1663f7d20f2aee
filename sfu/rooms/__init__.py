"""Rooms: who is where, in which seat, and who has to hear of it. Pure: no clock, no I/O, no randomness."""

from sfu.rooms.commands import (
    Caller,
    ChangeSlot,
    Command,
    JoinRoom,
    LeaveRoom,
    LoseSocket,
    OpenRoom,
    StartMedia,
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
from sfu.rooms.model import Rooms
from sfu.rooms.names import Refused
from sfu.rooms.room import Member, Room

__all__ = [
    "Rooms", "Room", "Member",
    "Caller", "Command", "OpenRoom", "JoinRoom", "LeaveRoom", "ChangeSlot", "StartMedia", "LoseSocket",
    "Effect", "Accepted", "Rejected", "Broadcast", "UsersUpdated", "RoomsUpdated", "CloseMedia", "CloseRoom",
    "DropSocket", "RegistryChanged",
    "Extra", "parse_extra_untrusted", "Refused",
]  # fmt: skip

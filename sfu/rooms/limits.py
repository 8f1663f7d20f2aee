"""How much of everything there may be in rooms."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomLimits:
    """Caps of the room model; each is at least 1. How many seats a room has is no limit but its contract."""

    room_name_length: int = 64
    """Code points of a room name, after trimming."""
    password_length: int = 256
    """Code points of a room password."""
    extra_keys: int = 64
    """Keys at the top level of an ``extra``, and of what a client says about itself or its room later."""
    extra_bytes: int = 8192
    """UTF-8 bytes of all keys and strings in an ``extra`` plus eight for every other value."""
    extra_depth: int = 8
    """Objects and arrays inside one another, the outermost included."""
    metadata_bytes: int = 8192
    """The same as ``extra_bytes`` for metadata, what a member set earlier included."""
    rooms: int = 10_000
    """Rooms of this node."""
    spectators: int = 1000
    """Per room; spectators never take a player's seat."""
    listed_rooms: int = 500
    """Rooms in ``rooms-updated``, the newest: everyone gets it, whatever their link."""
    chat_length: int = 500
    """UTF-16 units of a chat message, after trimming."""
    chat_history: int = 100
    """Messages that a room remembers for those who come later."""
    password_tries: int = 10
    """Wrong passwords of one user in a row; after that one more every 6 s."""
    reservations: int = 64
    """Seats of one room that may be held over HTTP for people who are not in it yet."""
    http_rooms_per_user: int = 4
    """Rooms that one user has made over HTTP and not entered yet."""

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) < 1:
                raise ValueError(f"{item.name} must be at least 1")


DEFAULT_LIMITS = RoomLimits()

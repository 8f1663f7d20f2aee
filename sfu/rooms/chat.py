"""Chat: one message to everyone in the room, and a memory of the latest for those who come later."""

from __future__ import annotations

import unicodedata

from sfu.rooms.commands import Chat
from sfu.rooms.names import Refused
from sfu.rooms.turn import Turn

_KEPT_CONTROLS = frozenset("\n\t")

_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They would turn around what a client shows after the message. Plain direction marks do not."""


def chat(turn: Turn, command: Chat) -> None:
    place = turn.state.places.get(command.socket_id)
    if place is None:
        raise Refused("no room")
    room, member = place
    message = {
        "userid": member.userid,
        "playerName": member.name,
        "message": clean_message_untrusted(command.message, turn.state.limits.chat_length),
        "timestamp": turn.state.wall_ms(turn.now),
        "messageId": command.message_id,
    }
    room.chat.append(message)
    turn.tell(room.sockets(), "chat-message", message)


def clean_message_untrusted(value: object, max_length: int) -> str:
    """A message of 1 to ``max_length`` UTF-16 units, trimmed and without controls; raises ``invalid``."""
    if not isinstance(value, str):
        raise Refused("invalid")
    text = value.strip()
    if len(text) > max_length:
        raise Refused("invalid")
    text = "".join(char for char in text if _is_shown(char)).strip()
    try:
        length = len(text.encode("utf-16-le")) // 2
    except UnicodeEncodeError:  # a lone surrogate has no place on the wire
        raise Refused("invalid") from None
    if not 1 <= length <= max_length:
        raise Refused("invalid")
    return text


def _is_shown(char: str) -> bool:
    if char in _OVERRIDES:
        return False
    return char in _KEPT_CONTROLS or unicodedata.category(char) != "Cc"

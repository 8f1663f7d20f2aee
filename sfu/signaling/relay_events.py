"""Handlers of what members say to one another: data, WebRTC signals and chat (``signaling.md`` 3.3).

None of these is answered; what cannot be passed on is dropped.
"""

from __future__ import annotations

import secrets
import string
from typing import Any, Final

import msgspec
import trio

from sfu.rooms import Chat
from sfu.signaling.application import Ack
from sfu.signaling.core import Client, Core, wall_ms
from sfu.signaling.payloads import ChatPayload

SIGNAL_KEYS: Final = ("offer", "answer", "candidate", "requestRenegotiate")
"""What a ``webrtc-signal`` carries; anything else stays here."""

_BASE36: Final = string.digits + string.ascii_lowercase


async def data_message(core: Core, client: Client, payload: Any, _ack: Ack) -> None:
    """Relay anything to the others in the room."""
    peers = core.rooms.peers(client.id)
    if peers and _may_pass(client, payload, len(peers), core.settings.limits.data_message_bytes):
        core.send(peers, "data-message", payload)


async def webrtc_signal(core: Core, client: Client, payload: Any, _ack: Ack) -> None:
    """Relay a signal to one other member of the room."""
    if not isinstance(payload, dict):
        return
    target = core.rooms.signal_target(
        client.id, payload.get("target") or payload.get("targetSocketId"), payload.get("roomName")
    )
    if target is None:
        return
    signal = {key: payload[key] for key in SIGNAL_KEYS if key in payload}
    if _may_pass(client, signal, 1, core.settings.limits.signal_bytes):
        core.send([target], "webrtc-signal", {"sender": client.id} | signal)


async def chat_message(core: Core, client: Client, payload: ChatPayload, _ack: Ack) -> None:
    """Tell everyone in the room, the sender included."""
    suffix = "".join(secrets.choice(_BASE36) for _ in range(9))
    message_id = f"{client.caller.userid}_{wall_ms(trio.current_time())}_{suffix}"
    core.do(Chat(client.id, payload.message, message_id))


def _may_pass(client: Client, message: object, copies: int, longest: int) -> bool:
    """Whether a message to so many is JSON (binary parts count as base64) within its bounds and those of its
    sender."""
    try:
        size = len(msgspec.json.encode(message))
    except (ValueError, RecursionError):
        return False
    return size <= longest and client.allowance.take_relay_bytes(size, copies, trio.current_time())

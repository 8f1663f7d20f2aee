"""What members pass on to one another: P2P signals, and the host's pauses."""

from __future__ import annotations

from sfu.rooms.commands import PauseHost
from sfu.rooms.names import Refused
from sfu.rooms.turn import State, Turn

HOST = "host"
"""The target that means the room's owner."""


def signal_target(state: State, socket_id: str, target: object, room_name: object) -> str | None:
    """The socket that a ``webrtc-signal`` is for; None if it is to be dropped.

    Signals stay within a room. ``host`` is whatever socket the room's owner is on now.
    """
    place = state.places.get(socket_id)
    if place is None or not isinstance(target, str):
        return None
    room = place[0]
    if isinstance(room_name, str) and room_name.strip() not in ("", room.name):
        return None
    if target == HOST:
        target = room.members[room.owner].socket_id
    there = state.places.get(target)
    return target if target != socket_id and there is not None and there[0] is room else None


def pause_host(turn: Turn, command: PauseHost) -> None:
    place = turn.state.places.get(command.socket_id)
    if place is None:
        raise Refused("no room")
    room, member = place
    if room.owner != member.userid:
        raise Refused("not owner")
    what = "paused" if command.paused else "resumed"
    turn.tell(room.sockets(), f"netplay-host-{what}", {"text": f"Host has {what} emulation"})
    turn.accept()

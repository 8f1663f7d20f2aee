"""Two guests on python-socketio's client meet at an address. ``test_proxy_daemon.py`` starts it and reads one
line of JSON: what they saw."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import engineio.payload
import socketio

engineio.payload.Payload.max_decode_packets = 100_000
"""By default that client gives up on a poll with more than 16 packets, whichever server sent it."""
MESSAGES = 200


async def main(
    url: str, path: str, transports: list[str], host_token: str, guest_token: str
) -> dict[str, Any]:
    """The host's token goes into the connect packet, the guest's into a cookie alone."""
    host, guest = (socketio.AsyncClient(reconnection=False) for _ in range(2))
    received: list[int] = []
    done = asyncio.Event()

    def on_data(message: dict[str, int]) -> None:
        received.append(message["n"])
        if len(received) == MESSAGES:
            done.set()

    guest.on("data-message", on_data)
    where = {"transports": transports, "socketio_path": path}
    await host.connect(url, auth={"token": host_token}, **where)
    await guest.connect(url, headers={"Cookie": f"romm_sfu_token={guest_token}"}, **where)
    extra = {"extra": {"room_name": "Behind a proxy", "player_slot": 0}}
    opened = await host.call("open-room", {**extra, "maxPlayers": 4, "password": None})
    joined = await guest.call("join-room", extra)
    for number in range(MESSAGES):
        await host.emit("data-message", {"n": number})
    await asyncio.wait_for(done.wait(), 30)
    result = {
        "opened": opened,
        "users": len(joined[1]["users"]),
        "received": received == list(range(MESSAGES)),
        "transport": [client.transport() for client in (host, guest)],
    }
    await guest.call("leave-room", {"roomName": "Behind a proxy"})
    await host.call("leave-room", {"roomName": "Behind a proxy"})
    for client in (host, guest):
        await client.disconnect()
    return result


if __name__ == "__main__":
    _, url, path, transports, *tokens = sys.argv
    print(json.dumps(asyncio.run(main(url, path, transports.split(","), *tokens))))

"""Runs the client of python-socketio and prints what it saw; ``test_socketio_interop.py`` starts it."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import engineio.payload
import socketio

engineio.payload.Payload.max_decode_packets = 100_000
"""By default that client gives up on a poll with more than 16 packets, whichever server sent it."""


async def main(url: str, transports: list[str]) -> dict[str, Any]:
    client = socketio.AsyncClient(reconnection=False)
    numbers: list[int] = []
    binary: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    def on_number(number: int) -> None:
        numbers.append(number)
        if len(numbers) == 1000:
            done.set()

    def on_ask(number: int, data: bytes) -> tuple[int, dict[str, bytes]]:
        return number, {"x": data}

    client.on("number", on_number)
    client.on("binary", lambda data: binary.set_result(data["x"]))
    for namespace in ("/", "/admin"):
        client.on("ask", on_ask, namespace=namespace)
    await client.connect(url, transports=transports, auth={"token": "t"}, namespaces=["/", "/admin"])
    ack = await client.call("two", (1, {"a": None}))
    asked = []
    for namespace in ("/", "/admin"):
        number, answer = await client.call("ask me", ("ask", 7, b"\x01"), namespace=namespace)
        asked.append([number, list(answer["x"])])
    nobody = await client.call("ask me", "nobody listens")
    try:
        silence = await client.call("silence", timeout=0.2)
    except socketio.exceptions.TimeoutError:
        silence = "timeout"
    for number in range(1000):
        await client.emit("number", number)
    await client.emit("binary", {"x": b"\x00\xff"})
    await asyncio.wait_for(done.wait(), 30)
    result = {
        "ack": ack,
        "asked": asked,
        "nobody": nobody,
        "silence": silence,
        "ids": [client.get_sid(), client.get_sid("/admin")],
        "numbers": numbers,
        "binary": list(await asyncio.wait_for(binary, 10)),
        "transport": client.transport(),
    }
    await client.disconnect()

    refused = socketio.AsyncClient(reconnection=False)
    refusal: list[Any] = []
    refused.on("connect_error", refusal.append)
    try:
        await refused.connect(url, transports=transports, auth={"refuse": "no entry"})
    except socketio.exceptions.ConnectionError:
        pass
    result["refusal"] = refusal[0]
    return result


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2].split(",")))))

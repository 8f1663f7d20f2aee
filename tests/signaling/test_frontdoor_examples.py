"""The examples of the documentation, executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock
from trio_websocket import wrap_client_stream

from tests.signaling.harness import POLLING, WEBSOCKET, Client, MemoryListener, Ws


def documented() -> dict[str, Any]:
    """What the examples of the documentation define."""
    page = Path(__file__).parents[2] / "docs" / "protocols" / "signaling-transport.md"
    names: dict[str, Any] = {}
    for block in page.read_text().split("```python\n")[1:]:
        exec(block.split("```")[0], names)
    return names


async def test_the_documented_server_works(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = MemoryListener()

    async def open_tcp_listeners(port: int) -> list[MemoryListener]:
        await trio.lowlevel.checkpoint()
        assert port == 3001
        return [listener]

    monkeypatch.setattr(trio, "open_tcp_listeners", open_tcp_listeners)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(documented()["main"])
        client = Client(listener.connect())
        target = f"{POLLING}&sid={json.loads((await client.get(POLLING)).body[1:])['sid']}"
        await client.request("POST", target, b"40")
        await client.get(target)
        await client.request("POST", target, b'421["a",1]')
        assert (await client.get(target)).body == b'431[1]\x1e42["a",1]'
        nursery.cancel_scope.cancel()


async def test_the_documented_namespaces_work(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(documented()["serve"], [listener])
        stream: Any = listener.connect()
        ws = Ws(await wrap_client_stream(nursery, stream, "sfu.test", WEBSOCKET))
        await ws.text()
        await ws.send("40/vault,")
        await ws.text()
        for sure, answer in (("true", "done"), ("false", "left alone")):
            await ws.send('42/vault,7["open"]')
            question = await ws.text()
            assert question.endswith('["are you sure","open"]')
            await ws.send(question.replace("42", "43", 1).split("[")[0] + f"[{sure}]")
            assert await ws.text() == f'43/vault,7["{answer}"]'
        nursery.cancel_scope.cancel()

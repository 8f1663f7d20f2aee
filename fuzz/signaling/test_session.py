"""Whenever a client upgrades, and whatever is under way, every event arrives once and in order."""

from __future__ import annotations

import json
import random

import structlog.testing
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.signaling.harness import WEBSOCKET, Poller, Recorder, Ws, open_house

EVENTS = 16


class ModelClient:
    """Behaves as the protocol asks of a client, with every pause taken at random."""

    def __init__(self, poller: Poller, rng: random.Random) -> None:
        self.poller = poller
        self.rng = rng
        self.received: list[int] = []
        self.waiting: list[str] = []
        self.websocket: Ws | None = None
        self.pausing = False
        self.poll_done = trio.Event()
        self.post_lock = trio.Lock()

    async def pause(self, longest: float) -> None:
        if self.rng.random() < 0.7:
            await trio.sleep(self.rng.random() * longest)

    def take(self, packets: str) -> bool:
        for packet in packets.split("\x1e"):
            if packet.startswith("42"):
                self.received.append(json.loads(packet[2:])[1])
            elif packet == "2":
                self.waiting.append("3")
        return len(self.received) < EVENTS

    async def poll(self) -> None:
        while not self.pausing and self.take((await self.poller.poll()).body.decode()):
            await self.pause(0.1)
        self.poll_done.set()

    async def post(self) -> None:
        async with self.post_lock:
            if self.websocket is not None:
                packets, self.waiting = self.waiting, []
                await self.websocket.send(*packets)
            elif self.waiting and not self.pausing:
                packets, self.waiting = self.waiting, []
                assert (await self.poller.post("\x1e".join(packets))).body == b"ok"

    async def talk(self) -> None:
        for number in range(EVENTS):
            self.waiting.append(f'42["up",{number}]')
            await self.pause(0.05)
            if self.rng.random() < 0.6:
                await self.post()

    async def upgrade(self, ws: Ws) -> None:
        await self.pause(2.0)
        await ws.send("2probe")
        assert await ws.text() == "3probe"
        await self.pause(0.3)
        self.pausing = True
        await self.poll_done.wait()
        async with self.post_lock:
            await self.pause(0.1)
            await ws.send("5")
            self.websocket = ws
        while len(self.received) < EVENTS:
            self.take(await ws.text())


async def play(seed: int) -> None:
    rng = random.Random(seed)
    app = Recorder(silent=True)
    async with open_house(app) as house:
        client = ModelClient(await house.connect_polling(), rng)
        await trio.testing.wait_all_tasks_blocked()

        async def emit() -> None:
            for number in range(EVENTS):
                app.sockets[0].emit("down", number)
                await client.pause(0.05)

        target = f"{WEBSOCKET}&sid={client.poller.sid}"
        async with house.websocket(target) as ws:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(emit)
                nursery.start_soon(client.poll)
                nursery.start_soon(client.talk)
                nursery.start_soon(client.upgrade, ws)
            await client.post()
            await trio.testing.wait_all_tasks_blocked()
            assert client.received == list(range(EVENTS))
            assert [args for _, args in app.events] == [[number] for number in range(EVENTS)]
            assert app.goodbyes == []


@given(st.integers(0, 2**32))
def test_upgrade_amid_traffic(seed: int) -> None:
    with structlog.testing.capture_logs() as logs:
        trio.run(play, seed, clock=trio.testing.MockClock(autojump_threshold=0))
    assert logs == []

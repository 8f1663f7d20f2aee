"""Several nodes behind one nginx: every request of a session goes to the node that opened it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import POLLING
from tests.support.doors import Door, open_client, open_door, open_websocket
from tests.support.nginx import SEVERAL_NODES, Nginx, open_nginx, several_nodes

pytestmark = pytest.mark.interop

SOON = 20.0
"""Seconds for whatever must happen."""
NODES = ("a", "b", "c")
ADDRESSES = [f"127.0.1.{number}" for number in range(1, 25)]
"""Of different clients."""


@dataclass
class House:
    """Three nodes and what stands before them."""

    nginx: Nginx
    doors: dict[str, Door]

    @property
    def sockets(self) -> dict[str, int]:
        """How many each node has had."""
        return {name: len(door.app.sockets) for name, door in self.doors.items()}


@asynccontextmanager
async def open_house(changes: dict[str, str] | None = None) -> AsyncIterator[House]:
    """Start them all."""
    async with AsyncExitStack() as stack:
        doors = {
            name: await stack.enter_async_context(open_door(name, SignalingSettings(sid_prefix=f"{name}.")))
            for name in NODES
        }
        ports = several_nodes(*(door.port for door in doors.values()))
        nginx = await stack.enter_async_context(open_nginx(SEVERAL_NODES, {**ports, **(changes or {})}))
        with trio.fail_after(SOON):
            yield House(nginx, doors)


async def get(house: House, target: str, address: str = ADDRESSES[0], host: str = "sfu.example.org") -> bytes:
    """One GET on a connection of its own."""
    async with open_client(house.nginx.port, address) as client:
        answer = await client.get(target, Host=host)
        assert answer.status == 200, answer
        return answer.body


async def post(house: House, target: str, body: bytes, address: str = ADDRESSES[0]) -> bytes:
    """One POST likewise."""
    async with open_client(house.nginx.port, address) as client:
        return (await client.request("POST", target, body)).body


async def open_session(house: House, address: str) -> tuple[str, str]:
    """A polling session with a socket: its node and what later requests ask for."""
    sid = json.loads((await get(house, POLLING, address))[1:])["sid"]
    target = f"{POLLING}&sid={sid}"
    assert await post(house, target, b"40", address) == b"ok"
    assert (await get(house, target, address)).startswith(b"40{")
    return sid.partition(".")[0], target


async def test_sessions_are_spread_and_each_stays_where_it_was_opened() -> None:
    async with open_house() as house:
        for address in ADDRESSES:
            node, target = await open_session(house, address)
            before = house.sockets
            for number in range(3):
                packet = f'42["n",{number}]'.encode()
                assert await post(house, target, packet, address) == b"ok"
                assert await get(house, target, address) == packet
            assert house.sockets == before
            assert house.doors[node].app.events[-1] == ("n", [2])
        assert sum(house.sockets.values()) == len(ADDRESSES)
        assert min(house.sockets.values()) > 0


async def test_a_session_survives_its_clients_change_of_address() -> None:
    """From IPv4 to IPv6, from one exit of a carrier's NAT to another, from Wi-Fi to mobile."""
    async with open_house() as house:
        _, target = await open_session(house, ADDRESSES[0])
        for number, address in enumerate(ADDRESSES):
            packet = f'42["n",{number}]'.encode()
            assert await post(house, target, packet, address) == b"ok"
            assert await get(house, target, address) == packet


async def test_going_by_address_alone_would_lose_it() -> None:
    """What the ids of sessions are needed for."""
    by_address = {f"~^{node}": f"~^not-{node}" for node in NODES}
    async with open_house(by_address) as house:
        _, target = await open_session(house, ADDRESSES[0])
        answers = {await post(house, target, b"3", address) for address in ADDRESSES}
        assert answers == {b"ok", b'{"code":1,"message":"Session ID unknown"}'}


async def test_a_websocket_finds_the_session_it_takes_over() -> None:
    async with open_house() as house:
        for address in ADDRESSES[:6]:
            node, target = await open_session(house, ADDRESSES[0])
            upgrade = target.replace("polling", "websocket")
            async with open_websocket(house.nginx.port, upgrade, address=address) as websocket:
                await websocket.send("2probe")
                assert await websocket.receive() == "3probe"
                await websocket.send("5", '42["over"]')
                assert await websocket.receive() == '42["over"]'
            assert house.doors[node].app.events[-1] == ("over", [])


async def test_websockets_alone_are_spread() -> None:
    async with open_house() as house:
        for address in ADDRESSES:
            async with open_websocket(house.nginx.port, address=address) as websocket:
                assert (await websocket.text()).startswith("0{")
                await websocket.send("40")
                assert (await websocket.text()).startswith("40{")
        assert min(house.sockets.values()) > 0


async def test_a_client_asks_one_node_over_http_and_for_its_first_session() -> None:
    async with open_house() as house:
        for address in ADDRESSES[:8]:
            node, _ = await open_session(house, address)
            for target in ("/list", "/ice", "/netplay/resolve"):
                assert json.loads(await get(house, target, address)) == {"door": node}


async def test_the_client_is_the_one_that_another_proxy_names() -> None:
    """RomM's nginx stands between: by its address alone everybody would be on one node."""
    async with open_house() as house:
        async with open_client(house.nginx.port) as romm:
            doors = {
                (await romm.get("/list", **{"X-Forwarded-For": f"203.0.113.{number}"})).json()["door"]
                for number in range(24)
            }
        assert doors == set(NODES)
        forwarded = house.doors["a"].requests[0].headers["x-forwarded-for"]
        assert forwarded.startswith("203.0.113.")


async def test_each_node_is_to_be_had_by_its_own_name() -> None:
    async with open_house() as house:
        for node in NODES:
            for address in ADDRESSES[:4]:
                body = await get(house, "/list", address, host=f"{node}.sfu.example.org")
                assert json.loads(body) == {"door": node}
                opening = await get(house, POLLING, address, host=f"{node}.sfu.example.org")
                assert json.loads(opening[1:])["sid"].startswith(f"{node}.")


async def test_a_session_of_a_node_that_is_gone_begins_anew_on_another() -> None:
    async with open_house() as house:
        node, target = await open_session(house, ADDRESSES[0])
        await house.doors[node].shut()
        async with open_client(house.nginx.port, ADDRESSES[0]) as client:
            assert (await client.request("POST", target, b"3")).status == 502
        again, _ = await open_session(house, ADDRESSES[0])
        assert again != node

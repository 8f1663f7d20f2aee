"""A full, independent ICE agent (aioice) against the lite agent, over real loopback sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import aioice
import pytest
import trio

from sfu.ice.address import Address
from sfu.ice.agent import IceAgent
from sfu.ice.candidate import udp_candidate
from sfu.ice.credentials import IceCredentials
from sfu.ice.events import CredentialsRetired, Event, StateChanged, TupleSelected, TupleValidated
from sfu.ice.state import IceState, Trigger
from sfu.ice.stun import is_stun, local_ufrag_untrusted
from tests.ice.peer import drain

pytestmark = pytest.mark.interop

DEADLINE = 10.0
T = TypeVar("T")


class LoopbackConnection(aioice.Connection):
    """The full agent, on the loopback interface, which it leaves out by itself."""

    host = "127.0.0.1"

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ASYNC109 - the signature is aioice's
    ) -> list[aioice.Candidate]:
        return await super().get_component_candidates(component, [self.host], timeout)


class Server:
    """The lite agent on a UDP socket; it echoes what validated addresses send."""

    def __init__(self, host: str) -> None:
        self.agent = IceAgent()
        self.host = host
        self.events: list[Event] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = trio.socket.socket(family, socket.SOCK_DGRAM)

    async def bind(self) -> None:
        await self.socket.bind((self.host, 0))

    async def run(self) -> None:
        while True:
            data, addr = await self.socket.recvfrom(2048)
            now = trio.current_time()
            if not is_stun(data):
                if self.agent.is_validated(addr):
                    await self.socket.sendto(data, addr)
                continue
            assert local_ufrag_untrusted(data) in self.agent.local_ufrags
            self.agent.receive_datagram_untrusted(data, addr, now)
            self.events += drain(self.agent)
            for answer, destination in self.agent.datagrams_to_send(now):
                await self.socket.sendto(answer, destination)

    def restart(self) -> IceCredentials:
        return self.agent.restart(trio.current_time())

    def candidate(self) -> aioice.Candidate:
        """Our candidate, by way of the JSON that signaling carries."""
        value = udp_candidate(self.host, self.socket.getsockname()[1]).to_json()
        return aioice.Candidate(
            foundation=value["foundation"],
            component=1,
            transport=value["protocol"],
            priority=value["priority"],
            host=value["address"],
            port=value["port"],
            type=value["type"],
        )


@asynccontextmanager
async def connect(
    server: Server, credentials: IceCredentials, *, controlling: bool = True, knows_lite: bool = True
) -> AsyncIterator[LoopbackConnection]:
    """Connect a new full agent and prove that data passes both ways."""
    ipv6 = ":" in server.host
    connection = LoopbackConnection(ice_controlling=controlling, use_ipv4=not ipv6, use_ipv6=ipv6)
    connection.host = server.host
    connection.remote_is_lite = knows_lite
    parameters = credentials.to_json()
    connection.remote_username = parameters["usernameFragment"]
    connection.remote_password = parameters["password"]
    try:
        await connection.gather_candidates()
        await connection.add_remote_candidate(server.candidate())
        await connection.add_remote_candidate(None)
        await connection.connect()
        await echo(connection, b"\x80first packet")
        yield connection
    finally:
        await connection.close()


async def echo(connection: LoopbackConnection, data: bytes) -> None:
    await connection.send(data)
    assert await connection.recv() == data


def address(connection: LoopbackConnection) -> tuple[str, int]:
    [candidate] = connection.local_candidates
    return candidate.host, candidate.port


async def against(server: Server, scenario: Callable[[], Awaitable[T]]) -> T:
    """Run the lite agent here and the asyncio ``scenario`` in a thread."""

    def in_thread() -> T:
        async def limited() -> T:
            async with asyncio.timeout(DEADLINE):
                return await scenario()

        return asyncio.run(limited())

    with server.socket:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run)
            result = await trio.to_thread.run_sync(in_thread)
            nursery.cancel_scope.cancel()
        return result
    raise AssertionError


def short(addr: Address | None) -> tuple[str, int]:
    assert addr is not None
    return addr[0], addr[1]


async def make_server(host: str) -> Server:
    server = Server(host)
    try:
        await server.bind()
    except OSError:
        server.socket.close()
        pytest.skip(f"no {host} here")
    return server


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("knows_lite", [True, False], ids=["regular", "aggressive"])
async def test_nomination(host: str, knows_lite: bool) -> None:
    """aioice nominates in a second check where the peer is lite, in every check where it is not."""
    server = await make_server(host)

    async def scenario() -> tuple[str, int]:
        async with connect(server, server.agent.credentials, knows_lite=knows_lite) as connection:
            return address(connection)

    local = await against(server, scenario)
    assert short(server.agent.selected) == local
    addr = server.agent.selected
    assert addr is not None
    changes = [
        StateChanged(IceState.CONNECTED, Trigger.CHECKED),
        StateChanged(IceState.COMPLETED, Trigger.NOMINATED),
    ]
    if not knows_lite:
        del changes[0]
    assert server.events == [TupleValidated(addr), TupleSelected(addr), *changes]


async def test_role_conflict() -> None:
    """A peer that wrongly starts as controlled is told to switch, and does."""
    server = await make_server("127.0.0.1")

    async def scenario() -> bool:
        async with connect(server, server.agent.credentials, controlling=False) as connection:
            return connection.ice_controlling

    assert await against(server, scenario)
    assert server.agent.refused.role_conflict == 1
    assert server.agent.state is IceState.COMPLETED


async def test_restart() -> None:
    """Data keeps flowing on the old path until the new one is there, then both ways on the new."""
    server = await make_server("127.0.0.1")
    old = server.agent.credentials

    async def scenario() -> tuple[tuple[str, int], tuple[str, int]]:
        async with connect(server, old) as before:
            new = trio.from_thread.run_sync(server.restart)
            await echo(before, b"\x80after the restart began")
            async with connect(server, new) as after:
                await echo(before, b"\x80late packet on the old path")
                return address(before), address(after)

    first, second = await against(server, scenario)
    agent = server.agent
    assert [short(addr) for addr in agent.tuples] == [first, second]
    assert short(agent.selected) == second
    assert agent.state is IceState.COMPLETED
    assert agent.local_ufrags == (agent.credentials.username_fragment,)
    assert CredentialsRetired(old.username_fragment) in server.events
    states = [event for event in server.events if isinstance(event, StateChanged)]
    assert [(event.state, event.reason) for event in states] == [
        (IceState.CONNECTED, Trigger.CHECKED),
        (IceState.COMPLETED, Trigger.NOMINATED),
        (IceState.CONNECTED, Trigger.RESTARTED),
        (IceState.COMPLETED, Trigger.NOMINATED),
    ]


async def test_wrong_password_is_met_with_silence() -> None:
    """The full agent never hears from us; it gives up, here by its own deadline."""
    server = await make_server("127.0.0.1")
    wrong = IceCredentials(server.agent.credentials.username_fragment, "x" * 32)

    async def scenario() -> bool:
        try:
            async with asyncio.timeout(0.3), connect(server, wrong):
                pass
        except TimeoutError:
            return True
        return False

    assert await against(server, scenario)
    assert server.agent.refused.integrity >= 1
    assert server.agent.tuples == ()
    assert server.events == []

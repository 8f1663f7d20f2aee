"""Three nodes, RomM's side twice on one Redis, nginx before them: how they play together, and what is left
when one of them goes away."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import pytest
import trio

from tests.interop.member import ANSWER_TIMEOUT, Member, Refused, Signaling
from tests.interop.room import Room
from tests.signaling.harness import POLLING, Answer
from tests.support.cluster import NODES, REFRESH, USERS, Cluster, running_cluster
from tests.support.daemon import HOST, clean, stretched
from tests.support.doors import open_client, open_websocket

pytestmark = pytest.mark.interop

FRONT = "front"
"""The address of all nodes together, and of RomM."""
POLLERS = 48
STORED = 60_000
"""Milliseconds that RomM's side keeps a room which nobody registers again."""
ROUNDS = 12


@pytest.fixture(scope="module")
def whole() -> Iterator[Cluster]:
    with running_cluster() as one:
        yield one
        one.stop()
        assert clean(one.stderr)


@pytest.fixture
def cluster(whole: Cluster) -> Cluster:
    """All of it is running, whatever the test before has done to it."""
    whole.mend()
    return whole


class House:
    """The people of one test, who come in by nginx."""

    def __init__(self, cluster: Cluster, nursery: trio.Nursery) -> None:
        self.cluster = cluster
        self._nursery = nursery
        self._users = iter(USERS)

    async def token(self, kind: str = "read") -> str:
        """Of somebody new."""
        return await trio.to_thread.run_sync(self.cluster.mint, next(self._users), kind)

    async def member(self, node: str) -> Member:
        """Somebody new at a node."""
        return await self.member_at(self.cluster.public_url(node), await self.token())

    async def member_at(self, url: str, token: str) -> Member:
        """Somebody at an address. All names are this machine's, so nobody is asked about them."""
        member: Member = await self._nursery.start(self._sign_in, urlsplit(url), token)
        return member

    async def _sign_in(
        self, url: SplitResult, token: str, task_status: trio.TaskStatus[Member] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with await trio.open_tcp_stream(HOST, url.port or 0) as stream, trio.open_nursery() as nursery:
            signaling = Signaling(stream)
            await signaling.open(url.netloc)
            await signaling.sign_in(token)
            task_status.started(Member(signaling, nursery))
            await signaling.run()
            nursery.cancel_scope.cancel()

    async def host(self, node: str, room: str) -> Member:
        """Somebody new with a room."""
        host = await self.member(node)
        await host.open(room)
        return host

    async def ask(self, where: str, method: str, target: str, token: str, body: Any = None) -> Answer:
        """One HTTP request, straight to a node or at the front."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = b"" if body is None else json.dumps(body).encode()
        if where == FRONT:
            port, target = self.cluster.front.port, f"/netplay{target}"
        else:
            port = self.cluster.nodes[where].port
        async with open_client(port) as client:
            return await client.request(method, target, data, headers)

    async def listed(self, where: str, token: str) -> dict[str, Any]:
        """The list of rooms as one sees it there."""
        answer = await self.ask(where, "GET", "/list", token)
        assert answer.status == 200, answer
        rooms: dict[str, Any] = answer.json()
        return rooms

    async def node_of(self, room: str, token: str, asked: str) -> str | None:
        """Which node has a room, as one node knows."""
        answer = await self.ask(asked, "GET", f"/resolve?room={quote(room)}", token)
        if answer.status == 404:
            return None
        assert answer.status == 200, answer
        node: str = answer.json()["nodeId"]
        assert answer.json() == {"room_name": room, "url": self.cluster.public_url(node), "nodeId": node}
        return node

    async def is_at(self, room: str, node: str | None, token: str) -> bool:
        """Whether all nodes agree on where a room is, None for nowhere."""
        known = {await self.node_of(room, token, each) for each in self.cluster.nodes}
        listed = {(await self.listed(each, token)).get(room, {}).get("nodeId") for each in self.cluster.nodes}
        return known == listed == {node}


@pytest.fixture
async def house(cluster: Cluster) -> AsyncIterator[House]:
    async with trio.open_nursery() as nursery:
        yield House(cluster, nursery)
        nursery.cancel_scope.cancel()


async def follow(house: House, member: Member, token: str, room: str) -> Member:
    """What a client does that follows redirects: the same user at the node that has the room."""
    answer = await member.signaling.call("join-room", {"extra": {"room_name": room}})
    there = await house.member_at(answer["redirect"], token)
    await there.join(room)
    return there


def node_of_session(member: Member) -> str:
    return member.signaling.session.partition(".")[0]


async def comes_true(what: Callable[[], Awaitable[bool]], seconds: float = ANSWER_TIMEOUT) -> None:
    with trio.move_on_after(stretched(seconds)):
        while not await what():  # noqa: ASYNC110 - it happens in other processes
            await trio.sleep(0.02)
    assert await what()


# Tokens


async def test_users_are_who_nginx_says_they_are(house: House) -> None:
    cluster = house.cluster
    async with open_client(cluster.front.port) as client:
        nobody = await client.request("POST", "/api/sfu/token", headers={"X-Forwarded-User": USERS[0]})
        assert nobody.status == 401
        for target in ("/api/sfu/internal/rooms/list", "/api/sfu/internal/verify"):
            assert (await client.get(target, **{"x-romm-sfu-secret": "guessed"})).status == 404
    host = await house.member("a")
    await host.open("Whose")
    [users] = host.signaling.heard("users-updated")[-1:]
    assert [user["player_name"] for user in users.values()] == [USERS[0]]


async def test_a_write_token_is_good_for_one_node(house: House) -> None:
    """Two of the nodes ask one service, the third another: all share what is spent."""
    token = await house.token("write")
    answers: dict[str, Answer] = {}

    async def create(node: str) -> None:
        answers[node] = await house.ask(node, "POST", "/create", token, {"room_name": f"Of {node}"})

    async with trio.open_nursery() as nursery:
        for node in NODES:
            nursery.start_soon(create, node)
    assert sorted(answer.status for answer in answers.values()) == [200, 401, 401]


# Rooms


@pytest.mark.contract("D87", "M14")
async def test_rooms_of_all_nodes_are_found_at_each(house: House) -> None:
    hosts = {node: await house.member(node) for node in NODES}
    details = {"rom_name": "Clock", "core_type": "snes", "game_id": 7, "netplay_mode": 1, "spectator_mode": 0}
    shown = details | {"netplay_mode": "delay_sync", "current": 1, "max": 3, "hasPassword": False}
    for node, host in hosts.items():
        extra = {"room_name": f"Room of {node}", **details}
        await host.signaling.call("open-room", {"extra": extra, "maxPlayers": 3})
    token = await house.token()
    for node in NODES:
        await comes_true(lambda: house.is_at(f"Room of {node}", node, token))  # noqa: B023 - used at once
    for where in (*NODES, FRONT):
        rooms = await house.listed(where, token)
        for node in NODES:
            room = rooms[f"Room of {node}"]
            assert room.items() >= (shown | {"nodeId": node, "url": house.cluster.public_url(node)}).items()
            found = await house.ask(where, "GET", f"/resolve?room=Room%20of%20{node}", token)
            assert found.json()["nodeId"] == node
    for node, host in hosts.items():
        names = {room["id"] for room in await host.signaling.call("get-open-rooms", {})}
        assert f"Room of {node}" in names
        assert not names & {f"Room of {other}" for other in NODES if other != node}
        await host.signaling.call("leave-room", {})
    for node in NODES:
        await comes_true(lambda: house.is_at(f"Room of {node}", None, token))  # noqa: B023


@pytest.mark.contract("D94")
@pytest.mark.parametrize("always_the_same", [False, True], ids=["new names", "one name"])
async def test_one_node_wins_a_name(house: House, always_the_same: bool) -> None:
    people = {node: await house.member(node) for node in NODES}
    token = await house.token()
    for number in range(ROUNDS):
        room = "Mine" if always_the_same else f"Mine {number}"
        answers: dict[str, list[Any]] = {}

        async def open_it(node: str, room: str, answers: dict[str, list[Any]]) -> None:
            payload = {"extra": {"room_name": room}, "maxPlayers": 2}
            answers[node] = await people[node].signaling.call_raw("open-room", payload)

        async with trio.open_nursery() as nursery:
            for node in NODES:
                nursery.start_soon(open_it, node, room, answers)
        assert sorted(answers.values(), key=str) == [["room exists"], ["room exists"], [None]]
        [winner] = [node for node, answer in answers.items() if answer == [None]]
        assert await house.is_at(room, winner, token)
        await people[winner].signaling.call("leave-room", {})
        await comes_true(lambda: house.is_at(room, None, token))  # noqa: B023 - used at once


# Sessions


class Session:
    """A user on long-polling alone, at the front, with a new connection for each request."""

    def __init__(self, cluster: Cluster, address: str) -> None:
        self._port = cluster.front.port
        self._address = address
        self.target = ""
        self.node = ""

    async def open(self, token: str) -> str:
        """Sign in; returns the answer."""
        self.target = POLLING
        sid = json.loads((await self._request("GET"))[1:])["sid"]
        self.node = sid.partition(".")[0]
        self.target = f"{POLLING}&sid={sid}"
        assert await self._request("POST", "40" + json.dumps({"token": token})) == "ok"
        return await self._request("GET")

    async def call(self, event: str) -> Any:
        """Emit, and poll for the acknowledgement."""
        assert await self._request("POST", "427" + json.dumps([event, {}])) == "ok"
        packets: list[str] = []
        while not any(packet.startswith("437") for packet in packets):
            packets = (await self._request("GET")).split("\x1e")
        [answer] = [packet for packet in packets if packet.startswith("437")]
        return json.loads(answer[3:])

    async def _request(self, method: str, body: str = "") -> str:
        async with open_client(self._port, self._address) as client:
            answer = await client.request(method, self.target, body.encode())
            assert answer.status == 200, answer
            return answer.body.decode()


async def test_sessions_of_pollers_are_spread_and_stay_where_they_are(house: House) -> None:
    token = await house.token()
    sessions = [Session(house.cluster, f"127.0.1.{number + 1}") for number in range(POLLERS)]
    for session in sessions:
        assert (await session.open(token)).startswith("40{")
    assert {session.node for session in sessions} == set(NODES)
    for node in NODES:
        await house.host(node, f"At {node}")
    for _ in range(3):
        for session in sessions:
            _, rooms = await session.call("get-open-rooms")
            assert f"At {session.node}" in {room["id"] for room in rooms}, "another node answered"


async def test_a_poller_goes_over_to_a_websocket(house: House) -> None:
    session = Session(house.cluster, HOST)
    await session.open(await house.token())
    upgrade = session.target.replace("polling", "websocket")
    async with open_websocket(house.cluster.front.port, upgrade, address="127.0.1.99") as websocket:
        await websocket.send("2probe")
        assert await websocket.receive() == "3probe"
        await websocket.send("5", '427["sfu-available",{}]')
        with trio.fail_after(ANSWER_TIMEOUT):
            while not (packet := await websocket.text()).startswith("437"):
                pass
        assert json.loads(packet[3:]) == [{"available": True}]


# Redirects


@pytest.mark.contract("M18")
async def test_who_is_sent_to_another_node_plays_there(house: House) -> None:
    host = await house.host("b", "Elsewhere")
    url = house.cluster.public_url("b")
    for node in ("a", "c"):
        token = await house.token()
        lost = await house.member_at(house.cluster.public_url(node), token)
        answer = await lost.signaling.call("join-room", {"extra": {"room_name": "Elsewhere"}})
        assert answer == {"redirect": url, "room_name": "Elsewhere", "nodeId": "b"}
        [told] = lost.signaling.heard("room-redirect")
        assert told == {"url": url, "room_name": "Elsewhere", "nodeId": "b"}
        with pytest.raises(Refused, match="no room"):
            await lost.signaling.call("sfu-create-transport", {"direction": "send"})
        guest = await follow(house, lost, token, "Elsewhere")
        assert node_of_session(guest) == "b"
        room = Room("Elsewhere", house.cluster.nodes["b"], host, guest)
        await room.connect()
        await room.prove()


# Nodes that go


@pytest.mark.contract("D5")
async def test_a_node_that_is_told_to_stop_leaves_nothing_behind(house: House) -> None:
    host = await house.host("b", "Short")
    token = await house.token()
    await comes_true(lambda: house.is_at("Short", "b", token))
    guest = await house.member("b")
    await guest.join("Short")
    await trio.to_thread.run_sync(house.cluster.stop_node, "b", signal.SIGTERM)
    assert house.cluster.redis.raw.exists("sfu:room:Short") == 0
    assert await house.is_at("Short", None, token)
    for member in (host, guest):
        assert member.signaling.heard("room-closed") == [{"room_name": "Short", "reason": "server stopping"}]
        assert member.signaling.disconnected == "closed 1000", "so that clients connect again by themselves"
    await house.host("a", "Short")


@pytest.mark.contract("REG-18")
async def test_rooms_of_a_killed_node_are_forgotten(house: House) -> None:
    redis = house.cluster.redis.raw
    host = await house.host("b", "Doomed")
    token = await house.token()
    await comes_true(lambda: house.is_at("Doomed", "b", token))
    visitor = await house.member("a")
    await trio.to_thread.run_sync(house.cluster.stop_node, "b", signal.SIGKILL)
    with trio.fail_after(ANSWER_TIMEOUT):
        await host.signaling.over.wait()
    assert await house.is_at("Doomed", "b", token), "nobody can know yet"
    with pytest.raises(Refused, match="room exists"):
        await visitor.open("Doomed")
    left = redis.pttl("sfu:room:Doomed")
    assert 0 < left <= STORED
    redis.pexpire("sfu:room:Doomed", 500)  # rather than to wait a minute
    await comes_true(lambda: house.is_at("Doomed", None, token))
    with pytest.raises(Refused, match="no such room"):
        await visitor.join("Doomed")
    await visitor.open("Doomed")
    assert await house.is_at("Doomed", "a", token)


@pytest.mark.contract("D90")
async def test_a_node_that_comes_back_forgets_what_it_left_behind(house: House) -> None:
    host = await house.host("b", "Left behind")
    token = await house.token()
    await comes_true(lambda: house.is_at("Left behind", "b", token))
    await trio.to_thread.run_sync(house.cluster.stop_node, "b", signal.SIGKILL)
    await trio.to_thread.run_sync(house.cluster.start_node, "b")
    assert await house.is_at("Left behind", None, token)
    assert host.signaling.disconnected == "lost"
    await house.host("a", "Left behind")


@pytest.mark.contract("D90")
async def test_a_node_that_comes_back_while_romm_is_away_forgets_it_later(house: House) -> None:
    cluster = house.cluster
    names = ("Opened", "Joined", "Joined elsewhere", "Resolved")
    for name in names:
        await house.host("b", name)
    token, visitors_token = await house.token(), await house.token()
    for name in names:
        await comes_true(lambda: house.is_at(name, "b", token))  # noqa: B023 - used at once
    await trio.to_thread.run_sync(cluster.stop_romm, signal.SIGKILL)
    await trio.to_thread.run_sync(cluster.stop_node, "b", signal.SIGKILL)
    await trio.to_thread.run_sync(cluster.start_node, "b")
    await trio.to_thread.run_sync(cluster.start_romm)
    back = await house.member("b")
    with pytest.raises(Refused, match="no such room"):
        await back.join("Joined")
    visitor = await house.member_at(cluster.public_url("a"), visitors_token)
    with pytest.raises(Refused, match="no such room"):
        await follow(house, visitor, visitors_token, "Joined elsewhere")
    assert await house.node_of("Resolved", token, "b") is None
    for name in names[1:]:
        assert await house.is_at(name, None, token)
    await back.open("Opened")
    assert await house.is_at("Opened", "b", token)


# RomM and Redis that go


@pytest.mark.contract("D7", "D91", "D92")
@pytest.mark.parametrize(("who", "kind"), [("RomM", "read"), ("Redis", "write")])
async def test_rooms_go_on_without(house: House, who: str, kind: str) -> None:
    """``kind`` is that of tokens which nobody can check meanwhile."""
    cluster = house.cluster
    name = f"Without {who}"
    host, guest, late, other = [await house.member(node) for node in ("a", "a", "a", "b")]
    room = Room(name, cluster.nodes["a"], host, guest)
    await room.start()
    await room.prove()
    token, unknown = await house.token(), await house.token(kind)
    await comes_true(lambda: house.is_at(name, "a", token))

    if who == "RomM":
        await trio.to_thread.run_sync(cluster.stop_romm, signal.SIGKILL)
    else:
        cluster.redis.kill()
    await room.prove()
    await late.join(name)
    with pytest.raises(Refused, match="no such room"):
        await other.join(name)
    await other.open(f"New {name}")
    stranger = Session(cluster, HOST)
    assert json.loads((await stranger.open(unknown))[2:]) == {"message": "auth unavailable"}
    for node in NODES:
        answer = await house.ask(node, "POST", "/create", unknown, {"room_name": "Nobody's"})
        assert (answer.status, answer.json()) == (503, {"error": "auth unavailable"})
    if who == "Redis":
        assert (await stranger.open(token)).startswith("40{"), "a read token needs no Redis"
        rooms = await house.listed("a", token)
        assert name in rooms
        assert {room["nodeId"] for room in rooms.values()} == {"a"}, "what a node can tell by itself"
    await room.prove()

    await trio.to_thread.run_sync(cluster.mend)
    assert (await stranger.open(token)).startswith("40{")

    async def all_is_known() -> bool:
        rooms = await house.listed("c", token)
        return rooms.get(name, {}).get("current") == 3 and f"New {name}" in rooms

    await comes_true(all_is_known, ANSWER_TIMEOUT + REFRESH)
    assert await house.is_at(name, "a", token)
    assert await house.is_at(f"New {name}", "b", token)
    await room.prove()

"""Debian's nginx in front of a front door: with our configuration, and with the rules of RomM's own image."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network

import pytest
import trio
from trio_websocket import ConnectionClosed

from sfu.signaling.settings import SignalingSettings
from tests.interop.member import eventually
from tests.signaling.harness import POLLING, WEBSOCKET, Answer, Client, Ws
from tests.support.doors import Door, open_client, open_door, open_websocket
from tests.support.nginx import LOCATIONS, ONE_NODE, SITES, Nginx, one_node, open_nginx

pytestmark = pytest.mark.interop

SOON = 20.0
"""Seconds for whatever must happen."""
LARGE = "x" * 900_000
HEADERS = {
    "Host": "play.example.org",
    "Cookie": "romm_sfu_token=t%2E1; other=2",
    "Authorization": "Bearer t.1",
}


@dataclass
class Front:
    """An nginx with the daemon's door and RomM's behind it."""

    nginx: Nginx
    sfu: Door
    romm: Door


@asynccontextmanager
async def open_front(
    site: str = "ours", settings: SignalingSettings | None = None, changes: dict[str, str] | None = None
) -> AsyncIterator[Front]:
    """Start all three."""
    async with (
        open_door("sfu", settings) as sfu,
        open_door("romm", SignalingSettings(path="/ws/socket.io/")) as romm,
        open_nginx(SITES[site], {**one_node(sfu.port, romm.port), **(changes or {})}) as nginx,
    ):
        with trio.fail_after(SOON):
            yield Front(nginx, sfu, romm)


every_site = pytest.mark.parametrize("site", SITES)


async def open_session(client: Client, prefix: str = "") -> str:
    """Open a polling session and connect its socket; returns what later requests ask for."""
    opening = await client.get(prefix + POLLING)
    assert opening.status == 200
    target = f"{prefix}{POLLING}&sid={json.loads(opening.body[1:])['sid']}"
    assert (await client.request("POST", target, b"40")).body == b"ok"
    assert (await client.get(target)).body.startswith(b"40{")
    return target


async def connect(websocket: Ws) -> None:
    """The same over a WebSocket."""
    assert (await websocket.text()).startswith("0{")
    await websocket.send("40")
    assert (await websocket.text()).startswith("40{")


# --- which requests, and what of them -------------------------------------------------------------


@pytest.mark.contract("NGX-01")
@every_site
async def test_the_daemons_paths_reach_it(site: str) -> None:
    async with open_front(site) as front, open_client(front.nginx.port) as client:
        for method, target, path in [
            ("GET", "/list", "/list"),
            ("POST", "/create", "/create"),
            ("POST", "/join/Friday%20night", "/join/Friday%20night"),
            ("POST", "/leave/Friday%20night", "/leave/Friday%20night"),
            ("GET", "/netplay/resolve", "/resolve"),
            ("GET", "/netplay/list", "/list"),
            ("GET", "/netplay/ice", "/ice"),
        ]:
            body = b'{"a":1}' if method == "POST" else b""
            answer = await client.request(method, f"{target}?room=a%26b&token=t", body, HEADERS)
            assert (answer.status, answer.json()) == (200, {"door": "sfu"})
            request = front.sfu.requests[-1]
            assert (request.method, request.path, request.body) == (method, path, body)
            assert request.query == [("room", "a&b"), ("token", "t")]
            assert request.headers["cookie"] == HEADERS["Cookie"]
            assert request.headers["authorization"] == HEADERS["Authorization"]
            if site == "g5" and target.startswith("/netplay"):
                continue  # that one forgets what its own level does not repeat
            assert request.headers["host"] == "play.example.org"
            assert request.headers["x-real-ip"] == "127.0.0.1"
            assert request.headers["x-forwarded-for"] == "127.0.0.1"
            assert request.headers["x-forwarded-proto"] == "http"
        assert front.romm.requests == []


@every_site
async def test_everything_else_is_romms(site: str) -> None:
    async with open_front(site) as front, open_client(front.nginx.port) as client:
        for target in (
            "/",
            "/resolve",
            "/listing",
            "/api/sfu/token",
            "/debug/all-producers",
            "/netplays/list",
        ):
            assert (await client.get(target, Host="play.example.org")).json() == {"door": "romm"}
        assert front.sfu.requests == []


@pytest.mark.parametrize(("site", "whose"), [("ours", "sfu"), ("g5", "sfu"), ("g6", "romm")])
async def test_ice_servers_come_from_the_daemon_or_from_a_romm_that_has_them(site: str, whose: str) -> None:
    async with open_front(site) as front, open_client(front.nginx.port) as client:
        assert (await client.get("/ice")).json() == {"door": whose}


@every_site
async def test_romms_own_socket_stays_romms(site: str) -> None:
    async with open_front(site) as front:
        async with open_websocket(front.nginx.port, f"/ws{WEBSOCKET}") as websocket:
            await connect(websocket)
        assert len(front.romm.app.sockets) == 1
        assert front.sfu.app.sockets == []


async def test_debugging_is_not_for_browsers() -> None:
    async with open_front() as front, open_client(front.nginx.port) as client:
        for target in (
            "/netplay/debug",
            "/netplay/debug/all-producers",
            "/netplay//debug/all-producers",
            "/netplay/Debug/all-producers",
            "/netplay/%64ebug/all-producers",
            "/netplay/x/../debug/all-producers",
        ):
            assert (await client.get(target)).status == 404
        assert front.sfu.requests == []


async def test_an_escaped_slash_in_a_rooms_name_stays_one() -> None:
    async with open_front() as front, open_client(front.nginx.port) as client:
        for prefix in ("", "/netplay"):
            await client.request("POST", f"{prefix}/join/a%2Fb%3Fc%23d%25e")
            assert front.sfu.requests[-1].path == "/join/a%2Fb%3Fc%23d%25e"


@pytest.mark.parametrize("site", ["g5", "g6"])
async def test_http_1_0_is_served(site: str) -> None:
    """nginx's default towards upstreams, and what its REST rules inside RomM use."""
    async with open_front(site) as front, open_client(front.nginx.port) as client:
        for count in range(3):
            assert (await client.get("/list")).status == 200
            assert front.sfu.requests[-1].headers["connection"] == "close"
            assert front.sfu.listener.accepted == count + 1


# --- who asks -------------------------------------------------------------------------------------

PROXY_ONLY = SignalingSettings(trusted_proxies=(ip_network("127.0.0.1/32"),))


@every_site
async def test_the_clients_address_is_seen_behind_a_trusted_proxy(site: str) -> None:
    async with open_front(site, PROXY_ONLY) as front:
        async with open_client(front.nginx.port, "127.0.0.9") as client:
            await client.get("/list")
            await client.get("/list", **{"X-Forwarded-For": "203.0.113.1"})  # nobody vouches for that one
            await open_session(client)
        assert [request.remote for request in front.sfu.requests] == ["127.0.0.9", "127.0.0.9"]
        # The fifth generation does not say who asks for a session.
        [socket] = front.sfu.app.sockets
        assert socket.handshake.remote == ("127.0.0.1" if site == "g5" else "127.0.0.9")


async def test_a_proxy_that_is_not_trusted_is_the_client() -> None:
    elsewhere = SignalingSettings(trusted_proxies=(ip_network("192.0.2.0/24"),))
    async with open_front(settings=elsewhere) as front:
        async with open_client(front.nginx.port, "127.0.0.9") as client:
            await client.get("/list")
        assert front.sfu.requests[0].remote == "127.0.0.1"


@pytest.mark.contract("D13")
async def test_no_token_gets_into_the_access_log() -> None:
    async with open_front() as front, open_client(front.nginx.port) as client:
        await client.get("/list?token=secret-1&domain=x", Cookie="romm_sfu_token=secret-2")
        await client.get(f"{POLLING}&token=secret-3", Authorization="Bearer secret-4")
        assert dict(front.sfu.requests[0].query)["token"] == "secret-1"
        await eventually(lambda: front.nginx.access_log.count("\n") == 2)
        log = front.nginx.access_log
        assert [line.split('"')[1] for line in log.splitlines()] == ["GET /list", "GET /socket.io/"]
        assert "secret" not in log


# --- Engine.IO through it -------------------------------------------------------------------------


@every_site
@pytest.mark.parametrize("prefix", ["", "/netplay"])
async def test_long_polling(site: str, prefix: str) -> None:
    """``Connection: upgrade`` without ``Upgrade``, as RomM's nginx has it, is an ordinary request."""
    async with open_front(site) as front, open_client(front.nginx.port) as client:
        target = await open_session(client, prefix)
        for size in (1, 100_000, 900_000):
            packet = f'42["event","{LARGE[:size]}"]'
            assert (await client.request("POST", target, packet.encode())).body == b"ok"
            assert (await client.get(target)).body == packet.encode()
        assert [args for _, args in front.sfu.app.events] == [
            [LARGE[:size]] for size in (1, 100_000, 900_000)
        ]


@every_site
async def test_a_held_poll_is_answered_at_once_when_there_is_something_to_say(site: str) -> None:
    async with open_front(site) as front, open_client(front.nginx.port) as polls:
        target = await open_session(polls)
        answers: list[Answer] = []

        async def poll() -> None:
            answers.append(await polls.get(target))

        async with trio.open_nursery() as nursery, open_client(front.nginx.port) as posts:
            nursery.start_soon(poll)
            assert (await posts.request("POST", target, b"3")).body == b"ok"  # a pong: nothing to say
            assert answers == []
            front.sfu.app.sockets[0].emit("now")
        assert [answer.body for answer in answers] == [b'42["now"]']


async def test_connections_to_the_daemon_are_kept() -> None:
    async with open_front() as front, open_client(front.nginx.port) as client:
        target = await open_session(client)
        for _ in range(20):
            assert (await client.request("POST", target, b'42["event"]')).body == b"ok"
            assert (await client.get(target)).body == b'42["event"]'
            assert (await client.get("/list")).status == 200
        assert front.sfu.listener.accepted == 1


@pytest.mark.contract("NGX-03")
@every_site
@pytest.mark.parametrize("prefix", ["", "/netplay"])
async def test_websocket(site: str, prefix: str) -> None:
    async with open_front(site) as front:
        port, headers = front.nginx.port, [(b"Cookie", b"a=b")]
        async with open_websocket(port, f"{prefix}{WEBSOCKET}", headers=headers) as websocket:
            await connect(websocket)
            for size in (1, 900_000):
                packet = f'42["event","{LARGE[:size]}"]'
                await websocket.send(packet)
                assert await websocket.receive() == packet
        [socket] = front.sfu.app.sockets
        assert socket.handshake.headers["cookie"] == "a=b"


@every_site
async def test_an_upgrade_in_the_middle_of_traffic(site: str) -> None:
    async with open_front(site) as front, open_client(front.nginx.port) as client:
        target = await open_session(client)
        assert (await client.request("POST", target, b'42["n",0]')).body == b"ok"
        assert (await client.get(target)).body == b'42["n",0]'
        async with open_websocket(front.nginx.port, target.replace("polling", "websocket")) as websocket:
            await websocket.send("2probe")
            assert await websocket.receive() == "3probe"
            assert (await client.request("POST", target, b'42["n",1]')).body == b"ok"
            assert (await client.get(target)).body == b'42["n",1]'
            await websocket.send("5")
            await websocket.send('42["n",2]')
            assert await websocket.receive() == '42["n",2]'
        assert [args for _, args in front.sfu.app.events] == [[0], [1], [2]]


@pytest.mark.contract("D86")
async def test_nothing_is_to_be_cached() -> None:
    """Nor does our configuration say so, as RomM's does of Socket.IO."""
    async with open_front() as front, open_client(front.nginx.port) as client:
        answers = [await client.get(target) for target in ("/list", "/netplay/list", "/ice", POLLING)]
        for answer in answers:
            assert "expires" not in answer.headers
            assert answer.headers.get("cache-control", "no-store") == "no-store"


# --- silence --------------------------------------------------------------------------------------


def seconds(directive: str) -> float:
    """The value of a time in our configuration."""
    match = re.search(rf"^ *{directive} (\d+)s;", LOCATIONS.read_text(), re.MULTILINE)
    assert match is not None
    return float(match[1])


def test_the_proxy_is_more_patient_than_the_daemon() -> None:
    settings = SignalingSettings()
    assert seconds("proxy_read_timeout") > settings.ping_interval + settings.ping_timeout
    # It must not use a connection that the daemon is about to close.
    kept = re.findall(r"^ *keepalive_timeout (\d+)s;", ONE_NODE.read_text(), re.MULTILINE)
    assert [float(each) < settings.idle_timeout for each in kept] == [True]


async def read_pings(front: Front, pings: int, transport: str) -> int:
    """Hold a session that only answers pings; returns how many there were before the proxy cut it."""
    count = 0
    if transport == "websocket":
        async with open_websocket(front.nginx.port) as websocket:
            await connect(websocket)
            try:
                while count < pings:
                    if await websocket.receive() == "2":
                        count += 1
                        await websocket.send("3")
            except ConnectionClosed:
                pass
    else:
        async with open_client(front.nginx.port) as client:
            target = await open_session(client)
            while count < pings and (answer := await client.get(target)).status == 200:
                assert answer.body == b"2"
                count += 1
                assert (await client.request("POST", target, b"3")).status == 200
    return count


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize(("ping_interval", "expected"), [(0.5, 7), (9.0, 0)])
async def test_pings_keep_an_idle_session_through_the_proxy(
    transport: str, ping_interval: float, expected: int
) -> None:
    """A proxy that waits three seconds: pings in between keep a session for longer, otherwise it is cut."""
    settings = SignalingSettings(ping_interval=ping_interval)
    patience = {f"proxy_read_timeout {seconds('proxy_read_timeout'):.0f}s;": "proxy_read_timeout 3s;"}
    async with open_front(settings=settings, changes=patience) as front:
        assert await read_pings(front, 7, transport) == expected


# --- when the daemon is not there -----------------------------------------------------------------


async def test_a_daemon_that_restarts_is_found_again() -> None:
    async with open_front() as front, open_client(front.nginx.port) as client:
        target = await open_session(client)
        port = front.sfu.port
        await front.sfu.shut()
        assert (await client.get("/list")).status == 502
        assert (await client.get("/")).json() == {"door": "romm"}
        async with open_door("sfu", port=port):
            assert (await client.get("/list")).json() == {"door": "sfu"}
            assert (await client.get(target)).json()["message"] == "Session ID unknown"
            await open_session(client)


async def test_sessions_outlive_a_reload_of_the_proxy() -> None:
    async with (
        open_front() as front,
        open_websocket(front.nginx.port) as websocket,
        open_client(front.nginx.port) as polls,
    ):
        await connect(websocket)
        target = await open_session(polls)
        answers: list[Answer] = []

        async def poll() -> None:
            answers.append(await polls.get(target))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll)
            async with open_client(front.nginx.port) as posts:
                assert (await posts.request("POST", target, b"3")).body == b"ok"  # by now the poll is held
            front.nginx.reload()
            await eventually(lambda: "gracefully shutting down" in front.nginx.error_log)
            async with open_client(front.nginx.port) as posts:
                assert (await posts.request("POST", target, b'42["event"]')).body == b"ok"
        assert [answer.body for answer in answers] == [b'42["event"]']
        await websocket.send('42["event"]')
        assert await websocket.receive() == '42["event"]'

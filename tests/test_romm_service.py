"""RomM's side as a service of its own: wiring, start, stop; on its own, with Redis, and with a daemon."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
import trio

import tests.support.plain_asyncio  # noqa: F401 - a service with Redis loads trio-asyncio
from sfu.program import CannotStart
from sfu.romm.client import RommClient
from sfu.romm.port import RommUnavailable, RoomRecord, RoomTaken, TokenRefused
from sfu.romm_service import SHUTDOWN_TIMEOUT, RommServer, RommServiceSettings, serve_romm
from tests.support.daemon import EXECUTABLE, HOST, environment, free_ports, open_daemon, stretched
from tests.support.redis_server import RedisServer, running_redis

KEY = "0123456789abcdef0123456789abcdef"
SECRET = "correct horse battery staple"
LOOPBACK = (ip_network("127.0.0.0/8"),)
USER = {"x-forwarded-user": "ann"}


def settings(**changes: Any) -> RommServiceSettings:
    fields: dict[str, Any] = {
        "signing_key": KEY,
        "internal_secret": SECRET,
        "port": 0,
        "trusted_proxies": LOOPBACK,
    }
    return RommServiceSettings(**(fields | changes))


@asynccontextmanager
async def running(chosen: RommServiceSettings) -> AsyncIterator[str]:
    """The service in this process; yields its URL."""
    async with trio.open_nursery() as nursery:
        server: RommServer = await nursery.start(serve_romm, chosen)
        yield f"http://127.0.0.1:{server.port}"
        nursery.cancel_scope.cancel()


async def mint(url: str, kind: str = "read", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{url}/api/sfu/token", json={"token_type": kind}, headers=USER | headers)


async def test_a_daemon_and_a_browser_at_a_service() -> None:
    servers = [{"urls": "stun:stun.example"}]
    async with running(settings(ice_servers=servers)) as url, RommClient(url, SECRET) as romm:
        token = (await mint(url, "write")).json()["token"]
        verified = await romm.verify(token, consume=True)
        assert (verified.sub, verified.token_type) == ("ann", "sfu:write")
        with pytest.raises(TokenRefused):
            await romm.verify(token, consume=True)
        # A name with everything that a URL and a header find hard.
        room = RoomRecord("a/b?c=%41&\U0001f47e +", 1, 4, False, "n", "u", {"game_id": 7})
        await romm.upsert_room(room, if_absent=True)
        assert await romm.resolve_room(room.room_name) == room
        with pytest.raises(RoomTaken):
            await romm.upsert_room(RoomRecord(room.room_name, 1, 4, False, "m", "u", {}))
        assert list(await romm.list_rooms()) == [room.room_name]
        async with httpx.AsyncClient(trust_env=False) as browser:
            ice = await browser.get(f"{url}/api/sfu/ice", headers=USER)
        assert ice.json() == {"iceServers": servers}


async def test_identity_of_the_peer_and_not_of_its_headers() -> None:
    elsewhere = settings(trusted_proxies=(ip_network("10.0.0.0/8"),))
    async with running(elsewhere) as url:
        response = await mint(url, **{"x-forwarded-for": "10.0.0.1", "x-real-ip": "10.0.0.1"})
        assert (response.status_code, response.json()) == (403, {"detail": "Forbidden"})


async def test_a_header_that_is_sent_twice_is_ambiguous() -> None:
    async with running(settings()) as url, httpx.AsyncClient(trust_env=False) as client:
        headers = [("X-Forwarded-User", "mallory"), ("X-Forwarded-User", "ann")]
        response = await client.post(f"{url}/api/sfu/token", headers=headers)
        assert (response.status_code, response.json()) == (403, {"detail": "ambiguous user name"})


async def test_tokens_have_the_lives_that_were_set() -> None:
    async with running(settings(read_token_ttl=7, write_token_ttl=5)) as url:
        assert [(await mint(url, kind)).json()["expires"] for kind in ("read", "write")] == [7, 5]


async def test_no_secret_no_internal_endpoints() -> None:
    async with running(settings(internal_secret=None)) as url, RommClient(url, SECRET) as romm:
        assert (await mint(url)).status_code == 200
        with pytest.raises(RommUnavailable, match="on RomM's side"):
            await romm.list_rooms()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"signing_key": "short"}, "signing key"),
        ({"write_token_ttl": 0}, "lifetimes"),
        ({"redis_url": "http://localhost"}, "Redis URL must be"),
        ({"identity_header": "Cookie"}, "identity header"),
    ],
)
async def test_settings_of_no_use(changes: dict[str, Any], reason: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(CannotStart, match=reason)):
        async with running(settings(**changes)):
            raise AssertionError


async def test_a_port_in_use() -> None:
    with contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.RaisesGroup(pytest.RaisesExc(CannotStart, match=f"cannot listen on 127.0.0.1:{port}")):
            async with running(settings(port=port)):
                raise AssertionError


def test_secrets_are_not_shown() -> None:
    text = repr(settings(redis_url="redis://:hidden@localhost"))
    assert KEY not in text
    assert SECRET not in text
    assert "hidden" not in text


# The process


class Process:
    """``trio-sfu romm``."""

    def __init__(self, *options: str, **variables: str) -> None:
        self.port = free_ports(0)[0]
        given = environment() | {"ROMM_AUTH_SECRET_KEY": KEY, "ROMM_SFU_INTERNAL_SECRET": SECRET} | variables
        self.process = subprocess.Popen(
            [str(EXECUTABLE), "romm", "--port", str(self.port), "--trusted-proxy", "127.0.0.0/8", *options],
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.announcement = self.process.stdout.readline()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.connect()
        return connection

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float, str]:
        """Status, seconds, and what it had written to standard error."""
        began = time.monotonic()
        self.process.send_signal(number)
        _, stderr = self.process.communicate(timeout=30)
        return self.process.returncode, time.monotonic() - began, stderr


@contextlib.contextmanager
def process(*options: str, **variables: str) -> Iterator[Process]:
    running = Process(*options, **variables)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


def request(connection: http.client.HTTPConnection, path: str, body: object = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body)
    method = "GET" if body is None else "POST"
    connection.request(method, path, data, {"content-type": "application/json"} | headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.mark.interop
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_time(redis_server: RedisServer, number: signal.Signals) -> None:
    with process("--redis", redis_server.url) as service:
        assert service.announcement == (
            f"trio-sfu romm: listening on 127.0.0.1:{service.port}; everything in Redis at "
            f"127.0.0.1:{redis_server.port}/0; users from x-forwarded-user of 127.0.0.0/8\n"
        )
        idle, halfway = service.connect(), service.connect()
        assert request(idle, "/api/sfu/token", {"token_type": "write"}, **USER)[0] == 200
        halfway.send(b"POST /api/sfu/token HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        status, seconds, stderr = service.stop(number)
        assert status == 0
        assert seconds < stretched(2.0)
        assert stderr == ""
        assert idle.sock.recv(1) == b""
        idle.close()
        halfway.close()
    assert SHUTDOWN_TIMEOUT == 1.0


@pytest.mark.interop
def test_passwords_are_not_announced() -> None:
    with process("--redis", "redis://user:hidden@127.0.0.1:1/0") as service:
        assert "hidden" not in service.announcement
        _, _, stderr = service.stop()
        assert "hidden" not in stderr
        assert "Redis is away" in stderr


@pytest.mark.interop
def test_what_does_not_start_says_why() -> None:
    with contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with process("--port", str(port)) as service:
            _, stderr = service.process.communicate(timeout=30)
            assert service.process.returncode == 1
            assert stderr.startswith(f"trio-sfu romm: cannot listen on 127.0.0.1:{port}")
            assert "Traceback" not in stderr


@pytest.mark.interop
def test_a_service_that_starts_before_redis_and_outlives_it() -> None:
    with running_redis() as server:
        server.kill()
        with process("--redis", server.url) as service, contextlib.closing(service.connect()) as connection:
            write = {"token_type": "write"}
            down = (503, {"detail": "store unavailable"})
            assert request(connection, "/api/sfu/token", write, **USER) == down
            for _ in range(2):
                assert server.start()
                assert request(connection, "/api/sfu/token", write, **USER)[0] == 200
                server.kill()
                assert request(connection, "/api/sfu/token", write, **USER) == down
            assert service.stop()[0] == 0


@pytest.mark.interop
async def test_two_processes_race_for_tokens(redis_server: RedisServer) -> None:
    """Tokens minted at one, consumed at both at once: each passes exactly once."""
    outcomes: list[int] = []
    redis = ("--redis", redis_server.url)
    with process(*redis) as first, process(*redis) as second:
        async with RommClient(first.url, SECRET) as one, RommClient(second.url, SECRET) as two:

            async def race(token: str) -> None:
                passed = []

                async def verify(romm: RommClient) -> None:
                    try:
                        await romm.verify(token, consume=True)
                    except TokenRefused:
                        return
                    passed.append(romm)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(verify, one)
                    nursery.start_soon(verify, two)
                outcomes.append(len(passed))

            for _ in range(20):
                tokens = [(await mint(first.url, "write")).json()["token"] for _ in range(10)]
                async with trio.open_nursery() as nursery:
                    for token in tokens:
                        nursery.start_soon(race, token)
    assert outcomes == [1] * 200


@pytest.mark.interop
async def test_daemons_at_a_service(redis_server: RedisServer) -> None:
    """A daemon with our service as its RomM: its room is seen by the daemon beside it."""
    with process("--redis", redis_server.url) as service:
        variables = {"ROMM_API_BASE_URL": service.url, "ROMM_SFU_INTERNAL_SECRET": SECRET}
        options = ("--no-standalone", "--host", HOST)
        async with (
            open_daemon(options=options, variables=variables | {"NODE_ID": "a"}) as daemon,
            RommClient(service.url, SECRET) as romm,
        ):
            token = (await mint(service.url)).json()["token"]
            bearer = {"Authorization": f"Bearer {token}"}
            await romm.upsert_room(RoomRecord("beside", 1, 4, False, "b", "http://b.example", {}))
            status, _, body = await trio.to_thread.run_sync(daemon.request, "GET", "/list", None, bearer)
            assert status == 200
            assert json.loads(body)["beside"]["room_name"] == "beside"
            bad = {"Authorization": "Bearer x.y.z"}
            status, _, _ = await trio.to_thread.run_sync(daemon.request, "GET", "/list", None, bad)
            assert status == 401
            redis_server.raw.set("sfu:auth:revoked:ann", "99999999999")
            status, _, _ = await trio.to_thread.run_sync(daemon.request, "GET", "/list", None, bearer)
            assert status == 401
            redis_server.raw.delete("sfu:auth:revoked:ann")
            service.stop()
            status, _, _ = await trio.to_thread.run_sync(daemon.request, "GET", "/list", None, bearer)
            assert status == 503

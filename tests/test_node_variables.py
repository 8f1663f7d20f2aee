"""Variables of a real daemon do what they say, and nothing secret gets out of it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.config.reading import KEY, SERVICE
from tests.interop.member import eventually, open_member
from tests.support.daemon import (
    EXECUTABLE,
    HOST,
    Daemon,
    clean,
    environment,
    free_ports,
    open_daemon,
    running_daemon,
)

pytestmark = pytest.mark.interop

POLLING = "/socket.io/?EIO=4&transport=polling"
START_TIMEOUT = 30.0


def opened(daemon: Daemon, target: str = POLLING) -> dict[str, Any]:
    """A new session's open packet."""
    status, _, body = daemon.request("GET", target)
    assert status == 200, body
    packet: dict[str, Any] = json.loads(body[1:])
    return packet


def connect(daemon: Daemon, token: str) -> str:
    """What is answered to a token over polling."""
    target = f"{POLLING}&sid={opened(daemon)['sid']}"
    with httpx.Client(base_url=daemon.url, trust_env=False, timeout=10) as client:
        client.post(target, content="40" + json.dumps({"token": token})).raise_for_status()
        return client.get(target).text


@pytest.fixture(scope="module")
def tuned() -> Iterator[Daemon]:
    """A daemon with many settings of its own."""
    variables = {
        "NODE_ID": "one",
        "SFU_PING_INTERVAL_SECONDS": "12.5",
        "SFU_PING_TIMEOUT_SECONDS": "7",
        "SFU_MAX_PAYLOAD_BYTES": "20000",
        "SFU_REQUIRE_WRITE_TOKEN": "connect",
        "SFU_DEBUG_ROUTES": "1",
        "SFU_TRUSTED_PROXIES": "none",
        "SFU_LIMIT_MAX_BODY": "1000",
        "SFU_LIMIT_ROOM_NAME_LENGTH": "5",
    }
    with running_daemon(variables=variables) as daemon:
        yield daemon


def test_the_open_packet_has_the_settings(tuned: Daemon) -> None:
    packet = opened(tuned)
    assert packet.pop("sid").startswith("one.")
    assert packet == {
        "upgrades": ["websocket"],
        "pingInterval": 12500,
        "pingTimeout": 7000,
        "maxPayload": 20000,
    }


@pytest.mark.contract("D8")
def test_a_write_token_is_required_where_it_is_asked_for(tuned: Daemon) -> None:
    assert "unauthorized" in connect(tuned, tuned.mint("Ann"))
    status, _, body = tuned.request("POST", "/api/sfu/token", {"name": "Ann", "token_type": "write"})
    assert status == 200, body
    assert connect(tuned, json.loads(body)["token"]).startswith("40{")


def test_limits_of_rooms_and_connections_are_in_force(tuned: Daemon) -> None:
    def create(name: str, **more: str) -> int:
        _, _, minted = tuned.request("POST", "/api/sfu/token", {"name": "Ann", "token_type": "write"})
        headers = {"Authorization": f"Bearer {json.loads(minted)['token']}"}
        body = {"room_name": name, "max_players": 2, **more}
        return tuned.request("POST", "/create", body, headers)[0]

    assert create("short") == 200
    assert create("longer") == 400
    assert create("other", domain="x" * 1000) == 413


def test_debug_routes_answer_this_machine_alone(tuned: Daemon) -> None:
    assert tuned.request("GET", "/debug/all-producers")[0] == 200
    forwarded = {"X-Forwarded-For": "203.0.113.1"}
    assert tuned.request("GET", "/debug/all-producers", headers=forwarded)[0] == 404
    with running_daemon() as other:
        assert other.request("GET", "/debug/all-producers")[0] == 404


def test_another_path_for_sockets_and_limits_of_an_address() -> None:
    variables = {
        "SFU_SOCKET_PATH": "/netplay",
        "SFU_LIMIT_ADDRESS_CONNECTS_BURST": "2",
        "SFU_LIMIT_ADDRESS_CONNECTS_PER_SECOND": "1",
    }
    with running_daemon(variables=variables) as daemon:
        assert opened(daemon, "/netplay/?EIO=4&transport=polling")["sid"]
        assert daemon.request("GET", POLLING)[0] == 404
        answers = {daemon.request("GET", "/list?token=x")[0] for _ in range(20)}
        assert answers == {401, 429}
        # Who comes from elsewhere, as the proxy on this machine says, has an allowance of their own.
        assert daemon.request("GET", "/list?token=x", headers={"X-Forwarded-For": "203.0.113.1"})[0] == 401


async def test_whoever_shows_no_token_in_time_is_let_go() -> None:
    async with open_daemon(variables={"SFU_CONNECT_TIMEOUT_SECONDS": "0.1"}) as daemon:
        target = f"{POLLING}&sid={(await trio.to_thread.run_sync(opened, daemon))['sid']}"

        def gone() -> bool:
            return daemon.request("GET", target)[0] == 400

        with trio.fail_after(10):
            while not await trio.to_thread.run_sync(gone):
                pass


# Nothing secret gets out

PASSWORD = "hush-hush-password"


@pytest.mark.contract("D11", "D12", "D13", "D15")
async def test_the_log_of_a_whole_evening_at_debug_has_no_secret(tmp_path: Path) -> None:
    """And nothing is written elsewhere, as the original did with ``DEBUG_LOG_PATH``."""
    elsewhere = tmp_path / "debug.log"
    variables = {
        "LOG_LEVEL": "debug",
        "SFU_DEBUG_STATS": "1",
        "DEBUG_LOG_PATH": str(elsewhere),
        "ROMM_AUTH_SECRET_KEY": f"hush-hush-{KEY}",
        "ROMM_SFU_INTERNAL_SECRET": "hush-hush-secret",
        "SFU_TURN_SERVER1": "turn.example",
        "SFU_TURN_USER1": "ann",
        "SFU_TURN_PASS1": "hush-hush-credential",
        "SFU_STUN_SERVERS": "stun.example",
    }
    async with open_daemon(variables=variables) as daemon:
        tokens = [await trio.to_thread.run_sync(daemon.mint, name) for name in ("Ann", "Bob", "Cid")]

        def ask(target: str, headers: dict[str, str] | None = None, body: Any = None) -> tuple[int, bytes]:
            status, _, answer = daemon.request("GET" if body is None else "POST", target, body, headers)
            return status, answer

        bearer = {"Authorization": f"Bearer {tokens[2]}"}
        status, body = await trio.to_thread.run_sync(ask, "/ice", bearer)
        assert (status, b"hush-hush-credential" in body) == (200, True)
        assert (await trio.to_thread.run_sync(ask, f"/list?token={tokens[2]}"))[0] == 200
        assert (await trio.to_thread.run_sync(ask, "/list?token=hush-hush-wrong"))[0] == 401
        assert (await trio.to_thread.run_sync(ask, "/list", {"Cookie": "romm_sfu_token=hush-hush"}))[0] == 401
        locked = {"room_name": "locked", "max_players": 2, "password": PASSWORD}
        assert (await trio.to_thread.run_sync(ask, "/create", bearer, locked))[0] == 200
        wrong = {"X-Romm-Sfu-Secret": "hush-hush-wrong"}
        checked = await trio.to_thread.run_sync(ask, "/api/sfu/internal/verify", wrong, {"token": tokens[0]})
        assert checked[0] == 401
        async with open_member(daemon, "Dan") as dan, open_member(daemon, "Eve") as eve:
            room = {"extra": {"room_name": "den"}, "password": PASSWORD}
            assert await dan.signaling.call_raw("open-room", {**room, "maxPlayers": 2}) == [None]
            refused = await eve.signaling.call_raw("join-room", {**room, "password": "hush-hush"})
            assert refused == ["bad password"]
            assert (await eve.signaling.call_raw("join-room", room))[0] is None
            await dan.transport()
            # The statistics come every two seconds.
            await eventually(lambda: "transport stats" in daemon.stderr)
        ended = await trio.to_thread.run_sync(daemon.stop)
    events = [json.loads(line) for line in ended.stderr.splitlines()]
    assert {"worker stats", "transport stats", "socket gone"} <= {event["event"] for event in events}
    assert "hush-hush" not in ended.stderr + ended.stdout
    assert not any(token.rpartition(".")[2] in ended.stderr for token in tokens)
    assert not any("turn.example" in line or "stun.example" in line for line in ended.stderr.splitlines())
    assert not elsewhere.exists()
    assert clean(ended.stderr)


# RomM's side


@pytest.fixture
def romm() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """``trio-sfu romm`` as its users start it, and its port."""
    port, _ = free_ports(1)
    process = subprocess.Popen(
        [
            EXECUTABLE,
            "romm",
            "--port",
            str(port),
            "--trusted-proxy",
            HOST,
            "--identity-header",
            "Remote-User",
        ],
        env=environment() | SERVICE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, port
    finally:
        process.kill()
        process.communicate()


def test_romms_side_runs_and_nodes_can_use_it(romm: tuple[subprocess.Popen[str], int]) -> None:
    process, port = romm
    assert process.stdout is not None
    assert process.stdout.readline().startswith(f"trio-sfu romm: listening on {HOST}:{port}")
    with httpx.Client(base_url=f"http://{HOST}:{port}", trust_env=False, timeout=10) as client:
        assert client.post("/api/sfu/token", json={}).status_code == 403
        minted = client.post("/api/sfu/token", json={}, headers={"Remote-User": "ann"})
        assert minted.status_code == 200, minted.text
    options = ("--no-standalone", "--romm-url", f"http://{HOST}:{port}")
    variables = {"ROMM_SFU_INTERNAL_SECRET": SERVICE["ROMM_SFU_INTERNAL_SECRET"]}
    with running_daemon(options=options, variables=variables) as daemon:
        headers = {"Authorization": f"Bearer {minted.json()['token']}"}
        assert daemon.request("GET", "/list", headers=headers)[0] == 200
        assert daemon.request("GET", "/list", headers={"Authorization": "Bearer x"})[0] == 401
        ended = daemon.stop()
    # One sees at its start what such a node should have been given.
    assert "PUBLIC_URL: not set" in ended.stderr
    assert "NODE_ID: not set" in ended.stderr
    process.send_signal(signal.SIGTERM)
    assert process.wait(START_TIMEOUT) == 0


def test_romms_side_says_when_its_port_is_taken() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [EXECUTABLE, "romm", "--port", str(port), "--trusted-proxy", HOST],
            env=environment() | SERVICE,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT,
            check=False,
        )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"trio-sfu romm: cannot listen on {HOST}:{port} ")

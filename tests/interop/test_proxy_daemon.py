"""The real daemon behind nginx, with clients that are not ours."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trio

from tests.signaling.harness import POLLING
from tests.support.daemon import Daemon, clean, running_daemon
from tests.support.nginx import SITES, Nginx, one_node, running_nginx

pytestmark = pytest.mark.interop

EVENING = Path(__file__).parent / "socketio_evening.py"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as one:
        yield one
        assert clean(one.stop().stderr)


@pytest.fixture(scope="module", params=SITES)
def nginx(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[Nginx]:
    """The standalone daemon also takes RomM's place: it mints tokens and serves the page."""
    with running_nginx(SITES[request.param], one_node(daemon.port, daemon.port)) as one:
        yield one


@pytest.mark.parametrize("transports", ["polling", "websocket", "polling,websocket"])
@pytest.mark.parametrize("path", ["socket.io", "netplay/socket.io"])
async def test_python_socketio(nginx: Nginx, daemon: Daemon, path: str, transports: str) -> None:
    """Open, join, two hundred messages in order, leave; one token in the packet, one in a cookie."""
    tokens = [daemon.mint(name) for name in ("Ann", "Bob")]
    command = [sys.executable, str(EVENING), nginx.url, path, transports, *tokens]
    with trio.fail_after(60):
        done = await trio.run_process(command, capture_stdout=True)
    assert json.loads(done.stdout) == {
        "opened": None,
        "users": 2,
        "received": True,
        "transport": [transports.split(",")[-1]] * 2,
    }


def test_a_token_is_taken_from_header_cookie_and_query(nginx: Nginx) -> None:
    """Same-origin, as RomM's page asks; a page may mint only if it comes from the host that it asks."""
    with httpx.Client(base_url=nginx.url, headers={"Origin": nginx.url}) as client:
        token = client.post("/api/sfu/token", json={"name": "Eve"}).json()["token"]
        ways: list[dict[str, Any]] = [
            {"headers": {"Authorization": f"Bearer {token}"}},
            {"headers": {"Cookie": f"romm_sfu_token={token}"}},
            {"params": {"token": token}},
        ]
        for way in ways:
            for target in ("/list", "/netplay/list"):
                answer = client.get(target, **way)
                assert (answer.status_code, type(answer.json())) == (200, dict)
                assert answer.headers["access-control-allow-origin"] == "*"
        assert client.get("/list").status_code == 401
        elsewhere = client.post("/api/sfu/token", json={}, headers={"Origin": "https://elsewhere.example"})
        assert elsewhere.status_code == 403


@pytest.mark.parametrize("room", ["Friday night", "50% off/on?", "\N{VIDEO GAME}"])
def test_rooms_over_http(nginx: Nginx, daemon: Daemon, room: str) -> None:
    """Made, listed, found, joined and left; whatever its name needs in a path."""
    ann, bob = ({"Authorization": f"Bearer {daemon.mint(name)}"} for name in ("Ann", "Bob"))
    name = f"{room} {nginx.port}"
    path = quote(name, safe="")
    with httpx.Client(base_url=nginx.url) as client:
        made = client.post("/create", json={"room_name": name, "max_players": 2}, headers=ann)
        assert (made.status_code, made.json()["room_id"]) == (200, name)
        assert client.get("/list", headers=bob).json()[name]["room_name"] == name
        found = client.get("/netplay/resolve", params={"room": name}, headers=bob)
        assert (found.status_code, found.json()["room_name"]) == (200, name)
        joined = client.post(f"/join/{path}", json={}, headers=bob)
        assert (joined.status_code, joined.json()["room_id"]) == (200, name)
        assert client.post(f"/leave/{path}", headers=bob).json() == {"success": True}
        assert client.post(f"/join/{path}x", json={}, headers=bob).status_code == 404


def test_preflight(nginx: Nginx) -> None:
    asks = {
        "Origin": "https://play.example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    for target in ("/create", "/join/x", "/netplay/create"):
        answer = httpx.request("OPTIONS", nginx.url + target, headers=asks)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
        assert "POST" in answer.headers["access-control-allow-methods"]


def test_a_node_with_a_name_puts_it_into_its_sessions() -> None:
    """What ``trio-sfu-nodes.conf`` goes by; ``test_proxy_nodes.py`` shows that it does."""
    with running_daemon(variables={"NODE_ID": "a"}) as named, running_daemon() as nameless:
        for daemon, prefix in ((named, "a."), (nameless, "")):
            status, _, body = daemon.request("GET", POLLING)
            assert status == 200
            sid = json.loads(body[1:])["sid"]
            assert sid.startswith(prefix)
            assert len(sid) == len(prefix) + 20

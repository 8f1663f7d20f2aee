"""The RomM that refuses registry writes for want of a CSRF token (``romm-api.md`` 1.9)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from sfu.romm.client import RommClient
from sfu.romm.port import Romm, RommUnavailable, RoomRecord
from tests.romm.support import SECRET, Side
from tests.romm.test_client import RECORD, every_call
from tests.support.daemon import open_daemon
from tests.support.http_server import Request, Response, serve_http

CSRF_REFUSAL = Response(403, (("Content-Type", "text/plain"),), b"CSRF token verification failed")


class CsrfRomm:
    """A RomM of the generation that demands CSRF tokens from daemons."""

    def __init__(self, *cookies: str) -> None:
        self.side = Side()
        self.cookies = cookies
        self.valid = {cookie.partition(";")[0].partition("=")[2] for cookie in cookies}
        self.seen: list[str] = []
        self._more = trio.Event()

    async def wait(self) -> None:
        """For the next request."""
        await self._more.wait()

    async def answer(self, request: Request) -> Response:
        self.seen.append(f"{request.method} {request.target.rpartition('/')[2]}")
        self._more.set()
        self._more = trio.Event()
        assert request.headers["x-romm-sfu-secret"] == SECRET
        if request.method == "GET":
            answer = await self.side.answer(request)
            cookies = tuple(("Set-Cookie", cookie) for cookie in self.cookies)
            return Response(answer.status, (*answer.headers, *cookies), answer.body)
        token = request.headers.get("x-csrftoken")
        exempt = request.target.endswith("/verify")
        if not exempt and (token not in self.valid or request.headers["cookie"] != f"romm_csrftoken={token}"):
            return CSRF_REFUSAL
        return await self.side.answer(request)


@pytest.mark.contract("REG-21")
async def test_csrf_dance_once_per_process() -> None:
    romm_side = CsrfRomm("other=1; Path=/", "romm_csrftoken=tok-1.x; Path=/; SameSite=lax")
    async with serve_http(romm_side.answer) as url, RommClient(url, SECRET) as romm:
        await romm.upsert_room(RECORD)
        await romm.delete_room("a")
        assert romm_side.seen == ["POST upsert", "GET list", "POST upsert", "POST delete"]
        # The token goes stale: one more dance.
        romm_side.seen.clear()
        romm_side.valid = {"tok-2"}
        romm_side.cookies = ("romm_csrftoken=tok-2",)
        await romm.upsert_room(RECORD)
        assert romm_side.seen == ["POST upsert", "GET list", "POST upsert"]


async def test_csrf_dance_of_many_at_once() -> None:
    romm_side = CsrfRomm("romm_csrftoken=tok")
    async with serve_http(romm_side.answer) as url, RommClient(url, SECRET) as romm:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                record = RoomRecord(str(number), 0, 0, False, None, None, {})
                nursery.start_soon(partial(romm.upsert_room, record))
        assert romm_side.seen.count("GET list") == 1
        assert len(await romm.list_rooms()) == 10


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "other=1",
        "romm_csrftoken=",
        "romm_csrftoken=a b",
        'romm_csrftoken="a"',
        "romm_csrftoken=" + "x" * 1025,
    ],
)
async def test_csrf_without_a_usable_cookie(cookie: str) -> None:
    romm_side = CsrfRomm(*([cookie] if cookie else []))
    romm_side.valid = set()
    async with serve_http(romm_side.answer) as url, RommClient(url, SECRET) as romm:
        with pytest.raises(RommUnavailable, match="CSRF"):
            await romm.upsert_room(RECORD)
        assert romm_side.seen == ["POST upsert", "GET list"]


@pytest.mark.contract("REG-21")
async def test_csrf_that_never_passes_is_unavailable() -> None:
    romm_side = CsrfRomm("romm_csrftoken=tok")
    romm_side.valid = set()
    async with serve_http(romm_side.answer) as url, RommClient(url, SECRET) as romm:
        with pytest.raises(RommUnavailable, match="CSRF"):
            await romm.upsert_room(RECORD)
        assert len(romm_side.seen) == 3


@every_call
async def test_csrf_refusal_is_no_verdict(call: Callable[[Romm], Awaitable[object]]) -> None:
    async def handler(request: Request) -> Response:
        return CSRF_REFUSAL

    async with serve_http(handler) as url, RommClient(url, SECRET) as romm:
        with pytest.raises(RommUnavailable):
            await call(romm)


@pytest.mark.interop
@pytest.mark.contract("REG-21")
@pytest.mark.parametrize("cookies", [("romm_csrftoken=tok",), ()])
async def test_a_daemon_at_such_a_romm(cookies: tuple[str, ...]) -> None:
    """It lists its own rooms, whether or not RomM lets them into the registry."""
    romm_side = CsrfRomm(*cookies)
    token = await romm_side.side.token("read")
    bearer = {"Authorization": f"Bearer {token}"}
    async with serve_http(romm_side.answer) as url:
        variables = {"ROMM_API_BASE_URL": url, "ROMM_SFU_INTERNAL_SECRET": SECRET, "NODE_ID": "n"}
        async with open_daemon(options=("--no-standalone",), variables=variables) as daemon:

            async def ask(method: str, target: str, body: object = None) -> tuple[int, object]:
                status, _, data = await trio.to_thread.run_sync(daemon.request, method, target, body, bearer)
                return status, json.loads(data)

            status, _ = await ask("POST", "/create", {"room_name": "mine", "max_players": 2})
            assert status == 200
            # RomM has been told, or has refused to be: once more after the handshake, if there was one.
            with trio.fail_after(30):
                while romm_side.seen.count("POST upsert") < 1 + len(cookies):
                    await romm_side.wait()
            status, rooms = await ask("GET", "/list")
            assert status == 200
            assert isinstance(rooms, dict)
            assert rooms["mine"]["room_name"] == "mine"
    assert await romm_side.side.store.rooms() == {}  # at the end the daemon took it out again

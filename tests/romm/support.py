"""Our RomM side with clocks in the hand of the test, and a user base to go with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from sfu.romm.http import RommHttp, RommRequest, RommResponse
from sfu.romm.identity import Caller, Identify, Identity
from sfu.romm.service import RommService
from sfu.romm.store import MemoryStore, Store
from sfu.romm.tokens import Tokens
from tests.support import http_server

SECRET = "correct horse battery staple"
KEY = b"0123456789abcdef0123456789abcdef"
EPOCH = 1_800_000_000.0


@dataclass
class Clock:
    """Both clocks at once."""

    elapsed: float = 0.0

    def monotonic(self) -> float:
        return 5000.0 + self.elapsed

    def wall(self) -> float:
        return EPOCH + self.elapsed


@dataclass
class User:
    username: str
    netplay_id: str | None = None
    old_name: str | None = None
    """``ui_settings.netplay_username``, where the first RomM kept the name for netplay."""

    def identity(self, sub: str) -> Identity:
        return Identity(sub, None, self.netplay_id or self.old_name)


class Accounts:
    """A stand-in for RomM's user base: the session cookie is the username."""

    def __init__(self, *users: User) -> None:
        self.users = {user.username: user for user in users}
        self.kiosk = False

    def claim(self, caller: Caller, name: object) -> Identity | None:
        return self.who(caller)

    def who(self, caller: Caller) -> Identity | None:
        cookie = caller.headers.get("cookie", "")
        user = self.users.get(cookie.removeprefix("romm_session=")) if cookie else None
        if user is not None:
            return user.identity(user.netplay_id or user.username)
        return Identity("kiosk", None, "kiosk") if self.kiosk else None

    def current(self, sub: str, uid: str | None) -> Identity | None:
        if sub == "kiosk":
            return Identity(sub, None, "kiosk")
        for user in self.users.values():
            if user.netplay_id == sub:
                return user.identity(sub)
        for user in self.users.values():
            if user.username.lower() == sub.lower():
                return user.identity(sub)
        return None


class Side:
    """Our RomM side, addressed as its HTTP clients do."""

    def __init__(
        self,
        identify: Identify | None = None,
        *,
        secret: str | None = SECRET,
        ice_servers: tuple[Mapping[str, Any], ...] = (),
        clock: Clock | None = None,
        store: Store | None = None,
        read_ttl: int = 900,
    ) -> None:
        self.clock = clock or Clock()
        self.tokens = Tokens(KEY, read_ttl=read_ttl)
        self.store = store or MemoryStore(clock=self.clock.monotonic)
        self.identify = identify or Accounts(User("ann"), User("bob", netplay_id="Zed☆"))
        self.service = RommService(
            self.tokens, self.store, self.identify, ice_servers=ice_servers, wall=self.clock.wall
        )
        self.http = RommHttp(self.service, secret)

    async def request(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
        remote: str = "192.0.2.1",
    ) -> RommResponse:
        content = raw if raw is not None else b"" if body is None else msgspec.json.encode(body)
        path, _, query = target.partition("?")
        given = {"content-type": "application/json"} if content else {}
        return await self.http.handle(
            RommRequest(
                method=method,
                path=unquote(path),
                query=parse_qsl(query, keep_blank_values=True),
                headers=given | dict(headers or {}),
                body=content,
                remote=remote,
            )
        )

    async def internal(self, method: str, path: str, body: object = None) -> RommResponse:
        return await self.request(
            method, f"/api/sfu/internal/{path}", body, headers={"x-romm-sfu-secret": SECRET}
        )

    async def mint(self, body: object = None, *, user: str = "ann") -> RommResponse:
        return await self.request("POST", "/api/sfu/token", body, headers={"cookie": f"romm_session={user}"})

    async def token(self, kind: str = "write", *, user: str = "ann") -> str:
        response = await self.mint({"token_type": kind}, user=user)
        assert response.status == 200
        token = json_of(response)["token"]
        assert isinstance(token, str)
        return token

    async def verify(self, token: object, **fields: object) -> RommResponse:
        return await self.internal("POST", "verify", {"token": token, **fields})

    async def answer(self, request: http_server.Request) -> http_server.Response:
        """A handler for :func:`tests.support.http_server.serve_http`."""
        response = await self.request(
            request.method, request.target, raw=request.body, headers=request.headers
        )
        return http_server.Response(response.status, response.headers, response.body)


def json_of(response: RommResponse) -> Any:
    return msgspec.json.decode(response.body)


def outcome(response: RommResponse) -> tuple[int, Any]:
    """Status, and ``detail`` if there is one."""
    value = json_of(response)
    return response.status, value.get("detail") if isinstance(value, dict) else None

"""RomM's internal API over HTTP (``romm-api.md`` 1.4 to 1.9 and 1.11).

Built for every RomM since the internal API exists, and for what stands between it and us: an answer is
believed only if it looks like RomM's own. Whatever is not a verdict about the token is
:class:`RommUnavailable`, so that a RomM that is down, misconfigured or hidden behind a login page is never
mistaken for "this user may not".
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Final, Self

import httpx
import msgspec
import trio

from sfu.romm import records
from sfu.romm.jsontext import BadJson, parse_untrusted
from sfu.romm.port import RommUnavailable, RoomRecord, RoomTaken, TokenRefused, Verified
from sfu.romm.records import BadRecord
from sfu.romm.tokens import MAX_TOKEN_CHARS, TokenKind, token_type_untrusted

TIMEOUT: Final = 5.0
"""Seconds for a whole call, CSRF handshake included."""
MAX_RESPONSE: Final = 8 * 1024 * 1024
"""Bytes of a response body: 2,000 rooms of 4 KiB."""
MAX_CONNECTIONS: Final = 32
"""Calls on the wire at once; further ones wait within their time-out."""
_KEEPALIVE: Final = 4.0
"""Seconds; shorter than the 5 s of common Python servers, or the first call after a pause would fail."""
_CSRF_REFUSAL: Final = b"CSRF token verification failed"
_CSRF_COOKIE: Final = "romm_csrftoken"
_COOKIE_VALUE: Final = re.compile(r"[!#-+\--:<-\[\]-~]{1,1024}")
"""RFC 6265 section 4.1.1, unquoted."""
_VISIBLE_ASCII: Final = re.compile(r"[!-~]+")
_MAX_DETAIL_CHARS: Final = 80
_TOKEN_TYPES: Final = frozenset(str(kind) for kind in TokenKind)

_VERIFY: Final = "/api/sfu/internal/verify"
_UPSERT: Final = "/api/sfu/internal/rooms/upsert"
_DELETE: Final = "/api/sfu/internal/rooms/delete"
_RESOLVE: Final = "/api/sfu/internal/rooms/resolve"
_LIST: Final = "/api/sfu/internal/rooms/list"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: httpx.Headers
    body: bytes

    def json_untrusted(self) -> Any:
        """The body, or None if it is not JSON."""
        try:
            return parse_untrusted(self.body)
        except BadJson:
            return None

    def detail(self) -> Any:
        """RomM's explanation of an error, or None if this is not RomM's kind of error."""
        value = self.json_untrusted()
        return value.get("detail") if isinstance(value, dict) else None


class RommClient:
    """Implements :class:`~sfu.romm.port.Romm`. Use as an async context manager, or call :meth:`aclose`.

    Follows no redirect, keeps no cookie but the CSRF one, reads no proxy settings from the environment, and
    puts neither the secret nor a token into any message.
    """

    def __init__(
        self,
        base_url: str,
        secret: str,
        *,
        timeout: float = TIMEOUT,
        max_response: int = MAX_RESPONSE,
    ) -> None:
        """:param base_url: ``http://host[:port][/prefix]``; a prefix is kept.
        :param secret: ``ROMM_SFU_INTERNAL_SECRET``, printable ASCII.
        :raises ValueError: the URL is no such URL, or the secret cannot be sent.
        """
        self._base = check_base_url(base_url)
        secret = secret.strip()
        if not secret or not secret.isascii() or not secret.isprintable():
            raise ValueError("the internal secret must be printable ASCII")
        self._timeout = timeout
        self._max_response = max_response
        self._csrf: str | None = None
        self._csrf_lock = trio.Lock()
        secure = self._base.startswith("https:")
        self._http = httpx.AsyncClient(
            headers={
                "x-romm-sfu-secret": secret,
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "trio-sfu",
            },
            # Cookies are ours to handle; a jar that accepts nothing.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # The machine's certificate authorities, where people put those of their own.
            verify=ssl.create_default_context() if secure else False,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(timeout),
            limits=httpx.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_CONNECTIONS // 2,
                keepalive_expiry=_KEEPALIVE,
            ),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def verify(self, token: str, *, consume: bool) -> Verified:
        # What no token can look like is not worth a call.
        if len(token) > MAX_TOKEN_CHARS or not _VISIBLE_ASCII.fullmatch(token):
            raise TokenRefused("invalid token")
        answer = await self._call("POST", _VERIFY, {"token": token, "consume": consume})
        if answer.status in (400, 401, 422):
            self._refusal_untrusted(answer, token)
        value = _object(answer, "POST", _VERIFY)
        sub = value.get("sub")
        name = value.get("netplay_username")
        if not isinstance(sub, str) or not sub or not (name is None or isinstance(name, str)):
            raise RommUnavailable(f"unexpected answer to POST {_VERIFY}")
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in _TOKEN_TYPES:
            kind = token_type_untrusted(token)
        return Verified(sub, name, kind)

    async def upsert_room(self, record: RoomRecord, *, if_absent: bool = False) -> None:
        ownership = {"if_absent": True} if if_absent else {"force": False}
        answer = await self._call("POST", _UPSERT, records.to_json(record) | ownership)
        if answer.status == 409 and answer.detail() == "room exists":
            raise RoomTaken("room exists")
        _object(answer, "POST", _UPSERT)

    async def delete_room(self, room_name: str, *, node_id: str | None = None) -> None:
        owner = {} if node_id is None else {"nodeId": node_id}
        _object(await self._call("POST", _DELETE, {"room_name": room_name} | owner), "POST", _DELETE)

    async def resolve_room(self, room_name: str) -> RoomRecord | None:
        if not room_name.strip():
            return None
        answer = await self._call("GET", _RESOLVE, query={"room": room_name})
        # "Not Found", with capitals, is what a RomM without this endpoint says.
        if answer.status == 404 and answer.detail() == "not found":
            return None
        try:
            return records.from_json_untrusted(_object(answer, "GET", _RESOLVE))
        except BadRecord:
            raise RommUnavailable(f"unexpected answer to GET {_RESOLVE}") from None

    async def list_rooms(self) -> dict[str, dict[str, Any]]:
        rooms = _object(await self._call("GET", _LIST), "GET", _LIST)
        return {name: room for name, room in rooms.items() if isinstance(room, dict)}

    def _refusal_untrusted(self, answer: _Answer, token: str) -> None:
        """Raise what a 4xx to verify means.

        :raises TokenRefused: RomM's verdict about the token.
        :raises RommUnavailable: our secret was refused.
        """
        detail = answer.detail()
        if detail is None:
            return
        if answer.status == 401 and detail == "unauthorized":
            raise RommUnavailable("RomM refused our secret: check ROMM_SFU_INTERNAL_SECRET on both sides")
        # A 422 lists the input, token included; and a text is passed on only if it is a plain short one.
        plain = (
            isinstance(detail, str)
            and len(detail) <= _MAX_DETAIL_CHARS
            and detail.isprintable()
            and token not in detail
        )
        raise TokenRefused(detail if plain else "invalid token")

    async def _call(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, str] | None = None
    ) -> _Answer:
        """Send a request, with the CSRF detour if RomM demands it (1.9).

        :raises RommUnavailable: no answer in time, or none that can be read.
        """
        try:
            content = None if body is None else msgspec.json.encode(body)
            url = str(httpx.URL(self._base + path, params=query))
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise RommUnavailable(f"cannot encode {method} {path}") from None
        try:
            with trio.fail_after(self._timeout):
                return await self._send_with_csrf(method, url, content)
        except trio.TooSlowError:
            raise RommUnavailable(f"RomM did not answer {method} {path} within {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            raise RommUnavailable(f"{type(error).__name__} in {method} {path}") from None

    async def _send_with_csrf(self, method: str, url: str, content: bytes | None) -> _Answer:
        csrf = self._csrf
        answer = await self._send(method, url, content, csrf)
        if method == "GET" or not _is_csrf_refusal(answer):
            return answer
        async with self._csrf_lock:
            if self._csrf == csrf:  # nobody else has renewed it meanwhile
                self._csrf = None
                self._csrf = _csrf_cookie_untrusted(await self._send("GET", self._base + _LIST, None, None))
            csrf = self._csrf
        return answer if csrf is None else await self._send(method, url, content, csrf)

    async def _send(self, method: str, url: str, content: bytes | None, csrf: str | None) -> _Answer:
        headers = {}
        if content is not None:
            headers["Content-Type"] = "application/json"
            if csrf is not None:
                headers["Cookie"] = f"{_CSRF_COOKIE}={csrf}"
                headers["x-csrftoken"] = csrf
        async with self._http.stream(method, url, content=content, headers=headers) as response:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise RommUnavailable("RomM compressed an answer though asked not to")
            body = bytearray()
            # Cancelled rather than left: so httpx's generators end here, not in the garbage collector.
            with trio.CancelScope() as too_long:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > self._max_response:
                        too_long.cancel()
            if len(body) > self._max_response:
                raise RommUnavailable(f"RomM's answer exceeds {self._max_response} bytes")
            return _Answer(response.status_code, response.headers, bytes(body))


def check_base_url(base_url: str) -> str:
    """The URL without trailing slash.

    :raises ValueError: with a reason that can follow "must be".
    """
    try:
        url = httpx.URL(base_url.strip())
    except httpx.InvalidURL:
        raise ValueError("a URL like http://romm:8080") from None
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > 65535:
        raise ValueError("a URL like http://romm:8080")
    if url.userinfo:
        raise ValueError("a URL without user name and password")
    if url.query or url.fragment:
        raise ValueError("a URL without query and fragment")
    return str(url).rstrip("/")


def _object(answer: _Answer, method: str, path: str) -> dict[str, Any]:
    """The JSON object of a successful answer.

    :raises RommUnavailable: with the status, never with RomM's words, which may repeat our input.
    """
    if answer.status != 200:
        hint = ""
        if _is_csrf_refusal(answer):
            hint = ": RomM demands a CSRF token that it does not hand out"
        elif answer.status == 401 and answer.detail() == "unauthorized":
            hint = ": check ROMM_SFU_INTERNAL_SECRET on both sides"
        elif answer.status == 503 and answer.detail() == "SFU internal secret not configured":
            hint = ": set ROMM_SFU_INTERNAL_SECRET on RomM's side"
        raise RommUnavailable(f"RomM answered {answer.status} to {method} {path}{hint}")
    value = answer.json_untrusted()
    if not isinstance(value, dict):
        raise RommUnavailable(f"the answer to {method} {path} is not RomM's: check ROMM_API_BASE_URL")
    return value


def _is_csrf_refusal(answer: _Answer) -> bool:
    return answer.status == 403 and _CSRF_REFUSAL in answer.body[:1024]


def _csrf_cookie_untrusted(answer: _Answer) -> str | None:
    """RomM's CSRF cookie out of an answer, if it has one that can be sent back."""
    for line in answer.headers.get_list("set-cookie"):
        name, _, value = line.partition(";")[0].strip().partition("=")
        if name == _CSRF_COOKIE and _COOKIE_VALUE.fullmatch(value):
            return value
    return None

"""RomM's netplay endpoints, from request to response (``romm-api.md`` 1, with improvements of 7.2).

Knows no sockets and no framework: the node turns its HTTP server's requests into :class:`RommRequest`.
Nothing that a client sends makes :meth:`RommHttp.handle` raise, and bad input is answered with 4xx.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sfu.romm import records
from sfu.romm.identity import Caller, IdentityRefused
from sfu.romm.jsontext import BadJson, parse_untrusted
from sfu.romm.port import RommUnavailable, RoomRecord, RoomTaken, TokenRefused
from sfu.romm.records import BadRecord
from sfu.romm.service import BadRoomName, Overwrite, RommService, UnknownUser
from sfu.romm.store import StoreError
from sfu.romm.tokens import TokenKind

PREFIX: Final = "/api/sfu/"
"""All our paths begin with this."""
SECRET_HEADER: Final = "x-romm-sfu-secret"  # noqa: S105 (the name of a header)
MAX_BODY: Final = 64 * 1024
"""Bytes of a request body; a room record with all its extras is under 16 KiB."""
MAX_FIELD: Final = 2048
"""Code points of ``nodeId`` and ``url``."""


@dataclass(frozen=True, slots=True)
class RommRequest:
    """An HTTP request."""

    method: str
    """Upper case."""
    path: str
    """Percent-decoded, without query."""
    query: Sequence[tuple[str, str]]
    """Percent-decoded, in order."""
    headers: Mapping[str, str]
    """By lower-case name; repeated ones joined with ``", "``."""
    body: bytes
    remote: str
    """Peer address."""


@dataclass(frozen=True, slots=True)
class RommResponse:
    """An HTTP response; ``Content-Length`` is left to the server."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class _Refused(Exception):
    """Ends a handler with a response."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(status)
        self.status = status
        self.detail = detail


class _Body(BaseModel):
    """Lax conversions ("2", 4.0, "yes") and ignored surplus fields, as in RomM's own models."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _MintBody(_Body):
    token_type: str | None = None
    name: Any = None


class _VerifyBody(_Body):
    token: str
    consume: bool = True


class _RevokeBody(_Body):
    sub: Annotated[str, Field(min_length=1, max_length=MAX_FIELD)]


class _UpsertBody(_Body):
    model_config = ConfigDict(extra="allow", frozen=True)

    room_name: str
    current: Annotated[int, Field(ge=-records.MAX_COUNT, le=records.MAX_COUNT)] = 0
    max: Annotated[int, Field(ge=-records.MAX_COUNT, le=records.MAX_COUNT)] = 0
    hasPassword: bool = False  # noqa: N815 (wire name)
    nodeId: Annotated[str, Field(max_length=MAX_FIELD)] | None = None  # noqa: N815 (wire name)
    url: Annotated[str, Field(max_length=MAX_FIELD)] | None = None
    updatedAt: int | None = None  # noqa: N815 (wire name)
    if_absent: bool = False
    force: bool = True

    def overwrite(self) -> Overwrite:
        if self.if_absent:
            return Overwrite.OWN
        return Overwrite.ANY if self.force else Overwrite.OWN_OR_NOBODYS


class _DeleteBody(_Body):
    room_name: str
    nodeId: Annotated[str, Field(max_length=MAX_FIELD)] | None = None  # noqa: N815 (wire name)


_B = TypeVar("_B", bound=_Body)
_Handler = Callable[["RommHttp", RommRequest], Awaitable[RommResponse]]


class RommHttp:
    """Answers requests for paths under :data:`PREFIX`."""

    def __init__(self, service: RommService, internal_secret: str | None) -> None:
        """Without a secret the internal endpoints answer 503."""
        self._service = service
        self._secret = (internal_secret or "").strip().encode()

    async def handle(self, request: RommRequest) -> RommResponse:
        """Never raises, but for bugs and cancellation."""
        methods = _ROUTES.get(request.path.removesuffix("/"))
        if methods is None:
            return _error(404, "Not Found")
        handler = methods.get(request.method)
        if handler is None:
            return _error(405, "Method Not Allowed", ("Allow", ", ".join(methods)))
        try:
            return await handler(self, request)
        except _Refused as refused:
            return _error(refused.status, refused.detail)
        except UnknownUser:
            return _error(403, "Forbidden")
        except IdentityRefused as refused:
            return _error(refused.status, refused.detail)
        except TokenRefused as refused:
            return _error(401, str(refused))
        except RoomTaken as taken:
            return _error(409, str(taken))
        except (StoreError, RommUnavailable):
            return _error(503, "store unavailable")

    # Browsers

    async def _mint(self, request: RommRequest) -> RommResponse:
        body = _parse_untrusted(_MintBody, request, empty={})
        kind = _MINT_KINDS.get("read" if body.token_type is None else body.token_type)
        if kind is None:
            raise _Refused(400, "token_type must be 'read' or 'write'")
        grant = await self._service.mint(_caller(request), kind, body.name)
        lifetime = grant.minted.lifetime
        fields = {
            "token": grant.minted.token,
            "token_type": "bearer",
            "expires": lifetime,
            "expires_in": lifetime,
            "type": str(kind),
            "sub": grant.identity.sub,
            "netplay_username": grant.identity.netplay_username,
        }
        cookie = grant.identity.set_cookie
        return _json(200, fields, *(() if cookie is None else (("Set-Cookie", cookie),)))

    async def _ice(self, request: RommRequest) -> RommResponse:
        return _json(200, {"iceServers": self._service.ice_servers(_caller(request))})

    # The daemon. The secret comes before the body (7.2.10).

    async def _verify(self, request: RommRequest) -> RommResponse:
        self._guard(request)
        body = _parse_untrusted(_VerifyBody, request)
        checked = await self._service.check_untrusted(body.token, consume=body.consume)
        claims = checked.claims
        return _json(
            200,
            {
                "sub": claims.sub,
                "netplay_username": checked.netplay_username,
                "type": str(claims.kind),
                "exp": claims.exp,
                "jti": claims.jti,
            },
        )

    async def _revoke(self, request: RommRequest) -> RommResponse:
        self._guard(request)
        await self._service.revoke(_parse_untrusted(_RevokeBody, request).sub)
        return _json(200, {"ok": True})

    async def _upsert(self, request: RommRequest) -> RommResponse:
        self._guard(request)
        body = _parse_untrusted(_UpsertBody, request)
        record = RoomRecord(
            room_name=body.room_name,
            current=body.current,
            max=body.max,
            has_password=body.hasPassword,
            node_id=body.nodeId,
            url=body.url,
            extras=body.model_extra or {},
        )
        try:
            dropped = await self._service.put(record, body.overwrite())
        except BadRoomName as bad:
            raise _Refused(400, str(bad)) from None
        return _json(200, {"ok": True} | ({"dropped": dropped} if dropped else {}))

    async def _delete(self, request: RommRequest) -> RommResponse:
        self._guard(request)
        body = _parse_untrusted(_DeleteBody, request)
        try:
            await self._service.drop(body.room_name, node_id=body.nodeId)
        except BadRoomName as bad:
            raise _Refused(400, str(bad)) from None
        return _json(200, {"ok": True})

    async def _resolve(self, request: RommRequest) -> RommResponse:
        self._guard(request)
        names = [value for key, value in request.query if key == "room"]
        if not names:
            raise _Refused(422, [_problem(("query", "room"), "Field required", "missing")])
        if not names[-1].strip():
            raise _Refused(400, "missing room")
        try:
            fields = await self._service.get(names[-1])
        except BadRoomName:
            fields = None
        except BadRecord:
            raise _Refused(500, "invalid room record") from None
        if fields is None:
            raise _Refused(404, "not found")
        return _json(200, fields)

    async def _list(self, request: RommRequest) -> RommResponse:
        self._guard(request)
        return _json(200, await self._service.list_rooms())

    def _guard(self, request: RommRequest) -> None:
        if not self._secret:
            raise _Refused(503, "SFU internal secret not configured")
        given = request.headers.get(SECRET_HEADER, "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._secret):
            raise _Refused(401, "unauthorized")


_MINT_KINDS: Final = {"read": TokenKind.READ, "write": TokenKind.WRITE}

_ROUTES: Final[dict[str, dict[str, _Handler]]] = {
    PREFIX + "token": {"POST": RommHttp._mint},
    PREFIX + "ice": {"GET": RommHttp._ice},
    PREFIX + "internal/verify": {"POST": RommHttp._verify},
    PREFIX + "internal/revoke": {"POST": RommHttp._revoke},
    PREFIX + "internal/rooms/upsert": {"POST": RommHttp._upsert},
    PREFIX + "internal/rooms/delete": {"POST": RommHttp._delete},
    PREFIX + "internal/rooms/resolve": {"GET": RommHttp._resolve},
    PREFIX + "internal/rooms/list": {"GET": RommHttp._list},
}


def _caller(request: RommRequest) -> Caller:
    return Caller(request.headers, request.remote)


def _parse_untrusted(model: type[_B], request: RommRequest, *, empty: Any = None) -> _B:
    """Read a JSON body.

    :param empty: what an absent body, or null, stands for.
    :raises _Refused: 413 or 422; the answer never repeats the input, which may hold a token.
    """
    if len(request.body) > MAX_BODY:
        raise _Refused(413, "body too large")
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    value: Any = None
    if request.body:
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise _Refused(422, [_problem(("body",), "Input should be JSON", "model_attributes_type")])
        try:
            value = parse_untrusted(request.body)
        except BadJson:
            raise _Refused(422, [_problem(("body",), "JSON decode error", "json_invalid")]) from None
    if value is None:
        value = empty
    if value is None:
        raise _Refused(422, [_problem(("body",), "Field required", "missing")])
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise _Refused(
            422, [_problem(("body", *map(str, each["loc"])), each["msg"], each["type"]) for each in problems]
        ) from None


def _problem(loc: Sequence[str], msg: str, kind: str) -> dict[str, Any]:
    """One entry of RomM's 422 answers."""
    return {"type": kind, "loc": list(loc), "msg": msg}


def _error(status: int, detail: Any, *headers: tuple[str, str]) -> RommResponse:
    return _json(status, {"detail": detail}, *headers)


def _json(status: int, value: Any, *headers: tuple[str, str]) -> RommResponse:
    """Nothing here may be kept by a cache: there are tokens and TURN passwords in it."""
    fixed = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
    return RommResponse(status, (*fixed, *headers), msgspec.json.encode(value))

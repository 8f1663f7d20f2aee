"""Who makes an HTTP request: the token it brings, verified (``signaling.md`` 1.2 and D7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sfu.signaling.access import AccessDenied, may_write
from sfu.signaling.core import Core
from sfu.signaling.http import HttpError, Request, Response
from sfu.signaling.identity import derive_userid, request_token


@dataclass(frozen=True, slots=True)
class Visitor:
    """An authenticated user without a socket."""

    userid: str
    name: str
    """The token's ``sub``."""
    may_write: bool
    """Whether this was a write token."""


VisitorHandler = Callable[[Core, Request, Visitor], Awaitable[Response]]


def authenticated(
    core: Core, handler: VisitorHandler, *, consume: bool = False
) -> Callable[[Request], Awaitable[Response]]:
    """A handler of requests that need a token; ``consume`` says whether a write token is spent."""

    async def handle(request: Request) -> Response:
        return await handler(core, request, await _authenticate(core, request, consume=consume))

    return handle


async def _authenticate(core: Core, request: Request, *, consume: bool) -> Visitor:
    """Whose request this is.

    Raises:
        HttpError: 401 without a good token, 429 for too many, 503 if nobody can say.
    """
    try:
        verified = await core.access.verify(request_token(request), consume=consume, remote=request.remote)
        return Visitor(derive_userid(verified.sub), verified.sub, may_write(verified))
    except AccessDenied as denied:
        raise HttpError(denied.status, str(denied)) from None
    except ValueError:
        raise HttpError(401, "unauthorized") from None


async def check_write_token(core: Core, request: Request, visitor: Visitor, token: object) -> None:
    """Where write tokens are required, have one shown by those who came with another.

    Raises:
        HttpError: 403 without one; else as for any token.
    """
    if core.settings.require_write_token == "off" or visitor.may_write:  # noqa: S105 - no password
        return
    try:
        await core.access.check_write_token(token, visitor.name, remote=request.remote)
    except AccessDenied as denied:
        raise HttpError(denied.status, str(denied)) from None

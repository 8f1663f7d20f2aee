"""Asking RomM who somebody is, and what their token is good for (``signaling.md`` 2.2 and 2.3)."""

from __future__ import annotations

from typing import Final

import structlog
import trio

from sfu.romm.port import Romm, RommUnavailable, TokenRefused, Verified
from sfu.signaling.admission import TOO_MANY, Admission
from sfu.signaling.identity import MAX_TOKEN_LENGTH

log = structlog.get_logger(__name__)

WRITE_TOKENS: Final = frozenset({"sfu:write", "sfu"})
"""Token types that may change rooms where that is asked for; ``sfu`` is the oldest. One that nobody can tell
may not."""

WRITE_TOKEN_REQUIRED: Final = "write token required for room operations"  # noqa: S105 - no password


class AccessDenied(Exception):
    """Somebody is not who they have to be, or nobody can say. The text is for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        """What an HTTP request is answered."""


def may_write(verified: Verified) -> bool:
    """Whether this was a write token."""
    return verified.token_type in WRITE_TOKENS


class Access:
    """Verifies tokens. Nothing is asked, so nothing is spent, for those who would be turned away anyway."""

    def __init__(self, romm: Romm, admission: Admission) -> None:
        self._romm = romm
        self._admission = admission

    async def verify(self, token: object, *, consume: bool, remote: str) -> Verified:
        """Whose token this is.

        Args:
            token: what was found in its place; only a string of sensible length can be one.
            consume: whether a write token is spent.
            remote: whose address has to answer for the question.

        Raises:
            AccessDenied: 401 for a bad token or none, 429 for too many questions, 503 if nobody can say.
        """
        if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN_LENGTH:
            raise AccessDenied(401, "unauthorized")
        if not self._admission.admits_token(remote, trio.current_time()):
            raise AccessDenied(429, TOO_MANY)
        try:
            return await self._romm.verify(token, consume=consume)
        except TokenRefused:
            raise AccessDenied(401, "unauthorized") from None
        except RommUnavailable as error:
            log.warning("token not verified", error=str(error))
            raise AccessDenied(503, "auth unavailable") from None

    async def check_write_token(self, token: object, sub: str, *, remote: str) -> None:
        """Spend a write token that came with a request of somebody who has shown a read token only.

        Raises:
            AccessDenied: 403 if it is none or somebody else's; else as :meth:`verify`.
        """
        try:
            verified = await self.verify(token, consume=True, remote=remote)
        except AccessDenied as denied:
            if denied.status == 401:
                raise AccessDenied(403, WRITE_TOKEN_REQUIRED) from None
            raise
        if not may_write(verified) or verified.sub != sub:
            raise AccessDenied(403, WRITE_TOKEN_REQUIRED)

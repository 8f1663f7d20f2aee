"""Passwords of rooms, and a brake for those who guess."""

from __future__ import annotations

from sfu.rooms.names import Refused, same_password
from sfu.rooms.settings import RoomSettings

SECONDS_PER_TRY = 6.0
"""How long it takes until one more wrong password is allowed."""

MAX_GUESSERS = 10_000
"""Users whose wrong passwords are counted; beyond it, who guessed longest ago is forgotten."""


class PasswordTries:
    """Wrong passwords by userid, in all rooms together. A right one costs nothing."""

    def __init__(self, burst: int) -> None:
        self._burst = burst
        self._clean_at: dict[str, float] = {}
        """When all that a user got wrong is forgiven, in the order of the last try."""

    def __len__(self) -> int:
        return len(self._clean_at)

    def check(self, settings: RoomSettings, userid: str, given: object, now: float, *, wrong: str) -> None:
        """Raise :class:`Refused` ``wrong`` unless ``given`` opens the room, ``too many requests`` for who has
        guessed too often; to them the right password is refused as well."""
        if not settings.password:
            return
        clean_at = max(self._clean_at.get(userid, now), now)
        if clean_at - now > (self._burst - 1) * SECONDS_PER_TRY:
            raise Refused("too many requests")
        if same_password(settings.password, given):
            return
        self._clean_at.pop(userid, None)
        self._forget(now)
        self._clean_at[userid] = clean_at + SECONDS_PER_TRY
        raise Refused(wrong)

    def _forget(self, now: float) -> None:
        """Drop from the front who is forgiven already, and somebody if all places are taken."""
        while self._clean_at:
            userid, clean_at = next(iter(self._clean_at.items()))
            if clean_at > now and len(self._clean_at) < MAX_GUESSERS:
                return
            del self._clean_at[userid]

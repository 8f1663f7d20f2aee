"""Our own RomM side: mint, verify, room registry, ICE list (``romm-api.md`` 1.2, 1.3, 1.5 to 1.8 and 7.2).

:class:`RommService` is the logic behind :mod:`sfu.romm.http`, and implements the :class:`~sfu.romm.port.Romm`
port in process, for ``--standalone``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sfu.romm import records
from sfu.romm.identity import Caller, Identify, Identity
from sfu.romm.jsontext import BadJson, parse_untrusted
from sfu.romm.port import RommUnavailable, RoomRecord, TokenRefused, Verified
from sfu.romm.records import BadRecord
from sfu.romm.store import Store, StoreError, TokenRecord
from sfu.romm.tokens import ISSUER, Claims, Minted, TokenKind, Tokens

ROOM_TTL: Final = 60
"""Seconds that a room stays registered after its last upsert."""
MAX_ROOM_NAME: Final = 1024
"""Code points."""
_LISTED: Final = "0"
"""What the newest RomM writes for a listed token."""


class UnknownUser(Exception):
    """Nobody that we know asks for something that needs an identity."""


class BadRoomName(Exception):
    """A room name that is blank, or longer than :data:`MAX_ROOM_NAME`."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A minted token and whom it names."""

    minted: Minted
    identity: Identity


@dataclass(frozen=True, slots=True)
class Checked:
    """A token that passed."""

    claims: Claims
    netplay_username: str | None


class RommService:
    """One instance per process; holds no state but its parts'."""

    def __init__(
        self,
        tokens: Tokens,
        store: Store,
        identify: Identify,
        *,
        ice_servers: Sequence[Mapping[str, Any]] = (),
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``wall`` is epoch seconds."""
        self._tokens = tokens
        self._store = store
        self._identify = identify
        self._ice_servers = [dict(server) for server in ice_servers]
        self._wall = wall

    # Tokens

    async def mint(self, caller: Caller, kind: TokenKind, name: object = None) -> Grant:
        """Make a token.

        :raises UnknownUser: the caller is nobody.
        :raises IdentityRefused: by :meth:`Identify.claim`.
        :raises StoreError: the one-time token cannot be listed.
        """
        identity = self._identify.claim(caller, name)
        if identity is None:
            raise UnknownUser
        minted = self._tokens.mint(kind, sub=identity.sub, uid=identity.uid, now=self._wall())
        if minted.claims.jti is not None:
            await self._store.list_token(minted.claims.jti, _LISTED, minted.lifetime)
        return Grant(minted, identity)

    async def check_untrusted(self, token: str, *, consume: bool) -> Checked:
        """Check a token, and use it up if it is of a one-time kind and ``consume`` says so.

        A record that contradicts the token, or a user who is gone, costs the token nothing.

        :raises TokenRefused: with RomM's text for the first check that failed (1.5).
        :raises StoreError: there is no way to tell.
        """
        claims = self._tokens.verify_untrusted(token, self._wall())
        listed_name = None
        if claims.jti is not None:
            record = await self._store.listed_token(claims.jti)
            if record is None:
                raise TokenRefused("token not listed, already consumed or doesn't exist")
            listed_name = _check_record(record, claims)
        identity = self._identify.current(claims.sub, claims.uid)
        if identity is None:
            raise TokenRefused("unknown user")
        if consume and claims.jti is not None and not await self._store.consume_token(claims.jti):
            raise TokenRefused("token already used or not found")
        return Checked(claims, identity.netplay_username or listed_name)

    # ICE

    def ice_servers(self, caller: Caller) -> list[dict[str, Any]]:
        """The list for browsers, TURN credentials included.

        :raises UnknownUser: the caller is nobody.
        """
        if self._identify.who(caller) is None:
            raise UnknownUser
        return self._ice_servers

    # Registry

    async def put(self, record: RoomRecord) -> list[str]:
        """Register a room for :data:`ROOM_TTL` seconds, replacing what was there.

        :returns: the names of extras that did not fit.
        :raises BadRoomName:
        :raises StoreError:
        """
        name = room_name_untrusted(record.room_name)
        kept, dropped = records.kept_extras(record.extras)
        fields = {
            **records.standard_fields(record),
            "room_name": name,
            "updatedAt": int(self._wall() * 1000),
            **kept,
        }
        await self._store.put_room(name, msgspec.json.encode(fields).decode(), ROOM_TTL)
        return dropped

    async def drop(self, room_name: str) -> None:
        """Unregister a room; nothing happens if it is not registered.

        :raises BadRoomName:
        :raises StoreError:
        """
        await self._store.delete_room(room_name_untrusted(room_name))

    async def get(self, room_name: str) -> dict[str, Any] | None:
        """All fields of a room, ``updatedAt`` included.

        :raises BadRoomName:
        :raises BadRecord: what is stored is not a room.
        :raises StoreError:
        """
        text = await self._store.room(room_name_untrusted(room_name))
        if text is None:
            return None
        record, updated = _stored(text)
        standard = records.standard_fields(record)
        return {**standard, "updatedAt": updated, **records.kept_extras(record.extras)[0]}

    # The port, in process

    async def verify(self, token: str, *, consume: bool) -> Verified:
        try:
            checked = await self.check_untrusted(token, consume=consume)
        except StoreError as error:
            raise RommUnavailable(f"token store: {error}") from None
        return Verified(checked.claims.sub, checked.netplay_username, str(checked.claims.kind))

    async def upsert_room(self, record: RoomRecord) -> None:
        try:
            await self.put(record)
        except (BadRoomName, StoreError) as error:
            raise RommUnavailable(f"room registry: {error}") from None

    async def delete_room(self, room_name: str) -> None:
        try:
            await self.drop(room_name)
        except (BadRoomName, StoreError) as error:
            raise RommUnavailable(f"room registry: {error}") from None

    async def resolve_room(self, room_name: str) -> RoomRecord | None:
        try:
            fields = await self.get(room_name)
        except BadRoomName:
            return None
        except (BadRecord, StoreError) as error:
            raise RommUnavailable(f"room registry: {error}") from None
        return None if fields is None else records.from_json_untrusted(fields)

    async def list_rooms(self) -> dict[str, dict[str, Any]]:
        try:
            stored = await self._store.rooms()
        except StoreError as error:
            raise RommUnavailable(f"room registry: {error}") from None
        rooms = {}
        for name, text in stored.items():
            try:
                record, _ = _stored(text, name=name)
            except BadRecord:
                continue
            rooms[name] = records.standard_fields(record) | records.kept_extras(record.extras)[0]
        return rooms


def room_name_untrusted(name: str) -> str:
    """The name as it is stored: trimmed, otherwise verbatim.

    :raises BadRoomName:
    """
    trimmed = name.strip()
    if not trimmed:
        raise BadRoomName("missing room_name")
    if len(trimmed) > MAX_ROOM_NAME:
        raise BadRoomName("room_name too long")
    return trimmed


def _check_record(record: TokenRecord, claims: Claims) -> str | None:
    """Compare a listed token with its claims (1.5 step 13, 7.2.2); the netplay name if the record has one.

    :raises TokenRefused: they contradict each other.
    """
    if isinstance(record, str):
        try:
            fields = parse_untrusted(record)
        except BadJson:
            return None
        if not isinstance(fields, dict):
            return None
    else:
        fields = record
        if fields.get("iss") != ISSUER:
            raise TokenRefused("invalid issuer")
    if fields.get("sub") != claims.sub:
        raise TokenRefused("sub mismatch")
    if fields.get("jti") != claims.jti:
        raise TokenRefused("jti mismatch")
    name = fields.get("netplay_username")
    return name if isinstance(name, str) and name else None


def _stored(text: str, *, name: str | None = None) -> tuple[RoomRecord, int | None]:
    """A stored room and its ``updatedAt``.

    :raises BadRecord:
    """
    try:
        value = parse_untrusted(text)
    except BadJson:
        raise BadRecord("not JSON") from None
    record = records.from_json_untrusted(value, name=name)
    updated = value.get("updatedAt")
    return record, updated if isinstance(updated, int) else None

"""Our own RomM side: mint, verify, room registry, ICE list (``romm-api.md`` 1.2, 1.3, 1.5 to 1.8 and 7.2).

:class:`RommService` is the logic behind :mod:`sfu.romm.http`, and implements the :class:`~sfu.romm.port.Romm`
port in process, for ``--standalone``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import msgspec

from sfu.romm import records
from sfu.romm.identity import Caller, Identify, Identity
from sfu.romm.jsontext import BadJson, parse_untrusted
from sfu.romm.port import RommUnavailable, RoomRecord, RoomTaken, TokenRefused, Verified
from sfu.romm.records import BadRecord
from sfu.romm.store import Store, StoreError, TokenRecord
from sfu.romm.tokens import ISSUER, Claims, Minted, TokenKind, Tokens

ROOM_TTL: Final = 60
"""Seconds that a room stays registered after its last upsert."""
MAX_ROOM_NAME: Final = 1024
"""Code points."""
MAX_SWAPS: Final = 16
"""Attempts to change a room that others change at the same time."""
_SOURCE: Final = "trio-sfu"
"""Who listed a token, for whoever looks into the store."""


class Overwrite(Enum):
    """Which live record of the same name an upsert replaces (7.2.9)."""

    ANY = "any"
    """As the reference does."""
    OWN_OR_NOBODYS = "own or nobody's"
    """One of the same node, or one that names no node."""
    OWN = "own"
    """Only one of the same node."""


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
            attributes = _attributes(minted.claims, minted.claims.jti, identity)
            await self._store.list_token(minted.claims.jti, attributes, minted.lifetime)
        return Grant(minted, identity)

    async def revoke(self, sub: str) -> None:
        """Make all tokens void that a user has now (7.2.7). Later ones are good, from the next second on.

        :raises StoreError:
        """
        await self._store.revoke(sub, int(self._wall()) + 1, self._tokens.longest_life)

    async def check_untrusted(self, token: str, *, consume: bool) -> Checked:
        """Check a token, and use it up if it is of a one-time kind and ``consume`` says so.

        A record that contradicts the token, or a user who is gone, costs the token nothing.

        :raises TokenRefused: with RomM's text for the first check that failed (1.5).
        :raises StoreError: there is no way to tell.
        """
        claims = self._tokens.verify_untrusted(token, self._wall())
        if await self._is_revoked(claims):
            raise TokenRefused("token revoked")
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

    async def _is_revoked(self, claims: Claims) -> bool:
        """Whether the user's tokens of that time were made void.

        A read token counts as good while there is no way to tell: RomM's own verify needs no store for it
        (1.5), and an outage of the store must not keep everybody out.
        """
        try:
            before = await self._store.revoked_before(claims.sub)
        except StoreError:
            if claims.kind.one_time:
                raise
            return False
        return before is not None and claims.iat < before

    # ICE

    def ice_servers(self, caller: Caller) -> list[dict[str, Any]]:
        """The list for browsers, TURN credentials included.

        :raises UnknownUser: the caller is nobody.
        """
        if self._identify.who(caller) is None:
            raise UnknownUser
        return self._ice_servers

    # Registry

    async def put(self, record: RoomRecord, overwrite: Overwrite = Overwrite.ANY) -> list[str]:
        """Register a room for :data:`ROOM_TTL` seconds, replacing what was there.

        :returns: the names of extras that did not fit.
        :raises BadRoomName:
        :raises RoomTaken: what was there may not be replaced.
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
        text = msgspec.json.encode(fields).decode()
        if overwrite is Overwrite.ANY:
            await self._store.put_room(name, text, ROOM_TTL)
        else:
            await self._swap(name, text, lambda old: _may_replace(old, record.node_id, overwrite))
        return dropped

    async def drop(self, room_name: str, *, node_id: str | None = None) -> None:
        """Unregister a room; nothing happens if it is not registered.

        :param node_id: leave a room of any other node alone.
        :raises BadRoomName:
        :raises StoreError:
        """
        name = room_name_untrusted(room_name)
        if node_id is None:
            await self._store.delete_room(name)
            return
        try:
            await self._swap(name, None, lambda old: _is_of(old, node_id))
        except RoomTaken:
            pass

    async def _swap(self, name: str, text: str | None, allowed: Callable[[str], bool]) -> None:
        """Write a room, or delete it if ``text`` is None, unless ``allowed`` objects to what is there."""
        for _ in range(MAX_SWAPS):
            old = await self._store.room(name)
            if old is not None and not allowed(old):
                raise RoomTaken("room exists")
            if await self._store.swap_room(name, old, text, ROOM_TTL):
                return
        raise StoreError("others keep changing this room")

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

    async def upsert_room(self, record: RoomRecord, *, if_absent: bool = False) -> None:
        try:
            await self.put(record, Overwrite.OWN if if_absent else Overwrite.OWN_OR_NOBODYS)
        except (BadRoomName, StoreError) as error:
            raise RommUnavailable(f"room registry: {error}") from None

    async def delete_room(self, room_name: str, *, node_id: str | None = None) -> None:
        try:
            await self.drop(room_name, node_id=node_id)
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


def _attributes(claims: Claims, jti: str, identity: Identity) -> dict[str, str]:
    """What the first RomM kept of a listed token (7.2.1)."""
    attributes = {
        "sub": claims.sub,
        "iss": ISSUER,
        "jti": jti,
        "iat": str(claims.iat),
        "exp": str(claims.exp),
        "source": _SOURCE,
    }
    if identity.netplay_username is not None:
        attributes["netplay_username"] = identity.netplay_username
    return attributes


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


def _may_replace(text: str, node_id: str | None, overwrite: Overwrite) -> bool:
    try:
        record, _ = _stored(text, name="")
    except BadRecord:
        return True  # no room at all, though it has the name of one
    if record.node_id is None:
        return overwrite is Overwrite.OWN_OR_NOBODYS
    return record.node_id == node_id


def _is_of(text: str, node_id: str) -> bool:
    try:
        record, _ = _stored(text, name="")
    except BadRecord:
        return False
    return record.node_id == node_id


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

"""Who is asking for a token: the :class:`Identify` port, and the guests of ``--standalone``.

Our RomM side has no accounts and no passwords. A guest is a browser that holds a random secret in a cookie;
a name belongs to that secret while it is in use, and whoever else asks for it becomes "Ann 2", "Ann 3". So
nobody takes over another's seat by typing a name, though the daemon derives its user ids from names.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import unicodedata
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

from sfu.romm.store import ExpiringMap
from sfu.romm.tokens import READ_TOKEN_TTL

COOKIE: Final = "trio_sfu_guest"
COOKIE_MAX_AGE: Final = 365 * 24 * 3600
"""Seconds."""
DEFAULT_NAME: Final = "Guest"
MAX_NAME_CHARS: Final = 20
"""Code points, suffix included: browsers compare only the first 20 of a name."""
GUEST_LEASE: Final = 3600
"""Seconds that a name stays taken after its last mint or check."""
LEASE_BEYOND_TOKEN: Final = 60
"""Seconds that a name stays taken, at the least, after its last token expired."""
MAX_NAMES: Final = 4096
"""Names in use at once."""
MAX_NAMES_PER_GUEST: Final = 5
"""Names that one secret may have in use at once."""
MAX_NAMES_PER_ADDRESS: Final = 256
"""Names in use that were taken from one address: one address cannot take them all."""

_SECRET_BYTES: Final = 32
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class IdentityRefused(Exception):
    """The caller gets no identity: ``status`` is the HTTP status, the text goes to the caller."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Caller:
    """The HTTP request of a browser, as far as identity goes."""

    headers: Mapping[str, str]
    """By lower-case name."""
    remote: str
    """Peer address."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user."""

    sub: str
    """Name that goes into tokens."""
    uid: str | None = None
    """Stable id that goes into tokens, where there is one."""
    netplay_username: str | None = None
    """What verify reports; None where the user has chosen none."""
    set_cookie: str | None = None
    """Value of a ``Set-Cookie`` header for the browser."""


class Identify(Protocol):
    """How our RomM side knows users. No call waits."""

    def claim(self, caller: Caller, name: object) -> Identity | None:
        """Who this is, for a mint; None means nobody that we know (403).

        :param name: what the body's ``name`` held, unchecked; None if absent. May be ignored.
        :raises IdentityRefused: with the reason.
        """
        ...

    def who(self, caller: Caller) -> Identity | None:
        """Who this is, without any side effect; None means nobody that we know (403)."""
        ...

    def current(self, sub: str, uid: str | None) -> Identity | None:
        """The user of a good token as of now; None if gone, or if the name is another's by now (401)."""
        ...


@dataclass(slots=True)
class _Lease:
    name: str
    asked: str
    """Key of the name that was asked for."""
    uid: str
    remote: str


class GuestNames:
    """Which name belongs to whom. Pure: ``now`` is monotonic seconds.

    Two names are the same if they differ only in case, in width or style of letters, or in blanks.
    """

    def __init__(
        self,
        lease: float = GUEST_LEASE,
        *,
        max_names: int = MAX_NAMES,
        max_per_guest: int = MAX_NAMES_PER_GUEST,
        max_per_address: int = MAX_NAMES_PER_ADDRESS,
    ) -> None:
        self._lease = lease
        self._max_names = max_names
        self._max_per_guest = max_per_guest
        self._max_per_address = max_per_address
        self._leases: ExpiringMap[_Lease] = ExpiringMap(max_names)
        # Keys of each guest's leases, the one last used at the end.
        self._of_guest: dict[str, list[str]] = {}
        self._of_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._leases)

    def last_name(self, uid: str, now: float) -> str | None:
        """The name that a guest used last, while it is taken."""
        self._expire(now)
        keys = self._of_guest.get(uid)
        lease = self._leases.get(keys[-1], now) if keys else None
        return None if lease is None else lease.name

    def take(self, uid: str, name: str, remote: str, now: float) -> str:
        """Take a name (from :func:`clean_name_untrusted`) or renew it; the answer may carry a number.

        A guest who asks for the same name again gets the same answer while the lease lasts.

        :raises IdentityRefused: 429, one of the three limits.
        """
        self._expire(now)
        asked = name_key(name)
        for key in reversed(self._of_guest.get(uid, ())):
            lease = self._leases.get(key, now)
            if lease is not None and asked in (key, lease.asked):
                self._renew(key, lease, now)
                return lease.name
        for number in range(1, self._max_names + 2):
            candidate = name if number == 1 else _numbered(name, number)
            key = name_key(candidate)
            if self._leases.get(key, now) is None:
                self._add(key, _Lease(candidate, asked, uid, remote), now)
                return candidate
        raise IdentityRefused(429, "too many guests")

    def confirm(self, uid: str, name: str, now: float) -> bool:
        """Whether a name on a good token is its bearer's; renews the lease.

        A name that nobody has is given back to the bearer: so tokens survive a restart.
        """
        self._expire(now)
        key = name_key(name)
        lease = self._leases.get(key, now)
        if lease is not None:
            if lease.uid != uid or lease.name != name:
                return False
            self._renew(key, lease, now)
            return True
        try:
            self._add(key, _Lease(name, key, uid, ""), now)
        except IdentityRefused:
            return False
        return True

    def keep(self, name: str, now: float) -> None:
        """Renew a name's lease, whoever has it; nothing happens if nobody has."""
        self._expire(now)
        key = name_key(name)
        lease = self._leases.get(key, now)
        if lease is not None and lease.name == name:
            self._leases.put(key, lease, now + self._lease, now)

    def _add(self, key: str, lease: _Lease, now: float) -> None:
        if len(self._leases) >= self._max_names:
            raise IdentityRefused(429, "too many guests")
        if len(self._of_guest.get(lease.uid, ())) >= self._max_per_guest:
            raise IdentityRefused(429, "too many names")
        if lease.remote:
            if self._of_address[lease.remote] >= self._max_per_address:
                raise IdentityRefused(429, "too many guests from one address")
            self._of_address[lease.remote] += 1
        self._leases.put(key, lease, now + self._lease, now)
        self._of_guest.setdefault(lease.uid, []).append(key)

    def _renew(self, key: str, lease: _Lease, now: float) -> None:
        self._leases.put(key, lease, now + self._lease, now)
        keys = self._of_guest[lease.uid]
        keys.remove(key)
        keys.append(key)

    def _expire(self, now: float) -> None:
        for key, lease in self._leases.expire(now).items():
            keys = self._of_guest[lease.uid]
            keys.remove(key)
            if not keys:
                del self._of_guest[lease.uid]
            if lease.remote:
                self._of_address[lease.remote] -= 1
                if not self._of_address[lease.remote]:
                    del self._of_address[lease.remote]


class GuestIdentify:
    """:class:`Identify` for ``--standalone``: anyone is a guest."""

    def __init__(
        self,
        *,
        token_ttl: int = READ_TOKEN_TTL,
        allowed_origins: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """:param token_ttl: longest life of a token, in seconds: a name stays taken for longer than that.
        :param allowed_origins: pages of other hosts that may mint, as ``https://host[:port]``, or ``*``.
        :param clock: monotonic seconds.
        """
        self.names = GuestNames(max(GUEST_LEASE, token_ttl + LEASE_BEYOND_TOKEN))
        self._allowed_origins = frozenset(allowed_origins)
        self._clock = clock
        self._random_bytes = random_bytes

    def claim(self, caller: Caller, name: object) -> Identity | None:
        check_origin(caller, self._allowed_origins)
        now = self._clock()
        secret = _secret_untrusted(caller.headers.get("cookie", ""))
        if secret is None:
            secret = urlsafe_b64encode(self._random_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
        uid = _uid(secret)
        if name is None:
            wanted = self.names.last_name(uid, now) or DEFAULT_NAME
        else:
            wanted = clean_name_untrusted(name)
        sub = self.names.take(uid, wanted, caller.remote, now)
        cookie = f"{COOKIE}={secret}; Path=/; Max-Age={COOKIE_MAX_AGE}; HttpOnly; SameSite=Lax"
        return Identity(sub, uid, sub, cookie)

    def who(self, caller: Caller) -> Identity | None:
        secret = _secret_untrusted(caller.headers.get("cookie", ""))
        if secret is None:
            return None
        uid = _uid(secret)
        sub = self.names.last_name(uid, self._clock())
        return None if sub is None else Identity(sub, uid, sub)

    def current(self, sub: str, uid: str | None) -> Identity | None:
        if uid is None or not self.names.confirm(uid, sub, self._clock()):
            return None
        return Identity(sub, uid, sub)

    def keep(self, subs: Iterable[str]) -> None:
        """Renew the names of guests who are connected, who need not come by here for hours.

        To be called more often than :data:`GUEST_LEASE`, or their names go to whoever asks.
        """
        now = self._clock()
        for sub in subs:
            self.names.keep(sub, now)


def check_origin(caller: Caller, allowed: Collection[str]) -> None:
    """Let pages pass of the host that is asked, and those allowed, as ``https://host[:port]`` or ``*``.

    Without this any web page could have its visitor's browser mint a token at a daemon on the visitor's
    own machine or network, and look around there.

    :raises IdentityRefused: 403.
    """
    origin = caller.headers.get("origin")
    if origin is None or "*" in allowed or origin in allowed:
        return
    ours = _host_untrusted("//" + caller.headers.get("host", ""))
    theirs = _host_untrusted(origin)
    if theirs is None or not (theirs == ours or {theirs, ours} <= _LOOPBACK):
        raise IdentityRefused(403, "pages of this origin may not play here")


def clean_name_untrusted(name: object, max_chars: int = MAX_NAME_CHARS) -> str:
    """Trim a name and put it into Unicode's form NFC.

    :raises IdentityRefused: 400 if it is no string, has other than 1 to ``max_chars`` code points, looks
        empty, or has control, format (bidi overrides, joiners), private or unassigned characters, or line
        breaks.
    """
    if not isinstance(name, str):
        raise IdentityRefused(400, "name must be a string")
    if len(name) > 4 * max_chars:
        raise IdentityRefused(400, f"name must have 1 to {max_chars} characters")
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(cleaned) <= max_chars:
        raise IdentityRefused(400, f"name must have 1 to {max_chars} characters")
    if any(_forbidden(unicodedata.category(char)) for char in cleaned) or not name_key(cleaned):
        raise IdentityRefused(400, "name contains invalid characters")
    return cleaned


def name_key(name: str) -> str:
    """What two names have in common that look the same; empty for a name that looks empty."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join("".join(char for char in folded if not _invisible(char)).split())


def _forbidden(category: str) -> bool:
    return category[0] == "C" or category in ("Zl", "Zp")


def _invisible(char: str) -> bool:
    """Default-ignorable and blank characters that are neither controls nor spaces."""
    return char in "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0" or "\ufe00" <= char <= "\ufe0f"


def _numbered(name: str, number: int) -> str:
    suffix = f" {number}"
    return name[: MAX_NAME_CHARS - len(suffix)].rstrip() + suffix


def _uid(secret: str) -> str:
    """The secret itself stays in the browser and goes nowhere else."""
    return hashlib.sha256(secret.encode()).hexdigest()[:32]


def _secret_untrusted(cookies: str) -> str | None:
    """Our cookie out of a ``Cookie`` header (RFC 6265 section 4.2), if it looks like one that we set."""
    for pair in cookies.split(";"):
        key, _, value = pair.strip().partition("=")
        if key == COOKIE and _SECRET.fullmatch(value):
            return value
    return None


def _host_untrusted(url: str) -> str | None:
    """The host name of a URL in lower case, without port or brackets; None if there is none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None

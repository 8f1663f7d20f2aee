"""Users whom a reverse proxy has logged in: the :class:`~sfu.romm.identity.Identify` of ``trio-sfu romm``.

The proxy (oauth2-proxy, Authelia, Authentik, a web server with Basic or certificates) puts the user's name
into a header of every request. That header is believed only from peers on a list; whoever else sends it is
nobody.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from sfu.romm.identity import Caller, Identity, IdentityRefused, check_origin, clean_name_untrusted

IDENTITY_HEADER: Final = "x-forwarded-user"
"""Where the proxy puts the user's name, unless told otherwise."""
MAX_USER_CHARS: Final = 64
"""Code points of a user's name."""
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_CLIENTS_OWN: Final = frozenset({"host", "origin", "cookie", "authorization", "user-agent", "referer"})


class ProxyIdentify:
    """Knows no accounts: a name that was on a good token is a user until the token expires or is revoked."""

    def __init__(
        self,
        trusted_proxies: Sequence[IPv4Network | IPv6Network],
        *,
        header: str = IDENTITY_HEADER,
        allowed_origins: Collection[str] = (),
    ) -> None:
        """
        :param trusted_proxies: peers whose header is believed. They must overwrite what clients send.
        :param header: which one, in any case.
        :param allowed_origins: pages of other hosts that may mint, as ``https://host[:port]``, or ``*``.
        :raises ValueError: that is no name of a header, or of one that every client sets.
        """
        if not _HEADER_NAME.fullmatch(header) or header.lower() in _CLIENTS_OWN:
            raise ValueError(f"the identity header must be one that only the proxy sets, not {header!r}")
        self._trusted = tuple(trusted_proxies)
        self._header = header.lower()
        self._allowed_origins = frozenset(allowed_origins)

    def claim(self, caller: Caller, name: object) -> Identity | None:  # noqa: ARG002 - nobody chooses a name
        value = caller.headers.get(self._header, "").strip()
        if not value or not self._is_trusted(caller.remote):
            return None
        check_origin(caller, self._allowed_origins)
        return Identity(_user_untrusted(value))

    def who(self, caller: Caller) -> Identity | None:
        try:
            return self.claim(caller, None)
        except IdentityRefused:
            return None

    def current(self, sub: str, uid: str | None) -> Identity | None:  # noqa: ARG002 - we give no uid
        return Identity(sub)

    def _is_trusted(self, remote: str) -> bool:
        try:
            address = ip_address(remote.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._trusted)


def _user_untrusted(value: str) -> str:
    """The user's name out of a header, whose bytes are read as UTF-8.

    :raises IdentityRefused: 403 if it is no name, or if two were sent: a proxy that adds its header to the
        client's own instead of replacing it would let everybody be anybody.
    """
    if "," in value:
        raise IdentityRefused(403, "ambiguous user name")
    try:
        return clean_name_untrusted(value.encode("latin-1").decode(), MAX_USER_CHARS)
    except (UnicodeError, IdentityRefused):
        raise IdentityRefused(403, "unusable user name") from None

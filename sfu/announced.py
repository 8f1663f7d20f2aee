"""The addresses that a node announces in ICE candidates; host names among them are looked up regularly."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
import trio

from sfu.addresses import MAX_ANNOUNCED, is_usable, own_addresses

LOOKUP_INTERVAL = 60.0
"""Seconds between lookups of announced host names: a home's address may change any time, at night mostly."""
LOOKUP_TIMEOUT = 10.0
"""Seconds that a lookup may take."""

Lookup: TypeAlias = Callable[[str], Awaitable[list[str]]]
"""The addresses of a host name. Raises OSError, whose ``strerror`` says why there are none."""

log = structlog.get_logger(__name__)


class AddressError(Exception):
    """There is no address to announce; the text says why and what to do."""


async def look_up(name: str) -> list[str]:
    """Ask the system's resolver, in a thread. See :data:`Lookup`."""
    found = await trio.socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class AnnouncedAddresses:
    """The addresses that go into ICE candidates, best first.

    What is configured wins, in its order; a host name stands for all its addresses. If nothing is, they are
    this machine's own, see :func:`sfu.addresses.own_addresses`.
    """

    def __init__(
        self, configured: tuple[str, ...], listen_ip: str, *, loopback: bool, look_up: Lookup = look_up
    ) -> None:
        self.current: tuple[str, ...] = ()
        """At most :data:`MAX_ANNOUNCED`; empty only before :meth:`resolve`."""
        self._configured = configured or own_addresses(listen_ip, loopback=loopback)
        self._versions = {4, 6} if listen_ip == "::" else {ipaddress.ip_address(listen_ip).version}
        self._look_up = look_up
        self._found: dict[str, list[str]] = {}
        """Addresses by name: those of the last lookup that found some."""
        self._failing: set[str] = set()

    @property
    def names(self) -> list[str]:
        """The host names among what is configured."""
        return [word for word in self._configured if not _is_address(word)]

    async def resolve(self) -> None:
        """Look all names up and update :attr:`current`. A name that fails keeps the addresses it had.

        Raises:
            AddressError: nothing is left to announce.
        """
        reasons: dict[str, str] = {}
        async with trio.open_nursery() as nursery:
            for name in self.names:
                nursery.start_soon(self._resolve_name, name, reasons)
        addresses = (address for word in self._configured for address in self._found.get(word, [word]))
        current = tuple(dict.fromkeys(address for address in addresses if _is_address(address)))
        if not current:
            found = ", ".join(f"{name} ({reason})" for name, reason in reasons.items())
            raise AddressError(
                f"no address to announce: {found}. Check the names in ANNOUNCED_IP (--announced-ip) and this "
                "machine's DNS, or give addresses instead."
            )
        # Told once, until it works again.
        for name in sorted(reasons.keys() - self._failing):
            log.warning("announced host name has no address", name=name, reason=reasons[name])
        self._failing = set(reasons)
        self.current = current[:MAX_ANNOUNCED]

    async def follow(self, changed: Callable[[tuple[str, ...]], Awaitable[None]]) -> None:
        """Resolve again and again, telling of addresses that became others; without names return at once."""
        while self.names:
            await trio.sleep(LOOKUP_INTERVAL)
            before = self.current
            await self.resolve()
            if self.current != before:
                log.warning("announced addresses changed", before=before, now=self.current)
                await changed(self.current)

    async def _resolve_name(self, name: str, reasons: dict[str, str]) -> None:
        try:
            with trio.fail_after(LOOKUP_TIMEOUT):
                found = await self._look_up(name)
        except trio.TooSlowError:
            reasons[name] = "no answer from DNS"
        except (OSError, UnicodeError) as error:
            reasons[name] = getattr(error, "strerror", None) or str(error)
        else:
            usable = self._usable(found)
            if usable:
                self._found[name] = usable
            else:
                reasons[name] = "no address that the media sockets listen on"

    def _usable(self, found: list[str]) -> list[str]:
        """Those that clients may reach, in an order of our own: resolvers shuffle theirs."""
        addresses = {ipaddress.ip_address(text) for text in found if "%" not in text}
        listening = {a for a in addresses if a.version in self._versions}
        outside = {a for a in listening if is_usable(a)}
        # A name may well mean this machine alone, but not by the way, as Debian's /etc/hosts has it.
        chosen = outside or {a for a in listening if a.is_loopback}
        return [str(a) for a in sorted(chosen, key=lambda a: (a.version, int(a)))]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

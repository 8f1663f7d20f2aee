"""Addresses: which ones a node announces when nobody told it, and which URLs lead nobody but itself there."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import ifaddr

MAX_ANNOUNCED = 8
"""Candidates cost every client a check; more addresses than this are somebody's lab."""
LOOPBACK = "127.0.0.1"


def announced_addresses(configured: tuple[str, ...], listen_ip: str, *, loopback: bool) -> tuple[str, ...]:
    """The addresses to announce, best first; never empty.

    What is configured wins, then the address that the sockets are bound to. Bound to a wildcard, the
    machine's IPv4 addresses are announced, and the loopback address if ``loopback`` is wanted or there is no
    other.
    """
    if configured:
        return configured
    if not ipaddress.ip_address(listen_ip).is_unspecified:
        return (listen_ip,)
    found = [
        ip.ip
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if isinstance(ip.ip, str) and _is_usable(ip.ip)
    ]
    addresses = tuple(dict.fromkeys(found))[:MAX_ANNOUNCED]
    return (*addresses, LOOPBACK) if loopback or not addresses else addresses


def _is_usable(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)


def is_loopback_url(url: str) -> bool:
    """Whether this URL leads every machine to itself."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

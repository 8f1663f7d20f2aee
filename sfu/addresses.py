"""Addresses: which ones this machine has for others, and which URLs lead nobody but itself there."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import ifaddr

MAX_ANNOUNCED = 8
"""Candidates cost every client a check; more addresses than this are somebody's lab."""
LOOPBACK = "127.0.0.1"


def own_addresses(listen_ip: str, *, loopback: bool) -> tuple[str, ...]:
    """The addresses of this machine that sockets bound to ``listen_ip`` can be reached at; never empty.

    Bound to a wildcard, these are the machine's addresses of the families listened on, IPv4 first, and the
    loopback address if ``loopback`` is wanted or there is no other.
    """
    if not ipaddress.ip_address(listen_ip).is_unspecified:
        return (listen_ip,)
    ips = [ip for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    texts = [ip.ip for ip in ips if isinstance(ip.ip, str)]
    if listen_ip == "::":
        texts += [ip.ip[0] for ip in ips if isinstance(ip.ip, tuple)]
    found = [text for text in texts if is_usable(ipaddress.ip_address(text))]
    addresses = tuple(dict.fromkeys(found))[: MAX_ANNOUNCED - 1]
    return (*addresses, LOOPBACK) if loopback or not addresses else addresses


def is_usable(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether clients elsewhere may reach it. Not so link-local ones: whose link would a candidate mean?"""
    return not (
        address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
    )


def is_loopback_url(url: str) -> bool:
    """Whether this URL leads every machine to itself."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

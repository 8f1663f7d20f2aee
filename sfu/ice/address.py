"""Remote transport addresses, as every layer above a socket names them.

A UDP peer is the plain socket address that ``recvfrom`` returned, so that the packet path looks it up
without building anything. A TCP peer carries the number of its connection as well: two connections never
compare equal.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class TcpAddress(NamedTuple):
    """One TCP connection (RFC 6544 candidate, RFC 4571 framing)."""

    host: str
    port: int
    connection: int
    """Number of the connection within its worker; never reused."""


Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | TcpAddress
"""``(host, port)`` for UDP over IPv4, ``(host, port, flowinfo, scope_id)`` over IPv6, or a TCP connection."""

Datagram: TypeAlias = tuple[bytes, Address, float]
"""What came in, from where, and the ``now`` at which it reached this machine, however long it then waited."""

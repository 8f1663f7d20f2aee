"""The host candidates a lite agent announces (RFC 8445 5.1 and 5.2, RFC 6544 4.2 for TCP)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

HOST_TYPE_PREFERENCE: Final = 64
UDP_LOCAL_PREFERENCE: Final = 11_000
"""10,000, and 1,000 more for the preferred protocol."""
TCP_LOCAL_PREFERENCE: Final = 9_900
COMPONENT: Final = 1
"""RTP and RTCP share one component (RFC 5761): there is no other."""


def candidate_priority(type_preference: int, local_preference: int, component: int = COMPONENT) -> int:
    """Return the priority of a candidate (RFC 8445 5.1.2.1).

    ``type_preference`` is 0 to 126, ``local_preference`` 0 to 65,535, ``component`` 1 to 256; raises
    ``ValueError`` otherwise.
    """
    if not (0 <= type_preference <= 126 and 0 <= local_preference <= 0xFFFF and 1 <= component <= 256):
        raise ValueError("priority component out of range")
    return type_preference << 24 | local_preference << 8 | 256 - component


@dataclass(frozen=True, slots=True)
class IceCandidate:
    """A host candidate as ``mediasoup-client`` takes it."""

    foundation: str
    priority: int
    address: str
    port: int
    protocol: Literal["udp", "tcp"]
    tcp_type: Literal["passive"] | None = None
    """Set for TCP only: browsers connect, we accept."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; the address goes out as both ``ip`` and ``address``, for older clients."""
        value: dict[str, Any] = {
            "foundation": self.foundation,
            "priority": self.priority,
            "ip": self.address,
            "address": self.address,
            "protocol": self.protocol,
            "port": self.port,
            "type": "host",
        }
        if self.tcp_type is not None:
            value["tcpType"] = self.tcp_type
        return value


def udp_candidate(address: str, port: int, rank: int = 0) -> IceCandidate:
    """Return the UDP host candidate for a listening address.

    ``rank`` counts the announced addresses from 0, the preferred one, to 1,000. Each has a foundation of its
    own (RFC 8445 5.1.1.3), or a check that fails on one would freeze those of the others.
    """
    priority = candidate_priority(HOST_TYPE_PREFERENCE, UDP_LOCAL_PREFERENCE - rank)
    return IceCandidate(_foundation("udpcandidate", rank), priority, address, port, "udp")


def tcp_candidate(address: str, port: int, rank: int = 0) -> IceCandidate:
    """Return the passive TCP host candidate for a listening address; ``rank`` as above."""
    priority = candidate_priority(HOST_TYPE_PREFERENCE, TCP_LOCAL_PREFERENCE - rank)
    return IceCandidate(_foundation("tcpcandidate", rank), priority, address, port, "tcp", "passive")


def host_candidates(addresses: Sequence[str], udp_port: int, tcp_port: int | None) -> list[IceCandidate]:
    """Return the candidates for addresses in order of preference: UDP on all of them before TCP on any."""
    candidates = [udp_candidate(address, udp_port, rank) for rank, address in enumerate(addresses)]
    if tcp_port is not None:
        candidates += [tcp_candidate(address, tcp_port, rank) for rank, address in enumerate(addresses)]
    return candidates


def _foundation(stem: str, rank: int) -> str:
    return stem if rank == 0 else f"{stem}{rank + 1}"

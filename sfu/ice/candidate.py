"""The host candidates a lite agent announces (RFC 8445 5.1 and 5.2, RFC 6544 4.2 for TCP)."""

from __future__ import annotations

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


UDP_PRIORITY: Final = candidate_priority(HOST_TYPE_PREFERENCE, UDP_LOCAL_PREFERENCE)
TCP_PRIORITY: Final = candidate_priority(HOST_TYPE_PREFERENCE, TCP_LOCAL_PREFERENCE)


@dataclass(frozen=True, slots=True)
class IceCandidate:
    """A host candidate as ``mediasoup-client`` takes it."""

    foundation: str
    priority: int
    address: str
    """IP address or host name."""
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


def udp_candidate(address: str, port: int) -> IceCandidate:
    """Return the UDP host candidate for a listening address."""
    return IceCandidate("udpcandidate", UDP_PRIORITY, address, port, "udp")


def tcp_candidate(address: str, port: int) -> IceCandidate:
    """Return the passive TCP host candidate for a listening address."""
    return IceCandidate("tcpcandidate", TCP_PRIORITY, address, port, "tcp", "passive")

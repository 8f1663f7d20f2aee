"""The UDP port of a worker: drain on readable, send in as few system calls as the kernel allows.

IPv4 and IPv6 have a socket each on the same port number. One socket for both would name IPv4 peers
``::ffff:192.0.2.1``, in longer tuples, on the path of every packet.

The kernel notes when each datagram arrived. A host's bandwidth estimate is made from these times: were they
those at which this process got to look, every pause of ours would seem to be a queue on the host's line.

``UDP_SEGMENT`` (generic segmentation offload) hands a run of equal packets to the kernel in one call. Where
the machine has none, packets go one by one for the rest of the socket's life; where a run does not suit the
path to one peer, only that run does.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from struct import Struct

from sfu.ice.address import Address, Datagram
from sfu.media.egress import Egress

SOL_UDP = 17
UDP_SEGMENT = 103
MAX_DATAGRAM = 2048
"""Larger datagrams are cut by the kernel; nothing in WebRTC sends them."""
DRAIN_BUDGET = 64
"""Datagrams read in one turn of the loop: with what they cause it is about half a millisecond of work."""
SOCKET_BUFFER = 4 * 1024 * 1024
SO_TIMESTAMPNS = 35
"""Linux: ask for, and be given, the time of arrival as seconds and nanoseconds of ``CLOCK_REALTIME``."""
MAX_WAIT = 5.0
"""Seconds that a datagram may have waited in the socket; a longer wait is a clock that was set."""

_TIMESPEC = Struct("@qq")
_ANCILLARY = socket.CMSG_SPACE(_TIMESPEC.size)

_NO_SEGMENTATION = frozenset({errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT})
"""The machine cannot, for nobody."""
_RUN_REFUSED = frozenset({errno.EINVAL, errno.EMSGSIZE})
"""This run cannot be cut for the path to this peer: its packets are longer than the path's MTU. Singly the
kernel sends them in fragments."""
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
_PORT_ATTEMPTS = 20
"""Tries to find a number that is free on both families, where the kernel chooses."""


@dataclass(slots=True)
class UdpCounters:
    """What a port did and what it could not do."""

    received: int = 0
    sent: int = 0
    calls: int = 0
    dropped_full: int = 0
    """Packets not sent because the socket's buffer was full."""
    dropped_error: int = 0
    """Packets that the kernel refused (no route, too large)."""


class UdpPort:
    """A non-blocking UDP socket of one IP family. ``socket`` is what the event loop waits on."""

    def __init__(self, host: str, port: int) -> None:
        """Bind. Raises OSError if the address is not to be had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self.socket.setblocking(False)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                self.socket.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
            with contextlib.suppress(OSError):  # without it, arrival is when we look
                self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            if family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self.socket.bind((host, port))
        except BaseException:
            self.socket.close()
            raise
        self.segmentation = _kernel_segments(self.socket)
        self.counters = UdpCounters()

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def drain(self, now: float) -> list[Datagram]:
        """All datagrams that wait, up to the budget of one turn."""
        batch: list[Datagram] = []
        receive = self.socket.recvmsg
        unpack = _TIMESPEC.unpack
        ahead = time.time() - now
        try:
            for _ in range(DRAIN_BUDGET):
                data, ancillary, _flags, address = receive(MAX_DATAGRAM, _ANCILLARY)
                arrival = now
                if ancillary:
                    seconds, nanoseconds = unpack(ancillary[0][2])
                    arrived = seconds + nanoseconds * 1e-9 - ahead
                    if now - MAX_WAIT < arrived < now:
                        arrival = arrived
                batch.append((data, address, arrival))
        except BlockingIOError:
            pass
        except OSError:
            pass  # an ICMP error for something sent earlier; the next wait shows whether more is there
        self.counters.received += len(batch)
        return batch

    def send(self, egress: Egress) -> None:
        """Send one message: one datagram, or a run of them. What does not go is dropped and counted."""
        counters = self.counters
        if egress.segment:
            if self.segmentation:
                try:
                    counters.calls += 1
                    self.socket.sendmsg(
                        egress.buffers,
                        [(SOL_UDP, UDP_SEGMENT, egress.segment.to_bytes(2, "little"))],
                        0,
                        egress.address,
                    )
                except BlockingIOError:
                    counters.dropped_full += egress.count
                    return
                except OSError as error:
                    if error.errno in _NO_SEGMENTATION:
                        self.segmentation = False
                    elif error.errno not in _RUN_REFUSED:
                        counters.dropped_error += egress.count
                        return
                else:
                    counters.sent += egress.count
                    return
            for packet in egress.packets():
                self._send_one((packet,), egress.address)
        else:
            self._send_one(egress.buffers, egress.address)

    def _send_one(self, buffers: Sequence[bytes], address: Address) -> None:
        counters = self.counters
        counters.calls += 1
        try:
            self.socket.sendmsg(buffers, (), 0, address)
        except BlockingIOError:
            counters.dropped_full += 1
        except OSError:
            counters.dropped_error += 1
        else:
            counters.sent += 1

    def close(self) -> None:
        self.socket.close()


class UdpPorts:
    """One port number on the IP families that a worker listens on."""

    def __init__(self, listen_ip: str, port: int) -> None:
        """Bind. ``port`` 0 lets the kernel choose. Raises OSError if an address is not to be had."""
        self.ports = _bind(listen_ip, port)
        self._by_family = {4 if port.socket.family == socket.AF_INET6 else 2: port for port in self.ports}
        """By the length of the family's socket addresses, which is how an egress shows its own."""

    @property
    def port(self) -> int:
        return self.ports[0].port

    @property
    def counters(self) -> UdpCounters:
        """The sum of the sockets' counters."""
        sums = {f.name: sum(getattr(p.counters, f.name) for p in self.ports) for f in fields(UdpCounters)}
        return UdpCounters(**sums)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses that are bound."""
        return tuple(port.socket.getsockname()[0] for port in self.ports)

    def send(self, egress: Egress) -> None:
        """As :meth:`UdpPort.send`, from the socket of the address's family."""
        self._by_family[len(egress.address)].send(egress)

    def close(self) -> None:
        for port in self.ports:
            port.close()


def _bind(listen_ip: str, port: int) -> tuple[UdpPort, ...]:
    """Sockets for an address; ``::`` means all addresses of IPv4, and of IPv6 where the machine has that."""
    if listen_ip != "::":
        return (UdpPort(listen_ip, port),)
    for attempt in range(_PORT_ATTEMPTS):
        ipv4 = UdpPort("0.0.0.0", port)  # noqa: S104
        try:
            return ipv4, UdpPort("::", ipv4.port)
        except OSError as error:
            if error.errno in _NO_IPV6:
                return (ipv4,)
            ipv4.close()
            if error.errno != errno.EADDRINUSE or port or attempt == _PORT_ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _kernel_segments(udp: socket.socket) -> bool:
    try:
        udp.getsockopt(SOL_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True

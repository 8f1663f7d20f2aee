"""One UDP port of a worker: drain on readable, send in as few system calls as the kernel allows.

The kernel notes when each datagram arrived. A host's bandwidth estimate is made from these times: were they
those at which this process got to look, every pause of ours would seem to be a queue on the host's line.

``UDP_SEGMENT`` (generic segmentation offload) hands a run of equal packets to the kernel in one call. Where
it is refused, packets go one by one for the rest of the socket's life.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
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

_NO_SEGMENTATION = frozenset({errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOPROTOOPT, errno.EMSGSIZE})


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
    """A non-blocking UDP socket. ``fileno()`` is what the event loop waits on."""

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
                    if error.errno not in _NO_SEGMENTATION:
                        counters.dropped_error += egress.count
                        return
                    self.segmentation = error.errno == errno.EMSGSIZE  # that one is the packet's fault
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


def _kernel_segments(udp: socket.socket) -> bool:
    try:
        udp.getsockopt(SOL_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True

"""One-way delay of a 64-byte data message through a running media worker.

Two peers of our own on loopback sockets talk to a real worker process; one sends input at a player's rate, on
an unordered channel without retransmission. The time runs from the call that sends the datagram to the
kernel's time stamp at the receiver: only the worker and the kernel are in it. Quote it with how busy the
machine was.
"""

from __future__ import annotations

import argparse
import os
import socket
import struct
import time
from typing import Any

import trio

from sfu.sctp.ppid import BINARY
from sfu.worker.messages import Configure
from sfu.worker.supervisor import MediaWorkers, open_media_workers
from tests.support.peer import Peer

SO_TIMESTAMPNS = 35
SIZE = 64
_STAMP = struct.Struct("!I")


class SocketPeer:
    """A :class:`Peer` on a UDP socket, run by Trio."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.bind(("127.0.0.1", 0))
        self.peer = Peer(self.socket.getsockname(), info)
        self.arrivals: dict[int, int] = {}
        """Kernel's receive time (ns since 1970) by number of message."""

    def flush(self) -> int:
        """Send what waits; the time just before (ns)."""
        sent_at = 0
        for data, _, destination in self.peer.take_output(trio.current_time()):
            sent_at = time.time_ns()
            self.socket.sendto(data, destination)
        return sent_at

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive and keep time until cancelled; started once connected."""
        with self.socket:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick)
                while True:
                    await trio.lowlevel.wait_readable(self.socket)
                    self._receive()
                    if self.peer.established and task_status is not trio.TASK_STATUS_IGNORED:
                        task_status.started()
                        task_status = trio.TASK_STATUS_IGNORED

    def _receive(self) -> None:
        try:
            while True:
                data, ancillary, _, source = self.socket.recvmsg(2048, 64)
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                self.peer.receive(data, source, self.peer.address, trio.current_time())
                for message in self.peer.messages:
                    number = _STAMP.unpack_from(message.data)[0]
                    self.arrivals[number] = seconds * 1_000_000_000 + nanoseconds
                self.peer.messages.clear()
        except BlockingIOError:
            self.flush()

    async def _tick(self) -> None:
        while True:
            timer = self.peer.get_timer()
            if timer is not None and timer <= trio.current_time():
                self.peer.handle_timer(trio.current_time())
                self.flush()
            await trio.sleep(0.005)


async def _join(media: MediaWorkers, nursery: trio.Nursery) -> tuple[str, SocketPeer]:
    info = await media.create_transport("room")
    peer = SocketPeer(info)
    await media.connect_transport(info["id"], peer.peer.dtls_parameters)
    with trio.fail_after(10):
        await nursery.start(peer.run)
    return str(info["id"]), peer


async def measure(messages: int, interval: float) -> list[float]:
    """Milliseconds of each message that arrived."""
    configure = Configure("127.0.0.1", ("127.0.0.1",), 0, None, ("VP9",))
    async with open_media_workers([configure]) as media, trio.open_nursery() as nursery:
        await media.create_router("room")
        player_id, player = await _join(media, nursery)
        host_id, host = await _join(media, nursery)
        producer = await media.produce_data(
            player_id, {"streamId": 0, "ordered": False, "maxRetransmits": 0}, "netplay-input", ""
        )
        await media.consume_data(host_id, producer)
        sent = {}
        for number in range(messages):
            payload = _STAMP.pack(number) + os.urandom(SIZE - _STAMP.size)
            player.peer.send_data(0, BINARY, payload, trio.current_time(), ordered=False, max_retransmits=0)
            sent[number] = player.flush()
            await trio.sleep(interval)
        await trio.sleep(0.2)
        nursery.cancel_scope.cancel()
    return sorted((host.arrivals[n] - sent[n]) / 1e6 for n in sent if n in host.arrivals)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench delay", description=__doc__)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--interval", type=float, default=1 / 120, help="seconds between messages")
    options = parser.parse_args(argv)
    delays = trio.run(measure, options.messages, options.interval)
    share = [delays[min(len(delays) - 1, int(len(delays) * q))] for q in (0.5, 0.9, 0.99, 0.999)]
    load = os.getloadavg()[0]
    print(
        f"one-way delay of {SIZE}-byte messages: {len(delays)} of {options.messages} arrived, load {load:.1f}"
    )
    print("  p50 {:.3f} ms  p90 {:.3f} ms  p99 {:.3f} ms  p99.9 {:.3f} ms".format(*share))

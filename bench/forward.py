"""CPU per forwarded packet: one host, N viewers, bursts of 1,100-byte packets, through real sockets.

The whole media path of a worker is in the figure: reading the burst, SRTP, the forwarding table, sealing for
every viewer, the system calls. Not in it: Trio's loop turn, which is once per burst. The floor is a C loop of
one plain ``sendto`` per packet of the same size to the same sockets, taken in turns with ours; quote the
ratio.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import time
from pathlib import Path

from sfu.rtp.packet import build_header
from sfu.worker.udp import UdpPort
from tests.support.world import VIDEO_SSRC, VideoSource, World

FLOOR_SOURCE = Path(__file__).with_name("floor.c")
FLOOR_BINARY = Path(__file__).parent.parent / ".cache" / "floor"


class Sinks:
    """Receivers that nobody reads: their buffers fill, and the kernel drops the rest, as with the floor."""

    def __init__(self, count: int) -> None:
        self.sockets = []
        for _ in range(count):
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sink.bind(("127.0.0.1", 0))
            self.sockets.append(sink)

    @property
    def ports(self) -> list[int]:
        return [sink.getsockname()[1] for sink in self.sockets]

    def close(self) -> None:
        for sink in self.sockets:
            sink.close()


def floor(size: int, count: int, ports: list[int]) -> float:
    """CPU microseconds of one plain sendto."""
    compiler = shutil.which("cc")
    if compiler is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            packet, to = bytes(size), [("127.0.0.1", port) for port in ports]
            began = time.thread_time()
            for i in range(count):
                sender.sendto(packet, to[i % len(to)])
            return (time.thread_time() - began) / count * 1e6
    if not FLOOR_BINARY.exists() or FLOOR_BINARY.stat().st_mtime < FLOOR_SOURCE.stat().st_mtime:
        FLOOR_BINARY.parent.mkdir(exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", FLOOR_BINARY, FLOOR_SOURCE], check=True)
    command = [str(FLOOR_BINARY), str(size), str(count), *map(str, ports)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class Forwarding:
    """A worker's core with one host and N viewers, on real sockets."""

    def __init__(self, viewers: int) -> None:
        self.world = world = World()
        host_id, self.host = world.join()
        world.produce_video(host_id)
        self.sinks = Sinks(viewers)
        self.port = UdpPort("127.0.0.1", 0)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.bind(("127.0.0.1", 0))
        self.sender.connect(("127.0.0.1", self.port.port))
        core = world.core
        core.engine.tuples[self.sender.getsockname()] = core.engine.tuples[self.host.address]
        entries = []
        for _ in range(viewers):
            viewer_id, viewer = world.join()
            world.consume(viewer_id)
            entries.append(core.engine.tuples[viewer.address])
        VideoSource(self.host, first=1).frame(key=True)
        world.run(0.2)
        for entry, port in zip(entries, self.sinks.ports, strict=True):
            entry.address = ("127.0.0.1", port)
        self.index = 4
        self.now = world.now

    def measure(self, bursts: int, packets: int, size: int) -> float:
        """CPU microseconds per packet and viewer."""
        core, port = self.world.core, self.port
        sender = self.host.sender
        assert sender is not None
        before = core.engine.counters.forwarded
        spent = 0.0
        payload = b"\x00" * size
        for _ in range(bursts):
            for i in range(packets):
                header = build_header(
                    payload_type=98,
                    sequence_number=self.index & 0xFFFF,
                    timestamp=self.index // packets * 1500 % 2**32,
                    ssrc=VIDEO_SSRC,
                    marker=i == packets - 1,
                )
                self.sender.send(header + sender.seal(header, payload, VIDEO_SSRC, self.index))
                self.index += 1
            self.now += 1 / 60
            began = time.thread_time()
            core.receive_batch(port.drain(self.now), self.now)
            for egress in core.egress(self.now):
                port.send(egress)
            spent += time.thread_time() - began
        return spent / (core.engine.counters.forwarded - before) * 1e6

    def close(self) -> None:
        self.sinks.close()
        self.port.close()
        self.sender.close()


def run(viewers: int, packets: int, size: int, rounds: int) -> tuple[float, float, float]:
    """Medians over the rounds: microseconds per packet, floor, and their ratio."""
    forwarding = Forwarding(viewers)
    try:
        bursts = max(20, 4000 // (viewers * packets))
        forwarding.measure(bursts // 2, packets, size)
        figures, floors = [], []
        for _ in range(rounds):
            floors.append(floor(size + 12, 20_000, forwarding.sinks.ports))
            figures.append(forwarding.measure(bursts, packets, size))
        ratios = [f / g for f, g in zip(figures, floors, strict=True)]
        return statistics.median(figures), statistics.median(floors), statistics.median(ratios)
    finally:
        forwarding.close()


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench forward", description=__doc__)
    parser.add_argument("--viewers", default="1,8,64")
    parser.add_argument("--packets", type=int, default=5, help="per burst")
    parser.add_argument("--size", type=int, default=1100, help="payload bytes")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(argv)
    print(f"forwarding bursts of {options.packets} x {options.size} B; CPU us per packet and viewer")
    print(f"{'viewers':>8} {'us':>8} {'sendto us':>10} {'ratio':>7}")
    for viewers in map(int, options.viewers.split(",")):
        figure, ground, ratio = run(viewers, options.packets, options.size, options.rounds)
        print(f"{viewers:8} {figure:8.2f} {ground:10.2f} {ratio:7.2f}", flush=True)

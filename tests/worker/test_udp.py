"""The UDP port over loopback sockets: what goes out is what arrives, segmented or not."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sfu.media.egress import Egress, Priority
from sfu.worker.udp import DRAIN_BUDGET, MAX_WAIT, UdpPort, UdpPorts


@pytest.fixture
def port() -> Iterator[UdpPort]:
    port = UdpPort("127.0.0.1", 0)
    yield port
    port.close()


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        yield peer


def run(address: Any, sizes: list[int]) -> tuple[Egress, list[bytes]]:
    packets = [bytes([i]) * size for i, size in enumerate(sizes)]
    buffers = [piece for packet in packets for piece in (packet[:12], packet[12:])]
    segment = sizes[0] if len(sizes) > 1 else 0
    return Egress(address, buffers, Priority.VIDEO, segment, len(sizes)), packets


@pytest.mark.parametrize("segmentation", [True, False])
@pytest.mark.parametrize("sizes", [[100], [100, 100, 100], [100, 100, 40], [1200] * 40])
def test_runs_arrive_as_packets(
    port: UdpPort, peer: socket.socket, sizes: list[int], segmentation: bool
) -> None:
    assert port.segmentation, "this kernel has no UDP_SEGMENT"
    port.segmentation = segmentation
    egress, packets = run(peer.getsockname(), sizes)
    port.send(egress)
    assert [peer.recv(2000) for _ in packets] == packets
    assert port.counters.sent == len(packets)
    assert port.counters.calls == (1 if segmentation else len(packets))


def test_packets_of_a_run() -> None:
    egress, packets = run(("127.0.0.1", 9), [50, 50, 20])
    assert list(egress.packets()) == packets


def test_where_segmentation_is_refused_packets_go_singly_ever_after(
    port: UdpPort, peer: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = port.socket

    class Refusing:
        """A kernel or network card without segmentation offload: not to be had on demand."""

        def sendmsg(self, buffers: Any, ancillary: Any, flags: int, address: Any) -> int:
            if ancillary:
                raise OSError(errno.EIO, "no offload")
            return real.sendmsg(buffers, ancillary, flags, address)

        def close(self) -> None:
            real.close()

    monkeypatch.setattr(port, "socket", Refusing())
    for _ in range(2):
        egress, packets = run(peer.getsockname(), [100, 100, 60])
        port.send(egress)
        assert [peer.recv(2000) for _ in packets] == packets
    assert port.counters.calls == 1 + 3 + 3
    assert port.counters.dropped_error == 0


def test_what_the_kernel_refuses_is_counted(port: UdpPort) -> None:
    port.send(run(("127.0.0.1", 9), [65535])[0])
    port.send(run(("127.0.0.1", 0), [100])[0])
    assert port.counters.dropped_error == 2


def test_a_drain_is_bounded(port: UdpPort, peer: socket.socket) -> None:
    for i in range(DRAIN_BUDGET + 10):
        peer.sendto(b"%d" % i, ("127.0.0.1", port.port))
    first, second = port.drain(1.0), port.drain(1.0)
    assert len(first) == DRAIN_BUDGET
    assert [data for data, _, _ in first + second] == [b"%d" % i for i in range(DRAIN_BUDGET + 10)]
    assert {address for _, address, _ in first} == {peer.getsockname()}
    assert port.drain(1.0) == []


def test_a_datagram_arrives_when_the_kernel_has_it_not_when_we_look(
    port: UdpPort, peer: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.sendto(b"waited", ("127.0.0.1", port.port))
    sent = time.time()
    monkeypatch.setattr("sfu.worker.udp.time.time", lambda: sent + 0.5)
    [(_, _, arrival)] = port.drain(100.0)
    assert arrival == pytest.approx(99.5, abs=0.1)


@pytest.mark.parametrize("step", [-3600.0, 3600.0, MAX_WAIT + 1])
def test_a_clock_that_was_set_is_not_a_wait(
    port: UdpPort, peer: socket.socket, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    peer.sendto(b"meanwhile", ("127.0.0.1", port.port))
    set_to = time.time() + step
    monkeypatch.setattr("sfu.worker.udp.time.time", lambda: set_to)
    assert [arrival for _, _, arrival in port.drain(100.0)] == [100.0]


def test_a_port_in_use_is_an_error(port: UdpPort) -> None:
    with pytest.raises(OSError, match="in use"):
        UdpPort("127.0.0.1", port.port)


def test_a_run_too_long_for_one_path_costs_the_others_nothing() -> None:
    """A peer behind a tunnel of 1,280 bytes: the kernel refuses to cut runs for it."""
    port = UdpPort("::1", 0)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.bind(("::1", 0))
        peer.settimeout(5)
        ipv6_mtu = 24
        port.socket.setsockopt(socket.IPPROTO_IPV6, ipv6_mtu, 1280)
        for sizes, calls in (([1300, 1300, 100], 4), ([1232, 1232, 100], 5)):
            egress, packets = run(peer.getsockname(), sizes)
            port.send(egress)
            assert [peer.recv(2000) for _ in packets] == packets
            assert port.counters.calls == calls, "a run that fits goes out in one call, as before"
        assert port.segmentation
        assert port.counters.sent == 6
    port.close()


def test_one_port_number_on_both_families() -> None:
    ports = UdpPorts("::", 0)
    assert [port.port for port in ports.ports] == [ports.port] * 2
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as peer:
            peer.bind((host, 0))
            peer.settimeout(5)
            peer.sendto(b"in", (host, ports.port))
            [(data, address, _)] = [datagram for port in ports.ports for datagram in port.drain(1.0)]
            assert (data, address) == (b"in", peer.getsockname()), "IPv4 is not mapped into IPv6"
            ports.send(Egress(address, [b"out"], Priority.DATA))
            assert peer.recv(10) == b"out"
    assert (ports.counters.received, ports.counters.sent) == (2, 2)
    with pytest.raises(OSError, match="in use"):
        UdpPorts("::", ports.port)
    ports.close()


def test_a_port_that_is_free_on_one_family_alone_is_not_taken() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::", 0))
        taken = other.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            UdpPorts("::", taken)
        UdpPort("0.0.0.0", taken).close()  # nothing was left bound


def test_a_machine_without_ipv6_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without_ipv6(family: int, kind: int) -> socket.socket:
        """A kernel booted with ipv6.disable=1: not to be had on demand."""
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, kind)

    monkeypatch.setattr("sfu.worker.udp.socket.socket", without_ipv6)
    ports = UdpPorts("::", 0)
    assert ports.hosts == ("0.0.0.0",)
    ports.close()


@pytest.mark.parametrize(("listen_ip", "hosts"), [("127.0.0.1", ("127.0.0.1",)), ("::1", ("::1",))])
def test_a_single_address_is_all_that_is_bound(listen_ip: str, hosts: tuple[str, ...]) -> None:
    ports = UdpPorts(listen_ip, 0)
    assert ports.hosts == hosts
    ports.close()

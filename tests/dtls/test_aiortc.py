"""Handshakes with aiortc's DTLS, in both roles, with each datagram either way lost in turn. Real time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pytest
from aiortc.rtcdtlstransport import (
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
)

from sfu.dtls import (
    ApplicationData,
    DtlsConnected,
    DtlsEndpoint,
    DtlsEvent,
    DtlsRole,
    DtlsState,
    Fingerprint,
    SrtpProfile,
)
from tests.support.dtls_net import certificate

pytestmark = pytest.mark.interop

PATIENCE = 15.0
"""Seconds a case may take; OpenSSL's own timer starts at one second."""


class Link:
    """One direction of the network: a queue that loses certain datagrams."""

    def __init__(self, lost: frozenset[int]) -> None:
        self.lost = lost
        self.count = 0
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    def put(self, datagram: bytes) -> None:
        if self.count not in self.lost:
            self.queue.put_nowait(datagram)
        self.count += 1


@dataclass
class IceTransport:
    """As much of an ICE transport as aiortc's DTLS asks for."""

    role: str
    incoming: Link
    outgoing: Link

    async def _recv(self) -> bytes:
        return await self.incoming.queue.get()

    async def _send(self, data: bytes) -> None:
        self.outgoing.put(data)


@dataclass
class Receiver:
    """Where aiortc delivers application data."""

    received: list[bytes] = field(default_factory=list)

    async def _handle_data(self, data: bytes) -> None:
        self.received.append(data)

    def _handle_disconnect(self) -> None: ...


@dataclass
class Driver:
    """Runs an endpoint on the loop's clock."""

    end: DtlsEndpoint
    incoming: Link
    outgoing: Link
    events: list[DtlsEvent] = field(default_factory=list)

    def flush(self) -> None:
        now = asyncio.get_running_loop().time()
        for datagram in self.end.datagrams_to_send(now):
            self.outgoing.put(datagram)
        while (event := self.end.next_event()) is not None:
            self.events.append(event)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self.end.start(loop.time())
        while True:
            self.flush()
            timer = self.end.get_timer()
            try:
                async with asyncio.timeout_at(timer):
                    datagram = await self.incoming.queue.get()
            except TimeoutError:
                self.end.handle_timer(loop.time())
            else:
                self.end.receive_datagram_untrusted(datagram, loop.time())


async def insist(action: Callable[[], Awaitable[None]], done: Callable[[], object]) -> None:
    """Do something again and again until it has worked, as SCTP would: data is lost like anything else."""
    async with asyncio.timeout(PATIENCE):
        while not done():
            await action()
            await asyncio.sleep(0.02)


async def nothing() -> None: ...


async def handshake(role: DtlsRole, lost_from_us: frozenset[int], lost_from_them: frozenset[int]) -> None:
    """Connect, then talk both ways, then close."""
    ours, theirs = Link(lost_from_us), Link(lost_from_them)
    identity = RTCCertificate.generateCertificate()
    fingerprints = [Fingerprint.parse(one.algorithm, one.value) for one in identity.getFingerprints()]
    driver = Driver(DtlsEndpoint(certificate("server"), role, fingerprints), theirs, ours)
    ice_role = "controlling" if role is DtlsRole.CLIENT else "controlled"
    transport: Any = IceTransport(ice_role, ours, theirs)
    peer = RTCDtlsTransport(transport, [identity])
    receiver = Receiver()
    peer._register_data_receiver(receiver)
    signaled = [RTCDtlsFingerprint(one.algorithm, one.value) for one in certificate("server").fingerprints]
    running = asyncio.create_task(driver.run())
    try:
        async with asyncio.timeout(PATIENCE):
            await peer.start(RTCDtlsParameters(fingerprints=signaled))
        assert peer.state == "connected"

        async def from_us() -> None:
            if driver.end.state is DtlsState.CONNECTED:
                driver.end.send(b"from us")
                driver.flush()

        async def from_them() -> None:
            await peer._send_data(b"from them")

        await insist(from_us, lambda: b"from us" in receiver.received)
        await insist(from_them, lambda: ApplicationData(b"from them") in driver.events)
        assert isinstance(driver.events[0], DtlsConnected)
        assert driver.events[0].profile in SrtpProfile
        assert set(driver.events[1:]) == {ApplicationData(b"from them")}
        await peer.stop()
        await insist(nothing, lambda: driver.end.state is DtlsState.CLOSED)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


LOSSES = [frozenset(lost) for count in (1, 2) for lost in combinations(range(3), count)]
"""Which datagrams of one direction are lost: one or two of the two that a handshake has, and what follows."""

CASES = [(lost, frozenset[int]()) for lost in LOSSES] + [(frozenset[int](), lost) for lost in LOSSES]


@pytest.mark.parametrize("role", DtlsRole)
def test_each_datagram_lost_in_turn(role: DtlsRole) -> None:
    """All cases of a role at once: most of their time is waiting for a timer."""

    async def main() -> None:
        results = await asyncio.gather(*(handshake(role, *case) for case in CASES), return_exceptions=True)
        failed = {
            repr(case): result for case, result in zip(CASES, results, strict=True) if result is not None
        }
        assert failed == {}

    asyncio.run(main())

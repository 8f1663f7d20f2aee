"""Two DTLS endpoints and a network in virtual time that loses, delays, doubles and reorders on demand."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TypeAlias

from sfu.dtls import Certificate, DtlsEndpoint, DtlsEvent, DtlsFailed, DtlsRole, DtlsState

LATENCY = 0.01
"""Seconds a datagram takes by default."""

Fate: TypeAlias = Sequence[float]
"""When copies of a datagram arrive, in seconds after it was sent; empty if it is lost."""

Path: TypeAlias = Callable[[DtlsRole, int, bytes], Fate]
"""Decides the fate of a datagram: who sent it, the how manieth of that side it is (from 0), its bytes."""


@cache
def certificate(name: str) -> Certificate:
    """A certificate that lives as long as the test run; each name has its own."""
    return Certificate.generate(datetime.now(UTC))


def lossless(_sender: DtlsRole, _index: int, _data: bytes) -> Fate:
    return (LATENCY,)


def losing(sender: DtlsRole, *indices: int) -> Path:
    """Loses certain datagrams of one side."""
    return lambda who, index, _data: () if who is sender and index in indices else (LATENCY,)


def chaotic(seed: int, *, loss: float, double: float = 0.1, jitter: float = 0.03) -> Path:
    """Loses, doubles and reorders at random; the same seed does the same."""
    rng = random.Random(seed)

    def fate(_sender: DtlsRole, _index: int, _data: bytes) -> Fate:
        copies = 2 if rng.random() < double else 1
        return [LATENCY + jitter * rng.random() for _ in range(copies) if rng.random() >= loss]

    return fate


class Pair:
    """A client and a server, their network, and all that happened."""

    def __init__(
        self,
        path: Path = lossless,
        *,
        mtu: int = 1200,
        client: DtlsEndpoint | None = None,
        server: DtlsEndpoint | None = None,
    ) -> None:
        ours, theirs = certificate("client"), certificate("server")
        self.client = client or DtlsEndpoint(ours, DtlsRole.CLIENT, theirs.fingerprints, mtu=mtu)
        self.server = server or DtlsEndpoint(theirs, DtlsRole.SERVER, ours.fingerprints, mtu=mtu)
        self.path = path
        self.now = 1000.0
        self.sent: dict[DtlsRole, list[bytes]] = {DtlsRole.CLIENT: [], DtlsRole.SERVER: []}
        self.events: dict[DtlsRole, list[DtlsEvent]] = {DtlsRole.CLIENT: [], DtlsRole.SERVER: []}
        self.timers = 0
        self._ends = {DtlsRole.CLIENT: self.client, DtlsRole.SERVER: self.server}
        self._wire: list[tuple[float, int, DtlsRole, bytes]] = []
        self._order = itertools.count()

    def start(self) -> None:
        for end in self._ends.values():
            end.start(self.now)
        self.pump()

    def pump(self) -> None:
        """Move what the endpoints want sent onto the wire, and collect their events."""
        for role, end in self._ends.items():
            for data in end.datagrams_to_send(self.now):
                for delay in self.path(role, len(self.sent[role]), data):
                    heapq.heappush(self._wire, (self.now + delay, next(self._order), role, data))
                self.sent[role].append(data)
            while (event := end.next_event()) is not None:
                self.events[role].append(event)

    def step(self) -> bool:
        """Let time pass until the next thing happens; False if nothing ever will."""
        timers = [(at, role) for role, end in self._ends.items() if (at := end.get_timer()) is not None]
        timer = min(timers, key=lambda entry: entry[0], default=None)
        if self._wire and (timer is None or self._wire[0][0] <= timer[0]):
            at, _, sender, data = heapq.heappop(self._wire)
            self.now = max(self.now, at)
            other = DtlsRole.SERVER if sender is DtlsRole.CLIENT else DtlsRole.CLIENT
            self._ends[other].receive_datagram_untrusted(data, self.now)
        elif timer is not None:
            assert timer[0] >= self.now, "a timer in the past would spin"
            self.now = timer[0]
            self.timers += 1
            self._ends[timer[1]].handle_timer(self.now)
        else:
            return False
        self.pump()
        return True

    def run(self, seconds: float = 60.0) -> None:
        """Run until nothing is left to do or the time is over."""
        end = self.now + seconds
        while self.now < end and self.step():
            pass

    @property
    def connected(self) -> bool:
        return self.client.state is self.server.state is DtlsState.CONNECTED

    @property
    def failures(self) -> list[str]:
        """Why endpoints failed."""
        return [
            event.reason for log in self.events.values() for event in log if isinstance(event, DtlsFailed)
        ]

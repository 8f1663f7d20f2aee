"""A network in virtual time: loss, duplication, reordering and delay, decided by a seeded generator."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sfu.ice.address import Address


class Node(Protocol):
    """Something with the face of every protocol machine, at one or several addresses."""

    def receive(self, data: bytes, source: Address, destination: Address, now: float) -> None: ...

    def take_output(self, now: float) -> Sequence[tuple[bytes, Address, Address]]:
        """(datagram, source, destination)."""
        ...

    def get_timer(self) -> float | None: ...

    def handle_timer(self, now: float) -> None: ...


@dataclass(frozen=True)
class Impairment:
    """What happens to a datagram on its way."""

    loss: float = 0.0
    duplication: float = 0.0
    delay: float = 0.010
    """Seconds."""
    jitter: float = 0.0
    """Seconds: up to this much more, so that datagrams overtake one another."""


class Network:
    """Carries datagrams between nodes and drives their clocks. All seconds are virtual."""

    def __init__(self, seed: int = 0, impairment: Impairment = Impairment()) -> None:
        self.now = 1000.0
        self.impairment = impairment
        self.filter: Callable[[bytes, Address, Address], bool] = lambda _data, _source, _destination: True
        """False drops a datagram."""
        self.carried = 0
        self._random = random.Random(seed)
        self._nodes: list[Node] = []
        self._by_address: dict[Address, Node] = {}
        self._flying: list[tuple[float, int, bytes, Address, Address]] = []
        self._count = 0

    def add(self, node: Node, *addresses: Address) -> None:
        if node not in self._nodes:
            self._nodes.append(node)
        for address in addresses:
            self._by_address[address] = node

    def _send(self, data: bytes, source: Address, destination: Address) -> None:
        impairment, chance = self.impairment, self._random
        if not self.filter(data, source, destination):
            return
        copies = 2 if chance.random() < impairment.duplication else 1
        for _ in range(copies):
            if chance.random() < impairment.loss:
                continue
            arrival = self.now + impairment.delay + chance.random() * impairment.jitter
            self._count += 1
            heapq.heappush(self._flying, (arrival, self._count, data, source, destination))

    def _collect(self) -> None:
        for node in self._nodes:
            for data, source, destination in node.take_output(self.now):
                self._send(data, source, destination)

    def step(self, limit: float) -> bool:
        """Go on to the next thing that happens, at most to ``limit``. False if nothing does before it."""
        self._collect()
        timers = [t for t in (n.get_timer() for n in self._nodes) if t is not None]
        if self._flying:
            timers.append(self._flying[0][0])
        due = min(timers, default=limit)
        if due > limit or not timers:
            self.now = limit
            return False
        self.now = max(self.now, due)
        while self._flying and self._flying[0][0] <= self.now:
            _, _, data, source, destination = heapq.heappop(self._flying)
            node = self._by_address.get(destination)
            if node is not None:
                self.carried += 1
                node.receive(data, source, destination, self.now)
        for node in self._nodes:
            timer = node.get_timer()
            if timer is not None and timer <= self.now:
                node.handle_timer(self.now)
        self._collect()
        return True

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, or until something holds. Returns whether it holds at the end."""
        limit = self.now + seconds
        while until is None or not until():
            if not self.step(limit):
                break
        return until is None or until()

"""A network in virtual time: what its lines do to datagrams is decided by a seeded generator."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from typing import Protocol

from sfu.ice.address import Address
from tests.support.impairment import PLAIN, Impairment, Line


class Node(Protocol):
    """Something with the face of every protocol machine, at one or several addresses."""

    def receive(self, data: bytes, source: Address, destination: Address, now: float) -> None: ...

    def take_output(self, now: float) -> Sequence[tuple[bytes, Address, Address]]:
        """(datagram, source, destination)."""
        ...

    def get_timer(self) -> float | None: ...

    def handle_timer(self, now: float) -> None: ...


class Network:
    """Carries datagrams between nodes and drives their clocks. All seconds are virtual.

    Every direction between two addresses is a line of its own; ``impairment`` is that of those which
    :meth:`impair` was not told of.
    """

    def __init__(self, seed: int = 0, impairment: Impairment = PLAIN) -> None:
        self.now = 1000.0
        self._impairment = impairment
        self.filter: Callable[[bytes, Address, Address], bool] = lambda _data, _source, _destination: True
        """False drops a datagram."""
        self.carried = 0
        self._random = random.Random(seed)
        self._nodes: list[Node] = []
        self._by_address: dict[Address, Node] = {}
        self._flying: list[tuple[float, int, bytes, Address, Address]] = []
        self._count = 0
        self._lines: dict[tuple[Address, Address], Line] = {}
        self._outside: dict[Address, Address] = {}
        """What a NAT makes of an address that a node believes to have."""
        self._inside: dict[Address, Address] = {}

    def add(self, node: Node, *addresses: Address) -> None:
        if node not in self._nodes:
            self._nodes.append(node)
        for address in addresses:
            self._by_address[address] = node

    def impair(self, source: Address, destination: Address, impairment: Impairment) -> None:
        """Change what happens to datagrams from one address to another, from now on.

        Of a node behind a NAT it is the address that the node knows. What is under way is not affected.
        """
        self._lines[source, destination] = Line(impairment, self._random, self.now)

    def rebind(self, inside: Address, outside: Address) -> None:
        """A NAT gives what ``inside`` sends another source address; nothing gets in by the one before."""
        self._inside.pop(self._outside.get(inside, inside), None)
        self._outside[inside] = outside
        self._inside[outside] = inside

    def _send(self, data: bytes, source: Address, destination: Address) -> None:
        if not self.filter(data, source, destination):
            return
        key = (source, self._inside.get(destination, destination))
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(self._impairment, self._random, self.now)
        for arrival in line.arrivals(len(data), self.now):
            self._count += 1
            outside = self._outside.get(source, source)
            heapq.heappush(self._flying, (arrival, self._count, data, outside, destination))

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
            inside = self._inside.get(destination)
            if inside is None and destination in self._outside:
                continue  # an address that its NAT no longer knows
            destination = inside or destination
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

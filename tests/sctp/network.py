"""Two associations back to back through a simulated network, in virtual time, from a seed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from sfu.sctp.association import Association
from sfu.sctp.events import AssociationClosed, Event, MessageReceived


def seeded_bytes(seed: int) -> Callable[[int], bytes]:
    """A source of random bytes that is always the same for a seed."""
    return random.Random(seed).randbytes


def chosen_bytes(*numbers: int) -> Callable[[int], bytes]:
    """A source whose first four-byte values are chosen: the tag, then the initial TSN."""
    waiting = list(numbers)
    rest = random.Random(sum(numbers))

    def read(size: int) -> bytes:
        if size == 4 and waiting:
            return waiting.pop(0).to_bytes(4, "big")
        return rest.randbytes(size)

    return read


@dataclass
class Link:
    """One direction. Probabilities 0 to 1, times in seconds, rate in bytes a second (0: no limit)."""

    loss: float = 0.0
    duplication: float = 0.0
    delay: float = 0.02
    jitter: float = 0.0
    """Up to this is added to the delay, so packets overtake each other."""
    rate: float = 0.0
    queue: int = 64
    """Packets that wait at the rate limit; more are lost."""
    filter: Callable[[bytes], bool] | None = None
    """Says ``False`` for a packet to lose."""
    busy_until: float = 0.0
    sent: list[bytes] = field(default_factory=list)
    """Everything that was handed to it."""


@dataclass
class Side:
    """One association and what it said."""

    association: Association
    link: Link
    """Towards the other side."""
    events: list[Event] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each of the events came."""
    drain: bool = True
    """Whether events are fetched."""

    @property
    def messages(self) -> list[MessageReceived]:
        return [event for event in self.events if isinstance(event, MessageReceived)]

    @property
    def closed(self) -> AssociationClosed | None:
        for event in self.events:
            if isinstance(event, AssociationClosed):
                return event
        return None


class Network:
    """Runs two sides. ``now`` starts high, so that nothing depends on a clock at zero."""

    def __init__(
        self,
        a: Association | None = None,
        b: Association | None = None,
        *,
        seed: int = 0,
        to_b: Link | None = None,
        to_a: Link | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.a = Side(a or Association(random_bytes=seeded_bytes(2 * seed + 1)), to_b or Link())
        self.b = Side(b or Association(random_bytes=seeded_bytes(2 * seed + 2)), to_a or Link())
        self._flying: list[tuple[float, int, Side, bytes]] = []
        self._count = 0

    def other(self, side: Side) -> Side:
        return self.b if side is self.a else self.a

    def pump(self, side: Side) -> None:
        """Fetch events, send what is due."""
        while side.drain and (event := side.association.next_event()) is not None:
            side.events.append(event)
            side.times.append(self.now)
        for data in side.association.datagrams_to_send(self.now):
            assert len(data) <= side.association.mtu
            self.transmit(side, data)

    def transmit(self, side: Side, data: bytes) -> None:
        """Put a packet on the link away from ``side``."""
        link = side.link
        link.sent.append(data)
        if (link.filter is not None and not link.filter(data)) or self.random.random() < link.loss:
            return
        start = self.now
        if link.rate:
            start = max(link.busy_until, self.now)
            if (start - self.now) * link.rate > link.queue * side.association.mtu:
                return
            link.busy_until = start + len(data) / link.rate
            start = link.busy_until
        for _ in range(2 if self.random.random() < link.duplication else 1):
            self._count += 1
            arrival = start + link.delay + self.random.random() * link.jitter
            heapq.heappush(self._flying, (arrival, self._count, self.other(side), data))

    def run(
        self,
        seconds: float = 60.0,
        until: Callable[[], bool] | None = None,
        max_steps: int = 200_000,
    ) -> bool:
        """Let time pass until a condition holds (checked after every step); says whether it came to hold."""
        end = self.now + seconds
        self.pump(self.a)
        self.pump(self.b)
        for _ in range(max_steps):
            if until is not None and until():
                return True
            timers = [
                (t, side) for side in (self.a, self.b) if (t := side.association.get_timer()) is not None
            ]
            due = min([t for t, _ in timers] + ([self._flying[0][0]] if self._flying else [end]))
            if due > end:
                break
            self.now = max(self.now, due)
            if self._flying and self._flying[0][0] <= self.now:
                _, _, side, data = heapq.heappop(self._flying)
                side.association.receive_datagram_untrusted(data, self.now)
                self.pump(side)
                continue
            if not any(t <= self.now for t, _ in timers):
                break
            for t, side in timers:
                if t <= self.now:
                    side.association.handle_timer(self.now)
                    self.pump(side)
        else:
            raise AssertionError("the two sides keep each other busy")
        self.now = end
        return until is not None and until()

    def establish(self, *, both: bool = True) -> None:
        """Start one or both sides and wait until both are up."""
        self.a.association.start(self.now)
        if both:
            self.b.association.start(self.now)
        assert self.run(60, until=lambda: self.up)

    @property
    def up(self) -> bool:
        return all(side.association.state.value == "established" for side in (self.a, self.b))

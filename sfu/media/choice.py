"""Which layers everybody gets: looks at producers, asks viewers' lines, and sends the probes they want."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TypeAlias

from sfu.media.engine import PythonEngine
from sfu.media.line import ViewerLine
from sfu.media.objects import Producer, RoutedTransport
from sfu.media.router import Router
from sfu.media.selection import TICK, LayerMonitor

FaultHandler: TypeAlias = Callable[[RoutedTransport, Exception, float], None]


class LayerChoice:
    """Of one worker. ``stir(transport)`` is called for everyone who has something to send now,
    ``fault(transport, error, now)`` for one whose own state raised what nothing expects."""

    def __init__(
        self,
        engine: PythonEngine,
        routers: dict[str, Router],
        stir: Callable[[RoutedTransport], None],
        fault: FaultHandler,
    ) -> None:
        self._engine = engine
        self._routers = routers
        self._stir = stir
        self._fault = fault
        self._look_at: list[tuple[float, int, LayerMonitor]] = []
        """A heap of when to look at which video producer; the number between them tells equal times apart."""
        self._looks = 0

    def watch(self, producer: Producer, now: float) -> None:
        """Look at the layers of a new video producer from now on."""
        self._look_again(LayerMonitor(producer), now + TICK)

    def _look_again(self, monitor: LayerMonitor, at: float) -> None:
        self._looks += 1
        heapq.heappush(self._look_at, (at, self._looks, monitor))

    def get_timer(self) -> float | None:
        """When to look at a producer next; those that are gone are forgotten here."""
        while self._look_at:
            due, _, monitor = self._look_at[0]
            producer = monitor.producer
            if producer.transport.producers.get(producer.id) is producer:
                return due
            heapq.heappop(self._look_at)
        return None

    def handle_timer(self, now: float) -> None:
        """See what layers producers send now, and let their consumers have the best."""
        while (due := self.get_timer()) is not None and due <= now:
            _, _, monitor = heapq.heappop(self._look_at)
            producer = monitor.producer
            try:
                self._look_again(monitor, monitor.look(now))
            except Exception as error:  # noqa: BLE001 - see MediaCore._fault
                self._fault(producer.transport, error, now)
                continue
            for transport in {id(c.transport): c.transport for c in producer.consumers.values()}.values():
                try:
                    self.choose(transport, now)
                except Exception as error:  # noqa: BLE001 - see MediaCore._fault
                    self._fault(transport, error, now)

    def choose(self, transport: RoutedTransport, now: float) -> None:
        """Let the video consumers of a transport have the best that its line carries."""
        offers = {c.id: c.producer.rungs for c in transport.consumers.values() if c.producer.rungs}
        if transport.line is None:
            if all(len(rungs) < 2 for rungs in offers.values()):
                return
            transport.line = ViewerLine(transport.wire.entry, now)
        router = self._routers[transport.router_id]
        for consumer_id, rung in transport.line.choose(offers, now).items():
            consumer = transport.consumers[consumer_id]
            router.select(consumer, rung, now)
            self._stir(consumer.producer.transport)
        self.send_probe(transport, now)

    def send_probe(self, transport: RoutedTransport, now: float) -> None:
        """Send what is due of a probe of the line."""
        line = transport.line
        due = None if line is None else line.next_probe(now)
        if line is None or due is None:
            return
        octets, cluster = due
        packets = 0
        for consumer in transport.consumers.values():
            if consumer.entry is not None and consumer.producer.kind == "video":
                packets = self._engine.probe(consumer.entry, octets, now, cluster)
                if packets:
                    break
        line.probe_sent(packets, octets)
        self._stir(transport)

"""Any order of requests, replacing and text among them: the tables of a worker stay in step."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sfu.media.core import MediaCore
from sfu.media.errors import MediaRefused
from sfu.media.events import DataProducerClosed
from sfu.media.parameters import OrtcError
from sfu.sctp.ppid import BINARY, STRING
from tests.support.world import World, video_parameters, viewer_capabilities

ROOMS = ("room", "other room")
TRANSPORTS = {"a": "room", "b": "room", "c": "other room"}

transports = st.sampled_from(sorted(TRANSPORTS))
producers = st.sampled_from([f"p{n}" for n in range(6)])
ssrcs = st.integers(1, 5)
streams = st.integers(0, 3)


class Requests(RuleBasedStateMachine):
    """What clients could make signaling ask for, without its checks."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.core: MediaCore = self.world.core
        self.core.create_router("other room")
        self.count = 0
        for transport_id in TRANSPORTS:
            self.make(transport_id)

    def make(self, transport_id: str) -> None:
        self.core.create_transport(TRANSPORTS[transport_id], transport_id)

    def attempt(self, request: Any, *args: Any, **options: Any) -> bool:
        try:
            request(*args, **options)
        except (MediaRefused, OrtcError) as refusal:
            assert str(refusal)
            return False
        return True

    def owner(self, producer_id: str) -> str | None:
        """The transport of a producer of either sort."""
        for router in self.core._routers.values():
            found = router.producers.get(producer_id) or router.data_producers.get(producer_id)
            if found is not None:
                return found.transport.wire.id
        return None

    @rule(
        transport=transports,
        producer=producers,
        old=st.none() | producers,
        first=ssrcs,
        repair=st.none() | ssrcs,
        data=st.booleans(),
        stream=streams,
        sound=st.booleans(),
    )
    def produce(
        self,
        transport: str,
        producer: str,
        old: str | None,
        first: int,
        repair: int | None,
        data: bool,
        stream: int,
        sound: bool,
    ) -> None:
        if self.owner(producer) is not None:
            return  # ids are unique
        before = self.owner(old) if old is not None else None
        now = self.world.now
        if data:
            parameters: dict[str, Any] = {"streamId": stream} if sound else {"streamId": stream, "ordered": 5}
            done = self.attempt(
                self.core.produce_data, transport, producer, parameters, "l", "", now, replaces=old
            )
        else:
            encoding: dict[str, Any] = {"ssrc": first}
            if repair is not None:
                encoding["rtx"] = {"ssrc": repair}
            parameters = video_parameters(encodings=[encoding] if sound else [{"ssrc": 0}])
            done = self.attempt(
                self.core.produce, transport, producer, "video", parameters, now, replaces=old
            )
        assert (self.owner(producer) == transport) is done
        if old is not None and not done:
            assert self.owner(old) == before

    @rule(producer=producers)
    def close(self, producer: str) -> None:
        self.core.close_producer(producer)
        self.core.close_data_producer(producer, self.world.now)
        assert self.owner(producer) is None

    @rule(transport=transports, producer=producers, data=st.booleans())
    def consume(self, transport: str, producer: str, data: bool) -> None:
        self.count += 1
        consumer = f"c{self.count}"
        if data:
            self.attempt(self.core.consume_data, transport, consumer, producer)
        else:
            capabilities = viewer_capabilities()
            self.attempt(self.core.consume, transport, consumer, producer, capabilities, self.world.now)

    @rule(transport=transports)
    def replace_transport(self, transport: str) -> None:
        self.core.close_transport(transport, self.world.now)
        self.make(transport)

    @rule(transport=transports, stream=streams, text=st.booleans())
    def message(self, transport: str, stream: int, text: bool) -> None:
        routed = self.core._transports[transport]
        producer = routed.data_producers_by_stream.get(stream)
        self.core._take_message(routed, stream, STRING if text else BINARY, b"x", self.world.now)
        events = []
        while (event := self.core.next_event()) is not None:
            events.append(event)
        if text and producer is not None:
            [closed] = events
            assert isinstance(closed, DataProducerClosed)
            assert closed.data_producer_id == producer.id
        else:
            assert events == []

    @invariant()
    def tables_are_in_step(self) -> None:
        for router in self.core._routers.values():
            for producer in router.producers.values():
                assert producer.transport.producers[producer.id] is producer
                assert all(c.transport.consumers[c.id] is c for c in producer.consumers.values())
            for data_producer in router.data_producers.values():
                on = data_producer.transport
                assert on.data_producers[data_producer.id] is data_producer
                assert on.data_producers_by_stream[data_producer.stream.stream_id] is data_producer
                assert all(c.transport.data_consumers[c.id] is c for c in data_producer.consumers.values())
            for transport in router.transports.values():
                known = {s.entry.ssrc for p in transport.producers.values() for s in p.streams}
                assert set(transport.streams) == set(transport.wire.entry.streams) == known
                repairs = {s.repair_ssrc for s in transport.wire.entry.streams.values()} - {None}
                assert set(transport.wire.entry.repairs) == repairs
                assert not repairs & known
                assert len(transport.data_producers) == len(transport.data_producers_by_stream)
                used = [c.stream_id for c in transport.data_consumers.values()]
                assert len(used) == len(set(used))
                assert all(c.id in c.producer.consumers for c in transport.consumers.values())
                assert all(c.id in c.producer.consumers for c in transport.data_consumers.values())

    def teardown(self) -> None:
        self.core.close(self.world.now)
        self.core.egress(self.world.now)
        assert self.core.stats({}).transports == ()
        assert self.core.get_timer() is None


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)

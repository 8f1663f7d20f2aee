"""Associations under fire: a peer that sends anything, and two honest ones on a network that does
anything."""

from __future__ import annotations

import contextlib
import random
from collections import deque

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sfu.sctp import chunks as c
from sfu.sctp.association import MAX_DATAGRAMS_PER_CALL, Association
from sfu.sctp.chunks import Chunk, encode_chunk
from sfu.sctp.control import WINDOW_FACTOR
from sfu.sctp.errors import ResetRefused, SctpError, SendRefused
from sfu.sctp.events import AssociationClosed, Direction, MessageReceived, StreamResetFailed, StreamsReset
from sfu.sctp.inbound import OVERRUN_FACTOR
from sfu.sctp.outbound import MAX_OUTSTANDING_CHUNKS
from sfu.sctp.outbox import MAX_CONTROL_CHUNKS
from sfu.sctp.packet import PacketHeader
from sfu.sctp.states import State
from tests.sctp.network import Network, chosen_bytes
from tests.sctp.strategies import any_chunk, u16

TAG_A, TSN_A, TAG_B, TSN_B = 0xA, 0xFFFF_FFFC, 0xB, 0xFFFF_FFFD
LIMIT = 20_000

near = st.integers(-4, 12).map(lambda offset: TSN_B + offset & 0xFFFF_FFFF)
near_acks = st.integers(-4, 12).map(lambda offset: TSN_A + offset & 0xFFFF_FFFF)
plausible = st.one_of(
    st.builds(
        c.DataChunk,
        near,
        st.integers(0, 3),
        st.integers(0, 3),
        st.just(53),
        st.integers(0, 15),
        st.binary(max_size=3).map(lambda data: data * 3000),
    ),
    st.builds(
        c.SackChunk,
        near_acks,
        st.sampled_from([0, 1, 1500, 100_000, 0xFFFF_FFFF]),
        st.lists(st.tuples(st.integers(0, 12) | u16, st.integers(0, 12) | u16), max_size=5).map(tuple),
        st.just(()),
    ),
    st.builds(c.ForwardTsnChunk, near, st.lists(st.tuples(st.integers(0, 4), u16), max_size=3).map(tuple)),
    st.builds(c.ShutdownChunk, near_acks),
)


def established() -> Network:
    network = Network(
        Association(random_bytes=chosen_bytes(TAG_A, TSN_A), max_message_size=LIMIT, inbound_streams=4),
        Association(random_bytes=chosen_bytes(TAG_B, TSN_B), max_message_size=LIMIT),
    )
    network.establish()
    return network


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(plausible | any_chunk, min_size=1, max_size=4),
            st.sampled_from([TAG_A] * 6 + [TAG_B, 0]),
            st.floats(0, 3),
            st.booleans(),
        ),
        max_size=25,
    )
)
def test_a_hostile_peer_harms_only_itself(steps: list[tuple[list[Chunk], int, float, bool]]) -> None:
    """Any chunks, with or without a right tag: no error but the declared one, everything bounded, time
    goes on."""
    network = established()
    a, now = network.a.association, network.now
    window = WINDOW_FACTOR * LIMIT
    for chunks, tag, wait, send in steps:
        if send:
            with contextlib.suppress(SendRefused):
                a.send(1, 53, bytes(3000), now, ordered=False, max_retransmits=0)
                a.send(2, 53, bytes(300), now)
        with contextlib.suppress(ResetRefused):
            a.reset_streams([3], now)
        with contextlib.suppress(SctpError):
            body = b"".join(encode_chunk(chunk) for chunk in chunks)
            a.receive_datagram_untrusted(PacketHeader(5000, 5000, tag).packet(body), now)
        now += wait
        timer = a.get_timer()
        assert timer is None or timer < now + 61
        if timer is not None and timer <= now:
            a.handle_timer(now)
            later = a.get_timer()
            assert later is None or later > now, "a handled timer is not due again"
        packets = a.datagrams_to_send(now)
        assert len(packets) <= MAX_DATAGRAMS_PER_CALL
        assert all(len(packet) <= a.mtu for packet in packets)
        assert a.inbound.used <= OVERRUN_FACTOR * window + LIMIT
        assert a.inbound.assembly.stream_count <= 4
        assert 0 <= a.outbound.flight <= a.outbound.kept
        assert a.outbound.outstanding_count <= MAX_OUTSTANDING_CHUNKS
        assert len(a._outbox.control) <= MAX_CONTROL_CHUNKS
        assert (a.state is State.ENDED) <= (a.get_timer() is None)
        while a.next_event() is not None:
            pass


class Conversation(RuleBasedStateMachine):
    """Two honest associations on a network that Hypothesis runs: it delivers, loses, doubles and delays."""

    @initialize(seed=st.integers(0, 1000), connected=st.sampled_from([True, True, True, False]))
    def begin(self, seed: int, connected: bool) -> None:
        source = random.Random(seed)
        self.now = 1000.0
        self.sides = [
            Association(
                random_bytes=chosen_bytes(source.randrange(1, 1 << 32), 0xFFFF_FFFF - source.randrange(8))
            )
            for _ in range(2)
        ]
        self.flying: list[deque[bytes]] = [deque(), deque()]
        self.sent: list[dict[tuple[int, bool], list[bytes]]] = [{}, {}]
        self.reliable: list[set[bytes]] = [set(), set()]
        self.received: list[list[MessageReceived]] = [[], []]
        self.asked: list[set[int]] = [set(), set()]
        self.closed: list[AssociationClosed | None] = [None, None]
        self.number = 0
        self.shut = False
        for association in self.sides:
            association.start(self.now)
        for side in (0, 1):
            self.pump(side)
        while connected and any(self.flying):
            self.deliver_all(0)
            self.deliver_all(1)

    def pump(self, side: int) -> None:
        association = self.sides[side]
        while (event := association.next_event()) is not None:
            if isinstance(event, MessageReceived):
                self.received[side].append(event)
            elif isinstance(event, StreamsReset) and event.direction is Direction.OUTGOING:
                assert set(event.stream_ids) <= self.asked[side]
                self.asked[side] -= set(event.stream_ids)
            elif isinstance(event, AssociationClosed):
                assert self.closed[side] is None
                self.closed[side] = event
            else:
                assert not isinstance(event, StreamResetFailed)
        while packets := association.datagrams_to_send(self.now):
            self.flying[1 - side].extend(packets)

    def arrive(self, side: int, data: bytes) -> None:
        self.sides[side].receive_datagram_untrusted(data, self.now)
        self.pump(side)

    @rule(
        side=st.integers(0, 1),
        stream=st.integers(0, 2),
        size=st.sampled_from([5, 60, 1200, 5000]),
        ordered=st.booleans(),
        limit=st.sampled_from([None, None, 0, 1, 0.3]),
    )
    def send(self, side: int, stream: int, size: int, ordered: bool, limit: object) -> None:
        self.number += 1
        data = self.number.to_bytes(4, "big") + bytes(size - 4)
        try:
            self.sides[side].send(
                stream,
                53,
                data,
                self.now,
                ordered=ordered,
                max_retransmits=limit if isinstance(limit, int) else None,
                max_lifetime=limit if isinstance(limit, float) else None,
            )
        except SendRefused:
            assert self.shut or self.closed[side] or stream in self.asked[side]
            return
        self.sent[side].setdefault((stream, ordered), []).append(data)
        if limit is None:
            self.reliable[side].add(data)
        self.pump(side)

    @rule(side=st.integers(0, 1), index=st.integers(0, 5), keep=st.booleans())
    def deliver(self, side: int, index: int, keep: bool) -> None:
        """A packet arrives, perhaps before others, perhaps not for the last time."""
        flying = self.flying[side]
        if not flying:
            return
        index %= len(flying)
        data = flying[index]
        if not keep:
            del flying[index]
        self.arrive(side, data)

    @rule(side=st.integers(0, 1))
    def deliver_all(self, side: int) -> None:
        for _ in range(len(self.flying[side])):
            self.arrive(side, self.flying[side].popleft())

    @rule(side=st.integers(0, 1), index=st.integers(0, 5))
    def lose(self, side: int, index: int) -> None:
        flying = self.flying[side]
        if flying:
            del flying[index % len(flying)]

    @rule(seconds=st.sampled_from([0.01, 0.05, 0.3]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for side, association in enumerate(self.sides):
            timer = association.get_timer()
            if timer is not None and timer <= self.now:
                association.handle_timer(self.now)
                later = association.get_timer()
                assert later is None or later > self.now
                self.pump(side)

    @rule(side=st.integers(0, 1), stream=st.integers(0, 2))
    def reset(self, side: int, stream: int) -> None:
        try:
            self.sides[side].reset_streams([stream], self.now)
        except ResetRefused:
            assert self.sides[side].state is not State.ESTABLISHED or stream in self.asked[side]
            return
        self.asked[side].add(stream)
        self.pump(side)

    @precondition(lambda self: self.number > 3)
    @rule(side=st.integers(0, 1))
    def shut_down(self, side: int) -> None:
        if self.sides[side].state is State.ESTABLISHED:
            self.shut = True
            self.sides[side].shutdown(self.now)
            self.pump(side)

    @invariant()
    def what_arrived_was_sent_once_and_in_order(self) -> None:
        if not hasattr(self, "sides"):
            return
        for side in (0, 1):
            arrived = [message.data for message in self.received[side]]
            assert len(set(arrived)) == len(arrived)
            place = {
                data: (stream, ordered, number)
                for (stream, ordered), messages in self.sent[1 - side].items()
                for number, data in enumerate(messages)
            }
            last: dict[int, int] = {}
            for message in self.received[side]:
                stream, ordered, number = place[message.data]
                assert stream == message.stream_id
                if ordered:
                    assert number > last.get(stream, -1)
                    last[stream] = number

    @invariant()
    def accounts_balance(self) -> None:
        for association in getattr(self, "sides", []):
            assert 0 <= association.outbound.flight <= association.outbound.kept
            assert association.inbound.used >= 0
            assert association.buffered_amount >= 0

    def teardown(self) -> None:
        """From now on nothing is lost: all that must arrive does, resets finish, and nothing is left."""
        if not hasattr(self, "sides"):
            return
        for _ in range(3000):
            for side in (0, 1):
                self.deliver_all(side)
            if not any(self.flying):
                timers = [t for a in self.sides if (t := a.get_timer()) is not None]
                if not timers or min(timers) > self.now + 20:
                    break
                self.now = max(self.now, min(timers))
                self.wait(0.0)
        else:
            raise AssertionError("never quiet")
        in_time = all(closed is None or closed.detail == "" for closed in self.closed)
        assert in_time or self.shut
        if not in_time:
            return
        for side in (0, 1):
            arrived = {message.data for message in self.received[1 - side]}
            assert self.reliable[side] <= arrived
            association = self.sides[side]
            assert association.outbound.idle
            assert association.inbound.used == 0
            if self.shut:
                assert association.state is State.ENDED
            else:
                assert not self.asked[side]


Conversation.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestConversation = Conversation.TestCase

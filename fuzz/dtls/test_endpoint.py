"""No bytes raise, kill what can be kept alive, or cost more than their caps."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fuzz.dtls.test_guard import plausible
from fuzz.dtls.test_record import records as any_records
from sfu.dtls import (
    ApplicationData,
    DtlsClosed,
    DtlsConnected,
    DtlsEndpoint,
    DtlsEvent,
    DtlsFailed,
    DtlsRole,
    DtlsState,
)
from sfu.dtls.endpoint import HANDSHAKE_TIMEOUT, MAX_RESTARTS
from sfu.dtls.record import ContentType, Record, split_datagram_untrusted
from tests.support.dtls_net import Pair, certificate

positions = st.integers(0, 10_000)
"""To be taken modulo a length: those of signatures differ from run to run."""

records = st.one_of(any_records, plausible)
junk = st.one_of(
    st.binary(max_size=60), st.lists(records, max_size=3).map(lambda all_: b"".join(r.encode() for r in all_))
)

harmless_junk = st.one_of(
    st.binary(max_size=60),
    any_records.filter(lambda record: (record.content_type, record.epoch) != (ContentType.HANDSHAKE, 0)).map(
        Record.encode
    ),
    st.builds(
        lambda content_type, epoch, sequence, body: Record(
            content_type, 0xFEFD, epoch, sequence, body
        ).encode(),
        st.sampled_from([ContentType.CHANGE_CIPHER_SPEC, ContentType.ALERT, ContentType.APPLICATION_DATA]),
        st.integers(0, 2),
        st.integers(0, 2**48 - 1),
        st.one_of(st.sampled_from([b"\x01", b"\x02\x28", b"\x01\x00"]), st.binary(max_size=40)),
    ),
    st.builds(
        lambda sequence, body: Record(ContentType.HANDSHAKE, 0xFEFD, 1, sequence, body).encode(),
        st.integers(0, 2**48 - 1),
        st.binary(max_size=130),
    ),
)
"""Everything but a plausible plaintext handshake message, which nobody can tell from a real one."""


def endpoint(role: DtlsRole) -> DtlsEndpoint:
    end = DtlsEndpoint(certificate("server"), role, certificate("client").fingerprints)
    end.start(0.0)
    return end


@given(st.sampled_from(DtlsRole), st.lists(junk, max_size=20))
def test_any_datagrams(role: DtlsRole, datagrams: list[bytes]) -> None:
    end = endpoint(role)
    sent = sum(map(len, end.datagrams_to_send(0.0)))
    for datagram in datagrams:
        end.receive_datagram_untrusted(datagram, 0.0)
        sent += sum(map(len, end.datagrams_to_send(0.0)))
    assert sent < 2_000
    events = list(iter(end.next_event, None))
    assert events == [] or [type(event) for event in events] == [DtlsFailed]
    now = 0.0
    while (due := end.get_timer()) is not None:
        assert now < due <= HANDSHAKE_TIMEOUT
        now = due
        end.handle_timer(now)
    assert end.state is DtlsState.FAILED


@given(st.lists(junk, max_size=MAX_RESTARTS))
def test_a_server_survives_what_comes_before_the_first_hello(datagrams: list[bytes]) -> None:
    pair = Pair()
    pair.server.start(pair.now)
    for datagram in datagrams:
        pair.server.receive_datagram_untrusted(datagram, pair.now)
    assume(not pair.server.datagrams_to_send(pair.now))
    pair.client.start(pair.now)
    pair.pump()
    pair.run()
    assert pair.connected


@given(st.lists(st.tuples(st.sampled_from(DtlsRole), st.integers(0, 5), harmless_junk), max_size=12))
def test_a_handshake_survives_junk_at_any_point(script: list[tuple[DtlsRole, int, bytes]]) -> None:
    pair = Pair()
    pair.start()
    for step in range(6):
        for role, when, datagram in script:
            if when == step:
                end = pair.client if role is DtlsRole.CLIENT else pair.server
                end.receive_datagram_untrusted(datagram, pair.now)
        pair.pump()
        pair.step()
    pair.run()
    assert pair.connected, pair.failures


@given(st.integers(0, 3), st.lists(st.tuples(positions, st.integers(0, 7)), min_size=1, max_size=3))
def test_a_damaged_flight_ends_well_or_in_a_declared_way(which: int, flips: list[tuple[int, int]]) -> None:
    """Bits of one real datagram are flipped; its undamaged repetition may or may not come too late."""
    pair = Pair()
    pair.start()
    for _ in range(which):
        pair.step()
    if pair._wire:
        at, order, sender, datagram = pair._wire[0]
        damaged = bytearray(datagram)
        for position, bit in flips:
            damaged[position % len(damaged)] ^= 1 << bit
        pair._wire[0] = (at, order, sender, bytes(damaged))
    pair.run()
    assert pair.connected or pair.failures


@given(st.integers(256, 700), st.lists(st.tuples(positions, positions, st.booleans()), max_size=12))
def test_truncated_doubled_and_shuffled_fragments(mtu: int, script: list[tuple[int, int, bool]]) -> None:
    """Nothing that a network does to datagrams, short of forging them, ends a handshake."""
    pair = Pair(mtu=mtu)
    pair.start()
    for which, cut, step in script:
        if pair._wire:
            _, _, sender, datagram = pair._wire[which % len(pair._wire)]
            other = pair.server if sender is DtlsRole.CLIENT else pair.client
            other.receive_datagram_untrusted(datagram[: cut % (len(datagram) + 1)], pair.now)
            pair.pump()
        if step:
            pair.step()
    pair.run()
    assert pair.connected, pair.failures


class Association(RuleBasedStateMachine):
    """A pair under a network that loses, doubles, delays and injects as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        ours, theirs = certificate("client"), certificate("server")
        self.ends = {
            DtlsRole.CLIENT: DtlsEndpoint(ours, DtlsRole.CLIENT, theirs.fingerprints),
            DtlsRole.SERVER: DtlsEndpoint(theirs, DtlsRole.SERVER, ours.fingerprints),
        }
        self.wire: list[tuple[DtlsRole, bytes]] = []
        self.events: dict[DtlsRole, list[DtlsEvent]] = {role: [] for role in DtlsRole}
        self.data: dict[DtlsRole, set[bytes]] = {role: set() for role in DtlsRole}
        self.forged = False
        self.closed = False
        for end in self.ends.values():
            end.start(self.now)
        self.collect()

    def collect(self) -> None:
        for role, end in self.ends.items():
            other = DtlsRole.SERVER if role is DtlsRole.CLIENT else DtlsRole.CLIENT
            for datagram in end.datagrams_to_send(self.now):
                assert len(datagram) <= end.mtu
                assert len(b"".join(r.encode() for r in split_datagram_untrusted(datagram))) == len(datagram)
                self.wire.append((other, datagram))
            self.events[role] += iter(end.next_event, None)

    @precondition(lambda self: self.wire)
    @rule(pick=st.integers(0, 1000), keep=st.booleans())
    def deliver(self, pick: int, keep: bool) -> None:
        """Any datagram under way arrives, and perhaps will again."""
        index = pick % len(self.wire)
        receiver, datagram = self.wire[index] if keep else self.wire.pop(index)
        self.ends[receiver].receive_datagram_untrusted(datagram, self.now)
        self.collect()

    @precondition(lambda self: self.wire)
    @rule()
    def deliver_in_order(self) -> None:
        self.deliver(0, False)

    @precondition(lambda self: self.wire)
    @rule(pick=st.integers(0, 1000))
    def lose(self, pick: int) -> None:
        self.wire.pop(pick % len(self.wire))

    @rule(role=st.sampled_from(DtlsRole), datagram=harmless_junk)
    def inject(self, role: DtlsRole, datagram: bytes) -> None:
        # A spoofed alert shortens the wait for progress, so a handshake may run out of time after it.
        self.forged |= any(
            record.content_type == ContentType.ALERT for record in split_datagram_untrusted(datagram)
        )
        self.ends[role].receive_datagram_untrusted(datagram, self.now)
        self.collect()

    @rule(seconds=st.sampled_from([0.001, 0.05, 0.3]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for end in self.ends.values():
            end.handle_timer(self.now)
        self.collect()

    @rule(role=st.sampled_from(DtlsRole), data=st.binary(min_size=1, max_size=30))
    def send(self, role: DtlsRole, data: bytes) -> None:
        if self.ends[role].state is DtlsState.CONNECTED:
            self.ends[role].send(data)
            self.data[role].add(data)
            self.collect()

    @precondition(lambda self: any(end.state is DtlsState.CONNECTED for end in self.ends.values()))
    @rule(role=st.sampled_from(DtlsRole))
    def close(self, role: DtlsRole) -> None:
        self.ends[role].close(self.now)
        self.closed = True
        self.collect()

    @invariant()
    def timers_move(self) -> None:
        for end in self.ends.values():
            timer = end.get_timer()
            if timer is not None:
                end.handle_timer(self.now)
                again = end.get_timer()
                assert again is None or again > self.now
        self.collect()

    @invariant()
    def events_are_in_order(self) -> None:
        for role, log in self.events.items():
            kinds = [type(event) for event in log]
            assert kinds.count(DtlsConnected) <= 1
            assert not set(kinds[:-1]) & {DtlsClosed, DtlsFailed}
            if ApplicationData in kinds or DtlsClosed in kinds:
                assert kinds[0] is DtlsConnected
            other = DtlsRole.SERVER if role is DtlsRole.CLIENT else DtlsRole.CLIENT
            received = {event.data for event in log if isinstance(event, ApplicationData)}
            assert received <= self.data[other]

    @invariant()
    def keys_agree(self) -> None:
        client, server = (
            next((event for event in self.events[role] if isinstance(event, DtlsConnected)), None)
            for role in DtlsRole
        )
        if client and server:
            assert (client.local_key, client.local_salt) == (server.remote_key, server.remote_salt)
            assert (client.remote_key, client.remote_salt) == (server.local_key, server.local_salt)

    @invariant()
    def only_time_or_a_close_can_end_it(self) -> None:
        for end in self.ends.values():
            if end.state is DtlsState.FAILED:
                assert self.now >= HANDSHAKE_TIMEOUT or self.forged or self.closed

    def teardown(self) -> None:
        """With a perfect network from now on, everybody gets through unless it was closed or too late."""
        if self.closed or self.forged:
            return
        deadline = self.now + HANDSHAKE_TIMEOUT
        while self.now < deadline and not all(end.state is DtlsState.CONNECTED for end in self.ends.values()):
            if any(end.state is DtlsState.FAILED for end in self.ends.values()):
                assert self.now >= HANDSHAKE_TIMEOUT
                return
            while self.wire:
                self.deliver(0, False)
            self.pass_time(0.05)
        assert all(end.state is DtlsState.CONNECTED for end in self.ends.values())


TestAssociation = Association.TestCase

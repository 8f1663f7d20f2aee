"""The agent against random peers, attackers, restarts, closed connections and time."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fuzz.ice.test_stun import datagrams
from sfu.ice.address import Address, TcpAddress
from sfu.ice.agent import MAX_PENDING_DATAGRAMS, MAX_PENDING_EVENTS, MAX_TUPLES, IceAgent
from sfu.ice.credentials import IceCredentials
from sfu.ice.events import (
    CredentialsRetired,
    Event,
    StateChanged,
    TupleRemoved,
    TupleSelected,
    TupleValidated,
)
from sfu.ice.state import IceState
from sfu.ice.stun import StunError
from tests.ice.peer import check

MAX_ANSWER = 256
ADDRESSES: list[Address] = [
    *(("192.0.2.1", 50_000 + number) for number in range(7)),
    *(("2001:db8::1", 50_000 + number, 0, 0) for number in range(4)),
    *(TcpAddress("192.0.2.1", 50_000, number) for number in range(4)),
]
addresses = st.sampled_from(ADDRESSES)
oddities = st.sampled_from(
    [
        {"priority": None},
        {"method": 3},
        {"ice_controlling": None, "ice_controlled": 7},
        {"ice_controlled": 7},
        {"unknown_attributes": tuple(range(20))},
    ]
)


class Agents(RuleBasedStateMachine):
    """A model that learns everything from events, next to the agent that emits them."""

    @initialize(timeout=st.sampled_from([10.0, 30.0, 60.0]), seed=st.integers(0, 255))
    def start(self, timeout: float, seed: int) -> None:
        counter = iter(range(seed, 1 << 30))
        self.agent = IceAgent(
            consent_timeout=timeout,
            random_bytes=lambda size: next(counter).to_bytes(4, "big") * (size // 4),
        )
        self.now = 0.0
        self.timeout = timeout
        self.sessions: list[IceCredentials] = [self.agent.credentials]
        self.authenticated: set[Address] = set()
        self.heard: dict[Address, float] = {}
        self.tuples: set[Address] = set()
        self.selected: Address | None = None
        self.state = IceState.NEW
        self.ufrags = {self.agent.credentials.username_fragment}

    def exchange(self, data: bytes, addr: Address) -> bool:
        """Deliver, and look at what comes back; whether anything did."""
        try:
            self.agent.receive_datagram_untrusted(data, addr, self.now)
        except StunError:
            pass
        sent = self.agent.datagrams_to_send(self.now)
        assert len(sent) <= 1
        for answer, destination in sent:
            assert destination == addr
            assert destination in self.authenticated
            assert len(answer) <= min(len(data), MAX_ANSWER)
        return bool(sent)

    def accepted(self, credentials: IceCredentials) -> bool:
        return credentials.username_fragment in self.agent.local_ufrags

    @rule(
        addr=addresses,
        use_candidate=st.booleans(),
        nomination=st.none() | st.integers(0, 4),
        age=st.integers(0, 2),
    )
    def check(self, addr: Address, use_candidate: bool, nomination: int | None, age: int) -> None:
        credentials = self.sessions[max(0, len(self.sessions) - 1 - age)]
        accepted = self.accepted(credentials)
        if accepted:
            self.authenticated.add(addr)
        if accepted and age == 0:
            retired = set(self.agent.local_ufrags) - {credentials.username_fragment}
        else:
            retired = set()
        was_tuple = self.agent.is_validated(addr)
        answered = self.exchange(check(credentials, use_candidate=use_candidate, nomination=nomination), addr)
        assert answered == (accepted and self.agent.is_validated(addr))
        if was_tuple:
            assert answered == accepted
        if answered:
            self.heard[addr] = self.now
        assert not retired & set(self.agent.local_ufrags)

    @rule(addr=addresses, oddity=oddities)
    def odd_check(self, addr: Address, oddity: dict[str, Any]) -> None:
        if self.accepted(self.sessions[-1]):
            self.authenticated.add(addr)
        validated = self.agent.is_validated(addr)
        answered = self.exchange(check(self.sessions[-1], **oddity), addr)
        if "unknown_attributes" not in oddity:
            assert answered
            assert self.agent.is_validated(addr) == validated
        elif answered:
            self.heard[addr] = self.now

    @rule(addr=addresses, age=st.integers(0, 3))
    def forged_check(self, addr: Address, age: int) -> None:
        credentials = self.sessions[max(0, len(self.sessions) - 1 - age)]
        before = (self.agent.state, self.agent.tuples, self.agent.selected, self.agent.get_timer())
        assert not self.exchange(check(credentials, password="forged", use_candidate=True), addr)
        assert before == (self.agent.state, self.agent.tuples, self.agent.selected, self.agent.get_timer())

    @rule(addr=addresses, data=datagrams())
    def junk(self, addr: Address, data: bytes) -> None:
        assert not self.exchange(data, addr)

    @rule(seconds=st.sampled_from([0.0, 0.05, 1.0, 5.0, 9.0, 11.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        timer = self.agent.get_timer()
        self.agent.handle_timer(self.now)
        if timer is not None and timer > self.now:
            assert self.agent.get_timer() == timer
        remaining = self.agent.get_timer()
        assert remaining is None or remaining > self.now

    @precondition(lambda self: self.state is not IceState.CLOSED)
    @rule()
    def restart(self) -> None:
        credentials = self.agent.restart(self.now)
        self.sessions.append(credentials)
        self.ufrags.add(credentials.username_fragment)

    @rule(addr=addresses)
    def peer_sends(self, addr: Address) -> None:
        """Media or DTLS of the peer: it may move the selection to a tuple, and does nothing else."""
        before = (self.agent.tuples, self.agent.get_timer(), self.agent.selected)
        self.agent.follow(addr)
        assert (self.agent.tuples, self.agent.get_timer()) == before[:2]
        if self.agent.selected != before[2]:
            assert self.agent.selected == addr in self.tuples
            assert before[2] is not None
            assert self.heard[addr] >= self.heard[before[2]] or len(self.sessions) > 1

    @rule(addr=addresses)
    def connection_closes(self, addr: Address) -> None:
        self.agent.remove_address(addr, self.now)
        assert not self.agent.is_validated(addr)

    @invariant()
    def agent_and_events_agree(self) -> None:
        while (event := self.agent.next_event()) is not None:
            self.learn(event)
        agent = self.agent
        assert self.tuples == set(agent.tuples)
        assert len(agent.tuples) == len(self.tuples) <= MAX_TUPLES
        assert self.state is agent.state
        assert agent.selected == (self.selected if self.tuples else None)
        assert (agent.selected is not None) is (agent.state in {IceState.CONNECTED, IceState.COMPLETED})
        assert agent.selected is None or agent.is_validated(agent.selected)
        assert self.tuples <= self.authenticated
        assert self.ufrags == set(agent.local_ufrags)
        assert agent.credentials.username_fragment == agent.local_ufrags[0]
        assert agent.get_timer() == (
            min(self.heard[addr] for addr in self.tuples) + self.timeout if self.tuples else None
        )

    def learn(self, event: Event) -> None:
        match event:
            case TupleValidated(addr):
                assert addr not in self.tuples
                self.tuples.add(addr)
            case TupleRemoved(addr):
                self.tuples.remove(addr)
            case TupleSelected(addr):
                assert addr in self.tuples
                self.selected = addr
            case CredentialsRetired(ufrag):
                self.ufrags.remove(ufrag)
            case StateChanged(state):
                assert state is not self.state
                self.state = state
                if state is IceState.DISCONNECTED:
                    assert not self.tuples
                    self.selected = None

    def teardown(self) -> None:
        if not hasattr(self, "agent"):
            return
        self.agent.close()
        assert self.agent.state is IceState.CLOSED
        assert self.agent.get_timer() is None
        assert not self.exchange(check(self.sessions[-1]), ADDRESSES[0])


TestAgents = Agents.TestCase
TestAgents.settings = settings(
    max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)


@given(st.lists(st.tuples(datagrams() | st.none(), addresses), max_size=200))
@settings(max_examples=30)
def test_a_driver_that_never_fetches_anything_is_bounded(
    inputs: list[tuple[bytes | None, Address]],
) -> None:
    agent = IceAgent()
    for data, addr in inputs:
        try:
            agent.receive_datagram_untrusted(
                data or check(agent.credentials, use_candidate=True), addr, now=0.0
            )
        except StunError:
            pass
    assert len(agent.datagrams_to_send(0.0)) <= MAX_PENDING_DATAGRAMS
    events = 0
    while agent.next_event() is not None:
        events += 1
    assert events < MAX_PENDING_EVENTS + 5

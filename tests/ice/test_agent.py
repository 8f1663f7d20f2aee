"""What the lite agent answers, selects, drops and reports."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from sfu.ice.address import Address, TcpAddress
from sfu.ice.agent import (
    MAX_PENDING_DATAGRAMS,
    MAX_PENDING_EVENTS,
    MAX_TUPLES,
    TUPLE_PROTECTION,
    IceAgent,
)
from sfu.ice.credentials import IceCredentials
from sfu.ice.events import (
    CredentialsRetired,
    Refused,
    RemovalReason,
    StateChanged,
    TupleRemoved,
    TupleSelected,
    TupleValidated,
)
from sfu.ice.state import IceState, Trigger
from sfu.ice.stun import BINDING, MappedAddress, MessageClass, StunError, StunMessage
from tests.ice.peer import check, drain, error_code, exchange, is_success, send, udp
from tests.ice.wire import assemble, attribute

TCP = TcpAddress("192.0.2.1", 50_000, 7)


@pytest.fixture
def agent() -> IceAgent:
    return IceAgent()


def state_of(agent: IceAgent) -> IceState:
    """The state, asked anew: a type checker would take it for what it was found to be before."""
    return agent.state


def ufrags_of(agent: IceAgent) -> tuple[str, ...]:
    return agent.local_ufrags


def refused(agent: IceAgent) -> dict[str, int]:
    """The counters that are not zero."""
    return {
        field.name: value for field in fields(Refused) if (value := getattr(agent.refused, field.name)) != 0
    }


class TestSuccess:
    @pytest.mark.parametrize(
        ("addr", "mapped"),
        [
            (("192.0.2.1", 50_000), ("192.0.2.1", 50_000)),
            (("2001:db8::7", 50_001, 0, 0), ("2001:db8::7", 50_001)),
            (("fe80::1%eth0", 50_002, 0, 2), ("fe80::1", 50_002)),
            (("::ffff:192.0.2.9", 50_003, 0, 0), ("192.0.2.9", 50_003)),
            (TCP, ("192.0.2.1", 50_000)),
        ],
        ids=["IPv4", "IPv6", "link-local", "dual stack", "TCP"],
    )
    def test_first_check(self, agent: IceAgent, addr: Address, mapped: tuple[str, int]) -> None:
        answer = send(agent, addr, 1.0)
        assert answer is not None
        assert answer.message == StunMessage(
            message_class=MessageClass.SUCCESS,
            transaction_id=answer.message.transaction_id,
            xor_mapped_address=MappedAddress(*mapped),
        )
        assert drain(agent) == [
            TupleValidated(addr),
            TupleSelected(addr),
            StateChanged(IceState.CONNECTED, Trigger.CHECKED),
        ]
        assert agent.is_validated(addr)
        assert agent.selected == addr
        assert agent.tuples == (addr,)
        assert refused(agent) == {}

    def test_nothing_happens_before(self, agent: IceAgent) -> None:
        assert state_of(agent) is IceState.NEW
        assert agent.selected is None
        assert agent.get_timer() is None
        agent.handle_timer(1e9)
        assert agent.next_event() is None
        assert agent.datagrams_to_send(1e9) == []
        assert state_of(agent) is IceState.NEW

    def test_repeated_check_is_answered_again(self, agent: IceAgent) -> None:
        data = check(agent.credentials)
        password = agent.credentials.password
        first = exchange(agent, data, udp(0), 1.0, password)
        drain(agent)
        assert exchange(agent, data, udp(0), 1.1, password) == first
        assert drain(agent) == []

    def test_agents_from_before_roles(self, agent: IceAgent) -> None:
        """Without a role attribute a conflict cannot be told (RFC 8445 7.3.1.1)."""
        assert is_success(send(agent, udp(0), 1.0, ice_controlling=None))

    def test_two_connections_of_one_host_are_two_tuples(self, agent: IceAgent) -> None:
        other = TCP._replace(connection=8)
        send(agent, TCP, 1.0)
        assert agent.is_validated(TCP)
        assert not agent.is_validated(other)
        assert not agent.is_validated(("192.0.2.1", 50_000))

    def test_attributes_after_integrity_are_not_obeyed(self, agent: IceAgent) -> None:
        credentials = agent.credentials
        body = (
            attribute(0x0006, f"{credentials.username_fragment}:p".encode())
            + attribute(0x0024, bytes(4))
            + attribute(0x802A, bytes(8))
        )
        forged = assemble(body, password=credentials.password, after=attribute(0x0025, b""))
        assert is_success(exchange(agent, forged, udp(0), 1.0, credentials.password))
        assert state_of(agent) is IceState.CONNECTED


class TestSilence:
    """Nobody who did not authenticate gets as much as a byte, and nothing changes for anybody."""

    def refuse(self, agent: IceAgent, data: bytes, reason: str) -> None:
        agent.receive_datagram_untrusted(data, udp(0), 1.0)
        assert agent.datagrams_to_send(1.0) == []
        assert drain(agent) == []
        assert state_of(agent) is IceState.NEW
        assert not agent.is_validated(udp(0))
        assert refused(agent) == {reason: 1}

    def test_other_password(self, agent: IceAgent) -> None:
        self.refuse(agent, check(agent.credentials, password="wrong"), "integrity")

    def test_other_ufrag(self, agent: IceAgent) -> None:
        self.refuse(agent, check(IceAgent().credentials, password=agent.credentials.password), "username")

    @pytest.mark.parametrize(
        "change", ["{}", "{}x:peer", "x{}:peer", ":{}", ":", "", "{}".upper() + "X:peer"]
    )
    def test_other_username(self, agent: IceAgent, change: str) -> None:
        username = change.format(agent.credentials.username_fragment)
        self.refuse(agent, check(agent.credentials, username=username), "username")

    def test_no_username(self, agent: IceAgent) -> None:
        self.refuse(agent, check(agent.credentials, username=None), "unauthenticated")

    def test_no_integrity(self, agent: IceAgent) -> None:
        body = attribute(0x0006, f"{agent.credentials.username_fragment}:p".encode())
        self.refuse(agent, assemble(body + attribute(0x0024, bytes(4))), "unauthenticated")

    def test_only_sha256_integrity(self, agent: IceAgent) -> None:
        body = attribute(0x0006, f"{agent.credentials.username_fragment}:p".encode())
        self.refuse(agent, assemble(body + attribute(0x001C, bytes(32))), "unauthenticated")

    def test_username_after_integrity(self, agent: IceAgent) -> None:
        username = attribute(0x0006, f"{agent.credentials.username_fragment}:p".encode())
        data = assemble(attribute(0x0024, bytes(4)), password=agent.credentials.password, after=username)
        self.refuse(agent, data, "unauthenticated")

    @pytest.mark.parametrize("username", [b"", b":"])
    def test_errors_are_not_for_strangers(self, agent: IceAgent, username: bytes) -> None:
        """What earns 420, 400 and 487 once authenticated earns nothing before."""
        body = (
            attribute(0x0006, agent.credentials.username_fragment.encode() + username)
            + attribute(0x7777, b"")
            + attribute(0x8029, bytes(8))
        )
        reason = "integrity" if username else "username"
        self.refuse(agent, assemble(body, password="guess", message_type=0x0003), reason)

    def test_no_fingerprint(self, agent: IceAgent) -> None:
        body = attribute(0x0006, f"{agent.credentials.username_fragment}:p".encode()) + attribute(
            0x0024, bytes(4)
        )
        data = assemble(body, password=agent.credentials.password, fingerprint=False)
        self.refuse(agent, data, "fingerprint")

    def test_bad_fingerprint(self, agent: IceAgent) -> None:
        data = bytearray(check(agent.credentials))
        data[-1] ^= 0x80
        self.refuse(agent, bytes(data), "fingerprint")

    @pytest.mark.parametrize("message_class", [MessageClass.SUCCESS, MessageClass.ERROR])
    def test_answers_to_nothing(self, agent: IceAgent, message_class: MessageClass) -> None:
        self.refuse(agent, check(agent.credentials, message_class=message_class), "response")

    def test_malformed(self, agent: IceAgent) -> None:
        data = assemble(attribute(0x0024, b"abc"))
        with pytest.raises(StunError):
            agent.receive_datagram_untrusted(data, udp(0), 1.0)
        assert refused(agent) == {"malformed": 1}
        assert agent.datagrams_to_send(1.0) == []
        assert drain(agent) == []

    def test_indication_is_accepted_without_effect(self, agent: IceAgent) -> None:
        send(agent, udp(0), 1.0)
        drain(agent)
        timer = agent.get_timer()
        for addr in (udp(0), udp(1)):
            data = check(agent.credentials, message_class=MessageClass.INDICATION)
            assert exchange(agent, data, addr, 20.0, "") is None
        assert refused(agent) == {}
        assert drain(agent) == []
        assert agent.get_timer() == timer
        assert agent.tuples == (udp(0),)


class TestErrors:
    """To the authenticated only; and an error is no check: it makes no tuple and refreshes none."""

    @pytest.mark.parametrize(
        ("changes", "code", "reason"),
        [
            ({"priority": None}, 400, "bad_request"),
            ({"method": 0x003}, 400, "bad_request"),
            ({"ice_controlled": 1}, 400, "bad_request"),
            ({"ice_controlling": None, "ice_controlled": 0}, 487, "role_conflict"),
            ({"ice_controlling": None, "ice_controlled": (1 << 64) - 1}, 487, "role_conflict"),
        ],
        ids=["no priority", "not Binding", "both roles", "controlled, smallest", "controlled, largest"],
    )
    def test_code(self, agent: IceAgent, changes: dict[str, Any], code: int, reason: str) -> None:
        send(agent, udp(1), 1.0)
        drain(agent)
        for addr in (udp(0), udp(1)):
            answer = send(agent, addr, 2.0, use_candidate=True, **changes)
            assert error_code(answer) == code
            assert answer is not None
            assert answer.message.method == changes.get("method", BINDING)
            assert answer.message.xor_mapped_address is None
        assert refused(agent) == {reason: 2}
        assert drain(agent) == []
        assert agent.tuples == (udp(1),)
        assert agent.get_timer() == 31.0
        assert state_of(agent) is IceState.CONNECTED

    @pytest.mark.parametrize("count", [1, 2, 3, 26])
    def test_unknown_attributes(self, agent: IceAgent, count: int) -> None:
        kinds = tuple(range(0x7000, 0x7000 + count))
        credentials = agent.credentials
        body = attribute(0x0006, f"{credentials.username_fragment}:".encode()) + b"".join(
            attribute(kind, b"") for kind in kinds
        )
        answer = exchange(
            agent, assemble(body, password=credentials.password), udp(0), 1.0, credentials.password
        )
        assert error_code(answer) == 420
        assert answer is not None
        assert answer.message.unknown_attributes == kinds
        assert refused(agent) == {"unknown_attribute": 1}
        assert agent.tuples == ()

    def test_role_conflict_repaired(self, agent: IceAgent) -> None:
        assert error_code(send(agent, udp(0), 1.0, ice_controlling=None, ice_controlled=5)) == 487
        assert is_success(send(agent, udp(0), 1.1, ice_controlling=5, use_candidate=True))
        assert state_of(agent) is IceState.COMPLETED


class TestNomination:
    def test_aggressive(self, agent: IceAgent) -> None:
        """The very first check nominates."""
        send(agent, udp(0), 1.0, use_candidate=True)
        assert drain(agent) == [
            TupleValidated(udp(0)),
            TupleSelected(udp(0)),
            StateChanged(IceState.COMPLETED, Trigger.NOMINATED),
        ]

    def test_regular(self, agent: IceAgent) -> None:
        """Before the nomination the first tuple is in use, whatever else is validated."""
        send(agent, udp(0), 1.0)
        send(agent, udp(1), 1.1)
        send(agent, udp(2), 1.2)
        assert agent.selected == udp(0)
        assert state_of(agent) is IceState.CONNECTED
        drain(agent)
        send(agent, udp(1), 1.3, use_candidate=True)
        assert drain(agent) == [
            TupleSelected(udp(1)),
            StateChanged(IceState.COMPLETED, Trigger.NOMINATED),
        ]

    def test_last_of_several_wins(self, agent: IceAgent) -> None:
        for step, number in enumerate((0, 1, 2, 1, 0)):
            send(agent, udp(number), 1.0 + step, use_candidate=True)
            assert agent.selected == udp(number)
        send(agent, udp(2), 9.0)
        assert agent.selected == udp(0)
        assert [event.addr for event in drain(agent) if isinstance(event, TupleSelected)] == [
            udp(0),
            udp(1),
            udp(2),
            udp(1),
            udp(0),
        ]

    def test_highest_nomination_value_wins(self, agent: IceAgent) -> None:
        send(agent, udp(0), 1.0, nomination=1, use_candidate=True)
        send(agent, udp(1), 1.1, nomination=3)
        assert agent.selected == udp(1)
        send(agent, udp(0), 1.2, nomination=2, use_candidate=True)
        send(agent, udp(0), 1.3, nomination=3, use_candidate=True)
        assert agent.selected == udp(1)
        assert state_of(agent) is IceState.COMPLETED
        send(agent, udp(0), 1.4, nomination=0xFFFFFFFF)
        assert agent.selected == udp(0)

    def test_one_is_high_enough_to_begin_with(self, agent: IceAgent) -> None:
        send(agent, udp(0), 1.0, nomination=1)
        assert state_of(agent) is IceState.COMPLETED

    def test_plain_nomination_still_works_after_a_value(self, agent: IceAgent) -> None:
        """Browsers leave the value out once it was acknowledged."""
        send(agent, udp(0), 1.0, nomination=4, use_candidate=True)
        send(agent, udp(1), 1.1, use_candidate=True)
        assert agent.selected == udp(1)

    def test_value_zero_nominates_nothing_by_itself(self, agent: IceAgent) -> None:
        send(agent, udp(0), 1.0, nomination=0)
        assert state_of(agent) is IceState.CONNECTED
        send(agent, udp(0), 1.1, nomination=0, use_candidate=True)
        assert state_of(agent) is IceState.COMPLETED

    def test_value_counts_from_zero_after_the_selected_tuple_is_lost(self, agent: IceAgent) -> None:
        send(agent, TCP, 1.0, nomination=5)
        send(agent, udp(1), 1.1)
        agent.remove_address(TCP, 1.2)
        assert state_of(agent) is IceState.CONNECTED
        send(agent, udp(1), 1.3, nomination=1)
        assert state_of(agent) is IceState.COMPLETED


class TestMoving:
    """A peer whose NAT gave it another address does not nominate again."""

    def test_its_packets_show_where_it_is(self, agent: IceAgent) -> None:
        send(agent, udp(0), 1.0, nomination=7)
        send(agent, udp(1), 3.5)
        assert agent.selected == udp(0), "a check alone may be for a spare path"
        drain(agent)
        agent.follow(udp(1))
        assert drain(agent) == [TupleSelected(udp(1)), StateChanged(IceState.CONNECTED, Trigger.MOVED)]
        agent.follow(udp(1))
        assert drain(agent) == []
        send(agent, udp(0), 4.0, nomination=1)
        assert (agent.selected, state_of(agent)) == (udp(0), IceState.COMPLETED), "a nomination still decides"

    def test_late_packets_of_the_path_it_left_do_not(self, agent: IceAgent) -> None:
        send(agent, udp(0), 1.0, use_candidate=True)
        send(agent, udp(1), 3.5, use_candidate=True)
        agent.follow(udp(0))
        assert agent.selected == udp(1)
        send(agent, udp(0), 3.5)
        agent.follow(udp(0))
        assert agent.selected == udp(1)

    def test_nor_do_those_from_before_a_restart(self, agent: IceAgent) -> None:
        old = agent.credentials
        send(agent, udp(0), 1.0, use_candidate=True)
        agent.restart(2.0)
        exchange(agent, check(old), udp(2), 2.4, old.password)
        send(agent, udp(1), 2.2)
        agent.follow(udp(2))
        assert agent.selected == udp(1)

    def test_strangers_are_not_followed(self, agent: IceAgent) -> None:
        agent.follow(udp(5))
        send(agent, udp(0), 1.0)
        agent.follow(udp(5))
        assert agent.selected == udp(0)

    def test_a_check_elsewhere_while_the_selected_is_silent(self, agent: IceAgent) -> None:
        send(agent, udp(0), 1.0, use_candidate=True)
        send(agent, udp(1), 1.0 + TUPLE_PROTECTION - 0.001)
        assert agent.selected == udp(0)
        drain(agent)
        send(agent, udp(1), 1.0 + TUPLE_PROTECTION)
        assert drain(agent) == [TupleSelected(udp(1)), StateChanged(IceState.CONNECTED, Trigger.MOVED)]


class TestTupleLimit:
    def fill(self, agent: IceAgent, now: float) -> None:
        for number in range(MAX_TUPLES):
            assert is_success(send(agent, udp(number), now + number / 100, use_candidate=number == 0))
        assert len(agent.tuples) == MAX_TUPLES
        drain(agent)

    def test_newcomers_are_refused_while_all_are_alive(self, agent: IceAgent) -> None:
        self.fill(agent, 1.0)
        for number in range(100, 200):
            assert send(agent, udp(number), 2.0 + number / 100, use_candidate=True) is None
        assert refused(agent) == {"tuple_limit": 100}
        assert agent.tuples == tuple(udp(number) for number in range(MAX_TUPLES))
        assert agent.selected == udp(0)
        assert drain(agent) == []
        assert agent.get_timer() == 31.0

    def test_the_longest_silent_gives_way(self, agent: IceAgent) -> None:
        self.fill(agent, 1.0)
        for number in (0, 1):
            send(agent, udp(number), 5.0)
        now = 1.02 + TUPLE_PROTECTION
        assert send(agent, udp(8), now - 0.001) is None
        assert is_success(send(agent, udp(8), now + 0.001))
        assert drain(agent) == [
            TupleRemoved(udp(2), RemovalReason.EVICTED),
            TupleValidated(udp(8)),
        ]
        assert not agent.is_validated(udp(2))
        assert len(agent.tuples) == MAX_TUPLES

    def test_protection_ends_to_the_second(self, agent: IceAgent) -> None:
        for number in range(MAX_TUPLES):
            send(agent, udp(number), 0.0)
        assert is_success(send(agent, udp(MAX_TUPLES), TUPLE_PROTECTION))

    def test_the_selected_never_gives_way(self, agent: IceAgent) -> None:
        """Though it be silent for longest."""
        self.fill(agent, 1.0)
        send(agent, udp(8), 20.0)
        assert agent.is_validated(udp(0))
        assert not agent.is_validated(udp(1))
        assert len(agent.tuples) == MAX_TUPLES

    def test_a_replayed_nomination_cannot_push_out_the_living_path(self, agent: IceAgent) -> None:
        """A recorded check is repeated from many addresses: the peer's next one takes all back."""
        recorded = check(agent.credentials, use_candidate=True)
        agent.receive_datagram_untrusted(recorded, udp(0), 0.0)
        now = 0.0
        for number in range(1, 2000):
            now += 0.01
            agent.receive_datagram_untrusted(recorded, udp(number), now)
            agent.datagrams_to_send(now)
            drain(agent)
            if number % 250 == 0:
                assert is_success(send(agent, udp(0), now, use_candidate=True))
                assert agent.selected == udp(0)
            assert agent.is_validated(udp(0))
            assert len(agent.tuples) <= MAX_TUPLES

    def test_tuples_from_before_a_restart_give_way_at_once(self, agent: IceAgent) -> None:
        self.fill(agent, 1.0)
        agent.restart(1.5)
        assert is_success(send(agent, udp(20), 1.6))
        assert drain(agent)[1:] == [
            TupleRemoved(udp(1), RemovalReason.EVICTED),
            TupleValidated(udp(20)),
            TupleSelected(udp(20)),
            StateChanged(IceState.CONNECTED, Trigger.RESTARTED),
        ]


class TestConsent:
    @pytest.mark.parametrize("timeout", [10.0, 30.0, 60.0])
    def test_silence_disconnects(self, timeout: float) -> None:
        agent = IceAgent(consent_timeout=timeout)
        send(agent, udp(0), 5.0)
        send(agent, udp(0), 7.0)
        drain(agent)
        assert agent.get_timer() == 7.0 + timeout
        agent.handle_timer(7.0 + timeout - 0.01)
        assert drain(agent) == []
        agent.handle_timer(7.0 + timeout)
        assert drain(agent) == [
            TupleRemoved(udp(0), RemovalReason.SILENT),
            StateChanged(IceState.DISCONNECTED, Trigger.CONSENT_EXPIRED),
        ]
        assert agent.selected is None
        assert not agent.is_validated(udp(0))
        assert agent.get_timer() is None

    def test_default_is_30_seconds(self, agent: IceAgent) -> None:
        send(agent, udp(0), 0.0)
        assert agent.get_timer() == 30.0

    @pytest.mark.parametrize("timeout", [9.9, 60.1, 0.0, -1.0, float("inf"), float("nan")])
    def test_timeout_out_of_range(self, timeout: float) -> None:
        with pytest.raises(ValueError):
            IceAgent(consent_timeout=timeout)

    @pytest.mark.parametrize(
        ("use_candidate", "state", "reason"),
        [
            (False, IceState.CONNECTED, Trigger.CHECKED),
            (True, IceState.COMPLETED, Trigger.NOMINATED),
        ],
    )
    def test_a_later_check_brings_it_back(
        self, agent: IceAgent, use_candidate: bool, state: IceState, reason: Trigger
    ) -> None:
        send(agent, udp(0), 0.0, use_candidate=True)
        agent.handle_timer(1000.0)
        drain(agent)
        assert is_success(send(agent, udp(0), 2000.0, use_candidate=use_candidate))
        assert drain(agent) == [
            TupleValidated(udp(0)),
            TupleSelected(udp(0)),
            StateChanged(state, reason),
        ]

    def test_a_silent_tuple_goes_alone(self, agent: IceAgent) -> None:
        send(agent, udp(0), 0.0, use_candidate=True)
        send(agent, udp(1), 1.0)
        send(agent, udp(0), 20.0)
        drain(agent)
        assert agent.get_timer() == 31.0
        agent.handle_timer(31.0)
        assert drain(agent) == [TupleRemoved(udp(1), RemovalReason.SILENT)]
        assert state_of(agent) is IceState.COMPLETED
        assert agent.get_timer() == 50.0

    def test_silent_selected_tuple_falls_back_to_the_best_heard(self, agent: IceAgent) -> None:
        send(agent, udp(0), 0.0, use_candidate=True)
        send(agent, udp(1), 7.0)
        send(agent, udp(2), 6.0)
        drain(agent)
        agent.handle_timer(30.0)
        assert drain(agent) == [
            TupleRemoved(udp(0), RemovalReason.SILENT),
            TupleSelected(udp(1)),
            StateChanged(IceState.CONNECTED, Trigger.FELL_BACK),
        ]

    def test_unauthenticated_traffic_is_no_consent(self, agent: IceAgent) -> None:
        send(agent, udp(0), 0.0)
        for second in range(1, 30):
            agent.receive_datagram_untrusted(check(agent.credentials, password="x"), udp(0), float(second))
        assert agent.get_timer() == 30.0


class TestRemoval:
    def test_of_the_selected(self, agent: IceAgent) -> None:
        send(agent, TCP, 0.0, use_candidate=True)
        send(agent, udp(1), 1.0)
        drain(agent)
        agent.remove_address(TCP, 2.0)
        assert drain(agent) == [
            TupleRemoved(TCP, RemovalReason.CONNECTION_CLOSED),
            TupleSelected(udp(1)),
            StateChanged(IceState.CONNECTED, Trigger.FELL_BACK),
        ]

    def test_of_the_last(self, agent: IceAgent) -> None:
        send(agent, TCP, 0.0)
        drain(agent)
        agent.remove_address(TCP, 2.0)
        assert drain(agent) == [
            TupleRemoved(TCP, RemovalReason.CONNECTION_CLOSED),
            StateChanged(IceState.DISCONNECTED, Trigger.CONNECTION_LOST),
        ]
        assert agent.get_timer() is None

    def test_of_another(self, agent: IceAgent) -> None:
        send(agent, udp(1), 0.0, use_candidate=True)
        send(agent, TCP, 1.0)
        drain(agent)
        agent.remove_address(TCP, 2.0)
        assert drain(agent) == [TupleRemoved(TCP, RemovalReason.CONNECTION_CLOSED)]
        assert state_of(agent) is IceState.COMPLETED

    def test_of_a_stranger(self, agent: IceAgent) -> None:
        agent.remove_address(TCP, 2.0)
        send(agent, udp(1), 3.0)
        drain(agent)
        agent.remove_address(TCP, 4.0)
        assert drain(agent) == []

    def test_never_falls_back_to_a_tuple_that_is_overdue(self, agent: IceAgent) -> None:
        send(agent, udp(1), 0.0)
        send(agent, TCP, 20.0, use_candidate=True)
        agent.remove_address(TCP, 40.0)
        assert agent.selected is None
        assert state_of(agent) is IceState.DISCONNECTED


def ufrag(credentials: IceCredentials) -> str:
    return credentials.username_fragment


class TestRestart:
    def old_check(self, agent: IceAgent, old: IceCredentials, number: int, now: float) -> bool:
        return is_success(exchange(agent, check(old), udp(number), now, old.password))

    def test_old_credentials_work_until_the_new_are_used(self, agent: IceAgent) -> None:
        old = agent.credentials
        send(agent, udp(0), 0.0, use_candidate=True)
        drain(agent)
        new = agent.restart(1.0)
        assert new == agent.credentials
        assert ufrag(new) != ufrag(old)
        assert new.password != old.password
        assert ufrags_of(agent) == (ufrag(new), ufrag(old))
        assert self.old_check(agent, old, 0, 2.0)
        assert self.old_check(agent, old, 1, 2.0)
        assert agent.selected == udp(0)
        assert state_of(agent) is IceState.COMPLETED
        assert drain(agent) == [TupleValidated(udp(1))]

        assert is_success(send(agent, udp(5), 3.0))
        assert drain(agent) == [
            CredentialsRetired(ufrag(old)),
            TupleValidated(udp(5)),
            TupleSelected(udp(5)),
            StateChanged(IceState.CONNECTED, Trigger.RESTARTED),
        ]
        assert ufrags_of(agent) == (ufrag(new),)
        assert not self.old_check(agent, old, 0, 4.0)
        assert refused(agent) == {"username": 1}
        assert agent.is_validated(udp(0))  # what it still sends is looked at until it falls silent

        send(agent, udp(5), 5.0, use_candidate=True)
        assert drain(agent) == [StateChanged(IceState.COMPLETED, Trigger.NOMINATED)]

    def test_password_belongs_to_its_ufrag(self, agent: IceAgent) -> None:
        old = agent.credentials
        new = agent.restart(1.0)
        for mixed in (
            IceCredentials(ufrag(old), new.password),
            IceCredentials(ufrag(new), old.password),
        ):
            assert exchange(agent, check(mixed), udp(0), 2.0, "") is None
        assert refused(agent) == {"integrity": 2}
        assert ufrags_of(agent) == (ufrag(new), ufrag(old))

    def test_on_the_same_address(self, agent: IceAgent) -> None:
        send(agent, udp(0), 0.0, nomination=9)
        agent.restart(1.0)
        drain(agent)
        send(agent, udp(0), 2.0, nomination=1)  # a new session counts anew
        assert [type(event) for event in drain(agent)] == [CredentialsRetired]
        assert state_of(agent) is IceState.COMPLETED
        assert agent.selected == udp(0)

    def test_fallback_prefers_the_new_generation(self, agent: IceAgent) -> None:
        old = agent.credentials
        send(agent, udp(0), 0.0)
        agent.restart(1.0)
        send(agent, udp(1), 2.0)
        send(agent, TCP, 3.0, use_candidate=True)
        assert not self.old_check(agent, old, 0, 4.0)
        agent.remove_address(TCP, 5.0)
        assert agent.selected == udp(1)

    def test_only_the_first_check_of_the_new_session_moves_the_selection(self, agent: IceAgent) -> None:
        send(agent, udp(0), 0.0)
        agent.restart(1.0)
        send(agent, udp(1), 2.0)
        send(agent, udp(2), 2.1)
        send(agent, udp(0), 2.2)
        assert agent.selected == udp(1)
        send(agent, udp(2), 3.0, nomination=2)
        send(agent, udp(1), 3.1, nomination=1)
        assert agent.selected == udp(2)

    def test_a_new_check_makes_an_old_tuple_a_new_one(self, agent: IceAgent) -> None:
        for number in range(3):
            send(agent, udp(number), number / 10)
        agent.restart(1.0)
        send(agent, udp(1), 2.0)
        send(agent, udp(2), 2.1)
        send(agent, udp(3), 2.2, use_candidate=True)
        for number in range(4, MAX_TUPLES + 2):
            send(agent, udp(number), 3.0)
        # udp(0), of the old session, gave way to the first; the next newcomer met only new ones.
        assert agent.tuples == tuple(udp(number) for number in range(1, MAX_TUPLES + 1))
        assert refused(agent) == {"tuple_limit": 1}

    def test_again_before_the_peer_followed(self, agent: IceAgent) -> None:
        """The peer still uses the first credentials; the second were never used and go."""
        first = agent.credentials
        send(agent, udp(0), 0.0)
        second = agent.restart(1.0)
        drain(agent)
        third = agent.restart(2.0)
        assert drain(agent) == [CredentialsRetired(ufrag(second))]
        assert ufrags_of(agent) == (ufrag(third), ufrag(first))
        assert self.old_check(agent, first, 0, 3.0)
        assert not self.old_check(agent, second, 0, 3.0)

    def test_again_before_any_check(self, agent: IceAgent) -> None:
        """Nothing tells which ones the peer uses: the latest two are kept."""
        first = agent.credentials
        second = agent.restart(1.0)
        third = agent.restart(2.0)
        assert drain(agent) == [CredentialsRetired(ufrag(first))]
        assert ufrags_of(agent) == (ufrag(third), ufrag(second))
        assert self.old_check(agent, second, 0, 3.0)

    def test_again_after_the_peer_followed(self, agent: IceAgent) -> None:
        for step in range(5):
            agent.restart(float(step))
            send(agent, udp(step), step + 0.5)
        old = agent.credentials
        agent.restart(9.0)
        assert ufrags_of(agent) == (ufrag(agent.credentials), ufrag(old))

    def test_while_disconnected(self, agent: IceAgent) -> None:
        send(agent, udp(0), 0.0, use_candidate=True)
        new = agent.restart(100.0)
        assert state_of(agent) is IceState.DISCONNECTED
        drain(agent)
        assert is_success(send(agent, udp(1), 101.0))
        assert drain(agent)[1:] == [
            TupleValidated(udp(1)),
            TupleSelected(udp(1)),
            StateChanged(IceState.CONNECTED, Trigger.CHECKED),
        ]
        assert agent.credentials == new

    def test_in_error_answers_too_the_password_of_the_request_counts(self, agent: IceAgent) -> None:
        old = agent.credentials
        agent.restart(1.0)
        answer = exchange(agent, check(old, priority=None), udp(0), 2.0, old.password)
        assert error_code(answer) == 400
        assert len(agent.local_ufrags) == 2


class TestClose:
    def test_everything_ends(self, agent: IceAgent) -> None:
        send(agent, udp(0), 0.0, use_candidate=True)
        data = check(agent.credentials)
        agent.receive_datagram_untrusted(data, udp(0), 0.5)
        old = agent.credentials
        agent.restart(1.0)
        drain(agent)
        agent.close()
        agent.close()
        assert drain(agent) == [
            CredentialsRetired(ufrag(old)),
            StateChanged(IceState.CLOSED, Trigger.CLOSED),
        ]
        assert agent.datagrams_to_send(1.0) == []
        assert agent.selected is None
        assert agent.tuples == ()
        assert agent.get_timer() is None
        agent.receive_datagram_untrusted(data, udp(0), 2.0)
        agent.receive_datagram_untrusted(b"junk", udp(0), 2.0)
        assert refused(agent) == {"closed": 2}
        agent.handle_timer(1000.0)
        agent.remove_address(udp(0), 1000.0)
        assert drain(agent) == []
        with pytest.raises(RuntimeError):
            agent.restart(3.0)


class TestBacklog:
    def test_of_answers(self, agent: IceAgent) -> None:
        for _ in range(MAX_PENDING_DATAGRAMS + 10):
            agent.receive_datagram_untrusted(check(agent.credentials), udp(0), 0.0)
        assert refused(agent) == {"backlog": 10}
        assert len(agent.datagrams_to_send(0.0)) == MAX_PENDING_DATAGRAMS
        assert is_success(send(agent, udp(0), 0.0))

    def test_of_events(self, agent: IceAgent) -> None:
        for number in range(3 * MAX_PENDING_EVENTS):
            send(agent, udp(number % 2), 0.0, use_candidate=True)
        assert refused(agent)["backlog"] > 0
        assert len(drain(agent)) == MAX_PENDING_EVENTS  # each check after the first two made one
        assert is_success(send(agent, udp(0), 0.0))


def test_credentials_come_from_the_injected_randomness() -> None:
    def source(size: int) -> bytes:
        return bytes(range(size))

    assert IceAgent(random_bytes=source).credentials == IceAgent(random_bytes=source).credentials
    assert IceAgent().credentials != IceAgent().credentials

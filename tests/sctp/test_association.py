"""The association: setting up, ending, time, and what a peer should not have sent."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import pytest

from sfu.sctp import chunks as c
from sfu.sctp.association import DEFAULT_MTU, MAX_DATAGRAMS_PER_CALL, MIN_MTU, Association
from sfu.sctp.causes import Cause, CauseCode
from sfu.sctp.control import (
    MAX_INIT_RETRANSMISSIONS,
    MAX_RETRANSMISSIONS,
    SHUTDOWN_GUARD,
    WINDOW_FACTOR,
    ZERO_WINDOW_LIMIT,
    Drop,
)
from sfu.sctp.cookie import COOKIE_LIFETIME
from sfu.sctp.errors import Refusal, ResetRefused, SctpError, SendRefused
from sfu.sctp.events import (
    AssociationClosed,
    AssociationEstablished,
    CloseReason,
    Direction,
    HandshakeTimedOut,
    StreamResetFailed,
    StreamsReset,
)
from sfu.sctp.handshake import MAX_COOKIE_LENGTH, MAX_REPORTED_PARAMETERS
from sfu.sctp.heartbeat import HEARTBEAT_INTERVAL, MAX_HEARTBEAT_SIZE
from sfu.sctp.outbox import MAX_CONTROL_CHUNKS, MAX_SINGLE_PACKETS
from sfu.sctp.packet import PacketHeader, parse_chunks_untrusted, tag_of
from sfu.sctp.parameters import (
    ForwardTsnSupported,
    StateCookie,
    SupportedExtensions,
    UnknownParameter,
    UnrecognizedParameter,
    ZeroChecksumAcceptable,
)
from sfu.sctp.rto import RTO_INITIAL, RTO_MAX
from sfu.sctp.states import State
from tests.sctp.network import Link, Network, Side, chosen_bytes, seeded_bytes

TAG_A, TAG_B = 0xAAAA_0001, 0xBBBB_0002


def pair(*, to_a: Link | None = None, to_b: Link | None = None) -> Network:
    """A network whose associations have known tags and TSNs (A's 100, B's 200)."""
    return Network(
        Association(random_bytes=chosen_bytes(TAG_A, 100)),
        Association(random_bytes=chosen_bytes(TAG_B, 200)),
        to_a=to_a,
        to_b=to_b,
    )


def nothing(_data: bytes) -> bool:
    """A filter that loses every packet."""
    return False


def all_but(lost: int) -> Callable[[bytes], bool]:
    """A filter that loses one packet, by its number."""
    numbers = itertools.count()
    return lambda _data: next(numbers) != lost


def up() -> Network:
    network = pair()
    network.establish()
    return network


def inject(network: Network, side: Side, *chunks: c.Chunk, tag: int | None = None) -> list[list[c.Chunk]]:
    """Give ``side`` a packet as if from its peer; return the packets it answers with, and deliver none of
    them."""
    if tag is None:
        tag = TAG_A if side is network.a else TAG_B
    data = PacketHeader(5000, 5000, tag).packet(b"".join(c.encode_chunk(chunk) for chunk in chunks))
    side.association.receive_datagram_untrusted(data, network.now)
    return sent(network, side)


def sent(network: Network, side: Side) -> list[list[c.Chunk]]:
    return [parse_chunks_untrusted(data) for data in side.association.datagrams_to_send(network.now)]


def state(side: Side) -> State:
    return side.association.state


def init(tag: int = 7, tsn: int = 9, *parameters: object, streams: int = 10) -> c.InitChunk:
    return c.InitChunk(tag, 100_000, streams, streams, tsn, parameters)  # type: ignore[arg-type]


# Setting up


@pytest.mark.parametrize("both", [True, False])
def test_handshake_from_one_side_or_both_at_once(both: bool) -> None:
    network = pair()
    network.establish(both=both)
    for side in (network.a, network.b):
        assert side.events == [AssociationEstablished(1024, 1024, True, True, True, restarted=False)]
        assert not any(side.association.dropped.values())
    assert len(network.a.link.sent) == (4 if both else 2)


def test_a_message_may_wait_for_the_association() -> None:
    network = pair()
    network.a.association.send(0, 51, b"early", network.now)
    network.a.association.send(1, 51, b"stale", network.now, max_lifetime=0.01)
    network.establish()
    network.run(1)
    assert [message.data for message in network.b.messages] == [b"early"]


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("lost", range(4))
def test_any_one_packet_of_the_handshake_may_be_lost(lost: int, both: bool) -> None:
    for network in (pair(to_a=Link(filter=all_but(lost))), pair(to_b=Link(filter=all_but(lost)))):
        network.establish(both=both)
        network.a.association.send(0, 51, b"x", network.now)
        network.b.association.send(0, 51, b"y", network.now)
        network.run(3)
        assert len(network.a.messages) == len(network.b.messages) == 1
        assert [type(event) for event in network.a.events].count(AssociationEstablished) == 1


def test_nobody_answers() -> None:
    """T1 doubles up to RTO.Max, then the association waits for the peer's INIT; it may also be started
    again."""
    network = pair(to_b=Link(filter=nothing))
    network.a.association.start(network.now)
    started = network.now
    network.run(100)
    assert len(network.a.link.sent) == 1 + MAX_INIT_RETRANSMISSIONS
    assert network.a.events == [HandshakeTimedOut()]
    assert state(network.a) is State.CLOSED
    assert network.a.association.get_timer() is None
    assert network.now - started > 20
    network.a.link.filter = None
    network.establish(both=False)


def test_a_peer_that_comes_late_is_answered_after_our_attempt_ended() -> None:
    """A browser with no data channel yet does not listen; when it gets one, it sends its INIT."""
    network = pair(to_b=Link(filter=nothing))
    network.a.association.start(network.now)
    network.run(100)
    network.a.link.filter = None
    network.b.association.start(network.now)
    assert network.run(5, until=lambda: network.up)


def test_intervals_of_the_init() -> None:
    network = pair()
    a = network.a.association
    a.start(0.0)
    times, now = [], 0.0
    while a.datagrams_to_send(now):
        times.append(now)
        timer = a.get_timer()
        assert timer is not None
        now = timer
        a.handle_timer(now)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps == [RTO_INITIAL, 1.0, 2.0, *[RTO_MAX] * (MAX_INIT_RETRANSMISSIONS - 3)]


def test_init_is_answered_without_remembering_anything() -> None:
    """Attack 25: a flood of INITs leaves the association as it was."""
    network = pair()
    for tag in range(1, 200):
        ((answer,),) = inject(network, network.a, init(tag), tag=0)
        assert isinstance(answer, c.InitAckChunk)
        assert (answer.initiate_tag, answer.initial_tsn) == (TAG_A, 100)
        assert state(network.a) is State.CLOSED
        assert network.a.association.get_timer() is None
    network.establish()


def test_answers_to_a_burst_of_inits_are_bounded() -> None:
    network = pair()
    data = PacketHeader(5000, 5000, 0).packet(c.encode_chunk(init()))
    for _ in range(100):
        network.a.association.receive_datagram_untrusted(data, network.now)
    assert len(sent(network, network.a)) == MAX_SINGLE_PACKETS


@pytest.mark.parametrize(("tag", "outbound", "inbound"), [(0, 1, 1), (7, 0, 1), (7, 1, 0)])
def test_an_init_that_cannot_be_is_not_answered_with_a_cookie(tag: int, outbound: int, inbound: int) -> None:
    network = pair()
    answers = inject(network, network.a, c.InitChunk(tag, 1500, outbound, inbound, 0), tag=0)
    if tag:
        assert answers == [[c.AbortChunk((Cause(CauseCode.INVALID_PARAMETER),))]]
    else:
        assert answers == []
        assert network.a.association.dropped[Drop.HANDSHAKE] == 1


def test_unknown_parameters_are_reported_as_they_ask() -> None:
    network = pair()
    unknown = [UnknownParameter(0xC100 + n, bytes(300)) for n in range(10)]
    silent = UnknownParameter(0x8FFF, b"x")
    chunk = init(7, 9, ZeroChecksumAcceptable(1), UnknownParameter(0xC006, b"1234"), silent, *unknown)
    ((answer,),) = inject(network, network.a, chunk, tag=0)
    assert isinstance(answer, c.InitAckChunk)
    reports = [p for p in answer.parameters if isinstance(p, UnrecognizedParameter)]
    assert len(reports) == MAX_REPORTED_PARAMETERS
    assert reports[0].parameter[:2] == b"\xc1\x00"
    assert len(c.encode_chunk(answer)) < 600


def test_extensions_are_used_only_if_both_have_them() -> None:
    network = pair()
    a = network.a.association
    ((answer,),) = inject(network, network.a, init(7, 9, SupportedExtensions((192,)), streams=16), tag=0)
    assert isinstance(answer, c.InitAckChunk)
    cookie = next(p for p in answer.parameters if isinstance(p, StateCookie))
    inject(network, network.a, c.CookieEchoChunk(cookie.cookie))
    assert a.next_event() == AssociationEstablished(16, 16, True, False, False, restarted=False)
    with pytest.raises(ResetRefused) as caught:
        a.reset_streams([1], network.now)
    assert caught.value.reason is Refusal.UNSUPPORTED
    with pytest.raises(SendRefused) as refused:
        a.send(16, 51, b"x", network.now)
    assert refused.value.reason is Refusal.NO_SUCH_STREAM


@pytest.mark.parametrize(
    "parameters",
    [(), (StateCookie(bytes(MAX_COOKIE_LENGTH + 1)),), (ForwardTsnSupported(),)],
    ids=["none", "long", "other"],
)
def test_an_init_ack_without_a_cookie_ends_it(parameters: tuple[object, ...]) -> None:
    network = pair()
    network.a.association.start(network.now)
    sent(network, network.a)
    answers = inject(network, network.a, c.InitAckChunk(5, 9000, 1, 1, 0, parameters))  # type: ignore[arg-type]
    assert isinstance(answers[0][0], c.AbortChunk)
    assert answers[0][0].causes[0].code == CauseCode.MISSING_PARAMETER
    event = network.a.association.next_event()
    assert isinstance(event, AssociationClosed)
    assert event.reason is CloseReason.VIOLATION


@pytest.mark.parametrize(("tag", "streams", "ends"), [(0, 1, False), (5, 0, True)])
def test_an_init_ack_that_cannot_be(tag: int, streams: int, ends: bool) -> None:
    network = pair()
    network.a.association.start(network.now)
    network.a.association.start(network.now)
    assert len(sent(network, network.a)) == 1, "started once"
    inject(network, network.a, c.InitAckChunk(tag, 9000, streams, 1, 0, (StateCookie(b"c"),)))
    assert (state(network.a) is State.ENDED) == ends


def test_a_cookie_must_fit_a_packet() -> None:
    for length, echoed in ((MIN_MTU - 12 - 4, True), (MIN_MTU - 12 - 3, False)):
        association = Association(mtu=MIN_MTU, random_bytes=chosen_bytes(TAG_A, 100))
        network = Network(association)
        association.start(network.now)
        sent(network, network.a)
        answers = inject(network, network.a, c.InitAckChunk(5, 9000, 1, 1, 0, (StateCookie(bytes(length)),)))
        assert (type(answers[0][0]) is c.CookieEchoChunk) == echoed


def test_a_cookie_of_an_attempt_that_came_to_nothing_is_ignored() -> None:
    """RFC 9260 5.2.4 C; and B once the association is up, which would only mix up its numbers."""
    network = up()
    ((answer,),) = inject(network, network.a, init(99, 1), tag=0)
    assert isinstance(answer, c.InitAckChunk)
    cookie = next(p.cookie for p in answer.parameters if isinstance(p, StateCookie))
    inject(network, network.a, c.CookieEchoChunk(cookie), tag=answer.initiate_tag)  # a restart
    inject(network, network.a, c.CookieEchoChunk(cookie), tag=answer.initiate_tag)
    network.pump(network.a)
    established = [event for event in network.a.events if isinstance(event, AssociationEstablished)]
    assert [event.restarted for event in established] == [False, True]

    network = pair()
    first = cookie_for(network)
    ((answer,),) = inject(network, network.a, init(99, 1), tag=0)
    assert isinstance(answer, c.InitAckChunk)
    second = next(p.cookie for p in answer.parameters if isinstance(p, StateCookie))
    inject(network, network.a, c.CookieEchoChunk(first))
    assert inject(network, network.a, c.CookieEchoChunk(second)) == []
    assert network.a.association.dropped[Drop.HANDSHAKE] == 1


def test_a_restart_carries_data_and_is_refused_while_shutting_down() -> None:
    network = up()
    ((answer,),) = inject(network, network.a, init(99, 1), tag=0)
    assert isinstance(answer, c.InitAckChunk)
    cookie = next(p.cookie for p in answer.parameters if isinstance(p, StateCookie))
    restarted = answer.initiate_tag
    inject(network, network.a, c.CookieEchoChunk(cookie), c.DataChunk(1, 0, 0, 51, 3, b"x"), tag=restarted)
    network.pump(network.a)
    assert [message.data for message in network.a.messages] == [b"x"]

    ((answer,),) = inject(network, network.a, init(100, 1), tag=0)
    assert isinstance(answer, c.InitAckChunk)
    cookie = next(p.cookie for p in answer.parameters if isinstance(p, StateCookie))
    (answers,) = inject(network, network.a, c.ShutdownChunk(99), tag=restarted)
    assert isinstance(answers[0], c.ShutdownAckChunk)
    (answers,) = inject(network, network.a, c.CookieEchoChunk(cookie), tag=answer.initiate_tag)
    assert [type(chunk) for chunk in answers] == [c.ShutdownAckChunk, c.ErrorChunk]
    assert state(network.a) is State.SHUTDOWN_ACK_SENT


def test_the_longest_cookie_is_echoed() -> None:
    network = pair()
    network.a.association.start(network.now)
    sent(network, network.a)
    cookie = bytes(MAX_COOKIE_LENGTH)
    unknown = UnknownParameter(0xFFFF, b"x")
    answers = inject(network, network.a, c.InitAckChunk(5, 9000, 1, 1, 0, (StateCookie(cookie), unknown)))
    assert answers[0] == [
        c.CookieEchoChunk(cookie),
        c.ErrorChunk((Cause(CauseCode.UNRECOGNIZED_PARAMETERS, b"\xff\xff\0\5x"),)),
    ]


def cookie_for(network: Network) -> bytes:
    """A cookie of A's for B's tag and TSN."""
    ((answer,),) = inject(network, network.a, init(TAG_B, 200), tag=0)
    assert isinstance(answer, c.InitAckChunk)
    return next(p.cookie for p in answer.parameters if isinstance(p, StateCookie))


def test_forged_foreign_and_replayed_cookies() -> None:
    """Attack 25."""
    network = pair()
    a = network.a
    cookie = cookie_for(network)
    forged = bytes((cookie[0] ^ 1,)) + cookie[1:]
    for echo, tag in ((forged, TAG_A), (cookie, TAG_A + 1), (b"", TAG_A), (cookie + b"\0", TAG_A)):
        assert inject(network, a, c.CookieEchoChunk(echo), tag=tag) == []
        assert state(a) is State.CLOSED
    assert a.association.dropped[Drop.HANDSHAKE] == 4
    for _ in range(3):
        assert inject(network, a, c.CookieEchoChunk(cookie))[0][0] == c.CookieAckChunk()
        assert state(a) is State.ESTABLISHED
    network.pump(a)
    assert len(a.events) == 1


def test_a_stale_cookie_is_refused_with_its_age() -> None:
    network = pair()
    cookie = cookie_for(network)
    network.now += COOKIE_LIFETIME + 1
    ((answer,),) = inject(network, network.a, c.CookieEchoChunk(cookie))
    assert isinstance(answer, c.ErrorChunk)
    assert answer.causes[0].code == CauseCode.STALE_COOKIE
    assert int.from_bytes(answer.causes[0].info, "big") == 61_000_000
    assert state(network.a) is State.CLOSED


def test_a_stale_cookie_error_begins_anew() -> None:
    network = pair()
    a = network.a
    a.association.start(network.now)
    sent(network, a)
    inject(network, a, c.InitAckChunk(5, 9000, 1, 1, 0, (StateCookie(b"c"),)))
    assert state(a) is State.COOKIE_ECHOED
    inject(network, a, c.ErrorChunk((Cause(CauseCode.INVALID_STREAM),)))
    assert state(a) is State.COOKIE_ECHOED
    answers = inject(network, a, c.ErrorChunk((Cause(CauseCode.STALE_COOKIE, bytes(4)),)))
    assert [type(chunk) for chunk in answers[0]] == [c.InitChunk]
    assert state(a) is State.COOKIE_WAIT


def test_data_behind_a_cookie_echo_is_taken() -> None:
    network = pair()
    cookie = cookie_for(network)
    inject(network, network.a, c.CookieEchoChunk(cookie), c.DataChunk(200, 0, 0, 51, 3, b"x"))
    network.pump(network.a)
    assert [message.data for message in network.a.messages] == [b"x"]


def test_a_peer_that_begins_anew() -> None:
    """RFC 9260 5.2.4.1: B lost its memory. A gives up the old association and says so."""
    network = up()
    a = network.a
    network.b.association.send(1, 51, b"old", network.now)
    network.run(1)
    a.association.send(3, 51, b"for the old one", network.now)
    fresh = Network(a.association, Association(random_bytes=chosen_bytes(TAG_B + 1, 777)))
    fresh.now = network.now
    fresh.b.association.start(fresh.now)
    assert fresh.run(5, until=lambda: fresh.b.association.state is State.ESTABLISHED)
    established = [event for event in fresh.a.events if isinstance(event, AssociationEstablished)]
    assert [event.restarted for event in established] == [True]
    fresh.b.association.send(1, 51, b"new", fresh.now)
    fresh.a.association.send(1, 51, b"hello", fresh.now)
    fresh.run(1)
    assert [message.data for message in fresh.a.messages] == [b"new"]
    assert [message.data for message in fresh.b.messages] == [b"hello"]


def test_a_restart_keeps_the_window_honest_about_messages_not_fetched() -> None:
    network = up()
    network.a.drain = False
    network.b.association.send(1, 51, bytes(5000), network.now)
    network.run(1)
    used = network.a.association.inbound.used
    assert used > 5000
    fresh = Network(network.a.association, Association(random_bytes=seeded_bytes(5)))
    fresh.now, fresh.a.drain = network.now, False
    fresh.b.association.start(fresh.now)
    assert fresh.run(5, until=lambda: fresh.b.association.state is State.ESTABLISHED)
    assert fresh.a.association.inbound.used == 5000 + 64
    while fresh.a.association.next_event() is not None:
        pass
    assert fresh.a.association.inbound.used == 0


# What a peer should not have sent


def counted(side: Side) -> dict[Drop, int]:
    return {reason: count for reason, count in side.association.dropped.items() if count}


def test_wrong_tags_ports_and_checksums_are_dropped_and_counted() -> None:
    network = up()
    b = network.b
    data = PacketHeader(5000, 5000, TAG_B).packet(c.encode_chunk(c.DataChunk(100, 0, 0, 51, 3, b"x")))
    b.association.receive_datagram_untrusted(data[:8] + b"bad!" + data[12:], network.now)
    assert inject(network, b, c.DataChunk(100, 0, 0, 51, 3, b"x"), tag=TAG_B + 1) == []
    assert inject(network, b, c.ShutdownAckChunk(), tag=0) == []
    b.association.receive_datagram_untrusted(PacketHeader(5001, 5000, TAG_B).packet(data[12:]), network.now)
    b.association.receive_datagram_untrusted(
        PacketHeader(5000, 5000, TAG_B + 1).packet(data[12:])[:8] + b"bad!" + data[12:], network.now
    )
    assert counted(b) == {Drop.CHECKSUM: 2, Drop.TAG: 2, Drop.PORTS: 1}
    network.pump(b)
    assert b.messages == []


def checksum(data: bytes) -> int:
    return int.from_bytes(data[8:12], "big")


def test_checksums_are_left_out_once_the_association_is_up() -> None:
    """RFC 9653 5.2: but never with INIT or COOKIE-ECHO."""
    network = up()
    network.a.association.send(0, 51, b"x", network.now)
    network.run(1)
    seen = [data for side in (network.a, network.b) for data in side.link.sent]
    kinds = (c.InitChunk.type, c.InitAckChunk.type, c.CookieEchoChunk.type)
    assert {data[12] for data in seen if checksum(data)} == set(kinds)
    assert {data[12] for data in seen if not checksum(data)} == {0, 3, c.CookieAckChunk.type}
    assert [message.data for message in network.b.messages] == [b"x"]


@pytest.mark.parametrize("parameters", [(), (ZeroChecksumAcceptable(2),)], ids=str)
def test_a_peer_that_does_not_take_zero_checksums_gets_none(parameters: tuple[object, ...]) -> None:
    network = pair()
    a = network.a.association
    ((answer,),) = inject(network, network.a, init(7, 9, *parameters), tag=0)
    assert isinstance(answer, c.InitAckChunk)
    assert ZeroChecksumAcceptable(ZeroChecksumAcceptable.DTLS) in answer.parameters
    cookie = next(p for p in answer.parameters if isinstance(p, StateCookie))
    inject(network, network.a, c.CookieEchoChunk(cookie.cookie))
    a.send(0, 51, b"x", network.now)
    assert all(checksum(data) for data in a.datagrams_to_send(network.now))


def test_an_init_or_cookie_echo_without_a_checksum_is_dropped() -> None:
    network = up()
    b = network.b.association
    for tag, chunk in ((0, init()), (TAG_B, c.CookieEchoChunk(bytes(100)))):
        data = PacketHeader(5000, 5000, tag, zero_checksum=True).packet(c.encode_chunk(chunk))
        b.receive_datagram_untrusted(data, network.now)
    assert counted(network.b) == {Drop.CHECKSUM: 2}
    assert b.datagrams_to_send(network.now) == []


def test_malformed_packets_raise_and_change_nothing() -> None:
    network = up()
    good = c.encode_chunk(c.DataChunk(100, 0, 0, 51, 3, b"x"))
    packets = [
        PacketHeader(5000, 5000, TAG_B).packet(good + bad)
        for bad in (b"\0\7\0\3", b"\3\0\0\4", b"\x82\0\0\x05a\0\0\0")
    ]
    packets += [b"", b"\x13\x88", packets[0][:12], packets[0][:14]]
    sack = c.encode_chunk(c.SackChunk(99, 5000))[:12] + b"\0\0\0\1"
    packets.append(PacketHeader(5000, 5000, TAG_B).packet(sack))
    for data in packets:
        with pytest.raises(SctpError):
            network.b.association.receive_datagram_untrusted(data, network.now)
    assert counted(network.b) == {Drop.MALFORMED: 8}
    assert network.b.association.inbound.cumulative == 99
    assert sent(network, network.b) == []


def test_chunks_that_must_be_alone() -> None:
    network = up()
    b = network.b
    assert inject(network, b, init(), c.CookieAckChunk(), tag=0) == []
    assert inject(network, b, init()) == [], "an INIT under our tag"
    inject(network, b, c.ShutdownChunk(99))
    assert state(b) is State.SHUTDOWN_ACK_SENT
    inject(network, b, c.ShutdownCompleteChunk(), c.ShutdownCompleteChunk())
    assert state(b) is State.SHUTDOWN_ACK_SENT
    assert counted(b) == {Drop.TAG: 2, Drop.STATE: 2}
    assert isinstance(inject(network, b, init(), tag=0)[0][0], c.ShutdownAckChunk), (
        "9.2: INIT while shutting down"
    )


def test_unknown_chunks_are_reported_as_they_ask() -> None:
    network = up()
    assert inject(network, network.b, c.UnknownChunk(0x3F, 0, b"x"), c.HeartbeatChunk(b"\0\1\0\4")) == []
    assert inject(network, network.b, c.UnknownChunk(0xBF, 0, b"x")) == []
    ((first, second),) = inject(
        network, network.b, c.UnknownChunk(0xFF, 3, bytes(500)), c.HeartbeatChunk(b"\0\1\0\4")
    )
    assert isinstance(first, c.ErrorChunk)
    assert first.causes[0].code == CauseCode.UNRECOGNIZED_CHUNK
    assert first.causes[0].info[:2] == b"\xff\3"
    assert len(first.causes[0].info) < 100
    assert second == c.HeartbeatAckChunk(b"\0\1\0\4")


def test_one_sack_and_one_forward_tsn_a_packet() -> None:
    """Each may cost what all that is outstanding or held costs (attacks 26 and 28)."""
    network = up()
    for _ in range(3):
        network.a.association.send(0, 51, b"x", network.now)
    sent(network, network.a)
    inject(network, network.a, c.SackChunk(100, 5000), c.SackChunk(102, 5000), c.SackChunk(102, 5000))
    assert network.a.association.outbound.cumulative == 100
    inject(network, network.a, c.ForwardTsnChunk(210), c.ForwardTsnChunk(220))
    assert network.a.association.inbound.cumulative == 210
    assert counted(network.a) == {Drop.REPEATED: 3}


def test_queued_control_is_bounded() -> None:
    network = up()
    chunks = [c.HeartbeatChunk(b"\0\1\0\4")] * 200
    answers = inject(network, network.b, *chunks)
    assert sum(map(len, answers)) == MAX_CONTROL_CHUNKS


def test_large_heartbeats_are_not_echoed() -> None:
    network = up()
    assert inject(network, network.b, c.HeartbeatChunk(bytes(MAX_HEARTBEAT_SIZE)))
    assert inject(network, network.b, c.HeartbeatChunk(bytes(MAX_HEARTBEAT_SIZE + 1))) == []
    assert counted(network.b) == {Drop.HEARTBEAT: 1}


def test_data_before_and_after_the_association() -> None:
    network = pair()
    data = c.DataChunk(200, 0, 0, 51, 3, b"x")
    assert inject(network, network.a, data) == []
    network.a.association.start(network.now)
    sent(network, network.a)
    assert inject(network, network.a, data, c.SackChunk(99, 1000)) == []
    assert counted(network.a) == {Drop.STATE: 3}


def test_an_empty_message_or_one_too_large_ends_the_association() -> None:
    for chunk in (c.DataChunk(200, 0, 0, 51, 3, b""), c.DataChunk(200, 0, 0, 51, 7, bytes(1001))):
        network = Network(
            Association(random_bytes=chosen_bytes(TAG_A, 100), max_message_size=1000),
            Association(random_bytes=chosen_bytes(TAG_B, 200)),
        )
        network.establish()
        ((answer,),) = inject(network, network.a, chunk)
        assert isinstance(answer, c.AbortChunk)
        network.pump(network.a)
        assert network.a.closed is not None
        assert network.a.closed.reason is CloseReason.VIOLATION


def test_a_reassembly_bomb_ends_the_association() -> None:
    """Attack 27: messages in a row whose first never comes."""
    network = up()
    answers: list[list[c.Chunk]] = []
    for number in range(2000):
        chunk = c.DataChunk(200 + number, 0, number + 1, 51, 3, bytes(4000))
        answers = inject(network, network.a, chunk)
        used = network.a.association.inbound.used
        assert used <= 2 * WINDOW_FACTOR * network.a.association.max_message_size
        if state(network.a) is State.ENDED:
            break
    assert isinstance(answers[-1][0], c.AbortChunk)
    network.pump(network.a)
    assert network.a.closed is not None
    assert network.a.closed.reason is CloseReason.OVERRUN
    assert network.a.association.inbound.used == 0


def test_invalid_streams_are_reported() -> None:
    network = up()
    chunks = [c.DataChunk(200 + n, 1024, 0, 51, 11, b"x") for n in range(10)]
    ((error, sack),) = inject(network, network.a, *chunks)
    assert isinstance(error, c.ErrorChunk)
    assert [cause.code for cause in error.causes] == [CauseCode.INVALID_STREAM] * 4
    assert isinstance(sack, c.SackChunk)
    assert sack.cumulative_tsn == 209


# Ending


def test_abort() -> None:
    network = up()
    network.a.association.send(0, 51, b"lost", network.now)
    network.a.association.abort(network.now, "kicked\n\x1b[0m")
    network.a.association.abort(network.now, "again")
    network.run(1)
    assert network.a.closed == AssociationClosed(CloseReason.ABORTED, "user initiated abort: kicked??[0m")
    assert network.b.closed == AssociationClosed(
        CloseReason.PEER_ABORTED, "user initiated abort: kicked??[0m"
    )
    for side in (network.a, network.b):
        assert side.association.get_timer() is None
        assert side.association.buffered_amount == 0
        with pytest.raises(SendRefused) as caught:
            side.association.send(0, 51, b"x", network.now)
        assert caught.value.reason is Refusal.CLOSED
        with pytest.raises(ResetRefused):
            side.association.reset_streams([0], network.now)


@pytest.mark.parametrize(
    ("chunk", "tag", "ends"),
    [
        (c.AbortChunk(), TAG_B, True),
        (c.AbortChunk(tag_reflected=True), TAG_A, True),
        (c.AbortChunk(tag_reflected=True), TAG_B, False),
        (c.AbortChunk(), TAG_A, False),
        (c.AbortChunk(tag_reflected=True), 0, False),
    ],
)
def test_an_abort_needs_a_tag_that_fits(chunk: c.AbortChunk, tag: int, ends: bool) -> None:
    """RFC 9260 8.5.1 B."""
    network = up()
    inject(network, network.b, chunk, tag=tag)
    assert (state(network.b) is State.ENDED) == ends


def test_abort_before_it_is_up() -> None:
    network = pair()
    network.a.association.start(network.now)
    network.a.association.abort(network.now)
    assert sent(network, network.a) == [], "nobody to tell"
    network.pump(network.a)
    assert network.a.closed is not None


def test_after_the_end_a_peer_that_goes_on_is_told() -> None:
    network = up()
    network.a.association.abort(network.now)
    sent(network, network.a)
    assert inject(network, network.a, c.DataChunk(200, 0, 0, 51, 3, b"x")) == [
        [c.AbortChunk(tag_reflected=True)]
    ]
    assert inject(network, network.a, init(5), tag=0) == [[c.AbortChunk()]]
    assert inject(network, network.a, c.ShutdownAckChunk()) == [[c.ShutdownCompleteChunk(tag_reflected=True)]]
    for quiet in (c.AbortChunk(), c.ShutdownCompleteChunk(), c.CookieAckChunk(), c.ErrorChunk(())):
        assert inject(network, network.a, quiet) == []
    with pytest.raises(SctpError):
        network.a.association.receive_datagram_untrusted(b"junk", network.now)


@pytest.mark.parametrize("lost", range(5))
def test_shutdown_delivers_everything_first(lost: int) -> None:
    network = up()
    for number in range(50):
        network.a.association.send(0, 51, bytes(1000) + bytes((number,)), network.now)
        network.b.association.send(0, 51, bytes(1000) + bytes((number,)), network.now)
    network.a.link.filter = all_but(lost)
    network.a.association.shutdown(network.now)
    network.a.association.shutdown(network.now)
    with pytest.raises(SendRefused):
        network.a.association.send(0, 51, b"late", network.now)
    network.run(SHUTDOWN_GUARD - 1)
    for side in (network.a, network.b):
        assert side.closed is not None
        assert side.closed.reason is CloseReason.SHUTDOWN
        assert len(side.messages) == 50


def test_both_shut_down_at_once() -> None:
    network = up()
    network.a.association.shutdown(network.now)
    network.b.association.shutdown(network.now)
    network.run(5)
    assert network.a.closed is not None
    assert network.b.closed is not None
    assert network.a.closed.reason is network.b.closed.reason is CloseReason.SHUTDOWN


def test_a_lost_shutdown_complete_is_made_up_for() -> None:
    network = up()
    network.a.link.filter = lambda data: data[12] != c.ShutdownCompleteChunk.type
    network.a.association.shutdown(network.now)
    network.run(0.1)
    closed = [network.a.closed, network.b.closed]
    network.a.link.filter = None
    network.run(5)
    closed.append(network.b.closed)
    done = AssociationClosed(CloseReason.SHUTDOWN, "")
    assert closed == [done, None, done]


def test_shutdown_before_it_is_up_and_against_a_wall() -> None:
    network = pair()
    network.a.association.start(network.now)
    network.a.association.shutdown(network.now)
    network.pump(network.a)
    assert network.a.closed is not None

    network = up()
    network.a.link.filter = nothing
    network.a.association.shutdown(network.now)
    network.run(SHUTDOWN_GUARD + 1)
    assert network.a.closed is not None
    assert network.a.closed.reason is CloseReason.UNREACHABLE


def test_data_in_shutdown_sent_gets_the_shutdown_again() -> None:
    """RFC 9260 9.2."""
    network = up()
    network.a.association.shutdown(network.now)
    sent(network, network.a)
    assert state(network.a) is State.SHUTDOWN_SENT
    ((first, second),) = inject(network, network.a, c.DataChunk(200, 0, 0, 51, 3, b"x"))
    assert first == c.ShutdownChunk(200)
    assert isinstance(second, c.SackChunk)
    assert second.cumulative_tsn == 200


# Time


def test_silence_ends_the_association() -> None:
    network = up()
    network.a.link.filter = nothing
    network.a.association.send(0, 51, b"x", network.now)
    began = network.now
    network.run(120, until=lambda: network.a.closed is not None)
    assert network.a.closed is not None
    assert network.a.closed.reason is CloseReason.UNREACHABLE
    assert 40 < network.now - began < 70, "longer than ICE consent"
    assert len(network.a.link.sent) > MAX_RETRANSMISSIONS


def test_an_idle_path_is_probed_and_a_dead_one_found() -> None:
    network = up()
    network.run(HEARTBEAT_INTERVAL * 2.5)
    beats = [data for data in network.a.link.sent if data[12] == c.HeartbeatChunk.type]
    assert len(beats) == 2
    srtt = network.a.association.outbound.rto.srtt
    assert srtt == pytest.approx(0.04)
    network.a.link.filter = network.b.link.filter = nothing
    assert network.run(200, until=lambda: network.a.closed is not None)
    assert network.a.closed is not None
    assert network.a.closed.reason is CloseReason.UNREACHABLE


def test_traffic_replaces_heartbeats() -> None:
    network = up()
    for _ in range(100):
        network.a.association.send(0, 51, b"x", network.now)
        network.run(1)
    assert not [data for data in network.a.link.sent if data[12] == c.HeartbeatChunk.type]


def test_a_heartbeat_ack_that_answers_nothing() -> None:
    network = up()
    inject(network, network.a, c.HeartbeatAckChunk(b"\0\1\0\x0c12345678"))
    assert counted(network.a) == {Drop.HEARTBEAT: 1}
    assert network.a.association.outbound.rto.srtt is None


def fill_window(network: Network) -> int:
    """Send 60,000-byte messages to a B that fetches none, until its window is closed; return how many."""
    a = network.a.association
    for count in range(1, 100):
        network.run(5, until=lambda: a.buffered_amount < 100_000)
        a.send(0, 53, bytes(60_000), network.now)
        network.run(1)
        if a.outbound.closed_since is not None:
            return count
    raise AssertionError("the window never closed")


def test_a_window_closed_for_ever_ends_the_association() -> None:
    """Attack 26: the peer answers every probe and takes nothing."""
    network = up()
    network.b.drain = False
    began = network.now
    fill_window(network)
    assert network.run(2 * ZERO_WINDOW_LIMIT, until=lambda: network.a.closed is not None)
    assert network.a.closed is not None
    assert network.a.closed.reason is CloseReason.STALLED
    assert network.now - began > ZERO_WINDOW_LIMIT
    assert network.b.association.inbound.used <= WINDOW_FACTOR * 262_144


def test_a_full_window_opens_again() -> None:
    network = up()
    network.b.drain = False
    count = fill_window(network)
    network.b.drain = True
    assert network.run(20, until=lambda: network.a.association.outbound.idle)
    network.run(1)
    assert [len(message.data) for message in network.b.messages] == [60_000] * count
    assert network.b.association.inbound.used == 0


# The face


@pytest.mark.parametrize(
    "make",
    [
        lambda: Association(outbound_streams=0),
        lambda: Association(inbound_streams=65_536),
        lambda: Association(mtu=MIN_MTU - 4),
        lambda: Association(mtu=1001),
        lambda: Association(max_message_size=0),
    ],
)
def test_arguments_are_checked(make: Callable[[], Association]) -> None:
    with pytest.raises(ValueError, match=r"streams|mtu"):
        make()


def test_a_full_packet_fits_a_datagram_under_any_cipher() -> None:
    """DTLS 1.2 records: 13 header; AES-GCM 8 + 16; CBC with SHA-1: 16 IV, 20 MAC, padding to 16."""
    assert DEFAULT_MTU % 4 == 0
    assert 13 + 8 + DEFAULT_MTU + 16 <= 1200
    assert 13 + 16 + -(-(DEFAULT_MTU + 20 + 1) // 16) * 16 <= 1200
    assert 13 + 16 + -(-(DEFAULT_MTU + 16 + 20 + 1) // 16) * 16 > 1200, "and could not be much larger"


def test_refusals() -> None:
    association = Association(max_message_size=1000, outbound_streams=10, send_buffer=1500)
    for data, stream_id, reason in (
        (b"", 0, Refusal.EMPTY),
        (bytes(1001), 0, Refusal.TOO_LARGE),
        (b"x", 10, Refusal.NO_SUCH_STREAM),
    ):
        with pytest.raises(SendRefused) as caught:
            association.send(stream_id, 51, data, 0.0)
        assert caught.value.reason is reason
    association.send(3, 51, bytes(1000), 0.0)
    with pytest.raises(SendRefused) as caught:
        association.send(3, 51, bytes(501), 0.0)
    assert caught.value.reason is Refusal.BUFFER_FULL
    assert association.buffered_amount == association.buffered_amount_of(3) == 1000
    assert association.buffered_amount_of(4) == 0
    assert str(caught.value) == "the send buffer is full"


def test_the_send_buffer_holds_the_largest_message() -> None:
    association = Association(max_message_size=500_000, send_buffer=1000)
    association.send(0, 53, bytes(500_000), 0.0)


def test_packets_of_one_call_are_bounded_and_the_rest_is_due_at_once() -> None:
    network = up()
    a = network.a.association
    a.outbound.congestion.window = 1 << 20
    a.send(0, 53, bytes(100_000), network.now)
    total = 0
    while packets := a.datagrams_to_send(network.now):
        assert len(packets) <= MAX_DATAGRAMS_PER_CALL
        total += len(packets)
        assert a.get_timer() == (network.now if len(packets) == MAX_DATAGRAMS_PER_CALL else a.outbound.t3)
    assert total == 93


def test_a_sack_rides_with_data() -> None:
    network = up()
    inject(network, network.a, c.DataChunk(200, 0, 0, 51, 3, b"x"))
    network.a.association.send(0, 51, b"y", network.now)
    ((first, second),) = sent(network, network.a)
    assert isinstance(first, c.SackChunk)
    assert isinstance(second, c.DataChunk)
    assert network.a.association.inbound.sack_at > network.now + 100


def test_a_small_mtu_carries_everything() -> None:
    network = Network(
        Association(mtu=MIN_MTU, random_bytes=seeded_bytes(1)),
        Association(mtu=MIN_MTU, random_bytes=seeded_bytes(2)),
        to_b=Link(loss=0.2, jitter=0.05),
        to_a=Link(loss=0.2),
    )
    network.establish()
    network.a.association.send(0, 53, bytes(50_000), network.now)
    network.a.association.reset_streams(range(100, 200), network.now)
    assert network.run(60, until=lambda: bool(network.b.messages) and network.a.association.outbound.idle)


# Stream reset from end to end


def resets(side: Side, direction: Direction) -> dict[int, int]:
    """How often each stream was reset in one direction."""
    return Counter(
        stream_id
        for event in side.events
        if isinstance(event, StreamsReset) and event.direction is direction
        for stream_id in event.stream_ids
    )


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_reset_and_use_again(loss: float) -> None:
    network = Network(seed=11, to_a=Link(loss=loss, jitter=0.02), to_b=Link(loss=loss, jitter=0.02))
    network.establish()
    a = network.a.association
    for round_ in range(5):
        for number in range(20):
            a.send(3, 51, bytes((round_, number)) * 500, network.now)
        a.reset_streams([3, 7], network.now)
        with pytest.raises(SendRefused) as caught:
            a.send(3, 51, b"x", network.now)
        assert caught.value.reason is Refusal.RESETTING
        a.send(4, 51, b"other streams go on", network.now)
        expected = {3: round_ + 1, 7: round_ + 1}
        for _ in range(100):
            network.run(1)
        assert resets(network.a, Direction.OUTGOING) == expected
        assert resets(network.b, Direction.INCOMING) == expected
        seen = network.b.events
        before = seen[
            : max(n for n, e in enumerate(seen) if isinstance(e, StreamsReset) and 3 in e.stream_ids)
        ]
        received = [e.data[:2] for e in network.b.messages if e.stream_id == 3 and e in before]
        assert received == [bytes((r, n)) for r in range(round_ + 1) for n in range(20)], (
            "all before the reset"
        )


def test_both_reset_the_same_stream_at_once() -> None:
    network = up()
    network.a.association.reset_streams([1], network.now)
    network.b.association.reset_streams([1], network.now)
    network.run(5)
    for side in (network.a, network.b):
        assert set(side.events[1:]) == {
            StreamsReset((1,), Direction.INCOMING),
            StreamsReset((1,), Direction.OUTGOING),
        }


def test_a_reset_nobody_answers_ends_the_association() -> None:
    network = up()
    network.a.link.filter = lambda data: data[12] != c.ReconfigChunk.type
    network.a.association.reset_streams([1], network.now)
    network.run(100)
    assert network.a.closed is not None
    assert network.a.closed.reason is CloseReason.UNREACHABLE


def test_a_denied_reset() -> None:
    network = up()
    b = network.b.association
    b.inbound.stream_count = 1
    network.a.association.reset_streams([1], network.now)
    network.run(1)
    assert network.a.events[-1] == StreamResetFailed((1,))
    network.a.association.send(1, 51, b"goes on", network.now)


def test_the_tag_is_read_from_the_packet() -> None:
    network = up()
    assert {tag_of(data) for data in network.a.link.sent} == {0, TAG_B}

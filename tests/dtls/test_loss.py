"""Handshakes over a network that loses, doubles and reorders, in virtual time."""

from __future__ import annotations

from itertools import combinations

import pytest

from sfu.dtls import ApplicationData, DtlsConnected, DtlsRole, DtlsState
from sfu.dtls.endpoint import DEFAULT_MTU, MAX_UNCONFIRMED_RECORDS, MIN_MTU
from sfu.dtls.flight import INITIAL_TIMEOUT, MAX_TIMEOUT
from sfu.dtls.record import ContentType, split_datagram_untrusted
from tests.support.dtls_net import LATENCY, Fate, Pair, Path, chaotic, losing, lossless

MTUS = (1200, 600, 300, 256)
FLIGHTS = [(DtlsRole.CLIENT, 1), (DtlsRole.SERVER, 4), (DtlsRole.CLIENT, 5), (DtlsRole.SERVER, 6)]
"""Who sends which flight, numbered as in RFC 6347 figure 1 (2 and 3 are the cookie exchange)."""


def assert_works(pair: Pair) -> None:
    """Both sides are connected, agree about the keys, and can talk."""
    assert pair.connected, (pair.client.state, pair.server.state, pair.failures)
    (ours,), (theirs,) = (
        [event for event in pair.events[role] if isinstance(event, DtlsConnected)] for role in DtlsRole
    )
    assert ours.profile is theirs.profile
    assert (ours.local_key, ours.local_salt) == (theirs.remote_key, theirs.remote_salt)
    assert (ours.remote_key, ours.remote_salt) == (theirs.local_key, theirs.local_salt)
    assert ours.local_key != ours.remote_key
    pair.path = lossless
    for sender, receiver in ((pair.client, DtlsRole.SERVER), (pair.server, DtlsRole.CLIENT)):
        sender.send(b"are you there?")
        pair.pump()
        pair.run()
        assert pair.events[receiver][-1] == ApplicationData(b"are you there?")
    assert pair.client.get_timer() is None
    assert pair.server.get_timer() is None


def shake(path: Path = lossless, *, mtu: int = 1200) -> Pair:
    pair = Pair(path, mtu=mtu)
    pair.start()
    pair.run()
    return pair


def flight_of(sender: DtlsRole, data: bytes) -> int:
    """The number of the flight a datagram belongs to."""
    record = split_datagram_untrusted(data)[0]
    if sender is DtlsRole.CLIENT:
        return 1 if record.content_type == ContentType.HANDSHAKE and record.body[0] == 1 else 5
    return 4 if record.content_type == ContentType.HANDSHAKE and record.epoch == 0 else 6


def test_without_loss_four_datagrams_and_no_timer() -> None:
    pair = shake()
    assert [len(sent) for sent in pair.sent.values()] == [2, 2]
    assert pair.timers == 0
    assert pair.now == pytest.approx(1000 + 4 * LATENCY)
    assert_works(pair)


@pytest.mark.parametrize("mtu", MTUS)
def test_no_datagram_is_longer_than_the_mtu(mtu: int) -> None:
    pair = shake(mtu=mtu)
    assert_works(pair)
    pair.server.send(bytes(pair.server.max_data_size))
    pair.pump()
    sizes = [len(data) for sent in pair.sent.values() for data in sent]
    assert max(sizes) == mtu


def test_every_mtu() -> None:
    """OpenSSL fragments whatever meets the end of a datagram: at some sizes even the Finished."""
    for mtu in range(MIN_MTU, DEFAULT_MTU + 1, 3):
        pair = shake(mtu=mtu)
        assert pair.connected, mtu
        assert pair.timers == 0, mtu
        assert max(len(data) for sent in pair.sent.values() for data in sent) <= mtu


@pytest.mark.parametrize("sender", DtlsRole)
def test_a_fragmented_finished_lost_in_parts(sender: DtlsRole) -> None:
    for mtu in range(284, 294):
        for index in range(6):
            assert_works(shake(losing(sender, index), mtu=mtu))


@pytest.mark.parametrize("mtu", MTUS)
@pytest.mark.parametrize("sender", DtlsRole)
def test_each_datagram_lost_in_turn(sender: DtlsRole, mtu: int) -> None:
    for index in range(len(shake(mtu=mtu).sent[sender])):
        pair = shake(losing(sender, index), mtu=mtu)
        assert_works(pair)
        assert pair.now < 1000 + 2 * INITIAL_TIMEOUT, "one repetition repairs one loss"


@pytest.mark.parametrize("mtu", [1200, 300])
@pytest.mark.parametrize("sender", DtlsRole)
def test_each_pair_of_datagrams_lost_in_turn(sender: DtlsRole, mtu: int) -> None:
    count = len(shake(mtu=mtu).sent[sender])
    for two in combinations(range(2 * count), 2):
        assert_works(shake(losing(sender, *two), mtu=mtu))


@pytest.mark.parametrize("mtu", MTUS)
@pytest.mark.parametrize(("sender", "flight"), FLIGHTS)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_each_flight_lost_whole(sender: DtlsRole, flight: int, times: int, mtu: int) -> None:
    lost: set[float] = set()

    def path(who: DtlsRole, _index: int, data: bytes) -> Fate:
        if who is sender and flight_of(who, data) == flight and (len(lost) < times or pair.now in lost):
            lost.add(pair.now)
            return ()
        return (LATENCY,)

    pair = Pair(path, mtu=mtu)
    pair.start()
    pair.run()
    assert len(lost) == times
    assert_works(pair)


@pytest.mark.parametrize("mtu", MTUS)
def test_everything_twice(mtu: int) -> None:
    pair = shake(lambda *_: (LATENCY, 1.5 * LATENCY), mtu=mtu)
    assert_works(pair)
    assert pair.timers == 0


@pytest.mark.parametrize("mtu", MTUS)
@pytest.mark.parametrize("sender", DtlsRole)
def test_every_flight_back_to_front(sender: DtlsRole, mtu: int) -> None:
    pair = shake(lambda who, index, _: (LATENCY * (2 - index / 100 if who is sender else 1),), mtu=mtu)
    assert_works(pair)


def test_latency_above_the_first_timeouts() -> None:
    """Repetitions cross their answers; nobody minds, and the latency does not multiply."""
    pair = shake(lambda *_: (0.7,))
    assert_works(pair)
    connected = 1000 + 4 * 0.7
    assert pair.now < connected + 3 * 0.7 + 0.1


@pytest.mark.parametrize("loss", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("mtu", [1200, 600, 300])
def test_random_loss_doubling_and_reordering(loss: float, mtu: int) -> None:
    """2,700 handshakes in all; every one must succeed within the 30 s a handshake may take."""
    durations = []
    for seed in range(300):
        pair = shake(chaotic(seed, loss=loss), mtu=mtu)
        assert pair.connected, (seed, pair.client.state, pair.server.state, pair.failures)
        durations.append(pair.now - 1000)
    assert sorted(durations)[len(durations) // 2] < 3 * INITIAL_TIMEOUT + MAX_TIMEOUT * (loss == 0.3)


def test_the_last_flight_is_repeated_until_data_proves_that_it_arrived() -> None:
    """RFC 6347 4.2.4: the server, connected and without a timer, answers a repeated Finished."""
    pair = Pair(losing(DtlsRole.SERVER, *range(1, 5)))
    pair.start()
    pair.run()
    assert len(pair.sent[DtlsRole.SERVER]) == 6, "flight 4 once, flight 6 five times"
    assert_works(pair)
    before = len(pair.sent[DtlsRole.SERVER])
    pair.server.receive_datagram_untrusted(pair.sent[DtlsRole.CLIENT][-2], pair.now + 1)
    pair.server.receive_datagram_untrusted(pair.sent[DtlsRole.CLIENT][1], pair.now + 2)
    pair.pump()
    assert len(pair.sent[DtlsRole.SERVER]) == before, "confirmed: nothing is repeated any more"


def test_a_client_never_answers_a_repeated_last_flight() -> None:
    """Or both would repeat for ever."""
    pair = shake()
    for datagram in pair.sent[DtlsRole.SERVER]:
        pair.client.receive_datagram_untrusted(datagram, pair.now + 1)
    assert pair.client.datagrams_to_send(pair.now + 1) == []


def test_data_that_overtakes_the_last_flight_is_not_lost() -> None:
    """The server may send as soon as it is through; its Finished can arrive later than that, or again."""

    def path(who: DtlsRole, index: int, _data: bytes) -> Fate:
        return (5 * LATENCY,) if who is DtlsRole.SERVER and index == 1 else (LATENCY,)

    pair = Pair(path)
    pair.start()
    while pair.server.state is not DtlsState.CONNECTED:
        assert pair.step()
    pair.server.send(b"early")
    pair.pump()
    pair.run()
    assert ApplicationData(b"early") in pair.events[DtlsRole.CLIENT]
    assert_works(pair)


def test_data_sent_before_a_lost_last_flight_does_not_block_it() -> None:
    """The Finished keeps its record number, so data must not move the client's replay window past it."""
    pair = Pair(losing(DtlsRole.SERVER, 1))
    pair.start()
    while pair.server.state is not DtlsState.CONNECTED:
        assert pair.step()
    for _ in range(100):
        pair.server.send(b"early")
    pair.pump()
    pair.run()
    assert pair.server.dropped == 100 - MAX_UNCONFIRMED_RECORDS
    assert_works(pair)

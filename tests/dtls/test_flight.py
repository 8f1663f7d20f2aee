"""What a repeated flight looks like, and when it is repeated (RFC 6347 4.2.4)."""

from __future__ import annotations

import itertools

import pytest

from sfu.dtls.flight import INITIAL_TIMEOUT, MAX_FLIGHT_BYTES, MAX_TIMEOUT, MIN_REPEAT_INTERVAL, Flight
from sfu.dtls.record import Record, split_datagram_untrusted

CERTIFICATE = Record(22, 0xFEFD, 0, 40, b"certificate")
CHANGE = Record(20, 0xFEFD, 0, 41, b"\x01")
FINISHED = Record(22, 0xFEFD, 1, 0, b"sealed once")
FINISHED_AGAIN = Record(22, 0xFEFD, 1, 1, b"sealed anew")


def test_plaintext_gets_fresh_numbers_and_sealed_records_stay() -> None:
    flight = Flight()
    flight.begin([CERTIFICATE, CHANGE, FINISHED])
    numbers = itertools.count(7)
    for first in (7, 9):
        (datagram,) = flight.datagrams(lambda: next(numbers), 1200, 0.0)
        records = split_datagram_untrusted(datagram)
        assert [(one.epoch, one.sequence) for one in records] == [(0, first), (0, first + 1), (1, 0)]
        assert [one.body for one in records] == [CERTIFICATE.body, CHANGE.body, FINISHED.body]


def test_a_newly_sealed_finished_replaces_the_old_one_only() -> None:
    flight = Flight()
    flight.begin([CERTIFICATE, CHANGE, FINISHED])
    flight.adopt([FINISHED_AGAIN])
    (datagram,) = flight.datagrams(lambda: 0, 1200, 0.0)
    assert split_datagram_untrusted(datagram)[-1] == FINISHED_AGAIN
    assert [one.body for one in split_datagram_untrusted(datagram)][:2] == [CERTIFICATE.body, CHANGE.body]


def test_a_flight_is_split_between_records() -> None:
    flight = Flight()
    flight.begin([CERTIFICATE] * 3)
    size = len(CERTIFICATE.encode())
    assert [len(data) for data in flight.datagrams(lambda: 0, 2 * size, 0.0)] == [2 * size, size]


def test_the_timeout_doubles_up_to_its_limit() -> None:
    flight = Flight()
    flight.begin([CERTIFICATE])
    flight.start_timer(0.0)
    waits = []
    for _ in range(8):
        now = flight.repeat_at
        assert now is not None
        flight.back_off(now)
        assert flight.repeat_at is not None
        waits.append(flight.repeat_at - now)
    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, MAX_TIMEOUT, MAX_TIMEOUT, MAX_TIMEOUT, MAX_TIMEOUT])
    flight.begin([CHANGE])
    flight.start_timer(100.0)
    assert flight.repeat_at == 100.0 + INITIAL_TIMEOUT, "a new flight starts anew"


def test_the_peer_may_ask_again_only_so_often() -> None:
    flight = Flight()
    flight.begin([CERTIFICATE])
    flight.datagrams(lambda: 0, 1200, 5.0)
    assert not flight.may_repeat(5.0 + MIN_REPEAT_INTERVAL / 2)
    assert flight.may_repeat(5.0 + MIN_REPEAT_INTERVAL)


def test_a_flight_has_a_size_limit() -> None:
    flight = Flight()
    flight.begin([Record(22, 0xFEFD, 0, 0, bytes(MAX_FLIGHT_BYTES))])
    with pytest.raises(ValueError, match="flight"):
        flight.begin([Record(22, 0xFEFD, 0, 0, bytes(MAX_FLIGHT_BYTES + 1))])


def test_cleared_means_nothing_left() -> None:
    flight = Flight()
    flight.begin([FINISHED])
    flight.start_timer(0.0)
    before = (bool(flight), flight.sealed, flight.repeat_at)
    flight.clear()
    assert before == (True, True, INITIAL_TIMEOUT)
    assert (bool(flight), flight.sealed, flight.repeat_at) == (False, False, None)

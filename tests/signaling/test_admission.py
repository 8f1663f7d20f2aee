"""Token buckets, and what each kind of event takes out of which."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgspec
import pytest

from sfu.signaling.admission import Admission, Kind
from sfu.signaling.buckets import MAX_ADDRESSES, AddressBuckets, Bucket, address_key
from sfu.signaling.limits import SignalingLimits


def test_a_bucket_gives_its_burst_at_once_and_its_rate_after_that() -> None:
    bucket = Bucket(2, 3)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(100.4)
    assert [bucket.take(100.5) for _ in range(2)] == [True, False]
    assert not bucket.is_full(101.9)
    assert bucket.is_full(102.0)
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_a_refusal_costs_nothing() -> None:
    bucket = Bucket(1, 10)
    assert bucket.take(0.0, 8)
    assert not bucket.take(0.0, 3)
    assert bucket.take(0.0, 2)
    assert not bucket.take(100.0, 11), "more than ever fits"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("unknown", "192.0.2.1", False),
    ],
)
def test_what_is_one_address(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same


def test_addresses_have_buckets_of_their_own_and_are_forgotten_when_these_are_full() -> None:
    buckets = AddressBuckets(lambda: Bucket(1, 2))
    assert [buckets.take("a", 0.0) for _ in range(3)] == [True, True, False]
    assert buckets.take("b", 0.0)
    assert not buckets.take("a", 0.5), "not forgotten by somebody else's coming"
    assert buckets.take("c", 3.0)
    assert len(buckets) == 1, "idle ones go when another comes"


def test_addresses_are_bounded() -> None:
    buckets = AddressBuckets(lambda: Bucket(0.001, 1))
    for number in range(MAX_ADDRESSES + 5):
        assert buckets.take(str(number), 0.0)
    assert len(buckets) == MAX_ADDRESSES
    assert not buckets.take(str(MAX_ADDRESSES + 4), 0.0), "the newest are remembered"
    assert buckets.take("0", 0.0), "the oldest is not"


@pytest.mark.contract("D4")
@pytest.mark.parametrize(
    ("kind", "burst"),
    [
        (Kind.QUESTION, "events_burst"),
        (Kind.CHANGE, "events_burst"),
        (Kind.CHANGE, "changes_burst"),
        (Kind.CHAT, "changes_burst"),
        (Kind.CHAT, "chats_burst"),
        (Kind.RELAY, "relays_burst"),
        (Kind.QUESTION, "address_events_burst"),
        (Kind.RELAY, "address_events_burst"),
    ],
)
def test_what_each_kind_takes(kind: Kind, burst: str) -> None:
    admission = Admission(SignalingLimits(**{burst: 2}))
    allowance = admission.allowance("192.0.2.1")
    assert [admission.admits_event(allowance, kind, 0.0) for _ in range(3)] == [True, True, False]
    other = admission.allowance("192.0.2.2")
    assert admission.admits_event(other, kind, 0.0)


@pytest.mark.contract("D4")
def test_sockets_of_one_address_share_what_it_has() -> None:
    admission = Admission(SignalingLimits(address_events_burst=2, address_connects_burst=2))
    allowances = [admission.allowance("192.0.2.1") for _ in range(3)]
    assert [admission.admits_event(a, Kind.RELAY, 0.0) for a in allowances] == [True, True, False]
    assert [admission.admits_token("192.0.2.1", 0.0) for _ in range(3)] == [True, True, False]
    assert admission.admits_token("192.0.2.2", 0.0)


@pytest.mark.contract("D4", "D83")
def test_bytes_that_are_passed_on_are_counted() -> None:
    allowance = Admission(SignalingLimits(relay_bytes_burst=100, relay_bytes_per_second=10)).allowance("a")
    assert allowance.take_relay_bytes(90, 1, 0.0)
    assert not allowance.take_relay_bytes(11, 1, 0.0)
    assert allowance.take_relay_bytes(10, 1, 0.0)
    assert allowance.take_relay_bytes(10, 1, 1.0)


@pytest.mark.contract("D4", "D83")
def test_so_is_to_how_many() -> None:
    limits = SignalingLimits(relay_copied_bytes_burst=100, relay_copied_bytes_per_second=10)
    allowance = Admission(limits).allowance("a")
    assert allowance.take_relay_bytes(9, 10, 0.0)
    assert not allowance.take_relay_bytes(1, 11, 0.0)
    assert allowance.take_relay_bytes(2, 5, 0.0)
    assert allowance.take_relay_bytes(1, 10, 1.0)


def test_a_host_may_send_inputs_to_a_thousand_spectators() -> None:
    """Four inputs in each frame, sixty frames a second."""
    inputs = [{"frame": 10**6, "connected_input": [3, 29, -32767], "fromRemote": True}] * 4
    size = len(msgspec.json.encode({"sync-control": inputs}))
    allowance = Admission(SignalingLimits()).allowance("a")
    for frame in range(6000):
        assert allowance.take_relay_bytes(size, 1000, 1.0 + frame / 60)


@pytest.mark.parametrize("name", [item.name for item in fields(SignalingLimits)])
def test_limits_are_positive(name: str) -> None:
    bad: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=name):
        SignalingLimits(**bad)

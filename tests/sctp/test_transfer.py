"""Messages through lossy networks: what must arrive arrives, once, in order; what need not does not stop
the rest."""

from __future__ import annotations

import random

import pytest

from sfu.sctp.association import Association
from sfu.sctp.events import MessageReceived
from tests.sctp.network import Link, Network, chosen_bytes

STREAMS = 5
COUNT = 1000


def lossy(seed: int, loss: float) -> Network:
    """A network with loss, reordering and duplication both ways."""
    return Network(
        seed=seed,
        to_b=Link(loss=loss, jitter=0.02, duplication=0.05),
        to_a=Link(loss=loss, jitter=0.02, duplication=0.05),
    )


def exchange(
    network: Network,
    *,
    ordered: bool,
    count: int = COUNT,
    max_retransmits: int | None = None,
    max_lifetime: float | None = None,
) -> list[MessageReceived]:
    """Send ``count`` numbered messages of random sizes over several streams, 200 a second; return what
    arrived."""
    sizes = random.Random(count)
    a = network.a.association
    for number in range(count):
        network.run(60, until=lambda: a.buffered_amount < 100_000)
        a.send(
            number % STREAMS,
            53,
            number.to_bytes(4, "big") + bytes(sizes.choice((0, 20, 60, 200, 1500))),
            network.now,
            ordered=ordered,
            max_retransmits=max_retransmits,
            max_lifetime=max_lifetime,
        )
        network.run(0.005)
    network.run(120, until=lambda: a.outbound.idle)
    network.run(1)
    return network.b.messages


def numbers(messages: list[MessageReceived]) -> list[int]:
    return [int.from_bytes(message.data[:4], "big") for message in messages]


def check_order(messages: list[MessageReceived]) -> None:
    for stream_id in range(STREAMS):
        on_stream = numbers([message for message in messages if message.stream_id == stream_id])
        assert on_stream == sorted(on_stream)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.3])
def test_reliable_messages_all_arrive(ordered: bool, loss: float) -> None:
    network = lossy(int(loss * 100), loss)
    network.establish()
    messages = exchange(network, ordered=ordered)
    assert sorted(numbers(messages)) == list(range(COUNT))
    if ordered:
        check_order(messages)
    assert network.b.association.inbound.used == 0
    assert network.a.association.outbound.idle


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(
    ("max_retransmits", "max_lifetime", "least"),
    [(0, None, 0.75), (2, None, 0.97), (None, 0.05, 0.7), (None, 3.0, 0.999)],
)
def test_unreliable_messages_arrive_at_most_once_and_the_rest_goes_on(
    ordered: bool, max_retransmits: int | None, max_lifetime: float | None, least: float
) -> None:
    network = lossy(7, 0.1)
    network.establish()
    messages = exchange(network, ordered=ordered, max_retransmits=max_retransmits, max_lifetime=max_lifetime)
    arrived = numbers(messages)
    assert len(set(arrived)) == len(arrived)
    assert len(arrived) >= least * COUNT
    if ordered:
        check_order(messages)
    assert network.a.association.outbound.idle
    assert network.b.association.inbound.used == 0


def test_numbers_wrap() -> None:
    """TSN 2^32 - 1 and stream sequence number 65,535 are followed by 0."""
    a = Association(random_bytes=chosen_bytes(7, 0xFFFF_FFF0))
    b = Association(random_bytes=chosen_bytes(9, 0xFFFF_FFFE))
    network = Network(a, b, seed=3, to_b=Link(loss=0.1, jitter=0.02), to_a=Link(loss=0.1))
    network.establish()
    check_order(messages := exchange(network, ordered=True, count=200))
    assert sorted(numbers(messages)) == list(range(200))
    assert network.a.association.outbound.cumulative > 0xFFFF_FFFF

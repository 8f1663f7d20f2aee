"""Messages through lossy networks: what must arrive arrives, once, in order; what need not does not stop
the rest."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sfu.sctp.association import Association
from sfu.sctp.events import Direction, MessageReceived, StreamsReset
from tests.sctp.network import Link, Network, chosen_bytes, seeded_bytes

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


def test_a_slow_link_with_a_short_queue_is_used_well() -> None:
    """Congestion control: 100 kB a second, 20 packets of queue, tail drop."""
    network = Network(seed=4, to_b=Link(rate=100_000, queue=20), to_a=Link())
    network.establish()
    a = network.a.association
    began, total = network.now, 0
    for _ in range(20):
        network.run(60, until=lambda: a.buffered_amount < 100_000)
        a.send(0, 53, bytes(60_000), network.now)
        total += 60_000
    assert network.run(60, until=lambda: len(network.b.messages) == 20)
    assert total / (network.now - began) > 70_000
    assert a.outbound.retransmitted < 200


@pytest.mark.parametrize("size", [10_000, 262_144])
def test_large_messages_cross_any_network(size: int) -> None:
    data = random.Random(size).randbytes(size)
    for seed, loss in enumerate((0.0, 0.02, 0.1)):
        network = lossy(seed, loss)
        network.establish()
        network.a.association.send(0, 53, data, network.now)
        network.b.association.send(0, 53, data, network.now, ordered=False)
        assert network.run(120, until=lambda n=network: bool(n.a.messages) and bool(n.b.messages))  # type: ignore[misc]
        assert network.a.messages[0].data == network.b.messages[0].data == data


@pytest.mark.parametrize("limits", [{"ordered": False, "max_retransmits": 0}, {}], ids=str)
def test_input_never_waits_behind_a_large_message(limits: dict[str, Any]) -> None:
    """60 inputs a second beside messages of 256 KiB without a pause, on a line with 25 ms of delay: nothing
    stands between an input and the wire but, for a reliable one, the congestion window."""
    b = Association(max_message_size=2_500_000, random_bytes=seeded_bytes(6))  # a browser's window: 5 MB
    network = Network(b=b, seed=6, to_b=Link(delay=0.025), to_a=Link(delay=0.025))
    network.establish()
    a = network.a.association
    sent_at = []
    for number in range(100):
        while a.buffered_amount_of(0) < 300_000:
            a.send(0, 53, bytes(262_144), network.now)
        sent_at.append(network.now)
        a.send(1, 53, number.to_bytes(4, "big") + bytes(60), network.now, **limits)
        network.run(1 / 60)
    network.run(1)
    ages = [
        time - sent_at[int.from_bytes(event.data[:4], "big")]
        for event, time in zip(network.b.events, network.b.times, strict=True)
        if isinstance(event, MessageReceived) and event.stream_id == 1
    ]
    assert len(ages) == 100
    assert max(ages) <= (0.026 if limits else 0.025 + 0.051)
    assert sum(message.stream_id == 0 for message in network.b.messages) > 10


def last_input(outage: float) -> tuple[Network, float]:
    """The last of some inputs half a second apart, with a round trip of 40 ms, into a line that is down for
    ``outage`` seconds from then on; its age when it arrives."""
    network = Network(seed=8)
    network.establish()
    a = network.a.association
    for _ in range(20):
        a.send(0, 53, b"x", network.now, ordered=False, max_lifetime=3.0)
        network.run(0.5)
    network.a.link.filter = lambda _data: False
    sent_at = network.now
    a.send(0, 53, b"last", network.now, ordered=False, max_lifetime=3.0)
    network.run(outage)
    network.a.link.filter = None
    assert network.run(3, until=lambda: network.b.messages[-1].data == b"last")
    return network, network.now - sent_at


def test_a_lost_last_input_is_repeated_after_two_round_trips() -> None:
    """Tail loss probe (RFC 8985 7): nothing follows that could be missed three times."""
    network, age = last_input(0.05)
    assert age == pytest.approx(2 * 0.04 + 0.02, abs=0.005)
    assert network.a.association.outbound.probes == 1


def test_after_a_lost_probe_the_timer_repeats_a_last_input() -> None:
    network, age = last_input(0.1)
    assert age == pytest.approx(2 * 0.04 + 0.04 + 0.22 + 0.02, abs=0.005)
    assert network.a.association.outbound.probes == 1


@pytest.mark.parametrize("limits", [{}, {"ordered": False, "max_retransmits": 0}], ids=str)
@pytest.mark.parametrize("outage", [0.5, 1.1, 2.0, 2.3, 5.0])
def test_after_an_outage_inputs_arrive_again_within_a_second(outage: float, limits: dict[str, Any]) -> None:
    network = Network(seed=9, to_b=Link(delay=0.025), to_a=Link(delay=0.025))
    network.establish()
    a = network.a.association
    for number in range(60 + round(60 * (outage + 1.2))):
        if number == 60:
            network.a.link.filter = network.b.link.filter = lambda _data: False
            ends = network.now + outage
        if number >= 60 and network.now >= ends:
            network.a.link.filter = network.b.link.filter = None
        a.send(0, 53, number.to_bytes(4, "big") + bytes(40), network.now, **limits)
        network.run(1 / 60)
    after = [time for time in network.b.times if time > ends]
    assert after[0] <= ends + 1.0
    newest = numbers(network.b.messages)[-1]
    assert newest >= number - 4, "and there is no backlog before the newest"


@pytest.mark.parametrize("loss", [0.05, 0.3])
def test_streams_are_reset_and_used_again_under_loss(loss: float) -> None:
    """What was sent before the reset arrives before it, what is sent after it begins anew."""
    network = lossy(int(loss * 100), loss)
    network.establish()
    a = network.a.association
    expected: list[bytes | StreamsReset] = []
    done = StreamsReset((3,), Direction.OUTGOING)
    for round_ in range(10):
        for number in range(20):
            data = b"%d %d" % (round_, number)
            expected.append(data)
            a.send(3, 53, data, network.now)
        a.reset_streams([3], network.now)
        expected.append(StreamsReset((3,), Direction.INCOMING))
        assert network.run(60, until=lambda n=round_: network.a.events.count(done) == n + 1)  # type: ignore[misc]
    seen = [
        event.data if isinstance(event, MessageReceived) else event
        for event in network.b.events
        if isinstance(event, MessageReceived | StreamsReset)
    ]
    assert seen == expected

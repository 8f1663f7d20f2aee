"""How old inputs are when they arrive over a lossy line on which we are the sender, in virtual time.

The figure to keep: at 5 % loss both ways and a round trip of 50 ms, the age of an input is at the 99th
percentile at most two and a half round trips and three sending intervals.
"""

from __future__ import annotations

import random
from typing import Final

import pytest

from sfu.sctp.events import MessageReceived
from tests.sctp.network import Link, Network

RTT: Final = 0.05
INTERVAL: Final = 1 / 60
BOUND: Final = 2.5 * RTT + 3 * INTERVAL
COUNT: Final = 6000

MODES: Final[dict[str, tuple[bool, int | None, float | None]]] = {
    "unordered, no retransmission": (False, 0, None),
    "unordered, one retransmission": (False, 1, None),
    "unordered, two retransmissions": (False, 2, None),
    "unordered, 150 ms": (False, None, 0.15),
    "unordered, reliable": (False, None, None),
    "ordered, reliable": (True, None, None),
}
"""Name: ordered, max_retransmits, max_lifetime in seconds."""


def ages(
    mode: tuple[bool, int | None, float | None],
    *,
    loss: float,
    seed: int,
    count: int = COUNT,
    rtt: float = RTT,
    interval: float = INTERVAL,
    jitter: float = 0.0,
) -> list[float]:
    """Send ``count`` inputs of 40 to 64 bytes from ``a``; the ages of those that arrived, ascending."""
    ordered, max_retransmits, max_lifetime = mode
    network = Network(
        seed=seed,
        to_b=Link(delay=rtt / 2, jitter=jitter),
        to_a=Link(delay=rtt / 2, jitter=jitter),
    )
    network.establish()
    network.a.link.loss = network.b.link.loss = loss
    sizes = random.Random(seed)
    sent_at = []
    for number in range(count):
        sent_at.append(network.now)
        network.a.association.send(
            1,
            53,
            number.to_bytes(4, "big") + bytes(sizes.randrange(36, 61)),
            network.now,
            ordered=ordered,
            max_retransmits=max_retransmits,
            max_lifetime=max_lifetime,
        )
        network.run(interval)
    network.run(5)
    return sorted(
        time - sent_at[int.from_bytes(event.data[:4], "big")]
        for event, time in zip(network.b.events, network.b.times, strict=True)
        if isinstance(event, MessageReceived)
    )


def percentile(ascending: list[float], share: float) -> float:
    return ascending[min(int(len(ascending) * share), len(ascending) - 1)]


@pytest.mark.parametrize("name", MODES)
def test_inputs_are_young_at_five_percent_loss(name: str) -> None:
    mode = MODES[name]
    found = ages(mode, loss=0.05, seed=1)
    assert percentile(found, 0.99) <= BOUND
    assert len(found) >= (0.94 if mode[1] == 0 else 0.99) * COUNT

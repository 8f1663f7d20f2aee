"""Two of our own transports back to back over a bad network, in virtual time.

Each is an ICE-lite agent, so a few lines here do the checks that neither of them would send.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from sfu.ice.address import Address
from sfu.ice.stun import MessageClass, StunMessage, is_stun, parse_untrusted
from sfu.media.parameters import DtlsFingerprint, DtlsParameters
from sfu.media.transport import Connected, Transport, TransportState
from sfu.rtp.packet import build_header
from sfu.rtp.packet import parse_untrusted as parse_rtp_untrusted
from sfu.sctp.events import MessageReceived
from sfu.sctp.ppid import BINARY
from tests.support.impairment import Impairment
from tests.support.network import Network
from tests.support.peer import CERTIFICATE, CONSENT_INTERVAL

BAD_NETWORK = Impairment(loss=0.1, duplication=0.1, delay=0.02, jitter=0.03)
MESSAGES = 1000


class Node:
    """A transport with an address, and somebody who sends checks for it."""

    def __init__(self, address: Address, random_bytes: Callable[[int], bytes]) -> None:
        self.address = address
        self.transport = Transport("t", CERTIFICATE, random_bytes=random_bytes)
        self.messages: list[MessageReceived] = []
        self.connected = 0
        self._random_bytes = random_bytes
        self._other: Node | None = None
        self._check_at = 0.0
        self._validated = False

    def pair_with(self, other: Node, role: str, now: float) -> None:
        """Exchange what signaling would; ``role`` is the other's."""
        self._other = other
        fingerprint = CERTIFICATE.fingerprints[-1]
        parameters = DtlsParameters(
            fingerprints=[DtlsFingerprint(fingerprint.algorithm, fingerprint.value)],
            role="client" if role == "client" else "server",
        )
        self.transport.connect(parameters, now)

    def receive(self, data: bytes, source: Address, destination: Address, now: float) -> None:
        if is_stun(data) and parse_untrusted(data).message.message_class is MessageClass.SUCCESS:
            self._validated = True
            return
        self.transport.receive_datagram_untrusted(data, source, now)
        self._take_events()

    def _take_events(self) -> None:
        while (event := self.transport.next_event()) is not None:
            if isinstance(event, MessageReceived):
                self.messages.append(event)
            self.connected += isinstance(event, Connected)

    def take_output(self, now: float) -> Sequence[tuple[bytes, Address, Address]]:
        output = [(d, self.address, a) for d, a in self.transport.datagrams_to_send(now)]
        if now >= self._check_at and self._other is not None:
            self._check_at = now + (CONSENT_INTERVAL if self._validated else 0.05)
            credentials = self._other.transport.ice.credentials
            check = StunMessage(
                message_class=MessageClass.REQUEST,
                transaction_id=self._random_bytes(12),
                username=f"{credentials.username_fragment}:x",
                priority=1,
                use_candidate=True,
                ice_controlling=1,
            )
            output.append((check.encode(password=credentials.password), self.address, self._other.address))
        return output

    def get_timer(self) -> float | None:
        timer = self.transport.get_timer()
        return self._check_at if timer is None else min(timer, self._check_at)

    def handle_timer(self, now: float) -> None:
        self.transport.handle_timer(now)
        self._take_events()

    def send(self, stream_id: int, data: bytes, now: float, **reliability: object) -> None:
        self.transport.send_data(stream_id, BINARY, data, now, **reliability)  # type: ignore[arg-type]
        self.transport.flush_data(now)


def connect(seed: int, impairment: Impairment) -> tuple[Network, Node, Node]:
    chance = random.Random(seed)
    network = Network(seed, impairment)
    client = Node(("192.0.2.1", 1), chance.randbytes)
    server = Node(("192.0.2.2", 2), chance.randbytes)
    for node in (client, server):
        network.add(node, node.address)
    client.pair_with(server, "server", network.now)
    server.pair_with(client, "client", network.now)
    assert network.run(25, lambda: bool(client.connected and server.connected))
    assert client.transport.state is server.transport.state is TransportState.CONNECTED
    return network, client, server


@pytest.mark.parametrize("seed", range(30))
def test_handshakes_succeed_on_a_bad_network(seed: int) -> None:
    network, client, server = connect(seed, BAD_NETWORK)
    # The keys agree: what one seals the other opens.
    header = build_header(payload_type=100, sequence_number=1, timestamp=2, ssrc=3)
    for sender, receiver in ((client, server), (server, client)):
        assert sender.transport.entry.sender is not None
        assert receiver.transport.entry.receiver is not None
        wire = header + sender.transport.entry.sender.seal(header, b"payload", 3, 1)
        plain = receiver.transport.entry.receiver.unprotect_rtp_untrusted(wire)
        assert parse_rtp_untrusted(plain).payload == b"payload"
    assert (client.connected, server.connected) == (1, 1)
    assert network.carried > 10


KINDS: dict[str, dict[str, object]] = {
    "reliable, ordered": {},
    "reliable, unordered": {"ordered": False},
    "one retransmission, ordered": {"max_retransmits": 1},
    "no retransmission, unordered": {"ordered": False, "max_retransmits": 0},
    "100 ms, ordered": {"max_lifetime": 0.1},
    "3 s, unordered": {"ordered": False, "max_lifetime": 3.0},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_messages_of_every_kind(kind: str) -> None:
    network, client, server = connect(len(kind), BAD_NETWORK)
    reliability = KINDS[kind]
    chance = random.Random(len(kind))
    sent: dict[str, list[bytes]] = {"up": [], "down": []}
    for number in range(MESSAGES):
        for name, node in (("up", client), ("down", server)):
            # Mostly input-sized, some of several fragments.
            size = 3000 if chance.random() < 0.02 else 60
            message = b"%d " % number + chance.randbytes(size)
            node.send(5, message, network.now, **reliability)
            sent[name].append(message)
        network.run(0.010)
    complete = "max_retransmits" not in reliability and "max_lifetime" not in reliability
    network.run(60, lambda: len(server.messages) >= MESSAGES <= len(client.messages))
    for name, receiver in (("up", server), ("down", client)):
        got = [m.data for m in receiver.messages]
        assert {m.stream_id for m in receiver.messages} == {5}
        assert {m.ppid for m in receiver.messages} == {BINARY}
        assert len(set(got)) == len(got), "delivered twice"
        assert set(got) <= set(sent[name])
        if complete:
            assert len(got) == MESSAGES
        else:
            # A tenth is lost on the way; nothing that arrived may be held back for what did not.
            assert len(got) >= 0.8 * MESSAGES
        if reliability.get("ordered", True):
            order = {message: i for i, message in enumerate(sent[name])}
            assert [order[m] for m in got] == sorted(order[m] for m in got)


def test_the_end_of_one_is_heard_by_the_other() -> None:
    network, client, server = connect(1, Impairment())
    client.transport.close(network.now)
    network.run(1)
    assert server.transport.state is TransportState.CLOSED

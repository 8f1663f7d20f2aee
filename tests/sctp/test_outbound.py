"""The sending half alone: SACKs honest and hostile, retransmission, abandonment."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.sctp.chunks import (
    FLAG_BEGIN,
    FLAG_END,
    FLAG_IMMEDIATE,
    FLAG_UNORDERED,
    Chunk,
    DataChunk,
    ForwardTsnChunk,
)
from sfu.sctp.outbound import (
    FRAGMENT_SLACK,
    MAX_FORWARD_STREAMS,
    MAX_OUTSTANDING_BYTES,
    MAX_OUTSTANDING_CHUNKS,
    SPARSE_INTERVAL,
    Outbound,
)
from sfu.sctp.packet import PacketHeader, parse_chunks_untrusted
from sfu.sctp.rto import RTO_INITIAL, RetransmissionTimeout
from sfu.sctp.send_queue import UNLIMITED, SendQueue

MTU = 1144
WINDOW = 1 << 30
TSN = 0xFFFF_FFF0


class Sender:
    """An outbound half with a queue, and what it put on the wire."""

    def __init__(self, *, window: int = WINDOW, tsn: int = TSN, streams: int = 1024) -> None:
        self.queue = SendQueue(1 << 24, streams)
        self.out = Outbound(self.queue, tsn, MTU, RetransmissionTimeout())
        self.out.peer_window = window
        self.out.partial_reliability = True
        self.now = 100.0
        self.first = tsn

    def push(
        self,
        data: bytes,
        stream: int = 0,
        *,
        unordered: bool = False,
        max_retransmits: int = UNLIMITED,
        lifetime: float = math.inf,
    ) -> None:
        self.queue.push(stream, 53, data, self.now, unordered, self.now + lifetime, max_retransmits)

    def packets(self) -> list[list[Chunk]]:
        """Everything that may go now, packet by packet, parsed."""
        out: list[list[Chunk]] = []
        while True:
            body: list[bytes] = []
            room = self.out.fill(body, MTU - 12, self.now)
            assert room == MTU - 12 - sum(map(len, body))
            assert room >= 0
            if not body:
                return out
            out.append(parse_chunks_untrusted(PacketHeader(1, 2, 3).packet(b"".join(body))))

    def data(self) -> list[DataChunk]:
        return [chunk for packet in self.packets() for chunk in packet if isinstance(chunk, DataChunk)]

    def tsns(self) -> list[int]:
        """Which TSNs go now, counted from the first."""
        return [chunk.tsn - self.first & 0xFFFF_FFFF for chunk in self.data()]

    def sack(self, cumulative: int, *gaps: tuple[int, int], window: int = WINDOW) -> bool:
        """A SACK up to ``cumulative`` (counted from the first; -1 for nothing), gaps counted likewise."""
        blocks = tuple((first - cumulative, last - cumulative) for first, last in gaps)
        return self.out.acknowledge(self.first + cumulative & 0xFFFF_FFFF, window, blocks, self.now)


def test_small_messages_share_a_packet_and_large_ones_are_cut() -> None:
    sender = Sender()
    for _ in range(3):
        sender.push(b"small")
    sender.push(bytes(3000))
    packets = sender.packets()
    sizes = [[len(chunk.data) for chunk in packet if isinstance(chunk, DataChunk)] for packet in packets]
    full = sender.out.max_payload - FRAGMENT_SLACK
    assert sizes == [[5, 5, 5], [full], [full], [3000 - 2 * full]]
    flags = [
        chunk.flags & ~FLAG_IMMEDIATE
        for packet in packets[1:]
        for chunk in packet
        if isinstance(chunk, DataChunk)
    ]
    assert flags == [FLAG_BEGIN, 0, FLAG_END]


def test_a_message_that_fits_a_packet_is_not_cut() -> None:
    sender = Sender()
    sender.push(bytes(1000))
    sender.push(bytes(sender.out.max_payload))
    assert [len(chunk.data) for chunk in sender.data()] == [1000, sender.out.max_payload]


LIMITED: dict[str, Any] = {"unordered": True, "max_retransmits": 0}


@pytest.mark.parametrize("kind", [{}, {"unordered": True}, LIMITED], ids=str)
def test_what_is_not_cut_overtakes_a_begun_message(kind: dict[str, Any]) -> None:
    """Its TSN is later than those of the fragments that have not left yet."""
    sender = Sender()
    for stream in range(4):
        sender.push(bytes(100_000), stream)
    fragments = -(-100_000 // (sender.out.max_payload - FRAGMENT_SLACK))
    first = sender.data()
    assert len(first) < fragments
    sender.push(b"input", 9, **kind)
    sender.push(b"another", 9, **kind)
    assert sender.sack(0)
    chunks = sender.data()
    assert chunks[0].data == b"input"
    assert chunks[0].tsn - TSN & 0xFFFF_FFFF == fragments
    assert chunks[1].stream_id == (9 if kind == LIMITED else 0), "express needs no turn"


def test_small_reliable_messages_and_fragments_take_turns() -> None:
    sender = Sender()
    sender.out.congestion.window = 1 << 20
    sender.push(bytes(5000))
    for number in range(8):
        sender.push(b"x", 1 + number % 2)
    order = [chunk.stream_id for chunk in sender.data()]
    assert order == [0, 0, 1, 0, 2, 0, 1, 0, 2, 1, 2, 1, 2]


def test_nothing_overtakes_on_its_own_stream() -> None:
    sender = Sender()
    sender.out.congestion.window = 1 << 20
    sender.push(bytes(5000))
    sender.push(b"later")
    assert [len(chunk.data) for chunk in sender.data()][-1] == 5


def test_a_tsn_that_was_not_sent_cannot_be_acknowledged() -> None:
    sender = Sender()
    sender.out.rto.measured(0.1)
    sender.push(bytes(100_000))
    sent = len(sender.data())
    sender.push(b"input", 1, **LIMITED)
    assert not sender.sack(sent), "the next fragment has its TSN, but is still here"
    assert sender.sack(0, (2, 90))
    assert sender.out.flight == 16 + sender.out.max_payload - FRAGMENT_SLACK, "only the second is missing"
    assert sender.sack(sent - 1)
    assert sender.out.flight == 0


def test_fragments_sent_after_an_input_that_overtook_them_are_not_missing() -> None:
    """They have earlier TSNs than what has arrived, but were sent later."""
    sender = Sender()
    sender.out.rto.measured(0.1)
    sender.push(bytes(100_000))
    sent = len(sender.data())
    sender.now += 0.1
    for _ in range(4):
        sender.push(bytes(1000), 1, **LIMITED)
    sender.sack(sent - 1)
    tsns = sender.tsns()
    assert min(tsns[:4]) > max(tsns[4:]) >= sent
    for last in tsns[:4]:
        sender.sack(sent - 1, (tsns[0], last))
        assert not sender.out.lost
    assert sender.out.flight > 0


def test_a_message_of_more_fragments_than_may_be_outstanding_goes_alone() -> None:
    sender = Sender()
    sender.push(b"first")
    sender.data()
    sender.push(bytes(1084 * (MAX_OUTSTANDING_CHUNKS + 1)), 1)
    assert sender.tsns() == []
    sender.sack(0)
    assert sender.tsns() != []
    assert sender.out.outstanding_count == MAX_OUTSTANDING_CHUNKS + 1


def test_congestion_window_bounds_the_flight() -> None:
    sender = Sender()
    sender.push(bytes(100_000))
    sender.data()
    assert sender.out.congestion.window <= sender.out.flight < sender.out.congestion.window + MTU
    assert sender.tsns() == []


def test_receive_window_bounds_the_flight_and_a_closed_one_is_probed() -> None:
    sender = Sender(window=3000)
    for _ in range(10):
        sender.push(bytes(1000))
    assert sender.tsns() == [0, 1]
    sender.sack(1, window=0)
    closed = [sender.out.closed_since]
    assert sender.tsns() == [2], "one chunk probes"
    assert sender.tsns() == []
    sender.sack(1, window=0)
    assert sender.tsns() == []
    sender.now += 1
    sender.out.t3_expired(sender.now)
    assert sender.tsns() == [2], "and again when the timer expires"
    sender.sack(2, window=2100)
    closed.append(sender.out.closed_since)
    assert closed == [sender.now - 1, None]
    assert sender.tsns() == [3, 4]


def test_outstanding_chunks_are_bounded() -> None:
    sender = Sender()
    sender.out.congestion.window = 1 << 30
    for _ in range(MAX_OUTSTANDING_CHUNKS + 10):
        sender.push(b"x") if sender.queue.waiting < 8000 else None
    assert len(sender.tsns()) == MAX_OUTSTANDING_CHUNKS
    assert sender.out.outstanding_count == MAX_OUTSTANDING_CHUNKS


def test_outstanding_bytes_are_bounded_even_when_a_peer_acknowledges_only_selectively() -> None:
    sender = Sender()
    for _ in range(16):
        sender.push(bytes(262_144))
    for _ in range(2000):
        sender.data()
        sender.sack(-1, (1, sender.out.first_unsent - 1 - TSN))
    assert MAX_OUTSTANDING_BYTES <= sender.out.kept <= MAX_OUTSTANDING_BYTES + 270_000


def test_three_misses_retransmit_at_once_and_halve_the_window() -> None:
    sender = Sender()
    for _ in range(8):
        sender.push(bytes(900))
    sender.out.rto.measured(0.1)
    assert sender.tsns() == list(range(8))
    window = sender.out.congestion.window
    for last in (1, 2):
        assert sender.sack(-1, (1, last)), "news, though the cumulative number stands"
        assert sender.tsns() == []
        assert sender.out.congestion.window == window
    sender.sack(-1, (1, 3))
    assert sender.tsns() == [0]
    assert sender.out.congestion.window == window // 2
    for last in (4, 5, 6, 7):
        sender.sack(-1, (1, last))
        assert sender.tsns() == [], "fast retransmit happens once to a chunk"
    sender.now += 0.1
    assert sender.sack(7)
    assert sender.out.idle
    assert sender.out.t3 == math.inf


def test_fast_retransmit_does_not_wait_for_the_halved_window() -> None:
    """RFC 9260 7.2.4, 3: the first packet goes whatever is in flight."""
    sender = Sender()
    for _ in range(12):
        sender.push(bytes(1100))
    sender.data()
    for last in (2, 3, 4):
        sender.sack(-1, (2, last))
    assert sender.out.flight > sender.out.congestion.window
    assert sender.tsns() == [0]
    sender.sack(0, (2, 9))
    assert sender.tsns()[0] == 1


def test_fast_recovery_ends_when_all_that_was_out_is_acknowledged() -> None:
    sender = Sender()
    sender.push(bytes(100_000))
    last = sender.tsns()[-1]
    for top in (1, 2, 3):
        sender.sack(-1, (1, top))
    sender.data()
    window = sender.out.congestion.window
    for cumulative in (last - 1, last):
        sender.sack(cumulative)
        sender.data()
        assert sender.out.congestion.window == window, "not within it"
    sender.sack(sender.out.first_unsent - 1 - TSN)
    assert sender.out.congestion.window > window


def test_sending_the_earliest_again_restarts_the_timer() -> None:
    """RFC 9260 6.3.2 R3, and that only the earliest does."""
    sender = Sender()
    for _ in range(9):
        sender.push(bytes(500))
    sender.data()
    sender.now += 0.1
    for last in (1, 2, 3):
        sender.sack(-1, (1, last))
    assert sender.tsns() == [0]
    restarted = sender.now + sender.out.rto.value
    assert sender.out.t3 == restarted
    sender.now += 0.1
    for last in (5, 6, 7):
        sender.sack(-1, (1, 3), (5, last))
    assert sender.tsns() == [4]
    assert sender.out.t3 == restarted, "the earliest is still out"


def test_the_same_sack_again_is_no_new_miss() -> None:
    sender = Sender()
    for _ in range(4):
        sender.push(bytes(900))
    sender.out.rto.measured(0.1)
    sender.data()
    for _ in range(10):
        sender.sack(-1, (1, 1))
    assert sender.tsns() == []


def test_timeout_retransmits_everything_in_order_one_packet_at_first() -> None:
    sender = Sender()
    for _ in range(5):
        sender.push(bytes(900))
    sender.data()
    assert sender.out.t3 == sender.now + RTO_INITIAL
    sender.sack(0, (2, 2))
    sender.now = sender.out.t3
    sender.out.t3_expired(sender.now)
    assert sender.tsns() == [1, 3], "a window of one packet, overshot by one chunk at most"
    assert sender.out.t3 > sender.now
    sender.sack(3)
    assert sender.tsns() == [4]


def test_retransmissions_do_not_measure_the_round_trip() -> None:
    """Karn's rule (RFC 9260 6.3.1 C5)."""
    sender = Sender()
    sender.push(b"x")
    sender.data()
    sender.now += 5
    sender.out.t3_expired(sender.now)
    sender.data()
    sender.now += 0.01
    sender.sack(0)
    assert sender.out.rto.srtt is None
    sender.push(b"y")
    sender.data()
    sender.now += 0.05
    sender.sack(1)
    assert sender.out.rto.srtt == pytest.approx(0.05)


def test_immediate_bit_where_nothing_would_follow() -> None:
    """RFC 7053: after a silence, when the window is full, and on the last retransmission."""
    sender = Sender()
    sender.push(b"x")
    assert [chunk.flags & FLAG_IMMEDIATE for chunk in sender.data()] == [FLAG_IMMEDIATE]
    sender.now += SPARSE_INTERVAL / 2
    sender.push(b"y")
    assert [chunk.flags & FLAG_IMMEDIATE for chunk in sender.data()] == [0]
    sender.push(bytes(100_000))
    assert [bool(chunk.flags & FLAG_IMMEDIATE) for chunk in sender.data()][-2:] == [False, True]
    sender.now += 1
    sender.out.t3_expired(sender.now)
    sender.out.congestion.window = 1 << 20
    assert [bool(chunk.flags & FLAG_IMMEDIATE) for chunk in sender.data()].count(True) >= 1


def test_a_peer_may_take_a_selective_acknowledgement_back() -> None:
    """RFC 9260 6.2.1: what is no longer in a gap ack block is outstanding again."""
    sender = Sender()
    for _ in range(6):
        sender.push(bytes(500))
    sender.out.rto.measured(0.1)
    sender.data()
    flight = sender.out.flight
    sender.sack(-1, (1, 2), (4, 4))
    assert sender.out.flight < flight
    sender.sack(-1, (2, 2))
    assert sender.out.flight == flight - 516
    sender.sack(5)
    assert sender.out.flight == sender.out.kept == 0


def test_all_acknowledged_but_the_cumulative_number_does_not_move() -> None:
    """A peer whose gap ack blocks cover everything, the first included, is not waited for in vain."""
    sender = Sender()
    for _ in range(3):
        sender.push(bytes(500))
    sender.data()
    sender.sack(-1, (0, 2))
    assert sender.out.flight == 0
    sender.now = sender.out.t3
    sender.out.t3_expired(sender.now)
    sender.out.congestion.window = 10_000
    assert sender.tsns() == [0, 1, 2]


def test_old_and_impossible_sacks_are_ignored() -> None:
    sender = Sender()
    for _ in range(4):
        sender.push(b"x")
    sender.data()
    sender.sack(1)
    before = (sender.out.cumulative, sender.out.flight, sender.out.peer_window)
    assert not sender.sack(0, window=5), "older than the last"
    assert not sender.sack(4, window=5), "never sent"
    assert not sender.sack(1 << 31, window=5)
    assert not sender.sack((1 << 31) - 1, window=5)
    assert (sender.out.cumulative, sender.out.flight, sender.out.peer_window) == before


@pytest.mark.parametrize(
    "blocks",
    [
        ((5, 2),),
        ((0, 0),),
        ((0, 0xFFFF),),
        ((0xFFFF, 0xFFFF),),
        ((2, 3), (2, 3), (1, 8)),
        ((5, 6), (1, 2)),
        ((1, 0xFFFF),) * 4000,
        tuple((n, 0xFFFF - n) for n in range(4000)),
    ],
)
def test_hostile_gap_blocks_cost_no_more_than_what_is_outstanding(
    blocks: tuple[tuple[int, int], ...],
) -> None:
    """Reversed, overlapping, unsorted, far beyond what was sent: read once, cut to size (attack 26)."""
    sender = Sender()
    for _ in range(6):
        sender.push(bytes(500))
    sender.data()
    for _ in range(50):
        sender.out.acknowledge(TSN - 1, WINDOW, blocks, sender.now)
        sender.out.acknowledge(TSN - 1, WINDOW, blocks[::-1], sender.now)
        assert 0 <= sender.out.flight <= 6 * 516
    sender.now += 10
    sender.out.t3_expired(sender.now)
    sender.data()
    sender.sack(5)
    assert sender.out.idle
    assert sender.out.flight == sender.out.kept == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(1, 3000), st.booleans()),
            st.tuples(
                st.just("sack"),
                st.integers(-3, 20),
                st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=5),
            ),
            st.tuples(st.just("timeout"), st.just(0), st.just(False)),
        ),
        max_size=40,
    )
)
def test_accounting_holds_under_any_sacks(steps: list[tuple[str, int, object]]) -> None:
    sender = Sender()
    for kind, number, extra in steps:
        sender.now += 0.3
        if kind == "send":
            sender.push(bytes(number), unordered=bool(extra), max_retransmits=0 if extra else UNLIMITED)
        elif kind == "sack":
            assert isinstance(extra, list)
            sender.out.acknowledge(
                sender.out.cumulative + number & 0xFFFF_FFFF, WINDOW, tuple(extra), sender.now
            )
        elif sender.out.t3 != math.inf:
            sender.out.t3_expired(sender.now)
        sender.data()
        out = sender.out
        assert 0 <= out.flight <= out.kept
        assert out.outstanding_count == out.next_tsn - 1 - out.cumulative
        assert (out.t3 != math.inf) or not out.outstanding_count, "something outstanding always has a timer"
    for _ in range(100):
        sender.now += 5
        sender.data()
        sender.out.acknowledge(sender.out.first_unsent - 1 & 0xFFFF_FFFF, WINDOW, (), sender.now)
    assert sender.out.idle
    assert sender.out.flight == sender.out.kept == 0


def forward(sender: Sender) -> ForwardTsnChunk | None:
    for packet in sender.packets():
        for chunk in packet:
            if isinstance(chunk, ForwardTsnChunk):
                return chunk
    return None


def test_no_retransmissions_means_none() -> None:
    sender = Sender()
    sender.push(b"input", unordered=True, max_retransmits=0)
    sender.push(b"state", 3, max_retransmits=0)
    sender.push(b"chat")
    assert sender.tsns() == [0, 1, 2]
    sender.now = sender.out.t3
    sender.out.t3_expired(sender.now)
    packets = sender.packets()
    assert packets[0][0] == ForwardTsnChunk(TSN + 1, ((3, 0),)), "the unordered one needs no stream"
    assert [chunk.tsn for chunk in packets[0][1:] if isinstance(chunk, DataChunk)] == [TSN + 2]
    assert sender.out.abandoned == 2
    sender.sack(2)
    assert sender.out.idle


def test_retransmissions_are_counted() -> None:
    sender = Sender()
    sender.push(b"x", max_retransmits=2)
    sent = 0
    for _ in range(10):
        sent += len(sender.tsns())
        if sender.out.t3 == math.inf:
            break
        sender.now = sender.out.t3
        sender.out.t3_expired(sender.now)
    assert sent == 3


def test_lifetime_ends_retransmission_and_first_transmission() -> None:
    sender = Sender(window=1000)
    sender.push(b"x", lifetime=0.4)
    sender.data()
    for _ in range(3):
        sender.push(bytes(900), lifetime=0.4)
    assert len(sender.tsns()) == 1
    sender.now = sender.out.t3
    sender.out.t3_expired(sender.now)
    assert forward(sender) is not None
    assert sender.tsns() == []
    assert sender.queue.discarded == 2, "those that waited vanish"
    assert sender.queue.waiting == 0


def test_the_rest_of_an_abandoned_message_is_not_sent() -> None:
    """All its TSNs are skipped, so that the receiver does not wait for the next fragment."""
    sender = Sender(window=5000)
    sender.push(bytes(20_000), 2, lifetime=0.3)
    assert len(sender.tsns()) < 19
    sender.push(b"next", 2)
    sender.now = sender.out.t3
    sender.out.t3_expired(sender.now)
    packets = sender.packets()
    assert packets[0][0] == ForwardTsnChunk(TSN + 18 & 0xFFFF_FFFF, ((2, 0),))
    assert isinstance(packets[0][1], DataChunk)
    assert (packets[0][1].data, packets[0][1].ssn) == (b"next", 1)


def test_a_peer_without_partial_reliability_gets_everything() -> None:
    sender = Sender()
    sender.out.partial_reliability = False
    sender.push(b"x", max_retransmits=0, lifetime=0.1)
    sender.data()
    for _ in range(5):
        sender.now = sender.out.t3
        sender.out.t3_expired(sender.now)
        assert sender.tsns() == [0]


def test_forward_tsn_is_repeated_until_it_is_acknowledged() -> None:
    sender = Sender()
    sender.push(b"x", unordered=True, max_retransmits=0)
    sender.data()
    for _ in range(4):
        sender.now = sender.out.t3
        sender.out.t3_expired(sender.now)
        assert forward(sender) == ForwardTsnChunk(TSN)
        assert forward(sender) is None
    sender.sack(0)
    assert sender.out.t3 == math.inf


def test_a_lost_forward_tsn_is_repeated_by_sacks_once_a_round_trip() -> None:
    sender = Sender()
    sender.push(b"measure")
    sender.data()
    sender.now += 0.1
    sender.sack(0)
    for _ in range(6):
        sender.push(b"x", unordered=True, max_retransmits=0)
        sender.data()
    for last in (2, 3, 4):
        sender.sack(0, (2, last))
    assert forward(sender) == ForwardTsnChunk(TSN + 1)
    sender.sack(0, (2, 5))
    assert forward(sender) is None
    sender.now += 0.11
    sender.sack(0, (2, 6))
    assert forward(sender) == ForwardTsnChunk(TSN + 1)


def test_streams_in_a_forward_tsn_are_bounded() -> None:
    sender = Sender(tsn=5, streams=1024)
    for stream in range(MAX_FORWARD_STREAMS + 50):
        sender.push(b"x", stream, max_retransmits=0)
    sender.out.congestion.window = 1 << 20
    sender.data()
    sender.now = sender.out.t3
    sender.out.t3_expired(sender.now)
    chunk = forward(sender)
    assert chunk is not None
    assert len(chunk.streams) == MAX_FORWARD_STREAMS
    assert chunk.cumulative_tsn == 5 + MAX_FORWARD_STREAMS - 1
    sender.now += 1
    sender.sack(MAX_FORWARD_STREAMS - 1)
    chunk = forward(sender)
    assert chunk is not None
    assert len(chunk.streams) == 50


def test_streams_in_a_forward_tsn_fit_the_packet() -> None:
    queue = SendQueue(1 << 20, 1024)
    out = Outbound(queue, 5, 512, RetransmissionTimeout())
    out.peer_window, out.partial_reliability = WINDOW, True
    for stream in range(150):
        queue.push(stream, 53, b"x", 0.0, False, math.inf, 0)
    body: list[bytes] = []
    while queue.waiting:
        out.fill(body, 500, 0.0)
    out.t3_expired(1.0)
    body = []
    out.fill(body, 500, 1.0)
    assert len(body[0]) == 500


def test_a_lost_message_may_expire_before_its_turn() -> None:
    sender = Sender()
    for _ in range(5):
        sender.push(bytes(900), lifetime=2.0)
    sender.data()
    sender.now = sender.out.t3
    sender.out.t3_expired(sender.now)
    assert sender.tsns() == [0, 1]
    sender.now += 10
    sender.sack(1)
    assert forward(sender) == ForwardTsnChunk(TSN + 4, ((0, 4),))
    assert sender.tsns() == []


def test_flags() -> None:
    sender = Sender()
    sender.push(b"x", unordered=True)
    (chunk,) = sender.data()
    assert chunk.flags & ~FLAG_IMMEDIATE == FLAG_BEGIN | FLAG_END | FLAG_UNORDERED

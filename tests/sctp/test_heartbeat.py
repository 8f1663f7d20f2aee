"""Heartbeat and the outbox, alone."""

from __future__ import annotations

import math

from sfu.sctp.chunks import CookieAckChunk, HeartbeatAckChunk, HeartbeatChunk
from sfu.sctp.heartbeat import HEARTBEAT_INTERVAL, Heartbeat
from sfu.sctp.outbox import MAX_CONTROL_CHUNKS, MAX_SINGLE_PACKETS, Outbox, Retry
from sfu.sctp.rto import RTO_MAX
from tests.sctp.network import seeded_bytes


def test_a_heartbeat_after_silence_and_its_answer() -> None:
    heartbeat = Heartbeat(seeded_bytes(1))
    assert heartbeat.timer == math.inf
    heartbeat.start(10.0)
    assert heartbeat.timer == 10.0 + HEARTBEAT_INTERVAL
    missed, chunk = heartbeat.expired(40.0, 0.5)
    assert not missed
    assert isinstance(chunk, HeartbeatChunk)
    assert heartbeat.timer == 40.5
    assert heartbeat.acknowledged(HeartbeatAckChunk(b"\0\1\0\x0c12345678"), 40.1) is None
    assert heartbeat.acknowledged(HeartbeatAckChunk(chunk.info), 40.25) == 0.25
    assert heartbeat.timer == 40.25 + HEARTBEAT_INTERVAL
    assert heartbeat.acknowledged(HeartbeatAckChunk(chunk.info), 41.0) is None, "one answer each"


def test_an_unanswered_heartbeat_is_missed_and_another_sent() -> None:
    heartbeat = Heartbeat(seeded_bytes(1))
    heartbeat.start(0.0)
    _, first = heartbeat.expired(30.0, 0.5)
    missed, second = heartbeat.expired(30.5, 0.5)
    assert missed
    assert isinstance(first, HeartbeatChunk)
    assert isinstance(second, HeartbeatChunk)
    assert first.info != second.info
    assert heartbeat.acknowledged(HeartbeatAckChunk(first.info), 30.6) is None, "it may be a replay"


def test_acknowledgements_put_it_off_and_the_timer_always_moves() -> None:
    """Sums of floats may round either way; a timer that is set to the present would never end."""
    for step in range(2000):
        heartbeat = Heartbeat(seeded_bytes(1))
        heartbeat.start(0.1)
        heartbeat.last_answer = 1000 + step * 0.0137
        now = heartbeat.last_answer + HEARTBEAT_INTERVAL
        assert heartbeat.expired(now - 0.001, 0.5) == (False, None)
        assert heartbeat.timer == now
        assert heartbeat.expired(now, 0.5)[1] is not None
        assert heartbeat.timer > now


def test_outbox_is_bounded_and_keeps_order() -> None:
    outbox = Outbox()
    for number in range(MAX_CONTROL_CHUNKS + 5):
        outbox.put(HeartbeatAckChunk(bytes((0, 1, 0, 4, number))))
    for number in range(MAX_SINGLE_PACKETS + 5):
        outbox.put_packet(bytes((number,)))
    assert outbox.dropped == 10
    assert outbox.take_packets() == [bytes((number,)) for number in range(MAX_SINGLE_PACKETS)]
    assert outbox.take_packets() == []
    body: list[bytes] = []
    assert outbox.fill(body, 30) == 6
    assert [chunk[8] for chunk in body] == [0, 1]
    outbox.fill(body, 10_000)
    assert [chunk[8] for chunk in body] == list(range(MAX_CONTROL_CHUNKS))


def test_the_first_chunk_that_does_not_fit_waits_for_the_next_packet() -> None:
    outbox = Outbox()
    outbox.put(HeartbeatAckChunk(bytes(100)))
    outbox.put(CookieAckChunk())
    body: list[bytes] = []
    assert outbox.fill(body, 50) == 50
    assert body == [], "nothing overtakes"


def test_retry_doubles_counts_and_can_change_its_chunk() -> None:
    sent: list[str] = []
    retry = Retry()
    assert not retry.expired(0.0, 5), "stopped"
    retry.restart(0.0)
    assert retry.deadline == math.inf
    retry.start(lambda: sent.append("a"), 0.5, 10.0)
    assert retry.deadline == 10.5
    assert retry.expired(10.5, 3)
    assert retry.deadline == 11.5
    retry.restart(11.0)
    assert retry.deadline == 12.0
    retry.replace(lambda: sent.append("b"), 12.0)
    assert retry.deadline == 13.0
    assert retry.expired(13.0, 3)
    assert retry.deadline == 15.0
    assert retry.expired(15.0, 3)
    assert retry.deadline == 15.0 + RTO_MAX
    assert not retry.expired(18.0, 3)
    assert retry.deadline == math.inf
    assert sent == ["a", "a", "b", "b", "b"]

"""Whose turn it is, what is refused, what is counted."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sfu.sctp.errors import Refusal, SendRefused
from sfu.sctp.send_queue import (
    MAX_QUEUED_MESSAGES,
    MAX_UNRELIABLE_BYTES,
    MAX_UNRELIABLE_MESSAGES,
    SEND_BUFFERS,
    UNLIMITED,
    SendQueue,
)


def push(
    queue: SendQueue,
    stream_id: int,
    data: bytes,
    *,
    now: float = 0.0,
    unordered: bool = False,
    expires_at: float = math.inf,
    max_retransmits: int = UNLIMITED,
) -> int:
    return queue.push(stream_id, 53, data, now, unordered, expires_at, max_retransmits)


def take(queue: SendQueue, size: int = 1 << 20, now: float = 0.0) -> bytes:
    """The next piece, at most ``size`` bytes of one message."""
    message = queue.head(now)
    assert message is not None
    return queue.consume(message, min(size, len(message.data) - message.offset))


def refusal(queue: SendQueue, stream_id: int, data: bytes) -> Refusal:
    with pytest.raises(SendRefused) as caught:
        push(queue, stream_id, data)
    return caught.value.reason


def test_streams_take_turns_by_message() -> None:
    queue = SendQueue(1000, 10)
    for data in (b"a1", b"a2", b"a3"):
        push(queue, 0, data)
    push(queue, 1, b"b1")
    push(queue, 2, b"c1")
    push(queue, 1, b"b2")
    assert [take(queue) for _ in range(6)] == [b"a1", b"b1", b"c1", b"a2", b"b2", b"a3"]
    assert queue.head(0) is None
    assert queue.waiting == queue.buffered == 0


def test_unordered_with_a_limit_goes_first_but_never_into_a_begun_message() -> None:
    queue = SendQueue(1000, 10)
    push(queue, 0, b"largelarge")
    push(queue, 1, b"next")
    assert take(queue, 5) == b"large"
    push(queue, 2, b"input", unordered=True, max_retransmits=0)
    push(queue, 3, b"other", unordered=True, expires_at=9.0)
    push(queue, 4, b"plain", unordered=True)
    assert [take(queue) for _ in range(5)] == [b"large", b"input", b"other", b"next", b"plain"]


def test_sequence_numbers_are_given_in_sending_order_to_ordered_messages_only() -> None:
    queue = SendQueue(1000, 10)
    push(queue, 0, b"0")
    push(queue, 0, b"x", unordered=True)
    push(queue, 0, b"1", expires_at=5.0)
    push(queue, 0, b"2")
    numbers = []
    while (message := queue.head(6.0)) is not None:
        queue.consume(message, len(message.data))
        numbers.append((message.unordered, message.ssn))
    assert numbers == [(False, 0), (True, 0), (False, 1)], "the expired one took no number"
    assert queue.discarded == 1


def test_a_reliable_stream_is_bounded_in_bytes_and_does_not_pay_for_another() -> None:
    queue = SendQueue(10, 8)
    push(queue, 0, b"12345")
    push(queue, 0, b"12345")
    assert refusal(queue, 0, b"6") is Refusal.BUFFER_FULL
    push(queue, 1, b"1234567890")
    assert (queue.buffered, queue.buffered_on(0), queue.buffered_on(1), queue.buffered_on(3)) == (
        20,
        10,
        10,
        0,
    )
    take(queue, 2)
    assert (queue.buffered, queue.buffered_on(0)) == (18, 8)
    push(queue, 0, b"67")


def test_all_streams_together_are_bounded_and_an_input_still_fits() -> None:
    queue = SendQueue(10, 8)
    for stream_id in range(SEND_BUFFERS):
        push(queue, stream_id, bytes(10))
    assert refusal(queue, 5, b"x") is Refusal.BUFFER_FULL
    push(queue, 6, bytes(10), unordered=True, max_retransmits=0)
    with pytest.raises(SendRefused):
        push(queue, 7, b"x", unordered=True, max_retransmits=0)
    assert queue.buffered == (SEND_BUFFERS + 1) * 10


def test_messages_are_bounded_in_number() -> None:
    queue = SendQueue(1 << 20, 1024)
    for _ in range(MAX_QUEUED_MESSAGES):
        push(queue, 0, b"x")
    assert refusal(queue, 0, b"x") is Refusal.BUFFER_FULL
    for number in range(MAX_QUEUED_MESSAGES):
        push(queue, 1 + number // MAX_UNRELIABLE_MESSAGES, b"x", max_retransmits=0)
    with pytest.raises(SendRefused):
        push(queue, 1000, b"x", max_retransmits=0)
    assert queue.superseded == 0


@pytest.mark.parametrize("unordered", [True, False])
@pytest.mark.parametrize("limit", [{"max_retransmits": 0}, {"expires_at": 9.0}])
def test_of_unreliable_messages_a_stream_keeps_the_newest(unordered: bool, limit: dict[str, Any]) -> None:
    queue = SendQueue(1 << 20, 4)
    dropped = sum(
        push(queue, 1, b"%d" % number, unordered=unordered, **limit)
        for number in range(MAX_UNRELIABLE_MESSAGES + 10)
    )
    push(queue, 2, b"other", unordered=unordered, **limit)
    assert dropped == queue.superseded == 10
    assert queue.waiting == MAX_UNRELIABLE_MESSAGES + 1
    left = [take(queue) for _ in range(queue.waiting)]
    left.remove(b"other")
    assert left == [b"%d" % number for number in range(10, MAX_UNRELIABLE_MESSAGES + 10)]
    assert (queue.buffered, queue.discarded) == (0, 0)


def test_unreliable_messages_are_bounded_in_bytes_but_the_newest_always_fits() -> None:
    queue = SendQueue(1 << 20, 4)
    half = bytes(MAX_UNRELIABLE_BYTES // 2)
    assert [push(queue, 1, half, max_retransmits=0) for _ in range(4)] == [0, 0, 1, 1]
    assert queue.buffered == MAX_UNRELIABLE_BYTES
    assert push(queue, 1, bytes(2 * MAX_UNRELIABLE_BYTES), max_retransmits=0) == 2
    assert queue.buffered == 2 * MAX_UNRELIABLE_BYTES


def test_what_has_begun_and_what_is_reliable_is_never_dropped_for_newer() -> None:
    queue = SendQueue(1 << 20, 4)
    push(queue, 1, b"begun", max_retransmits=0)
    assert take(queue, 2) == b"be"
    push(queue, 1, b"reliable")
    for _ in range(2 * MAX_UNRELIABLE_MESSAGES):
        push(queue, 1, b"x", max_retransmits=0)
    assert take(queue) == b"gun"
    assert take(queue) == b"reliable"
    assert queue.waiting == MAX_UNRELIABLE_MESSAGES


def test_expired_messages_make_room() -> None:
    queue = SendQueue(10, 4)
    for stream_id in range(4):
        push(queue, stream_id, bytes(12), unordered=stream_id == 0, expires_at=1.0)
    push(queue, 0, b"1234567890", now=2.0)
    assert queue.discarded == 4
    assert take(queue, now=2.0) == b"1234567890"


def test_streams_are_bounded() -> None:
    queue = SendQueue(100, 4)
    for stream_id in (4, 70_000, -1):
        assert refusal(queue, stream_id, b"x") is Refusal.NO_SUCH_STREAM
    for stream_id in range(4):
        push(queue, stream_id, b"x")
    queue.limit_streams(2)
    assert queue.waiting == queue.buffered == 2
    assert refusal(queue, 2, b"x") is Refusal.NO_SUCH_STREAM
    queue.limit_streams(3)
    assert refusal(queue, 2, b"x") is Refusal.NO_SUCH_STREAM, "the limit only falls"
    assert {take(queue), take(queue)} == {b"x"}
    assert queue.head(0) is None


def test_resetting_streams_take_nothing_and_restart_at_zero() -> None:
    queue = SendQueue(100, 4)
    push(queue, 1, b"x")
    queue.set_resetting((1, 2), resetting=True)
    assert refusal(queue, 1, b"y") is Refusal.RESETTING
    assert not queue.drained(1)
    take(queue)
    assert queue.drained(1)
    queue.restart_streams((1, 2))
    push(queue, 1, b"y")
    message = queue.head(0)
    assert message is not None
    queue.consume(message, 1)
    assert message.ssn == 0


def test_the_rest_of_a_begun_message_can_be_forgotten() -> None:
    queue = SendQueue(100, 4)
    push(queue, 0, b"12345")
    push(queue, 0, b"next")
    message = queue.head(0)
    assert message is not None
    assert not queue.abandon(message), "not begun"
    queue.consume(message, 2)
    assert queue.abandon(message)
    assert (queue.buffered, queue.waiting) == (4, 1)
    assert take(queue) == b"next"


def test_clear() -> None:
    queue = SendQueue(100, 4)
    push(queue, 0, b"12345")
    take(queue, 2)
    push(queue, 1, b"x", unordered=True, max_retransmits=0)
    queue.clear()
    assert queue.head(0) is None
    assert queue.waiting == queue.buffered == queue.buffered_on(0) == 0

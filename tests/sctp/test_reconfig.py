"""Stream reset: our requests, the peer's, and no loops."""

from __future__ import annotations

import math
from collections import deque

import pytest

from sfu.sctp.chunks import FLAG_WHOLE, DataChunk
from sfu.sctp.errors import Refusal, ResetRefused
from sfu.sctp.events import Direction, Event, MessageReceived, StreamResetFailed, StreamsReset
from sfu.sctp.inbound import Inbound
from sfu.sctp.outbound import Outbound
from sfu.sctp.parameters import (
    AddIncomingStreams,
    AddOutgoingStreams,
    IncomingResetRequest,
    OutgoingResetRequest,
    Parameter,
    ReconfigResponse,
    ReconfigResult,
    TsnResetRequest,
)
from sfu.sctp.reconfig import (
    MAX_IN_PROGRESS,
    MAX_REPEATS,
    MAX_STREAMS_PER_REQUEST,
    REMEMBERED_ANSWERS,
    Reconfig,
)
from sfu.sctp.rto import RTO_INITIAL, RetransmissionTimeout
from sfu.sctp.send_queue import UNLIMITED, SendQueue

LOCAL_TSN = 0xFFFF_FFFF
PEER_TSN = 0


class End:
    """One end, without packets."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.queue = SendQueue(100_000, 1024)
        self.outbound = Outbound(self.queue, LOCAL_TSN, 1144, RetransmissionTimeout())
        self.inbound = Inbound(PEER_TSN, 100, 100_000, 50_000, self.events)
        self.reconfig = Reconfig(
            outbound=self.outbound,
            inbound=self.inbound,
            local_tsn=LOCAL_TSN,
            peer_tsn=PEER_TSN,
            max_inbound_streams=110,
            events=self.events,
        )

    def ask(self, *parameters: Parameter) -> list[int]:
        """Let the peer ask; return the results."""
        self.reconfig.receive(parameters, 1.0)
        return [answer.result for answer in self.replies()]

    def replies(self) -> list[ReconfigResponse]:
        return [p for p in self.reconfig.parameters(1.0) if isinstance(p, ReconfigResponse)]

    def request(self, now: float = 1.0) -> OutgoingResetRequest | None:
        """The request that goes out now."""
        found = [p for p in self.reconfig.parameters(now) if isinstance(p, OutgoingResetRequest)]
        assert len(found) <= 1
        return found[0] if found else None

    def answer(self, request: OutgoingResetRequest, result: int) -> None:
        self.reconfig.receive((ReconfigResponse(request.request, result),), 2.0)

    def data(self, tsn: int, stream: int = 1, ssn: int = 0) -> None:
        self.inbound.receive(DataChunk(tsn, stream, ssn, 53, FLAG_WHOLE, b"x"))
        self.reconfig.data_arrived()


def reset_of(*stream_ids: int, request: int = PEER_TSN, last_tsn: int = 0xFFFF_FFFF) -> OutgoingResetRequest:
    return OutgoingResetRequest(request, 0, last_tsn, stream_ids)


def test_a_request_carries_our_last_tsn_and_the_next_number() -> None:
    end = End()
    end.reconfig.reset((3, 4))
    first = end.request()
    assert first == OutgoingResetRequest(LOCAL_TSN, 0xFFFF_FFFF, LOCAL_TSN - 1, (3, 4))
    assert end.reconfig.timer == 1.0 + RTO_INITIAL
    end.reconfig.reset((5,))
    assert end.request() is None, "one at a time"
    end.answer(first, ReconfigResult.PERFORMED)
    assert list(end.events) == [StreamsReset((3, 4), Direction.OUTGOING)]
    second = end.request()
    assert second is not None
    assert (second.request, second.stream_ids) == (0, (5,)), "numbers wrap"


def test_streams_take_nothing_until_the_answer_and_start_again_after() -> None:
    end = End()
    end.queue.push(3, 53, b"x", 0.0, False, math.inf, UNLIMITED)
    end.reconfig.reset((3,))
    assert end.request() is None, "what waits goes first"
    message = end.queue.head(0.0)
    assert message is not None
    end.queue.consume(message, 1)
    request = end.request()
    assert request is not None
    assert end.queue.is_resetting(3)
    with pytest.raises(ResetRefused) as caught:
        end.reconfig.reset((2, 3))
    assert caught.value.reason is Refusal.RESETTING
    assert not end.queue.is_resetting(2), "all or none"
    end.answer(request, ReconfigResult.NOTHING_TO_DO)
    assert not end.queue.is_resetting(3)


def test_streams_that_cannot_be_are_refused() -> None:
    end = End()
    for stream_id in (-1, 1024):
        with pytest.raises(ResetRefused) as caught:
            end.reconfig.reset((stream_id,))
        assert caught.value.reason is Refusal.NO_SUCH_STREAM
    assert not end.reconfig.busy


def test_a_long_list_goes_in_pieces() -> None:
    end = End()
    end.reconfig.reset(tuple(range(MAX_STREAMS_PER_REQUEST + 1)) * 2)
    first = end.request()
    assert first is not None
    assert first.stream_ids == tuple(range(MAX_STREAMS_PER_REQUEST))
    end.answer(first, ReconfigResult.PERFORMED)
    second = end.request()
    assert second is not None
    assert second.stream_ids == (MAX_STREAMS_PER_REQUEST,)


def test_a_request_is_repeated_until_it_is_answered() -> None:
    end = End()
    end.reconfig.reset((3,))
    first = end.request()
    for _ in range(3):
        now = end.reconfig.timer
        assert end.reconfig.timer_expired()
        assert end.request(now) == first
        assert end.reconfig.timer > now
    assert first is not None
    end.reconfig.receive((ReconfigResponse(first.request + 1 & 0xFFFF_FFFF, ReconfigResult.PERFORMED),), 2.0)
    assert not end.events, "an answer to something else"
    end.answer(first, ReconfigResult.PERFORMED)
    end.answer(first, ReconfigResult.PERFORMED)
    assert len(end.events) == 1
    assert end.reconfig.timer == math.inf


def test_a_request_is_not_repeated_for_ever() -> None:
    end = End()
    end.reconfig.reset((3,))
    for _ in range(MAX_REPEATS):
        assert end.request() is not None
        assert end.reconfig.timer_expired()
    assert not end.reconfig.timer_expired()


@pytest.mark.parametrize("result", [ReconfigResult.DENIED, ReconfigResult.WRONG_SSN, 5, 77])
def test_a_refusal_leaves_the_streams_as_they_were(result: int) -> None:
    end = End()
    end.reconfig.reset((3,))
    request = end.request()
    assert request is not None
    end.answer(request, result)
    assert list(end.events) == [StreamResetFailed((3,))]
    assert not end.queue.is_resetting(3)


def test_in_progress_is_waited_for_but_not_for_ever() -> None:
    """Attack 28."""
    end = End()
    end.reconfig.reset((3,))
    first = end.request()
    assert first is not None
    for _ in range(MAX_IN_PROGRESS):
        end.answer(first, ReconfigResult.IN_PROGRESS)
        assert not end.reconfig.busy, "asked again when the timer says so"
        assert end.reconfig.timer == 2.0 + RTO_INITIAL
        assert end.reconfig.timer_expired(), "an answer is no silence"
        assert end.request() == first
    assert not end.events
    end.answer(first, ReconfigResult.IN_PROGRESS)
    assert list(end.events) == [StreamResetFailed((3,))]
    assert end.reconfig.timer == math.inf


def test_the_peers_reset_is_carried_out_once_and_answered_again() -> None:
    end = End()
    assert end.ask(reset_of(1, 2)) == [ReconfigResult.PERFORMED]
    assert end.ask(reset_of(1, 2)) == [ReconfigResult.PERFORMED]
    assert list(end.events) == [StreamsReset((1, 2), Direction.INCOMING)]
    assert end.ask(reset_of(1, request=5)) == [ReconfigResult.BAD_SEQUENCE_NUMBER]
    assert end.ask(reset_of(1, request=1)) == [ReconfigResult.PERFORMED]
    assert end.ask(reset_of(1, request=0xFFFF_FFFF)) == [ReconfigResult.BAD_SEQUENCE_NUMBER]


def test_no_list_means_all_streams() -> None:
    end = End()
    assert end.ask(reset_of()) == [ReconfigResult.PERFORMED]
    assert list(end.events) == [StreamsReset(tuple(range(100)), Direction.INCOMING)]


def test_streams_beyond_the_agreed_are_wrong() -> None:
    end = End()
    assert end.ask(reset_of(1, 100)) == [ReconfigResult.WRONG_SSN]
    assert not end.events


@pytest.mark.parametrize("again", [0, 1])
def test_a_reset_before_its_data_is_deferred(again: int) -> None:
    """RFC 6525 5.2.2; the peer asks again under the same number or, as dcSCTP does, the next."""
    end = End()
    assert end.ask(reset_of(1, last_tsn=1)) == [ReconfigResult.IN_PROGRESS]
    end.data(0)
    assert end.ask(reset_of(1, last_tsn=1, request=again)) == [ReconfigResult.IN_PROGRESS]
    end.data(3, stream=2)
    end.data(2, ssn=0)
    assert len(end.events) == 2, "another stream is not held up"
    end.data(1, ssn=1)
    assert [answer.result for answer in end.replies()] == [ReconfigResult.PERFORMED], "told at once"
    assert [type(event) for event in end.events] == [
        MessageReceived,
        MessageReceived,
        MessageReceived,
        StreamsReset,
        MessageReceived,
    ]
    assert end.ask(reset_of(1, last_tsn=1, request=again)) == [ReconfigResult.PERFORMED]
    assert sum(isinstance(event, StreamsReset) for event in end.events) == 1


def test_what_we_do_not_do_is_denied_and_starts_nothing() -> None:
    end = End()
    for number, make in enumerate((IncomingResetRequest, AddIncomingStreams, TsnResetRequest)):
        request: Parameter
        if make is IncomingResetRequest:
            request = IncomingResetRequest(number, (1,))
        elif make is AddIncomingStreams:
            request = AddIncomingStreams(number, 5)
        else:
            request = TsnResetRequest(number)
        assert end.ask(request) == [ReconfigResult.DENIED]
    assert not end.events
    assert end.request() is None
    assert end.reconfig.timer == math.inf


def test_streams_are_added_up_to_the_cap() -> None:
    """Firefox begins with 16 streams and asks for more."""
    end = End()
    assert end.ask(AddOutgoingStreams(0, 10)) == [ReconfigResult.PERFORMED]
    assert end.inbound.stream_count == 110
    assert end.ask(AddOutgoingStreams(0, 10)) == [ReconfigResult.PERFORMED], (
        "an answer again, not streams again"
    )
    assert end.inbound.stream_count == 110
    assert end.ask(AddOutgoingStreams(1, 1)) == [ReconfigResult.DENIED]


def test_answers_are_bounded() -> None:
    """A chunk full of requests gets as many answers as a chunk may carry requests."""
    end = End()
    assert end.ask(*(AddOutgoingStreams(number, 1) for number in range(3))) == [ReconfigResult.PERFORMED] * 2
    assert end.inbound.stream_count == 102, "the third was not read"
    requests = tuple(TsnResetRequest(number) for number in range(2, 62))
    assert end.ask(*requests) == [ReconfigResult.DENIED] * REMEMBERED_ANSWERS
    for _ in range(50):
        end.reconfig.receive(requests[:1], 1.0)
    assert len(end.replies()) == REMEMBERED_ANSWERS

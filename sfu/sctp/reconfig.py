"""Stream reset, the part of RFC 6525 that data channels use (RFC 8831 6.7), and the answers to the rest of
it.

Our requests: one outgoing reset at a time, repeated on a timer of its own until it is answered; the streams
in it take no message from the wish until the answer. A stream joins the next request when nothing waits on
it, so that what was sent before the reset arrives before it.

The peer's requests are answered by sequence number: the next one is carried out, one that was answered gets
the same answer again, any other is "bad sequence number". A reset whose last TSN is not here yet is
*deferred*: "in progress" is the answer until everything before it has arrived. Requests that would have *us*
reset or add streams are denied; nothing a peer sends makes us send a request, so no two sides can keep each
other busy.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from sfu.sctp.errors import Refusal, ResetRefused
from sfu.sctp.events import Direction, Event, StreamResetFailed, StreamsReset
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
from sfu.sctp.serial import TSN_MASK, extend_tsn

MAX_STREAMS_PER_REQUEST = 200
"""Streams in one request: 400 bytes, so that it fits the smallest packet. More wait for the next."""
MAX_REPEATS = 55
"""Repetitions of a request without any answer: about 55 s."""
MAX_IN_PROGRESS = 30
"""Answers "in progress" to one request before it is given up."""
REMEMBERED_ANSWERS = 2
"""Answers kept for repeated requests: one RE-CONFIG carries two requests at most (RFC 6525 3.1)."""

_DONE: Final = frozenset({ReconfigResult.NOTHING_TO_DO, ReconfigResult.PERFORMED})


class Reconfig:
    """Both roles of stream reconfiguration in one association."""

    def __init__(
        self,
        *,
        outbound: Outbound,
        inbound: Inbound,
        local_tsn: int,
        peer_tsn: int,
        max_inbound_streams: int,
        events: deque[Event],
    ) -> None:
        self._outbound = outbound
        self._inbound = inbound
        self._events = events
        self._max_inbound_streams = max_inbound_streams
        self._next_request = local_tsn & TSN_MASK
        self._wanted: list[int] = []
        self._pending: OutgoingResetRequest | None = None
        self._in_progress = self._silent = 0
        self._heard = False
        self._resend = False
        self._peer_request = peer_tsn - 1 & TSN_MASK
        self._answers: dict[int, int] = {}
        self.deferred: OutgoingResetRequest | None = None
        """A reset of the peer's that waits for data."""
        self._replies: list[ReconfigResponse] = []
        self.timer = math.inf
        """When our request is to be repeated; infinite while none is outstanding."""
        self.busy = False
        """Whether :meth:`parameters` may have something to send."""

    # Our requests

    def reset(self, stream_ids: tuple[int, ...]) -> None:
        """Reset the sending half of streams. Raises :class:`ResetRefused`; then none of them is reset."""
        queue = self._outbound.queue
        for stream_id in stream_ids:
            if not 0 <= stream_id < queue.stream_count:
                raise ResetRefused(Refusal.NO_SUCH_STREAM)
            if queue.is_resetting(stream_id):
                raise ResetRefused(Refusal.RESETTING)
        fresh = tuple(dict.fromkeys(stream_ids))
        queue.set_resetting(fresh, resetting=True)
        self._wanted.extend(fresh)
        self.busy = True

    def parameters(self, now: float) -> list[Parameter]:
        """What to send in a RE-CONFIG chunk now; starts the timer if a request is among it."""
        out: list[Parameter] = [*self._replies]
        self._replies.clear()
        if self._pending is None and self._wanted:
            self._pending = self._request()
            self._resend = self._pending is not None
            self._in_progress = self._silent = 0
            self._heard = False
        if self._resend and self._pending is not None:
            self._resend = False
            self.timer = now + self._outbound.rto.value
            out.append(self._pending)
        self.busy = bool(self._wanted) and self._pending is None
        return out

    def _request(self) -> OutgoingResetRequest | None:
        queue = self._outbound.queue
        ready = [stream_id for stream_id in self._wanted if queue.drained(stream_id)][
            :MAX_STREAMS_PER_REQUEST
        ]
        if not ready:
            return None
        self._wanted = [stream_id for stream_id in self._wanted if stream_id not in set(ready)]
        request = OutgoingResetRequest(
            self._next_request, self._peer_request, self._outbound.next_tsn - 1 & TSN_MASK, tuple(ready)
        )
        self._next_request = self._next_request + 1 & TSN_MASK
        return request

    def timer_expired(self) -> bool:
        """Repeat the request. Says ``False`` if the peer was silent :data:`MAX_REPEATS` times: it never
        answers.

        This is counted here and not with the association's other timeouts, since those are forgiven by any
        sign of life. An answer "in progress" is no silence.
        """
        self.timer = math.inf
        self._resend = self.busy = True
        if self._heard:
            self._heard = False
        else:
            self._silent += 1
            self._outbound.rto.back_off()
        return self._silent <= MAX_REPEATS

    def _answered(self, response: ReconfigResponse, now: float) -> None:
        pending = self._pending
        if pending is None or response.response != pending.request:
            return
        if response.result == ReconfigResult.IN_PROGRESS and self._in_progress < MAX_IN_PROGRESS:
            self._in_progress += 1
            self._heard = True
            self.timer = now + self._outbound.rto.value
            return
        self._pending = None
        self._resend = False
        self.timer = math.inf
        queue = self._outbound.queue
        if response.result in _DONE:
            queue.restart_streams(pending.stream_ids)
            self._events.append(StreamsReset(pending.stream_ids, Direction.OUTGOING))
        else:
            queue.set_resetting(pending.stream_ids, resetting=False)
            self._events.append(StreamResetFailed(pending.stream_ids))

    # The peer's

    def receive(self, parameters: tuple[Parameter, ...], now: float) -> None:
        """Process the parameters of a RE-CONFIG chunk. At most :data:`REMEMBERED_ANSWERS` requests are
        read."""
        requests = 0
        for parameter in parameters:
            if isinstance(parameter, ReconfigResponse):
                self._answered(parameter, now)
            elif (
                isinstance(
                    parameter,
                    OutgoingResetRequest
                    | IncomingResetRequest
                    | TsnResetRequest
                    | AddOutgoingStreams
                    | AddIncomingStreams,
                )
                and requests < REMEMBERED_ANSWERS
            ):
                requests += 1
                self._replies.append(ReconfigResponse(parameter.request, self._answer(parameter)))
        del self._replies[:-REMEMBERED_ANSWERS]
        self.busy = bool(self._replies or self._resend or (self._wanted and self._pending is None))

    def data_arrived(self) -> None:
        """The cumulative TSN moved: carry out a deferred reset if all before it is here now."""
        if self.deferred is not None and self._complete(self.deferred):
            deferred, self.deferred = self.deferred, None
            self._perform(deferred)
            self._answers[deferred.request] = ReconfigResult.PERFORMED
            self._replies.append(ReconfigResponse(deferred.request, ReconfigResult.PERFORMED))
            self.busy = True

    def _answer(
        self,
        request: OutgoingResetRequest
        | IncomingResetRequest
        | TsnResetRequest
        | AddOutgoingStreams
        | AddIncomingStreams,
    ) -> int:
        number = request.request
        if number in self._answers:
            return self._answers[number]
        if number != self._peer_request + 1 & TSN_MASK:
            return ReconfigResult.BAD_SEQUENCE_NUMBER
        self._peer_request = number
        result = ReconfigResult.DENIED
        if isinstance(request, OutgoingResetRequest):
            result = self._reset_incoming(request)
        elif isinstance(request, AddOutgoingStreams):
            result = self._add_streams(request)
        self._answers[number] = result
        while len(self._answers) > REMEMBERED_ANSWERS:
            del self._answers[next(iter(self._answers))]
        return result

    def _reset_incoming(self, request: OutgoingResetRequest) -> ReconfigResult:
        if any(stream_id >= self._inbound.stream_count for stream_id in request.stream_ids):
            return ReconfigResult.WRONG_SSN
        if not self._complete(request):
            # One that repeats a deferred request under a new number (as dcSCTP does) takes its place.
            self.deferred = request
            last_tsn = extend_tsn(self._inbound.cumulative, request.last_tsn)
            self._inbound.assembly.defer(request.stream_ids or None, last_tsn)
            return ReconfigResult.IN_PROGRESS
        self.deferred = None
        self._perform(request)
        return ReconfigResult.PERFORMED

    def _complete(self, request: OutgoingResetRequest) -> bool:
        return extend_tsn(self._inbound.cumulative, request.last_tsn) <= self._inbound.cumulative

    def _perform(self, request: OutgoingResetRequest) -> None:
        stream_ids = request.stream_ids or tuple(range(self._inbound.stream_count))
        self._events.append(StreamsReset(stream_ids, Direction.INCOMING))
        self._inbound.assembly.reset(request.stream_ids or None)  # may deliver what came after the reset

    def _add_streams(self, request: AddOutgoingStreams) -> ReconfigResult:
        if self._inbound.stream_count + request.count > self._max_inbound_streams:
            return ReconfigResult.DENIED
        self._inbound.stream_count += request.count
        return ReconfigResult.PERFORMED

"""The chunks and timers that move an association from state to state, and what each state begins and ends.

This is the lower half of :class:`~sfu.sctp.association.Association`, split off by subject: here nothing knows
how a packet is put together or taken apart. Setting up (RFC 9260 5), what keeps it alive (8), and its end
(9).
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Callable

from sfu.sctp.causes import Cause, CauseCode, protocol_violation, stale_cookie
from sfu.sctp.chunks import (
    AbortChunk,
    CookieAckChunk,
    CookieEchoChunk,
    ErrorChunk,
    ForwardTsnChunk,
    HeartbeatAckChunk,
    HeartbeatChunk,
    InitAckChunk,
    InitChunk,
    ReconfigChunk,
    ShutdownAckChunk,
    ShutdownChunk,
    ShutdownCompleteChunk,
    encode_chunk,
)
from sfu.sctp.errors import SctpError
from sfu.sctp.events import (
    AssociationClosed,
    AssociationEstablished,
    CloseReason,
    Event,
    HandshakeTimedOut,
    MessageReceived,
)
from sfu.sctp.handshake import (
    CookieVerdict,
    Handshake,
    Negotiated,
    from_cookie,
    is_stale,
    judge_cookie,
    unknown_parameters,
)
from sfu.sctp.heartbeat import MAX_HEARTBEAT_SIZE, Heartbeat
from sfu.sctp.inbound import Inbound
from sfu.sctp.outbound import Outbound
from sfu.sctp.outbox import Outbox, Retry
from sfu.sctp.packet import HEADER_LENGTH, PacketHeader
from sfu.sctp.reconfig import Reconfig
from sfu.sctp.rto import RTO_MAX, RetransmissionTimeout
from sfu.sctp.send_queue import SendQueue
from sfu.sctp.serial import TSN_MASK
from sfu.sctp.states import (
    CONNECTING,
    RECEIVES_DATA,
    SENDS_DATA,
    TAKES_MESSAGES,
    TAKES_SACKS,
    State,
    Trigger,
    next_state,
)

WINDOW_FACTOR = 2
"""Receive window in largest messages: one being put together, and as much of others."""
MAX_INIT_RETRANSMISSIONS = 8
"""Repetitions of INIT or COOKIE-ECHO (Max.Init.Retransmits): about 20 s."""
MAX_RETRANSMISSIONS = 55
"""Timeouts in a row without an answer (Association.Max.Retrans): about 55 s, so that ICE consent, which has
30, decides first."""
ZERO_WINDOW_LIMIT = 60.0
"""Seconds a peer may keep its receive window closed while answering probes."""
SHUTDOWN_GUARD = 5 * RTO_MAX
"""Seconds after which an unfinished shutdown becomes an abort (T5-shutdown-guard, RFC 9260 9.2)."""

_COOKIE_ACK = encode_chunk(CookieAckChunk())


class Drop(enum.Enum):
    """Why a packet or chunk was dropped without a word; the keys of :attr:`Control.dropped`."""

    MALFORMED = "packet that does not parse"
    CHECKSUM = "wrong CRC32c"
    PORTS = "other port numbers"
    TAG = "wrong verification tag"
    STATE = "chunk that this state does not take"
    HANDSHAKE = "INIT or cookie that cannot be meant"
    REPEATED = "second SACK or FORWARD-TSN in one packet"
    HEARTBEAT = "HEARTBEAT too long to echo, or an answer to none"


class Control:
    """State, timers and limits of one association."""

    def __init__(
        self,
        *,
        ports: tuple[int, int],
        outbound_streams: int,
        inbound_streams: int,
        max_message_size: int,
        mtu: int,
        send_buffer: int,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.max_message_size = max_message_size
        """Bytes of a message, both ways."""
        self.mtu = mtu
        """Bytes of a packet."""
        self.dropped = dict.fromkeys(Drop, 0)
        """What was dropped silently, by reason, in total."""
        self._ports = ports
        self._max_inbound_streams = inbound_streams
        self._handshake = Handshake(
            ports=ports,
            window=WINDOW_FACTOR * max_message_size,
            outbound_streams=outbound_streams,
            inbound_streams=inbound_streams,
            random_bytes=random_bytes,
        )
        self._events: deque[Event] = deque()
        self._outbox = Outbox()
        self._retry = Retry()
        self._heartbeat = Heartbeat(random_bytes)
        self._queue = SendQueue(max(send_buffer, max_message_size), outbound_streams)
        self._stream_reset = False
        self._errors = 0
        self._guard = math.inf
        self._header: PacketHeader | None = None
        offer = self._handshake.offer
        self._attach(offer.agree(offer.init()))
        self._enter(State.CLOSED)

    # Setting up

    def _send_init(self, now: float) -> None:
        packet = self._handshake.init_packet()
        self._retry.start(lambda: self._outbox.put_packet(packet), self._outbound.rto.value, now)

    def _on_init(self, chunk: InitChunk, now: float) -> None:
        """INIT in any state (5.1 B, 5.2.1, 5.2.2)."""
        if self._state is State.SHUTDOWN_ACK_SENT:
            self._outbox.put(ShutdownAckChunk())
        elif not chunk.initiate_tag:
            self.dropped[Drop.HANDSHAKE] += 1
        else:
            up = self._state not in CONNECTING
            self._outbox.put_packet(self._handshake.answer_init(chunk, now, up=up))

    def _on_init_ack(self, chunk: InitAckChunk, now: float) -> None:
        """INIT-ACK in COOKIE-WAIT (5.1 C)."""
        if not chunk.initiate_tag:
            self.dropped[Drop.HANDSHAKE] += 1
            return
        cookie = self._handshake.accept_init_ack(chunk, self.mtu - HEADER_LENGTH)
        self._header = self._handshake.header(chunk.initiate_tag)
        if isinstance(cookie, Cause):
            self._abort(CloseReason.VIOLATION, cookie)
            return
        self._advance(Trigger.INIT_ACK)
        echo = CookieEchoChunk(cookie)
        self._retry.start(lambda: self._outbox.put(echo), self._outbound.rto.value, now)
        unknown = unknown_parameters(chunk)
        if unknown:
            self._outbox.put(ErrorChunk((Cause(CauseCode.UNRECOGNIZED_PARAMETERS, b"".join(unknown)),)))

    def _on_cookie_echo(self, chunk: CookieEchoChunk, tag: int, now: float) -> None:
        """COOKIE-ECHO in any state (5.1 D, 5.2.4)."""
        handshake = self._handshake
        try:
            cookie = handshake.open_cookie_untrusted(chunk, tag)
        except SctpError:
            self.dropped[Drop.HANDSHAKE] += 1
            return
        verdict = judge_cookie(cookie, handshake.offer.tag, handshake.peer_tag)
        up = self._state not in CONNECTING
        if up and verdict is CookieVerdict.SAME:
            self._outbox.put(CookieAckChunk())
        elif verdict is CookieVerdict.STRAY or (up and verdict is CookieVerdict.ADOPT):
            self.dropped[Drop.HANDSHAKE] += 1
        elif is_stale(cookie, now):
            cause = stale_cookie(now - cookie.created)
            self._outbox.put_packet(handshake.packet(cookie.peer_tag, ErrorChunk((cause,))))
        elif self._state is State.SHUTDOWN_ACK_SENT:
            self._outbox.put(ShutdownAckChunk())
            self._outbox.put(ErrorChunk((Cause(CauseCode.COOKIE_WHILE_SHUTTING_DOWN),)))
        else:
            if verdict is CookieVerdict.RESTART:
                self._outbox.control.clear()
                self._queue.clear()
            self._establish(Trigger.COOKIE_ECHO, from_cookie(cookie), now, restarted=up)
            self._outbox.control.appendleft(_COOKIE_ACK)

    def _on_same_cookie(self, chunk: CookieEchoChunk, now: float) -> None:
        self._on_cookie_echo(chunk, self._handshake.offer.tag, now)

    def _on_cookie_ack(self, _chunk: CookieAckChunk, now: float) -> None:
        """COOKIE-ACK in COOKIE-ECHOED (5.1 E)."""
        agreed = self._handshake.agreed
        assert agreed is not None
        self._establish(Trigger.COOKIE_ACK, agreed, now, restarted=False)

    def _establish(self, trigger: Trigger, agreed: Negotiated, now: float, *, restarted: bool) -> None:
        self._outbox.control.clear()  # a COOKIE-ECHO that is not needed any more
        self._retry.stop()
        self._guard = math.inf
        self._errors = 0
        self._handshake.adopt(agreed)
        self._header = self._handshake.header(agreed.peer_tag, zero_checksum=agreed.zero_checksum)
        self._attach(agreed)
        self._advance(trigger)
        self._heartbeat.start(now)
        self._events.append(
            AssociationEstablished(
                outbound_streams=agreed.outbound_streams,
                inbound_streams=agreed.inbound_streams,
                partial_reliability=agreed.partial_reliability,
                stream_reset=agreed.stream_reset,
                zero_checksum=agreed.zero_checksum,
                restarted=restarted,
            )
        )
        self._queue.limit_streams(agreed.outbound_streams)

    def _attach(self, agreed: Negotiated) -> None:
        """Fresh halves for what was agreed."""
        local_port, remote_port = self._ports
        self._expected = PacketHeader(remote_port, local_port, agreed.local_tag, zero_checksum=True)
        self._outbound = Outbound(self._queue, agreed.local_tsn, self.mtu, RetransmissionTimeout())
        self._outbound.peer_window = agreed.peer_window
        self._outbound.partial_reliability = agreed.partial_reliability
        self._inbound = Inbound(
            agreed.peer_tsn,
            agreed.inbound_streams,
            WINDOW_FACTOR * self.max_message_size,
            self.max_message_size,
            self._events,
        )
        self._inbound.adopt(event for event in self._events if isinstance(event, MessageReceived))
        self._stream_reset = agreed.stream_reset
        self._reconfig = Reconfig(
            outbound=self._outbound,
            inbound=self._inbound,
            local_tsn=agreed.local_tsn,
            peer_tsn=agreed.peer_tsn,
            max_inbound_streams=self._max_inbound_streams,
            events=self._events,
        )

    # While it is up

    def _acknowledged(
        self, cumulative_tsn: int, a_rwnd: int, gaps: tuple[tuple[int, int], ...], now: float
    ) -> None:
        """A SACK came."""
        if self._outbound.acknowledge(cumulative_tsn, a_rwnd, gaps, now):
            self._errors = 0
            self._heartbeat.last_answer = now
            if self._state is not State.ESTABLISHED:
                self._check_drained(now)

    def _on_forward_tsn(self, chunk: ForwardTsnChunk, now: float) -> None:
        self._inbound.forward(chunk)
        self._after_data(now)

    def _after_data(self, now: float) -> None:
        """What DATA or FORWARD-TSN may have brought about."""
        inbound = self._inbound
        if inbound.failure is not None:
            overrun = inbound.failure.code == CauseCode.OUT_OF_RESOURCE
            self._abort(CloseReason.OVERRUN if overrun else CloseReason.VIOLATION, inbound.failure)
            return
        if inbound.reports:
            self._outbox.put(ErrorChunk(tuple(inbound.reports)))
            inbound.reports.clear()
            inbound.attention = False
        if self._reconfig.deferred is not None:
            self._reconfig.data_arrived()
        if self._state is State.SHUTDOWN_SENT:
            inbound.sack_now = True
            self._retry.restart(now)
            self._put_shutdown()

    def _on_heartbeat(self, chunk: HeartbeatChunk, _now: float) -> None:
        if len(chunk.info) > MAX_HEARTBEAT_SIZE:
            self.dropped[Drop.HEARTBEAT] += 1
        else:
            self._outbox.put(HeartbeatAckChunk(chunk.info))

    def _on_heartbeat_ack(self, chunk: HeartbeatAckChunk, now: float) -> None:
        rtt = self._heartbeat.acknowledged(chunk, now)
        if rtt is None:
            self.dropped[Drop.HEARTBEAT] += 1
        else:
            self._errors = 0
            self._outbound.rto.measured(rtt)

    def _on_reconfig(self, chunk: ReconfigChunk, now: float) -> None:
        self._errors = 0
        self._reconfig.receive(chunk.parameters, now)

    def _on_error(self, chunk: ErrorChunk, now: float) -> None:
        """ERROR: only a stale cookie asks for anything (5.2.6): another INIT, within the same count of
        attempts."""
        if self._state is State.COOKIE_ECHOED and any(c.code == CauseCode.STALE_COOKIE for c in chunk.causes):
            self._advance(Trigger.STALE_COOKIE)
            self._outbox.control.clear()
            packet = self._handshake.init_packet()
            self._retry.replace(lambda: self._outbox.put_packet(packet), now)

    def _on_abort(self, chunk: AbortChunk) -> None:
        detail = "; ".join(cause.describe() for cause in chunk.causes[:4])
        self._end(Trigger.FAILED, CloseReason.PEER_ABORTED, detail)

    # Time and limits

    def handle_timer(self, now: float) -> None:
        """Do what is due by ``now``. Early and late calls are harmless."""
        if self._inbound.sack_at <= now:
            self._inbound.sack_now = True
            self._inbound.sack_at = math.inf
        if self._retry.deadline <= now:
            self._retry_expired(now)
        if self._outbound.t3 <= now:
            self._t3_expired(now)
        elif self._outbound.repair_at <= now:
            self._outbound.repair(now)
        if self._reconfig.timer <= now and not self._reconfig.timer_expired():
            self._unreachable()
        if self._heartbeat.timer <= now:
            missed, chunk = self._heartbeat.expired(now, self._outbound.rto.value)
            if missed:
                self._outbound.rto.back_off()
                self._count_error()
            if chunk is not None and self._state is not State.ENDED:
                self._outbox.put(chunk)
        if self._guard <= now:
            self._abort(CloseReason.UNREACHABLE, protocol_violation("shutdown not finished in time"))

    def _retry_expired(self, now: float) -> None:
        if self._state in CONNECTING:
            if not self._retry.expired(now, MAX_INIT_RETRANSMISSIONS):
                self._advance(Trigger.T1_EXHAUSTED)
                self._outbox.control.clear()
                self._header = None
                self._handshake.peer_tag = 0
                self._events.append(HandshakeTimedOut())
        elif not self._retry.expired(now, MAX_RETRANSMISSIONS):
            self._unreachable()

    def _t3_expired(self, now: float) -> None:
        outbound = self._outbound
        closed_since = outbound.closed_since
        if closed_since is not None and now - closed_since > ZERO_WINDOW_LIMIT:
            self._abort(CloseReason.STALLED, Cause(CauseCode.OUT_OF_RESOURCE))
            return
        probing = closed_since is not None and outbound.heard
        outbound.t3_expired(now)
        if not probing:
            self._count_error()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors > MAX_RETRANSMISSIONS:
            self._unreachable()

    def _unreachable(self) -> None:
        self._abort(CloseReason.UNREACHABLE, protocol_violation("too many retransmissions"))

    # Ending

    def _check_drained(self, now: float) -> None:
        """When everything is acknowledged, go on with a shutdown (9.2)."""
        if not self._outbound.idle:
            return
        if self._state is State.SHUTDOWN_PENDING:
            self._advance(Trigger.ALL_ACKED)
            self._retry.start(self._put_shutdown, self._outbound.rto.value, now)
        elif self._state is State.SHUTDOWN_RECEIVED:
            self._advance(Trigger.ALL_ACKED)
            self._retry.start(self._put_shutdown_ack, self._outbound.rto.value, now)

    def _put_shutdown(self) -> None:
        self._outbox.put(ShutdownChunk(self._inbound.cumulative & TSN_MASK))

    def _put_shutdown_ack(self) -> None:
        self._outbox.put(ShutdownAckChunk())

    def _on_shutdown(self, chunk: ShutdownChunk, now: float) -> None:
        """SHUTDOWN (9.2): also acknowledges."""
        before = self._state
        self._advance(Trigger.SHUTDOWN)
        if self._guard == math.inf:
            self._guard = now + SHUTDOWN_GUARD
        if self._state is State.SHUTDOWN_ACK_SENT:
            if before is State.SHUTDOWN_SENT:
                self._retry.start(self._put_shutdown_ack, self._outbound.rto.value, now)
            else:
                self._put_shutdown_ack()
            return
        self._outbound.receive_cumulative(chunk.cumulative_tsn, now)
        self._check_drained(now)

    def _on_shutdown_ack(self, _chunk: ShutdownAckChunk, _now: float) -> None:
        packet = self._handshake.packet(self._handshake.peer_tag, ShutdownCompleteChunk())
        self._end(Trigger.SHUTDOWN_ACK, CloseReason.SHUTDOWN, "")
        self._outbox.put_packet(packet)

    def _on_shutdown_complete(self, _chunk: ShutdownCompleteChunk, _now: float) -> None:
        self._end(Trigger.SHUTDOWN_COMPLETE, CloseReason.SHUTDOWN, "")

    def _abort(self, reason: CloseReason, cause: Cause) -> None:
        tag = self._handshake.peer_tag
        self._end(Trigger.FAILED, reason, cause.describe())
        if tag:
            self._outbox.put_packet(self._handshake.packet(tag, AbortChunk((cause,))))

    def _end(self, trigger: Trigger, reason: CloseReason, detail: str) -> None:
        """Give everything up but the events not fetched yet."""
        self._advance(trigger)
        self._outbox.control.clear()
        self._outbox.singles.clear()
        self._retry.stop()
        self._heartbeat.stop()
        self._guard = math.inf
        self._header = None
        self._queue.clear()
        offer = self._handshake.offer
        self._attach(offer.agree(offer.init()))
        self._events.append(AssociationClosed(reason, detail))

    def _advance(self, trigger: Trigger) -> None:
        self._enter(next_state(self._state, trigger))

    def _enter(self, state: State) -> None:
        self._state = state
        self._receives = state in RECEIVES_DATA
        self._sends = state in SENDS_DATA
        self._takes_sacks = state in TAKES_SACKS
        self._takes_messages = state in TAKES_MESSAGES

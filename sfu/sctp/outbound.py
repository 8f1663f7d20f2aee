"""The sending half: TSNs, what is outstanding, SACKs, retransmission, FORWARD-TSN (RFC 9260 6 and 7, RFC 3758
3.5).

What an outstanding chunk goes through is in :mod:`~sfu.sctp.sent`. Outstanding TSNs are contiguous,
``cumulative + 1 .. next - 1``, so a dict by TSN is a list with a cheap front. As fragments may be overtaken,
a later TSN need not have been sent later: wherever a loss is concluded from what has arrived, the order of
sending counts.
"""

from __future__ import annotations

import math
from collections import deque

from sfu.sctp.chunks import (
    DATA_HEADER,
    DATA_HEADER_LENGTH,
    FLAG_BEGIN,
    FLAG_END,
    FLAG_IMMEDIATE,
    FLAG_UNORDERED,
    FLAG_WHOLE,
    ForwardTsnChunk,
    encode_chunk,
)
from sfu.sctp.congestion import MAX_WINDOW, MIN_PACKETS, Congestion
from sfu.sctp.loss import LossDetection
from sfu.sctp.packet import HEADER_LENGTH
from sfu.sctp.rto import RetransmissionTimeout
from sfu.sctp.send_queue import Message, SendQueue
from sfu.sctp.sent import ABANDONED, ACKED, IN_FLIGHT, LOST, RESERVED, SentChunk
from sfu.sctp.serial import TSN_MASK
from sfu.sctp.tlv import PADDING

MAX_OUTSTANDING_CHUNKS = 2048
"""DATA chunks kept for retransmission. Also what a SACK can make us look at."""
MAX_OUTSTANDING_BYTES = 3 * MAX_WINDOW // 2
"""Bytes kept for retransmission, whether in flight or only selectively acknowledged; and with those, whatever
is left of the begun message."""
MAX_FORWARD_STREAMS = 200
"""Streams named in one FORWARD-TSN, if a packet holds as many; it advances no further than these cover."""
FRAGMENT_SLACK = 32
"""Bytes that a fragment leaves free in its packet, for a SACK with a few gaps."""
EXPRESS_PACKETS = 2
"""Packets of the congestion window and of the receive window that are kept for express messages; bulk may
exceed its part by a fragment."""
MISS_THRESHOLD = 3
"""Misses that make a chunk lost (RFC 9260 7.2.4)."""
SPARSE_INTERVAL = 0.2
"""Seconds; DATA sent after so long a silence asks for an immediate SACK (I bit, RFC 7053). Nothing would have
followed within the peer's SACK delay, so it costs no packet, and the round-trip time of sparse traffic
(inputs) is measured without that delay."""


class Outbound:
    """Everything about DATA that leaves."""

    def __init__(self, queue: SendQueue, initial_tsn: int, mtu: int, rto: RetransmissionTimeout) -> None:
        self.queue = queue
        self.rto = rto
        self.congestion = Congestion(mtu)
        self.loss = LossDetection(rto)
        self._thin = MIN_PACKETS * mtu
        self.max_payload = (mtu - HEADER_LENGTH - DATA_HEADER_LENGTH) & ~3
        """User bytes in the largest DATA chunk."""
        self._fragment = self.max_payload - FRAGMENT_SLACK
        queue.max_whole = self.max_payload
        self._max_forward_streams = min(MAX_FORWARD_STREAMS, (mtu - HEADER_LENGTH - 8) // 4)
        self.next_tsn = initial_tsn
        """Lowest extended TSN that is not assigned yet."""
        self.cumulative = initial_tsn - 1
        """Highest extended TSN up to which the peer has everything."""
        self.flight = 0
        """Bytes in flight."""
        self.kept = 0
        """Bytes held for retransmission."""
        self.peer_window = 0
        """The peer's advertised receive window, last heard."""
        self.partial_reliability = False
        """Whether the peer takes FORWARD-TSN; nothing with a TSN is given up otherwise."""
        self.t3 = math.inf
        """When T3-rtx expires; infinite while it is stopped."""
        self.repair_at = math.inf
        """When :meth:`repair` has something to do: a chunk becomes overdue, or silence calls for a probe."""
        self._overdue_at = math.inf
        self._probed = False
        self.closed_since: float | None = None
        """Since when the peer's window has had no room for a packet, with something to send and no
        progress."""
        self.heard = False
        """Whether a SACK came since T3-rtx last expired."""
        self.retransmitted = 0
        """Chunks sent again, in total."""
        self.probes = 0
        """Chunks sent again only to hear something, in total."""
        self.abandoned = 0
        """Messages given up after something of them was sent, in total."""
        self._outstanding: dict[int, SentChunk] = {}
        self._sent = 0
        self._unsent: Message | None = None
        self._reserve_for_express = 0
        self.lost: deque[int] = deque()
        """TSNs to be sent again, ascending; some may have been acknowledged since."""
        self._highest_acked = self.cumulative
        self._last_gaps: tuple[tuple[int, int], ...] = ()
        self._recovery: int | None = None
        self._urgent = False
        self._timed: int | None = None
        self._last_sent = -math.inf
        self._forward = self.cumulative
        self.forward_due = False
        """Whether a FORWARD-TSN is to be sent."""
        self._forward_sent = -math.inf

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is outstanding."""
        return not self._outstanding and not self.queue.waiting

    @property
    def outstanding_count(self) -> int:
        """Chunks not yet passed by the cumulative TSN."""
        return len(self._outstanding)

    # Sending

    def fill(self, body: list[bytes], room: int, now: float) -> int:
        """Append what may be sent now and fits in ``room`` bytes of one packet; return the room left."""
        before = len(body)
        if self.forward_due:
            room = self._fill_forward(body, room, now)
        if self.lost:
            room, blocked = self._fill_lost(body, room, now)
            if blocked:
                self._arm(now)
                return room
        if self.queue.waiting:
            room = self._fill_new(body, room, now)
        if self.forward_due and len(body) == before:
            room = self._fill_forward(body, room, now)  # what has just been given up
        if len(body) > before:
            self._arm(now)
        return room

    def _fill_forward(self, body: list[bytes], room: int, now: float) -> int:
        encoded = encode_chunk(self._forward_chunk())
        if len(encoded) > room:
            return room
        self.forward_due = False
        self._forward_sent = now
        if self.t3 == math.inf:
            self.t3 = now + self.rto.value
        body.append(encoded)
        return room - len(encoded)

    def _fill_lost(self, body: list[bytes], room: int, now: float) -> tuple[int, bool]:
        """Send lost chunks again; also says whether some are left, so that nothing new may go before them."""
        urgent = self._urgent
        lost = self.lost
        while lost:
            tsn = lost[0]
            chunk = self._outstanding.get(tsn)
            if chunk is None or chunk.condition != LOST:
                lost.popleft()
                continue
            if self._worthless(chunk, now):
                self._abandon(chunk.message)
                self._advance_forward(now)
                continue
            if chunk.size > room or not (urgent or self._may_send(chunk.size)):
                return room, True
            lost.popleft()
            self._urgent = False
            chunk.condition = IN_FLIGHT
            chunk.misses = 0
            chunk.sent_count += 1
            chunk.sent_at = now
            self._sent += 1
            chunk.order = self._sent
            if tsn == self._timed:
                self._timed = None
            self.flight += chunk.size
            self.retransmitted += 1
            self._last_sent = now
            if tsn == self.cumulative + 1 or self.t3 == math.inf:
                self.t3 = now + self.rto.value
            encoded = chunk.encoded
            if not lost:
                encoded = encoded[:1] + bytes((encoded[1] | FLAG_IMMEDIATE,)) + encoded[2:]
            body.append(encoded)
            room -= chunk.size
        return room, False

    def _may_send(self, size: int) -> bool:
        """Both windows; one chunk is always allowed to probe a closed receive window (6.1, A)."""
        flight = self.flight
        return not flight or (flight < self.congestion.window and flight + size <= self.peer_window)

    def _fill_new(self, body: list[bytes], room: int, now: float) -> int:
        """Send what waits. Once there was an express message, a part of either window is kept for them, so
        that an input need not wait for the acknowledgement of bulk."""
        queue = self.queue
        window = self.congestion.window
        bulk_window = max(min(window, self.peer_window) - self._reserve_for_express, self.max_payload)
        while queue.waiting:
            flight = self.flight
            if flight >= window:
                break
            message = queue.head(now)
            if message is None:
                break
            if message.express:
                self._reserve_for_express = EXPRESS_PACKETS * self.max_payload
            elif flight >= bulk_window:
                break
            offset = message.offset
            if offset and message.expires_at <= now and self.partial_reliability:
                self._abandon(message)
                self._advance_forward(now)
                continue
            size = left = len(message.data) - offset
            if offset or size > self.max_payload:
                size = min(size, self._fragment)
            if size > room - DATA_HEADER_LENGTH or (flight and flight + size > self.peer_window):
                break
            flags = FLAG_WHOLE
            if offset or size != left:
                if not offset and not self._reserve(message):
                    break
                flags = (0 if offset else FLAG_BEGIN) | (FLAG_END if size == left else 0)
                tsn = message.first_tsn + offset // self._fragment
                if size == left:
                    self._unsent = None
            elif len(self._outstanding) >= MAX_OUTSTANDING_CHUNKS or self.kept >= MAX_OUTSTANDING_BYTES:
                break
            else:
                tsn = message.first_tsn = message.last_tsn = self.next_tsn
                self.next_tsn += 1
            payload = queue.consume(message, size)
            if message.unordered:
                flags |= FLAG_UNORDERED
            wire_size = DATA_HEADER_LENGTH + size
            after = flight + wire_size
            if after >= bulk_window or (now - self._last_sent >= SPARSE_INTERVAL and not queue.waiting):
                flags |= FLAG_IMMEDIATE
            encoded = (
                DATA_HEADER.pack(
                    0, flags, wire_size, tsn & TSN_MASK, message.stream.stream_id, message.ssn, message.ppid
                )
                + payload
            )
            if size & 3:
                encoded += PADDING[size & 3]
            self._sent += 1
            chunk = SentChunk(message, encoded, now, self._sent)
            self._outstanding[tsn] = chunk
            self.flight = flight + chunk.size
            self.kept += chunk.size
            self._last_sent = now
            if self._timed is None:
                self._timed = tsn
            if self.t3 == math.inf:
                self.t3 = now + self.rto.value
            body.append(encoded)
            room -= chunk.size
        return room

    def _reserve(self, message: Message) -> bool:
        """TSNs for all fragments of a message that is to begin; says whether there was room for them.

        A message of more fragments than :data:`MAX_OUTSTANDING_CHUNKS` waits until nothing is outstanding.
        What has TSNs is not held up by these caps: everything later waits for it.
        """
        outstanding = self._outstanding
        count = -(-len(message.data) // self._fragment)
        if outstanding and (
            len(outstanding) + count > MAX_OUTSTANDING_CHUNKS or self.kept >= MAX_OUTSTANDING_BYTES
        ):
            return False
        message.first_tsn = self.next_tsn
        self.next_tsn += count
        message.last_tsn = self.next_tsn - 1
        for tsn in range(message.first_tsn, self.next_tsn):
            outstanding[tsn] = chunk = SentChunk(message, b"", 0.0, 0)
            chunk.condition = RESERVED
        self._unsent = message
        return True

    @property
    def first_unsent(self) -> int:
        """The lowest extended TSN that was not sent yet: the cumulative TSN cannot get there."""
        unsent = self._unsent
        return self.next_tsn if unsent is None else unsent.first_tsn + unsent.offset // self._fragment

    # Acknowledgement

    def acknowledge(
        self, cumulative_tsn: int, a_rwnd: int, gaps: tuple[tuple[int, int], ...], now: float
    ) -> bool:
        """Process what a SACK says (6.2.1); tells whether it acknowledged anything new.

        One that acknowledges what was never sent, or less than an earlier one, is ignored. Work is bounded by
        the outstanding chunks, whatever the gap ack blocks say: they are read in ascending order, and what
        overlaps, runs backwards or lies outside is cut off.
        """
        before = self.cumulative
        ahead = cumulative_tsn - before & TSN_MASK
        cumulative = before + ahead
        if cumulative >= (self.next_tsn if self._unsent is None else self.first_unsent):
            return False  # never sent or, as it is counted from an older number, long acknowledged
        self.heard = True
        outstanding = self._outstanding
        flight_before = self.flight
        size = 0
        if ahead:
            self.cumulative = cumulative
            kept = 0
            for tsn in range(before + 1, cumulative + 1):
                chunk = outstanding.pop(tsn)
                kept += chunk.size
                if chunk.condition == IN_FLIGHT:
                    self.flight -= chunk.size
                    size += chunk.size
                elif chunk.condition == LOST:
                    size += chunk.size
                if tsn == self._timed:
                    self.rto.measured(now - chunk.sent_at)
                    self._timed = None
                if chunk.order > self.loss.newest and chunk.condition != ABANDONED:
                    self.loss.delivered(chunk.order, chunk.sent_at, chunk.sent_count, now)
            self.kept -= kept
        if (gaps or self._highest_acked > cumulative) and (ahead or gaps != self._last_gaps):
            size += self._receive_gaps(gaps, ahead > 0, now)
        self._last_gaps = gaps
        self.peer_window = a_rwnd
        if a_rwnd >= self.max_payload or self.idle:
            self.closed_since = None
        elif ahead or self.closed_since is None:
            self.closed_since = now
        if ahead:
            rto = self.rto
            rto.value = rto.base
            if self._recovery is None:
                if size:
                    # What bulk may not use counts as used: the window would never grow.
                    self.congestion.acknowledged(size, flight_before + self._reserve_for_express)
            elif cumulative >= self._recovery:
                self._recovery = None
            self.t3 = now + rto.value if outstanding else math.inf
        if self._forward <= cumulative:
            self._forward = cumulative
            self.forward_due = False
        if ahead or size:
            self._probed = False
            if outstanding:
                self._find_overdue(now)
                self._arm(now)
            else:
                self.repair_at = self._overdue_at = math.inf
        if self.abandoned:
            self._advance_forward(now)
        return ahead > 0 or size > 0

    def receive_cumulative(self, tsn: int, now: float) -> bool:
        """Process the cumulative TSN of a SHUTDOWN (RFC 9260 9.2)."""
        return self.acknowledge(tsn, self.peer_window, (), now)

    def _receive_gaps(self, gaps: tuple[tuple[int, int], ...], moved: bool, now: float) -> int:
        outstanding = self._outstanding
        position = self.cumulative + 1
        size = 0
        newest = 0
        highest = self.cumulative
        for first, last in gaps:
            start = max(self.cumulative + first, position)
            stop = min(self.cumulative + last, self.next_tsn - 1)
            if stop < start:
                continue
            self._take_back(position, start)
            for tsn in range(start, stop + 1):
                chunk = outstanding[tsn]
                if chunk.condition == IN_FLIGHT:
                    self.flight -= chunk.size
                elif chunk.condition != LOST:
                    continue
                chunk.condition = ACKED
                size += chunk.size
                newest = tsn
                if tsn == self._timed:
                    self.rto.measured(now - chunk.sent_at)
                    self._timed = None
                self.loss.delivered(chunk.order, chunk.sent_at, chunk.sent_count, now)
            highest = stop
            position = stop + 1
        self._take_back(position, self._highest_acked + 1)
        self._highest_acked = highest
        if newest:
            self._count_misses(highest if moved and self._recovery is not None else newest, now)
        return size

    def _take_back(self, start: int, stop: int) -> None:
        """Chunks in ``[start, stop)`` are not acknowledged, or no longer."""
        for tsn in range(start, stop):
            chunk = self._outstanding[tsn]
            if chunk.condition == ACKED:
                chunk.condition = IN_FLIGHT
                self.flight += chunk.size

    def _count_misses(self, below: int, now: float) -> None:
        """Fast retransmit (7.2.4): what is missing below the newest acknowledged TSN was missed once more."""
        found: list[int] = []
        hit = False
        for tsn in range(self.cumulative + 1, below):
            chunk = self._outstanding[tsn]
            if chunk.condition != IN_FLIGHT or chunk.order > self.loss.newest:
                continue
            chunk.misses += 1
            if chunk.misses < MISS_THRESHOLD or chunk.fast:
                continue
            hit = True
            chunk.fast = True
            if self._worthless(chunk, now):
                self._abandon(chunk.message)
            else:
                found.append(tsn)
        if hit:
            self._to_be_repaired(found)
            self._enter_recovery()

    def _find_overdue(self, now: float) -> None:
        """Chunks that are lost by time (:mod:`~sfu.sctp.loss`), and when the next may be.

        What would be given up at its first loss is left to the misses: there is no hurry, and a FORWARD-TSN
        would make a chunk that is only late count as a duplicate.
        """
        self._overdue_at = math.inf
        outstanding, loss = self._outstanding, self.loss
        thin = self.flight < self._thin
        if not (thin or self._recovery is not None):
            return
        first = outstanding[self.cumulative + 1]
        if self._highest_acked <= self.cumulative and first.order > loss.newest:
            return  # the usual case: everything arrives in order
        found: list[int] = []
        again = False
        for tsn, chunk in outstanding.items():
            if chunk.condition != IN_FLIGHT or not (thin or chunk.fast):
                continue
            if not chunk.fast and self._worthless(chunk, now):
                continue
            deadline = loss.deadline(chunk.order, chunk.sent_at)
            if deadline <= now:
                again = again or chunk.fast
                chunk.fast = True
                found.append(tsn)
            elif deadline < self._overdue_at:
                self._overdue_at = deadline
        if not found:
            return
        loss.found()
        self._to_be_repaired(found)  # and given up, where that is due, before they are sent
        if again:
            self._recovery = None
        self._enter_recovery()

    def _to_be_repaired(self, found: list[int]) -> None:
        """Chunks in flight are lost."""
        for tsn in found:
            chunk = self._outstanding[tsn]
            chunk.condition = LOST
            self.flight -= chunk.size
        if found:
            self.lost = deque(sorted({*self.lost, *found}))

    def _enter_recovery(self) -> None:
        if self._recovery is None:
            self._recovery = self.first_unsent - 1
            self.congestion.lost()
            self._urgent = True

    # Time

    def _arm(self, now: float) -> None:
        """Set :attr:`repair_at` anew: something was sent or acknowledged."""
        at = math.inf if self._probed or not self.flight else now + self.loss.probe_delay()
        self.repair_at = min(at, self._overdue_at)

    def repair(self, now: float) -> None:
        """:attr:`repair_at` has come: send again what is overdue by now, else probe: the newest chunk once
        more, unless it has been sent as often as it may be."""
        if self._overdue_at <= now:
            self._find_overdue(now)
        elif not self.lost and not self._probed:
            self._probed = True
            for tsn in reversed(self._outstanding):
                chunk = self._outstanding[tsn]
                if chunk.condition == IN_FLIGHT:
                    if not self._worthless(chunk, now):
                        self.probes += 1
                        self._urgent = True
                        self._to_be_repaired([tsn])
                    break
        self._arm(now)

    def t3_expired(self, now: float) -> None:
        """T3-rtx (6.3.3): everything in flight is lost or, if nobody wants it any more, abandoned."""
        self.rto.back_off()
        self.congestion.timed_out()
        self.t3 = math.inf
        self.heard = False
        self._recovery = None
        self._timed = None
        self._probed = True
        self.repair_at = self._overdue_at = math.inf
        found = [tsn for tsn, chunk in self._outstanding.items() if chunk.condition == IN_FLIGHT]
        if not found and not self.lost and self._unsent is None:
            # The peer keeps it all in gap ack blocks and the first is not among them: take it at its word
            # no longer.
            found = [tsn for tsn, chunk in self._outstanding.items() if chunk.condition == ACKED]
        for tsn in found:
            chunk = self._outstanding[tsn]
            if chunk.condition == ABANDONED:
                continue
            if chunk.condition == IN_FLIGHT:
                self.flight -= chunk.size
            chunk.condition = LOST
            if self._worthless(chunk, now):
                self._abandon(chunk.message)
        self.lost = deque(tsn for tsn, chunk in self._outstanding.items() if chunk.condition == LOST)
        self._advance_forward(now)
        self.forward_due = self._forward > self.cumulative
        if self._outstanding and not self.lost and not self.forward_due:
            self.t3 = now + self.rto.value

    # Partial reliability

    def _worthless(self, chunk: SentChunk, now: float) -> bool:
        """Whether a lost chunk's message has reached its limit (RFC 3758 3.5, RFC 7496)."""
        message = chunk.message
        return self.partial_reliability and (
            chunk.sent_count > message.max_retransmits or message.expires_at <= now
        )

    def _abandon(self, message: Message) -> None:
        """Give up a message, all of it (RFC 3758 3.5, A3), with the fragments that were not sent yet."""
        self.abandoned += 1
        self.queue.abandon(message)
        if message is self._unsent:
            self._unsent = None
        for tsn in range(message.first_tsn, message.last_tsn + 1):
            chunk = self._outstanding.get(tsn)
            if chunk is None or chunk.condition == ABANDONED:
                continue
            if chunk.condition == IN_FLIGHT:
                self.flight -= chunk.size
            chunk.condition = ABANDONED
            self.kept -= chunk.size
            chunk.size = 0
            chunk.encoded = b""

    def _advance_forward(self, now: float) -> None:
        """Advanced.Peer.Ack.Point (RFC 3758 3.5, C1 to C4): a FORWARD-TSN goes when it moves, and again each
        round trip until it is acknowledged."""
        point = self._forward
        chunk = self._outstanding.get(point + 1)
        while chunk is not None and chunk.condition == ABANDONED:
            point += 1
            chunk = self._outstanding.get(point + 1)
        if point > self._forward:
            self._forward = point
            self.forward_due = True
        elif point > self.cumulative and now - self._forward_sent >= (self.rto.srtt or self.rto.value):
            self.forward_due = True

    def _forward_chunk(self) -> ForwardTsnChunk:
        streams: dict[int, int] = {}
        point = self.cumulative
        for tsn in range(self.cumulative + 1, self._forward + 1):
            message = self._outstanding[tsn].message
            if not message.unordered:
                stream_id = message.stream.stream_id
                if stream_id not in streams and len(streams) == self._max_forward_streams:
                    break
                streams[stream_id] = message.ssn
            point = tsn
        return ForwardTsnChunk(point & TSN_MASK, tuple(streams.items()))

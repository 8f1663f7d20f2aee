"""The receiving half: which TSNs are here, the receive window, when to acknowledge (RFC 9260 6.2 and 6.7).

Numbers beyond the first gap are kept as ranges, ascending and apart, as they go into gap ack blocks. What
does not fit a cap is treated as lost on the way: not acknowledged, so the peer sends it again.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

from sfu.sctp.causes import Cause, CauseCode, invalid_stream, no_user_data, protocol_violation
from sfu.sctp.chunks import FLAG_IMMEDIATE, DataChunk, ForwardTsnChunk
from sfu.sctp.events import Event, MessageReceived
from sfu.sctp.reassembly import CHUNK_OVERHEAD, Reassembly
from sfu.sctp.serial import TSN_MASK, extend_tsn

SACK_DELAY = 0.04
"""Seconds an acknowledgement may wait for a second packet (RFC 9260 6.2: at most 0.5; usual: 0.2). Short,
because it is part of the round-trip time that the peer measures, and so of how long it waits to repeat a lost
input."""
PACKETS_PER_SACK = 2
"""Packets with DATA that are acknowledged at once (6.2)."""
MAX_RANGES = 128
"""Ranges of TSNs beyond the first gap; also the gap ack blocks of a SACK."""
MAX_DUPLICATES = 32
"""Duplicate TSNs reported in a SACK; more are received and not reported."""
MAX_TSN_AHEAD = 0xFFFF
"""How far beyond the cumulative TSN a chunk is accepted: gap ack blocks cannot say more (3.3.4)."""
MAX_INVALID_STREAM_REPORTS = 4
"""Causes "invalid stream identifier" that wait to be reported."""
MIN_SACK_ROOM = 16
"""Bytes of a SACK without gaps and duplicates."""
MIN_ADVERTISED = 1500
"""Bytes; less room than one packet needs is advertised as none (silly window syndrome, RFC 9260 6.2)."""
OVERRUN_FACTOR = 2
"""Multiples of the receive window that may be held before the association is aborted. A chunk that closes the
first gap is taken beyond the window, since nothing could move otherwise; only a peer that sends what can
never be delivered gets this far."""

_SACK: Final = struct.Struct("!BBHIIHH")


class Inbound:
    """Everything about DATA that arrives."""

    def __init__(
        self, initial_tsn: int, stream_count: int, window: int, max_message_size: int, events: deque[Event]
    ) -> None:
        self.cumulative = initial_tsn - 1
        """Highest extended TSN up to which everything is here (or was skipped)."""
        self.stream_count = stream_count
        """Streams the peer may send on: ids below this."""
        self.window = window
        """Receive buffer, bytes, as :class:`Reassembly` measures."""
        self.advertised = window
        """Window in the last SACK."""
        self.sack_at = math.inf
        """When a delayed SACK is due."""
        self.sack_now = False
        """Whether a SACK is to go with the next packet."""
        self.attention = False
        """Whether :attr:`failure` or :attr:`reports` has something."""
        self.failure: Cause | None = None
        """Why the association must be aborted."""
        self.reports: list[Cause] = []
        """Causes to be sent in an ERROR chunk."""
        self.dropped = 0
        """Chunks treated as lost because of a cap, in total."""
        self.duplicates_received = 0
        """Chunks received again, in total."""
        self.assembly = Reassembly(max_message_size, events.append)
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._duplicates: list[int] = []
        self._packets = 0
        self._released = 0

    @property
    def used(self) -> int:
        """Bytes of the window in use: held fragments and messages, and events not fetched yet."""
        assembly = self.assembly
        return assembly.held + assembly.delivered - self._released

    def receive(self, chunk: DataChunk) -> None:
        """Take a DATA chunk (6.2)."""
        tsn = extend_tsn(self.cumulative, chunk[0])
        ahead = tsn - self.cumulative
        size = len(chunk[5])
        if not size:
            self._fail(no_user_data(chunk.tsn))
            return
        if ahead <= 0 or (self._starts and self._has(tsn)):
            self.duplicates_received += 1
            self.sack_now = True
            if len(self._duplicates) < MAX_DUPLICATES:
                self._duplicates.append(chunk.tsn)
            return
        assembly = self.assembly
        used = assembly.held + assembly.delivered - self._released
        if used + size + CHUNK_OVERHEAD > self.window and not self._beyond_window(ahead, size):
            return
        if ahead == 1:
            self.cumulative = tsn
            if self._starts:
                self._close_gap()
                self.sack_now = True
        elif not self._record(tsn, ahead):
            self.dropped += 1
            self.sack_now = True
            return
        if chunk[4] & FLAG_IMMEDIATE:
            self.sack_now = True
        if chunk[1] >= self.stream_count:
            if len(self.reports) < MAX_INVALID_STREAM_REPORTS:
                self.reports.append(invalid_stream(chunk.stream_id))
                self.attention = True
            return
        assembly.accept(tsn, chunk)
        if assembly.violation:
            self._fail(protocol_violation(assembly.violation))

    def packet_done(self, now: float) -> None:
        """A packet with DATA has been read: decide when to acknowledge (6.2)."""
        self._packets += 1
        if self._packets >= PACKETS_PER_SACK or self._starts:
            self.sack_now = True
        elif self.sack_at == math.inf:
            self.sack_at = now + SACK_DELAY

    def forward(self, chunk: ForwardTsnChunk) -> None:
        """Take a FORWARD-TSN (RFC 3758 3.6). One that brings nothing new is acknowledged too: the last SACK
        may be lost."""
        self.sack_now = True
        tsn = extend_tsn(self.cumulative, chunk.cumulative_tsn)
        if tsn <= self.cumulative:
            return
        self.cumulative = tsn
        while self._starts and self._ends[0] <= tsn:
            del self._starts[0], self._ends[0]
        if self._starts and self._starts[0] <= tsn + 1:
            self.cumulative = self._ends[0]
            del self._starts[0], self._ends[0]
        streams = tuple(pair for pair in chunk.streams if pair[0] < self.stream_count)
        self.assembly.skip(tsn, streams)

    def sack(self, room: int) -> bytes:
        """The SACK chunk for what is here now (3.3.4), encoded; resets what makes one due.

        At most ``room`` bytes long, which is at least :data:`MIN_SACK_ROOM`; gaps and duplicates that do not
        fit are left out.
        """
        self.sack_now = False
        self.sack_at = math.inf
        self._packets = 0
        free = self.window - self.used
        self.advertised = free if free >= MIN_ADVERTISED else 0
        starts = self._starts
        duplicates = self._duplicates
        if not starts and not duplicates:
            return _SACK.pack(3, 0, 16, self.cumulative & TSN_MASK, self.advertised, 0, 0)
        cumulative = self.cumulative
        items = (room - 16) // 4
        numbers = [
            offset
            for start, end in islice(zip(starts, self._ends, strict=True), items)
            for offset in (start - cumulative, end - cumulative)
        ]
        gaps = len(numbers) // 2
        del duplicates[items - gaps :]
        self._duplicates = []
        return _SACK.pack(
            3,
            0,
            16 + 2 * len(numbers) + 4 * len(duplicates),
            cumulative & TSN_MASK,
            self.advertised,
            gaps,
            len(duplicates),
        ) + struct.pack(f"!{len(numbers)}H{len(duplicates)}I", *numbers, *duplicates)

    def release(self, event: MessageReceived) -> None:
        """A message was fetched: its room is free. A peer that last heard of a small window is told (6.2)."""
        self._released += len(event.data) + CHUNK_OVERHEAD
        if self.advertised * 4 < self.window and (self.window - self.used) * 2 >= self.window:
            self.sack_now = True

    def adopt(self, events: Iterable[MessageReceived]) -> None:
        """Count messages of an earlier association that were not fetched yet."""
        self.assembly.delivered += sum(len(event.data) + CHUNK_OVERHEAD for event in events)

    def _beyond_window(self, ahead: int, size: int) -> bool:
        """Whether to take a chunk although the window is full."""
        assembly = self.assembly
        if ahead == 1 and assembly.delivered == self._released:
            if assembly.held + size + CHUNK_OVERHEAD <= OVERRUN_FACTOR * self.window:
                return True
            self._fail(Cause(CauseCode.OUT_OF_RESOURCE))
        self.dropped += 1
        self.sack_now = True
        return False

    def _fail(self, cause: Cause) -> None:
        self.failure = cause
        self.attention = True

    def _has(self, tsn: int) -> bool:
        index = bisect_right(self._starts, tsn) - 1
        return index >= 0 and tsn <= self._ends[index]

    def _record(self, tsn: int, ahead: int) -> bool:
        """Note a TSN beyond the first gap; says whether there was room."""
        if ahead > MAX_TSN_AHEAD:
            return False
        starts, ends = self._starts, self._ends
        index = bisect_right(starts, tsn)
        joins_left = index > 0 and ends[index - 1] == tsn - 1
        joins_right = index < len(starts) and starts[index] == tsn + 1
        if joins_left and joins_right:
            ends[index - 1] = ends[index]
            del starts[index], ends[index]
        elif joins_left:
            ends[index - 1] = tsn
        elif joins_right:
            starts[index] = tsn
        elif len(starts) >= MAX_RANGES:
            return False
        else:
            starts.insert(index, tsn)
            ends.insert(index, tsn)
        return True

    def _close_gap(self) -> None:
        """The first range may now be next to the cumulative TSN."""
        if self._starts[0] == self.cumulative + 1:
            self.cumulative = self._ends[0]
            del self._starts[0], self._ends[0]

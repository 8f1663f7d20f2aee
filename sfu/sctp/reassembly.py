"""From fragments to messages, and messages into their order (RFC 9260 6.5, 6.6, 6.9; RFC 3758 3.6).

The fragments of a message have consecutive TSNs, ordered or not, so fragments are joined into *runs* of
neighbouring TSNs, found by their first and last number: no fragment is looked at twice, in whatever order
they come. A run that starts with a B fragment and ends with an E fragment is a message.

Only a peer that breaks the protocol can make neighbours that do not belong together (another stream, a B
within a message); the newcomer, or the run that can never be finished, is thrown away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sfu.sctp.chunks import FLAG_BEGIN, FLAG_END, FLAG_UNORDERED, FLAG_WHOLE, DataChunk
from sfu.sctp.events import MessageReceived
from sfu.sctp.serial import ssn_is_newer

CHUNK_OVERHEAD = 64
"""Bytes charged to the receive window for each chunk held, beyond its data: tiny fragments are not free."""


MAX_RUNS = 300
"""Runs of fragments held. An honest peer's are two at most beside each of the gaps that
:data:`~sfu.sctp.inbound.MAX_RANGES` allows: the rest of one message, the beginning of another."""
_TOO_LARGE = "message larger than the agreed maximum"


@dataclass(slots=True)
class _Run:
    """Fragments with consecutive TSNs of what may become one message."""

    first: int
    last: int
    parts: deque[bytes]
    size: int
    """User bytes."""
    cost: int
    """What it is charged."""
    begun: bool
    ended: bool
    stream_id: int
    ssn: int
    unordered: bool
    ppid: int

    def belongs(self, other: _Run) -> bool:
        """Whether two neighbours can be parts of one message."""
        return (
            self.stream_id == other.stream_id
            and self.unordered == other.unordered
            and (self.unordered or self.ssn == other.ssn)
        )


@dataclass(frozen=True, slots=True)
class _Whole:
    """A complete message that must wait."""

    first: int
    cost: int
    ssn: int
    unordered: bool
    event: MessageReceived


class _IncomingStream:
    """Ordered delivery on one stream; made with its first ordered message."""

    __slots__ = ("ssn", "waiting")

    def __init__(self) -> None:
        self.ssn = 0
        """Sequence number of the next message to deliver."""
        self.waiting: dict[int, _Whole] = {}


class Reassembly:
    """Holds what is not deliverable yet. How much that may be is decided by the caller, from :attr:`held`."""

    def __init__(self, max_message_size: int, deliver: Callable[[MessageReceived], None]) -> None:
        self.held = 0
        """What is held, in bytes with :data:`CHUNK_OVERHEAD` per chunk."""
        self.delivered = 0
        """What was delivered, in bytes with :data:`CHUNK_OVERHEAD` per message, in total."""
        self.discarded = 0
        """Fragments and messages thrown away, in total."""
        self.violation = ""
        """What the peer did that the association cannot go on with."""
        self._max_message_size = max_message_size
        self._deliver = deliver
        self._by_first: dict[int, _Run] = {}
        self._by_last: dict[int, _Run] = {}
        self._streams: dict[int, _IncomingStream] = {}
        self._deferred: frozenset[int] | None = None
        self._deferred_after = 0
        self._parked: list[_Whole] = []

    @property
    def stream_count(self) -> int:
        """Streams that have state."""
        return len(self._streams)

    def accept(self, tsn: int, chunk: DataChunk) -> None:
        """Take a chunk that was not received before. ``tsn`` is its extended TSN."""
        flags = chunk.flags
        unordered = bool(flags & FLAG_UNORDERED)
        cost = len(chunk.data) + CHUNK_OVERHEAD
        if flags & FLAG_WHOLE == FLAG_WHOLE:
            if len(chunk.data) > self._max_message_size:
                self.violation = _TOO_LARGE
                return
            event = MessageReceived(chunk.stream_id, chunk.ppid, chunk.data)
            if self._deferred is None:
                stream = None if unordered else self._streams.get(chunk.stream_id)
                if unordered or (stream is not None and stream.ssn == chunk.ssn and not stream.waiting):
                    if stream is not None:
                        stream.ssn = chunk.ssn + 1 & 0xFFFF
                    self.delivered += cost
                    self._deliver(event)
                    return
            self.held += cost
            self._complete(_Whole(tsn, cost, chunk.ssn, unordered, event))
            return
        self.held += cost
        self._join(
            _Run(
                first=tsn,
                last=tsn,
                parts=deque((chunk.data,)),
                size=len(chunk.data),
                cost=cost,
                begun=bool(flags & FLAG_BEGIN),
                ended=bool(flags & FLAG_END),
                stream_id=chunk.stream_id,
                ssn=chunk.ssn,
                unordered=unordered,
                ppid=chunk.ppid,
            )
        )

    def skip(self, cumulative: int, streams: tuple[tuple[int, int], ...]) -> None:
        """FORWARD-TSN (RFC 3758 3.6): nothing up to ``cumulative`` will come any more.

        A message that began at or before it and is here without a hole at least that far is kept: what was
        skipped lies before it. Should it be the torn-off beginning of a message that the sender gave up, the
        beginning of the next message throws it away.
        """
        for run in [run for run in self._by_first.values() if run.first <= cumulative]:
            if not (run.begun and run.last >= cumulative):
                self._forget(run)
        for stream_id, ssn in dict(streams).items():
            stream = self._streams.get(stream_id)
            if stream is None:
                stream = self._streams[stream_id] = _IncomingStream()
            if ssn != stream.ssn and not ssn_is_newer(ssn, stream.ssn):
                continue
            for waiting in sorted(
                (n for n in stream.waiting if n == ssn or ssn_is_newer(ssn, n)),
                key=lambda n: n - stream.ssn & 0xFFFF,
            ):
                self._hand_out(stream.waiting.pop(waiting))
            stream.ssn = ssn + 1 & 0xFFFF
            self._drain(stream)

    def defer(self, stream_ids: tuple[int, ...] | None, after: int) -> None:
        """Streams are to be reset once everything up to ``after`` is here: park what comes on them with a
        later TSN (RFC 6525 5.2.2, E2). ``None`` means all streams."""
        self._deferred = frozenset(stream_ids if stream_ids is not None else range(0x1_0000))
        self._deferred_after = after

    def reset(self, stream_ids: tuple[int, ...] | None) -> None:
        """Streams start again at sequence number 0; what waits on them for its turn never gets it."""
        for stream_id in tuple(self._streams) if stream_ids is None else stream_ids:
            stream = self._streams.pop(stream_id, None)
            if stream is not None:
                for whole in stream.waiting.values():
                    self.held -= whole.cost
                    self.discarded += 1
        self._deferred = None
        parked, self._parked = self._parked, []
        for whole in parked:
            self._complete(whole)

    def _join(self, run: _Run) -> None:
        left = self._by_last.get(run.first - 1)
        if left is not None and not left.ended:
            if run.begun:
                self._forget(left)
            elif left.belongs(run):
                self._unlink(left)
                run = _merge(left, run)
        right = self._by_first.get(run.last + 1)
        if right is not None and not right.begun and not run.ended and run.belongs(right):
            self._unlink(right)
            run = _merge(run, right)
        if run.size > self._max_message_size:
            self.violation = _TOO_LARGE
        if not (run.begun and run.ended):
            self._by_first[run.first] = run
            self._by_last[run.last] = run
            if len(self._by_first) > MAX_RUNS:
                self.violation = "fragments that belong to nothing"
            return
        event = MessageReceived(run.stream_id, run.ppid, b"".join(run.parts))
        self._complete(_Whole(run.first, run.cost, run.ssn, run.unordered, event))

    def _complete(self, whole: _Whole) -> None:
        stream_id = whole.event.stream_id
        if self._deferred is not None and stream_id in self._deferred and whole.first > self._deferred_after:
            self._parked.append(whole)
            return
        if whole.unordered:
            self._hand_out(whole)
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = _IncomingStream()
        if whole.ssn == stream.ssn:
            stream.ssn = stream.ssn + 1 & 0xFFFF
            self._hand_out(whole)
            if stream.waiting:
                self._drain(stream)
        elif ssn_is_newer(whole.ssn, stream.ssn) and whole.ssn not in stream.waiting:
            stream.waiting[whole.ssn] = whole
        else:
            self.held -= whole.cost
            self.discarded += 1

    def _drain(self, stream: _IncomingStream) -> None:
        while (whole := stream.waiting.pop(stream.ssn, None)) is not None:
            stream.ssn = stream.ssn + 1 & 0xFFFF
            self._hand_out(whole)

    def _hand_out(self, whole: _Whole) -> None:
        self.held -= whole.cost
        self.delivered += len(whole.event.data) + CHUNK_OVERHEAD
        self._deliver(whole.event)

    def _unlink(self, run: _Run) -> None:
        del self._by_first[run.first]
        del self._by_last[run.last]

    def _forget(self, run: _Run) -> None:
        self._unlink(run)
        self.held -= run.cost
        self.discarded += len(run.parts)


def _merge(left: _Run, right: _Run) -> _Run:
    """One run of two neighbours. The shorter is moved into the longer."""
    if len(left.parts) >= len(right.parts):
        left.parts.extend(right.parts)
        parts = left.parts
    else:
        right.parts.extendleft(reversed(left.parts))
        parts = right.parts
    return _Run(
        first=left.first,
        last=right.last,
        parts=parts,
        size=left.size + right.size,
        cost=left.cost + right.cost,
        begun=left.begun,
        ended=right.ended,
        stream_id=left.stream_id,
        ssn=left.ssn,
        unordered=left.unordered,
        ppid=left.ppid,
    )

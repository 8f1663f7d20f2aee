"""Messages that wait to be sent, and whose turn it is.

Scheduling. Two rings of streams, served round-robin by message: *express* (unordered messages with a
reliability limit: game input) before everything else. A message that is cut into fragments is *begun* until
the last of them is out, and one message at most is. The fragments need consecutive TSNs (RFC 9260 6.9) but
nothing says that they must leave one after the other: all their TSNs are reserved when it begins, and
messages that are not cut overtake it with later ones. On its own stream nothing does, since it would only
wait at the other end; other streams take turns with it, message for fragment, and express needs no turn.

Nothing is held back in the hope of more (no Nagle). A message whose lifetime ends while it waits is discarded
without a trace: it has no TSN and no sequence number yet.

A slow receiver. What waits is bounded, and the bounds are a policy by reliability. Of messages with a
reliability limit a stream keeps the newest: a new one pushes out the oldest that wait, because a new input is
worth more than an old one, and so whoever reads slowly gets the present late but never the distant past.
Without a limit nothing may be left out, so a message beyond the bound is refused, and it is for the caller to
close the channel. The bounds are of the stream, so that no channel pays for another.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import chain
from typing import Final

from sfu.sctp.errors import Refusal, SendRefused

DEFAULT_SEND_BUFFER = 1024 * 1024
"""Bytes of reliable messages that may wait on one stream, unless the largest message is larger."""
SEND_BUFFERS = 4
"""Multiples of the send buffer that may wait on all streams of an association; one more is kept free for
messages with a reliability limit, so that bulk on other streams cannot shut an input out."""
MAX_UNRELIABLE_BYTES = 512 * 1024
"""Bytes of messages with a reliability limit that wait on one stream: two of the largest that browsers send,
so that inputs behind such a one do not cost it its place. The newest may be larger."""
MAX_UNRELIABLE_MESSAGES = 64
"""Messages with a reliability limit that wait on one stream: about a second of inputs."""
MAX_QUEUED_MESSAGES = 8192
"""Messages that may wait in one association, and once more as many with a reliability limit: bounds what a
buffer full of one-byte messages costs."""
UNLIMITED: Final = 1 << 32
"""Retransmissions of a reliable message: more than there can be."""


class Message:
    """One user message on its way out."""

    __slots__ = (
        "data", "expires_at", "express", "first_tsn", "last_tsn", "limited", "max_retransmits", "offset",
        "ppid", "ssn", "stream", "unordered",
    )  # fmt: skip

    def __init__(
        self,
        stream: OutgoingStream,
        ppid: int,
        data: bytes,
        unordered: bool,
        expires_at: float,
        max_retransmits: int,
    ) -> None:
        self.stream = stream
        self.ppid = ppid
        self.data = data
        self.unordered = unordered
        self.expires_at = expires_at
        """Clock reading after which it is worthless; infinite for none."""
        self.max_retransmits = max_retransmits
        self.limited = expires_at != math.inf or max_retransmits != UNLIMITED
        """Whether it has a reliability limit."""
        self.express = unordered and self.limited
        self.offset = 0
        """Bytes that have become DATA chunks."""
        self.ssn = 0
        """Stream sequence number, given with the first fragment; 0 if unordered."""
        self.first_tsn = 0
        self.last_tsn = 0
        """Extended TSNs of the fragments so far; of use once ``offset`` is not 0."""


class OutgoingStream:
    """State of one outgoing stream; made when it is first used."""

    __slots__ = (
        "buffered", "express", "limited_bytes", "limited_count", "normal", "resetting", "ssn", "stream_id"
    )  # fmt: skip

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id
        self.ssn = 0
        """Next stream sequence number."""
        self.buffered = 0
        """Bytes that wait."""
        self.limited_bytes = 0
        """Of those, bytes of messages with a reliability limit of which nothing was sent yet."""
        self.limited_count = 0
        """How many such messages."""
        self.normal: deque[Message] = deque()
        self.express: deque[Message] = deque()
        self.resetting = False
        """Between the wish to reset and the peer's answer; takes no messages."""


class SendQueue:
    """All waiting messages of an association."""

    def __init__(self, capacity: int, stream_count: int) -> None:
        self.capacity = capacity
        """Bytes of reliable messages that may wait on one stream."""
        self.stream_count = stream_count
        """Streams that may be sent on: ids below this. One :class:`OutgoingStream` each at most."""
        self.buffered = 0
        """Bytes that wait, over all streams. Bytes that were sent and not acknowledged do not."""
        self.waiting = 0
        """Messages that wait, the begun one included."""
        self.discarded = 0
        """Messages that expired before anything of them was sent, in total."""
        self.superseded = 0
        """Messages of which nothing was sent, dropped for newer ones of their stream, in total."""
        self.max_whole = 0
        """Bytes of the largest message that is not cut; set by whoever cuts."""
        self._streams: dict[int, OutgoingStream] = {}
        self._express: deque[OutgoingStream] = deque()
        self._normal: deque[OutgoingStream] = deque()
        self._begun: Message | None = None
        self._begun_waited = False

    def push(
        self,
        stream_id: int,
        ppid: int,
        data: bytes,
        now: float,
        unordered: bool,
        expires_at: float,
        max_retransmits: int,
    ) -> int:
        """Add a message; says how many older ones of its stream were dropped for it.

        Raises :class:`SendRefused`.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            if not 0 <= stream_id < self.stream_count:
                raise SendRefused(Refusal.NO_SUCH_STREAM)
            stream = self._streams[stream_id] = OutgoingStream(stream_id)
        if stream.resetting:
            raise SendRefused(Refusal.RESETTING)
        size = len(data)
        message = Message(stream, ppid, data, unordered, expires_at, max_retransmits)
        dropped = self._supersede(message) if message.limited and stream.limited_count else 0
        if not self._has_room(stream, message):
            self._discard_expired(now)
            if not self._has_room(stream, message):
                raise SendRefused(Refusal.BUFFER_FULL)
        if message.express:
            if not stream.express:
                self._express.append(stream)
            stream.express.append(message)
        else:
            if not stream.normal:
                self._normal.append(stream)
            stream.normal.append(message)
        if message.limited:
            stream.limited_bytes += size
            stream.limited_count += 1
        stream.buffered += size
        self.buffered += size
        self.waiting += 1
        return dropped

    def _has_room(self, stream: OutgoingStream, message: Message) -> bool:
        size = len(message.data)
        if message.limited:
            return (
                self.waiting < 2 * MAX_QUEUED_MESSAGES
                and self.buffered + size <= (SEND_BUFFERS + 1) * self.capacity
            )
        return (
            self.waiting < MAX_QUEUED_MESSAGES
            and self.buffered + size <= SEND_BUFFERS * self.capacity
            and stream.buffered - stream.limited_bytes + size <= self.capacity
        )

    def _supersede(self, message: Message) -> int:
        """Drop the oldest messages with a limit, of which nothing was sent, until ``message`` fits."""
        stream = message.stream
        size = len(message.data)
        dropped = 0
        while stream.limited_count and (
            stream.limited_bytes + size > MAX_UNRELIABLE_BYTES
            or stream.limited_count >= MAX_UNRELIABLE_MESSAGES
        ):
            self._remove(next(m for m in chain(stream.express, stream.normal) if m.limited))
            dropped += 1
        self.superseded += dropped
        return dropped

    def head(self, now: float) -> Message | None:
        """The message to send from next; discards expired ones."""
        begun = self._begun
        message: Message | None
        if begun is None:
            if self._express:
                message = self._express[0].express[0]
                if message.expires_at > now:  # the hot path
                    return message
            message = self._first(self._express, now)
            return self._first(self._normal, now) if message is None else message
        message = self._first(self._express, now, beside=begun)
        if message is None and not self._begun_waited:
            message = self._first(self._normal, now, beside=begun)
        return begun if message is None else message

    def _first(
        self, ring: deque[OutgoingStream], now: float, beside: Message | None = None
    ) -> Message | None:
        """The oldest message of the first stream in a ring; ``beside`` a begun one, of the first that may
        overtake it."""
        express = ring is self._express
        while ring:
            for stream in ring:
                message = (stream.express if express else stream.normal)[0]
                if message.expires_at <= now:
                    break
                if beside is None or (len(message.data) <= self.max_whole and stream is not beside.stream):
                    return message
            else:
                return None
            self._expire(message)
        return None

    def consume(self, message: Message, size: int) -> bytes:
        """Take the next ``size`` bytes of :meth:`head`; gives the sequence number with the first."""
        stream = message.stream
        offset = message.offset
        if not offset:
            self._unlink(message)
            if not message.unordered:
                message.ssn = stream.ssn
                stream.ssn = stream.ssn + 1 & 0xFFFF
        message.offset = end = offset + size
        stream.buffered -= size
        self.buffered -= size
        data = message.data
        self._begun_waited = not offset and not message.express
        if end == len(data):
            if message is self._begun:
                self._begun = None
            self.waiting -= 1
            message.data = b""
            return data[offset:] if offset else data
        self._begun = message
        return data[offset:end]

    def abandon(self, message: Message) -> bool:
        """Forget the rest of a message; says whether there was one (that is, whether it was the begun
        one)."""
        if message is not self._begun:
            return False
        rest = len(message.data) - message.offset
        message.stream.buffered -= rest
        self.buffered -= rest
        self.waiting -= 1
        self._begun = None
        message.data = b""
        return True

    def buffered_on(self, stream_id: int) -> int:
        """Bytes that wait on one stream."""
        stream = self._streams.get(stream_id)
        return stream.buffered if stream is not None else 0

    def limit_streams(self, stream_count: int) -> None:
        """The peer accepts ``stream_count`` streams: discard what waits on others (RFC 9260 5.1.1)."""
        if stream_count >= self.stream_count:
            return
        self.stream_count = stream_count
        for stream_id in [stream_id for stream_id in self._streams if stream_id >= stream_count]:
            stream = self._streams.pop(stream_id)
            for message in (*stream.express, *stream.normal):
                self._expire(message)

    def set_resetting(self, stream_ids: tuple[int, ...], resetting: bool) -> None:
        """Close streams to new messages, or open them again."""
        for stream_id in stream_ids:
            stream = self._streams.get(stream_id)
            if stream is None:
                stream = self._streams[stream_id] = OutgoingStream(stream_id)
            stream.resetting = resetting

    def is_resetting(self, stream_id: int) -> bool:
        """Whether a stream is closed to new messages."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.resetting

    def drained(self, stream_id: int) -> bool:
        """Whether nothing waits on a stream."""
        return self.buffered_on(stream_id) == 0

    def restart_streams(self, stream_ids: tuple[int, ...]) -> None:
        """The reset was carried out: sequence numbers begin at 0 again, and the state is given up."""
        for stream_id in stream_ids:
            stream = self._streams.get(stream_id)
            if stream is not None and not stream.buffered:
                del self._streams[stream_id]

    def clear(self) -> None:
        """Discard all messages and all state of streams."""
        self._streams.clear()
        self._express.clear()
        self._normal.clear()
        self._begun = None
        self.buffered = self.waiting = 0

    def _unlink(self, message: Message) -> None:
        """Take a message that has its turn out of its stream; the stream goes to the end of its ring."""
        stream = message.stream
        queue, ring = (stream.express, self._express) if message.express else (stream.normal, self._normal)
        queue.popleft()
        if message.limited:
            stream.limited_bytes -= len(message.data)
            stream.limited_count -= 1
        if ring[0] is stream:
            ring.popleft()
        else:
            ring.remove(stream)
        if queue:
            ring.append(stream)

    def _remove(self, message: Message) -> None:
        """Drop a message that has not begun."""
        stream = message.stream
        queue, ring = (stream.express, self._express) if message.express else (stream.normal, self._normal)
        queue.remove(message)
        if not queue:
            ring.remove(stream)
        if message.limited:
            stream.limited_bytes -= len(message.data)
            stream.limited_count -= 1
        stream.buffered -= len(message.data)
        self.buffered -= len(message.data)
        self.waiting -= 1

    def _expire(self, message: Message) -> None:
        self._remove(message)
        self.discarded += 1

    def _discard_expired(self, now: float) -> None:
        """Make room. Looks at the oldest message of each queue only: one channel's lifetimes end in order."""
        for stream in (*self._express, *self._normal):
            for queue in (stream.express, stream.normal):
                while queue and queue[0].expires_at <= now:
                    self._expire(queue[0])

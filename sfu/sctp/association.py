"""One SCTP association over one DTLS connection (RFC 9260, RFC 8261, RFC 8831): the sans-I/O machine.

Give it datagrams and the time; after every call fetch events, send what :meth:`Association.datagrams_to_send`
returns, and set one timer to :meth:`Association.get_timer`. This module is the face, and packets: taken
apart, given to whoever knows their chunks, put together. The rest is elsewhere: what moves the state in
:mod:`~sfu.sctp.control` by the tables of :mod:`~sfu.sctp.states`, INIT and cookies in
:mod:`~sfu.sctp.handshake`, the two directions of DATA in :mod:`~sfu.sctp.outbound` and
:mod:`~sfu.sctp.inbound`, stream reset in :mod:`~sfu.sctp.reconfig`.

There is one path and no address (RFC 8261 5), and packets "out of the blue" (RFC 9260 8.4) come from the one
peer that DTLS authenticated. So 8.4 comes down to: before the association, only INIT and COOKIE-ECHO are
answered; after its end, anything but ABORT and SHUTDOWN-COMPLETE gets an ABORT that reflects the tag.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from typing import Any, Final

from sfu.sctp.causes import Cause, CauseCode, user_abort
from sfu.sctp.chunks import (
    AbortChunk,
    Chunk,
    CookieAckChunk,
    CookieEchoChunk,
    DataChunk,
    ErrorChunk,
    ForwardTsnChunk,
    HeartbeatAckChunk,
    HeartbeatChunk,
    InitAckChunk,
    InitChunk,
    ReconfigChunk,
    SackChunk,
    ShutdownAckChunk,
    ShutdownChunk,
    ShutdownCompleteChunk,
    UnknownChunk,
)
from sfu.sctp.control import SHUTDOWN_GUARD, Control, Drop
from sfu.sctp.errors import Refusal, ResetRefused, SctpError, SendRefused
from sfu.sctp.events import (
    CloseReason,
    Event,
    MessageReceived,
)
from sfu.sctp.handshake import (
    MAX_REPORTED_LENGTH,
)
from sfu.sctp.inbound import MIN_SACK_ROOM, Inbound
from sfu.sctp.outbound import Outbound
from sfu.sctp.packet import (
    BARE_SACK_FIELDS,
    BARE_SACK_HEADER,
    BARE_SACK_SIZE,
    HEADER_LENGTH,
    MIN_PACKET_SIZE,
    parse_chunks_untrusted,
    parse_header_untrusted,
    tag_of,
)
from sfu.sctp.send_queue import DEFAULT_SEND_BUFFER, UNLIMITED
from sfu.sctp.states import (
    ACCEPTED,
    CONNECTING,
    State,
    Trigger,
)

DEFAULT_MTU = 1144
"""Bytes of an SCTP packet. A datagram has 1,200; a DTLS 1.2 record adds 37 with AES-GCM (header 13, nonce 8,
tag 16), 29 with ChaCha20, and 53 with AES-CBC and SHA-1 (header 13, IV 16, MAC 20, padding 4 for this size).
1,144 fits with all of them, and is a multiple of four so that a full packet needs no padding."""
MIN_MTU = 512
"""Every control chunk of ours fits a packet of this size."""
DEFAULT_MAX_MESSAGE_SIZE = 262_144
MAX_DATAGRAMS_PER_CALL = 16
"""Packets from one :meth:`Association.datagrams_to_send`; if there may be more, the timer is due at once."""


class Association(Control):
    """See the module's text. ``now`` is in seconds on a monotonic clock."""

    def __init__(
        self,
        *,
        local_port: int = 5000,
        remote_port: int = 5000,
        outbound_streams: int = 1024,
        inbound_streams: int = 1024,
        max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE,
        mtu: int = DEFAULT_MTU,
        send_buffer: int = DEFAULT_SEND_BUFFER,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Make an association that answers INITs; :meth:`start` makes it send one.

        Streams: 1 to 65,535 each way. ``mtu`` (see :data:`DEFAULT_MTU`), ``max_message_size`` and
        ``send_buffer`` in bytes; the send buffer, one for each stream, holds at least one message of the
        largest size. Raises :class:`ValueError`.
        """
        if not (0 < outbound_streams <= 0xFFFF and 0 < inbound_streams <= 0xFFFF):
            raise ValueError("streams: 1 to 65,535")
        if mtu < MIN_MTU or mtu & 3 or max_message_size < 1:
            raise ValueError(f"mtu: a multiple of four, at least {MIN_MTU}; max_message_size: at least 1")
        super().__init__(
            ports=(local_port, remote_port),
            outbound_streams=outbound_streams,
            inbound_streams=inbound_streams,
            max_message_size=max_message_size,
            mtu=mtu,
            send_buffer=send_buffer,
            random_bytes=random_bytes,
        )
        self._room = mtu - HEADER_LENGTH
        self._more_at = math.inf

    # The face

    @property
    def state(self) -> State:
        """Where the association stands."""
        return self._state

    @property
    def buffered_amount(self) -> int:
        """Bytes of messages that wait to be sent for the first time, over all streams."""
        return self._queue.buffered

    def buffered_amount_of(self, stream_id: int) -> int:
        """Bytes of messages that wait to be sent for the first time on one stream."""
        return self._queue.buffered_on(stream_id)

    @property
    def outbound(self) -> Outbound:
        """The sending half, for statistics."""
        return self._outbound

    @property
    def inbound(self) -> Inbound:
        """The receiving half, for statistics."""
        return self._inbound

    def start(self, now: float) -> None:
        """Send an INIT, unless the association is past that. Both sides may (RFC 9260 5.2.1)."""
        if self._state is State.CLOSED:
            self._advance(Trigger.START)
            self._send_init(now)

    def send(
        self,
        stream_id: int,
        ppid: int,
        data: bytes,
        now: float,
        *,
        ordered: bool = True,
        max_retransmits: int | None = None,
        max_lifetime: float | None = None,
    ) -> int:
        """Queue a message; before the association is up, too.

        ``max_retransmits``: times a fragment is sent again before the message is given up, 0 or more.
        ``max_lifetime``: seconds from ``now`` after which it is given up. With neither it is reliable.
        Returns how many older messages of the stream were dropped for it, which only a limited one does
        (:mod:`~sfu.sctp.send_queue`). Raises :class:`SendRefused`, whose reasons are in :class:`Refusal`.
        """
        if not self._takes_messages:
            raise SendRefused(Refusal.CLOSED)
        if not data:
            raise SendRefused(Refusal.EMPTY)
        if len(data) > self.max_message_size:
            raise SendRefused(Refusal.TOO_LARGE)
        return self._queue.push(
            stream_id,
            ppid,
            data,
            now,
            not ordered,
            math.inf if max_lifetime is None else now + max_lifetime,
            UNLIMITED if max_retransmits is None else max_retransmits,
        )

    def reset_streams(self, stream_ids: Iterable[int], now: float) -> None:
        """Reset the sending half of streams (RFC 6525): what waits on them is sent first, nothing new is
        taken.

        :class:`StreamsReset` or :class:`StreamResetFailed` says how it ended. Raises :class:`ResetRefused`,
        also when the association is not up or the peer does not know the extension; then nothing is reset.
        """
        del now  # part of the common face; the timer starts when the request leaves
        if self._state is not State.ESTABLISHED:
            raise ResetRefused(Refusal.CLOSED)
        if not self._stream_reset:
            raise ResetRefused(Refusal.UNSUPPORTED)
        self._reconfig.reset(tuple(stream_ids))

    def shutdown(self, now: float) -> None:
        """End in order: what is queued is sent and acknowledged first (RFC 9260 9.2). Again: no effect."""
        if self._state in CONNECTING:
            self._end(Trigger.SHUTDOWN_REQUESTED, CloseReason.SHUTDOWN, "shut down before it was up")
        elif self._state is State.ESTABLISHED:
            self._advance(Trigger.SHUTDOWN_REQUESTED)
            self._guard = now + SHUTDOWN_GUARD
            self._check_drained(now)

    def abort(self, now: float, reason: str = "") -> None:
        """End at once and tell the peer why (RFC 9260 9.1). No effect if it has ended."""
        del now  # part of the common face
        if self._state is not State.ENDED:
            self._abort(CloseReason.ABORTED, user_abort(reason))

    def next_event(self) -> Event | None:
        """The next event, oldest first. Fetching a message gives its room in the receive window back."""
        if not self._events:
            return None
        event = self._events.popleft()
        if type(event) is MessageReceived:
            self._inbound.release(event)
        return event

    def get_timer(self) -> float | None:
        """When to call :meth:`handle_timer` next, and then :meth:`datagrams_to_send`."""
        due = min(
            self._outbound.t3,
            self._outbound.repair_at,
            self._inbound.sack_at,
            self._heartbeat.timer,
            self._retry.deadline,
            self._reconfig.timer,
            self._guard,
            self._more_at,
        )
        return None if due == math.inf else due

    # Packets

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """SCTP packets of at most ``mtu`` bytes to send now, in order; each goes into one DTLS record."""
        outbox = self._outbox
        out = outbox.take_packets() if outbox.singles else []
        self._more_at = math.inf
        header = self._header
        if header is None:
            return out
        inbound, outbound, reconfig, queue = self._inbound, self._outbound, self._reconfig, self._queue
        while len(out) < MAX_DATAGRAMS_PER_CALL:
            body: list[bytes] = []
            room = self._room
            if reconfig.busy and self._sends:
                parameters = reconfig.parameters(now)
                if parameters:
                    outbox.put(ReconfigChunk(tuple(parameters)))
            if outbox.control:
                room = outbox.fill(body, room)
            if inbound.sack_now and room >= MIN_SACK_ROOM:
                body.append(inbound.sack(room))
                room -= len(body[-1])
            if self._sends and (queue.waiting or outbound.lost or outbound.forward_due):
                before = len(body)
                room = outbound.fill(body, room, now)
                if inbound.sack_at != math.inf and len(body) > before and room >= MIN_SACK_ROOM:
                    body.insert(before, inbound.sack(room))
            if not body:
                return out
            out.append(header.packet(body[0] if len(body) == 1 else b"".join(body)))
        self._more_at = now
        return out

    def receive_datagram_untrusted(self, data: bytes, now: float) -> None:
        """Take one SCTP packet, as it was in one DTLS record.

        Raises :class:`SctpError` for a packet that is malformed anywhere, which then has no effect at all. A
        packet with a wrong checksum, port or tag is dropped and counted in :attr:`dropped`.
        """
        if data[:8] != self._expected.prefix or self._state is State.ENDED:
            self._receive_foreign(data, now)
            return
        if len(data) < MIN_PACKET_SIZE:
            self.dropped[Drop.MALFORMED] += 1
            raise SctpError("packet too short")
        if not self._expected.checksum_matches(data):
            self.dropped[Drop.CHECKSUM] += 1
            return
        if data[12:16] == BARE_SACK_HEADER and len(data) == BARE_SACK_SIZE and self._takes_sacks:
            # What a viewer's packets are, nearly all of them: one SACK without gaps.
            cumulative_tsn, a_rwnd, items = BARE_SACK_FIELDS.unpack_from(data, 16)
            if not items:
                self._acknowledged(cumulative_tsn, a_rwnd, (), now)
                return
        try:
            chunks = parse_chunks_untrusted(data)
        except SctpError:
            self.dropped[Drop.MALFORMED] += 1
            raise
        self._process(chunks, now)

    def _parse(self, data: bytes) -> list[Chunk]:
        try:
            return parse_chunks_untrusted(data)
        except SctpError:
            self.dropped[Drop.MALFORMED] += 1
            raise

    def _process(self, chunks: list[Chunk], now: float) -> None:
        """Act upon the chunks of a packet with our tag, in order."""
        inbound = self._inbound
        has_data = has_sack = has_forward = False
        for chunk in chunks:
            kind = type(chunk)
            if kind is DataChunk and self._receives:
                has_data = True
                inbound.receive(chunk)  # type: ignore[arg-type]
            elif (kind is SackChunk and has_sack) or (kind is ForwardTsnChunk and has_forward):
                # Either may cost as much as all that is outstanding or held, so there is no second one.
                self.dropped[Drop.REPEATED] += 1
            elif kind is SackChunk and self._takes_sacks:
                has_sack = True
                if chunk[3]:  # type: ignore[index]
                    self._outbound.loss.duplicates_reported(now)
                self._acknowledged(chunk[0], chunk[1], chunk[2], now)  # type: ignore[index]
            else:
                has_forward = has_forward or kind is ForwardTsnChunk
                self._receive_control(chunk, kind, len(chunks), now)
                if self._state is State.ENDED:
                    return
                inbound = self._inbound  # a COOKIE-ECHO makes a new one
        if has_data:
            inbound.packet_done(now)
            if inbound.attention or self._reconfig.deferred is not None or not self._sends:
                self._after_data(now)

    def _receive_control(self, chunk: Chunk, kind: type, count: int, now: float) -> None:
        handler = _HANDLERS.get(kind)
        if handler is not None:
            if self._state in ACCEPTED[kind] and (kind not in _ALONE or count == 1):
                handler(self, chunk, now)
            elif kind not in _LATE:
                self.dropped[Drop.STATE] += 1
        elif isinstance(chunk, AbortChunk):
            if chunk.tag_reflected:
                self.dropped[Drop.TAG] += 1
            else:
                self._on_abort(chunk)
        elif isinstance(chunk, UnknownChunk):
            if chunk.reported and self._state in ACCEPTED[ErrorChunk]:
                report = bytes((chunk.type, chunk.wire_flags, 0, 0)) + chunk.value[:MAX_REPORTED_LENGTH]
                self._outbox.put(ErrorChunk((Cause(CauseCode.UNRECOGNIZED_CHUNK, report),)))
        elif isinstance(chunk, InitChunk):
            self.dropped[Drop.TAG] += 1  # an INIT has tag 0
        else:
            self.dropped[Drop.STATE] += 1

    def _receive_foreign(self, data: bytes, now: float) -> None:
        """A packet without our tag: INIT, COOKIE-ECHO, or an ABORT or SHUTDOWN-COMPLETE with its tag
        reflected."""
        try:
            header = parse_header_untrusted(data, zero_checksum=True)
        except SctpError:
            self.dropped[Drop.MALFORMED] += 1
            raise
        if data[:4] != self._expected.prefix[:4]:
            self.dropped[Drop.PORTS] += 1
            return
        if not header.checksum_matches(data):
            self.dropped[Drop.CHECKSUM] += 1
            return
        chunks, tag = self._parse(data), tag_of(data)
        first = chunks[0]
        if self._state is State.ENDED:
            self._answer_ended(first, tag)
        elif isinstance(first, InitChunk) and not tag and len(chunks) == 1:
            self._on_init(first, now)
        elif isinstance(first, CookieEchoChunk):
            self._on_cookie_echo(first, tag, now)
            if tag == self._handshake.offer.tag and self._state is State.ESTABLISHED and len(chunks) > 1:
                self._process(chunks[1:], now)
        elif isinstance(first, AbortChunk) and first.tag_reflected and tag == self._handshake.peer_tag != 0:
            self._on_abort(first)
        elif (
            isinstance(first, ShutdownCompleteChunk)
            and first.tag_reflected
            and tag == self._handshake.peer_tag
            and self._state is State.SHUTDOWN_ACK_SENT
        ):
            self._on_shutdown_complete(first, now)
        else:
            self.dropped[Drop.TAG] += 1

    def _answer_ended(self, first: Chunk, tag: int) -> None:
        """RFC 9260 8.4, for what comes after the end."""
        handshake = self._handshake
        if isinstance(first, AbortChunk | ShutdownCompleteChunk | CookieAckChunk | ErrorChunk):
            self.dropped[Drop.STATE] += 1
        elif isinstance(first, ShutdownAckChunk):
            self._outbox.put_packet(handshake.packet(tag, ShutdownCompleteChunk(tag_reflected=True)))
        elif isinstance(first, InitChunk):
            self._outbox.put_packet(handshake.packet(first.initiate_tag, AbortChunk()))
        else:
            self._outbox.put_packet(handshake.packet(tag, AbortChunk(tag_reflected=True)))


_ALONE: Final = frozenset({InitAckChunk, ShutdownCompleteChunk})
"""Chunks that must not be bundled (RFC 9260 6.10); INIT is the third."""
_LATE: Final = frozenset({InitAckChunk, CookieAckChunk})
"""Chunks that come too late whenever two INITs cross; nothing to count."""
_HANDLERS: Final[dict[type, Callable[[Association, Any, float], None]]] = {
    InitAckChunk: Association._on_init_ack,
    CookieEchoChunk: Association._on_same_cookie,
    CookieAckChunk: Association._on_cookie_ack,
    ForwardTsnChunk: Association._on_forward_tsn,
    HeartbeatChunk: Association._on_heartbeat,
    HeartbeatAckChunk: Association._on_heartbeat_ack,
    ReconfigChunk: Association._on_reconfig,
    ErrorChunk: Association._on_error,
    ShutdownChunk: Association._on_shutdown,
    ShutdownAckChunk: Association._on_shutdown_ack,
    ShutdownCompleteChunk: Association._on_shutdown_complete,
}

"""What of a datagram reaches OpenSSL while the handshake is under way.

Until the Finished messages nothing is authenticated, and OpenSSL ends the handshake for many a forged record
(any fatal alert, a message with an absurd length, two fragments that disagree). RFC 6347 4.1.2.7 allows to
discard invalid records silently, so the guard lets through only what a sane peer can send at this point,
record by record, and recognises what the peer merely says again. Five rules, all driven by the tables below:

1. Only messages the other role sends, of plausible length and number, reach OpenSSL. That also bounds what
   OpenSSL can be made to buffer.
2. All fragments of a message agree about its type and length; the first one seen decides.
3. A message that has been answered is a *repeat*: our answer was lost. OpenSSL need not see it again.
4. Before our first (server) or last (client) plaintext flight there can be no ChangeCipherSpec and no
   epoch 1, and from a client nothing but its ClientHello.
5. Plaintext alerts never reach OpenSSL: whoever can send one datagram could end the handshake.

After the handshake the same rules leave sealed application data and alerts; every handshake message is a
repeat.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from sfu.dtls.context import DtlsRole
from sfu.dtls.record import (
    ContentType,
    HandshakeType,
    Record,
    RecordError,
    parse_fragments_untrusted,
)

MAX_SEALED_HANDSHAKE = 128
"""Longest body of a handshake record in epoch 1. It holds a Finished: 24 bytes, and at most 24 of an AEAD."""

MAX_SEALED_ALERT = 128
"""Longest body of an alert in epoch 1: 2 bytes, and at most 24 of an AEAD."""


class Shape(NamedTuple):
    """What a plaintext handshake message may look like."""

    limit: int
    """The most bytes it may have."""
    first_seq: int
    """The lowest message_seq it can have."""
    last_seq: int
    """The highest message_seq it can have."""


MESSAGES: dict[DtlsRole, dict[int, Shape]] = {
    DtlsRole.CLIENT: {
        HandshakeType.CLIENT_HELLO: Shape(8_192, 0, 0),
        HandshakeType.CERTIFICATE: Shape(16_384, 1, 1),
        HandshakeType.CLIENT_KEY_EXCHANGE: Shape(2_048, 2, 2),
        HandshakeType.CERTIFICATE_VERIFY: Shape(8_192, 3, 3),
    },
    DtlsRole.SERVER: {
        HandshakeType.HELLO_VERIFY_REQUEST: Shape(512, 0, 0),
        HandshakeType.SERVER_HELLO: Shape(2_048, 0, 1),
        HandshakeType.CERTIFICATE: Shape(16_384, 1, 2),
        HandshakeType.SERVER_KEY_EXCHANGE: Shape(8_192, 2, 3),
        HandshakeType.CERTIFICATE_REQUEST: Shape(8_192, 3, 4),
        HandshakeType.SERVER_HELLO_DONE: Shape(0, 3, 5),
    },
}
"""By the sender's role: the plaintext messages it can send (RFC 6347 figure 1).

The numbers of a client's are fixed, as our server exchanges no cookie and requires a certificate. A server's
depend on whether it exchanges a cookie. What is remembered of a peer is at most one entry for each number."""

_OTHER = {DtlsRole.CLIENT: DtlsRole.SERVER, DtlsRole.SERVER: DtlsRole.CLIENT}

_ANSWERED_BY: dict[int, frozenset[int]] = {
    HandshakeType.SERVER_HELLO: frozenset({HandshakeType.CLIENT_HELLO}),
    HandshakeType.CLIENT_KEY_EXCHANGE: frozenset(MESSAGES[DtlsRole.SERVER]),
}
"""Once we have sent the message on the left, the peer's messages on the right have been answered for good.

Each of the two also is the last plaintext message before which the peer cannot have changed its cipher."""


class Verdict(enum.Enum):
    """What to do with a record."""

    PASS = enum.auto()
    """Give it to OpenSSL."""
    REPEAT = enum.auto()
    """Only messages that were answered: the answer may be lost."""
    ALERT = enum.auto()
    """A plaintext alert: note it, no more."""
    CONFLICT = enum.auto()
    """Disagrees with an earlier fragment of the same message; otherwise to be dropped."""
    DROP = enum.auto()
    """Nothing a sane peer sends at this point."""


class HandshakeGuard:
    """Judges the peer's records during one handshake. Remembers at most one entry per message_seq."""

    def __init__(self, role: DtlsRole) -> None:
        """``role`` is ours."""
        self._shapes = MESSAGES[_OTHER[role]]
        self._is_client = role is DtlsRole.CLIENT
        self._answered: frozenset[int] = frozenset()
        self._seen: dict[int, tuple[int, int]] = {}
        self._complete = False

    def sent(self, message_type: int) -> None:
        """Take note of a handshake message we send."""
        self._answered |= _ANSWERED_BY.get(message_type, frozenset())

    def complete(self) -> None:
        """The handshake is over: from now on only sealed data and alerts pass."""
        self._complete = True
        self._answered = frozenset(self._shapes)

    def judge_untrusted(self, record: Record) -> Verdict:
        """Decide about one record. Cannot fail."""
        if record.epoch == 0:
            return self._judge_plaintext_untrusted(record)
        if record.epoch == 1 and self._answered:
            return self._judge_sealed_untrusted(record)
        return Verdict.DROP

    def _judge_plaintext_untrusted(self, record: Record) -> Verdict:
        content_type = record.content_type
        if content_type == ContentType.HANDSHAKE:
            return self._judge_messages_untrusted(record.body)
        if content_type == ContentType.CHANGE_CIPHER_SPEC and record.body == b"\x01":
            return Verdict.PASS if self._answered and not self._complete else Verdict.DROP
        if content_type == ContentType.ALERT and len(record.body) == 2:
            return Verdict.ALERT
        return Verdict.DROP

    def _judge_sealed_untrusted(self, record: Record) -> Verdict:
        content_type = record.content_type
        if content_type == ContentType.HANDSHAKE:
            if len(record.body) > MAX_SEALED_HANDSHAKE:
                return Verdict.DROP
            return Verdict.REPEAT if self._complete else Verdict.PASS
        if content_type == ContentType.ALERT:
            return Verdict.PASS if len(record.body) <= MAX_SEALED_ALERT else Verdict.DROP
        # A server is through with the handshake before its client is, and may have overtaken itself.
        if content_type == ContentType.APPLICATION_DATA and (self._is_client or self._complete):
            return Verdict.PASS
        return Verdict.DROP

    def _judge_messages_untrusted(self, body: bytes) -> Verdict:
        try:
            fragments = parse_fragments_untrusted(body)
        except RecordError:
            return Verdict.DROP
        if all(fragment.message_type in self._answered for fragment in fragments):
            return Verdict.REPEAT
        fresh: dict[int, tuple[int, int]] = {}
        for fragment in fragments:
            kind, seq = fragment.message_type, fragment.message_seq
            shape = self._shapes.get(kind)
            if shape is None or fragment.length > shape.limit or not shape.first_seq <= seq <= shape.last_seq:
                return Verdict.DROP
            if not self._is_client and not self._answered and kind != HandshakeType.CLIENT_HELLO:
                return Verdict.DROP
            size = (kind, fragment.length)
            if (self._seen.get(seq) or fresh.setdefault(seq, size)) != size:
                return Verdict.CONFLICT
        self._seen.update(fresh)
        return Verdict.PASS

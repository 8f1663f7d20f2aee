"""What of a datagram reaches OpenSSL while the handshake is under way.

Until the Finished messages nothing is authenticated, and OpenSSL ends the handshake for many a forged record
(any fatal alert, a message with an absurd length, two fragments that disagree). RFC 6347 4.1.2.7 allows to
discard invalid records silently, so the guard lets through only what a sane peer can send at this point,
record by record, and recognises what the peer merely says again. Five rules, all driven by the tables below:

1. Only messages the other role sends, of plausible length and number, reach OpenSSL. That also bounds what
   OpenSSL can be made to buffer.
2. All fragments of a message agree about its type and length; the first one seen decides.
3. A message that has been answered is a *repeat*: our answer was lost. OpenSSL need not see it again.
4. ChangeCipherSpec and epoch 1 are impossible before our first (server) or last (client) plaintext flight.
5. Plaintext alerts never reach OpenSSL: whoever can send one datagram could end the handshake.

After the handshake the same rules leave sealed application data and alerts; every handshake message is a
repeat.
"""

from __future__ import annotations

import enum

from sfu.dtls.context import DtlsRole
from sfu.dtls.record import (
    ContentType,
    HandshakeType,
    Record,
    RecordError,
    parse_fragments_untrusted,
)

MAX_MESSAGE_SEQ = 9
"""Highest message_seq of a plaintext message: a server with cookie exchange and optional messages needs 7."""

MAX_SEALED_HANDSHAKE = 128
"""Longest body of a handshake record in epoch 1. It holds a Finished: 24 bytes, and at most 24 of an AEAD."""

MAX_SEALED_ALERT = 128
"""Longest body of an alert in epoch 1: 2 bytes, and at most 24 of an AEAD."""

MESSAGE_LIMITS: dict[DtlsRole, dict[int, int]] = {
    DtlsRole.CLIENT: {
        HandshakeType.CLIENT_HELLO: 8_192,
        HandshakeType.CERTIFICATE: 16_384,
        HandshakeType.CLIENT_KEY_EXCHANGE: 2_048,
        HandshakeType.CERTIFICATE_VERIFY: 8_192,
    },
    DtlsRole.SERVER: {
        HandshakeType.SERVER_HELLO: 2_048,
        HandshakeType.HELLO_VERIFY_REQUEST: 512,
        HandshakeType.CERTIFICATE: 16_384,
        HandshakeType.SERVER_KEY_EXCHANGE: 8_192,
        HandshakeType.CERTIFICATE_REQUEST: 8_192,
        HandshakeType.SERVER_HELLO_DONE: 0,
    },
}
"""By the sender's role: the plaintext messages it can send, and the most bytes each may have."""

_OTHER = {DtlsRole.CLIENT: DtlsRole.SERVER, DtlsRole.SERVER: DtlsRole.CLIENT}

_ANSWERED_BY: dict[int, frozenset[int]] = {
    HandshakeType.SERVER_HELLO: frozenset({HandshakeType.CLIENT_HELLO}),
    HandshakeType.CLIENT_KEY_EXCHANGE: frozenset(MESSAGE_LIMITS[DtlsRole.SERVER]),
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
        self._limits = MESSAGE_LIMITS[_OTHER[role]]
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
        self._answered = frozenset(self._limits)
        self._seen.clear()

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
            limit = self._limits.get(fragment.message_type)
            if limit is None or fragment.length > limit or fragment.message_seq > MAX_MESSAGE_SEQ:
                return Verdict.DROP
            shape = (fragment.message_type, fragment.length)
            known = self._seen.get(fragment.message_seq) or fresh.setdefault(fragment.message_seq, shape)
            if known != shape:
                return Verdict.CONFLICT
        self._seen.update(fresh)
        return Verdict.PASS

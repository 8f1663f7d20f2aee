"""One DTLS association, sans-I/O (RFC 6347, RFC 5764): OpenSSL over memory BIOs with a clock from outside.

OpenSSL runs the handshake and seals records. This module decides what of a datagram it gets to see (the
guard), what of its output goes out (a flight once, however often OpenSSL says it), and when it goes out again
(the flight). States and their transitions are in :mod:`sfu.dtls.state`.

Who repeats what, and when (RFC 6347 4.2.4):

* While the handshake is under way, either side repeats its latest flight on its own timer, and when the peer
  repeats a flight that this one answered.
* After it, the side that spoke last (our server) has no timer. It repeats its last flight when the peer
  repeats the one before, until application data proves that the last flight arrived.
* A client whose Finished arrived, but not the answer, must make the server speak again. A server of ours sees
  the repetition. Others open the record first, and one they have seen is a replay; so before each repetition
  OpenSSL is given the chance to seal a new Finished, which it does once its own second has passed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import count

from OpenSSL import SSL

from sfu.dtls.alert import alert_name
from sfu.dtls.certificate import Certificate
from sfu.dtls.context import DtlsRole
from sfu.dtls.events import ApplicationData, DtlsClosed, DtlsConnected, DtlsEvent, DtlsFailed
from sfu.dtls.fingerprint import Fingerprint
from sfu.dtls.flight import Flight
from sfu.dtls.guard import HandshakeGuard, Verdict
from sfu.dtls.peer import PeerCheck
from sfu.dtls.profile import BY_OPENSSL_NAME
from sfu.dtls.record import (
    RECORD_HEADER_LENGTH,
    ContentType,
    Record,
    parse_fragments_untrusted,
    split_datagram_untrusted,
)
from sfu.dtls.state import TRANSITIONS, Cause, DtlsState

HANDSHAKE_TIMEOUT = 30.0
"""Seconds from :meth:`DtlsEndpoint.start` until a handshake that is not complete fails."""

ALERT_GRACE = 2.0
"""Seconds a handshake may go on without progress after a plaintext alert, which anybody could have sent."""

DEFAULT_MTU = 1200
"""Most bytes of a datagram we send."""

MIN_MTU = 256
"""OpenSSL cannot fragment a handshake to less than 228 bytes."""

SEAL_OVERHEAD = RECORD_HEADER_LENGTH + 8 + 16
"""Bytes that sealing adds to application data: header, explicit nonce and tag of AES-GCM (RFC 5288 3)."""

MAX_DATAGRAM = 16_384
"""Longest datagram looked at. OpenSSL takes one of this size out of its BIO in one go."""

MAX_HANDSHAKE_DATAGRAMS = 256
"""Most datagrams OpenSSL gets to see in one handshake; one more, and it fails. Without loss it takes 3."""

MAX_HANDSHAKE_BYTES = 131_072
"""Most bytes OpenSSL gets to see in one handshake; more, and it fails. Without loss it takes 2,500."""

MAX_RESTARTS = 8
"""How often a server may begin anew because what came before its first flight was broken."""

MAX_UNCONFIRMED_RECORDS = 32
"""Most records a server sends before it knows that its last flight arrived; further ones are dropped.

They use up the client's replay window of 64 records (RFC 6347 4.1.2.6), beyond which the Finished, repeated
under its old number, would no longer be accepted."""

MAX_EVENTS = 1_024
"""Most events waiting to be taken; application data beyond it is dropped, as a datagram may be."""

MAX_DATAGRAMS_TO_SEND = 1_024
"""Most datagrams waiting to be taken; application data beyond it is dropped, as a datagram may be."""

MAX_PLAINTEXT = 16_384
"""Longest application data in one record (RFC 5246 6.2.1)."""

_EXPORTER_LABEL = b"EXTRACTOR-dtls_srtp"
_SEALED_DATA = b"\x17\xfe\xfd\x00\x01"
"""How a record of application data in epoch 1 begins."""


class DtlsError(Exception):
    """Our own mistake: something was asked of an endpoint that its state does not allow."""


class DtlsEndpoint:
    """One end of a DTLS association with the face of every protocol machine of this project.

    The peer's certificate is required and compared with ``remote_fingerprints`` before anything is trusted:
    no key is exported, no application data delivered, and (as a server) no last flight sent without a match.
    Fingerprints of unknown hashes are skipped; with none left the endpoint fails when started.

    Datagrams must come only from where ICE found the peer. Even so bytes never raise, and what they can do
    to a handshake is bounded by the constants of this module.
    """

    def __init__(
        self,
        certificate: Certificate,
        role: DtlsRole,
        remote_fingerprints: Iterable[Fingerprint],
        *,
        mtu: int = DEFAULT_MTU,
    ) -> None:
        """Make an endpoint that does nothing yet. ``mtu`` is the most bytes of a datagram to send.

        Raises ``ValueError`` if ``mtu`` is below :data:`MIN_MTU`.
        """
        if mtu < MIN_MTU:
            raise ValueError(f"an MTU of {mtu} is below {MIN_MTU}")
        self.role = role
        self.state = DtlsState.NEW
        self.mtu = mtu
        self.dropped = 0
        """Records of application data, either way, that a cap made us drop."""
        self._context = certificate.context(role)
        self._peer = PeerCheck(remote_fingerprints)
        self._guard = HandshakeGuard(role)
        self._flight = Flight()
        self._connection: SSL.Connection | None = None
        self._events: deque[DtlsEvent] = deque()
        self._outgoing: list[bytes] = []
        # Record numbers of epoch 0: those that OpenSSL gets to see, and those we send.
        self._numbers_in = count()
        self._numbers_out = count()
        self._next_message_seq = 0
        self._finished_sent = False
        self._deadline = 0.0
        self._alerted_deadline: float | None = None
        self._alert = ""
        self._datagrams_seen = 0
        self._bytes_seen = 0
        self._restarts = 0
        self._unconfirmed_records: int | None = None

    # ------------------------------------------------------------------ the face

    @property
    def max_data_size(self) -> int:
        """The most bytes :meth:`send` takes: a sealed record never exceeds the MTU."""
        return min(self.mtu - SEAL_OVERHEAD, MAX_PLAINTEXT)

    def start(self, now: float) -> None:
        """Begin the handshake: to be called once ICE has a valid pair. Starts the clock in both roles.

        Raises :class:`DtlsError` if it was started or closed before.
        """
        if self.state is not DtlsState.NEW:
            raise DtlsError(f"start in state {self.state.value}")
        self._move(Cause.START)
        self._deadline = now + HANDSHAKE_TIMEOUT
        if not self._peer.possible:
            self._fail("no fingerprint with a usable hash was signaled")
            return
        self._connect()
        if self.role is DtlsRole.CLIENT:
            self._shake_hands(now)

    def receive_datagram_untrusted(self, data: bytes, now: float) -> None:
        """Take in a datagram from the peer. Cannot fail: what cannot be used is dropped.

        A handshake that cannot succeed any more, and an association the peer ended, are reported as events.
        """
        if self._connection is None or len(data) > MAX_DATAGRAM:
            return
        if self.state is DtlsState.CONNECTED and _is_one_data_record(data):
            self._connection.bio_write(data)
            self._read()
            return
        passed = self._filter_untrusted(data, now)
        if not passed:
            return
        if self.state is DtlsState.CONNECTED:
            self._connection.bio_write(passed)
            self._read()
            return
        self._datagrams_seen += 1
        self._bytes_seen += len(passed)
        if self._datagrams_seen > MAX_HANDSHAKE_DATAGRAMS or self._bytes_seen > MAX_HANDSHAKE_BYTES:
            self._fail("the peer's handshake is too long")
            return
        self._connection.bio_write(passed)
        self._shake_hands(now)

    def send(self, data: bytes) -> None:
        """Seal one record of application data (one SCTP packet); it becomes one datagram.

        Like any datagram it may get lost, here if a cap is reached (counted in ``dropped``). Raises
        :class:`DtlsError` unless connected, and ``ValueError`` if ``data`` is empty or longer than
        :attr:`max_data_size`.
        """
        if self.state is not DtlsState.CONNECTED or self._connection is None:
            raise DtlsError(f"send in state {self.state.value}")
        if not 0 < len(data) <= self.max_data_size:
            raise ValueError(f"{len(data)} bytes of application data")
        if len(self._outgoing) >= MAX_DATAGRAMS_TO_SEND:
            self.dropped += 1
            return
        if self._unconfirmed_records is not None:
            if self._unconfirmed_records >= MAX_UNCONFIRMED_RECORDS:
                self.dropped += 1
                return
            self._unconfirmed_records += 1
        self._connection.send(data)
        self._outgoing.append(self._connection.bio_read(self.mtu))

    def datagrams_to_send(self, now: float) -> list[bytes]:  # noqa: ARG002 - the common face
        """Take the datagrams to be sent now, in order; each has at most ``mtu`` bytes."""
        datagrams = self._outgoing
        if datagrams:
            self._outgoing = []
        return datagrams

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` is next to be called; None outside of a handshake."""
        if self.state is not DtlsState.CONNECTING:
            return None
        deadline = self._current_deadline()
        repeat_at = self._flight.repeat_at
        return deadline if repeat_at is None else min(deadline, repeat_at)

    def handle_timer(self, now: float) -> None:
        """Do what is due: repeat the flight, or give up. Harmless when nothing is."""
        if self.state is not DtlsState.CONNECTING:
            return
        if now >= self._current_deadline():
            self._fail(self._alert or f"no handshake within {HANDSHAKE_TIMEOUT:.0f} s")
            return
        if self._flight.repeat_at is None or now < self._flight.repeat_at:
            return
        if self._flight.sealed:
            self._shake_hands(now)
        if self.get_timer() is not None:
            self._send_flight(now)
            self._flight.back_off(now)

    def next_event(self) -> DtlsEvent | None:
        """Take the oldest event not yet taken."""
        return self._events.popleft() if self._events else None

    def close(self, now: float) -> None:  # noqa: ARG002 - the common face
        """End the association: ``close_notify`` goes out if there is one. No event; nothing happens twice."""
        if self.state is DtlsState.CONNECTED:
            self._say_goodbye()
        self._move(Cause.LOCAL_CLOSE)
        self._release()

    # ------------------------------------------------------------------ input

    def _filter_untrusted(self, data: bytes, now: float) -> bytes:
        """What of a datagram OpenSSL is to see; acts on the rest."""
        passed: list[bytes] = []
        repeated = False
        for record in split_datagram_untrusted(data):
            verdict = self._guard.judge_untrusted(record)
            if verdict is Verdict.CONFLICT and self._may_restart():
                self._restart()
                passed.clear()
                verdict = self._guard.judge_untrusted(record)
            if verdict is Verdict.PASS:
                # The numbers of epoch 0 are anybody's to forge: a high one would close the replay window
                # before all that is to come. Messages are numbered themselves, so OpenSSL gets ours.
                passed.append(record.encode(next(self._numbers_in) if record.epoch == 0 else None))
            elif verdict is Verdict.REPEAT:
                repeated = True
            elif verdict is Verdict.ALERT:
                self._note_alert_untrusted(record.body, now)
        if repeated and self._flight and self._flight.may_repeat(now):
            self._send_flight(now)
            self._flight.start_timer(now)
        return b"".join(passed)

    def _note_alert_untrusted(self, body: bytes, now: float) -> None:
        """A plaintext alert that would end a handshake shortens the wait for progress instead."""
        level, description = body
        if self.state is not DtlsState.CONNECTING or self._alerted_deadline is not None:
            return
        if level == 2 or description == 0:
            self._alert = f"the peer gave up: {alert_name(description)}"
            self._alerted_deadline = now + ALERT_GRACE

    def _current_deadline(self) -> float:
        if self._alerted_deadline is None:
            return self._deadline
        return min(self._deadline, self._alerted_deadline)

    def _read(self) -> None:
        """Take everything out of OpenSSL that the datagram just written contained."""
        connection = self._connection
        fault: SSL.Error | None = None
        while connection is not None and self.state is DtlsState.CONNECTED:
            try:
                data = connection.recv(MAX_PLAINTEXT)
            except SSL.WantReadError:
                return
            except SSL.ZeroReturnError:
                self._say_goodbye()
                self._move(Cause.PEER_CLOSED)
                self._release()
                self._events.append(DtlsClosed("the peer closed the association"))
            except SSL.Error as error:
                # Somebody else's leftover in the thread's error queue looks the same, but only once.
                if fault is not None:
                    self._send_output()
                    self._fail(f"the association broke: {_describe(fault)}")
                fault = error
            else:
                fault = None
                self._confirm()
                if len(self._events) < MAX_EVENTS:
                    self._events.append(ApplicationData(data))
                else:
                    self.dropped += 1

    # ------------------------------------------------------------------ handshake

    def _connect(self) -> None:
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(self._peer)
        connection.set_ciphertext_mtu(self.mtu)
        if self.role is DtlsRole.CLIENT:
            connection.set_connect_state()
        else:
            connection.set_accept_state()
        self._connection = connection

    def _may_restart(self) -> bool:
        """Whether nothing is lost by forgetting all that came: we have not answered anything yet."""
        return self.role is DtlsRole.SERVER and not self._flight and self._restarts < MAX_RESTARTS

    def _restart(self) -> None:
        self._restarts += 1
        self._guard = HandshakeGuard(self.role)
        self._connect()

    def _shake_hands(self, now: float) -> None:
        """Let OpenSSL go as far as it can, and send what it says."""
        assert self._connection is not None
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._collect(now)
        except SSL.Error as error:
            if self._may_restart():
                self._restart()
            else:
                self._collect(now)
                self._fail(self._peer.refusal or f"the handshake broke: {_describe(error)}")
        else:
            self._finish(now)

    def _finish(self, now: float) -> None:
        """OpenSSL is content; find out whether we are (RFC 5764 4.1, 4.2)."""
        connection = self._connection
        assert connection is not None
        profile = BY_OPENSSL_NAME.get(connection.get_selected_srtp_profile())
        if not self._peer.verified:
            self._fail("the peer showed no certificate")
            return
        if profile is None:
            self._fail("the peer negotiated no SRTP profile")
            return
        self._collect(now)
        self._guard.complete()
        self._move(Cause.HANDSHAKE_DONE)
        if self.role is DtlsRole.SERVER:
            self._unconfirmed_records = 0
        else:
            self._flight.clear()
        block = connection.export_keying_material(_EXPORTER_LABEL, profile.keying_material_length)
        key, salt = profile.key_length, profile.salt_length
        client = (block[:key], block[2 * key : 2 * key + salt])
        server = (block[key : 2 * key], block[2 * key + salt :])
        local, remote = (client, server) if self.role is DtlsRole.CLIENT else (server, client)
        self._events.append(DtlsConnected(profile, *local, *remote))
        self._read()

    def _confirm(self) -> None:
        """Authenticated data arrived: the peer has our last flight."""
        if self._unconfirmed_records is not None:
            self._unconfirmed_records = None
            self._flight.clear()

    # ------------------------------------------------------------------ output

    def _collect(self, now: float) -> None:
        """Take OpenSSL's output: a new flight is kept and sent, a repeated one dropped, an alert sent."""
        flight: list[Record] = []
        others: list[Record] = []
        resealed: list[Record] = []
        known = self._next_message_seq
        finished_before = self._finished_sent
        for record in self._take_output():
            if record.content_type not in (ContentType.HANDSHAKE, ContentType.CHANGE_CIPHER_SPEC):
                others.append(record)
            elif record.epoch == 0 and record.content_type == ContentType.HANDSHAKE:
                first, *_ = parse_fragments_untrusted(record.body)
                if first.message_seq >= known:
                    self._next_message_seq = max(self._next_message_seq, first.message_seq + 1)
                    self._guard.sent(first.message_type)
                    flight.append(record)
            elif not finished_before:
                self._finished_sent |= record.epoch == 1
                flight.append(record)
            elif record.epoch == 1:
                resealed.append(record)
        if resealed:
            self._flight.adopt(resealed)
        if flight:
            self._flight.begin(flight)
            self._send_flight(now)
            self._flight.start_timer(now)
            self._alerted_deadline = None
            self._alert = ""
        for record in others:
            self._outgoing.append(record.encode(next(self._numbers_out) if record.epoch == 0 else None))

    def _take_output(self) -> list[Record]:
        assert self._connection is not None
        output = b""
        while True:
            try:
                output += self._connection.bio_read(MAX_PLAINTEXT)
            except SSL.WantReadError:
                return split_datagram_untrusted(output)

    def _send_flight(self, now: float) -> None:
        self._outgoing += self._flight.datagrams(self._numbers_out.__next__, self.mtu, now)

    def _say_goodbye(self) -> None:
        """Send ``close_notify`` (RFC 5246 7.2.1)."""
        assert self._connection is not None
        try:
            self._connection.shutdown()
        except SSL.Error:
            pass
        self._send_output()

    def _send_output(self) -> None:
        """Send what OpenSSL says once connected, which is sealed."""
        self._outgoing += [record.encode() for record in self._take_output()]

    # ------------------------------------------------------------------ the end

    def _move(self, cause: Cause) -> None:
        self.state = TRANSITIONS[self.state][cause]

    def _fail(self, reason: str) -> None:
        self._move(Cause.FAULT)
        self._release()
        self._events.append(DtlsFailed(reason))

    def _release(self) -> None:
        """Free what only a living association needs: OpenSSL's part is the largest of an endpoint."""
        self._connection = None
        self._flight.clear()


def _is_one_data_record(data: bytes) -> bool:
    """Whether a datagram is exactly one record of sealed application data, the usual case."""
    return (
        len(data) > RECORD_HEADER_LENGTH
        and data.startswith(_SEALED_DATA)
        and data[11] << 8 | data[12] == len(data) - RECORD_HEADER_LENGTH
    )


def _describe(error: SSL.Error) -> str:
    """OpenSSL's reasons, for logs."""
    reasons = error.args[0] if error.args else None
    if isinstance(reasons, list):
        return ", ".join(str(entry[-1]) for entry in reasons) or "unknown"
    return " ".join(str(argument) for argument in error.args) or type(error).__name__

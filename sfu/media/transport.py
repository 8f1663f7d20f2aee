"""One WebRTC transport: ICE-lite, DTLS and SCTP composed, with the face of each of them.

RTP and RTCP do not pass through here: the engine opens and seals them with the keys that this transport's
handshake made (:attr:`Transport.entry`). What happens, in order:

======== ================================================= ===========================================
state    meaning                                           leaves it by
======== ================================================= ===========================================
new      credentials are out, the peer's are unknown       ``connect`` -> connecting
connecting  ICE validates tuples, DTLS shakes hands        DTLS connected -> connected; DTLS failed -> closed
connected  keys exist, SCTP runs, media flows              close_notify, a fatal alert, ICE gone for
                                                           :data:`DISCONNECTED_TIMEOUT` -> closed
closed   nothing is accepted or sent any more
======== ================================================= ===========================================

DTLS is accepted only from a tuple that ICE has validated, and starts as soon as there is one: browsers do not
wait for nomination.
"""

from __future__ import annotations

import enum
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from sfu.dtls.certificate import Certificate
from sfu.dtls.context import DtlsRole
from sfu.dtls.endpoint import DtlsEndpoint
from sfu.dtls.events import ApplicationData, DtlsClosed, DtlsConnected, DtlsFailed
from sfu.dtls.fingerprint import Fingerprint, FingerprintError
from sfu.dtls.state import DtlsState
from sfu.ice.address import Address
from sfu.ice.agent import IceAgent
from sfu.ice.credentials import IceCredentials
from sfu.ice.events import CredentialsRetired, StateChanged, TupleRemoved, TupleSelected, TupleValidated
from sfu.ice.state import IceState
from sfu.ice.stun import StunError, is_stun
from sfu.media.errors import MediaRefused
from sfu.media.parameters import DtlsParameters
from sfu.media.table import TransportEntry
from sfu.rtp.srtp import SrtpReceiver, SrtpSender
from sfu.rtp.srtp_crypto import SrtpProfile
from sfu.sctp.association import Association
from sfu.sctp.errors import ResetRefused, SctpError
from sfu.sctp.events import MessageReceived, StreamsReset

DISCONNECTED_TIMEOUT: Final = 90.0
"""Seconds without consent after which a transport is closed: time to come back from a tunnel, or for an ICE
restart."""
MAX_FINGERPRINTS: Final = 16


class TransportState(enum.Enum):
    """See the module's table."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Connected:
    """DTLS is up: keys are in the entry, media and data may flow."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The transport closed by itself."""

    reason: str


@dataclass(frozen=True, slots=True)
class TupleAdded:
    """ICE validated an address: what comes from it belongs to this transport."""

    address: Address


@dataclass(frozen=True, slots=True)
class TupleLost:
    """An address is no longer validated."""

    address: Address


@dataclass(frozen=True, slots=True)
class UfragRetired:
    """ICE checks with this username fragment are no longer answered."""

    ufrag: str


TransportEvent: TypeAlias = (
    Connected | Closed | TupleAdded | TupleLost | UfragRetired | MessageReceived | StreamsReset
)


class Transport:
    """The peer-facing side of one transport. See the head of this module."""

    def __init__(
        self,
        transport_id: str,
        certificate: Certificate,
        *,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.id = transport_id
        self.entry = TransportEntry(transport_id)
        """What the packet path knows of it."""
        self.ice = IceAgent(random_bytes=random_bytes)
        self.sctp = Association(random_bytes=random_bytes)
        self.dtls: DtlsEndpoint | None = None
        self._certificate = certificate
        self._state = TransportState.NEW
        self._started = False
        self._events: deque[TransportEvent] = deque()
        self._give_up_at: float | None = None
        self._disconnected_by = ""

    @property
    def state(self) -> TransportState:
        return self._state

    def connect(self, parameters: DtlsParameters, now: float) -> None:
        """Take the peer's DTLS parameters. Raises :class:`MediaRefused` for bad ones or a second call."""
        if self._state is not TransportState.NEW:
            raise MediaRefused("connect() already called")
        if not parameters.fingerprints:
            raise MediaRefused("missing dtlsParameters.fingerprints")
        if len(parameters.fingerprints) > MAX_FINGERPRINTS:
            raise MediaRefused(f"more than {MAX_FINGERPRINTS} fingerprints")
        try:
            fingerprints = [Fingerprint.parse(f.algorithm, f.value) for f in parameters.fingerprints]
        except FingerprintError as error:
            raise MediaRefused(f"invalid fingerprint: {error}") from None
        if not any(f.usable for f in fingerprints):
            raise MediaRefused("no fingerprint with a known hash algorithm")
        # Without a role, or with "auto", the peer waits for us (as the client library expects).
        role = DtlsRole.SERVER if parameters.role == "client" else DtlsRole.CLIENT
        self.dtls = DtlsEndpoint(self._certificate, role, fingerprints)
        self._state = TransportState.CONNECTING
        if self.ice.selected is not None:
            self._start_dtls(now)
        self._pump(now)

    def restart_ice(self, now: float) -> IceCredentials:
        """New credentials; what is connected stays so (RFC 8445 9)."""
        if self._state is TransportState.CLOSED:
            raise MediaRefused("transport closed")
        credentials = self.ice.restart(now)
        self._pump(now)
        return credentials

    def close(self, now: float, reason: str | None = None) -> None:
        """End it. The peer is told; :class:`Closed` is reported only if there is a ``reason`` of our own."""
        if self._state is TransportState.CLOSED:
            return
        if self.dtls is not None:
            if self._state is TransportState.CONNECTED and self.dtls.state is DtlsState.CONNECTED:
                self.sctp.abort(now)
                for packet in self.sctp.datagrams_to_send(now):
                    self.dtls.send(packet)
            self.dtls.close(now)
        self._state = TransportState.CLOSED
        if reason is not None:
            self._events.append(Closed(reason))

    # -------------------------------------------------------------------- face

    def receive_datagram_untrusted(self, data: bytes, address: Address, now: float) -> None:
        """Take a STUN or DTLS datagram. What is neither, or not acceptable, is ignored."""
        if self._state is TransportState.CLOSED:
            return
        if is_stun(data):
            try:
                self.ice.receive_datagram_untrusted(data, address, now)
            except StunError:
                return  # counted by the agent
        elif self.dtls is not None and self.ice.is_validated(address):
            self.dtls.receive_datagram_untrusted(data, now)
        self._pump(now, address)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """STUN answers to whom they are due, DTLS to the selected tuple."""
        datagrams = self.ice.datagrams_to_send(now)
        address = self.ice.selected
        if self.dtls is not None and address is not None:
            datagrams += [(datagram, address) for datagram in self.dtls.datagrams_to_send(now)]
        if self._state is TransportState.CLOSED:
            self.ice.close()
        return datagrams

    def get_timer(self) -> float | None:
        if self._state is TransportState.CLOSED:
            return None
        timers = [self.ice.get_timer(), self._give_up_at]
        if self.dtls is not None:
            timers.append(self.dtls.get_timer())
            if self._state is TransportState.CONNECTED:
                timers.append(self.sctp.get_timer())
        return min((t for t in timers if t is not None), default=None)

    def handle_timer(self, now: float) -> None:
        if self._state is TransportState.CLOSED:
            return
        self.ice.handle_timer(now)
        if self.dtls is not None:
            self.dtls.handle_timer(now)
        if self._state is TransportState.CONNECTED:
            self.sctp.handle_timer(now)
        if self._give_up_at is not None and now >= self._give_up_at:
            self.close(now, f"ice disconnected for too long: {self._disconnected_by}")
        self._pump(now)

    def next_event(self) -> TransportEvent | None:
        return self._events.popleft() if self._events else None

    def address_closed(self, address: Address, now: float) -> None:
        """A TCP connection ended."""
        self.ice.remove_address(address, now)
        self._pump(now)

    def send_data(
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
        """Send one message on a stream (RFC 8831 6.6). Raises :class:`sfu.sctp.errors.SendRefused`.

        Returns how many older messages were dropped to make room for it.
        """
        return self.sctp.send(
            stream_id,
            ppid,
            data,
            now,
            ordered=ordered,
            max_retransmits=max_retransmits,
            max_lifetime=max_lifetime,
        )

    def reset_stream(self, stream_id: int, now: float) -> None:
        """Close one outgoing stream, if there is an association to close it on."""
        try:
            self.sctp.reset_streams([stream_id], now)
        except ResetRefused:
            pass  # not negotiated, or going down: the stream is never used again either way

    def flush_data(self, now: float) -> None:
        """Move what SCTP has to send into DTLS: after one or many calls of :meth:`send_data`."""
        self._pump(now)

    # -------------------------------------------------------------------- pump

    def _pump(self, now: float, source: Address | None = None) -> None:
        """Carry events and datagrams between the machines until nothing moves.

        ``source`` is where the datagram came from that is being handled.
        """
        if self._state is TransportState.CLOSED:
            return
        self._pump_ice(now)
        dtls = self.dtls
        if dtls is None:
            return
        while (event := dtls.next_event()) is not None:
            match event:
                case ApplicationData(data=data):
                    if source is not None and source != self.ice.selected:
                        self.ice.follow(source)
                        self._pump_ice(now)
                    try:
                        self.sctp.receive_datagram_untrusted(data, now)
                    except SctpError:
                        pass  # malformed: without effect, and counted there
                case DtlsConnected():
                    self._connected(event, now)
                case DtlsClosed(reason=reason):
                    self.close(now, f"dtls closed: {reason}")
                    return
                case DtlsFailed(reason=reason):
                    self.close(now, f"dtls failed: {reason}")
                    return
        if self._state is not TransportState.CONNECTED:
            return
        while (sctp_event := self.sctp.next_event()) is not None:
            # The end of the association is no event: the transport outlives it, media goes on.
            if isinstance(sctp_event, MessageReceived | StreamsReset):
                self._events.append(sctp_event)
        # After the events: what they take frees the window that the next SACK announces.
        for packet in self.sctp.datagrams_to_send(now):
            dtls.send(packet)

    def _pump_ice(self, now: float) -> None:
        ice = self.ice
        while (event := ice.next_event()) is not None:
            match event:
                case TupleValidated(addr=address):
                    self._events.append(TupleAdded(address))
                case TupleSelected(addr=address):
                    self.entry.address = address
                    self._start_dtls(now)
                case TupleRemoved(addr=address):
                    self._events.append(TupleLost(address))
                case CredentialsRetired(username_fragment=ufrag):
                    self._events.append(UfragRetired(ufrag))
                case StateChanged(state=state, reason=trigger):
                    if state is IceState.DISCONNECTED:
                        self._disconnected_by = trigger.value
                        self.entry.address = None
                        self._give_up_at = now + DISCONNECTED_TIMEOUT
                    else:
                        self._give_up_at = None

    def _start_dtls(self, now: float) -> None:
        if self.dtls is not None and not self._started:
            self._started = True
            self.dtls.start(now)

    def _connected(self, event: DtlsConnected, now: float) -> None:
        profile = SrtpProfile(event.profile.number)
        self.entry.receiver = SrtpReceiver(profile, event.remote_key, event.remote_salt)
        self.entry.sender = SrtpSender(profile, event.local_key, event.local_salt)
        self._state = TransportState.CONNECTED
        self._events.append(Connected())
        self.sctp.start(now)

"""A WebRTC peer for tests and benchmarks: the browser's side of one transport, made of our own machines.

It is the controlling ICE agent (one candidate, aggressive nomination), the DTLS client, and whatever SCTP and
SRTP need on top. Sans-I/O like the rest.
"""

from __future__ import annotations

import datetime as dt
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from sfu.dtls.certificate import Certificate
from sfu.dtls.context import DtlsRole
from sfu.dtls.endpoint import DtlsEndpoint
from sfu.dtls.events import ApplicationData, DtlsClosed, DtlsConnected, DtlsFailed
from sfu.dtls.fingerprint import Fingerprint
from sfu.ice.address import Address
from sfu.ice.stun import MessageClass, StunError, StunMessage, is_stun, parse_untrusted
from sfu.rtp.packet import is_rtcp
from sfu.rtp.srtp import SrtpReceiver, SrtpSender
from sfu.rtp.srtp_crypto import SrtpError, SrtpProfile, SrtpReason
from sfu.sctp.association import Association
from sfu.sctp.events import AssociationEstablished, MessageReceived, StreamsReset

CHECK_INTERVAL = 0.05
CONSENT_INTERVAL = 4.0

CERTIFICATE = Certificate.generate(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
"""One for all peers of a process: making one is slow."""


class Peer:
    """The browser's end of one transport at one address."""

    def __init__(
        self,
        address: Address,
        info: dict[str, Any],
        *,
        random_bytes: Callable[[int], bytes] = os.urandom,
        server: Address | None = None,
    ) -> None:
        """``info`` is the transport's TransportInfo; ``server`` overrides its first UDP candidate."""
        self.address = address
        candidate = next(c for c in info["iceCandidates"] if c["protocol"] == "udp")
        self.server: Address = server or (candidate["ip"], candidate["port"])
        self._random_bytes = random_bytes
        self.use_credentials(info["iceParameters"])
        fingerprints = [Fingerprint.parse(**f) for f in info["dtlsParameters"]["fingerprints"]]
        self.dtls = DtlsEndpoint(CERTIFICATE, DtlsRole.CLIENT, fingerprints[-1:])
        self.sctp = Association(random_bytes=random_bytes)
        self.sender: SrtpSender | None = None
        self.receiver: SrtpReceiver | None = None
        self.profile: SrtpProfile | None = None
        self.connected = False
        self.established = False
        self.ended: str | None = None
        self.messages: list[MessageReceived] = []
        self.resets: list[StreamsReset] = []
        self.rtp: list[bytes] = []
        self.rtcp: list[bytes] = []
        self._started = False
        self.answers = 0
        self._check_at: float | None = 0.0
        self._out: deque[bytes] = deque()

    @property
    def dtls_parameters(self) -> dict[str, Any]:
        """For ``sfu-connect-transport``."""
        fingerprint = CERTIFICATE.fingerprints[-1]
        return {
            "role": "client",
            "fingerprints": [{"algorithm": fingerprint.algorithm, "value": fingerprint.value}],
        }

    def use_credentials(self, ice_parameters: dict[str, Any]) -> None:
        """At first, and after an ICE restart."""
        self._username = f"{ice_parameters['usernameFragment']}:peer"
        self._password = ice_parameters["password"]
        self._check_at = 0.0
        self.validated = False

    def check(self) -> bytes:
        """A nominating connectivity check."""
        return StunMessage(
            message_class=MessageClass.REQUEST,
            transaction_id=self._random_bytes(12),
            username=self._username,
            priority=0x6E001EFF,
            use_candidate=True,
            ice_controlling=1,
        ).encode(password=self._password)

    # ------------------------------------------------------------------- media

    def send_rtp(self, header: bytes, payload: bytes, ssrc: int, index: int) -> None:
        assert self.sender is not None
        self._out.append(header + self.sender.seal(header, payload, ssrc, index))

    def send_rtcp(self, packet: bytes) -> None:
        assert self.sender is not None
        self._out.append(self.sender.protect_rtcp(packet))

    def send_raw(self, data: bytes) -> None:
        self._out.append(data)

    def send_data(self, stream_id: int, ppid: int, data: bytes, now: float, **reliability: Any) -> None:
        self.sctp.send(stream_id, ppid, data, now, **reliability)
        self._pump(now)

    def close(self, now: float) -> None:
        self.dtls.close(now)
        self._check_at = None

    # -------------------------------------------------------------------- face

    def receive(self, data: bytes, source: Address, destination: Address, now: float) -> None:
        if is_stun(data):
            try:
                message = parse_untrusted(data)
            except StunError:
                return
            if message.message.message_class is MessageClass.SUCCESS and message.verify_integrity(
                self._password
            ):
                self.answers += 1
                if not self.validated:
                    self.validated = True
                    if not self._started:
                        self._started = True
                        self.dtls.start(now)
                    if self._check_at is not None:
                        self._check_at = now + CONSENT_INTERVAL
        elif 128 <= data[0] < 192:
            self._receive_media(data)
        else:
            self.dtls.receive_datagram_untrusted(data, now)
        self._pump(now)

    def _receive_media(self, data: bytes) -> None:
        if self.receiver is None:
            return
        try:
            if is_rtcp(data):
                self.rtcp.append(self.receiver.unprotect_rtcp_untrusted(data))
            else:
                self.rtp.append(self.receiver.unprotect_rtp_untrusted(data))
        except SrtpError as error:
            # A network may double a packet; anything else is a fault of ours.
            if error.reason is not SrtpReason.REPLAY:
                raise

    def _pump(self, now: float) -> None:
        while (event := self.dtls.next_event()) is not None:
            match event:
                case ApplicationData(data=data):
                    self.sctp.receive_datagram_untrusted(data, now)
                case DtlsConnected():
                    self.profile = SrtpProfile(event.profile.number)
                    self.sender = SrtpSender(self.profile, event.local_key, event.local_salt)
                    self.receiver = SrtpReceiver(self.profile, event.remote_key, event.remote_salt)
                    self.connected = True
                    self.sctp.start(now)
                case DtlsClosed(reason=reason) | DtlsFailed(reason=reason):
                    self.ended = reason
        if self.connected and self.ended is None:
            for packet in self.sctp.datagrams_to_send(now):
                self.dtls.send(packet)
            while (message := self.sctp.next_event()) is not None:
                if isinstance(message, MessageReceived):
                    self.messages.append(message)
                elif isinstance(message, StreamsReset):
                    self.resets.append(message)
                elif isinstance(message, AssociationEstablished):
                    self.established = True

    def take_output(self, now: float) -> Sequence[tuple[bytes, Address, Address]]:
        datagrams = list(self._out)
        self._out.clear()
        datagrams += self.dtls.datagrams_to_send(now)
        return [(d, self.address, self.server) for d in datagrams]

    def get_timer(self) -> float | None:
        timers = [self._check_at, self.dtls.get_timer()]
        if self.connected and self.ended is None:
            timers.append(self.sctp.get_timer())
        return min((t for t in timers if t is not None), default=None)

    def handle_timer(self, now: float) -> None:
        if self._check_at is not None and now >= self._check_at:
            self._out.append(self.check())
            self._check_at = now + (CONSENT_INTERVAL if self.validated else CHECK_INTERVAL)
        self.dtls.handle_timer(now)
        if self.connected and self.ended is None:
            self.sctp.handle_timer(now)
        self._pump(now)

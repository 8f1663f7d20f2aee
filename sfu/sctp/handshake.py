"""What INIT, INIT-ACK and COOKIE-ECHO mean (RFC 9260 5.1 and 5.2), and the little that must be remembered for
them.

The collision of two INITs is the normal case here: both sides start as soon as DTLS is up. Each then answers
the other's INIT with its own tag and TSN (5.2.1), so that both INIT-ACKs and both cookies describe one
association.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace

from sfu.sctp.causes import Cause, CauseCode
from sfu.sctp.chunks import (
    AbortChunk,
    Chunk,
    CookieEchoChunk,
    ForwardTsnChunk,
    InitAckChunk,
    InitChunk,
    ReconfigChunk,
    encode_chunk,
)
from sfu.sctp.cookie import COOKIE_LIFETIME, KEY_LENGTH, Cookie
from sfu.sctp.errors import SctpError
from sfu.sctp.packet import PacketHeader
from sfu.sctp.parameters import (
    ForwardTsnSupported,
    Parameter,
    StateCookie,
    SupportedExtensions,
    UnknownParameter,
    UnrecognizedParameter,
    ZeroChecksumAcceptable,
    encode_parameters,
)

MAX_COOKIE_LENGTH = 1024
"""Bytes of a peer's cookie that are echoed, if a packet of ours holds as many."""
MAX_REPORTED_PARAMETERS = 4
"""Unknown parameters reported for one INIT or INIT-ACK."""
MAX_REPORTED_LENGTH = 64
"""Bytes of an unknown chunk or parameter that a report repeats."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What both sides agreed upon."""

    local_tag: int
    local_tsn: int
    """Our initial TSN."""
    peer_tag: int
    peer_tsn: int
    peer_window: int
    outbound_streams: int
    inbound_streams: int
    partial_reliability: bool
    stream_reset: bool
    zero_checksum: bool
    """Whether the peer takes packets without a checksum (RFC 9653)."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What we put into INIT and INIT-ACK."""

    tag: int
    tsn: int
    window: int
    outbound_streams: int
    inbound_streams: int

    def init(self) -> InitChunk:
        """Our INIT."""
        return InitChunk(
            self.tag, self.window, self.outbound_streams, self.inbound_streams, self.tsn, OUR_PARAMETERS
        )

    def init_ack(self, cookie: bytes, unknown: tuple[bytes, ...]) -> InitAckChunk:
        """Our INIT-ACK, with the cookie and the parameters of the INIT that we did not know."""
        parameters: tuple[Parameter, ...] = (
            *OUR_PARAMETERS,
            StateCookie(cookie),
            *(UnrecognizedParameter(parameter) for parameter in unknown),
        )
        return InitAckChunk(
            self.tag, self.window, self.outbound_streams, self.inbound_streams, self.tsn, parameters
        )

    def agree(self, peer: InitChunk | InitAckChunk) -> Negotiated:
        """What follows from our offer and the peer's (5.1.1; RFC 3758 3.3; RFC 6525 3.1)."""
        extensions: set[int] = set()
        forward_tsn = zero_checksum = False
        for parameter in peer.parameters:
            if isinstance(parameter, SupportedExtensions):
                extensions.update(parameter.chunk_types)
            elif isinstance(parameter, ForwardTsnSupported):
                forward_tsn = True
            elif isinstance(parameter, ZeroChecksumAcceptable):
                zero_checksum = parameter.method == ZeroChecksumAcceptable.DTLS
        return Negotiated(
            local_tag=self.tag,
            local_tsn=self.tsn,
            peer_tag=peer.initiate_tag,
            peer_tsn=peer.initial_tsn,
            peer_window=peer.a_rwnd,
            outbound_streams=min(self.outbound_streams, peer.inbound_streams),
            inbound_streams=min(self.inbound_streams, peer.outbound_streams),
            partial_reliability=forward_tsn or ForwardTsnChunk.type in extensions,
            stream_reset=ReconfigChunk.type in extensions,
            zero_checksum=zero_checksum,
        )


OUR_PARAMETERS: tuple[Parameter, ...] = (
    ForwardTsnSupported(),
    SupportedExtensions((ForwardTsnChunk.type, ReconfigChunk.type)),
    ZeroChecksumAcceptable(ZeroChecksumAcceptable.DTLS),
)
"""Extensions we offer, in every INIT and INIT-ACK."""


def check_init(chunk: InitChunk | InitAckChunk) -> Cause | None:
    """The cause to abort with, if a field has a value it must not have (3.3.2)."""
    if not chunk.initiate_tag or not chunk.outbound_streams or not chunk.inbound_streams:
        return Cause(CauseCode.INVALID_PARAMETER)
    return None


def unknown_parameters(chunk: InitChunk | InitAckChunk) -> tuple[bytes, ...]:
    """Parameters whose type asks for a report (3.2.2), cut to what a report repeats."""
    reported = [
        encode_parameters((UnknownParameter(parameter.type, parameter.value[:MAX_REPORTED_LENGTH]),))
        for parameter in chunk.parameters
        if isinstance(parameter, UnknownParameter) and parameter.reported
    ]
    return tuple(reported[:MAX_REPORTED_PARAMETERS])


def state_cookie(chunk: InitAckChunk, room: int) -> bytes | None:
    """The cookie in an INIT-ACK, unless there is none or it is too long to echo in ``room`` bytes."""
    limit = min(MAX_COOKIE_LENGTH, room - 4)
    for parameter in chunk.parameters:
        if isinstance(parameter, StateCookie) and len(parameter.cookie) <= limit:
            return parameter.cookie
    return None


def make_cookie(agreed: Negotiated, tie_local: int, tie_peer: int, now: float) -> Cookie:
    """The cookie that lets us remember ``agreed`` without keeping it."""
    return Cookie(
        created=now,
        local_tag=agreed.local_tag,
        local_tsn=agreed.local_tsn,
        peer_tag=agreed.peer_tag,
        peer_tsn=agreed.peer_tsn,
        peer_window=agreed.peer_window,
        tie_local=tie_local,
        tie_peer=tie_peer,
        outbound_streams=agreed.outbound_streams,
        inbound_streams=agreed.inbound_streams,
        partial_reliability=agreed.partial_reliability,
        stream_reset=agreed.stream_reset,
        zero_checksum=agreed.zero_checksum,
    )


def from_cookie(cookie: Cookie) -> Negotiated:
    """The inverse of :func:`make_cookie`."""
    return Negotiated(
        local_tag=cookie.local_tag,
        local_tsn=cookie.local_tsn,
        peer_tag=cookie.peer_tag,
        peer_tsn=cookie.peer_tsn,
        peer_window=cookie.peer_window,
        outbound_streams=cookie.outbound_streams,
        inbound_streams=cookie.inbound_streams,
        partial_reliability=cookie.partial_reliability,
        stream_reset=cookie.stream_reset,
        zero_checksum=cookie.zero_checksum,
    )


class CookieVerdict(enum.Enum):
    """What a good cookie means to an association that has tags already: the actions of 5.2.4."""

    RESTART = "A: the peer began anew"
    ADOPT = "B: two INITs crossed, this is the association"
    STRAY = "C: late, from an attempt that came to nothing"
    SAME = "D: of this very association"


def judge_cookie(cookie: Cookie, local_tag: int, peer_tag: int) -> CookieVerdict:
    """Compare a cookie's tags with the association's (5.2.4, table 12). ``peer_tag`` is 0 while unknown."""
    if cookie.local_tag == local_tag:
        return CookieVerdict.SAME if cookie.peer_tag == peer_tag else CookieVerdict.ADOPT
    if (
        cookie.peer_tag != peer_tag
        and (cookie.tie_local, cookie.tie_peer) == (local_tag, peer_tag)
        and peer_tag
    ):
        return CookieVerdict.RESTART
    return CookieVerdict.STRAY


class Handshake:
    """Our side of setting up: tag, TSN and key, and what the peer answered. Knows no state and no timer."""

    def __init__(
        self,
        *,
        ports: tuple[int, int],
        window: int,
        outbound_streams: int,
        inbound_streams: int,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._ports = ports
        self._random_bytes = random_bytes
        self.offer = Offer(self._random_tag(), self._random_u32(), window, outbound_streams, inbound_streams)
        """What our INIT says. The tag and TSN stay the same for every attempt and every answer until the
        association is up, so that it does not matter whose INIT wins."""
        self.peer_tag = 0
        """The peer's tag; 0 before an INIT-ACK or a cookie told it."""
        self.agreed: Negotiated | None = None
        """What follows from the peer's INIT-ACK, while our COOKIE-ECHO is out."""
        self._key = random_bytes(KEY_LENGTH)

    def header(self, tag: int, *, zero_checksum: bool = False) -> PacketHeader:
        """The header of packets to the peer, with some verification tag. Packets with an INIT or COOKIE-ECHO
        must not have a zero checksum (RFC 9653 5.2)."""
        return PacketHeader(*self._ports, tag, zero_checksum=zero_checksum)

    def init_packet(self) -> bytes:
        """Our INIT, alone in its packet, under tag 0 (8.5.1)."""
        return self.packet(0, self.offer.init())

    def answer_init(self, init: InitChunk, now: float, *, up: bool) -> bytes:
        """The packet that answers an INIT: an INIT-ACK, or an ABORT if the INIT is nonsense.

        Nothing is remembered (5.1, B). ``up``: an association exists already, so this may be a peer that
        began anew and gets another tag and TSN, with the present tags in the cookie (5.2.2).
        """
        cause = check_init(init)
        if cause is not None:
            return self.packet(init.initiate_tag, AbortChunk((cause,)))
        offer, ties = self.offer, (0, 0)
        if up:
            ties = (offer.tag, self.peer_tag)
            offer = replace(offer, tag=self._random_tag(), tsn=self._random_u32())
        cookie = make_cookie(offer.agree(init), *ties, now).seal(self._key)
        return self.packet(init.initiate_tag, offer.init_ack(cookie, unknown_parameters(init)))

    def accept_init_ack(self, chunk: InitAckChunk, room: int) -> bytes | Cause:
        """Take an INIT-ACK: the cookie to echo in a packet with ``room``, or the cause to abort with (5.1,
        C)."""
        self.peer_tag = chunk.initiate_tag
        cause = check_init(chunk)
        if cause is not None:
            return cause
        cookie = state_cookie(chunk, room)
        if cookie is None:
            return Cause(CauseCode.MISSING_PARAMETER, b"\0\0\0\1\0\7")
        self.agreed = self.offer.agree(chunk)
        return cookie

    def open_cookie_untrusted(self, chunk: CookieEchoChunk, tag: int) -> Cookie:
        """The cookie of a COOKIE-ECHO that came in a packet with ``tag``. Raises :class:`SctpError`."""
        cookie = Cookie.open_untrusted(self._key, chunk.cookie)
        if cookie.local_tag != tag:
            raise SctpError("verification tag is not the cookie's")
        return cookie

    def adopt(self, agreed: Negotiated) -> None:
        """The association is up, with these tags."""
        self.offer = replace(self.offer, tag=agreed.local_tag, tsn=agreed.local_tsn)
        self.peer_tag = agreed.peer_tag
        self.agreed = None

    def packet(self, tag: int, chunk: Chunk) -> bytes:
        """A packet of one control chunk, with some verification tag."""
        return self.header(tag).packet(encode_chunk(chunk))

    def _random_tag(self) -> int:
        return self._random_u32() or 1

    def _random_u32(self) -> int:
        return int.from_bytes(self._random_bytes(4), "big")


def is_stale(cookie: Cookie, now: float) -> bool:
    """Whether a cookie is older than :data:`COOKIE_LIFETIME`."""
    return now - cookie.created > COOKIE_LIFETIME

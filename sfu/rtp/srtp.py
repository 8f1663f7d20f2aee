"""SRTP and SRTCP contexts: one :class:`SrtpSender` and one :class:`SrtpReceiver` per transport.

The two sides differ in who knows a packet's index (rollover counter and sequence number, 48 bits):

- **Sending**, the caller does. It owns the extended sequence numbers of its SSRCs and passes the index to
  ``SrtpSender.seal``; nothing is guessed, and nothing is remembered here. The caller therefore also owns the
  rule that the confidentiality of AES-GCM and of counter mode hangs on: **an (SSRC, index) is sealed once,
  ever, under one key**.
- **Receiving**, it is estimated from the sequence number and the highest index authenticated so far
  (RFC 3711 3.3.1). Replays are refused before any cryptography, and state changes only after authentication.

A receiver that missed more than half a cycle of sequence numbers (or the first wrap of a stream it never saw)
estimates one rollover too few, for ever: RFC 3711 leaves it deaf. Here a packet that fails under the estimate
is tried under the next rollover too, so that a gap of up to 98,302 packets heals. That is safe, since only
the key's holder can make such a packet, and costs a second check of junk only.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from sfu.rtp.packet import RTP_VERSION, RtpError, header_length_untrusted
from sfu.rtp.srtp_crypto import (
    MAX_RTCP_INDEX,
    RTCP_CLEAR,
    RTCP_ENCRYPTED,
    SrtpError,
    SrtpProfile,
    SrtpReason,
    derive_session_keys,
    rtcp_transform,
    rtp_transform,
)

__all__ = ["SrtpError", "SrtpProfile", "SrtpReason", "SrtpReceiver", "SrtpSender"]

REPLAY_WINDOW: Final = 1024
"""Packets behind the highest one of a stream that may still arrive, once each."""
MAX_STREAMS: Final = 1024
"""SSRCs with receive state, for SRTP and for SRTCP. Only an authentic packet makes an entry, and it stays as
long as the key: to forget one would open it to replay."""
MAX_PACKET_SIZE: Final = 1500
"""Bytes. No sender fragments media on purpose; larger datagrams are refused unread."""
FIRST_RTCP_INDEX: Final = 1
"""As libsrtp counts, so that every peer has met it; RFC 3711 3.4 would begin at 0."""

_WINDOW_MASK: Final = (1 << REPLAY_WINDOW) - 1
_HALF: Final = 1 << 15
_CYCLE: Final = 1 << 16
_SEQUENCE_SSRC = Struct("!xxH4xI").unpack_from


class SrtpSender:
    """Protects what one transport sends, under one master key (RFC 3711 3.1)."""

    __slots__ = ("_rtcp", "next_rtcp_index", "profile", "seal")

    def __init__(
        self,
        profile: SrtpProfile,
        master_key: bytes,
        master_salt: bytes,
        *,
        first_rtcp_index: int = FIRST_RTCP_INDEX,
    ) -> None:
        """Raises :class:`ValueError` on a key or salt of the wrong length for ``profile``."""
        rtp_keys, rtcp_keys = derive_session_keys(profile, master_key, master_salt)
        self.profile = profile
        self.seal = rtp_transform(profile, rtp_keys).seal
        """``seal(header, payload, ssrc, index) -> bytes``: what to send right behind ``header``.

        The wire packet is ``header`` (RTP header with CSRCs and extension) followed by the result: ciphertext
        and tag, ``len(payload) + profile.tag_size`` bytes. ``payload`` includes RTP padding. ``index`` is the
        rollover counter times 2^16 plus the sequence number that ``header`` carries, and ``ssrc`` is the one
        it carries; neither is compared with it, for speed. Raises :class:`SrtpError` (``EXHAUSTED``) on an
        index outside 0 to 2^48 - 1.
        """
        self._rtcp = rtcp_transform(profile, rtcp_keys)
        self.next_rtcp_index = first_rtcp_index
        """31 bits. One count for all SSRCs of the transport: no (SSRC, index) repeats, no map to bound."""

    def protect_rtcp(self, packet: bytes) -> bytes:
        """A compound RTCP packet as SRTCP, encrypted (E = 1) (RFC 3711 3.4, RFC 7714 9).

        Raises :class:`SrtpError`: ``MALFORMED`` below 8 bytes, ``EXHAUSTED`` after 2^31 packets.
        """
        if len(packet) < RTCP_CLEAR:
            raise SrtpError(SrtpReason.MALFORMED)
        index = self.next_rtcp_index
        if index > MAX_RTCP_INDEX:
            raise SrtpError(SrtpReason.EXHAUSTED)
        self.next_rtcp_index = index + 1
        return self._rtcp.seal(packet, index)


class _Stream:
    """Highest authenticated index of one SSRC, and what was seen of the window behind it (RFC 3711 3.3.2)."""

    __slots__ = ("highest", "seen")

    def __init__(self, index: int) -> None:
        self.highest = index
        self.seen = 1  # bit n: index highest - n

    def is_stale(self, index: int) -> bool:
        """Whether ``index`` is behind the window, where replays cannot be told any more."""
        return self.highest - index >= REPLAY_WINDOW

    def is_replay(self, index: int) -> bool:
        """Whether ``index``, not stale, was accepted before."""
        behind = self.highest - index
        return behind >= 0 and self.seen >> behind & 1 == 1

    def accept(self, index: int) -> None:
        """Mark an authentic ``index`` that is neither stale nor a replay."""
        ahead = index - self.highest
        if ahead > 0:
            self.highest = index
            self.seen = (self.seen << ahead | 1) & _WINDOW_MASK if ahead < REPLAY_WINDOW else 1
        else:
            self.seen |= 1 << -ahead


class SrtpReceiver:
    """Opens what one peer sends under one master key. Any number of SSRCs, up to :data:`MAX_STREAMS`."""

    __slots__ = ("_open_rtp", "_rtcp", "_rtcp_streams", "_rtp_streams", "_tag_size", "profile")

    def __init__(self, profile: SrtpProfile, master_key: bytes, master_salt: bytes) -> None:
        """Raises :class:`ValueError` on a key or salt of the wrong length for ``profile``."""
        rtp_keys, rtcp_keys = derive_session_keys(profile, master_key, master_salt)
        self.profile = profile
        self._open_rtp = rtp_transform(profile, rtp_keys).open_untrusted
        self._rtcp = rtcp_transform(profile, rtcp_keys)
        self._tag_size = profile.tag_size
        self._rtp_streams: dict[int, _Stream] = {}
        self._rtcp_streams: dict[int, _Stream] = {}

    def unprotect_rtp_untrusted(self, data: bytes) -> bytes:
        """The whole RTP packet in the clear. Raises :class:`SrtpError` and then has changed nothing."""
        try:
            header_length = header_length_untrusted(data)
        except RtpError:
            raise SrtpError(SrtpReason.MALFORMED) from None
        if not header_length + self._tag_size <= len(data) <= MAX_PACKET_SIZE:
            raise SrtpError(SrtpReason.MALFORMED)
        sequence, ssrc = _SEQUENCE_SSRC(data)
        stream = self._rtp_streams.get(ssrc)
        if stream is None:
            return self._first_rtp_untrusted(data, header_length, ssrc, sequence)
        # The index nearest to the highest one (RFC 3711 3.3.1).
        highest = stream.highest
        ahead = ((sequence - highest + _HALF) & 0xFFFF) - _HALF
        index = highest + ahead
        if ahead <= 0:
            return self._late_rtp_untrusted(data, header_length, ssrc, index, stream)
        if (plain := self._open_rtp(data, header_length, ssrc, index)) is None:
            index += _CYCLE
            if (plain := self._open_rtp(data, header_length, ssrc, index)) is None:
                raise SrtpError(SrtpReason.AUTH)
        stream.accept(index)
        return plain

    def _late_rtp_untrusted(
        self, data: bytes, header_length: int, ssrc: int, index: int, stream: _Stream
    ) -> bytes:
        """A packet at or behind the highest: late, replayed, or from a later cycle."""
        stale = index < 0 or stream.is_stale(index)
        if not stale and stream.is_replay(index):
            raise SrtpError(SrtpReason.REPLAY)
        if stale or (plain := self._open_rtp(data, header_length, ssrc, index)) is None:
            index += _CYCLE
            if (plain := self._open_rtp(data, header_length, ssrc, index)) is None:
                raise SrtpError(SrtpReason.REPLAY if stale else SrtpReason.AUTH)
        stream.accept(index)
        return plain

    def _first_rtp_untrusted(self, data: bytes, header_length: int, ssrc: int, sequence: int) -> bytes:
        """The first packet of a stream: rollover counter 0, or 1 if all packets before the wrap were lost."""
        if len(self._rtp_streams) >= MAX_STREAMS:
            raise SrtpError(SrtpReason.TOO_MANY_STREAMS)
        index = sequence
        if (plain := self._open_rtp(data, header_length, ssrc, index)) is None:
            index += _CYCLE
            if (plain := self._open_rtp(data, header_length, ssrc, index)) is None:
                raise SrtpError(SrtpReason.AUTH)
        self._rtp_streams[ssrc] = _Stream(index)
        return plain

    def unprotect_rtcp_untrusted(self, data: bytes) -> bytes:
        """The compound RTCP packet in the clear. Raises :class:`SrtpError` and then has changed nothing.

        SRTCP that is authenticated but not encrypted (E = 0) is refused as ``MALFORMED``: no peer that we
        negotiate with sends it.
        """
        if (
            not RTCP_CLEAR + self._rtcp.overhead <= len(data) <= MAX_PACKET_SIZE
            or data[0] >> 6 != RTP_VERSION
        ):
            raise SrtpError(SrtpReason.MALFORMED)
        word = self._rtcp.index_word(data)
        if not word & RTCP_ENCRYPTED:
            raise SrtpError(SrtpReason.MALFORMED)
        index = word & MAX_RTCP_INDEX
        ssrc = int.from_bytes(data[4:8], "big")
        stream = self._rtcp_streams.get(ssrc)
        if stream is None:
            if len(self._rtcp_streams) >= MAX_STREAMS:
                raise SrtpError(SrtpReason.TOO_MANY_STREAMS)
        elif stream.is_stale(index) or stream.is_replay(index):
            raise SrtpError(SrtpReason.REPLAY)
        plain = self._rtcp.open_untrusted(data, ssrc, index)
        if plain is None:
            raise SrtpError(SrtpReason.AUTH)
        if stream is None:
            self._rtcp_streams[ssrc] = _Stream(index)
        else:
            stream.accept(index)
        return plain

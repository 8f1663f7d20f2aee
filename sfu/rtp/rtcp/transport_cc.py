"""Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 3.1).

One message reports on a run of transport-wide sequence numbers: for each whether it arrived, and when, as a
difference to the one before in ticks of 250 us. On the wire the statuses come first, packed into 16-bit
chunks, then the differences:

- run length: ``0 SS nnnnnnnnnnnnn``, one symbol for up to 8,191 packets;
- vector of 14 one-bit symbols: ``10 ...``, lost or small difference;
- vector of 7 two-bit symbols: ``11 ...``.

A symbol is 0 (lost), 1 (arrived, difference in one unsigned byte) or 2 (arrived, two signed bytes); 3 is
reserved and refused. A 20-byte message can claim 65,535 lost packets, so what is kept grows with the packets
that **arrived**, each of which has at least a byte here; the lost ones are what is left over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from sfu.rtp.packet import SEQUENCE_MODULUS, RtpError
from sfu.rtp.rtcp.feedback import RtpfbFormat
from sfu.rtp.rtcp.framing import Frame, PacketType, build_packet

TICK: Final = 0.00025
"""Seconds: the unit of arrival times."""
TICKS_PER_REFERENCE: Final = 256
"""The reference time counts 64 ms."""
MAX_STATUS_COUNT: Final = 0xFFFF
MAX_FEEDBACK_STATUSES: Final = 1000
"""Packets that one message of ours reports on."""
MAX_FEEDBACK_RECEIVED: Final = 400
"""Of which arrived. Both together keep a message within :data:`MAX_FEEDBACK_SIZE`."""
MAX_FEEDBACK_SIZE: Final = 1108
"""Bytes in a message of ours: 20, two for each received, two for each seven statuses, padding."""

_FIXED = Struct("!IIHHI")
_CHUNK = Struct("!H")
_DELTA = Struct("!h")
_LOST, _SMALL, _LARGE, _RESERVED = range(4)
_MAX_RUN = 0x1FFF
_ONE_BIT_VECTOR = 0x8000
_TWO_BIT_VECTOR = 0xC000


@dataclass(frozen=True, slots=True)
class TransportFeedback:
    """One feedback message."""

    sender_ssrc: int
    media_ssrc: int
    base_sequence: int
    """The first transport-wide sequence number that is reported on, 16 bits."""
    status_count: int
    """How many are reported on: 1 to 65,535."""
    reference_time: int
    """Signed 24 bits, in units of 64 ms on the reporter's clock: it wraps every 12 days."""
    feedback_count: int
    """Counts the reporter's messages, 8 bits."""
    received: tuple[tuple[int, int], ...]
    """``(offset from base_sequence, ticks since the one before)`` of those that arrived, offsets increasing.

    The first difference is to the reference time. Differences are 16 bits signed."""

    @classmethod
    def from_frame_untrusted(cls, frame: Frame) -> TransportFeedback:
        body, size = frame.body, len(frame.body)
        if size < _FIXED.size:
            raise RtpError("transport feedback is cut off")
        sender, media, base, count, packed = _FIXED.unpack_from(body)
        if not count:
            raise RtpError("transport feedback on no packets")
        arrived, offset = _statuses_untrusted(body, count)
        received = []
        for position, symbol in arrived:
            if symbol == _SMALL:
                if offset >= size:
                    raise RtpError("receive deltas are cut off")
                received.append((position, body[offset]))
                offset += 1
            else:
                if offset + 2 > size:
                    raise RtpError("receive deltas are cut off")
                received.append((position, _DELTA.unpack_from(body, offset)[0]))
                offset += 2
        reference = packed >> 8
        reference -= (reference & 0x800000) << 1
        return cls(sender, media, base, count, reference, packed & 0xFF, tuple(received))

    def to_bytes(self) -> bytes:
        """Raises :class:`ValueError` or :class:`struct.error` if a field is out of range or disordered."""
        previous = -1
        for offset, _ in self.received:
            if offset <= previous:
                raise ValueError("received packets out of order")
            previous = offset
        if not previous < self.status_count <= MAX_STATUS_COUNT or not self.status_count:
            raise ValueError("status count out of range")
        if not -(1 << 23) <= self.reference_time < 1 << 23 or not 0 <= self.feedback_count < 256:
            raise ValueError("reference time or feedback count out of range")
        packed = (self.reference_time & 0xFFFFFF) << 8 | self.feedback_count
        body = bytearray(
            _FIXED.pack(self.sender_ssrc, self.media_ssrc, self.base_sequence, self.status_count, packed)
        )
        symbols = bytearray(self.status_count)
        deltas = bytearray()
        for offset, ticks in self.received:
            if 0 <= ticks < 256:
                symbols[offset] = _SMALL
                deltas.append(ticks)
            else:
                symbols[offset] = _LARGE
                deltas += _DELTA.pack(ticks)
        for chunk in _chunks(symbols):
            body += _CHUNK.pack(chunk)
        body += deltas
        return build_packet(PacketType.RTPFB, RtpfbFormat.TRANSPORT_CC, bytes(body), pad=True)

    def arrivals(self) -> Iterator[tuple[int, float]]:
        """``(sequence number, arrival)`` of the packets that arrived, in the order of their numbers.

        Seconds on the reporter's clock, of which only differences mean anything. They may go backwards.
        """
        ticks = self.reference_time * TICKS_PER_REFERENCE
        for offset, delta in self.received:
            ticks += delta
            yield (self.base_sequence + offset) % SEQUENCE_MODULUS, ticks * TICK

    def statuses(self) -> Iterator[tuple[int, float | None]]:
        """``(sequence number, arrival or None)`` of every packet reported on: up to 65,535, made lazily."""
        expected = 0
        for (offset, _), (number, arrival) in zip(self.received, self.arrivals(), strict=True):
            for lost in range(expected, offset):
                yield (self.base_sequence + lost) % SEQUENCE_MODULUS, None
            yield number, arrival
            expected = offset + 1
        for lost in range(expected, self.status_count):
            yield (self.base_sequence + lost) % SEQUENCE_MODULUS, None


def _statuses_untrusted(body: bytes, count: int) -> tuple[list[tuple[int, int]], int]:
    """``(offset, symbol)`` of those that arrived, and where the differences begin.

    Work and memory are bounded by the length of ``body``: a run of arrivals longer than the bytes that must
    follow for it is refused before it is written out.
    """
    size = len(body)
    at, position, needed = _FIXED.size, 0, 0
    arrived: list[tuple[int, int]] = []
    while position < count:
        if at + 2 > size:
            raise RtpError("status chunks are cut off")
        chunk = body[at] << 8 | body[at + 1]
        at += 2
        if chunk < _ONE_BIT_VECTOR:
            symbol, run = chunk >> 13, min(chunk & _MAX_RUN, count - position)
            if symbol == _RESERVED:
                raise RtpError("reserved packet status")
            if symbol:
                needed += symbol * run
                if needed > size:
                    raise RtpError("receive deltas are cut off")
                arrived += [(offset, symbol) for offset in range(position, position + run)]
            position += run
        else:
            two_bits = chunk >= _TWO_BIT_VECTOR
            width, mask = (2, 3) if two_bits else (1, 1)
            shifts = range(12, -1, -2) if two_bits else range(13, -1, -1)
            for offset, shift in zip(range(position, count), shifts, strict=False):
                symbol = chunk >> shift & mask
                if symbol == _RESERVED:
                    raise RtpError("reserved packet status")
                if symbol:
                    arrived.append((offset, symbol))
            position += 14 // width
    return arrived, at


def _chunks(symbols: bytearray) -> Iterator[int]:
    """Pack symbols: every chunk but the last covers at least seven."""
    at, count = 0, len(symbols)
    while at < count:
        symbol = symbols[at]
        run = 1
        while run < _MAX_RUN and at + run < count and symbols[at + run] == symbol:
            run += 1
        if run >= 14 or at + run == count:
            yield symbol << 13 | run
            at += run
            continue
        window = symbols[at : at + 14]
        if _LARGE not in window:
            bits = 0
            for value in window:
                bits = bits << 1 | value
            yield _ONE_BIT_VECTOR | bits << 14 - len(window)
            at += 14
        elif run >= 7:
            yield symbol << 13 | run
            at += run
        else:
            bits = 0
            for value in window[:7]:
                bits = bits << 2 | value
            yield _TWO_BIT_VECTOR | bits << 2 * (7 - len(window[:7]))
            at += 7


def build_transport_feedback(
    sender_ssrc: int,
    media_ssrc: int,
    arrivals: Iterable[tuple[int, float]],
    feedback_count: int,
    *,
    base: int | None = None,
) -> list[TransportFeedback]:
    """Feedback on packets that arrived, in as many messages as it takes.

    ``arrivals`` are ``(extended sequence number, seconds)`` on any clock, in any order; of a repeated number
    the first counts. ``base`` is the extended number after the last one reported on before, so that losses
    in between are told; without it (or if it is not just behind), reporting begins with the first arrival.
    Messages take the numbers from ``feedback_count`` on, modulo 256. A new message begins when the last is
    full, or when two neighbours' arrivals are more than 8 s apart; a hole of :data:`MAX_FEEDBACK_STATUSES`
    or more between two messages is left out of both.
    """
    ticks_by_number: dict[int, int] = {}
    for number, seconds in arrivals:
        ticks_by_number.setdefault(number, round(seconds / TICK))
    messages: list[TransportFeedback] = []
    received: list[tuple[int, int]] = []
    first = reference = previous = 0

    def finish() -> None:
        messages.append(
            TransportFeedback(
                sender_ssrc,
                media_ssrc,
                first % SEQUENCE_MODULUS,
                received[-1][0] + 1,
                (reference + (1 << 23)) % (1 << 24) - (1 << 23),
                (feedback_count + len(messages)) % 256,
                tuple(received),
            )
        )

    for number in sorted(ticks_by_number):
        ticks = ticks_by_number[number]
        if received and (
            len(received) == MAX_FEEDBACK_RECEIVED
            or number - first >= MAX_FEEDBACK_STATUSES
            or not -0x8000 <= ticks - previous <= 0x7FFF
        ):
            finish()
            base = first + received[-1][0] + 1
            received = []
        if not received:
            first = number if base is None or not 0 <= number - base < MAX_FEEDBACK_STATUSES else base
            reference = ticks // TICKS_PER_REFERENCE
            previous = reference * TICKS_PER_REFERENCE
        received.append((number - first, ticks - previous))
        previous = ticks
    if received:
        finish()
    return messages

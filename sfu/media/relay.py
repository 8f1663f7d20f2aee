"""Passing messages of data channels on, with their PPID and boundaries (RFC 8831), and answering DCEP.

Nothing that one receiver does may hold up the sender or another receiver, so a receiver that is too slow for
what it consumes loses something, by the kind of channel:

- with a reliability limit (``maxRetransmits``, ``maxPacketLifeTime``): the oldest messages that wait for it.
  A new input is worth more than an old one.
- reliable: the channel. Leaving a message out would break what it promises, and waiting has no end. What was
  accepted until then is still delivered, then the stream is reset, so that the receiver sees its channel
  close; its other channels and its media go on.

How much may wait is said in :mod:`sfu.sctp.send_queue`. In the other direction, the receive window of the
association bounds what a sender can make us hold (:mod:`sfu.sctp.inbound`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sfu.media.objects import DataConsumer, DataProducer, RoutedTransport
from sfu.media.transport import TransportState
from sfu.sctp.dcep import DataChannelAck, DataChannelOpen, DcepError, parse_dcep_untrusted
from sfu.sctp.errors import Refusal, SendRefused
from sfu.sctp.ppid import DCEP


@dataclass(slots=True)
class RelayCounters:
    """What slow receivers have lost, in total."""

    messages_superseded: int = 0
    """Messages with a reliability limit, dropped for newer ones of their channel."""
    messages_refused: int = 0
    """Messages that were not accepted at all: the association is not up, or full."""
    channels_overflowed: int = 0
    """Reliable channels closed because their receiver was too slow."""


class DataRelay:
    """``stir(transport)`` is called for everyone who has something to send now, ``fault(transport, error,
    now)`` for a receiver whose own state raised what nothing expects."""

    def __init__(
        self,
        stir: Callable[[RoutedTransport], None],
        fault: Callable[[RoutedTransport, Exception, float], None],
    ) -> None:
        self.counters = RelayCounters()
        self._stir = stir
        self._fault = fault

    def relay(self, producer: DataProducer, ppid: int, data: bytes, now: float) -> None:
        """Pass a message on to all who consume it."""
        broken: list[tuple[RoutedTransport, Exception]] = []
        overflowed: list[DataConsumer] = []
        for consumer in producer.consumers.values():
            target = consumer.transport
            if target.wire.state is not TransportState.CONNECTED:
                continue
            try:
                superseded = target.wire.send_data(
                    consumer.stream_id,
                    ppid,
                    data,
                    now,
                    ordered=consumer.ordered,
                    max_retransmits=consumer.max_retransmits,
                    max_lifetime=consumer.max_lifetime,
                )
            except SendRefused as refused:
                consumer.dropped += 1
                self.counters.messages_refused += 1
                if refused.reason is Refusal.BUFFER_FULL and _reliable(consumer):
                    overflowed.append(consumer)
            except Exception as error:  # noqa: BLE001 - the receiver's fault must not be the sender's
                broken.append((target, error))
            else:
                if superseded:
                    consumer.dropped += superseded
                    self.counters.messages_superseded += superseded
                self._stir(target)
        for consumer in overflowed:
            self._close(consumer, now)
        for target, reason in broken:
            self._fault(target, reason, now)

    def _close(self, consumer: DataConsumer, now: float) -> None:
        """Close a reliable channel whose receiver is too slow, after what it was promised (RFC 8831 6.7)."""
        self.counters.channels_overflowed += 1
        consumer.producer.consumers.pop(consumer.id, None)
        consumer.transport.data_consumers.pop(consumer.id, None)
        consumer.transport.wire.reset_stream(consumer.stream_id, now)
        self._stir(consumer.transport)

    @staticmethod
    def answer_dcep_untrusted(transport: RoutedTransport, stream_id: int, data: bytes, now: float) -> None:
        """Answer a DATA_CHANNEL_OPEN (RFC 8832): the channel works once signaling declares its producer."""
        try:
            message = parse_dcep_untrusted(data)
        except DcepError:
            return
        if not isinstance(message, DataChannelOpen):
            return
        try:
            transport.wire.send_data(stream_id, DCEP, DataChannelAck().encode(), now)
        except SendRefused:
            return


def _reliable(consumer: DataConsumer) -> bool:
    return consumer.max_retransmits is None and consumer.max_lifetime is None

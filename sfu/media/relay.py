"""Passing messages of data channels on, with their PPID and boundaries (RFC 8831), and answering DCEP."""

from __future__ import annotations

from collections.abc import Callable

from sfu.media.objects import DataProducer, RoutedTransport
from sfu.media.transport import TransportState
from sfu.sctp.dcep import DataChannelAck, DataChannelOpen, DcepError, parse_dcep_untrusted
from sfu.sctp.errors import SendRefused
from sfu.sctp.ppid import DCEP


class DataRelay:
    """``stir(transport)`` is called for everyone who has something to send now, ``fault(transport, error,
    now)`` for a receiver whose own state raised what nothing expects."""

    def __init__(
        self,
        stir: Callable[[RoutedTransport], None],
        fault: Callable[[RoutedTransport, Exception, float], None],
    ) -> None:
        self._stir = stir
        self._fault = fault

    def relay(self, producer: DataProducer, ppid: int, data: bytes, now: float) -> None:
        """Pass a message on to all who consume it."""
        broken: list[tuple[RoutedTransport, Exception]] = []
        for consumer in producer.consumers.values():
            target = consumer.transport
            if target.wire.state is not TransportState.CONNECTED:
                continue
            try:
                target.wire.send_data(
                    consumer.stream_id,
                    ppid,
                    data,
                    now,
                    ordered=consumer.ordered,
                    max_retransmits=consumer.max_retransmits,
                    max_lifetime=consumer.max_lifetime,
                )
            except SendRefused:
                consumer.dropped += 1
            except Exception as error:  # noqa: BLE001 - the receiver's fault must not be the sender's
                broken.append((target, error))
            else:
                self._stir(target)
        for target, reason in broken:
            self._fault(target, reason, now)

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

"""Whose an SSRC is that signaling did not name: its packets say it, by MID and RID (RFC 8852)."""

from __future__ import annotations

from dataclasses import dataclass

from sfu.media.objects import Producer, ReceivedStream, RoutedTransport
from sfu.rtp.extensions import ExtensionUri, decode_text_untrusted, packet_elements_untrusted
from sfu.rtp.packet import parse_untrusted


@dataclass(frozen=True, slots=True)
class Discovery:
    """Whose packet it was."""

    ssrc: int
    producer: Producer
    index: int
    """Of its encoding among the producer's."""
    repairs: ReceivedStream | None
    """The stream that the SSRC retransmits; None if it is a media stream itself."""


def discover_untrusted(transport: RoutedTransport, plain: bytes) -> Discovery | None:
    """Find the encoding that an opened packet of an unknown SSRC belongs to, if there is one that lacks it.

    Raises :class:`sfu.rtp.packet.RtpError` for a malformed packet.
    """
    packet = parse_untrusted(plain)
    elements = packet_elements_untrusted(packet)
    for producer in transport.producers.values():
        ids = {e.uri: e.id for e in producer.parameters.header_extensions}

        def text(uri: ExtensionUri, ids: dict[str, int] = ids) -> str | None:
            found = elements.get(ids.get(uri, 0))
            if found is None:
                return None
            return decode_text_untrusted(plain[found[0] : found[0] + found[1]])

        mid = text(ExtensionUri.MID)
        if mid is not None and mid != producer.parameters.mid:
            continue
        if mid is None and len(transport.producers) > 1:
            continue
        rid, repaired = text(ExtensionUri.RTP_STREAM_ID), text(ExtensionUri.REPAIRED_RTP_STREAM_ID)
        for index, encoding in enumerate(producer.mapping.encodings):
            if encoding.ssrc is not None:
                continue
            known = next((s for s in producer.streams if s.index == index), None)
            if known is None and repaired is None and rid == encoding.rid:
                return Discovery(packet.ssrc, producer, index, None)
            if known is not None and repaired is not None and repaired == encoding.rid:
                return Discovery(packet.ssrc, producer, index, known)
    return None

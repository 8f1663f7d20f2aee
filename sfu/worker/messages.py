"""The control channel between the node and a media worker: typed requests, results and events.

Messages are MessagePack, each behind its length in four bytes, over a socketpair. The node calls, the worker
answers in order; events travel upwards between answers. Both ends are ours and of one version.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from sfu.media.events import DataProducerClosed, Fault, ProducerClosed, TransportClosed
from sfu.worker.limits import IceTcpLimits
from sfu.worker.port import JsonObject, Kind

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes of one control message; a larger one means that the channel is out of step."""

_LENGTH = struct.Struct("!I")


class Configure(Struct, frozen=True, tag=True):
    """First request: bind the ports. The result is the worker's :class:`Ready`."""

    listen_ip: str
    announced: tuple[str, ...]
    """Addresses to put into candidates, best first, until :class:`Announce` tells others."""
    port: int
    """UDP port; 0 lets the kernel choose (tests)."""
    tcp_port: int | None
    """None: no ICE-TCP; 0 lets the kernel choose."""
    video_codecs: tuple[str, ...]
    ice_tcp_limits: IceTcpLimits = IceTcpLimits()
    require_binary_data_channel: bool = True
    """Whether text closes a data producer whose protocol is not ``json`` (``signaling.md`` 5.7)."""


class Ready(Struct, frozen=True):
    """Answer to :class:`Configure`."""

    port: int
    tcp_port: int | None
    rtp_capabilities: JsonObject
    engine: str


class Announce(Struct, frozen=True, tag=True):
    """The addresses of this machine as clients see them have changed: for transports made from now on."""

    announced: tuple[str, ...]


class Ping(Struct, frozen=True, tag=True):
    """Answered at once by a worker that is alive."""


class CreateRouter(Struct, frozen=True, tag=True):
    router_id: str


class CloseRouter(Struct, frozen=True, tag=True):
    router_id: str


class CreateTransport(Struct, frozen=True, tag=True):
    router_id: str
    transport_id: str


class ConnectTransport(Struct, frozen=True, tag=True):
    transport_id: str
    dtls_parameters: JsonObject


class RestartIce(Struct, frozen=True, tag=True):
    transport_id: str


class CloseTransport(Struct, frozen=True, tag=True):
    transport_id: str


class Produce(Struct, frozen=True, tag=True):
    transport_id: str
    producer_id: str
    kind: Kind
    rtp_parameters: JsonObject
    replaces: str | None = None


class CloseProducer(Struct, frozen=True, tag=True):
    producer_id: str


class Consume(Struct, frozen=True, tag=True):
    transport_id: str
    consumer_id: str
    producer_id: str
    rtp_capabilities: JsonObject
    ignore_dtx: bool


class ProduceData(Struct, frozen=True, tag=True):
    transport_id: str
    data_producer_id: str
    sctp_stream_parameters: JsonObject
    label: str
    protocol: str
    replaces: str | None = None


class CloseDataProducer(Struct, frozen=True, tag=True):
    data_producer_id: str


class ConsumeData(Struct, frozen=True, tag=True):
    transport_id: str
    data_consumer_id: str
    data_producer_id: str


class GetStats(Struct, frozen=True, tag=True):
    """The result is a :class:`sfu.media.stats.WorkerStats`."""


Request: TypeAlias = (
    Configure
    | Announce
    | Ping
    | CreateRouter
    | CloseRouter
    | CreateTransport
    | ConnectTransport
    | RestartIce
    | CloseTransport
    | Produce
    | CloseProducer
    | Consume
    | ProduceData
    | CloseDataProducer
    | ConsumeData
    | GetStats
)

WorkerEvent: TypeAlias = TransportClosed | ProducerClosed | DataProducerClosed | Fault


class Call(Struct, frozen=True):
    """Node to worker."""

    id: int
    request: Request


class Result(Struct, frozen=True, tag=True):
    """Worker to node: the answer to one call. Exactly one of the two is meant: a value, or the refusal."""

    id: int
    value: Any = None
    error: str | None = None
    cause: str = ""
    """What the log is to say beyond the error."""


class Notice(Struct, frozen=True, tag=True):
    """Worker to node: something happened unasked."""

    event: WorkerEvent


Upward: TypeAlias = Result | Notice

_encoder = msgspec.msgpack.Encoder()
call_decoder = msgspec.msgpack.Decoder(Call)
upward_decoder: msgspec.msgpack.Decoder[Upward] = msgspec.msgpack.Decoder(Upward)


class ChannelError(Exception):
    """The control channel is out of step; the other end must be considered lost."""


def encode(message: Call | Upward) -> bytes:
    """One message with its length in front."""
    body = _encoder.encode(message)
    if len(body) > MAX_MESSAGE:
        raise ChannelError(f"control message of {len(body)} bytes")
    return _LENGTH.pack(len(body)) + body


class Splitter:
    """Cuts a byte stream into message bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """All messages that ``data`` completes. Raises :class:`ChannelError` for an impossible length."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_MESSAGE:
                raise ChannelError(f"control message of {length} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield body

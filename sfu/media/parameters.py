"""RTP capabilities and parameters in the shape that ``mediasoup-client`` sends and expects (ORTC).

Field names on the wire are camelCase. Optional members are absent, not null.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

JsonObject: TypeAlias = dict[str, Any]
Kind: TypeAlias = Literal["audio", "video"]
Direction: TypeAlias = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
CodecSettings: TypeAlias = dict[str, str | int | float | bool | None]

MAX_CODECS = 64
MAX_HEADER_EXTENSIONS = 64
MAX_ENCODINGS = 8


class OrtcError(ValueError):
    """Parameters that are malformed or that this router does not support."""


class RtcpFeedback(Struct, rename="camel", frozen=True):
    """One ``a=rtcp-fb`` (RFC 4585)."""

    type: str
    parameter: str | None = ""

    def is_generic_nack(self) -> bool:
        return self.type == "nack" and not self.parameter


class CodecCapability(Struct, rename="camel"):
    """A codec that one side can send or receive."""

    kind: Kind
    mime_type: str
    clock_rate: int
    channels: int | UnsetType = UNSET
    rtcp_feedback: list[RtcpFeedback] = []
    parameters: CodecSettings = {}
    preferred_payload_type: int | UnsetType = UNSET


class HeaderExtension(Struct, rename="camel"):
    """An RTP header extension that one side supports (RFC 8285)."""

    uri: str
    preferred_id: int
    kind: Literal["audio", "video", ""] = ""
    preferred_encrypt: bool = False
    direction: Direction = "sendrecv"


class RtpCapabilities(Struct, rename="camel"):
    """What a router or a client can handle."""

    codecs: list[CodecCapability] = []
    header_extensions: list[HeaderExtension] = []


class CodecParameters(Struct, rename="camel"):
    """A codec in use."""

    mime_type: str
    payload_type: int
    clock_rate: int
    channels: int | UnsetType = UNSET
    parameters: CodecSettings = {}
    rtcp_feedback: list[RtcpFeedback] = []


class HeaderExtensionParameters(Struct, rename="camel"):
    """A header extension in use."""

    uri: str
    id: int
    encrypt: bool = False
    parameters: CodecSettings = {}


class RtxParameters(Struct, rename="camel"):
    """The retransmission stream of an encoding (RFC 4588)."""

    ssrc: int


class Encoding(Struct, rename="camel"):
    """One RTP stream of a producer or consumer."""

    ssrc: int | UnsetType = UNSET
    rid: str | UnsetType = UNSET
    codec_payload_type: int | UnsetType = UNSET
    rtx: RtxParameters | UnsetType = UNSET
    dtx: bool | UnsetType = UNSET
    scalability_mode: str | UnsetType = UNSET
    max_bitrate: float | UnsetType = UNSET


class RtcpParameters(Struct, rename="camel"):
    """RTCP of a producer or consumer."""

    cname: str | UnsetType = UNSET
    reduced_size: bool = True


class RtpParameters(Struct, rename="camel"):
    """Everything needed to send or receive one track."""

    codecs: list[CodecParameters]
    header_extensions: list[HeaderExtensionParameters] = []
    encodings: list[Encoding] = []
    rtcp: RtcpParameters = msgspec.field(default_factory=RtcpParameters)
    mid: str | UnsetType = UNSET


class SctpStreamParameters(Struct, rename="camel"):
    """Ordering and reliability of one data channel (RFC 8831 6.4)."""

    stream_id: int
    ordered: bool | UnsetType = UNSET
    max_packet_life_time: int | UnsetType = UNSET
    """Milliseconds."""
    max_retransmits: int | UnsetType = UNSET


class DtlsFingerprint(Struct, rename="camel"):
    """Hash of a certificate (RFC 8122)."""

    algorithm: str
    value: str


class DtlsParameters(Struct, rename="camel"):
    """The client's side of DTLS, from ``sfu-connect-transport``."""

    fingerprints: list[DtlsFingerprint]
    role: Literal["auto", "client", "server"] = "auto"


T = TypeVar("T")


def decode_untrusted(payload: object, kind: type[T]) -> T:
    """Turn decoded JSON into ``kind``. Raises :class:`OrtcError` with a sentence that names the field."""
    try:
        return msgspec.convert(payload, kind)
    except msgspec.ValidationError as error:
        raise OrtcError(f"invalid parameters: {error}") from None


def to_json(parameters: Struct) -> JsonObject:
    """The plain JSON object of any structure of this module."""
    result: JsonObject = msgspec.to_builtins(parameters)
    return result

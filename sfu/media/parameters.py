"""RTP capabilities and parameters in the shape that ``mediasoup-client`` sends and expects (ORTC).

Field names on the wire are camelCase. Optional members are absent, not null.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

MAX_CODECS = 64
MAX_HEADER_EXTENSIONS = 64
MAX_ENCODINGS = 8
MAX_SETTINGS = 32
"""Entries in the ``parameters`` of one codec or header extension."""
MAX_FEEDBACK = 16
"""Kinds of feedback of one codec."""
MAX_WORD = 64
"""Characters of a MIME type, a kind of feedback, a scalability mode.

What a consumer is told is made of these: at its longest it fits into one control message.
"""

JsonObject: TypeAlias = dict[str, Any]
Kind: TypeAlias = Literal["audio", "video"]
Direction: TypeAlias = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Word: TypeAlias = Annotated[str, Meta(max_length=MAX_WORD)]
CodecSettings: TypeAlias = Annotated[
    dict[str, str | int | float | bool | None], Meta(max_length=MAX_SETTINGS)
]


class OrtcError(ValueError):
    """Parameters that are malformed or that this router does not support."""


class RtcpFeedback(Struct, rename="camel", frozen=True):
    """One ``a=rtcp-fb`` (RFC 4585)."""

    type: Word
    parameter: Word | None = ""

    def is_generic_nack(self) -> bool:
        return self.type == "nack" and not self.parameter


Feedback: TypeAlias = Annotated[list[RtcpFeedback], Meta(max_length=MAX_FEEDBACK)]


class CodecCapability(Struct, rename="camel"):
    """A codec that one side can send or receive."""

    kind: Kind
    mime_type: Word
    clock_rate: int
    channels: int | UnsetType = UNSET
    rtcp_feedback: Feedback = []
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

    codecs: Annotated[list[CodecCapability], Meta(max_length=MAX_CODECS)] = []
    header_extensions: Annotated[list[HeaderExtension], Meta(max_length=MAX_HEADER_EXTENSIONS)] = []


class CodecParameters(Struct, rename="camel"):
    """A codec in use."""

    mime_type: Word
    payload_type: int
    clock_rate: int
    channels: int | UnsetType = UNSET
    parameters: CodecSettings = {}
    rtcp_feedback: Feedback = []


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
    scalability_mode: Word | UnsetType = UNSET
    max_bitrate: float | UnsetType = UNSET
    scale_resolution_down_by: float | UnsetType | None = UNSET


class RtcpParameters(Struct, rename="camel"):
    """RTCP of a producer or consumer."""

    cname: str | UnsetType = UNSET
    reduced_size: bool = True


class RtpParameters(Struct, rename="camel"):
    """Everything needed to send or receive one track."""

    codecs: Annotated[list[CodecParameters], Meta(max_length=MAX_CODECS)]
    header_extensions: Annotated[list[HeaderExtensionParameters], Meta(max_length=MAX_HEADER_EXTENSIONS)] = []
    encodings: Annotated[list[Encoding], Meta(max_length=MAX_ENCODINGS)] = []
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

"""ORTC negotiation: from what a producer sends to what each consumer is told to expect.

A producer keeps the payload types, SSRCs and extension ids of its browser; consumers see the router's. The
path is: the producer's parameters -> :func:`producer_mapping` -> :func:`consumable_parameters` (kept with
the producer) -> :func:`consumer_parameters` (one per consumer).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec
from msgspec import UNSET

from sfu.media.parameters import (
    CodecCapability,
    CodecParameters,
    CodecSettings,
    Encoding,
    HeaderExtensionParameters,
    Kind,
    OrtcError,
    RtcpParameters,
    RtpCapabilities,
    RtpParameters,
    RtxParameters,
)
from sfu.rtp.extensions import ExtensionUri

_MIME_TYPE = re.compile(r"(audio|video)/[\w.+-]{1,32}", re.ASCII | re.IGNORECASE)
_SCALABILITY_MODE = re.compile(r"[LS]([1-9])T([1-9])")
_PLAIN = re.compile(r"[ -~]{0,255}")
"""What a viewer's client may copy into a line of its SDP: anything but the end of that line."""
_PROFILE_LEVEL_ID = re.compile(r"[0-9a-fA-F]{6}")

_H264_DEFAULT_PROFILE = "42001f"
_H264_PROFILES: tuple[tuple[int, int, int, str], ...] = (
    # profile_idc, mask of constraint flags that matter, their values, profile (RFC 6184 8.1, table 5)
    (0x42, 0x4F, 0x40, "constrained-baseline"),
    (0x4D, 0x8F, 0x80, "constrained-baseline"),
    (0x58, 0xCF, 0xC0, "constrained-baseline"),
    (0x42, 0x4F, 0x00, "baseline"),
    (0x58, 0xCF, 0x80, "baseline"),
    (0x4D, 0xAF, 0x00, "main"),
    (0x64, 0xFF, 0x00, "high"),
    (0x64, 0xFF, 0x0C, "constrained-high"),
)


@dataclass(frozen=True, slots=True)
class EncodingMapping:
    """One stream of a producer and the SSRC it is known by inside the router."""

    mapped_ssrc: int
    ssrc: int | None
    """None until it is learnt from the RID extension."""
    rid: str | None
    rtx_ssrc: int | None


@dataclass(frozen=True, slots=True)
class RtpMapping:
    """How a producer's numbers become the router's."""

    payload_types: dict[int, int]
    """The producer's payload type to the router's, media and RTX."""
    encodings: tuple[EncodingMapping, ...]


def is_rtx(codec: CodecCapability | CodecParameters) -> bool:
    return codec.mime_type.lower().endswith("/rtx")


def validate_rtp_parameters(kind: Kind, parameters: RtpParameters) -> RtpParameters:
    """Check a producer's parameters and fill in an empty encoding list. Raises :class:`OrtcError`."""
    if not parameters.codecs:
        raise OrtcError("rtpParameters.codecs is empty: a producer needs at least one codec")
    seen: set[int] = set()
    for codec in parameters.codecs:
        if not _MIME_TYPE.fullmatch(codec.mime_type):
            raise OrtcError("invalid codec.mimeType")
        if not codec.mime_type.lower().startswith(kind):
            raise OrtcError(f"codec {codec.mime_type} does not match kind {kind}")
        if not 0 <= codec.payload_type <= 127 or codec.payload_type in seen:
            raise OrtcError(f"invalid or repeated codec.payloadType {codec.payload_type}")
        if codec.clock_rate <= 0:
            raise OrtcError("invalid codec.clockRate")
        texts = [*codec.parameters, *(v for v in codec.parameters.values() if isinstance(v, str))]
        if not all(map(_PLAIN.fullmatch, texts)):
            raise OrtcError("invalid codec.parameters")
        seen.add(codec.payload_type)
    for codec in filter(is_rtx, parameters.codecs):
        if not any(
            c.payload_type == codec.parameters.get("apt") and not is_rtx(c) for c in parameters.codecs
        ):
            raise OrtcError(f"RTX payload type {codec.payload_type} names no codec in apt")
    ids: set[int] = set()
    for extension in parameters.header_extensions:
        if not 1 <= extension.id <= 255 or extension.id in ids:
            raise OrtcError(f"invalid or repeated headerExtension id {extension.id}")
        if extension.encrypt:
            raise OrtcError("encrypted header extensions are not supported")
        ids.add(extension.id)
    ssrcs: set[int] = set()
    for encoding in parameters.encodings:
        rtx_ssrc = encoding.rtx.ssrc if encoding.rtx is not UNSET else UNSET
        for ssrc in (encoding.ssrc, rtx_ssrc):
            if ssrc is UNSET:
                continue
            if not 0 < ssrc < 2**32 or ssrc in ssrcs:
                raise OrtcError("invalid or repeated ssrc in encodings")
            ssrcs.add(ssrc)
        if encoding.rid is not UNSET and not (0 < len(encoding.rid) <= 32 and encoding.rid.isascii()):
            raise OrtcError("invalid rid in encodings")
    encodings = parameters.encodings or [Encoding()]
    if len(encodings) > 1 and any(e.ssrc is UNSET and e.rid is UNSET for e in encodings):
        raise OrtcError("each of several encodings needs an ssrc or a rid")
    return msgspec.structs.replace(parameters, encodings=encodings)


def producer_mapping(
    parameters: RtpParameters, capabilities: RtpCapabilities, first_mapped_ssrc: int
) -> RtpMapping:
    """Match a producer's codecs with the router's. Raises :class:`OrtcError` for one the router lacks."""
    payload_types: dict[int, int] = {}
    for codec in parameters.codecs:
        if is_rtx(codec):
            continue
        match = next((c for c in capabilities.codecs if _codecs_match(codec, c)), None)
        if match is None:
            raise OrtcError(
                f"unsupported codec [mimeType:{codec.mime_type}, payloadType:{codec.payload_type}]"
            )
        payload_types[codec.payload_type] = _preferred(match)
    for codec in filter(is_rtx, parameters.codecs):
        media = payload_types[_apt(codec)]
        rtx = _rtx_of(capabilities, media)
        if rtx is None:
            raise OrtcError(f"no RTX codec in the router for payload type {media}")
        payload_types[codec.payload_type] = _preferred(rtx)
    encodings = tuple(
        EncodingMapping(
            mapped_ssrc=(first_mapped_ssrc + i) % 2**32 or 1,
            ssrc=encoding.ssrc if encoding.ssrc is not UNSET else None,
            rid=encoding.rid if encoding.rid is not UNSET else None,
            rtx_ssrc=encoding.rtx.ssrc if encoding.rtx is not UNSET else None,
        )
        for i, encoding in enumerate(parameters.encodings)
    )
    return RtpMapping(payload_types, encodings)


def consumable_parameters(
    kind: Kind, parameters: RtpParameters, capabilities: RtpCapabilities, mapping: RtpMapping, cname: str
) -> RtpParameters:
    """The producer as consumers may see it: the router's numbers, the producer's codec settings."""
    codecs: list[CodecParameters] = []
    for codec in parameters.codecs:
        if is_rtx(codec):
            continue
        payload_type = mapping.payload_types[codec.payload_type]
        ours = next(c for c in capabilities.codecs if _preferred(c) == payload_type)
        codecs.append(
            CodecParameters(
                mime_type=ours.mime_type,
                payload_type=payload_type,
                clock_rate=ours.clock_rate,
                channels=ours.channels,
                parameters=dict(codec.parameters),
                rtcp_feedback=list(ours.rtcp_feedback),
            )
        )
        rtx = _rtx_of(capabilities, payload_type)
        if rtx is not None:
            codecs.append(
                CodecParameters(
                    mime_type=rtx.mime_type,
                    payload_type=_preferred(rtx),
                    clock_rate=rtx.clock_rate,
                    parameters=dict(rtx.parameters),
                    rtcp_feedback=list(rtx.rtcp_feedback),
                )
            )
    extensions = [
        HeaderExtensionParameters(uri=e.uri, id=e.preferred_id)
        for e in capabilities.header_extensions
        if e.kind == kind and e.direction in ("sendrecv", "sendonly")
    ]
    encodings = [
        Encoding(
            ssrc=mapped.mapped_ssrc,
            codec_payload_type=encoding.codec_payload_type,
            dtx=encoding.dtx,
            scalability_mode=encoding.scalability_mode,
            max_bitrate=encoding.max_bitrate,
        )
        for encoding, mapped in zip(parameters.encodings, mapping.encodings, strict=True)
    ]
    return RtpParameters(
        codecs=codecs,
        header_extensions=extensions,
        encodings=encodings,
        rtcp=RtcpParameters(cname=cname, reduced_size=True),
    )


def can_consume(consumable: RtpParameters, capabilities: RtpCapabilities) -> bool:
    """Whether at least one media codec of a producer suits the consumer."""
    return any(not is_rtx(codec) for codec, _ in _matching_codecs(consumable, capabilities))


def consumer_parameters(
    kind: Kind,
    consumable: RtpParameters,
    capabilities: RtpCapabilities,
    *,
    ssrc: int,
    rtx_ssrc: int,
    mid: str,
) -> RtpParameters:
    """What one consumer is told to expect. Raises :class:`OrtcError` where it cannot consume at all."""
    matching = _matching_codecs(consumable, capabilities)
    media = {codec.payload_type for codec, _ in matching if not is_rtx(codec)}
    if not media:
        raise OrtcError("cannot consume")
    offered = {(e.uri, e.preferred_id) for e in capabilities.header_extensions}
    extensions = [e for e in consumable.header_extensions if (e.uri, e.id) in offered]
    uris = {e.uri for e in extensions}
    unwanted = {
        "goog-remb" if ExtensionUri.TRANSPORT_WIDE_CC in uris else "",
        "transport-cc" if ExtensionUri.TRANSPORT_WIDE_CC not in uris else "",
        "goog-remb" if ExtensionUri.ABS_SEND_TIME not in uris else "",
    }
    codecs = []
    with_rtx = False
    for codec, theirs in matching:
        if is_rtx(codec):
            if kind == "audio" or _apt(codec) not in media:
                continue
            with_rtx = True
        feedback = [
            f
            for f in theirs.rtcp_feedback
            if f.type not in unwanted and not (kind == "audio" and f.is_generic_nack())
        ]
        codecs.append(msgspec.structs.replace(codec, rtcp_feedback=feedback))
    encoding = Encoding(ssrc=ssrc, scalability_mode=_scalability_mode(consumable.encodings))
    if with_rtx:
        encoding.rtx = RtxParameters(rtx_ssrc)
    bitrates = [e.max_bitrate for e in consumable.encodings if e.max_bitrate is not UNSET]
    if bitrates:
        encoding.max_bitrate = max(bitrates)
    return RtpParameters(
        codecs=codecs, header_extensions=extensions, encodings=[encoding], rtcp=consumable.rtcp, mid=mid
    )


def _scalability_mode(encodings: list[Encoding]) -> str | msgspec.UnsetType:
    mode = encodings[0].scalability_mode
    if len(encodings) == 1:
        return mode
    match = _SCALABILITY_MODE.match(mode) if mode is not UNSET else None
    return f"L{len(encodings)}T{match[2] if match else 1}"


def _matching_codecs(
    consumable: RtpParameters, capabilities: RtpCapabilities
) -> list[tuple[CodecParameters, CodecCapability]]:
    found = []
    for codec in consumable.codecs:
        match = next((c for c in capabilities.codecs if _codecs_match(codec, c)), None)
        if match is not None:
            found.append((codec, match))
    return found


def _codecs_match(codec: CodecParameters, other: CodecCapability) -> bool:
    """Same codec, with the settings that make two of one name incompatible."""
    mime_type = codec.mime_type.lower()
    if mime_type != other.mime_type.lower() or codec.clock_rate != other.clock_rate:
        return False
    if mime_type.startswith("audio/") and (codec.channels or 1) != (other.channels or 1):
        return False
    a, b = codec.parameters, other.parameters
    if mime_type == "video/h264":
        return _number(a, "packetization-mode") == _number(b, "packetization-mode") and (
            _h264_profile(a) == _h264_profile(b) is not None
        )
    if mime_type == "video/vp9":
        return _number(a, "profile-id") == _number(b, "profile-id")
    if mime_type == "video/av1":
        return _number(a, "profile") == _number(b, "profile")
    return True


def _number(settings: CodecSettings, name: str) -> int | None:
    """A numeric setting, 0 where it is absent, None where it is no number: browsers send either form."""
    value = settings.get(name) or 0
    try:
        return int(value)
    except ValueError:
        return None


def _h264_profile(settings: CodecSettings) -> str | None:
    text = settings.get("profile-level-id", _H264_DEFAULT_PROFILE)
    if not isinstance(text, str) or not _PROFILE_LEVEL_ID.fullmatch(text):
        return None
    idc, constraints = int(text[:2], 16), int(text[2:4], 16)
    for profile_idc, mask, value, profile in _H264_PROFILES:
        if idc == profile_idc and constraints & mask == value:
            return profile
    return None


def _preferred(codec: CodecCapability) -> int:
    assert codec.preferred_payload_type is not UNSET, "router codecs carry payload types"
    return codec.preferred_payload_type


def _apt(codec: CodecParameters | CodecCapability) -> int:
    """The payload type that an RTX codec repairs; -1 where it names none."""
    apt = codec.parameters.get("apt")
    return apt if isinstance(apt, int) else -1


def _rtx_of(capabilities: RtpCapabilities, payload_type: int) -> CodecCapability | None:
    return next((c for c in capabilities.codecs if is_rtx(c) and _apt(c) == payload_type), None)

"""The layer of a video packet, read from its payload: what a receiver may be spared, and where it may start.

VP8 and VP9 describe their layers in front of every payload; H264 does in the units of RFC 6190 if it has
them, AV1 in the header of an OBU. AV1's better description is an RTP header extension:
:mod:`sfu.rtp.dependency_descriptor`.

Nothing here raises: a payload that makes no sense gives :data:`NO_LAYERS`. Each function looks at a bounded
number of bytes, of which the longest are the units of an H264 aggregate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sfu.rtp.payload import VideoCodec

MAX_AGGREGATED_UNITS: Final = 32
"""NAL units looked at in one STAP-A: parameter sets and the picture come first, if at all."""


class PacketLayers:
    """What one packet says of its frame. A plain class because one is made for each video packet."""

    __slots__ = (
        "depends_below",
        "ends",
        "keyframe",
        "picture_id",
        "picture_id_bits",
        "predicted",
        "spatial",
        "starts",
        "switch_up",
        "switches",
        "targets",
        "temporal",
        "tl0_index",
    )

    keyframe: bool
    """A key frame begins with this packet: a receiver may start here.

    For H264 that is a packet with (the beginning of) a sequence parameter set or an IDR slice, so the packets
    of one key frame may give ``True`` more than once; the first that does is the place.
    """
    spatial: int
    """Spatial layer of the frame, 0 if none is marked. At most 7."""
    temporal: int
    """Temporal layer of the frame, 0 if none is marked. At most 7."""
    starts: bool
    """First packet of a frame (of one spatial layer). ``False`` if the payload does not say."""
    ends: bool
    """Last packet of a frame (of one spatial layer). ``False`` if the payload does not say."""
    switch_up: bool
    """Who got only lower temporal layers so far may take this temporal layer from here on."""
    depends_below: bool
    """The frame predicts from the spatial layer below, of the same picture."""
    predicted: bool
    """The frame may predict from earlier pictures. ``False`` in a layer above 0 that depends on no more than
    the layer below: who got only that one so far may take this one from here on (VP9's P bit)."""
    picture_id: int | None
    """VP8 and VP9: the number of the picture, counting up to the width of the field."""
    picture_id_bits: int
    """Width of the picture id: 7, 15, or 0 without one."""
    tl0_index: int | None
    """VP8 and VP9: TL0PICIDX, the number of the last picture of temporal layer 0, 8 bits."""
    targets: int
    """Bit mask of the decode targets that this frame is part of; 0 without a dependency descriptor."""
    switches: int
    """Bit mask of the decode targets that may be taken up from here on; 0 without a dependency descriptor."""

    def __init__(
        self,
        keyframe: bool,
        spatial: int,
        temporal: int,
        starts: bool,
        ends: bool,
        switch_up: bool,
        depends_below: bool,
        predicted: bool,
        picture_id: int | None = None,
        picture_id_bits: int = 0,
        tl0_index: int | None = None,
        targets: int = 0,
        switches: int = 0,
    ) -> None:
        self.keyframe = keyframe
        self.spatial = spatial
        self.temporal = temporal
        self.starts = starts
        self.ends = ends
        self.switch_up = switch_up
        self.depends_below = depends_below
        self.predicted = predicted
        self.picture_id = picture_id
        self.picture_id_bits = picture_id_bits
        self.tl0_index = tl0_index
        self.targets = targets
        self.switches = switches


NO_LAYERS: Final = PacketLayers(False, 0, 0, False, False, True, False, True)
"""Nothing is said. An H264 or AV1 packet like that has the layer of the one before it in its frame.

Shared, as are other constants of this module: nobody changes what was read."""


# --- VP8, RFC 7741 4.2 ----------------------------------------------------------------------------


def _vp8(payload: bytes) -> PacketLayers:
    size = len(payload)
    if not size:
        return NO_LAYERS
    first = payload[0]
    starts = first & 0x17 == 0x10  # S set, partition index 0
    at = 1
    picture_id: int | None = None
    bits = 0
    tl0_index: int | None = None
    temporal = 0
    switch_up = True
    if first & 0x80:  # X
        if size < 2:
            return NO_LAYERS
        extension = payload[1]
        at = 2
        if extension & 0x80:  # I
            if size < 4:
                return NO_LAYERS
            picture_id = payload[2]
            if picture_id & 0x80:  # M
                picture_id = (picture_id & 0x7F) << 8 | payload[3]
                at, bits = 4, 15
            else:
                at, bits = 3, 7
        if extension & 0x70:
            if extension & 0x40:  # L
                if at >= size:
                    return NO_LAYERS
                tl0_index = payload[at]
                at += 1
            if extension & 0x30:  # T or K
                if at >= size:
                    return NO_LAYERS
                if extension & 0x20:  # T: only then TID and Y mean something
                    temporal = payload[at] >> 6
                    switch_up = not temporal or payload[at] & 0x20 != 0
                at += 1
    if at >= size:  # no frame behind the descriptor
        return NO_LAYERS
    # The frame header begins with the inverse key frame flag, P (RFC 7741 4.3).
    keyframe = starts and not payload[at] & 0x01
    return PacketLayers(
        keyframe,
        0,
        temporal,
        starts,
        False,
        switch_up or keyframe,
        False,
        not keyframe,
        picture_id,
        bits,
        tl0_index,
    )


def rewrite_vp8(payload: bytes, layers: PacketLayers, picture_id: int, tl0_index: int) -> bytes:
    """A VP8 payload with other numbers in its picture id and TL0PICIDX, each as far as it has that field.

    ``layers`` is what :func:`read_layers` gave for this payload. The fields keep their widths and the numbers
    are cut to them, so the length stays. KEYIDX, which WebRTC does not use, stays too.
    """
    bits = layers.picture_id_bits
    fields = size = 0
    if bits == 15:
        fields, size = 0x8000 | picture_id & 0x7FFF, 2
    elif bits:
        fields, size = picture_id & 0x7F, 1
    if layers.tl0_index is not None:
        fields, size = fields << 8 | tl0_index & 0xFF, size + 1
    if not size:
        return payload
    return payload[:2] + fields.to_bytes(size, "big") + payload[2 + size :]


# --- VP9, RFC 9628 4.2 ----------------------------------------------------------------------------


def _vp9(payload: bytes) -> PacketLayers:
    """The fields up to the layers; the reference indices and scalability structure behind are not read."""
    size = len(payload)
    if size < 2:
        return NO_LAYERS
    first = payload[0]
    at = 1
    picture_id: int | None = None
    bits = 0
    if first & 0x80:  # I
        picture_id = payload[1]
        if picture_id & 0x80:  # M
            if size < 3:
                return NO_LAYERS
            picture_id = (picture_id & 0x7F) << 8 | payload[2]
            at, bits = 3, 15
        else:
            at, bits = 2, 7
    spatial = temporal = 0
    switch_up = True
    depends_below = False
    tl0_index: int | None = None
    if first & 0x20:  # L
        if at >= size:
            return NO_LAYERS
        layer = payload[at]
        temporal = layer >> 5
        spatial = layer >> 1 & 0x07
        switch_up = not temporal or layer & 0x10 != 0  # U
        depends_below = spatial > 0 and layer & 0x01 != 0  # D
        at += 1
        if not first & 0x10:  # F clear: TL0PICIDX
            if at >= size:
                return NO_LAYERS
            tl0_index = payload[at]
            at += 1
    if at >= size:
        return NO_LAYERS
    predicted = first & 0x40 != 0  # P
    starts = first & 0x08 != 0  # B
    keyframe = starts and not predicted and not spatial
    return PacketLayers(
        keyframe,
        spatial,
        temporal,
        starts,
        first & 0x04 != 0,  # E
        switch_up or keyframe,
        depends_below,
        predicted,
        picture_id,
        bits,
        tl0_index,
    )


# --- H264, RFC 6184 5 and RFC 6190 4.2 ------------------------------------------------------------

_NAL_IDR: Final = 5
_NAL_SPS: Final = 7
_NAL_PREFIX: Final = 14
_NAL_SLICE_EXTENSION: Final = 20
_NAL_STAP_A: Final = 24
_NAL_FU_A: Final = 28
_NAL_KEY: Final = frozenset((_NAL_IDR, _NAL_SPS))
_NAL_LAYERED: Final = frozenset((_NAL_PREFIX, _NAL_SLICE_EXTENSION))

KEYFRAME: Final = PacketLayers(True, 0, 0, False, False, True, False, False)
"""A key frame begins, and nothing more is known."""


def _h264(payload: bytes) -> PacketLayers:
    """The kinds of the NAL units: alone, aggregated, or the first of its fragments; and the layer of a unit
    that has one. That of a prefix unit is said of the unit behind it, so of a packet only if it is inside."""
    size = len(payload)
    if size < 2:
        return NO_LAYERS
    kind = payload[0] & 0x1F
    if kind == _NAL_FU_A:
        if payload[1] < 0x80:  # S clear
            return NO_LAYERS
        kind = payload[1] & 0x1F
        if kind in _NAL_LAYERED:
            return _svc_header(payload, 2, size, False)
        return KEYFRAME if kind in _NAL_KEY else NO_LAYERS
    if kind in _NAL_LAYERED:
        return _svc_header(payload, 1, size, False)
    if kind != _NAL_STAP_A:
        return KEYFRAME if kind in _NAL_KEY else NO_LAYERS
    keyframe = False
    layered = 0, 0
    at = 1
    for _ in range(MAX_AGGREGATED_UNITS):
        if at + 2 >= size:
            break
        length = payload[at] << 8 | payload[at + 1]
        at += 2
        if not length or at + length > size:
            break
        kind = payload[at] & 0x1F
        if kind in _NAL_KEY:
            keyframe = True
        elif kind in _NAL_LAYERED and not layered[0]:
            layered = at + 1, at + length
        at += length
    if layered[0]:
        return _svc_header(payload, layered[0], layered[1], keyframe)
    return KEYFRAME if keyframe else NO_LAYERS


def _svc_header(payload: bytes, at: int, end: int, keyframe: bool) -> PacketLayers:
    """The extension of a NAL unit's header by which scalable video says its layer (RFC 6190 1.1.3)."""
    if at + 3 > end or not payload[at] & 0x80:  # svc_extension_flag: else it is multiview's (RFC 6190 4.2)
        return KEYFRAME if keyframe else NO_LAYERS
    spatial = payload[at + 1] >> 4 & 0x07
    temporal = payload[at + 2] >> 5
    depends_below = spatial > 0 and not payload[at + 1] & 0x80  # no_inter_layer_pred_flag
    return PacketLayers(
        keyframe, spatial, temporal, False, False, keyframe or not temporal, depends_below, not keyframe
    )


# --- AV1, RTP payload format 4.4 ------------------------------------------------------------------


def _av1(payload: bytes) -> PacketLayers:
    """The aggregation header, and the layer in the header of the first OBU if it begins here and has one."""
    size = len(payload)
    if size < 2:
        return NO_LAYERS
    first = payload[0]
    if first & 0x80:  # Z: the first element goes on from the packet before
        return NO_LAYERS
    keyframe = first & 0x08 != 0  # N
    at = 1
    if first & 0x30 != 0x10:  # W: only a sole element has no length in front, which is of LEB128
        while at < 9 and at < size and payload[at] & 0x80:
            at += 1
        at += 1
    if at + 1 < size and payload[at] & 0x84 == 0x04:  # obu_forbidden_bit clear, obu_extension_flag
        extension = payload[at + 1]
        temporal = extension >> 5
        return PacketLayers(
            keyframe,
            extension >> 3 & 0x03,
            temporal,
            keyframe,
            False,
            keyframe or not temporal,
            False,
            not keyframe,
        )
    return _AV1_KEYFRAME if keyframe else NO_LAYERS


_AV1_KEYFRAME: Final = PacketLayers(True, 0, 0, True, False, True, False, False)

_READERS: Final[dict[VideoCodec, Callable[[bytes], PacketLayers]]] = {
    VideoCodec.VP8: _vp8,
    VideoCodec.VP9: _vp9,
    VideoCodec.H264: _h264,
    VideoCodec.AV1: _av1,
}


def read_layers(codec: VideoCodec, payload: bytes) -> PacketLayers:
    """What an RTP payload says of its frame; :data:`NO_LAYERS` if it makes no sense."""
    return _READERS[codec](payload)

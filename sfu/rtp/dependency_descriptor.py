"""The dependency descriptor: the RTP header extension that says which frames need which (AV1 RTP appendix A).

A host describes once, with a key frame, the *templates* that its frames follow: their layer, what they depend
on, and for each *decode target* (a layer that somebody may watch) whether the frame is part of it. After that
three bytes per packet name the template. So reading has a memory: one reader per stream.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from sfu.rtp.layers import PacketLayers

MAX_TEMPLATES: Final = 64
"""Template ids have 6 bits."""
MAX_SPATIAL: Final = 3
"""Highest spatial layer: AV1's spatial_id has 2 bits."""
MAX_TEMPORAL: Final = 7
"""Highest temporal layer: AV1's temporal_id has 3 bits."""
MAX_ELEMENT_SIZE: Final = 255
"""Bytes of an RTP header extension element; every list below is bounded by what fits."""
LATE_FRAMES: Final = 128
"""Frames by which a repeated packet may come late: two seconds. A structure or a set of active targets from
further back is a host that started its numbers again."""

_MANDATORY_SIZE: Final = 3


class DecodeTargetIndication(enum.IntEnum):
    """How a frame relates to a decode target (table A.1)."""

    NOT_PRESENT = 0
    DISCARDABLE = 1
    """Part of the target; no other frame of it depends on this one."""
    SWITCH = 2
    """Part of the target, and if this frame is decodable then so is all that follows of the target."""
    REQUIRED = 3


_INDICATIONS: Final = tuple(DecodeTargetIndication)


@dataclass(slots=True, frozen=True)
class FrameDependencies:
    """What a frame belongs to and depends on: a template, or a frame that said something else for itself."""

    spatial: int
    temporal: int
    indications: tuple[DecodeTargetIndication, ...]
    """One for each decode target."""
    frame_diffs: tuple[int, ...]
    """How many frames before this one are those it depends on: each from 1 to 4096."""
    chain_diffs: tuple[int, ...]
    """For each chain, how many frames before this one was the chain's last: 0 to 255, 0 if there is none."""
    targets: int
    """Bit mask of the decode targets that the frame is part of."""
    switches: int
    """Bit mask of the decode targets for which it is a switch point."""


@dataclass(slots=True, frozen=True)
class DependencyStructure:
    """What a host says once with a key frame."""

    template_id_offset: int
    templates: tuple[FrameDependencies, ...]
    target_layers: tuple[tuple[int, int], ...]
    """For each decode target its highest (spatial, temporal) layer."""
    chain_count: int
    protected_by: tuple[int, ...]
    """For each decode target the chain that tells whether frames of it were lost; empty without chains."""
    resolutions: tuple[tuple[int, int], ...]
    """For each spatial layer (width, height) in pixels; empty if not told."""

    @property
    def max_spatial(self) -> int:
        """Highest spatial layer."""
        return max(template.spatial for template in self.templates)

    @property
    def max_temporal(self) -> int:
        """Highest temporal layer."""
        return max(template.temporal for template in self.templates)

    @property
    def all_targets(self) -> int:
        """Bit mask of all decode targets."""
        return (1 << len(self.target_layers)) - 1


class DependencyDescriptor:
    """One packet's descriptor. A plain class because one is made for each packet."""

    __slots__ = (
        "active_targets",
        "end_of_frame",
        "frame",
        "frame_number",
        "start_of_frame",
        "structure",
        "template_id",
    )

    start_of_frame: bool
    """First packet of the frame (of one spatial layer)."""
    end_of_frame: bool
    """Last packet of the frame (of one spatial layer)."""
    template_id: int
    """6 bits."""
    frame_number: int
    """16 bits, counting frames of all layers in decoding order."""
    frame: FrameDependencies
    structure: DependencyStructure | None
    """The structure if it came with this packet, which is the first of a key frame."""
    active_targets: int | None
    """Bit mask of the decode targets that the host sends from here on; ``None`` if not told."""

    def __init__(
        self,
        start_of_frame: bool,
        end_of_frame: bool,
        template_id: int,
        frame_number: int,
        frame: FrameDependencies,
        structure: DependencyStructure | None = None,
        active_targets: int | None = None,
    ) -> None:
        self.start_of_frame = start_of_frame
        self.end_of_frame = end_of_frame
        self.template_id = template_id
        self.frame_number = frame_number
        self.frame = frame
        self.structure = structure
        self.active_targets = active_targets

    def layers(self, keyframe: bool) -> PacketLayers:
        """What :func:`sfu.rtp.layers.read_layers` would give, were it said in the payload.

        ``keyframe``: a key frame begins with this packet, which is for the payload to say.

        To forward one decode target, take the frames with its bit in ``targets``. To go over to another,
        begin with a frame that has the other's bit in ``switches`` and is decodable (A.4.4): it surely is if
        it is part of the one. Numbers of layers say less: ``switch_up`` is that the frame is a switch point
        at all, which is enough where frames refer to lower temporal layers only, as WebRTC's do;
        ``depends_below`` is not filled in.
        """
        frame = self.frame
        switches = frame.switches
        return PacketLayers(
            keyframe,
            frame.spatial,
            frame.temporal,
            self.start_of_frame,
            self.end_of_frame,
            keyframe or not frame.temporal or switches != 0,
            False,
            frame.frame_diffs != (),
            None,
            0,
            None,
            frame.targets,
            switches,
        )


class DependencyDescriptorReader:
    """The memory that reading one stream's descriptors needs: the latest structure."""

    structure: DependencyStructure | None
    """The latest structure, ``None`` before the first."""
    active_targets: int
    """Bit mask of the decode targets that the host sends at present; 0 before the first structure."""

    def __init__(self) -> None:
        self.structure = None
        self.active_targets = 0
        self._structure_frame = 0
        self._active_frame = 0

    def read_untrusted(self, element: bytes) -> DependencyDescriptor | None:
        """Read one packet's element and remember the structure in it.

        ``None``, with nothing remembered, if it is malformed, if no structure came before, or if it names a
        template which the latest structure does not have (that with it was lost, or is yet to come). A
        structure that comes late, up to :data:`LATE_FRAMES` frames after a newer one, counts for its own
        packet only.
        """
        structure = self.structure
        size = len(element)
        if size == _MANDATORY_SIZE:  # most packets
            if structure is None:
                return None
            first = element[0]
            index = first - structure.template_id_offset & 0x3F
            if index >= len(structure.templates):
                return None
            return DependencyDescriptor(
                first >= 0x80,
                first & 0x40 != 0,
                first & 0x3F,
                element[1] << 8 | element[2],
                structure.templates[index],
            )
        if not _MANDATORY_SIZE < size <= MAX_ELEMENT_SIZE:
            return None
        try:
            descriptor = _read_extended(element, structure)
        except _MalformedError:
            return None
        self._remember(descriptor)
        return descriptor

    def decode_target(self, spatial: int, temporal: int) -> int | None:
        """The index of the highest decode target within these layers that the host sends at present.

        Higher is by spatial, then by temporal layer. ``None`` if there is none, or no structure.
        """
        if self.structure is None:
            return None
        best: int | None = None
        best_layers = -1, -1
        for index, layers in enumerate(self.structure.target_layers):
            within = layers[0] <= spatial and layers[1] <= temporal
            if within and layers > best_layers and self.active_targets >> index & 1:
                best, best_layers = index, layers
        return best

    def _remember(self, descriptor: DependencyDescriptor) -> None:
        number = descriptor.frame_number
        if descriptor.structure is not None:
            if self.structure is not None and _is_late(number, self._structure_frame):
                return
            if descriptor.structure == self.structure and number == self._structure_frame:
                return  # repeated, perhaps as a probe, while the host has gone on to other active targets
            self.structure = descriptor.structure
            self._structure_frame = self._active_frame = number
        if descriptor.active_targets is not None and not _is_late(number, self._active_frame):
            self.active_targets = descriptor.active_targets
            self._active_frame = number


def _is_late(number: int, latest: int) -> bool:
    return 0 < (latest - number & 0xFFFF) <= LATE_FRAMES


# --- the bits, appendix A.4 ------------------------------------------------------------------------


_STRUCTURE_PRESENT: Final = 0x10
_ACTIVE_PRESENT: Final = 0x08
_CUSTOM_INDICATIONS: Final = 0x04
_CUSTOM_FRAME_DIFFS: Final = 0x02
_CUSTOM_CHAINS: Final = 0x01
_CUSTOM: Final = _CUSTOM_INDICATIONS | _CUSTOM_FRAME_DIFFS | _CUSTOM_CHAINS


class _MalformedError(Exception):
    """Inside this module only."""


class _BitReader:
    __slots__ = ("_left", "_value")

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def bits(self, count: int) -> int:
        """f(n)."""
        self._left -= count
        if self._left < 0:
            raise _MalformedError("the element is cut off")
        return self._value >> self._left & (1 << count) - 1

    def non_symmetric(self, values: int) -> int:
        """ns(n), from 0 to ``values`` - 1: the lower ones with one bit less."""
        width = values.bit_length()
        short = (1 << width) - values
        value = self.bits(width - 1)
        return value if value < short else (value << 1) - short + self.bits(1)

    def indications(self, count: int) -> tuple[DecodeTargetIndication, ...]:
        packed = self.bits(2 * count)
        return tuple([_INDICATIONS[packed >> shift & 3] for shift in range(2 * count - 2, -1, -2)])


def _read_extended(data: bytes, structure: DependencyStructure | None) -> DependencyDescriptor:
    """An element of more than the mandatory fields, for which ``structure`` holds if it brings none."""
    first = data[0]
    template_id = first & 0x3F
    reader = _BitReader(data[_MANDATORY_SIZE:])
    flags = reader.bits(5)
    attached: DependencyStructure | None = None
    active: int | None = None
    if flags & _STRUCTURE_PRESENT:
        structure = attached = _read_structure(reader)
        active = attached.all_targets
    if structure is None:
        raise _MalformedError("no structure came before")
    if flags & _ACTIVE_PRESENT:
        active = reader.bits(len(structure.target_layers))
    index = template_id - structure.template_id_offset & 0x3F
    if index >= len(structure.templates):
        raise _MalformedError("no such template")
    frame = structure.templates[index]
    if flags & _CUSTOM:
        indications, diffs, chains = frame.indications, frame.frame_diffs, frame.chain_diffs
        if flags & _CUSTOM_INDICATIONS:
            indications = reader.indications(len(indications))
        if flags & _CUSTOM_FRAME_DIFFS:
            diffs = _read_frame_diffs(reader)
        if flags & _CUSTOM_CHAINS:
            chains = tuple([reader.bits(8) for _ in chains])
        frame = _frame_dependencies(frame.spatial, frame.temporal, indications, diffs, chains)
    number = data[1] << 8 | data[2]
    return DependencyDescriptor(
        first >= 0x80, first & 0x40 != 0, template_id, number, frame, attached, active
    )


def _read_structure(reader: _BitReader) -> DependencyStructure:
    offset = reader.bits(6)
    target_count = reader.bits(5) + 1
    layers = _read_template_layers(reader)
    indications = [reader.indications(target_count) for _ in layers]
    frame_diffs = [_read_template_diffs(reader) for _ in layers]
    chain_count = reader.non_symmetric(target_count + 1)
    protected_by: tuple[int, ...] = ()
    if chain_count:
        protected_by = tuple([reader.non_symmetric(chain_count) for _ in range(target_count)])
    chain_diffs = [tuple([reader.bits(4) for _ in range(chain_count)]) for _ in layers]
    resolutions: tuple[tuple[int, int], ...] = ()
    if reader.bits(1):
        spatial_count = layers[-1][0] + 1  # they only go up
        resolutions = tuple([(reader.bits(16) + 1, reader.bits(16) + 1) for _ in range(spatial_count)])
    templates = tuple(
        [
            _frame_dependencies(spatial, temporal, *of_frame)
            for (spatial, temporal), of_frame in zip(
                layers, zip(indications, frame_diffs, chain_diffs, strict=True), strict=True
            )
        ]
    )
    target_layers = tuple([_target_layers(templates, 1 << index) for index in range(target_count)])
    return DependencyStructure(offset, templates, target_layers, chain_count, protected_by, resolutions)


def _read_template_layers(reader: _BitReader) -> list[tuple[int, int]]:
    """Each template's (spatial, temporal), told by what it has more than the one before (table A.2)."""
    spatial = temporal = 0
    layers = [(0, 0)]
    while (step := reader.bits(2)) != 3:
        if step == 1:
            temporal += 1
        elif step == 2:
            spatial, temporal = spatial + 1, 0
        layers.append((spatial, temporal))
        if spatial > MAX_SPATIAL or temporal > MAX_TEMPORAL or len(layers) > MAX_TEMPLATES:
            raise _MalformedError("too many layers or templates")
    return layers


def _read_template_diffs(reader: _BitReader) -> tuple[int, ...]:
    diffs = []
    while reader.bits(1):
        diffs.append(reader.bits(4) + 1)
    return tuple(diffs)


def _read_frame_diffs(reader: _BitReader) -> tuple[int, ...]:
    diffs = []
    while size := reader.bits(2):
        diffs.append(reader.bits(4 * size) + 1)
    return tuple(diffs)


def _frame_dependencies(
    spatial: int,
    temporal: int,
    indications: tuple[DecodeTargetIndication, ...],
    frame_diffs: tuple[int, ...],
    chain_diffs: tuple[int, ...],
) -> FrameDependencies:
    targets = switches = 0
    for index, indication in enumerate(indications):
        if indication is not DecodeTargetIndication.NOT_PRESENT:
            targets |= 1 << index
        if indication is DecodeTargetIndication.SWITCH:
            switches |= 1 << index
    return FrameDependencies(spatial, temporal, indications, frame_diffs, chain_diffs, targets, switches)


def _target_layers(templates: tuple[FrameDependencies, ...], target: int) -> tuple[int, int]:
    """The highest layers among a target's frames; (0, 0) for a target without any."""
    members = [template for template in templates if template.targets & target]
    spatial = max([template.spatial for template in members], default=0)
    return spatial, max([template.temporal for template in members], default=0)

"""Any bytes are a descriptor or nothing, and what was written is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.dependency_descriptor import (
    MAX_SPATIAL,
    MAX_TEMPLATES,
    MAX_TEMPORAL,
    DependencyDescriptor,
    DependencyDescriptorReader,
    DependencyStructure,
)
from tests.support.dependency_descriptor import Structure, Template, letters, write


def check(reader: DependencyDescriptorReader, descriptor: DependencyDescriptor | None) -> None:
    """What holds for every descriptor."""
    if descriptor is None:
        return
    structure = reader.structure
    assert structure is not None
    assert len(structure.templates) <= MAX_TEMPLATES
    assert structure.max_spatial <= MAX_SPATIAL
    assert structure.max_temporal <= MAX_TEMPORAL
    assert reader.active_targets <= structure.all_targets
    used = descriptor.structure or structure
    frame = descriptor.frame
    assert len(frame.indications) == len(used.target_layers) <= 32
    assert len(frame.chain_diffs) == used.chain_count <= len(used.target_layers)
    assert all(1 <= diff <= 4096 for diff in frame.frame_diffs)
    assert all(chain < used.chain_count for chain in used.protected_by)
    assert frame.switches & ~frame.targets == 0
    assert frame.targets <= used.all_targets
    layers = descriptor.layers(False)
    assert (layers.spatial, layers.temporal) == (frame.spatial, frame.temporal)
    target = reader.decode_target(MAX_SPATIAL, MAX_TEMPORAL)
    assert (target is None) is (reader.active_targets == 0)
    assert target is None or structure.target_layers[target] == max(
        layers for index, layers in enumerate(structure.target_layers) if reader.active_targets >> index & 1
    )


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_any_elements(elements: list[bytes]) -> None:
    reader = DependencyDescriptorReader()
    for element in elements:
        before = reader.structure, reader.active_targets
        descriptor = reader.read_untrusted(element)
        if descriptor is None:
            assert (reader.structure, reader.active_targets) == before
        check(reader, descriptor)


@given(st.binary(min_size=1, max_size=250), st.lists(st.binary(min_size=3, max_size=12), max_size=8))
def test_any_structure(body: bytes, elements: list[bytes]) -> None:
    """The same where the first element is more likely to bring a structure."""
    reader = DependencyDescriptorReader()
    check(reader, reader.read_untrusted(b"\xc0\0\0" + bytes((0x80 | body[0] >> 6,)) + body[1:]))
    for element in elements:
        check(reader, reader.read_untrusted(element))


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    targets = draw(st.integers(1, 32))
    chains = draw(st.integers(0, min(targets, 4)))
    spatial = temporal = 0
    templates = []
    for step in ["same", *draw(st.lists(st.sampled_from(["same", "temporal", "spatial"]), max_size=8))]:
        if step == "temporal" and temporal < MAX_TEMPORAL:
            temporal += 1
        elif step == "spatial" and spatial < MAX_SPATIAL:
            spatial, temporal = spatial + 1, 0
        templates.append(
            Template(
                spatial,
                temporal,
                draw(st.text("-DSR", min_size=targets, max_size=targets)),
                draw(st.lists(st.integers(1, 16), max_size=3)),
                draw(st.lists(st.integers(0, 15), min_size=chains, max_size=chains)),
            )
        )
    pixels = st.tuples(st.integers(1, 65536), st.integers(1, 65536))
    return Structure(
        templates,
        draw(st.integers(0, 63)),
        draw(st.lists(st.integers(0, chains - 1), min_size=targets, max_size=targets)) if chains else [],
        draw(st.one_of(st.just([]), st.lists(pixels, min_size=spatial + 1, max_size=spatial + 1))),
    )


@given(structures(), st.integers(0, 0xFFFF), st.booleans(), st.booleans(), st.data())
def test_round_trip(structure: Structure, number: int, start: bool, end: bool, data: st.DataObject) -> None:
    reader = DependencyDescriptorReader()
    offset, count = structure.template_id_offset, len(structure.templates)
    first = reader.read_untrusted(write(offset, number, structure=structure))
    assert first is not None
    check(reader, first)
    found = reader.structure
    assert found is not None
    assert found.template_id_offset == offset
    assert found.protected_by == tuple(structure.protected_by)
    assert found.resolutions == tuple(structure.resolutions)
    for written, template in zip(structure.templates, found.templates, strict=True):
        assert (template.spatial, template.temporal) == (written.spatial, written.temporal)
        assert letters(template.indications) == written.indications
        assert template.frame_diffs == tuple(written.frame_diffs)
        assert template.chain_diffs == tuple(written.chain_diffs)
    targets, chains = len(found.target_layers), found.chain_count
    own: dict[str, Any] = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "active": st.text("01", min_size=targets, max_size=targets),
                "indications": st.text("-DSR", min_size=targets, max_size=targets),
                "frame_diffs": st.lists(st.integers(1, 4096), max_size=4),
                "chain_diffs": st.lists(st.integers(0, 255), min_size=chains, max_size=chains),
            },
        )
    )
    index = data.draw(st.integers(0, count - 1))
    template_id = (offset + index) % 64
    each = reader.read_untrusted(write(template_id, number, start=start, end=end, **own))
    assert each is not None
    check(reader, each)
    template = found.templates[index]
    assert (each.start_of_frame, each.end_of_frame, each.frame_number) == (start, end, number)
    assert (each.template_id, each.structure) == (template_id, None)
    assert each.active_targets == (int(own["active"], 2) if "active" in own else None)
    assert letters(each.frame.indications) == own.get("indications", letters(template.indications))
    assert each.frame.frame_diffs == tuple(own.get("frame_diffs", template.frame_diffs))
    assert each.frame.chain_diffs == tuple(own.get("chain_diffs", template.chain_diffs))


L3T3 = (
    "c1017280081485214eafffaaaa863cf0430c10c302afc0aaa0063c00430010c002a000a80006000040001d954926e082b04a0941b820"
    "ac1282503157f974000ca864330e222222eca8655304224230eca877530077004200ef008601df010d"
)
MODES = [
    L3T3,
    "c10001800514853abfaaa18f04304302a02a006001001b934515e082704608c0c787004321651111543276809f8059813f80b380",
    "c00001800514853aaaa8018004004002a02a0060010015d34514174d144c700874321651118543276809f8059813f80b38",
    "800001800214eaa860414d1410208426",
]
"""Structures of Chrome's with three temporal layers: L3T3, L2T3, L2T3_KEY, L1T3."""


def template_of(structure: DependencyStructure, spatial: int, picture: int) -> int:
    """The id that an encoder gives a layer's frame in a picture, which are counted from the key frame on."""
    temporal = (0, 2, 1, 2)[picture % 4]
    layers = structure.max_spatial + 1
    of_layer = [
        index
        for index, each in enumerate(structure.templates)
        if (each.spatial, each.temporal) == (spatial, temporal)
        and (temporal or (max(each.frame_diffs, default=0) < layers) is (picture == 0))
    ]
    return of_layer[picture % 4 == 3] + structure.template_id_offset


@pytest.mark.parametrize("mode", MODES)
@given(data=st.data())
def test_all_that_is_forwarded_is_decodable(mode: str, data: st.DataObject) -> None:
    """A viewer that changes targets where the descriptors say it may, and is given no other frames."""
    reader = DependencyDescriptorReader()
    reader.read_untrusted(bytes.fromhex(mode))
    structure = reader.structure
    assert structure is not None
    layers = structure.max_spatial + 1
    pictures = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))  # from key frame to key frame
    targets = st.integers(0, len(structure.target_layers) - 1)
    current: int | None = None
    forwarded: set[int] = set()
    number = 0
    for count in pictures:
        for picture in range(count):
            wanted = data.draw(targets)
            for spatial in range(layers):
                number += 1
                template_id = template_of(structure, spatial, picture)
                descriptor = reader.read_untrusted(write(template_id, number))
                assert descriptor is not None
                said = descriptor.layers(False)
                part_of_both = current is None or said.targets >> current & 1
                if current != wanted and part_of_both and said.switches >> wanted & 1:
                    current = wanted
                if current is not None and said.targets >> current & 1:
                    assert {number - diff for diff in descriptor.frame.frame_diffs} <= forwarded
                    forwarded.add(number)
            if picture == 0:  # every target can be taken up at a key frame
                assert current == wanted

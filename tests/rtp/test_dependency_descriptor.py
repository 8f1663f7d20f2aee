"""The dependency descriptor: elements seen on the wire, every optional part, and what is remembered when."""

from __future__ import annotations

import pytest

from sfu.rtp.dependency_descriptor import (
    LATE_FRAMES,
    MAX_ELEMENT_SIZE,
    MAX_SPATIAL,
    MAX_TEMPLATES,
    MAX_TEMPORAL,
    DependencyDescriptor,
    DependencyDescriptorReader,
)
from tests.support.dependency_descriptor import Structure, Template, letters, write

L3T3_KEYFRAME = bytes.fromhex(
    "c1017280081485214eafffaaaa863cf0430c10c302afc0aaa0063c00430010c002a000a80006000040001d954926e082b04a"
    "0941b820ac1282503157f974000ca864330e222222eca8655304224230eca877530077004200ef008601df010d"
)
"""Chrome's AV1 with three spatial and three temporal layers, as published in LiveKit's tests."""
L3T3_TEMPLATES = """
0 0 SSSRRRRRR 12  12,11,10
0 0 SSSSSSSSS -   0,0,0
0 1 -DS-RR-RR 6   6,5,4
0 2 --D--R--R 3   3,2,1
0 2 --D--R--R 3   9,8,7
1 0 ---SSSRRR 12,1 1,1,1
1 0 ---SSSSSS 1   1,1,1
1 1 ----DS-RR 6,1 7,6,5
1 2 -----D--R 3,1 4,3,2
1 2 -----D--R 3,1 10,9,8
2 0 ------SSS 12,1 2,1,1
2 0 ------SSS 1   2,1,1
2 1 -------DS 6,1 8,7,6
2 2 --------D 3,1 5,4,3
2 2 --------D 3,1 11,10,9
"""
L1T3 = Structure(
    [
        Template(0, 0, "SSS", [4], [4]),
        Template(0, 0, "SSS", [], [0]),
        Template(0, 1, "-DS", [2], [2]),
        Template(0, 2, "--D", [1], [1]),
        Template(0, 2, "--D", [1], [3]),
    ],
    protected_by=[0, 0, 0],
)


def read(reader: DependencyDescriptorReader, element: bytes) -> DependencyDescriptor:
    descriptor = reader.read_untrusted(element)
    assert descriptor is not None
    return descriptor


def test_structure_of_chrome() -> None:
    reader = DependencyDescriptorReader()
    descriptor = read(reader, L3T3_KEYFRAME)
    assert (descriptor.start_of_frame, descriptor.end_of_frame) == (True, True)
    assert (descriptor.template_id, descriptor.frame_number) == (1, 370)
    assert descriptor.active_targets == 0x1FF
    structure = descriptor.structure
    assert structure is not None
    assert structure is reader.structure
    assert descriptor.frame is structure.templates[1]
    assert table(reader) == L3T3_TEMPLATES.strip().splitlines()
    assert structure.template_id_offset == 0
    assert structure.chain_count == 3
    assert structure.protected_by == (0, 0, 0, 1, 1, 1, 2, 2, 2)
    assert structure.target_layers == tuple(
        (spatial, temporal) for spatial in range(3) for temporal in range(3)
    )
    assert structure.resolutions == ((120, 67), (240, 135), (480, 270))
    assert (structure.max_spatial, structure.max_temporal) == (2, 2)
    assert structure.all_targets == 0x1FF


def test_frames_of_chrome() -> None:
    """The host stops sending the top layer, and says so with every packet until it has the bandwidth."""
    reader = DependencyDescriptorReader()
    read(reader, L3T3_KEYFRAME)
    assert reader.decode_target(2, 2) == 8
    seen = []
    for element in ("86017340fc", "46017340fc", "c3017540fc", "88017640fc", "48017640fc", "c2017840fc"):
        each = read(reader, bytes.fromhex(element))
        assert each.active_targets == reader.active_targets == 0b111111
        assert each.structure is None
        seen.append(
            (
                each.start_of_frame,
                each.end_of_frame,
                each.frame_number,
                each.frame.spatial,
                each.frame.temporal,
            )
        )
    assert seen == [
        (True, False, 371, 1, 0),
        (False, True, 371, 1, 0),
        (True, True, 373, 0, 2),
        (True, False, 374, 1, 2),
        (False, True, 374, 1, 2),
        (True, True, 376, 0, 1),
    ]
    assert reader.decode_target(2, 2) == 5  # the highest of those that are sent
    each = read(reader, bytes.fromhex("8b0174"))  # three bytes say nothing about targets
    assert each.active_targets is None
    assert (each.frame.spatial, each.frame.temporal) == (2, 0)
    assert reader.active_targets == 0b111111


@pytest.mark.parametrize(
    ("element", "offset", "layers", "resolutions"),
    [
        pytest.param("80000180011ea85141010c04fc03bc", 0, [(0, 0), (0, 0), (0, 1)], [(320, 240)], id="L1T2"),
        pytest.param(
            "8600b580c11ea85141010c09fc077c", 6, [(0, 0), (0, 0), (0, 1)], [(640, 480)], id="L1T2, new ids"
        ),
        pytest.param(
            "c00001800318 7aaaf130a0a014d14138230460086422222650 09f0077013f00ef0",
            0,
            [(0, 0), (0, 0), (0, 1), (1, 0), (1, 0), (1, 1)],
            [(160, 120), (320, 240)],
            id="L2T2",
        ),
    ],
)
def test_other_structures(
    element: str, offset: int, layers: list[tuple[int, int]], resolutions: list[tuple[int, int]]
) -> None:
    """Elements of Chrome's that other implementations publish in their tests."""
    structure = read(DependencyDescriptorReader(), bytes.fromhex(element)).structure
    assert structure is not None
    assert structure.template_id_offset == offset
    assert [(each.spatial, each.temporal) for each in structure.templates] == layers
    assert structure.resolutions == tuple(resolutions)


CHROMIUM = {
    "AV1 L3T3 at a size for two layers": (
        "c10001800514853abfaaa18f04304302a02a006001001b934515e082704608c0c787004321651111543276809f8059813f80b380",
        """
        0 0 SSSRRR 8   8,7
        0 0 SSSSSS -   0,0
        0 1 -DS-RR 4   4,3
        0 2 --D--R 2   2,1
        0 2 --D--R 2   6,5
        1 0 ---SSS 8,1 1,1
        1 0 ---SSS 1   1,1
        1 1 ----DS 4,1 5,4
        1 2 -----D 2,1 3,2
        1 2 -----D 2,1 7,6
        """,
    ),
    "AV1 L3T3_KEY": (
        "c00001800514853aaaa8018004004002a02a0060010015d34514174d144c700874321651118543276809f8059813f80b38",
        """
        0 0 SSSSSS -   0,0
        0 0 SSS--- 8   8,7
        0 1 -DS--- 4   4,3
        0 2 --D--- 2   2,1
        0 2 --D--- 2   6,5
        1 0 ---SSS 1   1,1
        1 0 ---SSS 8   1,8
        1 1 ----DS 4   5,4
        1 2 -----D 2   3,2
        1 2 -----D 2   7,6
        """,
    ),
    "AV1 L1T3": (
        "800001800214eaa860414d1410208427013f00b3",
        """
        0 0 SSS    -   0
        0 0 SSS    4   4
        0 1 -DS    2   2
        0 2 --D    1   1
        0 2 --D    1   3
        """,
    ),
    "AV1 L1T3, later, with new ids": (
        "85003d80a214eaa860414d141020842701df010d",
        """
        0 0 SSS    -   0
        0 0 SSS    4   4
        0 1 -DS    2   2
        0 2 --D    1   1
        0 2 --D    1   3
        """,
    ),
    "H264 L1T3": (
        "800001800214eaa860414d1410208426",
        """
        0 0 SSS    -   0
        0 0 SSS    4   4
        0 1 -DS    2   2
        0 2 --D    1   1
        0 2 --D    1   3
        """,
    ),
}
"""Captured from Debian's Chromium 156, by codec and scalability mode."""


def table(reader: DependencyDescriptorReader) -> list[str]:
    """Templates in the notation above."""
    assert reader.structure is not None
    return [
        f"{each.spatial} {each.temporal} {letters(each.indications):6}"
        f" {','.join(map(str, each.frame_diffs)) or '-':3} {','.join(map(str, each.chain_diffs))}"
        for each in reader.structure.templates
    ]


@pytest.mark.parametrize("mode", CHROMIUM)
def test_structures_of_chromium(mode: str) -> None:
    element, expected = CHROMIUM[mode]
    reader = DependencyDescriptorReader()
    read(reader, bytes.fromhex(element))
    assert table(reader) == [line.strip() for line in expected.strip().splitlines()]


def test_frames_of_chromium_after_it_dropped_some() -> None:
    """An encoder that leaves out frames says for the next ones what they depend on instead."""
    reader = DependencyDescriptorReader()
    read(reader, bytes.fromhex(CHROMIUM["AV1 L3T3 at a size for two layers"][0]))
    elements = ("8800bf1a6800c0a0", "4800bf1a6800c0a0", "8000c01ac03830", "8500c112c800", "c800da083028")
    frames = [read(reader, bytes.fromhex(element)) for element in elements]
    assert [
        (
            each.frame_number,
            each.frame.spatial,
            each.frame.temporal,
            each.frame.frame_diffs,
            each.frame.chain_diffs,
        )
        for each in frames
    ] == [
        (191, 1, 2, (4, 1), (6, 5)),
        (191, 1, 2, (4, 1), (6, 5)),
        (192, 0, 0, (7,), (7, 6)),
        (193, 1, 0, (7, 1), (1, 1)),
        (218, 1, 2, (2, 1), (6, 5)),
    ]
    assert [letters(each.frame.indications) for each in frames] == [
        "-----D",
        "-----D",
        "SSSRRR",
        "---SSS",
        "-----D",
    ]


def test_targets_above_need_the_key_frame_only() -> None:
    """L3T3_KEY: later frames of the lower layer are not part of the upper layer's targets."""
    reader = DependencyDescriptorReader()
    key = read(reader, bytes.fromhex(CHROMIUM["AV1 L3T3_KEY"][0])).layers(True)
    assert key.targets == key.switches == 0b111111
    lower = read(reader, bytes.fromhex("c10009")).layers(False)
    assert (lower.spatial, lower.targets, lower.switches) == (0, 0b000111, 0b000111)
    upper = read(reader, bytes.fromhex("86000a")).layers(False)
    assert (upper.spatial, upper.targets, upper.switches) == (1, 0b111000, 0b111000)


def test_layers() -> None:
    reader = DependencyDescriptorReader()
    key = read(reader, L3T3_KEYFRAME).layers(True)
    assert (key.keyframe, key.predicted, key.switch_up) == (True, False, True)
    assert (key.starts, key.ends, key.targets, key.switches) == (True, True, 0x1FF, 0x1FF)
    middle = read(reader, bytes.fromhex("820178")).layers(False)
    assert (middle.spatial, middle.temporal) == (0, 1)
    assert (middle.keyframe, middle.predicted, middle.starts, middle.ends) == (False, True, True, False)
    assert (middle.targets, middle.switches, middle.switch_up) == (0b110110110, 0b100, True)
    top = read(reader, bytes.fromhex("4d0179")).layers(False)
    assert (top.spatial, top.temporal, top.starts, top.ends) == (2, 2, False, True)
    assert (top.targets, top.switches, top.switch_up) == (0b100000000, 0, False)
    assert (top.picture_id, top.picture_id_bits, top.tl0_index) == (None, 0, None)


def test_decode_targets_within_layers() -> None:
    reader = DependencyDescriptorReader()
    assert reader.decode_target(3, 7) is None
    read(reader, L3T3_KEYFRAME)
    assert [reader.decode_target(spatial, 1) for spatial in range(4)] == [1, 4, 7, 7]
    assert [reader.decode_target(0, temporal) for temporal in range(4)] == [0, 1, 2, 2]
    read(reader, write(1, 380, active="110000000"))
    assert reader.decode_target(2, 2) == 8
    assert reader.decode_target(2, 0) is None


def test_custom_frame() -> None:
    """A frame may say its own indications, dependencies and chains, and nothing else changes for it."""
    reader = DependencyDescriptorReader()
    read(reader, write(1, 10, structure=L1T3))
    own = read(
        reader, write(2, 11, indications="S-R", frame_diffs=[1, 16, 17, 256, 257, 4096], chain_diffs=[255])
    )
    assert (own.frame.spatial, own.frame.temporal) == (0, 1)
    assert letters(own.frame.indications) == "S-R"
    assert own.frame.frame_diffs == (1, 16, 17, 256, 257, 4096)
    assert own.frame.chain_diffs == (255,)
    assert (own.frame.targets, own.frame.switches) == (0b101, 0b001)
    assert read(reader, write(2, 12, frame_diffs=[])).frame.frame_diffs == ()
    template = read(reader, write(2, 13)).frame
    assert (letters(template.indications), template.frame_diffs, template.chain_diffs) == ("-DS", (2,), (2,))


@pytest.mark.parametrize("targets", range(1, 33))
def test_numbers_of_chains(targets: int) -> None:
    """Every width of the numbers whose width depends on what they count."""
    for chains in {0, 1, 2, 3, targets // 2, targets - 1, targets}:
        if chains > targets:
            continue
        protected = [index % chains for index in range(targets)] if chains else []
        diffs = [index % 16 for index in range(chains)]
        structure = Structure([Template(0, 0, "S" * targets, [], diffs)], 0, protected)
        found = read(DependencyDescriptorReader(), write(0, structure=structure)).structure
        assert found is not None
        assert found.chain_count == chains
        assert found.protected_by == tuple(protected)
        assert found.templates[0].chain_diffs == tuple(diffs)


def test_nothing_without_a_structure() -> None:
    reader = DependencyDescriptorReader()
    assert reader.read_untrusted(bytes.fromhex("860173")) is None
    assert reader.read_untrusted(bytes.fromhex("86017340fc")) is None
    assert reader.structure is None
    assert reader.active_targets == 0


def test_unknown_template() -> None:
    """Frames after a new structure whose key frame was lost, and frames before it that come late."""
    reader = DependencyDescriptorReader()
    read(reader, write(1, 10, structure=L1T3))
    assert reader.read_untrusted(write(5, 11)) is None
    assert reader.read_untrusted(write(63, 11)) is None
    assert reader.read_untrusted(write(5, 11, frame_diffs=[1])) is None
    renewed = Structure(L1T3.templates, 62, L1T3.protected_by)
    assert read(reader, write(63, 20, structure=renewed)).frame.frame_diffs == ()
    assert read(reader, write(0, 21)).frame.temporal == 1  # ids wrap
    assert reader.read_untrusted(write(3, 19)) is None


def test_nothing_is_remembered_of_malformed_elements() -> None:
    reader = DependencyDescriptorReader()
    whole = write(1, 10, structure=L1T3, active="011", indications="SSS", frame_diffs=[1], chain_diffs=[2])
    for size in range(len(whole)):
        assert reader.read_untrusted(whole[:size]) is None
    assert reader.read_untrusted(write(5, 10, structure=L1T3)) is None  # a structure without this template
    assert reader.structure is None
    assert read(reader, whole).active_targets == 0b011


def test_late_structure_counts_for_its_own_packet() -> None:
    reader = DependencyDescriptorReader()
    old = Structure([Template(0, 0, "S")], 10)
    read(reader, write(1, LATE_FRAMES - 1, structure=L1T3))
    late = read(reader, write(10, 0xFFFF, structure=old, active="0"))
    assert late.frame.targets == 1
    assert reader.structure is not late.structure
    assert reader.active_targets == 0b111
    assert read(reader, write(2, LATE_FRAMES)).frame.temporal == 1
    # Further back is not late: the host began again.
    again = read(reader, write(10, 0xFFFE, structure=old))
    assert reader.structure is again.structure
    assert reader.active_targets == 1


def test_repeated_structure_changes_nothing() -> None:
    """Browsers probe by sending old packets again, of which the key frame's are the largest."""
    reader = DependencyDescriptorReader()
    key = write(1, 10, structure=L1T3)
    read(reader, key)
    read(reader, write(2, 12, active="001"))
    assert read(reader, key).active_targets == 0b111
    assert reader.active_targets == 0b001
    read(reader, write(2, 11, active="011"))
    assert reader.active_targets == 0b001


def test_late_active_targets_are_old() -> None:
    reader = DependencyDescriptorReader()
    read(reader, write(1, 10, structure=L1T3))
    read(reader, write(2, 20, active="011"))
    read(reader, write(2, 18, active="111"))
    assert reader.active_targets == 0b011
    read(reader, write(2, 20, active="001"))
    assert reader.active_targets == 0b001
    read(reader, write(1, 30, structure=L1T3))
    assert reader.active_targets == 0b111
    read(reader, write(1, 31, structure=L1T3, active="101"))
    assert reader.active_targets == 0b101


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([(0, 0)] * MAX_TEMPLATES, True),
        ([(0, 0)] * (MAX_TEMPLATES + 1), False),
        ([(spatial, 0) for spatial in range(MAX_SPATIAL + 1)], True),
        ([(spatial, 0) for spatial in range(MAX_SPATIAL + 2)], False),
        ([(0, temporal) for temporal in range(MAX_TEMPORAL + 1)], True),
        ([(0, temporal) for temporal in range(MAX_TEMPORAL + 2)], False),
    ],
)
def test_caps_of_structures(layers: list[tuple[int, int]], expected: bool) -> None:
    structure = Structure([Template(*each, "S") for each in layers])
    reader = DependencyDescriptorReader()
    assert (reader.read_untrusted(write(0, structure=structure)) is not None) is expected


def test_cap_of_elements() -> None:
    reader = DependencyDescriptorReader()
    read(reader, L3T3_KEYFRAME.ljust(MAX_ELEMENT_SIZE, b"\0"))  # zero_padding
    assert reader.read_untrusted(L3T3_KEYFRAME.ljust(MAX_ELEMENT_SIZE + 1, b"\0")) is None


def test_target_without_frames() -> None:
    structure = Structure([Template(0, 0, "S-"), Template(0, 1, "S-")])
    reader = DependencyDescriptorReader()
    found = read(reader, write(0, structure=structure)).structure
    assert found is not None
    assert found.target_layers == ((0, 1), (0, 0))

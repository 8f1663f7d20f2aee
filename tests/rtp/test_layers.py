"""What payloads say of their layers, by the examples of the payload formats and as Chrome sends them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sfu.rtp.layers import MAX_AGGREGATED_UNITS, NO_LAYERS, PacketLayers, read_layers, rewrite_vp8
from sfu.rtp.payload import VideoCodec


@dataclass(slots=True)
class Said:
    """The fields of :class:`PacketLayers`, those that are not of this payload as they are when not told."""

    keyframe: bool = False
    spatial: int = 0
    temporal: int = 0
    starts: bool = False
    ends: bool = False
    switch_up: bool = True
    depends_below: bool = False
    predicted: bool = True
    picture_id: int | None = None
    picture_id_bits: int = 0
    tl0_index: int | None = None
    targets: int = 0
    switches: int = 0

    @classmethod
    def of(cls, layers: PacketLayers) -> Said:
        return cls(**{name: getattr(layers, name) for name in cls.__slots__})


NOTHING = Said()
# fmt: off
VP8 = [
    ("10 50", Said(keyframe=True, starts=True, predicted=False), "no extension"),
    ("10 51", Said(starts=True), "interframe"),
    ("00 50", NOTHING, "S clear"),
    ("11 50", NOTHING, "second partition"),
    ("90 80 15 51", Said(starts=True, picture_id=0x15, picture_id_bits=7), "7-bit picture id"),
    ("90 80 9234 51", Said(starts=True, picture_id=0x1234, picture_id_bits=15), "15-bit picture id"),
    ("80 80 9234 51", Said(picture_id=0x1234, picture_id_bits=15), "not the first packet"),
    ("90 e0 9234 05 00 50",
     Said(keyframe=True, starts=True, predicted=False, picture_id=0x1234, picture_id_bits=15, tl0_index=5),
     "Chrome's key frame"),
    ("90 e0 9234 05 40 51",
     Said(starts=True, temporal=1, switch_up=False, picture_id=0x1234, picture_id_bits=15, tl0_index=5),
     "temporal layer without Y"),
    ("90 e0 9234 05 60 51",
     Said(starts=True, temporal=1, picture_id=0x1234, picture_id_bits=15, tl0_index=5), "with Y"),
    ("90 e0 9234 05 c0 50",
     Said(keyframe=True, starts=True, temporal=3, predicted=False, picture_id=0x1234, picture_id_bits=15,
          tl0_index=5), "a key frame is always a place to begin"),
    ("80 e0 9234 05 80 50",
     Said(temporal=2, switch_up=False, picture_id=0x1234, picture_id_bits=15, tl0_index=5), "later packet"),
    ("90 10 c5 51", Said(starts=True), "KEYIDX alone: TID means nothing"),
    ("90 40 07 51", Said(starts=True, tl0_index=7), "TL0PICIDX alone"),
    ("90 20 80 51", Said(starts=True, temporal=2, switch_up=False), "TID alone"),
    ("90 00 51", Said(starts=True), "extension byte with nothing"),
    ("10", NOTHING, "descriptor only"),
    ("90", NOTHING, "extension cut off"),
    ("90 80", NOTHING, "picture id cut off"),
    ("90 80 15", NOTHING, "no frame behind a short picture id"),
    ("90 80 92", NOTHING, "second byte of the picture id cut off"),
    ("90 40", NOTHING, "TL0PICIDX cut off"),
    ("90 20", NOTHING, "TID cut off"),
    ("90 e0 9234 05 20", NOTHING, "no frame behind the descriptor"),
]
VP9 = [
    ("08 82", Said(keyframe=True, starts=True, predicted=False), "B alone"),
    ("4c 82", Said(starts=True, ends=True), "one packet is the whole frame"),
    ("44 82", Said(ends=True), "last packet"),
    ("88 15 82", Said(keyframe=True, starts=True, predicted=False, picture_id=0x15, picture_id_bits=7),
     "7-bit picture id"),
    ("8a 9234 00 82",
     Said(keyframe=True, starts=True, predicted=False, picture_id=0x1234, picture_id_bits=15),
     "scalability structure behind"),
    ("a8 9234 00 05 82",
     Said(keyframe=True, starts=True, predicted=False, picture_id=0x1234, picture_id_bits=15, tl0_index=5),
     "base layer of a key picture"),
    ("ac 9234 03 05 82",
     Said(starts=True, ends=True, spatial=1, depends_below=True, predicted=False, picture_id=0x1234,
          picture_id_bits=15, tl0_index=5), "layer 1 of a key picture"),
    ("e8 9234 45 05 82",
     Said(starts=True, spatial=2, temporal=2, switch_up=False, depends_below=True, picture_id=0x1234,
          picture_id_bits=15, tl0_index=5), "not flexible: layers and TL0PICIDX"),
    ("f8 9234 34 02 82",
     Said(starts=True, spatial=2, temporal=1, picture_id=0x1234, picture_id_bits=15),
     "flexible: a reference index is no TL0PICIDX; U"),
    ("e8 9234 51 05 82",
     Said(starts=True, temporal=2, picture_id=0x1234, picture_id_bits=15, tl0_index=5),
     "U; D in the lowest layer means nothing"),
    ("a0 9234 0e 05 82", Said(spatial=7, predicted=False, picture_id=0x1234, picture_id_bits=15, tl0_index=5),
     "highest spatial id"),
    ("68 e0 05 82", Said(starts=True, temporal=7, switch_up=False, tl0_index=5), "layers without picture id"),
    ("", NOTHING, "empty"),
    ("08", NOTHING, "descriptor only"),
    ("88", NOTHING, "picture id cut off"),
    ("88 81", NOTHING, "second byte of the picture id cut off"),
    ("a8 9234", NOTHING, "layers cut off"),
    ("a8 9234 00", NOTHING, "TL0PICIDX cut off"),
    ("b8 9234 00", NOTHING, "flexible, no frame behind the descriptor"),
    ("a8 9234 00 05", NOTHING, "no frame behind the descriptor"),
]
KEY = Said(keyframe=True, predicted=False)
H264 = [
    ("65 88", KEY, "IDR"),
    ("41 9a", NOTHING, "other slice: its layer is not marked"),
    ("7c 85 88", KEY, "FU-A, first fragment of an IDR"),
    ("7c 05 88", NOTHING, "FU-A, middle"),
    ("78 0002 6742 0002 68ce", KEY, "STAP-A with SPS"),
    ("78 0004 6e80 8040 0002 419a", Said(temporal=2, switch_up=False), "STAP-A: prefix unit and slice"),
    ("78 0002 6742 0004 6ec0 8007 0002 6588", KEY, "STAP-A: prefix unit and IDR"),
    ("78 0004 6e80 8020 0004 6e80 8040", Said(temporal=1, switch_up=False), "the first of several counts"),
    ("6e 80 80 27", Said(temporal=1, switch_up=False), "prefix unit alone"),
    ("6e 00 80 27", NOTHING, "prefix unit of multiview"),
    ("6e 80 80", NOTHING, "prefix unit cut off"),
    ("78 0003 6e80 80 0002 6588", KEY, "prefix unit cut off in an aggregate"),
    ("74 80 20 47 88", Said(spatial=2, temporal=2, switch_up=False, depends_below=True), "slice extension"),
    ("74 80 a0 07 88", Said(spatial=2), "no_inter_layer_pred_flag"),
    ("7c 94 80 10 20 88", Said(spatial=1, temporal=1, switch_up=False, depends_below=True),
     "FU-A, first fragment of a slice extension"),
    ("7c 14 80 10 20 88", NOTHING, "FU-A, middle of a slice extension"),
    ("7c 94 80 10", NOTHING, "FU-A of a slice extension, cut off"),
    ("65", NOTHING, "a NAL header alone"),
]
AV1_KEY = Said(keyframe=True, starts=True, predicted=False)
AV1 = [
    ("08 0a", AV1_KEY, "new coded video sequence"),
    ("28 0b 0a0a000000", AV1_KEY, "sequence header, with length, in front"),
    ("10 32 00", NOTHING, "frame without extension"),
    ("10 36 20 00", Said(temporal=1, switch_up=False), "sole element: no length"),
    ("10 36 48 00", Said(spatial=1, temporal=2, switch_up=False), "both ids"),
    ("10 36 18 00", Said(spatial=3), "highest spatial id"),
    ("20 03 36 20 00 32 00", Said(temporal=1, switch_up=False), "two elements: length in front"),
    ("00 8301 36 20 00", Said(temporal=1, switch_up=False), "elements not counted; length of two bytes"),
    ("18 0e 08 00", Said(keyframe=True, starts=True, predicted=False, spatial=1), "N and a layer"),
    ("90 36 20 00", NOTHING, "Z: goes on from the packet before"),
    ("10 b6 20 00", NOTHING, "forbidden bit"),
    ("10 36", NOTHING, "extension cut off"),
    ("00 ffffffffffffffff", NOTHING, "length without end"),
    ("08", NOTHING, "aggregation header only"),
]
# fmt: on
CASES = [
    pytest.param(codec, payload, expected, id=f"{codec.name} {what}")
    for codec, cases in (
        (VideoCodec.VP8, VP8),
        (VideoCodec.VP9, VP9),
        (VideoCodec.H264, H264),
        (VideoCodec.AV1, AV1),
    )
    for payload, expected, what in cases
]


@pytest.mark.parametrize(("codec", "payload", "expected"), CASES)
def test_layers(codec: VideoCodec, payload: str, expected: Said) -> None:
    assert Said.of(read_layers(codec, bytes.fromhex(payload))) == expected


CHROMIUM: list[tuple[VideoCodec, str, list[str]]] = [
    (
        VideoCodec.VP8,
        "L1T3",
        [
            "90e0bbb5a7209028009d012a4001b400 3bb5 a7 0 0 KUB",
            "b0e0bbb6a7a0f12900161c240c2c2c44 3bb6 a7 0 2 PUB",
            "a0e0bbb6a7a02447a9ab664249f21b8b 3bb6 a7 0 2 PU",
            "b0e0bbb7a780113a00121c240c2c2c44 3bb7 a7 0 2 PB",
            "90e0bbb9a740713e000e1c240c2c2c44 3bb9 a7 0 1 PB",
            "b0e0bbbaa7809131000b1c240c2c2c44 3bba a7 0 2 PB",
        ],
    ),
    (
        VideoCodec.VP9,
        "L3T3",
        [
            "bad0311010014000b4834983420013f0 5031 -- 0 0 KUB",
            "b4d03110e780fe451c418e00e3dac157 5031 -- 0 0 UE",
            "fcd032500287100800027e0166b341c1 5032 -- 0 2 PUBE",
            "fcd033300487040400027e0167027f01 5033 -- 0 1 PUBE",
            "fad035100830014000b4028001688701 5035 -- 0 0 PUB",
            "b9d035138702020004fe02ceb141c120 5035 -- 1 0 DUB",
            "b1d035138ebfd522e06e59433adac444 5035 -- 1 0 DU",
            "b5d035131515a5b39e068143e0d1a552 5035 -- 1 0 DUE",
            "fdd03653028700280004fe02ce33b1c1 5036 -- 1 2 PDUBE",
        ],
    ),
    (
        VideoCodec.VP9,
        "L3T3_KEY",
        [
            "bac4d71010014000b4834983420013f0 44d7 -- 0 0 KUB",
            "b9c4d9138702020004fe02ceb2e1c120 44d9 -- 1 0 DUB",
            "fdc4da52028700200004fe02ce3371c1 44da -- 1 2 PUBE",
            "f5c4db3204d0e842f8a4eec89a172f98 44db -- 1 1 PUE",
        ],
    ),
]
"""Beginnings of payloads captured from Debian's Chromium 156, by scalability mode: picture id, TL0PICIDX,
spatial and temporal layer, and of these letters those that are true: K keyframe, P predicted,
D depends_below, U switch_up, B starts, E ends.

With VP9's ``L3T3`` and this little bandwidth it begins with one spatial layer and adds the next one later,
without a key frame: the picture 5035 is predicted in layer 0, and not in layer 1.
"""


@pytest.mark.parametrize(
    ("codec", "line"),
    [
        pytest.param(codec, line, id=f"{codec.name} {mode} {line[:16]}")
        for codec, mode, lines in CHROMIUM
        for line in lines
    ],
)
def test_chromium(codec: VideoCodec, line: str) -> None:
    payload, picture_id, tl0_index, spatial, temporal, flags = line.split()
    layers = read_layers(codec, bytes.fromhex(payload))
    assert layers.picture_id == int(picture_id, 16)
    assert layers.picture_id_bits == 15
    assert layers.tl0_index == (None if tl0_index == "--" else int(tl0_index, 16))
    assert (layers.spatial, layers.temporal) == (int(spatial), int(temporal))
    assert layers.keyframe is ("K" in flags)
    assert layers.predicted is ("P" in flags)
    assert layers.depends_below is ("D" in flags)
    assert layers.switch_up is ("U" in flags)
    assert layers.starts is ("B" in flags)
    assert layers.ends is ("E" in flags)


@pytest.mark.parametrize("codec", list(VideoCodec))
def test_an_empty_payload_says_nothing(codec: VideoCodec) -> None:
    """As of packets that are padding only, with which browsers probe."""
    assert read_layers(codec, b"") is NO_LAYERS


def test_aggregate_cap() -> None:
    """Attack 19: a STAP-A of hundreds of one-byte units."""
    other, prefix = b"\0\x01\x09", b"\0\x04\x6e\x80\x80\x20"
    said = read_layers(VideoCodec.H264, b"\x78" + other * (MAX_AGGREGATED_UNITS - 1) + prefix)
    assert said.temporal == 1
    assert read_layers(VideoCodec.H264, b"\x78" + other * MAX_AGGREGATED_UNITS + prefix) is NO_LAYERS


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("90 e0 9234 05 60 51aabb", "90 e0 d678 9a 60 51aabb"),
        ("90 c0 9234 05 51", "90 c0 d678 9a 51"),
        ("90 e0 15 05 60 51", "90 e0 78 9a 60 51"),
        ("90 80 15 51", "90 80 78 51"),
        ("90 60 05 60 51", "90 60 9a 60 51"),
        ("90 30 65 51", "90 30 65 51"),
        ("90 00 51", "90 00 51"),
        ("10 51", "10 51"),
        ("90 e0 92", "90 e0 92"),
    ],
)
def test_rewrite(payload: str, expected: str) -> None:
    """Numbers cut to the fields that are there, with the rest as it was."""
    data = bytes.fromhex(payload)
    layers = read_layers(VideoCodec.VP8, data)
    assert rewrite_vp8(data, layers, 0x1_5678, 0x19A).hex() == bytes.fromhex(expected).hex()

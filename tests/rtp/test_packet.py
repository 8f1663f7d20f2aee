"""RTP headers, demultiplexing and numbers that wrap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.packet import (
    MAX_CSRC,
    MAX_PADDING,
    DatagramKind,
    RtpError,
    SequenceUnwrapper,
    TimestampUnwrapper,
    build_header,
    build_padding,
    classify,
    header_length_untrusted,
    is_rtcp,
    parse_untrusted,
    sequence_distance,
)
from tests.rtp.strategies import headers, payloads, u16, u32

# --- headers --------------------------------------------------------------------------------------------


def test_a_packet_of_chromium() -> None:
    """VP9 with mid and abs-send-time, as on the wire."""
    packet = parse_untrusted(
        bytes.fromhex("90e2 1a2b 00112233 cafebabe bede 0002 10 30 42 0a0b0c 00 00 8f6b".replace(" ", ""))
    )
    assert packet.marker
    assert packet.payload_type == 98
    assert packet.sequence_number == 0x1A2B
    assert packet.timestamp == 0x00112233
    assert packet.ssrc == 0xCAFEBABE
    assert packet.csrc == ()
    assert packet.extension_profile == 0xBEDE
    assert (packet.extension_offset, packet.extension_length) == (16, 8)
    assert (packet.payload_offset, packet.payload_length, packet.padding_length) == (24, 2, 0)
    assert packet.header + packet.payload == packet.data


@given(
    st.integers(0, 127), u16, u32, u32, st.booleans(), st.lists(u32, max_size=15),
    st.one_of(st.integers(0, 20), st.integers(250, 600)),
    st.one_of(st.none(), u16), payloads(200), st.integers(0, 255),
)  # fmt: skip
def test_build_then_parse(
    payload_type: int,
    sequence_number: int,
    timestamp: int,
    ssrc: int,
    marker: bool,
    csrc: list[int],
    words: int,
    profile: int | None,
    payload: bytes,
    padding: int,
) -> None:
    extension = b"" if profile is None else (profile << 16 | words).to_bytes(4, "big") + bytes(4 * words)
    header = build_header(
        payload_type=payload_type,
        sequence_number=sequence_number,
        timestamp=timestamp,
        ssrc=ssrc,
        marker=marker,
        padding=bool(padding),
        csrc=tuple(csrc),
        extension=extension,
    )
    packet = parse_untrusted(header + payload + (build_padding(padding) if padding else b""))
    assert (packet.payload_type, packet.marker, packet.ssrc) == (payload_type, marker, ssrc)
    assert (packet.sequence_number, packet.timestamp) == (sequence_number, timestamp)
    assert packet.csrc == tuple(csrc)
    assert packet.extension_profile == profile
    assert packet.extension_length == (0 if profile is None else 4 * words)
    assert packet.data[packet.extension_offset :][: packet.extension_length] == extension[4:]
    assert packet.header == header
    assert packet.payload == payload
    assert packet.padding_length == padding
    assert header_length_untrusted(packet.data) == len(header)


@given(headers(1, 2), st.integers(0, 11))
def test_a_header_cut_off_is_refused(header: bytes, extra: int) -> None:
    for size in range(len(header)):
        with pytest.raises(RtpError):
            parse_untrusted(header[:size])
    parse_untrusted(header + bytes(extra))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="empty"),
        pytest.param("80600001000000010000000", id="11 bytes"),
        pytest.param("406000010000000100000001", id="version 1"),
        pytest.param("c06000010000000100000001", id="version 3"),
        pytest.param("81600001000000010000000100000", id="CSRC cut off"),
        pytest.param("906000010000000100000001bede", id="extension header cut off"),
        pytest.param("906000010000000100000001bede0001", id="extension body missing"),
        pytest.param("906000010000000100000001bedeffff00000000", id="extension overflows"),
        pytest.param("a06000010000000100000001", id="padding in an empty packet"),
        pytest.param("a0600001000000010000000100", id="padding of 0"),
        pytest.param("a0600001000000010000000102", id="padding longer than the payload"),
        pytest.param("b06000010000000100000001bede000100000001", id="padding inside the extension"),
    ],
)
def test_malformed_packets(data: str) -> None:
    with pytest.raises(RtpError):
        parse_untrusted(bytes.fromhex(data[: len(data) // 2 * 2]))


def test_the_shortest_packets() -> None:
    bare = parse_untrusted(bytes.fromhex("806000010000000100000001"))
    assert (bare.payload_offset, bare.payload_length) == (12, 0)
    assert (bare.extension_profile, bare.extension_offset, bare.extension_length) == (None, 0, 0)
    empty = parse_untrusted(bytes.fromhex("906000010000000100000001bede0000"))
    assert (empty.payload_offset, empty.payload_length) == (16, 0)
    assert (empty.extension_profile, empty.extension_offset, empty.extension_length) == (0xBEDE, 16, 0)


def test_padding_may_be_all_there_is() -> None:
    packet = parse_untrusted(bytes.fromhex("a0600001000000010000000100000003"))
    assert (packet.payload, packet.padding_length) == (b"\0", 3)
    packet = parse_untrusted(bytes.fromhex("a060000100000001000000010002"))
    assert (packet.payload, packet.padding_length) == (b"", 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"payload_type": 128},
        {"payload_type": -1},
        {"sequence_number": 1 << 16},
        {"timestamp": 1 << 32},
        {"timestamp": -1},
        {"ssrc": 1 << 32},
        {"csrc": (1 << 32,)},
        {"csrc": (0,) * (MAX_CSRC + 1)},
        {"extension": b"\xbe\xde\x00"},
        {"extension": b"\xbe\xde\x00\x02\x00\x00\x00\x00"},
    ],
)
def test_our_own_mistakes_are_value_errors(wrong: dict[str, object]) -> None:
    arguments: dict[str, object] = {"payload_type": 1, "sequence_number": 2, "timestamp": 3, "ssrc": 4}
    with pytest.raises(ValueError):
        build_header(**{**arguments, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [0, -1, MAX_PADDING + 1])
def test_padding_range(length: int) -> None:
    with pytest.raises(ValueError, match="padding"):
        build_padding(length)
    assert build_padding(1) == b"\x01"
    assert build_padding(MAX_PADDING) == bytes(254) + b"\xff"


# --- demultiplexing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (range(4), DatagramKind.STUN),
        (range(4, 20), DatagramKind.UNKNOWN),
        (range(20, 64), DatagramKind.DTLS),
        (range(64, 128), DatagramKind.UNKNOWN),
        (range(128, 192), DatagramKind.RTP),
        (range(192, 256), DatagramKind.UNKNOWN),
    ],
)
def test_classify_is_rfc_7983(first: range, kind: DatagramKind) -> None:
    for byte in first:
        assert classify(bytes((byte,))) is kind
        assert classify(bytes((byte, 191)) + bytes(10)) is kind
        rtcp = DatagramKind.RTCP if kind is DatagramKind.RTP else kind
        assert classify(bytes((byte, 192)) + bytes(10)) is rtcp
        assert classify(bytes((byte, 223)) + bytes(10)) is rtcp
        assert classify(bytes((byte, 224)) + bytes(10)) is kind
    assert classify(b"") is DatagramKind.UNKNOWN


@pytest.mark.parametrize("packet_type", range(256))
def test_rtcp_range_is_rfc_5761(packet_type: int) -> None:
    """Payload types 64 to 95 with the marker, which are the packet types 192 to 223."""
    assert is_rtcp(bytes((0x80, packet_type))) == (192 <= packet_type <= 223)
    assert not is_rtcp(b"\x80")


# --- numbers that wrap --------------------------------------------------------------------------------------


@given(u16, u16)
def test_sequence_distance(newer: int, older: int) -> None:
    distance = sequence_distance(newer, older)
    assert -32768 <= distance <= 32767
    assert (older + distance) % 65536 == newer


def test_unwrapper_over_the_edge_and_back() -> None:
    unwrapper = SequenceUnwrapper()
    assert unwrapper.highest is None
    assert [unwrapper.unwrap(n) for n in (65_534, 1, 65_535, 0, 2, 2)] == [
        131_070,
        131_073,
        131_071,
        131_072,
        131_074,
        131_074,
    ]
    assert unwrapper.highest == 131_074


def test_the_exact_middle_counts_as_behind() -> None:
    unwrapper = SequenceUnwrapper()
    unwrapper.unwrap(40_000)
    assert unwrapper.unwrap(40_000 - 32_768) == 65_536 + 40_000 - 32_768
    assert unwrapper.unwrap((40_000 + 32_767) % 65_536) == 65_536 + 40_000 + 32_767
    assert sequence_distance(0, 32_768) == -32_768


def test_before_the_first_is_still_positive() -> None:
    unwrapper = SequenceUnwrapper()
    assert unwrapper.unwrap(0) == 65_536
    assert unwrapper.unwrap(65_535) == 65_535
    assert unwrapper.unwrap(32_768) == 32_768
    assert unwrapper.highest == 65_536


@given(st.integers(0, 65_535), st.lists(st.integers(-32_768, 32_767), max_size=50))
def test_unwrapper_follows_any_walk_within_half_a_cycle(first: int, steps: list[int]) -> None:
    """Steps are from the highest: a late value neither loses its place nor moves the reference."""
    unwrapper = SequenceUnwrapper()
    highest = unwrapper.unwrap(first)
    assert highest == 65_536 + first
    for step in steps:
        assert unwrapper.unwrap((highest + step) % 65_536) == highest + step
        highest = max(highest, highest + step)
        assert unwrapper.highest == highest


@given(u32, st.lists(st.integers(-(1 << 31), (1 << 31) - 1), max_size=20))
def test_timestamp_unwrapper(first: int, steps: list[int]) -> None:
    unwrapper = TimestampUnwrapper()
    highest = unwrapper.unwrap(first)
    for step in steps:
        assert unwrapper.unwrap((highest + step) % (1 << 32)) == highest + step
        highest = max(highest, highest + step)

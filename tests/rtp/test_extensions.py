"""Header extensions: both general forms and each element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.extensions import (
    ABS_SEND_TIME_MODULUS,
    MAX_ELEMENTS,
    MAX_PLAYOUT_DELAY,
    ONE_BYTE_PROFILE,
    TWO_BYTE_PROFILE,
    AbsCaptureTime,
    AudioLevel,
    ExtensionUri,
    PlayoutDelay,
    VideoOrientation,
    build_extension,
    decode_abs_capture_time_untrusted,
    decode_abs_send_time_untrusted,
    decode_audio_level_untrusted,
    decode_playout_delay_untrusted,
    decode_text_untrusted,
    decode_toffset_untrusted,
    decode_transport_sequence_untrusted,
    decode_video_orientation_untrusted,
    encode_abs_capture_time,
    encode_abs_send_time,
    encode_audio_level,
    encode_playout_delay,
    encode_text,
    encode_toffset,
    encode_transport_sequence,
    encode_video_orientation,
    extension_header,
    packet_elements_untrusted,
    parse_elements_untrusted,
)
from sfu.rtp.packet import MAX_EXTENSION_SIZE, RtpError, build_header, parse_untrusted
from tests.rtp.strategies import elements, one_byte_elements, u16


def read(body: str, profile: int = ONE_BYTE_PROFILE) -> dict[int, str]:
    data = bytes.fromhex(body)
    found = parse_elements_untrusted(data, profile, 0, len(data))
    return {identifier: data[at : at + size].hex() for identifier, (at, size) in found.items()}


# --- general forms ----------------------------------------------------------------------------------------


@given(elements, st.binary(max_size=20))
def test_build_then_parse(values: dict[int, bytes], payload: bytes) -> None:
    extension = build_extension(values.items())
    assert len(extension) % 4 == 0
    header = build_header(payload_type=1, sequence_number=2, timestamp=3, ssrc=4, extension=extension)
    packet = parse_untrusted(header + payload)
    found = packet_elements_untrusted(packet)
    assert {k: packet.data[at : at + size] for k, (at, size) in found.items()} == values
    assert list(found) == list(values)
    assert packet.payload == payload


@given(elements)
def test_the_short_form_whenever_it_can(values: dict[int, bytes]) -> None:
    fits = all(key <= 14 and 1 <= len(value) <= 16 for key, value in values.items())
    extension = build_extension(values.items())
    if not values:
        assert extension == b""
    else:
        assert int.from_bytes(extension[:2], "big") == (ONE_BYTE_PROFILE if fits else TWO_BYTE_PROFILE)


@pytest.mark.parametrize(
    ("identifier", "size", "profile"),
    [
        (14, 16, ONE_BYTE_PROFILE),
        (15, 16, TWO_BYTE_PROFILE),
        (14, 17, TWO_BYTE_PROFILE),
        (1, 0, TWO_BYTE_PROFILE),
        (255, 255, TWO_BYTE_PROFILE),
    ],
)
def test_where_the_short_form_ends(identifier: int, size: int, profile: int) -> None:
    extension = build_extension([(identifier, bytes(size))])
    assert int.from_bytes(extension[:2], "big") == profile
    assert read(extension[4:].hex(), profile) == {identifier: "00" * size}


def test_rfc8285_example_one_byte() -> None:
    """Section 4.2: three elements, padding between and none behind."""
    assert read("10aa21bbbb0000331c1d1e1f") == {1: "aa", 2: "bbbb", 3: "1c1d1e1f"}


def test_rfc8285_example_two_byte() -> None:
    """Section 4.3: an empty element, one byte of padding."""
    assert read("01000201aa0003041c1d1e1f", TWO_BYTE_PROFILE) == {1: "", 2: "aa", 3: "1c1d1e1f"}


def test_appbits_are_ignored() -> None:
    assert read("0101aa00", 0x100F) == {1: "aa"}


def test_another_profile_has_no_elements() -> None:
    assert read("10aa21bb", 0xABCD) == {}
    assert read("10aa21bb", 0x1010) == {}
    assert parse_elements_untrusted(b"\x10\xaa", None, 0, 0) == {}


@pytest.mark.parametrize("stop", ["f0", "ff", "01", "0f"])
def test_id_15_and_id_0_with_a_length_end_the_one_byte_form(stop: str) -> None:
    assert read(f"10aa{stop}31cccccccc") == {1: "aa"}


def test_id_15_is_an_ordinary_id_in_the_two_byte_form() -> None:
    assert read("0f01aa00", TWO_BYTE_PROFILE) == {15: "aa"}


def test_the_first_of_two_elements_counts() -> None:
    assert read("10aa10bb") == {1: "aa"}
    assert read("0101aa0101bb", TWO_BYTE_PROFILE) == {1: "aa"}


@pytest.mark.parametrize(
    ("body", "profile"),
    [
        ("13aabbcc", ONE_BYTE_PROFILE),
        ("10aa0010", ONE_BYTE_PROFILE),
        ("1f" + "00" * 15, ONE_BYTE_PROFILE),
        ("0101aa02", TWO_BYTE_PROFILE),
        ("0102aa", TWO_BYTE_PROFILE),
        ("01ff" + "00" * 254, TWO_BYTE_PROFILE),
    ],
)
def test_an_element_cut_off_is_refused(body: str, profile: int) -> None:
    with pytest.raises(RtpError):
        read(body, profile)


def test_an_element_never_reaches_into_the_payload() -> None:
    """The bytes are there, but behind the extension's end."""
    data = bytes.fromhex("10aa001f") + bytes(100)
    with pytest.raises(RtpError):
        parse_elements_untrusted(data, ONE_BYTE_PROFILE, 0, 4)


@pytest.mark.parametrize("element", ["10aa", "0100"])
def test_element_cap(element: str) -> None:
    """Repeated ids count too: they cost as much to read."""
    profile = ONE_BYTE_PROFILE if element == "10aa" else TWO_BYTE_PROFILE
    assert len(read(element * MAX_ELEMENTS, profile)) == 1
    with pytest.raises(RtpError):
        read(element * (MAX_ELEMENTS + 1), profile)
    with pytest.raises(ValueError, match="too many"):
        build_extension([(n + 1, b"x") for n in range(MAX_ELEMENTS + 1)])


@pytest.mark.parametrize("bad", [[(0, b"x")], [(256, b"x")], [(1, bytes(256))], [(1, b"x"), (1, b"y")]])
def test_our_own_mistakes_are_value_errors(bad: list[tuple[int, bytes]]) -> None:
    with pytest.raises(ValueError):
        build_extension(bad)


@pytest.mark.parametrize("length", [1, -4, MAX_EXTENSION_SIZE + 4])
def test_extension_header_range(length: int) -> None:
    with pytest.raises(ValueError):
        extension_header(ONE_BYTE_PROFILE, length)
    assert extension_header(ONE_BYTE_PROFILE, MAX_EXTENSION_SIZE).hex() == "bedeffff"


@given(one_byte_elements)
def test_offsets_are_into_the_packet(values: dict[int, bytes]) -> None:
    body = build_extension(values.items())[4:]
    shifted = bytes(7) + body + bytes(9)
    assert {
        key: (at - 7, size)
        for key, (at, size) in parse_elements_untrusted(shifted, ONE_BYTE_PROFILE, 7, len(body)).items()
    } == parse_elements_untrusted(body, ONE_BYTE_PROFILE, 0, len(body))


# --- elements ---------------------------------------------------------------------------------------------

ROUND_TRIPS: list[tuple[Callable[[Any], bytes], Callable[[bytes], Any], st.SearchStrategy[Any]]] = [
    (
        encode_text,
        decode_text_untrusted,
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    ),
    (encode_transport_sequence, decode_transport_sequence_untrusted, u16),
    (
        encode_audio_level,
        decode_audio_level_untrusted,
        st.builds(AudioLevel, st.booleans(), st.integers(0, 127)),
    ),
    (
        encode_video_orientation,
        decode_video_orientation_untrusted,
        st.builds(VideoOrientation, st.booleans(), st.booleans(), st.sampled_from([0, 90, 180, 270])),
    ),
    (encode_toffset, decode_toffset_untrusted, st.integers(-(1 << 23), (1 << 23) - 1)),
    (
        encode_abs_capture_time,
        decode_abs_capture_time_untrusted,
        st.builds(
            AbsCaptureTime,
            st.integers(0, (1 << 64) - 1),
            st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1)),
        ),
    ),
    (
        encode_playout_delay,
        decode_playout_delay_untrusted,
        st.tuples(st.integers(0, 0xFFF), st.integers(0, 0xFFF)).map(lambda pair: PlayoutDelay(*sorted(pair))),
    ),
]


@pytest.mark.parametrize(("encode", "decode", "values"), ROUND_TRIPS)
@given(data=st.data())
def test_elements_round_trip(
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
    values: st.SearchStrategy[Any],
    data: st.DataObject,
) -> None:
    value = data.draw(values)
    assert decode(encode(value)) == value


@given(st.floats(0, 1e7))
def test_abs_send_time(now: float) -> None:
    """Within one unit, modulo 64 s."""
    error = (now - decode_abs_send_time_untrusted(encode_abs_send_time(now))) % ABS_SEND_TIME_MODULUS
    assert min(error, ABS_SEND_TIME_MODULUS - error) <= 2**-18


def test_known_elements() -> None:
    assert encode_abs_send_time(64 + 1.5) == bytes.fromhex("060000")
    assert decode_audio_level_untrusted(b"\x85") == AudioLevel(voice=True, level=5)
    assert decode_audio_level_untrusted(b"\x7f\x00") == AudioLevel(voice=False, level=127)
    assert decode_video_orientation_untrusted(b"\xf9") == VideoOrientation(
        back_camera=True, flip=False, rotation=90
    )
    assert decode_toffset_untrusted(b"\xff\xff\xff") == -1
    assert decode_playout_delay_untrusted(bytes.fromhex("00a014")) == PlayoutDelay(10, 20)
    capture = decode_abs_capture_time_untrusted(bytes.fromhex("0000000180000000ffffffff80000000"))
    assert (capture.seconds, capture.clock_offset_seconds) == (1.5, -0.5)
    assert AbsCaptureTime(1 << 32).clock_offset_seconds is None


@pytest.mark.parametrize(
    ("decode", "good"),
    [
        (decode_abs_send_time_untrusted, {3}),
        (decode_transport_sequence_untrusted, {2}),
        (decode_audio_level_untrusted, {1, 2}),
        (decode_video_orientation_untrusted, {1}),
        (decode_toffset_untrusted, {3}),
        (decode_abs_capture_time_untrusted, {8, 16}),
        (decode_playout_delay_untrusted, {3}),
        (decode_text_untrusted, set(range(1, 20))),
    ],
)
def test_wrong_lengths_are_refused(decode: Callable[[bytes], object], good: set[int]) -> None:
    for size in range(20):
        if size in good:
            decode(bytes(size))
        else:
            with pytest.raises(RtpError):
                decode(bytes(size))


def test_other_refusals() -> None:
    assert len(encode_text("x" * 255)) == 255
    with pytest.raises(RtpError, match="UTF-8"):
        decode_text_untrusted(b"\xff")
    with pytest.raises(RtpError, match="minimum above maximum"):
        decode_playout_delay_untrusted(bytes.fromhex("002001"))
    refused: list[tuple[Callable[[Any], bytes], object]] = [
        (encode_text, ""),
        (encode_text, "x" * 256),
        (encode_audio_level, AudioLevel(voice=False, level=128)),
        (encode_video_orientation, VideoOrientation(back_camera=False, flip=False, rotation=45)),
        (encode_toffset, 1 << 23),
        (encode_toffset, -(1 << 23) - 1),
        (encode_playout_delay, PlayoutDelay(2, 1)),
        (encode_playout_delay, PlayoutDelay(0, MAX_PLAYOUT_DELAY + 1)),
    ]
    for encode, value in refused:
        with pytest.raises(ValueError):
            encode(value)


def test_uris_are_unique() -> None:
    assert len({uri.value for uri in ExtensionUri}) == len(ExtensionUri) == 12
    assert ExtensionUri("urn:ietf:params:rtp-hdrext:sdes:mid") is ExtensionUri.MID

"""Engine.IO packets and payloads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.signaling.engineio.codec import (
    MAX_PAYLOAD_PACKETS,
    EngineIoError,
    Frame,
    Packet,
    PacketType,
    decode_frame_untrusted,
    decode_payload_untrusted,
    encode_open,
    encode_packet,
    encode_payload,
    frame_size,
)
from sfu.signaling.engineio.outbox import Outbox

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x1e"))
PACKETS = st.builds(Packet, st.sampled_from(PacketType), TEXT) | st.builds(
    Packet, st.just(PacketType.MESSAGE), st.binary()
)

VECTORS: list[tuple[Packet, Frame, bytes]] = [
    (Packet(PacketType.CLOSE), "1", b"1"),
    (Packet(PacketType.PING, "probe"), "2probe", b"2probe"),
    (Packet(PacketType.MESSAGE, "hello"), "4hello", b"4hello"),
    (Packet(PacketType.MESSAGE, "\u20ac"), "4\u20ac", b"4\xe2\x82\xac"),
    (Packet(PacketType.MESSAGE, b"\x01\x02\x03\x04"), b"\x01\x02\x03\x04", b"bAQIDBA=="),
    (Packet(PacketType.MESSAGE, b""), b"", b"b"),
]


@pytest.mark.parametrize(("packet", "frame", "payload"), VECTORS)
def test_vectors(packet: Packet, frame: Frame, payload: bytes) -> None:
    assert encode_packet(packet) == frame
    assert decode_frame_untrusted(frame) == packet
    assert encode_payload([frame]) == payload
    assert decode_payload_untrusted(payload, max_bytes=100) == [packet]


def test_a_payload_of_several() -> None:
    assert encode_payload(["4a", b"\x01", "2"]) == b"4a\x1ebAQ==\x1e2"
    assert decode_payload_untrusted(b"4a\x1ebAQ==\x1e2", max_bytes=100) == [
        Packet(PacketType.MESSAGE, "a"),
        Packet(PacketType.MESSAGE, b"\x01"),
        Packet(PacketType.PING),
    ]


@given(PACKETS)
def test_frames_round_trip(packet: Packet) -> None:
    assert decode_frame_untrusted(encode_packet(packet)) == packet


@given(st.lists(PACKETS, min_size=1))
def test_payloads_round_trip(packets: list[Packet]) -> None:
    payload = encode_payload(map(encode_packet, packets))
    assert decode_payload_untrusted(payload, max_bytes=len(payload)) == packets


@pytest.mark.parametrize("packet_type", [kind for kind in PacketType if kind is not PacketType.MESSAGE])
def test_only_messages_are_binary(packet_type: PacketType) -> None:
    with pytest.raises(ValueError, match="carries text only"):
        encode_packet(Packet(packet_type, b"x"))


@pytest.mark.parametrize(
    "payload", [b"", b"7", b"x", b"4\x1e", b"\x1e4", b"4\x1e\x1e4", b"\xff", b"4\xed\xa0\x80"]
)
def test_refuses(payload: bytes) -> None:
    with pytest.raises(EngineIoError):
        decode_payload_untrusted(payload, max_bytes=100)


@pytest.mark.parametrize(
    "base64", [b"A", b"AB", b"A===", b"AQ==AQ==", b"AQ=\n=", b"\xc3\xa9", b"_-_-", b"AQ== "]
)
def test_refuses_bad_base64(base64: bytes) -> None:
    with pytest.raises(EngineIoError):
        decode_payload_untrusted(b"b" + base64, max_bytes=100)


def test_limits_come_before_parsing() -> None:
    assert len(decode_payload_untrusted(b"4" * 10, max_bytes=10)) == 1
    with pytest.raises(EngineIoError, match="too large"):
        decode_payload_untrusted(b"\xff" * 11, max_bytes=10)
    most = b"\x1e".join([b"6"] * MAX_PAYLOAD_PACKETS)
    assert len(decode_payload_untrusted(most, max_bytes=100_000)) == MAX_PAYLOAD_PACKETS
    with pytest.raises(EngineIoError, match="too many"):
        decode_payload_untrusted(most + b"\x1e\xff", max_bytes=100_000)


def test_opening() -> None:
    opening = encode_open(
        sid="x", upgrades=["websocket"], ping_interval=0.3, ping_timeout=20.0, max_payload=1
    )
    assert opening[0] == "0"
    assert json.loads(opening[1:]) == {
        "sid": "x",
        "upgrades": ["websocket"],
        "pingInterval": 300,
        "pingTimeout": 20000,
        "maxPayload": 1,
    }


@given(st.text() | st.binary())
def test_sizes(frame: Frame) -> None:
    size = len(frame.encode("utf-8", "surrogatepass")) if isinstance(frame, str) else len(frame)
    assert frame_size(frame) == size


# --- outbox ------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.text(max_size=5) | st.binary(max_size=5), min_size=1)), st.integers(1, 30))
def test_an_outbox_keeps_order_and_counts(groups: list[list[Frame]], chunk: int) -> None:
    outbox = Outbox(max_frames=20, max_bytes=50)
    accepted: list[Frame] = []
    for group in groups:
        size = sum(map(frame_size, group))
        fits = len(accepted) + len(group) <= 20 and outbox.bytes + size <= 50
        assert outbox.put(group, size) is fits
        accepted += group if fits else []
        assert len(outbox) == len(accepted)
        assert outbox.bytes == sum(map(frame_size, accepted))
    taken: list[Frame] = []
    while outbox:
        if len(taken) % 2:
            frame = outbox.pop()
            assert frame is not None
            taken.append(frame)
        else:
            frames = outbox.take(chunk)
            assert len(frames) == 1 or sum(map(frame_size, frames)) <= chunk
            taken += frames
    assert taken == accepted
    assert outbox.bytes == 0
    assert outbox.pop() is None
    assert outbox.take(chunk) == []


def test_an_outbox_can_be_cleared() -> None:
    outbox = Outbox(max_frames=2, max_bytes=10)
    assert outbox.put(["0123456789"], 10)
    outbox.clear()
    assert (len(outbox), outbox.bytes) == (0, 0)
    assert outbox.put(["a", "b"], 2)
    assert not outbox.put(["c"], 1)

"""Any bytes are Engine.IO or raise :class:`EngineIoError`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sfu.signaling.engineio.codec import (
    EngineIoError,
    decode_frame_untrusted,
    decode_payload_untrusted,
    encode_packet,
    encode_payload,
)

PARTS = st.one_of(
    st.sampled_from(
        [b"0", b"1", b"2", b"2probe", b"3", b"4", b"5", b"6", b"b", b"bAQ==", b"b====", b"", b"x"]
    ),
    st.binary(max_size=8),
    st.text(max_size=8).map(lambda text: b"4" + text.encode("utf-8", "surrogatepass")),
)
PAYLOADS = st.binary() | st.lists(PARTS, max_size=8).map(b"\x1e".join)


@given(PAYLOADS, st.integers(0, 64), st.integers(1, 8))
def test_payloads(payload: bytes, max_bytes: int, max_packets: int) -> None:
    try:
        packets = decode_payload_untrusted(payload, max_bytes=max_bytes, max_packets=max_packets)
    except EngineIoError:
        return
    assert len(payload) <= max_bytes
    assert 1 <= len(packets) <= max_packets
    again = encode_payload(map(encode_packet, packets))
    assert decode_payload_untrusted(again, max_bytes=len(again)) == packets


@given(st.text() | st.binary())
def test_frames(frame: str | bytes) -> None:
    try:
        packet = decode_frame_untrusted(frame)
    except EngineIoError:
        assert isinstance(frame, str)
        return
    assert encode_packet(packet) == frame


@given(st.lists(PARTS.map(lambda part: part.decode("utf-8", "replace")), min_size=1, max_size=8))
def test_a_payload_is_its_parts(parts: list[str]) -> None:
    """Together or one by one, the packets are the same."""

    def decode(text: str) -> list[object] | None:
        try:
            return list(decode_payload_untrusted(text.encode(), max_bytes=1000))
        except EngineIoError:
            return None

    one_by_one = [decode(part) for part in parts]
    together = decode("\x1e".join(parts))
    if None in one_by_one:
        assert together is None
    else:
        assert together == [packet for packets in one_by_one for packet in packets or ()]

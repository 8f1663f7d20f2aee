"""Any payload is silence or not, and any packet a retransmission or not: nothing else is raised."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sfu.rtp.packet import RtpError, parse_untrusted
from sfu.rtp.payload import opus_is_dtx
from sfu.rtp.rtx import build_rtx, recover_untrusted


@given(st.binary(max_size=100))
def test_any_opus_packet(payload: bytes) -> None:
    assert opus_is_dtx(payload) is (0 < len(payload) < 3)


@given(st.binary(min_size=12, max_size=80), st.integers(0, 63))
def test_any_rtx(data: bytes, first: int) -> None:
    try:
        packet = parse_untrusted(bytes((0x80 | first,)) + data[1:])
        original = recover_untrusted(packet, ssrc=1, payload_type=2)
    except RtpError:
        return
    if original is None:
        assert packet.payload_length == 0
        return
    assert (original.ssrc, original.payload_type) == (1, 2)
    header, payload = build_rtx(
        original,
        ssrc=packet.ssrc,
        payload_type=packet.payload_type,
        sequence_number=packet.sequence_number,
    )
    assert payload == packet.payload
    assert header[1:] == packet.header[1:]

"""DCEP (RFC 8832) and PPIDs (RFC 8831)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.sctp import ppid
from sfu.sctp.dcep import (
    MAX_LABEL_LENGTH,
    MAX_PROTOCOL_LENGTH,
    DataChannelAck,
    DataChannelOpen,
    DcepError,
    parse_dcep_untrusted,
)

u32 = st.integers(0, 0xFFFF_FFFF)
texts = st.text(max_size=30)


@st.composite
def opens(draw: st.DrawFn) -> DataChannelOpen:
    kind = draw(st.integers(0, 2))
    return DataChannelOpen(
        label=draw(texts),
        protocol=draw(texts),
        ordered=draw(st.booleans()),
        max_retransmits=draw(u32) if kind == 1 else None,
        max_lifetime_ms=draw(u32) if kind == 2 else None,
        priority=draw(st.integers(0, 0xFFFF)),
    )


@given(opens())
def test_open_round_trip(message: DataChannelOpen) -> None:
    assert parse_dcep_untrusted(message.encode()) == message


def test_known_bytes() -> None:
    """Figures of RFC 8832 5.1 and 5.2, filled in: unordered, lifetime 3000 ms, label "netplay-input"."""
    message = DataChannelOpen("netplay-input", "json", ordered=False, max_lifetime_ms=3000)
    data = bytes.fromhex("0382010000000bb8000d0004") + b"netplay-inputjson"
    assert message.encode() == data
    assert parse_dcep_untrusted(data) == message
    assert DataChannelAck().encode() == b"\x02"
    assert parse_dcep_untrusted(b"\x02") == DataChannelAck()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02\x00",
        b"\x00",
        b"\x01" + bytes(11),
        b"\xff" + bytes(11),
        b"\x03" + bytes(10),
        bytes.fromhex("030300000000000000000000"),  # channel type 3 does not exist
        bytes.fromhex("038300000000000000000000"),
        bytes.fromhex("030000000000000000010000"),  # label length beyond the message
        bytes.fromhex("030000000000000000000001"),
        bytes.fromhex("030000000000000000000000ff"),  # a byte too many
        bytes.fromhex("030000000000000000010000ff"),  # not UTF-8
        bytes.fromhex("03000000000000000000000280c0"),
        bytes.fromhex("0300000000000000ffff0000") + bytes(65_535),
    ],
)
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(DcepError):
        parse_dcep_untrusted(data)


def test_caps() -> None:
    longest = DataChannelOpen("l" * MAX_LABEL_LENGTH, "p" * MAX_PROTOCOL_LENGTH)
    assert parse_dcep_untrusted(longest.encode()) == longest
    for label, protocol in (("l" * (MAX_LABEL_LENGTH + 1), ""), ("", "p" * (MAX_PROTOCOL_LENGTH + 1))):
        data = (
            bytes.fromhex("030000000000000000")[:8]
            + len(label).to_bytes(2, "big")
            + len(protocol).to_bytes(2, "big")
        )
        with pytest.raises(DcepError):
            parse_dcep_untrusted(data + (label + protocol).encode())
        with pytest.raises(ValueError, match="too long"):
            DataChannelOpen(label, protocol).encode()


def test_contradictions_are_not_encoded() -> None:
    with pytest.raises(ValueError, match="one reliability limit"):
        DataChannelOpen(max_retransmits=1, max_lifetime_ms=1).encode()
    for message in (DataChannelOpen(max_retransmits=-1), DataChannelOpen(priority=70_000)):
        with pytest.raises(ValueError, match="out of range"):
            message.encode()


@given(st.sampled_from(ppid.MessageKind), st.binary(max_size=5))
def test_messages_survive_the_wire(kind: ppid.MessageKind, data: bytes) -> None:
    number, body = ppid.to_wire(kind, data)
    assert body, "SCTP carries no empty message"
    assert ppid.from_wire(number, body) == (kind, data)


def test_ppids() -> None:
    assert ppid.to_wire(ppid.MessageKind.TEXT, b"") == (56, b"\0")
    assert ppid.to_wire(ppid.MessageKind.BINARY, b"") == (57, b"\0")
    assert ppid.to_wire(ppid.MessageKind.TEXT, b"a") == (51, b"a")
    assert ppid.to_wire(ppid.MessageKind.BINARY, b"a") == (53, b"a")
    assert ppid.from_wire(52, b"a") == (ppid.MessageKind.BINARY, b"a")
    assert ppid.from_wire(54, b"a") == (ppid.MessageKind.TEXT, b"a")
    assert ppid.from_wire(50, b"\x02") is None
    assert ppid.from_wire(0, b"a") is None

"""SR, RR, SDES, BYE and APP against bytes that other implementations wrote (aiortc)."""

from __future__ import annotations

import pytest

from sfu.rtp.packet import RtpError
from sfu.rtp.rtcp import (
    App,
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SdesChunk,
    SdesItemType,
    SenderReport,
    SourceDescription,
    parse_compound_untrusted,
)

CNAME = b"{63f459ea-41fe-4474-9d33-9707c9ee79d1}"
BLOCK = ReportBlock(
    ssrc=2398654957,
    fraction_lost=12,
    packets_lost=-3,
    highest_sequence=246,
    jitter=127,
    last_sender_report=0x12345678,
    delay_since_last_sender_report=65536,
)
VECTORS: list[tuple[str, RtcpPacket]] = [
    (
        (
            "81c8000c6d2453eae0f4f3b41234567866a8dd3e0000010d000034f5"
            "8ef891ed0cfffffd000000f60000007f1234567800010000"
        ),
        SenderReport(1831097322, 0xE0F4F3B412345678, 1722342718, 269, 13557, (BLOCK,)),
    ),
    ("80c9000130b68407", ReceiverReport(817267719)),
    (
        "81ca000c6d2453ea01267b36336634353965612d343166652d343437342d396433332d3937303763396565373964317d00000000",
        SourceDescription((SdesChunk(1831097322, ((SdesItemType.CNAME, CNAME),)),)),
    ),
    # By the figures in RFC 3550 6.5 to 6.7: each chunk ends at a word.
    (
        "82ca00050000000101016100000000020f013001016200" + "00",
        SourceDescription(
            (
                SdesChunk(1, ((SdesItemType.CNAME, b"a"),)),
                SdesChunk(2, ((SdesItemType.MID, b"0"), (SdesItemType.CNAME, b"b"))),
            )
        ),
    ),
    ("81cb0001ae528b43", Goodbye((2924645187,))),
    ("81cb0003000000010462796521000000", Goodbye((1,), b"bye!")),
    ("85cc00030000002a6e616d65deadbeef", App(5, 42, b"name", b"\xde\xad\xbe\xef")),
]


@pytest.mark.parametrize(("data", "packet"), VECTORS)
def test_vectors(data: str, packet: RtcpPacket) -> None:
    assert parse_compound_untrusted(bytes.fromhex(data)) == [packet]
    assert packet.to_bytes().hex() == data


def test_cname() -> None:
    chunk = SdesChunk(1, ((2, b"name"), (1, b"first"), (1, b"second")))
    assert chunk.cname == b"first"
    assert SdesChunk(1, ()).cname is None


def test_profile_extension_behind_the_blocks_is_ignored() -> None:
    assert parse_compound_untrusted(bytes.fromhex("80c90002000000010badf00d")) == [ReceiverReport(1)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("80c80005" + "00" * 20, id="SR without its sender info"),
        pytest.param("81c80006" + "00" * 24, id="SR without its block"),
        pytest.param("80c90000", id="RR without SSRC"),
        pytest.param("9fc90007" + "00" * 28, id="RR with one of 31 blocks"),
        pytest.param("81ca0000", id="SDES without its chunk"),
        pytest.param("81ca000100000001", id="SDES chunk without an end"),
        pytest.param("81ca00020000000101ff4142", id="SDES item overflows"),
        pytest.param("81ca00020000000101024142", id="SDES item up to the end, no end mark"),
        pytest.param("81ca00020000000101004101", id="SDES item header cut off"),
        pytest.param("82ca0002000000010000000", id="SDES second chunk missing"),
        pytest.param("82cb000100000001", id="BYE source missing"),
        pytest.param("81cb000200000001ff414243", id="BYE reason overflows"),
        pytest.param("80cc000100000001", id="APP without a name"),
    ],
)
def test_malformed(data: str) -> None:
    with pytest.raises(RtpError):
        parse_compound_untrusted(bytes.fromhex(data + "0" * (len(data) % 2)))


def test_sdes_end_mark_within_padding_of_rtcp_is_not_seen() -> None:
    """A chunk must end inside the packet, not in what padding was taken off."""
    with pytest.raises(RtpError):
        parse_compound_untrusted(bytes.fromhex("a1ca0002000000010000" + "0002"))


def test_empty_sdes_items_do_not_loop() -> None:
    body = "00000001" + "0100" * 700 + "00000000"
    data = bytes.fromhex(f"81ca{len(body) // 8:04x}{body}")
    (parsed,) = parse_compound_untrusted(data)
    assert isinstance(parsed, SourceDescription)
    assert len(parsed.chunks[0].items) == 700


@pytest.mark.parametrize(
    "packet",
    [
        ReceiverReport(1, (BLOCK,) * 32),
        Goodbye((1,) * 32),
        Goodbye((1,), b"x" * 256),
        SourceDescription((SdesChunk(1, ((0, b""),)),)),
        SourceDescription((SdesChunk(1, ((1, b"x" * 256),)),)),
        App(32, 1, b"name"),
        App(1, 1, b"nam"),
        App(1, 1, b"name", b"x"),
        ReceiverReport(1, (ReportBlock(1, 256, 0, 0, 0, 0, 0),)),
        ReceiverReport(1, (ReportBlock(1, 0, 1 << 23, 0, 0, 0, 0),)),
        ReceiverReport(1, (ReportBlock(1, 0, -(1 << 23) - 1, 0, 0, 0, 0),)),
    ],
)
def test_our_own_mistakes_are_value_errors(packet: RtcpPacket) -> None:
    with pytest.raises(ValueError):
        packet.to_bytes()

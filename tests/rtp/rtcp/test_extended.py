"""Extended reports: the layout of RFC 3611, and what is refused."""

from __future__ import annotations

import pytest

from sfu.rtp.packet import RtpError
from sfu.rtp.rtcp import (
    DelaySinceLastReceiverReport,
    ExtendedReport,
    ReceiverReferenceTime,
    UnknownBlock,
    parse_compound_untrusted,
)

RRTR = bytes.fromhex("80cf0004 01020304 04000002 1122334455667788")
DLRR = bytes.fromhex("80cf0005 01020304 05000003 0a0b0c0d 33445566 00018000")


def test_the_layout_of_a_reference_time() -> None:
    report = ExtendedReport(0x01020304, (ReceiverReferenceTime(0x1122334455667788),))
    assert report.to_bytes() == RRTR
    assert parse_compound_untrusted(RRTR) == [report]


def test_the_layout_of_the_answer() -> None:
    report = ExtendedReport(0x01020304, (DelaySinceLastReceiverReport(((0x0A0B0C0D, 0x33445566, 98304),)),))
    assert report.to_bytes() == DLRR
    assert parse_compound_untrusted(DLRR) == [report]


def test_reserved_bits_mean_nothing() -> None:
    spoilt = bytes((RRTR[0] | 0x1F,)) + RRTR[1:9] + b"\xff" + RRTR[10:]
    assert parse_compound_untrusted(spoilt) == parse_compound_untrusted(RRTR)


def test_unknown_blocks_are_passed_over() -> None:
    data = bytes.fromhex("80cf0007 01020304 2a070001 cafe0000 05000003 0a0b0c0d 33445566 00018000")
    [report] = parse_compound_untrusted(data)
    assert isinstance(report, ExtendedReport)
    assert report.blocks == (
        UnknownBlock(42, 7, b"\xca\xfe\0\0"),
        DelaySinceLastReceiverReport(((0x0A0B0C0D, 0x33445566, 98304),)),
    )
    assert report.to_bytes() == data


@pytest.mark.parametrize(
    "data",
    [
        "80cf0000",
        "80cf0002 01020304 04000002",
        "80cf0003 01020304 04000001 11223344",
        "80cf0003 01020304 05000001 0a0b0c0d",
        "a0cf0002 01020304 00000002",
    ],
)
def test_what_is_cut_off_is_refused(data: str) -> None:
    with pytest.raises(RtpError):
        parse_compound_untrusted(bytes.fromhex(data))


def test_a_block_is_of_whole_words() -> None:
    with pytest.raises(ValueError, match="multiple of four"):
        UnknownBlock(1, 0, b"abc").to_bytes()

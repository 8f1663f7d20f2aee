"""Parameters and causes: round trips, what is refused, unknown types by their upper bits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.sctp.causes import (
    MAX_REASON_LENGTH,
    Cause,
    CauseCode,
    encode_causes,
    parse_causes_untrusted,
    protocol_violation,
    stale_cookie,
    user_abort,
)
from sfu.sctp.errors import SctpError
from sfu.sctp.parameters import (
    IGNORED_TYPES,
    PARAMETERS,
    ForwardTsnSupported,
    Parameter,
    UnknownParameter,
    encode_parameters,
    parse_parameters_untrusted,
)
from sfu.sctp.tlv import MAX_ITEMS, join_tlvs, split_tlvs_untrusted
from tests.sctp.strategies import causes, parameters


@given(parameters)
def test_parameters_round_trip(items: tuple[Parameter, ...]) -> None:
    assert parse_parameters_untrusted(encode_parameters(items)) == items


@given(causes)
def test_causes_round_trip(items: tuple[Cause, ...]) -> None:
    assert parse_causes_untrusted(encode_causes(items)) == items


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=9)), max_size=6))
def test_items_round_trip_with_and_without_the_last_padding(items: list[tuple[int, bytes]]) -> None:
    data = join_tlvs(items)
    assert split_tlvs_untrusted(data) == items
    assert split_tlvs_untrusted(data + bytes(-len(data) % 4)) == items


def test_items_are_counted() -> None:
    split_tlvs_untrusted(join_tlvs([(1, b"")] * MAX_ITEMS))
    with pytest.raises(SctpError):
        split_tlvs_untrusted(join_tlvs([(1, b"")] * (MAX_ITEMS + 1)))


@pytest.mark.parametrize("kind", PARAMETERS)
def test_known_parameters_have_strict_lengths(kind: int) -> None:
    """One byte, or one too many, is refused, except where the value is opaque."""
    opaque = {7, 8, 0x8008}
    for value in (b"x", bytes(17)):
        if kind in opaque:
            assert parse_parameters_untrusted(join_tlvs([(kind, value)]))[0].type == kind
        elif (kind, len(value)) != (13, 17):
            with pytest.raises(SctpError):
                parse_parameters_untrusted(join_tlvs([(kind, value)]))


def test_unknown_parameters_by_their_upper_bits() -> None:
    """RFC 9260 3.2.1."""
    for kind, stops, reported in (
        (0x3FFF, True, False),
        (0x7FFF, True, True),
        (0xBFFF, False, False),
        (0xFFFF, False, True),
    ):
        unknown = UnknownParameter(kind, b"x")
        assert (unknown.stops, unknown.reported) == (stops, reported)
        parsed = parse_parameters_untrusted(encode_parameters((unknown, ForwardTsnSupported())))
        assert parsed == ((unknown,) if stops else (unknown, ForwardTsnSupported()))


@pytest.mark.parametrize("kind", sorted(IGNORED_TYPES))
def test_what_has_no_use_here_is_neither_unknown_nor_reported(kind: int) -> None:
    unknown = UnknownParameter(kind, b"abcd")
    assert not unknown.stops
    assert not unknown.reported


def test_reasons_are_bounded_and_printable() -> None:
    assert len(user_abort("ä" * 500).info) <= MAX_REASON_LENGTH
    assert protocol_violation("bad").describe() == "protocol violation: bad"
    nasty = Cause(CauseCode.USER_INITIATED_ABORT, b"a\x1b[31m\n\xff" + bytes(5000))
    assert nasty.describe().isprintable()
    assert len(nasty.describe()) < MAX_REASON_LENGTH + 50
    assert Cause(999).describe() == "cause 999"
    assert stale_cookie(1e9).info == b"\xff\xff\xff\xff"

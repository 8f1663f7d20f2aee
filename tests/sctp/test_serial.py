"""Serial numbers across the wrap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sfu.sctp.serial import extend_tsn, ssn_is_newer


@given(st.integers(-1, 1 << 40), st.integers(-(1 << 31), (1 << 31) - 1))
def test_the_nearest_number_is_found(reference: int, offset: int) -> None:
    assert extend_tsn(reference, reference + offset & 0xFFFF_FFFF) == reference + offset


def test_sequence_numbers_wrap() -> None:
    assert ssn_is_newer(0, 0xFFFF)
    assert not ssn_is_newer(0xFFFF, 0)
    assert not ssn_is_newer(5, 5)
    assert ssn_is_newer(0x7FFF, 0)
    assert not ssn_is_newer(0x8000, 0), "half way round is not newer"

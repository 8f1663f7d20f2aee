"""Any two strings are a fingerprint or the one declared error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sfu.dtls.fingerprint import HASH_NAMES, Fingerprint, FingerprintError, strongest

names = st.one_of(st.text(max_size=20), st.sampled_from(sorted(HASH_NAMES)))
values = st.one_of(st.text(max_size=250), st.text("0123456789abcdefABCDEF:", max_size=250))


@given(names, values)
def test_any_strings(algorithm: str, value: str) -> None:
    try:
        fingerprint = Fingerprint.parse(algorithm, value)
    except FingerprintError:
        return
    assert fingerprint.value == value.upper()
    assert fingerprint.algorithm == algorithm.lower()
    assert fingerprint.matches(b"certificate") in (False, True)


@given(st.sampled_from(sorted(HASH_NAMES)), st.binary(max_size=50))
def test_round_trip_in_any_case(algorithm: str, der: bytes) -> None:
    fingerprint = Fingerprint.of(der, algorithm)
    assert Fingerprint.parse(algorithm.upper(), fingerprint.value.lower()) == fingerprint
    assert fingerprint.matches(der)


@given(st.lists(st.builds(Fingerprint, names, st.binary(max_size=64)), max_size=6))
def test_those_that_decide_are_usable_and_of_one_hash(fingerprints: list[Fingerprint]) -> None:
    chosen = strongest(fingerprints)
    assert all(one.usable and one in fingerprints for one in chosen)
    assert len({one.algorithm for one in chosen}) <= 1
    assert bool(chosen) == any(one.usable for one in fingerprints)

"""Fingerprints: parsing, comparing, choosing (RFC 8122 5)."""

from __future__ import annotations

import hashlib

import pytest

from sfu.dtls.fingerprint import (
    HASH_NAMES,
    MAX_ALGORITHM_LENGTH,
    MAX_DIGEST_LENGTH,
    STRENGTH,
    Fingerprint,
    FingerprintError,
    strongest,
)

DER = b"any bytes will do here"


def test_parse_ignores_case_of_name_and_digits() -> None:
    value = hashlib.sha256(DER).hexdigest()
    colons = ":".join(value[i : i + 2] for i in range(0, 64, 2))
    lower = Fingerprint.parse("sha-256", colons.lower())
    upper = Fingerprint.parse("SHA-256", colons.upper())
    assert lower == upper
    assert lower.matches(DER)
    assert lower.value == colons.upper()


@pytest.mark.parametrize("algorithm", HASH_NAMES)
def test_every_usable_hash_matches_its_own_certificate_only(algorithm: str) -> None:
    fingerprint = Fingerprint.of(DER, algorithm)
    assert fingerprint.usable
    assert fingerprint.matches(DER)
    assert not fingerprint.matches(DER + b"!")
    assert Fingerprint.parse(algorithm, fingerprint.value) == fingerprint


def test_known_digest() -> None:
    assert (
        Fingerprint.of(b"abc", "sha-1").value == "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D"
    )


@pytest.mark.parametrize(
    "value", ["", "A", "AB:", ":AB", "ABCD", "AB:C", "AB-CD", "AB:CG", "AB:CD\n", " AB:CD"]
)
def test_anything_but_hex_pairs_is_refused(value: str) -> None:
    with pytest.raises(FingerprintError):
        Fingerprint.parse("x", value)


@pytest.mark.parametrize("algorithm", HASH_NAMES)
def test_a_digest_of_the_wrong_length_is_refused(algorithm: str) -> None:
    value = Fingerprint.of(DER, algorithm).value
    for wrong in (value[:-3], value + ":00"):
        with pytest.raises(FingerprintError):
            Fingerprint.parse(algorithm, wrong)


def test_limits_of_length() -> None:
    Fingerprint.parse("x" * MAX_ALGORITHM_LENGTH, "00" + ":00" * (MAX_DIGEST_LENGTH - 1))
    for algorithm, value in [
        ("x" * (MAX_ALGORITHM_LENGTH + 1), "00"),
        ("", "00"),
        ("shå-256", "00"),
        ("x", "00" + ":00" * MAX_DIGEST_LENGTH),
    ]:
        with pytest.raises(FingerprintError):
            Fingerprint.parse(algorithm, value)


def test_unknown_and_forbidden_hashes_never_match() -> None:
    for name, digest in (("md5", hashlib.md5(DER).digest()), ("sha3-256", hashlib.sha3_256(DER).digest())):
        fingerprint = Fingerprint.parse(name, digest.hex(":"))
        assert not fingerprint.usable
        assert not fingerprint.matches(DER)


def test_the_strongest_usable_hash_decides() -> None:
    every = [Fingerprint.of(DER, algorithm) for algorithm in HASH_NAMES]
    unknown = Fingerprint.parse("sha3-512", "00")
    while every:
        best = next(name for name in STRENGTH if any(one.algorithm == name for one in every))
        assert [one.algorithm for one in strongest([unknown, *every])] == [best]
        every = [one for one in every if one.algorithm != best]
    assert strongest([unknown]) == ()
    assert strongest([]) == ()


def test_several_fingerprints_of_one_hash_are_all_kept() -> None:
    two = (Fingerprint.of(DER, "sha-256"), Fingerprint.of(b"another", "sha-256"))
    assert strongest([Fingerprint.of(DER, "sha-1"), *two]) == two


def test_strength_names_exactly_the_usable_hashes() -> None:
    assert sorted(STRENGTH) == sorted(HASH_NAMES)

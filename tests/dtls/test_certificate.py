"""The generated certificate and what is signaled about it."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from sfu.dtls import Certificate, DtlsRole
from sfu.dtls.certificate import BACKDATED, VALIDITY

NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)


def test_it_is_a_self_signed_p256_certificate_valid_around_now() -> None:
    certificate = x509.load_der_x509_certificate(Certificate.generate(NOW).der)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    certificate.verify_directly_issued_by(certificate)
    assert certificate.not_valid_before_utc == NOW - BACKDATED
    assert certificate.not_valid_after_utc == NOW + VALIDITY


def test_fingerprints_are_those_of_signaling_with_sha256_last() -> None:
    certificate = Certificate.generate(NOW)
    algorithms = [fingerprint.algorithm for fingerprint in certificate.fingerprints]
    assert sorted(algorithms) == ["sha-1", "sha-224", "sha-256", "sha-384", "sha-512"]
    assert algorithms[-1] == "sha-256"
    assert all(fingerprint.matches(certificate.der) for fingerprint in certificate.fingerprints)


def test_no_two_certificates_are_alike() -> None:
    assert Certificate.generate(NOW).der != Certificate.generate(NOW).der


def test_one_context_for_each_role() -> None:
    certificate = Certificate.generate(NOW)
    client, server = certificate.context(DtlsRole.CLIENT), certificate.context(DtlsRole.SERVER)
    assert client is not server
    assert certificate.context(DtlsRole.CLIENT) is client
    assert certificate.context(DtlsRole.SERVER) is server

"""The generated certificate and what is signaled about it."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from sfu.dtls import Certificate, DtlsRole
from sfu.dtls.certificate import BACKDATED, VALIDITY
from sfu.dtls.context import OPTIONS

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


def test_contexts_resume_and_renegotiate_nothing() -> None:
    for role in DtlsRole:
        context = Certificate.generate(NOW).context(role)
        assert context.set_options(0) & OPTIONS == OPTIONS
        assert OPTIONS & SSL.OP_NO_RENEGOTIATION
        assert OPTIONS & SSL.OP_NO_TICKET
        assert context.get_session_cache_mode() == SSL.SESS_CACHE_OFF
        assert context.get_verify_mode() == SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT

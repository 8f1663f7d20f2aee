"""OpenSSL contexts: which version, suites and extensions are negotiated, and who is let in.

DTLS 1.2 only (RFC 6347): OpenSSL has no DTLS 1.3, and DTLS 1.0 is obsolete (RFC 8996). ECDHE with an ECDSA
certificate and an AEAD cipher (RFC 8827 6.5). No session is ever resumed (tickets and cache are off), so
every handshake shows a certificate. No renegotiation, no compression, no cookie exchange: ICE has proved the
return path before the first datagram gets here.
"""

from __future__ import annotations

import enum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL, crypto

from sfu.dtls.peer import PeerCheck
from sfu.dtls.profile import PREFERENCE

DTLS_1_2 = 0xFEFD
"""DTLS 1.2 on the wire (RFC 6347 4.1)."""

CIPHERS = b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305"
"""Cipher suites, best first; as a server our order decides. They carry SCTP only."""

OPTIONS = (
    SSL.OP_NO_QUERY_MTU
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_NO_TICKET
    | SSL.OP_NO_COMPRESSION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
)


class DtlsRole(enum.Enum):
    """Who sends the ClientHello (RFC 5763 5, ``a=setup``). The values are signaling's."""

    CLIENT = "client"
    SERVER = "server"


_METHODS = {DtlsRole.CLIENT: SSL.DTLS_CLIENT_METHOD, DtlsRole.SERVER: SSL.DTLS_SERVER_METHOD}


def make_context(
    role: DtlsRole, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
) -> SSL.Context:
    """Make the context of a role. Every connection on it must carry a :class:`PeerCheck`."""
    context = SSL.Context(_METHODS[role])
    context.set_min_proto_version(DTLS_1_2)
    context.set_max_proto_version(DTLS_1_2)
    context.set_options(OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(CIPHERS)
    context.set_tlsext_use_srtp(b":".join(profile.openssl_name for profile in PREFERENCE))
    context.use_certificate(certificate)
    context.use_privatekey(key)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
    return context


def _verify(connection: SSL.Connection, peer: crypto.X509, error: int, depth: int, _ok: int) -> bool:
    """OpenSSL's verify callback; ``_ok`` is its own opinion, which does not matter (RFC 8827 6.5)."""
    check: PeerCheck = connection.get_app_data()
    return check.accept(crypto.dump_certificate(crypto.FILETYPE_ASN1, peer), error, depth)

"""A bare OpenSSL peer, for what our endpoint never does: no certificate, odd preferences, sealed alerts."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL

from sfu.dtls import DtlsEndpoint, DtlsRole
from sfu.dtls.record import Record, pack_datagrams, split_datagram_untrusted

ALL_PROFILES = b"SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_256_GCM:SRTP_AEAD_AES_128_GCM"


class RawPeer:
    """OpenSSL over memory BIOs, trusting everybody. Its role is the opposite of the endpoint it talks to."""

    def __init__(
        self,
        role: DtlsRole,
        *,
        credentials: tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None = None,
        profiles: bytes | None = ALL_PROFILES,
        ciphers: bytes = b"ALL",
        mtu: int = 1200,
        hello_padding: int = 0,
        chain: Sequence[x509.Certificate] = (),
        resume: RawPeer | None = None,
    ) -> None:
        """``hello_padding`` bytes, more or less, are added to a ClientHello; ``resume`` offers a session.

        ``chain`` is sent behind the peer's own certificate.
        """
        if resume is not None:
            context = resume.connection.get_context()
        else:
            context = self._make_context(credentials, profiles, ciphers, hello_padding)
            for certificate in chain:
                context.add_extra_chain_cert(certificate)
        self.connection: SSL.Connection = SSL.Connection(context, None)
        if resume is not None and (session := resume.connection.get_session()) is not None:
            self.connection.set_session(session)
        self.connection.set_ciphertext_mtu(mtu)
        self.mtu = mtu
        self.role = role
        if role is DtlsRole.CLIENT:
            self.connection.set_connect_state()
        else:
            self.connection.set_accept_state()
        self.connected = False
        self.error: SSL.Error | None = None
        self.received: list[bytes] = []

    @staticmethod
    def _make_context(
        credentials: tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None,
        profiles: bytes | None,
        ciphers: bytes,
        hello_padding: int,
    ) -> SSL.Context:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        context.set_cipher_list(ciphers)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        if profiles is not None:
            context.set_tlsext_use_srtp(profiles)
        if hello_padding:
            context.set_alpn_protos([b"x" * 99] * (hello_padding // 100))
        if credentials is not None:
            context.use_privatekey(credentials[0])
            context.use_certificate(credentials[1])
        return context

    def advance(self, datagram: bytes | None = None) -> list[bytes]:
        """Take a datagram in and give what is to be sent."""
        if datagram is not None:
            self.connection.bio_write(datagram)
        try:
            if not self.connected:
                self.connection.do_handshake()
                self.connected = True
            while True:
                self.received.append(self.connection.recv(16384))
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.error = error
        return self.flush()

    def seal(self, content_type: int, body: bytes, sequence: int) -> bytes:
        """A record of epoch 1 as the peer would seal it, of any content type.

        The suite must be AES-128-GCM. OpenSSL does not know about the record number used.
        """
        connection = self.connection
        client_random, server_random = connection.client_random(), connection.server_random()
        master = connection.master_key()
        assert client_random is not None
        assert server_random is not None
        assert master is not None
        block = _prf(master, b"key expansion" + server_random + client_random, 40)
        key, salt = (block[:16], block[32:36]) if self.role is DtlsRole.CLIENT else (block[16:32], block[36:])
        number = (1 << 48 | sequence).to_bytes(8, "big")
        header = struct.pack("!BHH", content_type, 0xFEFD, len(body))
        text = AESGCM(key).encrypt(salt + number, body, number + header)
        return Record(content_type, 0xFEFD, 1, sequence, number + text).encode()

    def flush(self) -> list[bytes]:
        """What OpenSSL wants sent, as datagrams."""
        try:
            output = self.connection.bio_read(65536)
        except SSL.WantReadError:
            return []
        return pack_datagrams((record.encode() for record in split_datagram_untrusted(output)), self.mtu)


def _prf(secret: bytes, seed: bytes, length: int) -> bytes:
    """P_SHA256 (RFC 5246 5)."""
    output, chained = b"", seed
    while len(output) < length:
        chained = hmac.digest(secret, chained, "sha256")
        output += hmac.digest(secret, chained + seed, "sha256")
    return output[:length]


def talk(peer: RawPeer, endpoint: DtlsEndpoint, now: float = 0.0) -> None:
    """Pass datagrams to and fro until both have nothing more to say."""
    for _ in range(20):
        said = [answer for datagram in endpoint.datagrams_to_send(now) for answer in peer.advance(datagram)]
        if not peer.connected:
            said += peer.advance()
        for datagram in said:
            endpoint.receive_datagram_untrusted(datagram, now)
        if not said:
            return
    raise AssertionError("they never stop talking")

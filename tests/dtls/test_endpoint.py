"""Behaviour of one endpoint: who is let in, what survives which attack, what the caps do."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from sfu.dtls import (
    ApplicationData,
    Certificate,
    DtlsClosed,
    DtlsConnected,
    DtlsEndpoint,
    DtlsError,
    DtlsEvent,
    DtlsFailed,
    DtlsRole,
    DtlsState,
    Fingerprint,
    SrtpProfile,
)
from sfu.dtls.endpoint import (
    ALERT_GRACE,
    DEFAULT_MTU,
    HANDSHAKE_TIMEOUT,
    MAX_DATAGRAM,
    MAX_DATAGRAMS_TO_SEND,
    MAX_EVENTS,
    MAX_HANDSHAKE_BYTES,
    MAX_HANDSHAKE_DATAGRAMS,
    MAX_RESTARTS,
    MIN_MTU,
)
from sfu.dtls.flight import MIN_REPEAT_INTERVAL
from sfu.dtls.record import ContentType, HandshakeType, Record, split_datagram_untrusted
from tests.dtls.test_record import fragment
from tests.support.dtls_net import Pair, certificate, losing
from tests.support.dtls_raw import ALL_PROFILES, RawPeer, talk

HANDSHAKE_FAILURE = Record(ContentType.ALERT, 0xFEFD, 0, 9, b"\x02\x28").encode()


Credentials: TypeAlias = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


def make_credentials(issuer: Credentials | None = None) -> Credentials:
    """A key and its certificate: self-signed, or of an issuer's making."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "raw leaf" if issuer else "raw")])
    builder = x509.CertificateBuilder().subject_name(name).public_key(key.public_key()).serial_number(1)
    builder = builder.issuer_name(issuer[1].subject if issuer else name)
    builder = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(2090, 1, 1, tzinfo=UTC))
    return key, builder.sign(issuer[0] if issuer else key, hashes.SHA256())


def fingerprint_of(credentials: Credentials) -> Fingerprint:
    return Fingerprint("sha-256", credentials[1].fingerprint(hashes.SHA256()))


CREDENTIALS = make_credentials()
RAW_FINGERPRINT = fingerprint_of(CREDENTIALS)


def endpoint(
    role: DtlsRole = DtlsRole.SERVER, *fingerprints: Fingerprint, mtu: int = DEFAULT_MTU
) -> DtlsEndpoint:
    """A started endpoint that expects the raw peer."""
    end = DtlsEndpoint(certificate("server"), role, fingerprints or (RAW_FINGERPRINT,), mtu=mtu)
    end.start(0.0)
    return end


def events(end: DtlsEndpoint) -> list[DtlsEvent]:
    return list(iter(end.next_event, None))


def connected_pair() -> Pair:
    pair = Pair()
    pair.start()
    pair.run()
    assert pair.connected
    return pair


def connected_raw() -> tuple[RawPeer, DtlsEndpoint]:
    peer, end = (
        RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS, ciphers=b"ECDHE-ECDSA-AES128-GCM-SHA256"),
        endpoint(),
    )
    talk(peer, end)
    assert [type(event) for event in events(end)] == [DtlsConnected]
    return peer, end


# ---------------------------------------------------------------------- negotiation


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (ALL_PROFILES, SrtpProfile.AEAD_AES_128_GCM),
        (b"SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_256_GCM", SrtpProfile.AEAD_AES_256_GCM),
        (b"SRTP_AES128_CM_SHA1_32:SRTP_AES128_CM_SHA1_80", SrtpProfile.AES_CM_128_HMAC_SHA1_80),
    ],
)
def test_as_a_server_our_order_of_profiles_decides(offered: bytes, chosen: SrtpProfile) -> None:
    peer, end = RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS, profiles=offered), endpoint()
    talk(peer, end)
    (event,) = events(end)
    assert isinstance(event, DtlsConnected)
    assert event.profile is chosen
    assert peer.connection.get_selected_srtp_profile() == chosen.openssl_name


@pytest.mark.parametrize("role", DtlsRole)
@pytest.mark.parametrize("profile", SrtpProfile)
def test_keys_are_those_of_the_peer(role: DtlsRole, profile: SrtpProfile) -> None:
    """RFC 5764 4.2: client key, server key, client salt, server salt."""
    other = DtlsRole.SERVER if role is DtlsRole.CLIENT else DtlsRole.CLIENT
    peer = RawPeer(other, credentials=CREDENTIALS, profiles=profile.openssl_name)
    end = endpoint(role)
    talk(peer, end)
    (event,) = events(end)
    assert isinstance(event, DtlsConnected)
    block = peer.connection.export_keying_material(b"EXTRACTOR-dtls_srtp", profile.keying_material_length)
    client = event if role is DtlsRole.CLIENT else None
    ours, theirs = (event.local_key, event.local_salt), (event.remote_key, event.remote_salt)
    (client_key, client_salt), (server_key, server_salt) = (ours, theirs) if client else (theirs, ours)
    assert client_key + server_key + client_salt + server_salt == block
    assert {len(client_key), len(server_key)} == {profile.key_length}
    assert {len(client_salt), len(server_salt)} == {profile.salt_length}


def test_version_suite_and_what_is_left_out() -> None:
    peer, end = RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS), endpoint()
    talk(peer, end)
    assert peer.connection.get_protocol_version_name() == "DTLSv1.2"
    assert peer.connection.get_cipher_name() == "ECDHE-ECDSA-AES128-GCM-SHA256"
    pair = connected_pair()
    types = {
        record.body[0]
        for sent in pair.sent.values()
        for datagram in sent
        for record in split_datagram_untrusted(datagram)
        if record.epoch == 0 and record.content_type == ContentType.HANDSHAKE
    }
    assert types == set(HandshakeType) - {HandshakeType.HELLO_VERIFY_REQUEST}, "no cookie, no ticket"


def test_epoch_0_is_numbered_without_gaps_or_doubles() -> None:
    pair = Pair(losing(DtlsRole.CLIENT, 1, 2))
    pair.start()
    pair.run()
    for sent in pair.sent.values():
        numbers = [
            record.sequence
            for datagram in sent
            for record in split_datagram_untrusted(datagram)
            if record.epoch == 0
        ]
        assert numbers == list(range(len(numbers)))


def test_no_key_is_ever_shown() -> None:
    event = next(
        event for event in connected_pair().events[DtlsRole.CLIENT] if isinstance(event, DtlsConnected)
    )
    for secret in (event.local_key, event.local_salt, event.remote_key, event.remote_salt):
        assert repr(secret) not in repr(event)
    assert "AEAD_AES_128_GCM" in repr(event)


@pytest.mark.parametrize(
    "ciphers", [b"ECDHE-ECDSA-AES128-SHA", b"eNULL:@SECLEVEL=0", b"ECDHE-RSA-AES128-GCM-SHA256"]
)
def test_a_client_with_foreign_suites_fails_in_the_end(ciphers: bytes) -> None:
    """A hello with a null cipher costs a restart, not the association; hearing nothing else ends it."""
    hello = RawPeer(DtlsRole.CLIENT, ciphers=ciphers).advance()
    end = endpoint()
    for attempt in range(MAX_RESTARTS + 1):
        assert end.state is DtlsState.CONNECTING, attempt
        assert end.datagrams_to_send(0.0) == []
        for datagram in hello:
            end.receive_datagram_untrusted(datagram, 0.0)
    (event,) = events(end)
    assert isinstance(event, DtlsFailed)
    assert "no shared cipher" in event.reason
    (alert,) = end.datagrams_to_send(0.0)
    assert split_datagram_untrusted(alert)[0].body == b"\x02\x28", "handshake_failure"


# ---------------------------------------------------------------------- who is let in


def assert_refused(end: DtlsEndpoint, reason: str) -> None:
    """Closed for good: no keys, no data, one event."""
    (event,) = events(end)
    assert isinstance(event, DtlsFailed)
    assert reason in event.reason
    assert end.state is DtlsState.FAILED
    assert end.get_timer() is None
    with pytest.raises(DtlsError):
        end.send(b"data")


def test_a_client_without_a_certificate_is_refused() -> None:
    peer, end = RawPeer(DtlsRole.CLIENT), endpoint()
    talk(peer, end)
    assert_refused(end, "did not return a certificate")
    assert not peer.connected
    assert peer.error is not None


@pytest.mark.parametrize("role", DtlsRole)
def test_a_peer_with_another_certificate_is_refused(role: DtlsRole) -> None:
    other = DtlsRole.SERVER if role is DtlsRole.CLIENT else DtlsRole.CLIENT
    peer, end = RawPeer(other, credentials=make_credentials()), endpoint(role)
    talk(peer, end)
    assert_refused(end, "signaled fingerprint")
    assert not peer.connected
    assert peer.error is not None, "the peer is told by an alert"


@pytest.mark.parametrize("role", DtlsRole)
def test_a_peer_with_an_expired_certificate_is_refused(role: DtlsRole) -> None:
    expired = Certificate.generate(datetime(2001, 1, 1, tzinfo=UTC))
    other = DtlsRole.SERVER if role is DtlsRole.CLIENT else DtlsRole.CLIENT
    theirs = DtlsEndpoint(expired, other, certificate("ours").fingerprints)
    ours = DtlsEndpoint(certificate("ours"), role, expired.fingerprints)
    pair = Pair(client=ours, server=theirs) if role is DtlsRole.CLIENT else Pair(client=theirs, server=ours)
    pair.start()
    pair.run()
    assert [type(event) for event in pair.events[role]] == [DtlsFailed]
    assert "the peer's certificate has expired" in pair.failures


def test_only_the_peers_own_certificate_counts() -> None:
    """Not those it sends behind it: anybody can copy the one that was signaled."""
    leaf = make_credentials(issuer=CREDENTIALS)
    for credentials, state in ((leaf, DtlsState.FAILED), (CREDENTIALS, DtlsState.CONNECTED)):
        peer = RawPeer(DtlsRole.CLIENT, credentials=credentials, chain=[CREDENTIALS[1]])
        end = endpoint()
        talk(peer, end)
        assert end.state is state


def test_a_certificate_with_an_issuer_is_let_in_by_its_fingerprint() -> None:
    issuer = make_credentials()
    leaf = make_credentials(issuer)
    peer = RawPeer(DtlsRole.CLIENT, credentials=leaf, chain=[issuer[1]])
    end = endpoint(DtlsRole.SERVER, fingerprint_of(leaf))
    talk(peer, end)
    assert end.state is DtlsState.CONNECTED


def test_a_peer_whose_clock_is_ahead_is_let_in() -> None:
    ahead = Certificate.generate(datetime(2100, 1, 1, tzinfo=UTC))
    pair = Pair(
        client=DtlsEndpoint(ahead, DtlsRole.CLIENT, certificate("server").fingerprints),
        server=DtlsEndpoint(certificate("server"), DtlsRole.SERVER, ahead.fingerprints),
    )
    pair.start()
    pair.run()
    assert pair.connected


def test_one_of_several_fingerprints_is_enough() -> None:
    fingerprints = (Fingerprint("sha-256", bytes(32)), RAW_FINGERPRINT, Fingerprint("md5", bytes(16)))
    peer, end = RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS), endpoint(DtlsRole.SERVER, *fingerprints)
    talk(peer, end)
    assert end.state is DtlsState.CONNECTED


def test_a_weak_hash_cannot_outvote_a_strong_one() -> None:
    sha1 = Fingerprint("sha-1", CREDENTIALS[1].fingerprint(hashes.SHA1()))
    for fingerprints, state in (
        ((sha1,), DtlsState.CONNECTED),
        ((sha1, Fingerprint("sha-256", bytes(32))), DtlsState.FAILED),
    ):
        peer, end = (
            RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS),
            endpoint(DtlsRole.SERVER, *fingerprints),
        )
        talk(peer, end)
        assert end.state is state


@pytest.mark.parametrize("fingerprints", [(), (Fingerprint("md5", bytes(16)),)])
def test_without_a_usable_fingerprint_nobody_is_let_in(fingerprints: tuple[Fingerprint, ...]) -> None:
    end = DtlsEndpoint(certificate("server"), DtlsRole.CLIENT, fingerprints)
    end.start(0.0)
    assert_refused(end, "no fingerprint")
    assert end.datagrams_to_send(0.0) == []


def test_a_peer_without_use_srtp_is_refused() -> None:
    peer, end = RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS, profiles=None), endpoint()
    talk(peer, end)
    assert_refused(end, "no SRTP profile")
    assert not peer.connected, "our last flight was not sent"


def test_a_handshake_in_which_openssl_asked_nobody_is_refused() -> None:
    """Should its callback ever not be called, there is still no match, hence nothing to trust."""
    careless = Certificate.generate(datetime.now(UTC))
    careless.context(DtlsRole.SERVER).set_verify(SSL.VERIFY_PEER, lambda *_: True)
    end = DtlsEndpoint(careless, DtlsRole.SERVER, [RAW_FINGERPRINT])
    end.start(0.0)
    peer = RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS)
    talk(peer, end)
    assert_refused(end, "no certificate")
    assert not peer.connected


def test_a_resumed_session_is_not_accepted() -> None:
    """It would show no certificate. The offer is ignored and a full handshake done."""
    first, end = connected_raw()
    again, end = RawPeer(DtlsRole.CLIENT, resume=first), endpoint()
    talk(again, end)
    assert end.state is DtlsState.CONNECTED
    assert again.connection.master_key() != first.connection.master_key()


# ---------------------------------------------------------------------- hostile or broken handshakes


@pytest.mark.parametrize("order", ["straight", "reversed", "doubled", "shuffled"])
@pytest.mark.parametrize(("mtu", "count"), [(1200, 2), (600, 3), (256, 7)])
def test_a_post_quantum_sized_client_hello_in_fragments(mtu: int, count: int, order: str) -> None:
    peer, end = RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS, mtu=mtu, hello_padding=1300), endpoint()
    hello = peer.advance()
    assert len(hello) == count
    assert sum(map(len, hello)) > 1413
    shuffled = random.Random(4).sample(hello * 2, 2 * count)
    for datagram in {
        "straight": hello,
        "reversed": hello[::-1],
        "doubled": [one for one in hello for _ in range(2)],
        "shuffled": shuffled,
    }[order]:
        end.receive_datagram_untrusted(datagram, 0.0)
    talk(peer, end)
    assert end.state is DtlsState.CONNECTED


@pytest.mark.parametrize("role", DtlsRole)
def test_a_spoofed_alert_does_not_kill_a_handshake(role: DtlsRole) -> None:
    """Sent before each datagram in turn."""
    for when in range(2):
        pair = Pair()
        end = pair.client if role is DtlsRole.CLIENT else pair.server
        end.start(pair.now)
        (pair.server if role is DtlsRole.CLIENT else pair.client).start(pair.now)
        for _ in range(when):
            pair.pump()
            pair.step()
        end.receive_datagram_untrusted(HANDSHAKE_FAILURE, pair.now)
        pair.pump()
        pair.run()
        assert pair.connected, when


@pytest.mark.parametrize("body", [b"\x02\x28", b"\x01\x00"])
def test_an_alert_without_further_progress_ends_the_wait(body: bytes) -> None:
    end = endpoint(DtlsRole.CLIENT)
    alert = Record(ContentType.ALERT, 0xFEFD, 0, 0, body).encode()
    end.receive_datagram_untrusted(alert, 1.0)
    end.receive_datagram_untrusted(alert, 2.0)
    run_out(end)
    (event,) = events(end)
    assert isinstance(event, DtlsFailed)
    assert event.reason == f"the peer gave up: {'handshake_failure' if body[0] == 2 else 'close_notify'}"
    assert end.state is DtlsState.FAILED


def test_a_warning_in_plaintext_changes_nothing() -> None:
    end = endpoint(DtlsRole.CLIENT)
    end.receive_datagram_untrusted(Record(ContentType.ALERT, 0xFEFD, 0, 0, b"\x01\x5a").encode(), 1.0)
    assert run_out(end) == HANDSHAKE_TIMEOUT


def run_out(end: DtlsEndpoint) -> float:
    """Let only time pass; when the endpoint gave up, in seconds since its start."""
    now = 0.0
    while (due := end.get_timer()) is not None:
        assert due > now or now == 0.0, "a timer that does not move would spin"
        now = due
        end.handle_timer(now)
    return now


def test_an_alert_shortens_the_wait_to_its_grace() -> None:
    end = endpoint(DtlsRole.CLIENT)
    end.receive_datagram_untrusted(HANDSHAKE_FAILURE, 1.0)
    assert run_out(end) == 1.0 + ALERT_GRACE


def test_progress_after_an_alert_restores_the_full_time() -> None:
    peer, end = RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS), endpoint()
    end.receive_datagram_untrusted(HANDSHAKE_FAILURE, 0.0)
    for datagram in peer.advance():
        end.receive_datagram_untrusted(datagram, ALERT_GRACE - 0.5)
    for tick in range(1, int(HANDSHAKE_TIMEOUT)):
        end.handle_timer(float(tick))
    assert end.next_event() is None
    talk(peer, end, HANDSHAKE_TIMEOUT - 0.5)
    assert end.state is DtlsState.CONNECTED


@pytest.mark.parametrize("role", DtlsRole)
def test_an_unfinished_handshake_ends_after_30_seconds(role: DtlsRole) -> None:
    """The timer always moves, and what is sent in all that time is bounded."""
    end = endpoint(role)
    if role is DtlsRole.SERVER:
        for datagram in RawPeer(DtlsRole.CLIENT).advance():
            end.receive_datagram_untrusted(datagram, 0.0)
    assert run_out(end) == HANDSHAKE_TIMEOUT
    assert [type(event) for event in events(end)] == [DtlsFailed]
    assert len(end.datagrams_to_send(30.0)) == 14
    end.handle_timer(31.0)
    assert end.next_event() is None


def test_timers_that_fire_late_or_early_are_harmless() -> None:
    end = endpoint(DtlsRole.CLIENT)
    assert len(end.datagrams_to_send(0.0)) == 1
    end.handle_timer(0.05)
    assert end.datagrams_to_send(0.05) == []
    end.handle_timer(10.0)
    assert len(end.datagrams_to_send(10.0)) == 1
    assert end.get_timer() == pytest.approx(10.2)
    end.handle_timer(1e9)
    assert end.state is DtlsState.FAILED


def broken_hello(seed: int) -> bytes:
    """A whole ClientHello whose contents are noise."""
    body = random.Random(seed).randbytes(60)
    return Record(ContentType.HANDSHAKE, 0xFEFD, 0, seed, fragment(1, 60, 0, 0, body)).encode()


def half_hello(seed: int) -> bytes:
    """The first half of a ClientHello that never ends; each seed promises another length."""
    part = fragment(1, 1000 + seed, 0, 0, b"x" * 100)
    return Record(ContentType.HANDSHAKE, 0xFEFD, 0, seed, part).encode()


@pytest.mark.parametrize("junk", [broken_hello, half_hello])
def test_junk_before_the_first_hello_is_survived(junk: Callable[[int], bytes]) -> None:
    """Nothing was answered yet, so a server can begin anew, up to a limit."""
    end = endpoint()
    for seed in range(MAX_RESTARTS):
        end.receive_datagram_untrusted(junk(seed), 0.0)
    talk(RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS), end)
    assert end.state is DtlsState.CONNECTED


def test_a_hello_behind_a_conflicting_fragment_in_one_datagram_is_taken() -> None:
    end = endpoint()
    (hello,) = RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS).advance()
    end.receive_datagram_untrusted(half_hello(0) + hello, 0.0)
    assert len(end.datagrams_to_send(0.0)) == 1


def test_restarts_are_limited() -> None:
    end = endpoint()
    for seed in range(MAX_RESTARTS + 1):
        assert end.state is DtlsState.CONNECTING
        end.receive_datagram_untrusted(broken_hello(seed), 0.0)
    assert end.state is DtlsState.FAILED


def test_a_conflicting_fragment_after_the_restarts_are_used_up_is_dropped() -> None:
    end = endpoint()
    for seed in range(MAX_RESTARTS + 2):
        end.receive_datagram_untrusted(half_hello(seed), 0.0)
    assert end.state is DtlsState.CONNECTING
    assert run_out(end) == HANDSHAKE_TIMEOUT


@pytest.mark.parametrize(
    "part",
    [
        fragment(HandshakeType.CERTIFICATE, 300, 1, 0, b""),
        fragment(HandshakeType.CERTIFICATE, 300, 1, 290, b"x" * 20),
        fragment(HandshakeType.CERTIFICATE, 16_385, 1, 0, b"x" * 20),
        fragment(HandshakeType.CERTIFICATE, 131_072, 1, 0, b"x" * 20),
        fragment(HandshakeType.SERVER_HELLO, 80, 1, 0, b"x" * 80),
        fragment(0, 0, 1, 0, b""),
        b"\x0b",
        b"",
    ],
    ids=[
        "empty",
        "overlapping",
        "too long",
        "far too long",
        "wrong side",
        "hello request",
        "header",
        "nothing",
    ],
)
def test_malformed_fragments_in_mid_handshake_are_dropped(part: bytes) -> None:
    peer, end = RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS), endpoint()
    for datagram in peer.advance():
        end.receive_datagram_untrusted(datagram, 0.0)
    end.receive_datagram_untrusted(Record(ContentType.HANDSHAKE, 0xFEFD, 0, 99, part).encode(), 0.0)
    talk(peer, end)
    assert end.state is DtlsState.CONNECTED


@pytest.mark.parametrize("role", DtlsRole)
def test_a_forged_high_record_number_does_not_close_the_replay_window(role: DtlsRole) -> None:
    """Epoch 0 is not authenticated, so OpenSSL would believe the number and drop all that comes after."""
    pair = Pair()
    pair.start()
    while not any(pair.sent[one] for one in DtlsRole if one is not role):
        pair.step()
    end, other = (pair.client, pair.server) if role is DtlsRole.CLIENT else (pair.server, pair.client)
    datagram = pair.sent[other.role][0]
    for record in split_datagram_untrusted(datagram):
        end.receive_datagram_untrusted(record.encode(2**48 - 1), pair.now)
    pair.run()
    assert pair.connected


def test_a_fragment_flood_is_bounded_in_datagrams() -> None:
    """What passes the guard is counted, and one too many ends the handshake."""
    end = endpoint()
    for number in range(MAX_HANDSHAKE_DATAGRAMS):
        part = fragment(1, 8000, 0, number, b"x")
        end.receive_datagram_untrusted(Record(22, 0xFEFD, 0, number, part).encode(), 0.0)
        assert end.state is DtlsState.CONNECTING
    end.receive_datagram_untrusted(Record(22, 0xFEFD, 0, 999, fragment(1, 8000, 0, 999, b"x")).encode(), 0.0)
    assert_refused(end, "too long")


def test_a_fragment_flood_is_bounded_in_bytes() -> None:
    end = endpoint()
    record = Record(22, 0xFEFD, 0, 0, fragment(1, 8000, 0, 0, b"x" * 7900))
    for number in range(MAX_HANDSHAKE_BYTES // len(record.encode())):
        end.receive_datagram_untrusted(record.encode(number), 0.0)
        assert end.state is DtlsState.CONNECTING
    end.receive_datagram_untrusted(record.encode(2**20), 0.0)
    assert_refused(end, "too long")


def test_datagrams_beyond_the_limit_are_not_looked_at() -> None:
    end = endpoint()
    (hello,) = RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS).advance()
    end.receive_datagram_untrusted(hello + bytes(MAX_DATAGRAM + 1 - len(hello)), 0.0)
    assert end.datagrams_to_send(0.0) == []
    end.receive_datagram_untrusted(hello + bytes(MAX_DATAGRAM - len(hello)), 0.0)
    assert end.datagrams_to_send(0.0) != []


def test_a_repeated_hello_is_answered_at_a_bounded_rate() -> None:
    """RFC 6347 4.2.4 wants an answer; a flood of hellos must not be amplified."""
    end = endpoint()
    (hello,) = RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS).advance()
    end.receive_datagram_untrusted(hello, 0.0)
    (flight,) = end.datagrams_to_send(0.0)
    sent = 0
    for tick in range(1, 1001):
        end.receive_datagram_untrusted(hello, tick / 1000)
        sent += sum(map(len, end.datagrams_to_send(tick / 1000)))
    assert sent <= len(flight) / MIN_REPEAT_INTERVAL
    assert sent >= len(flight) * 20, "but it is answered"
    assert end.state is DtlsState.CONNECTING


# ---------------------------------------------------------------------- an established association


def test_no_junk_kills_an_established_association() -> None:
    """Spoofed alerts and floods of forged records among it."""
    peer, end = connected_raw()
    rng = random.Random(13)
    for _ in range(3000):
        record = Record(
            rng.randrange(18, 26),
            0xFEFD,
            rng.randrange(3),
            rng.randrange(100),
            rng.randbytes(rng.randrange(80)),
        )
        end.receive_datagram_untrusted(record.encode(), 1.0)
        end.receive_datagram_untrusted(rng.randbytes(rng.randrange(60)), 1.0)
    end.receive_datagram_untrusted(HANDSHAKE_FAILURE, 1.0)
    end.receive_datagram_untrusted(Record(ContentType.ALERT, 0xFEFD, 0, 0, b"\x01\x00").encode(), 1.0)
    assert events(end) == []
    peer.connection.send(b"still here")
    for datagram in peer.flush():
        end.receive_datagram_untrusted(datagram, 1.0)
    assert events(end) == [ApplicationData(b"still here")]
    assert end.get_timer() is None


def test_replayed_and_forged_data_is_dropped() -> None:
    """RFC 6347 4.1.2.6, 4.1.2.7."""
    peer, end = connected_raw()
    peer.connection.send(b"once")
    (datagram,) = peer.flush()
    forged = datagram[:-1] + bytes([datagram[-1] ^ 1])
    for data in (forged, datagram, datagram, forged):
        end.receive_datagram_untrusted(data, 1.0)
    assert events(end) == [ApplicationData(b"once")]


def test_several_records_in_one_datagram() -> None:
    peer, end = connected_raw()
    for data in (b"one", b"two", b"three"):
        peer.connection.send(data)
    (datagram,) = peer.flush()
    end.receive_datagram_untrusted(datagram + b"\x17junk", 1.0)
    assert events(end) == [ApplicationData(b"one"), ApplicationData(b"two"), ApplicationData(b"three")]


def test_close_notify_ends_the_association() -> None:
    peer, end = connected_raw()
    peer.connection.shutdown()
    (datagram,) = peer.flush()
    end.receive_datagram_untrusted(datagram, 1.0)
    (event,) = events(end)
    assert isinstance(event, DtlsClosed)
    assert event.reason
    (answer,) = end.datagrams_to_send(1.0)
    (record,) = split_datagram_untrusted(answer)
    assert (record.content_type, record.epoch) == (ContentType.ALERT, 1)
    with pytest.raises(DtlsError):
        end.send(b"too late")


def test_a_sealed_fatal_alert_ends_the_association() -> None:
    peer, end = connected_raw()
    end.receive_datagram_untrusted(peer.seal(ContentType.ALERT, b"\x02\x50", 1), 1.0)
    (event,) = events(end)
    assert isinstance(event, DtlsFailed)
    assert "alert internal error" in event.reason


def test_an_absurd_sealed_alert_ends_the_association_and_the_peer_is_told() -> None:
    """RFC 5246 7.2.2."""
    peer, end = connected_raw()
    end.receive_datagram_untrusted(peer.seal(ContentType.ALERT, b"\x03\x50", 1), 1.0)
    assert [type(event) for event in events(end)] == [DtlsFailed]
    (alert,) = end.datagrams_to_send(1.0)
    peer.advance(alert)
    assert "illegal parameter" in str(peer.error)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (ContentType.ALERT, b"\x01\x5a"),
        (ContentType.APPLICATION_DATA, b""),
        (ContentType.HANDSHAKE, bytes(12)),
        (ContentType.HANDSHAKE, fragment(20, 12, 4, 0, bytes(12))),
        (ContentType.CHANGE_CIPHER_SPEC, b"\x01"),
    ],
    ids=["warning", "empty data", "hello request", "finished", "cipher change"],
)
def test_odd_but_authentic_records_change_nothing(content_type: int, body: bytes) -> None:
    peer, end = connected_raw()
    for sequence in range(1, 31):
        end.receive_datagram_untrusted(peer.seal(content_type, body, sequence), 1.0)
        end.receive_datagram_untrusted(peer.seal(ContentType.APPLICATION_DATA, b"data", 30 + sequence), 1.0)
    assert events(end) == [ApplicationData(b"data")] * 30


def test_a_finished_repeated_for_ever_does_not_wear_the_association_out() -> None:
    """OpenSSL would give up at the thirteenth; it never sees them."""
    peer, end = connected_raw()
    for repeat in range(1, 31):
        end.receive_datagram_untrusted(peer.seal(ContentType.HANDSHAKE, bytes(24), repeat), float(repeat))
        (flight,) = end.datagrams_to_send(float(repeat))
        assert len(flight) == 75
    assert end.state is DtlsState.CONNECTED


def test_renegotiation_is_ignored() -> None:
    peer, end = connected_raw()
    peer.connection.renegotiate()
    with pytest.raises(Exception):  # noqa: B017 - OpenSSL wants an answer
        peer.connection.do_handshake()
    for datagram in peer.flush():
        end.receive_datagram_untrusted(datagram, 9.0)
    assert end.datagrams_to_send(9.0) == []
    assert events(end) == []
    assert end.state is DtlsState.CONNECTED


def test_size_of_application_data() -> None:
    pair = connected_pair()
    for size in (1, pair.client.max_data_size):
        pair.client.send(bytes(size))
        pair.pump()
        pair.run()
        assert pair.events[DtlsRole.SERVER][-1] == ApplicationData(bytes(size))
    assert pair.client.max_data_size == DEFAULT_MTU - 37
    for size in (0, pair.client.max_data_size + 1):
        with pytest.raises(ValueError, match="bytes of application data"):
            pair.client.send(bytes(size))


def test_data_of_any_size_a_record_can_hold_is_received() -> None:
    peer, end = connected_raw()
    data = bytes(MAX_DATAGRAM - 37)
    end.receive_datagram_untrusted(peer.seal(ContentType.APPLICATION_DATA, data, 1), 1.0)
    assert events(end) == [ApplicationData(data)]


def test_queues_are_capped() -> None:
    pair = connected_pair()
    for _ in range(MAX_DATAGRAMS_TO_SEND + 10):
        pair.client.send(b"data")
    assert pair.client.dropped == 10
    datagrams = pair.client.datagrams_to_send(pair.now)
    assert len(datagrams) == MAX_DATAGRAMS_TO_SEND
    for datagram in datagrams:
        pair.server.receive_datagram_untrusted(datagram, pair.now)
    pair.client.send(b"data")
    (datagram,) = pair.client.datagrams_to_send(pair.now)
    pair.server.receive_datagram_untrusted(datagram, pair.now)
    assert pair.server.dropped == 1
    pair.client.close(pair.now)
    (datagram,) = pair.client.datagrams_to_send(pair.now)
    pair.server.receive_datagram_untrusted(datagram, pair.now)
    got = events(pair.server)
    assert len(got) == MAX_EVENTS + 1
    assert isinstance(got[-1], DtlsClosed), "what matters is never dropped"


# ---------------------------------------------------------------------- life and death


def test_nothing_happens_before_the_start() -> None:
    end = DtlsEndpoint(certificate("server"), DtlsRole.SERVER, (RAW_FINGERPRINT,))
    (hello,) = RawPeer(DtlsRole.CLIENT).advance()
    end.receive_datagram_untrusted(hello, 0.0)
    end.handle_timer(100.0)
    assert (end.get_timer(), end.next_event(), end.datagrams_to_send(0.0)) == (None, None, [])
    with pytest.raises(DtlsError):
        end.send(b"data")
    end.start(100.0)
    with pytest.raises(DtlsError):
        end.start(100.0)
    assert end.get_timer() == 100.0 + HANDSHAKE_TIMEOUT


@pytest.mark.parametrize("started", [False, True])
def test_closing_early_is_silent(started: bool) -> None:
    end = DtlsEndpoint(certificate("server"), DtlsRole.CLIENT, (RAW_FINGERPRINT,))
    if started:
        end.start(0.0)
        end.datagrams_to_send(0.0)
    end.close(1.0)
    end.close(1.0)
    assert end.state is DtlsState.CLOSED
    assert (end.get_timer(), end.next_event(), end.datagrams_to_send(1.0)) == (None, None, [])
    with pytest.raises(DtlsError):
        end.start(2.0)


@pytest.mark.parametrize("role", DtlsRole)
def test_closing_tells_the_peer_once(role: DtlsRole) -> None:
    pair = connected_pair()
    ours, other = (
        (pair.client, DtlsRole.SERVER) if role is DtlsRole.CLIENT else (pair.server, DtlsRole.CLIENT)
    )
    ours.close(pair.now)
    ours.close(pair.now)
    pair.pump()
    pair.run()
    assert ours.next_event() is None
    assert isinstance(pair.events[other][-1], DtlsClosed)
    assert pair.client.state is pair.server.state is DtlsState.CLOSED
    assert [len(sent) for sent in pair.sent.values()] == [3, 3]


def test_closing_a_failed_endpoint_leaves_it_failed() -> None:
    end = DtlsEndpoint(certificate("server"), DtlsRole.SERVER, ())
    end.start(0.0)
    end.close(0.0)
    assert end.state is DtlsState.FAILED


@pytest.mark.parametrize("role", DtlsRole)
def test_what_openssl_holds_is_freed_at_once(role: DtlsRole) -> None:
    """No reference cycle: the garbage collector of a worker runs rarely."""
    pair = connected_pair()
    end = pair.client if role is DtlsRole.CLIENT else pair.server
    assert end._connection is not None
    connection = weakref.ref(end._connection)
    gc.disable()
    try:
        end.close(pair.now)
        assert connection() is None
    finally:
        gc.enable()


def test_the_mtu_has_a_lower_limit() -> None:
    DtlsEndpoint(certificate("server"), DtlsRole.SERVER, (RAW_FINGERPRINT,), mtu=MIN_MTU)
    with pytest.raises(ValueError, match="MTU"):
        DtlsEndpoint(certificate("server"), DtlsRole.SERVER, (RAW_FINGERPRINT,), mtu=MIN_MTU - 1)

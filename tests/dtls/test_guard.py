"""What reaches OpenSSL during a handshake, and what does not."""

from __future__ import annotations

import pytest

from sfu.dtls import DtlsRole
from sfu.dtls.guard import (
    MAX_SEALED_ALERT,
    MAX_SEALED_HANDSHAKE,
    MESSAGES,
    HandshakeGuard,
    Verdict,
)
from sfu.dtls.record import ContentType, HandshakeType, Record
from tests.dtls.test_record import fragment

CLIENT_HELLO = HandshakeType.CLIENT_HELLO
SERVER_HELLO = HandshakeType.SERVER_HELLO
CERTIFICATE = HandshakeType.CERTIFICATE


def handshake(*fragments: bytes) -> Record:
    return Record(ContentType.HANDSHAKE, 0xFEFD, 0, 0, b"".join(fragments))


def sealed(content_type: int, length: int, epoch: int = 1) -> Record:
    return Record(content_type, 0xFEFD, epoch, 0, bytes(length))


def guard_of(role: DtlsRole, *sent: HandshakeType) -> HandshakeGuard:
    guard = HandshakeGuard(role)
    for message_type in sent:
        guard.sent(message_type)
    return guard


def answering(role: DtlsRole) -> HandshakeGuard:
    """A guard after our last plaintext flight, when the peer's Finished can come."""
    return guard_of(role, SERVER_HELLO if role is DtlsRole.SERVER else HandshakeType.CLIENT_KEY_EXCHANGE)


def other(role: DtlsRole) -> DtlsRole:
    return DtlsRole.CLIENT if role is DtlsRole.SERVER else DtlsRole.SERVER


def fresh(role: DtlsRole, message_type: int) -> HandshakeGuard:
    """A guard at the point of the handshake where such a message of the peer's is due."""
    if role is DtlsRole.CLIENT or message_type == CLIENT_HELLO:
        return HandshakeGuard(role)
    return answering(role)


@pytest.mark.parametrize("role", DtlsRole)
def test_only_messages_of_the_other_role_within_their_limits(role: DtlsRole) -> None:
    for message_type in range(256):
        shape = MESSAGES[other(role)].get(message_type)
        limit = shape.limit if shape else 0
        for seq in range(9):
            due = shape is not None and shape.first_seq <= seq <= shape.last_seq
            within = handshake(fragment(message_type, limit, seq, 0, b"x" if limit else b""))
            beyond = handshake(fragment(message_type, limit + 1, seq, 0, b"x"))
            guard = fresh(role, message_type)
            assert guard.judge_untrusted(within) is (Verdict.PASS if due else Verdict.DROP)
            assert fresh(role, message_type).judge_untrusted(beyond) is Verdict.DROP


def test_nothing_but_a_hello_comes_first_from_a_client() -> None:
    for message_type, shape in MESSAGES[DtlsRole.CLIENT].items():
        record = handshake(fragment(message_type, 9, shape.first_seq, 0, b"x"))
        expected = Verdict.PASS if message_type == CLIENT_HELLO else Verdict.DROP
        assert HandshakeGuard(DtlsRole.SERVER).judge_untrusted(record) is expected


def test_a_message_of_131072_bytes_never_reaches_openssl() -> None:
    huge = handshake(fragment(CLIENT_HELLO, 131_072, 0, 0, b"x" * 100))
    assert HandshakeGuard(DtlsRole.SERVER).judge_untrusted(huge) is Verdict.DROP


def test_fragments_must_agree_with_the_first_one_seen() -> None:
    guard = HandshakeGuard(DtlsRole.SERVER)
    assert guard.judge_untrusted(handshake(fragment(CLIENT_HELLO, 100, 0, 50, b"x" * 50))) is Verdict.PASS
    assert guard.judge_untrusted(handshake(fragment(CLIENT_HELLO, 101, 0, 0, b"x" * 50))) is Verdict.CONFLICT
    assert guard.judge_untrusted(handshake(fragment(CLIENT_HELLO, 100, 0, 0, b"x" * 50))) is Verdict.PASS


def test_one_number_belongs_to_one_message() -> None:
    guard = HandshakeGuard(DtlsRole.CLIENT)
    assert guard.judge_untrusted(handshake(fragment(SERVER_HELLO, 80, 1, 0, b"x" * 80))) is Verdict.PASS
    assert guard.judge_untrusted(handshake(fragment(CERTIFICATE, 80, 1, 0, b"x" * 80))) is Verdict.CONFLICT


def test_a_record_that_disagrees_with_itself_leaves_no_trace() -> None:
    guard = HandshakeGuard(DtlsRole.SERVER)
    two = handshake(fragment(CLIENT_HELLO, 100, 0, 0, b"x"), fragment(CLIENT_HELLO, 99, 0, 0, b"x"))
    assert guard.judge_untrusted(two) is Verdict.CONFLICT
    assert guard.judge_untrusted(handshake(fragment(CLIENT_HELLO, 99, 0, 0, b"x"))) is Verdict.PASS


@pytest.mark.parametrize("role", DtlsRole)
def test_plaintext_alerts_and_data_never_pass(role: DtlsRole) -> None:
    for guard in (HandshakeGuard(role), answering(role)):
        alert = Record(ContentType.ALERT, 0xFEFD, 0, 0, b"\x02\x28")
        assert guard.judge_untrusted(alert) is Verdict.ALERT
        for body in (b"", b"\x02", b"\x02\x28\x00"):
            record = Record(ContentType.ALERT, 0xFEFD, 0, 0, body)
            assert guard.judge_untrusted(record) is Verdict.DROP
        data = Record(ContentType.APPLICATION_DATA, 0xFEFD, 0, 0, b"data")
        assert guard.judge_untrusted(data) is Verdict.DROP
        assert guard.judge_untrusted(Record(24, 0xFEFD, 0, 0, b"heartbeat")) is Verdict.DROP


@pytest.mark.parametrize("role", DtlsRole)
def test_cipher_changes_and_sealed_records_only_when_due(role: DtlsRole) -> None:
    change = Record(ContentType.CHANGE_CIPHER_SPEC, 0xFEFD, 0, 0, b"\x01")
    finished = sealed(ContentType.HANDSHAKE, 48)
    for record in (change, finished, sealed(ContentType.ALERT, 26)):
        assert HandshakeGuard(role).judge_untrusted(record) is Verdict.DROP
        assert answering(role).judge_untrusted(record) is Verdict.PASS
    for body in (b"", b"\x02", b"\x01\x01"):
        record = Record(ContentType.CHANGE_CIPHER_SPEC, 0xFEFD, 0, 0, body)
        assert answering(role).judge_untrusted(record) is Verdict.DROP


@pytest.mark.parametrize("role", DtlsRole)
def test_sealed_records_have_limits(role: DtlsRole) -> None:
    for content_type, limit in (
        (ContentType.HANDSHAKE, MAX_SEALED_HANDSHAKE),
        (ContentType.ALERT, MAX_SEALED_ALERT),
    ):
        assert answering(role).judge_untrusted(sealed(content_type, limit)) is Verdict.PASS
        assert answering(role).judge_untrusted(sealed(content_type, limit + 1)) is Verdict.DROP
    assert answering(role).judge_untrusted(sealed(ContentType.HANDSHAKE, 48, epoch=2)) is Verdict.DROP
    assert answering(role).judge_untrusted(sealed(ContentType.CHANGE_CIPHER_SPEC, 1)) is Verdict.DROP


def test_data_can_overtake_only_a_servers_finished() -> None:
    data = sealed(ContentType.APPLICATION_DATA, 100)
    assert answering(DtlsRole.CLIENT).judge_untrusted(data) is Verdict.PASS
    assert answering(DtlsRole.SERVER).judge_untrusted(data) is Verdict.DROP


def test_answered_messages_are_repeats() -> None:
    hello = handshake(fragment(CLIENT_HELLO, 10, 0, 0, b"x" * 10))
    certificate = fragment(CERTIFICATE, 9, 1, 0, b"x")
    guard = HandshakeGuard(DtlsRole.SERVER)
    assert guard.judge_untrusted(hello) is Verdict.PASS
    guard.sent(SERVER_HELLO)
    assert guard.judge_untrusted(hello) is Verdict.REPEAT
    assert guard.judge_untrusted(handshake(certificate)) is Verdict.PASS
    assert guard.judge_untrusted(handshake(hello.body, certificate)) is Verdict.PASS, "something new"

    client = answering(DtlsRole.CLIENT)
    for message_type, shape in MESSAGES[DtlsRole.SERVER].items():
        size = min(shape.limit, 1)
        record = handshake(fragment(message_type, size, 1, 0, b"x" * size))
        assert client.judge_untrusted(record) is Verdict.REPEAT


@pytest.mark.parametrize("role", DtlsRole)
def test_after_the_handshake_only_sealed_data_and_alerts_pass(role: DtlsRole) -> None:
    guard = answering(role)
    guard.complete()
    assert guard.judge_untrusted(sealed(ContentType.APPLICATION_DATA, 100)) is Verdict.PASS
    assert guard.judge_untrusted(sealed(ContentType.ALERT, 26)) is Verdict.PASS
    assert guard.judge_untrusted(sealed(ContentType.HANDSHAKE, 48)) is Verdict.REPEAT
    assert guard.judge_untrusted(sealed(ContentType.HANDSHAKE, 324)) is Verdict.DROP, "a renegotiation"
    change = Record(ContentType.CHANGE_CIPHER_SPEC, 0xFEFD, 0, 0, b"\x01")
    assert guard.judge_untrusted(change) is Verdict.DROP
    for message_type, shape in MESSAGES[other(role)].items():
        size = min(shape.limit, 1)
        record = handshake(fragment(message_type, size, 1, 0, b"x" * size))
        assert guard.judge_untrusted(record) is Verdict.REPEAT

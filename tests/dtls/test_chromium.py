"""Handshakes with Chromium, in both roles, with each datagram either way lost in turn. Real time."""

from __future__ import annotations

from itertools import combinations

import pytest
import trio

from sfu.dtls import ApplicationData, DtlsClosed, DtlsConnected, DtlsRole, SrtpProfile
from sfu.dtls.record import ContentType, HandshakeType, split_datagram_untrusted
from tests.support.dtls_browser import Case, chromium
from tests.support.dtls_net import certificate

pytestmark = [pytest.mark.interop, pytest.mark.browser]

INIT_CHUNK = 1
"""The first chunk of the first SCTP packet of an association (RFC 9260 3.3.2)."""

STATS_NAMES = {
    SrtpProfile.AEAD_AES_128_GCM: "SRTP_AEAD_AES_128_GCM",
    SrtpProfile.AEAD_AES_256_GCM: "SRTP_AEAD_AES_256_GCM",
    SrtpProfile.AES_CM_128_HMAC_SHA1_80: "SRTP_AES128_CM_HMAC_SHA1_80",
}
"""What ``RTCTransportStats.srtpCipher`` calls them."""


def losses(role: DtlsRole) -> list[Case]:
    """Nothing lost; each datagram; each two of a direction. The first five are all of the handshake."""
    some = [lost for count in (0, 1, 2) for lost in combinations(range(5), count)]
    return [Case(role, lost_from_us=lost) for lost in some] + [
        Case(role, lost_from_them=lost) for lost in some[1:]
    ]


def messages(datagrams: list[bytes]) -> set[int]:
    """The types of the plaintext handshake messages in these datagrams."""
    records = [record for datagram in datagrams for record in split_datagram_untrusted(datagram)]
    return {
        record.body[0]
        for record in records
        if (record.content_type, record.epoch) == (ContentType.HANDSHAKE, 0)
    }


async def check(case: Case) -> None:
    """Both ends are connected, agree about the cipher, and SCTP got through."""
    context = (case.role, case.lost_from_us, case.lost_from_them)
    assert case.result["state"] == "connected", (context, case.result)
    with trio.fail_after(20):
        await case.reached[ApplicationData].wait()
    connected, data = case.events[:2]
    assert isinstance(connected, DtlsConnected), context
    if case.role is DtlsRole.SERVER:
        assert connected.profile is SrtpProfile.AEAD_AES_128_GCM, context
    assert isinstance(data, ApplicationData), context
    assert data.data[12] == INIT_CHUNK, context
    stats = case.result["stats"]
    assert stats["dtlsState"] == "connected", context
    assert stats["srtpCipher"] == STATS_NAMES[connected.profile], context
    assert stats["tlsVersion"] == "FEFD", context
    assert stats["dtlsRole"] == ("server" if case.role is DtlsRole.CLIENT else "client"), context


@pytest.mark.parametrize("role", DtlsRole)
async def test_each_datagram_lost_in_turn(role: DtlsRole) -> None:
    cases = losses(role)
    async with chromium(certificate("server")) as browser, trio.open_nursery() as nursery:
        for case in cases:
            nursery.start_soon(browser.run, case)
        with trio.fail_after(60):
            for case in cases:
                await case.finished.wait()
                await check(case)
        nursery.cancel_scope.cancel()
    whole = cases[0]
    assert HandshakeType.CERTIFICATE in messages(whole.sent)
    assert HandshakeType.CERTIFICATE in messages(whole.received)
    if role is DtlsRole.SERVER:
        hello = [one for one in whole.received if messages([one]) == {HandshakeType.CLIENT_HELLO}]
        assert len(hello) >= 2, "the post-quantum ClientHello comes in fragments"
        assert whole.result["stats"]["dtlsCipher"] == "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"


async def test_the_browser_closes() -> None:
    case = Case(DtlsRole.SERVER, linger=0)
    async with chromium(certificate("server")) as browser:
        await browser.run(case)
        with trio.fail_after(20):
            await case.reached[DtlsClosed].wait()

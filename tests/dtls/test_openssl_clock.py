"""OpenSSL repeats flights on a clock of its own, which nobody can drive: these tests wait for it.

They wait for another implementation in real time, hence the mark; all else about time is in ``test_loss``.
"""

from __future__ import annotations

import time

import pytest

from sfu.dtls import DtlsEndpoint, DtlsRole
from sfu.dtls.flight import INITIAL_TIMEOUT
from sfu.dtls.record import split_datagram_untrusted
from tests.dtls.test_endpoint import CREDENTIALS, RAW_FINGERPRINT
from tests.support.dtls_net import Pair, certificate
from tests.support.dtls_raw import RawPeer

pytestmark = pytest.mark.interop

OPENSSL_TIMEOUT = 1.05
"""Seconds after which OpenSSL says a flight again when asked anything."""


def test_a_flight_openssl_says_again_is_neither_sent_nor_taken_for_a_new_one() -> None:
    end = DtlsEndpoint(certificate("server"), DtlsRole.SERVER, [RAW_FINGERPRINT])
    end.start(0.0)
    peer = RawPeer(DtlsRole.CLIENT, credentials=CREDENTIALS, mtu=300)
    for datagram in peer.advance():
        end.receive_datagram_untrusted(datagram, 0.0)
    (flight,) = end.datagrams_to_send(0.0)
    certificate_first, *rest = peer.advance(flight)
    time.sleep(OPENSSL_TIMEOUT)
    end.receive_datagram_untrusted(certificate_first, 0.0)
    assert end.datagrams_to_send(0.0) == []
    assert end.get_timer() == INITIAL_TIMEOUT
    for datagram in rest:
        end.receive_datagram_untrusted(datagram, 0.0)
    (last,) = end.datagrams_to_send(0.0)
    peer.advance(last)
    assert peer.connected


def test_a_finished_openssl_sealed_again_goes_out_in_place_of_the_old_one() -> None:
    """Otherwise a server that has seen the Finished would take each repetition for a replay."""
    pair = Pair()
    pair.start()
    pair.step()
    pair.step()
    (before,) = pair.sent[DtlsRole.CLIENT][1:]
    time.sleep(OPENSSL_TIMEOUT)
    pair.now += INITIAL_TIMEOUT
    pair.client.handle_timer(pair.now)
    (again,) = pair.client.datagrams_to_send(pair.now)
    old, new = split_datagram_untrusted(before), split_datagram_untrusted(again)
    assert [record.body for record in old[:-1]] == [record.body for record in new[:-1]]
    assert (old[-1].epoch, old[-1].sequence) == (1, 0)
    assert (new[-1].epoch, new[-1].sequence) == (1, 1)
    assert old[-1].body != new[-1].body

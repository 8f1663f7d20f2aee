"""What two INITs agree upon, and what a cookie means to an association that exists (RFC 9260 5.2.4, table
12)."""

from __future__ import annotations

import pytest

from sfu.sctp.cookie import COOKIE_LIFETIME
from sfu.sctp.handshake import (
    CookieVerdict,
    Negotiated,
    Offer,
    from_cookie,
    is_stale,
    judge_cookie,
    make_cookie,
)

LOCAL, PEER = 5, 6


def test_both_sides_agree() -> None:
    ours = Offer(LOCAL, 100, 5000, 1024, 512)
    theirs = Offer(PEER, 200, 9000, 16, 2048)
    agreed = ours.agree(theirs.init())
    assert agreed == Negotiated(
        local_tag=LOCAL,
        local_tsn=100,
        peer_tag=PEER,
        peer_tsn=200,
        peer_window=9000,
        outbound_streams=1024,
        inbound_streams=16,
        partial_reliability=True,
        stream_reset=True,
        zero_checksum=True,
    )
    back = theirs.agree(ours.init_ack(b"cookie", ()))
    assert (back.outbound_streams, back.inbound_streams) == (16, 1024)
    assert from_cookie(make_cookie(agreed, 1, 2, 3.0)) == agreed


@pytest.mark.parametrize(
    ("local", "peer", "ties", "verdict"),
    [
        (LOCAL + 1, PEER + 1, (LOCAL, PEER), CookieVerdict.RESTART),
        (LOCAL, PEER + 1, (0, 0), CookieVerdict.ADOPT),
        (LOCAL, PEER + 1, (LOCAL, PEER), CookieVerdict.ADOPT),
        (LOCAL + 1, PEER, (0, 0), CookieVerdict.STRAY),
        (LOCAL, PEER, (0, 0), CookieVerdict.SAME),
        (LOCAL, PEER, (LOCAL, PEER), CookieVerdict.SAME),
        # not in the table: silently discarded
        (LOCAL + 1, PEER + 1, (0, 0), CookieVerdict.STRAY),
        (LOCAL + 1, PEER + 1, (LOCAL, PEER + 1), CookieVerdict.STRAY),
        (LOCAL + 1, PEER + 1, (LOCAL + 1, PEER), CookieVerdict.STRAY),
        (LOCAL + 1, PEER, (LOCAL, PEER), CookieVerdict.STRAY),
    ],
)
def test_verdicts(local: int, peer: int, ties: tuple[int, int], verdict: CookieVerdict) -> None:
    agreed = Negotiated(local, 1, peer, 2, 3, 4, 5, True, True, True)
    assert judge_cookie(make_cookie(agreed, *ties, 0.0), LOCAL, PEER) is verdict


def test_a_cookie_ages() -> None:
    cookie = make_cookie(Negotiated(1, 1, 1, 1, 1, 1, 1, True, True, False), 0, 0, 1000.0)
    assert not is_stale(cookie, 1000.0 + COOKIE_LIFETIME)
    assert is_stale(cookie, 1000.1 + COOKIE_LIFETIME)

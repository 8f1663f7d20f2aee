"""Who a socket is: where its token comes from, which id it gets, and what it is told if it is nobody."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from sfu.signaling.application import ConnectionRefused, Handshake
from sfu.signaling.http import Request, parse_cookies
from sfu.signaling.identity import MAX_TOKEN_LENGTH, derive_userid, handshake_token, request_token
from tests.support.app_world import AppWorld


@pytest.mark.contract("D23", "M21")
@pytest.mark.parametrize(
    ("sub", "userid"),
    [
        ("alice", "2bd806c9-7f0e-00af-1a1f-c3328fa763a92697"),
        ("bob", "81b637d8-fcd2-c6da-6359-e6963113a1170de7"),
        ("carol", "4c26d907-4c27-d89e-de59-270c0ac14b71e071"),
    ],
)
def test_the_userid_of_a_name(sub: str, userid: str) -> None:
    assert derive_userid(sub) == userid


@pytest.mark.parametrize("sub", ["", "\ud800"])
def test_an_unusable_name_has_no_userid(sub: str) -> None:
    with pytest.raises(ValueError):
        derive_userid(sub)


QUERY = [("token", "from-query")]
COOKIE = {"cookie": "x=1; romm_sfu_token=from-cookie"}
HEADER = {"authorization": "Bearer from-header"}


@pytest.mark.parametrize(
    ("auth", "query", "headers", "token"),
    [
        ({"token": "from-auth"}, QUERY, COOKIE | HEADER, "from-auth"),
        ("from-auth", QUERY, COOKIE | HEADER, "from-auth"),
        ({"token": ""}, QUERY, COOKIE | HEADER, ""),
        ({"token": 5}, QUERY, COOKIE | HEADER, "from-query"),
        ({}, QUERY, COOKIE | HEADER, "from-query"),
        (None, [("token", "")], COOKIE | HEADER, ""),
        (None, [*QUERY, *QUERY], COOKIE | HEADER, "from-cookie"),
        (None, [], COOKIE | HEADER, "from-cookie"),
        (None, [], HEADER, "from-header"),
        (None, [], {"authorization": "  bEARER   from-header "}, "from-header"),
        (None, [], {"authorization": "Basic abc"}, None),
        (None, [], {"cookie": "sfu_token=a%20b%2B; romm_sfu_token=second"}, "a b+"),
        (None, [], {"cookie": "sfu_token=%zz%20"}, "%zz%20"),
        (None, [], {"cookie": "sfu_token=%ff"}, "%ff"),
        (None, [], {"cookie": "sfu_token=%20x%20"}, "x"),
        (None, [], {"cookie": "other=1; sfu_token"}, None),
        (None, [], {}, None),
    ],
)
def test_the_first_token_of_a_handshake_counts(
    auth: Any, query: list[tuple[str, str]], headers: dict[str, str], token: str | None
) -> None:
    assert handshake_token(Handshake(auth, query, headers, "")) == token


@pytest.mark.parametrize(
    ("query", "headers", "token"),
    [
        (QUERY, COOKIE | HEADER, "from-query"),
        ([("token", "")], COOKIE | HEADER, ""),
        ([], COOKIE | HEADER, "from-header"),
        ([], COOKIE, "from-cookie"),
        ([], {}, None),
    ],
)
def test_the_first_token_of_a_request_counts(
    query: list[tuple[str, str]], headers: dict[str, str], token: str | None
) -> None:
    cookies = parse_cookies(headers.get("cookie", ""))
    assert request_token(Request("GET", "/list", query=query, headers=headers, cookies=cookies)) == token


@pytest.mark.contract("D9", "M25")
async def test_a_socket_is_verified_once_and_consumes(autojump_clock: MockClock, world: AppWorld) -> None:
    await world.handshake({"token": "once:alice"})
    assert world.romm.calls == [("verify", "once:alice", True)]
    with pytest.raises(ConnectionRefused, match=r"^unauthorized$"):
        await world.handshake({"token": "once:alice"})


@pytest.mark.parametrize(
    "auth",
    [None, {}, {"token": ""}, {"token": "bad"}, {"token": "t:"}, {"token": "t:" + "x" * MAX_TOKEN_LENGTH}],
)
async def test_nobody_is_unauthorized(autojump_clock: MockClock, world: AppWorld, auth: Any) -> None:
    with pytest.raises(ConnectionRefused, match=r"^unauthorized$"):
        await world.handshake(auth)


@pytest.mark.contract("D9")
async def test_a_token_beyond_bounds_is_refused_unseen(autojump_clock: MockClock, world: AppWorld) -> None:
    with pytest.raises(ConnectionRefused):
        await world.handshake({"token": "t:" + "x" * MAX_TOKEN_LENGTH})
    assert world.romm.calls == []


@pytest.mark.contract("D10")
async def test_an_outage_is_told_apart_from_a_refusal(autojump_clock: MockClock, world: AppWorld) -> None:
    world.romm.down = True
    with pytest.raises(ConnectionRefused, match=r"^auth unavailable$"):
        await world.connect("alice")


@pytest.mark.contract("D20", "D22", "M20")
async def test_no_payload_changes_who_one_is(autojump_clock: MockClock, world: AppWorld) -> None:
    alice = await world.host("alice")
    mallory = await world.connect("mallory")
    extra = {
        "room_name": "R",
        "userid": alice.userid,
        "player_name": "alice",
        "netplay_username": "alice",
        "socketId": alice.id,
        "socket_id": alice.id,
        "is_host": True,
        "ready": True,
        "validationStatus": "ok",
        "reconnecting": True,
        "slot": 0,
    }
    value = await mallory.ask("join-room", {"extra": extra})
    assert value["users"][mallory.userid] == {
        "room_name": "R",
        "player_slot": 1,
        "userid": mallory.userid,
        "player_name": "mallory",
        "netplay_username": "mallory",
        "socketId": mallory.id,
        "socket_id": mallory.id,
    }

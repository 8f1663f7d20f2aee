"""One test for each rule of ``signaling.md`` 1.8 and 8.4."""

from __future__ import annotations

from typing import Any

import pytest

from sfu.iceservers import DEFAULT_STUN, IceServer, ice_servers


def parsed(**environ: str) -> list[dict[str, Any]]:
    return [server.to_json() for server in ice_servers(environ)[0]]


def test_default() -> None:
    assert parsed() == parsed(SFU_STUN_SERVERS=" ", STUN_SERVERS="") == [{"urls": DEFAULT_STUN}]


def test_first_stun_variable_that_is_not_blank() -> None:
    assert parsed(SFU_STUN_SERVERS="stun:a", STUN_SERVERS="stun:b") == [{"urls": "stun:a"}]
    assert parsed(SFU_STUN_SERVERS=" ", STUN_SERVERS="stun:b") == [{"urls": "stun:b"}]


def test_stun_words() -> None:
    assert parsed(SFU_STUN_SERVERS=" a:1,stun:b , \tSTUNS:c\n//d:5 ") == [
        {"urls": "stun:a:1"},
        {"urls": "stun:b"},
        {"urls": "STUNS:c"},
        {"urls": "stun:d:5"},
    ]


@pytest.mark.parametrize(
    "word",
    [
        "turn:a",
        "TURNS:a",
        "http://a",
        "//http://a",
        "stun:stun:a:3478",
        "stun://a",
        "stun:",
        "a:0",
        "a:65536",
        "a:x",
        "user@a",
        "-a",
        "stun:a?transport=udp",
        "[::1",
    ],
)
def test_stun_words_that_are_dropped(word: str) -> None:
    servers, warnings = ice_servers({"SFU_STUN_SERVERS": f"{word} b"})
    assert servers == (IceServer("stun:b"),)
    assert warnings == ["SFU_STUN_SERVERS: left out word 1, not like stun:host:port"]


def test_set_but_nothing_valid_is_an_empty_list() -> None:
    assert parsed(SFU_STUN_SERVERS="turn:a") == parsed(SFU_STUN_SERVERS=",") == []


@pytest.mark.parametrize("url", ["stun:[2001:db8::1]:3478", "stun:192.0.2.1", "stun:a.b-c.example.:65535"])
def test_stun_hosts(url: str) -> None:
    assert parsed(SFU_STUN_SERVERS=url) == [{"urls": url}]


def turn(text: str) -> list[dict[str, Any]]:
    return parsed(SFU_TURN_SERVERS=text)[1:]


def test_json_turn() -> None:
    assert turn(
        '[{"urls":"turn:a","username":"u","credential":"c"},'
        ' {"urls":["b:5","turns:c?transport=tcp","stun:d"],"username":7,"credential":1.5}]'
    ) == [
        {"urls": "turn:a", "username": "u", "credential": "c"},
        {"urls": ["turn:b:5", "turns:c?transport=tcp"], "username": "7", "credential": "1.5"},
    ]


@pytest.mark.parametrize("text", ["nonsense", "{}", '"turn:a"', "5", "[", "[" * 100_000, "NaN"])
def test_json_turn_that_is_no_array_is_ignored(text: str) -> None:
    servers, warnings = ice_servers({"SFU_TURN_SERVERS": text})
    assert servers == (IceServer(DEFAULT_STUN),)
    assert len(warnings) == 1
    assert "JSON array" in warnings[0]


@pytest.mark.parametrize(
    "entry",
    [
        "5",
        "null",
        '"turn:a"',
        "{}",
        '{"urls":"stun:a","username":"u","credential":"s3cret"}',
        '{"urls":"http://a","username":"u","credential":"s3cret"}',
        '{"urls":[],"username":"u","credential":"s3cret"}',
        '{"urls":[5,null],"username":"u","credential":"s3cret"}',
        '{"urls":"turn:a","credential":"s3cret"}',
        '{"urls":"turn:a","username":"","credential":"s3cret"}',
        '{"urls":"turn:a","username":"u"}',
        '{"urls":"turn:a","username":"u","credential":null}',
        '{"urls":"turn:a","username":"u","credential":["s3cret"]}',
    ],
)
def test_json_turn_entries_that_are_dropped(entry: str) -> None:
    good = '{"urls":"turn:a","username":"u","credential":"c"}'
    servers, warnings = ice_servers({"SFU_TURN_SERVERS": f"[{entry},{good}]"})
    assert servers[1:] == (IceServer("turn:a", "u", "c"),)
    assert any("entry 1: left out" in warning for warning in warnings)
    assert not any("s3cret" in warning for warning in warnings)


def test_numbered_turn() -> None:
    environ: dict[str, str] = {}
    for number in range(6):
        environ |= {
            f"SFU_TURN_SERVER{number}": f" h{number}, turns:t{number} stun:x",
            f"SFU_TURN_USER{number}": f" u{number} ",
            f"SFU_TURN_PASS{number}": f" p{number} ",
        }
    assert parsed(**environ)[1:] == [
        {"urls": [f"turn:h{n}", f"turns:t{n}"], "username": f"u{n}", "credential": f"p{n}"}
        for n in range(1, 5)
    ]


def test_numbered_turn_with_one_url_is_a_list() -> None:
    environ = {"SFU_TURN_SERVER2": "a", "SFU_TURN_USER2": "u", "SFU_TURN_PASS2": "p"}
    assert parsed(**environ)[1] == {"urls": ["turn:a"], "username": "u", "credential": "p"}


@pytest.mark.parametrize("missing", ["SERVER", "USER", "PASS"])
def test_numbered_turn_needs_all_three(missing: str) -> None:
    environ = {"SFU_TURN_SERVER1": "a", "SFU_TURN_USER1": "u", "SFU_TURN_PASS1": "s3cret"}
    environ[f"SFU_TURN_{missing}1"] = " "
    servers, warnings = ice_servers(environ)
    assert servers == (IceServer(DEFAULT_STUN),)
    assert warnings == [
        "SFU_TURN_SERVER1: left out, it takes all of SFU_TURN_SERVER1, SFU_TURN_USER1, SFU_TURN_PASS1"
    ]


def test_order() -> None:
    servers = parsed(
        SFU_STUN_SERVERS="s",
        SFU_TURN_SERVERS='[{"urls":"j","username":"u","credential":"c"}]',
        SFU_TURN_SERVER1="n",
        SFU_TURN_USER1="u",
        SFU_TURN_PASS1="c",
    )
    assert [server["urls"] for server in servers] == ["stun:s", "turn:j", ["turn:n"]]


def test_repr_hides_the_credential() -> None:
    assert "s3cret" not in repr(IceServer("turn:a", "u", "s3cret"))

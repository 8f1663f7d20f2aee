"""Users from a header: only a listed proxy may say who somebody is."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from sfu.romm.identity import Caller
from sfu.romm.proxy_identity import IDENTITY_HEADER, MAX_USER_CHARS, ProxyIdentify
from tests.romm.support import Side, json_of, outcome

PROXIES = (ip_network("192.0.2.7/32"), ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
PROXY = "192.0.2.7"
FORBIDDEN = (403, "Forbidden")


def side_of(**options: object) -> Side:
    return Side(ProxyIdentify(PROXIES, **options))  # type: ignore[arg-type]


async def mint(side: Side, headers: dict[str, str], remote: str = PROXY) -> tuple[int, object]:
    """Status, and ``sub`` or ``detail``."""
    response = await side.request("POST", "/api/sfu/token", {}, headers=headers, remote=remote)
    return (200, json_of(response)["sub"]) if response.status == 200 else outcome(response)


async def test_whom_the_proxy_names() -> None:
    side = side_of()
    assert await mint(side, {IDENTITY_HEADER: " Ann "}) == (200, "Ann")
    response = await side.request("GET", "/api/sfu/ice", headers={IDENTITY_HEADER: "Ann"}, remote=PROXY)
    assert response.status == 200


async def test_the_token_says_so_and_verifies() -> None:
    side = side_of()
    for kind in ("read", "write"):
        response = await side.request(
            "POST",
            "/api/sfu/token",
            {"token_type": kind, "name": "Somebody Else"},
            headers={IDENTITY_HEADER: "ann@example.org"},
            remote=PROXY,
        )
        verified = await side.verify(json_of(response)["token"])
        assert (json_of(verified)["sub"], json_of(verified)["netplay_username"]) == ("ann@example.org", None)


@pytest.mark.parametrize(
    "headers", [{}, {IDENTITY_HEADER: ""}, {IDENTITY_HEADER: " \t"}, {"remote-user": "Ann"}]
)
async def test_without_the_header_nobody(headers: dict[str, str]) -> None:
    side = side_of()
    assert await mint(side, headers) == FORBIDDEN
    assert (await side.request("GET", "/api/sfu/ice", headers=headers, remote=PROXY)).status == 403


@pytest.mark.parametrize(
    ("remote", "trusted"),
    [
        (PROXY, True),
        ("10.255.0.1", True),
        ("fd00::1", True),
        ("fd00::1%eth0", True),
        ("::ffff:10.0.0.1", True),
        ("192.0.2.8", False),
        ("11.0.0.1", False),
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:11.0.0.1", False),
        ("2001:db8::1", False),
        ("unknown", False),
        ("", False),
        ("192.0.2.7, 10.0.0.1", False),
    ],
)
async def test_only_peers_on_the_list_are_believed(remote: str, trusted: bool) -> None:
    side = side_of()
    expected = (200, "Ann") if trusted else FORBIDDEN
    assert await mint(side, {IDENTITY_HEADER: "Ann"}, remote) == expected
    # What other headers say about where a request came from does not count.
    spoofed = {
        IDENTITY_HEADER: "Ann",
        "x-forwarded-for": PROXY,
        "x-real-ip": PROXY,
        "forwarded": f"for={PROXY}",
    }
    assert await mint(side, spoofed, remote) == expected


async def test_with_no_proxy_listed_nobody() -> None:
    for remote in (PROXY, "127.0.0.1", "::1"):
        assert await mint(Side(ProxyIdentify(())), {IDENTITY_HEADER: "Ann"}, remote) == FORBIDDEN


async def test_a_header_of_ones_choice() -> None:
    side = side_of(header="Remote-User")
    assert await mint(side, {"remote-user": "Ann"}) == (200, "Ann")
    assert await mint(side, {IDENTITY_HEADER: "Ann"}) == FORBIDDEN


@pytest.mark.parametrize(
    "header", ["", "a b", "a:b", "é", "x_user", "a" * 65, "Host", "cookie", "Authorization"]
)
def test_headers_that_are_none_or_that_clients_set(header: str) -> None:
    with pytest.raises(ValueError, match="identity header"):
        ProxyIdentify(PROXIES, header=header)


def latin_1(name: str) -> str:
    """As the HTTP server hands over what a proxy sends in UTF-8."""
    return name.encode().decode("latin-1")


@pytest.mark.parametrize(
    ("value", "sub"),
    [
        (latin_1("Zoë ☆"), "Zoë ☆"),
        (latin_1("Zoe\u0308"), "Zoë"),
        (latin_1("x" * MAX_USER_CHARS), "x" * MAX_USER_CHARS),
        (latin_1("\U0001f9d9" * MAX_USER_CHARS), "\U0001f9d9" * MAX_USER_CHARS),
        ("<b>&'\"", "<b>&'\""),
    ],
)
async def test_names(value: str, sub: str) -> None:
    assert await mint(side_of(), {IDENTITY_HEADER: value}) == (200, sub)


@pytest.mark.parametrize(
    "value",
    [
        "x" * (MAX_USER_CHARS + 1),
        "x" * 10_000,
        "a\x00b",
        "a\x7fb",
        "a\tb",
        latin_1("a\u202eb"),
        latin_1("a\u200db"),
        latin_1("a\u2028b"),
        latin_1("\ue000"),
        latin_1("\u3164"),
        "\xff",
        "\u0394",
        "\ud800",
    ],
)
async def test_unusable_names(value: str) -> None:
    side = side_of()
    assert await mint(side, {IDENTITY_HEADER: value}) == (403, "unusable user name")
    headers = {IDENTITY_HEADER: value}
    assert (await side.request("GET", "/api/sfu/ice", headers=headers, remote=PROXY)).status == 403


@pytest.mark.parametrize("value", ["mallory, ann", "mallory,ann", ", ann", "ann,"])
async def test_a_proxy_that_adds_instead_of_replacing(value: str) -> None:
    """The HTTP server joins repeated headers with a comma."""
    assert await mint(side_of(), {IDENTITY_HEADER: value}) == (403, "ambiguous user name")


async def test_pages_of_other_hosts_may_not_mint() -> None:
    headers = {IDENTITY_HEADER: "Ann", "host": "sfu.example:8443", "origin": "https://evil.example"}
    refused = (403, "pages of this origin may not play here")
    side = side_of(allowed_origins=["https://friend.example"])
    assert await mint(side, headers) == refused
    assert await mint(side, headers | {"origin": "null"}) == refused
    assert await mint(side, headers | {"origin": "https://sfu.example"}) == (200, "Ann")
    assert await mint(side, headers | {"origin": "https://friend.example"}) == (200, "Ann")
    assert await mint(side_of(allowed_origins=["*"]), headers) == (200, "Ann")
    response = await side.request("GET", "/api/sfu/ice", headers=headers, remote=PROXY)
    assert response.status == 403


async def test_from_strangers_not_even_the_reason_is_told() -> None:
    for headers in (
        {IDENTITY_HEADER: "a, b"},
        {IDENTITY_HEADER: "\xff"},
        {IDENTITY_HEADER: "Ann", "origin": "https://evil.example", "host": "sfu.example"},
    ):
        assert await mint(side_of(), headers, "198.51.100.1") == FORBIDDEN


async def test_a_revoked_user_is_out() -> None:
    side = side_of()
    response = await side.request("POST", "/api/sfu/token", headers={IDENTITY_HEADER: "Ann"}, remote=PROXY)
    await side.internal("POST", "revoke", {"sub": "Ann"})
    assert outcome(await side.verify(json_of(response)["token"])) == (401, "token revoked")


def test_who_has_no_side_effects_and_knows_the_same() -> None:
    identify = ProxyIdentify(PROXIES)
    caller = Caller({IDENTITY_HEADER: "Ann"}, PROXY)
    assert identify.who(caller) == identify.claim(caller, "Bob")
    assert identify.current("Ann", None) == identify.who(caller)

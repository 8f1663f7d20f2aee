"""Guests: names, cookies, origins."""

from __future__ import annotations

import re

import pytest

from sfu.romm.identity import (
    COOKIE,
    DEFAULT_NAME,
    GUEST_LEASE,
    MAX_NAME_CHARS,
    MAX_NAMES,
    MAX_NAMES_PER_ADDRESS,
    MAX_NAMES_PER_GUEST,
    Caller,
    GuestIdentify,
    GuestNames,
    IdentityRefused,
    clean_name_untrusted,
    name_key,
)
from sfu.romm.port import TokenRefused
from sfu.romm.tokens import TokenKind
from tests.romm.support import EPOCH, Clock, Side, json_of, outcome


def guests(clock: Clock, **options: int) -> Side:
    return Side(GuestIdentify(clock=clock.monotonic, **options), clock=clock)  # type: ignore[arg-type]


class Browser:
    """Keeps cookies, and nothing else."""

    def __init__(self, side: Side, *, remote: str = "192.0.2.1", **headers: str) -> None:
        self.side = side
        self.remote = remote
        self.headers = headers
        self.cookie: str | None = None

    def _headers(self) -> dict[str, str]:
        return self.headers | ({} if self.cookie is None else {"cookie": f"a=b; {self.cookie}; c=d"})

    async def mint(self, name: object = None, kind: str = "read") -> tuple[int, object]:
        """Status, and ``sub`` or ``detail``."""
        body = {"token_type": kind} | ({} if name is None else {"name": name})
        response = await self.side.request(
            "POST", "/api/sfu/token", body, headers=self._headers(), remote=self.remote
        )
        for header, value in response.headers:
            if header == "Set-Cookie":
                self.cookie = value.partition(";")[0]
        if response.status != 200:
            return outcome(response)
        self.token = json_of(response)["token"]
        return 200, json_of(response)["sub"]

    async def ice_status(self) -> int:
        return (await self.side.request("GET", "/api/sfu/ice", headers=self._headers())).status


# Names over the API


async def test_a_name_belongs_to_a_browser() -> None:
    side = guests(Clock())
    first, second, third = Browser(side), Browser(side), Browser(side)
    assert await first.mint("Ann") == (200, "Ann")
    assert await second.mint("Ann") == (200, "Ann 2")
    assert await third.mint(" ann ") == (200, "ann 3")
    # and stays with it, whatever the others do
    for _ in range(2):
        assert await first.mint("Ann") == (200, "Ann")
        assert await second.mint("Ann") == (200, "Ann 2")
        assert await second.mint() == (200, "Ann 2")
        assert await third.mint("ann 3") == (200, "ann 3")


async def test_default_name() -> None:
    side = guests(Clock())
    assert await Browser(side).mint() == (200, DEFAULT_NAME)
    assert await Browser(side).mint() == (200, f"{DEFAULT_NAME} 2")


async def test_sub_is_in_the_token_and_verifies() -> None:
    side = guests(Clock())
    browser = Browser(side)
    await browser.mint("Ann", "write")
    answer = json_of(await side.verify(browser.token))
    assert (answer["sub"], answer["netplay_username"]) == ("Ann", "Ann")


async def test_a_name_is_free_an_hour_after_its_last_mint() -> None:
    clock = Clock()
    side = guests(clock)
    first, second = Browser(side), Browser(side)
    await first.mint("Ann")
    clock.elapsed = GUEST_LEASE - 1
    await first.mint("Ann")
    clock.elapsed = 2 * GUEST_LEASE - 2
    assert await second.mint("Ann") == (200, "Ann 2")
    clock.elapsed = 2 * GUEST_LEASE - 1
    assert await Browser(side).mint("Ann") == (200, "Ann")
    assert await first.mint("Ann") == (200, "Ann 3")
    assert len(side.identify.names) == 3  # type: ignore[attr-defined]


async def test_a_check_keeps_a_name_as_well() -> None:
    clock = Clock()
    side = guests(clock)
    first = Browser(side)
    await first.mint("Ann")
    clock.elapsed = 800
    assert (await side.verify(first.token)).status == 200
    clock.elapsed = GUEST_LEASE + 799
    assert await Browser(side).mint("Ann") == (200, "Ann 2")
    clock.elapsed = GUEST_LEASE + 800
    assert await Browser(side).mint("Ann") == (200, "Ann")


async def test_a_connected_guest_keeps_the_name() -> None:
    clock = Clock()
    identify = GuestIdentify(clock=clock.monotonic)
    side = Side(identify, clock=clock)
    first = Browser(side)
    await first.mint("Ann")
    for _ in range(3):
        clock.elapsed += GUEST_LEASE - 1
        identify.keep(["Ann", "Nobody", "", "ann"])
    assert await Browser(side).mint("Ann") == (200, "Ann 2")
    assert await first.mint("Ann") == (200, "Ann")
    assert len(identify.names) == 2


async def test_a_name_outlives_its_tokens() -> None:
    """Otherwise two could hold good tokens for one name."""
    clock = Clock()
    lifetime = 172_800
    side = Side(GuestIdentify(clock=clock.monotonic, token_ttl=lifetime), clock=clock, read_ttl=lifetime)
    first = Browser(side)
    await first.mint("Ann")
    clock.elapsed = lifetime + 4
    assert await Browser(side).mint("Ann") == (200, "Ann 2")
    assert (await side.verify(first.token)).status == 200


async def test_tokens_survive_a_restart_unless_the_name_was_taken() -> None:
    """With a configured signing key."""
    clock = Clock()
    before = guests(clock)
    ann, bob = Browser(before), Browser(before)
    await ann.mint("Ann")
    await bob.mint("Bob")
    after = guests(clock)
    assert (await after.verify(ann.token)).status == 200
    assert await Browser(after).mint("Ann") == (200, "Ann 2")
    assert await Browser(after).mint("Bob") == (200, "Bob")
    assert outcome(await after.verify(bob.token)) == (401, "unknown user")


async def test_a_token_without_uid_is_nobodys() -> None:
    side = guests(Clock())
    token = side.tokens.mint(TokenKind.READ, sub="Ann", uid=None, now=EPOCH).token
    with pytest.raises(TokenRefused, match="unknown user"):
        await side.service.verify(token, consume=False)


async def test_ice_needs_a_mint_first() -> None:
    clock = Clock()
    side = guests(clock)
    browser = Browser(side)
    assert await browser.ice_status() == 403
    assert len(side.identify.names) == 0  # type: ignore[attr-defined]
    await browser.mint()
    assert await browser.ice_status() == 200
    clock.elapsed = GUEST_LEASE
    assert await browser.ice_status() == 403


# Cookies


async def test_cookie() -> None:
    side = guests(Clock())
    response = await side.request("POST", "/api/sfu/token", {"name": "Ann"})
    (cookie,) = [value for name, value in response.headers if name == "Set-Cookie"]
    assert re.fullmatch(
        rf"{COOKIE}=[A-Za-z0-9_-]{{43}}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax", cookie
    )
    secret = cookie.partition(";")[0].partition("=")[2]
    assert secret.encode() not in response.body


@pytest.mark.parametrize(
    "cookies",
    [
        "",
        ";",
        "=",
        COOKIE,
        f"{COOKIE}=",
        f"{COOKIE}={'x' * 42}",
        f"{COOKIE}={'x' * 44}",
        f"{COOKIE}={'x' * 42}!",
        f"x{COOKIE}={'x' * 43}",
    ],
)
async def test_other_cookies_are_no_guest(cookies: str) -> None:
    side = guests(Clock())
    caller = Caller({"cookie": cookies}, "192.0.2.1")
    assert side.identify.who(caller) is None
    fresh = side.identify.claim(caller, None)
    assert fresh is not None
    assert fresh.set_cookie is not None
    assert "xxx" not in fresh.set_cookie


# Origins


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://sfu.example", "sfu.example:3001", True),
        ("https://SFU.example:8443", "sfu.example", True),
        ("http://localhost:5173", "127.0.0.1:3001", True),
        ("http://[::1]:5173", "localhost:3001", True),
        ("https://page.example", "sfu.example", True),
        ("https://page.example:444", "sfu.example", False),
        ("https://evil.example", "127.0.0.1:3001", False),
        ("https://evil.example", "192.168.1.5:3001", False),
        ("https://sfu.example.evil.example", "sfu.example", False),
        ("null", "sfu.example", False),
        ("", "", False),
        ("http://[", "[", False),
    ],
)
async def test_pages_of_other_hosts_may_not_mint(origin: str, host: str, allowed: bool) -> None:
    side = Side(GuestIdentify(allowed_origins=["https://page.example"]))
    status, _ = await Browser(side, origin=origin, host=host).mint()
    assert status == (200 if allowed else 403)


async def test_any_origin_if_told_so() -> None:
    side = Side(GuestIdentify(allowed_origins=["*"]))
    assert (await Browser(side, origin="https://evil.example", host="x").mint())[0] == 200


# Limits


def test_limits_are_what_the_docs_say() -> None:
    assert (MAX_NAMES, MAX_NAMES_PER_GUEST, MAX_NAMES_PER_ADDRESS) == (4096, 5, 256)


async def test_names_per_guest() -> None:
    browser = Browser(guests(Clock()))
    for number in range(MAX_NAMES_PER_GUEST):
        assert await browser.mint(f"n{number}") == (200, f"n{number}")
    assert await browser.mint("one more") == (429, "too many names")
    assert await browser.mint("n0") == (200, "n0")
    assert await browser.mint() == (200, "n0")


async def test_names_per_address() -> None:
    clock = Clock()
    side = guests(clock)
    for _ in range(MAX_NAMES_PER_ADDRESS):
        assert (await Browser(side).mint())[0] == 200
    assert await Browser(side).mint() == (429, "too many guests from one address")
    assert (await Browser(side, remote="192.0.2.2").mint())[0] == 200
    clock.elapsed = GUEST_LEASE
    assert await Browser(side).mint() == (200, DEFAULT_NAME)


def test_names_altogether() -> None:
    names = GuestNames(10, max_names=3)
    for number in range(3):
        names.take(f"u{number}", "Ann", f"{number}", 0)
    with pytest.raises(IdentityRefused, match="too many guests"):
        names.take("u3", "Bob", "3", 0)
    assert not names.confirm("u3", "Bob", 0)
    assert names.confirm("u2", "Ann 3", 9)
    assert names.take("u3", "Bob", "3", 10) == "Bob"


# Names


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("Ann", "Ann"),
        ("  Ann B.  ", "Ann B."),
        ("e\u0301", "\u00e9"),
        ("\u0958", "\u0915\u093c"),  # NFC takes this one apart
        ("x" * MAX_NAME_CHARS, "x" * MAX_NAME_CHARS),
        ("\U0001f47e" * 20, "\U0001f47e" * 20),
        ("\u2764\ufe0f", "\u2764\ufe0f"),
        ("<b>&", "<b>&"),
    ],
)
def test_clean_names(name: str, clean: str) -> None:
    assert clean_name_untrusted(name) == clean


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("", "1 to 20"),
        ("   ", "1 to 20"),
        ("x" * 21, "1 to 20"),
        ("\u0958" * 11, "1 to 20"),  # 22 in NFC
        ("x" * 10_000, "1 to 20"),
        ("a\x00b", "invalid"),
        ("a\nb", "invalid"),
        ("a\u2028b", "invalid"),
        ("a\u202eb", "invalid"),
        ("a\u2066b", "invalid"),
        ("a\u200bb", "invalid"),
        ("a\u200db", "invalid"),
        ("\ufeffa", "invalid"),
        ("a\ud800", "invalid"),
        ("\ue000", "invalid"),
        ("\u0378", "invalid"),
        ("\u3164", "invalid"),
        ("\u2800", "invalid"),
        (5, "string"),
        (["Ann"], "string"),
        (True, "string"),
    ],
)
async def test_bad_names(name: object, detail: str) -> None:
    with pytest.raises(IdentityRefused, match=detail) as caught:
        clean_name_untrusted(name)
    assert caught.value.status == 400


async def test_bad_name_over_the_api() -> None:
    assert await Browser(guests(Clock())).mint("a\u202eb") == (400, "name contains invalid characters")
    assert (await Browser(guests(Clock())).mint(5))[0] == 400


@pytest.mark.parametrize(
    "other", ["ann", "ANN", "\uff21nn", " Ann", "Ann\u3164", "A\ufe0fnn", "\U0001d400nn"]
)
def test_names_that_look_the_same(other: str) -> None:
    assert name_key(other) == name_key("Ann")


def test_numbers_fit_into_the_limit() -> None:
    names = GuestNames()
    long = "x" * MAX_NAME_CHARS
    taken = [names.take(f"u{number}", long, "", 0) for number in range(12)]
    assert taken[1] == "x" * (MAX_NAME_CHARS - 2) + " 2"
    assert taken[11] == "x" * (MAX_NAME_CHARS - 3) + " 12"
    assert len(set(taken)) == 12
    assert names.take("v", "y" * 17 + " zz", "", 0) == "y" * 17 + " zz"
    assert names.take("w", "y" * 17 + " zz", "", 0) == "y" * 17 + " 2"

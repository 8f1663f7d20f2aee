"""What is announced when nobody says what: addresses of this machine that somebody else can reach. And which
URLs nobody else can."""

from __future__ import annotations

from collections.abc import Sequence

import ifaddr
import pytest

from sfu.addresses import MAX_ANNOUNCED, announced_addresses, is_loopback_url


def adapters(monkeypatch: pytest.MonkeyPatch, *addresses: str | tuple[str, int, int]) -> None:
    """Have the machine own these addresses: IPv4 as text, IPv6 as the library's tuples."""
    ips = [ifaddr.IP(address, 24, "eth0") for address in addresses]

    def get_adapters() -> Sequence[ifaddr.Adapter]:
        return [ifaddr.Adapter("eth0", "eth0", ips)]

    monkeypatch.setattr(ifaddr, "get_adapters", get_adapters)


@pytest.mark.contract("D71")
@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_a_wildcard_is_never_announced(monkeypatch: pytest.MonkeyPatch, wildcard: str) -> None:
    adapters(monkeypatch, "127.0.0.1", "169.254.3.4", "192.0.2.7", "0.0.0.0", "10.1.2.3", "192.0.2.7")
    assert announced_addresses((), wildcard, loopback=False) == ("192.0.2.7", "10.1.2.3")
    assert announced_addresses((), wildcard, loopback=True) == ("192.0.2.7", "10.1.2.3", "127.0.0.1")


@pytest.mark.contract("D71")
def test_this_very_machine_has_something_to_announce() -> None:
    found = announced_addresses((), "0.0.0.0", loopback=False)
    assert found
    assert "0.0.0.0" not in found


def test_a_machine_without_a_network_can_still_talk_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters(monkeypatch, "127.0.0.1", ("fe80::1", 0, 1))
    assert announced_addresses((), "0.0.0.0", loopback=False) == ("127.0.0.1",)


def test_what_is_configured_or_bound_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters(monkeypatch, "192.0.2.7")
    assert announced_addresses(("sfu.example", "198.51.100.1"), "0.0.0.0", loopback=True) == (
        "sfu.example",
        "198.51.100.1",
    )
    assert announced_addresses((), "10.9.8.7", loopback=True) == ("10.9.8.7",)


def test_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters(monkeypatch, *(f"192.0.2.{n}" for n in range(1, 20)))
    assert len(announced_addresses((), "0.0.0.0", loopback=False)) == MAX_ANNOUNCED


@pytest.mark.contract("D89")
@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:3001", True),
        ("http://sfu.localhost", True),
        ("https://127.0.0.1/x", True),
        ("http://[::1]:3001", True),
        ("http://192.0.2.1:3001", False),
        ("https://play.example", False),
        ("http://[bad", False),
        ("", False),
    ],
)
def test_which_urls_lead_every_machine_to_itself(url: str, local: bool) -> None:
    assert is_loopback_url(url) is local

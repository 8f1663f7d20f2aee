"""What is announced: what is configured, names included, or addresses of this machine that somebody else can
reach."""

from __future__ import annotations

from collections.abc import Sequence

import ifaddr
import pytest
import structlog.testing
import trio
from trio.testing import MockClock

from sfu.addresses import MAX_ANNOUNCED
from sfu.announced import LOOKUP_INTERVAL, LOOKUP_TIMEOUT, AddressError, AnnouncedAddresses, look_up


def adapters(monkeypatch: pytest.MonkeyPatch, *addresses: str | tuple[str, int, int]) -> None:
    """Have the machine own these addresses: IPv4 as text, IPv6 as the library's tuples."""
    ips = [ifaddr.IP(address, 24, "eth0") for address in addresses]

    def get_adapters() -> Sequence[ifaddr.Adapter]:
        return [ifaddr.Adapter("eth0", "eth0", ips)]

    monkeypatch.setattr(ifaddr, "get_adapters", get_adapters)


async def announced(configured: tuple[str, ...], listen_ip: str, *, loopback: bool) -> tuple[str, ...]:
    addresses = AnnouncedAddresses(configured, listen_ip, loopback=loopback)
    await addresses.resolve()
    return addresses.current


class Resolver:
    """A DNS whose records the test changes."""

    def __init__(self, **records: list[str]) -> None:
        self.records = records
        self.answers = True

    async def look_up(self, name: str) -> list[str]:
        if not self.answers:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        if name not in self.records:
            raise OSError(-2, "Name or service not known")
        return self.records[name]

    def addresses(self, *configured: str, listen_ip: str = "::") -> AnnouncedAddresses:
        return AnnouncedAddresses(configured, listen_ip, loopback=False, look_up=self.look_up)


@pytest.mark.contract("D71")
@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
async def test_a_wildcard_is_never_announced(monkeypatch: pytest.MonkeyPatch, wildcard: str) -> None:
    adapters(monkeypatch, "127.0.0.1", "169.254.3.4", "192.0.2.7", "0.0.0.0", "10.1.2.3", "192.0.2.7")
    assert await announced((), wildcard, loopback=False) == ("192.0.2.7", "10.1.2.3")
    assert await announced((), wildcard, loopback=True) == ("192.0.2.7", "10.1.2.3", "127.0.0.1")


@pytest.mark.contract("D71")
async def test_this_very_machine_has_something_to_announce() -> None:
    found = await announced((), "0.0.0.0", loopback=False)
    assert found
    assert "0.0.0.0" not in found


async def test_a_machine_without_a_network_can_still_talk_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters(monkeypatch, "127.0.0.1", ("fe80::1", 0, 1), ("::1", 0, 0))
    assert await announced((), "::", loopback=False) == ("127.0.0.1",)


async def test_ipv6_follows_ipv4_where_it_is_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters(monkeypatch, ("2001:db8::7", 0, 0), ("fe80::1", 0, 2), "192.0.2.7", ("fd00::7", 0, 0))
    assert await announced((), "::", loopback=False) == ("192.0.2.7", "2001:db8::7", "fd00::7")
    assert await announced((), "0.0.0.0", loopback=False) == ("192.0.2.7",)


async def test_what_is_configured_or_bound_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters(monkeypatch, "192.0.2.7")
    configured = ("198.51.100.2", "2001:db8::1", "198.51.100.1")
    assert await announced(configured, "0.0.0.0", loopback=True) == configured
    assert await announced((), "10.9.8.7", loopback=True) == ("10.9.8.7",)


async def test_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"192.0.2.{n}" for n in range(1, 20)]
    adapters(monkeypatch, *many)
    for configured in ((), tuple(many)):
        for loopback in (False, True):
            assert len(await announced(configured, "0.0.0.0", loopback=loopback)) <= MAX_ANNOUNCED
    assert len(await announced((), "0.0.0.0", loopback=True)) == MAX_ANNOUNCED


async def test_names_stand_for_their_addresses_where_they_are_given() -> None:
    resolver = Resolver(home=["203.0.113.9", "2001:db8::9", "203.0.113.4", "203.0.113.9", "fe80::1%eth0"])
    addresses = resolver.addresses("192.0.2.1", "home", "203.0.113.4", "192.0.2.2")
    await addresses.resolve()
    assert addresses.current == ("192.0.2.1", "203.0.113.4", "203.0.113.9", "2001:db8::9", "192.0.2.2")
    ipv4 = resolver.addresses("home", listen_ip="0.0.0.0")
    await ipv4.resolve()
    assert ipv4.current == ("203.0.113.4", "203.0.113.9")


async def test_the_real_resolver() -> None:
    assert "127.0.0.1" in await look_up("localhost")
    assert await announced(("localhost",), "0.0.0.0", loopback=False) == ("127.0.0.1",)


async def test_a_name_means_this_machine_only_if_it_means_nothing_else() -> None:
    resolver = Resolver(debian=["127.0.1.1", "192.0.2.7"])
    addresses = resolver.addresses("debian")
    await addresses.resolve()
    assert addresses.current == ("192.0.2.7",)


@pytest.mark.parametrize(
    ("resolver", "reason"),
    [
        (Resolver(), "Name or service not known"),
        (Resolver(home=["2001:db8::9", "0.0.0.0"]), "no address that the media sockets listen on"),
    ],
)
async def test_without_any_address_the_start_fails_and_says_why(resolver: Resolver, reason: str) -> None:
    with pytest.raises(AddressError) as error:
        await resolver.addresses("home", listen_ip="0.0.0.0").resolve()
    assert f"home ({reason})" in str(error.value)
    assert "ANNOUNCED_IP" in str(error.value)


async def test_a_dns_that_does_not_answer_holds_the_start_up_only_so_long(autojump_clock: MockClock) -> None:
    resolver = Resolver()
    resolver.answers = False
    began = trio.current_time()
    with pytest.raises(AddressError, match="no answer from DNS"):
        await resolver.addresses("home", "away").resolve()
    assert trio.current_time() - began == LOOKUP_TIMEOUT


async def test_a_name_without_address_is_told_once_while_others_remain(autojump_clock: MockClock) -> None:
    resolver = Resolver()
    addresses = resolver.addresses("home", "192.0.2.1")
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            await addresses.resolve()
            assert addresses.current == ("192.0.2.1",)
        resolver.records["home"] = ["203.0.113.9"]
        await addresses.resolve()
        assert addresses.current == ("203.0.113.9", "192.0.2.1")
        del resolver.records["home"]
        for _ in range(3):
            await addresses.resolve()
            assert addresses.current == ("203.0.113.9", "192.0.2.1"), "the last known one may well be right"
    assert [log["event"] for log in logs] == ["announced host name has no address"] * 2


async def test_a_change_of_address_is_passed_on_and_an_outage_of_dns_is_none(
    autojump_clock: MockClock,
) -> None:
    resolver = Resolver(home=["203.0.113.9"])
    addresses = resolver.addresses("home")
    await addresses.resolve()
    told: list[tuple[float, tuple[str, ...]]] = []

    async def changed(current: tuple[str, ...]) -> None:
        await trio.lowlevel.checkpoint()
        told.append((trio.current_time(), current))

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(addresses.follow, changed)
        await trio.sleep(LOOKUP_INTERVAL * 1.5)
        resolver.records["home"] = ["203.0.113.44"]
        await trio.sleep(LOOKUP_INTERVAL)
        resolver.records.clear()
        await trio.sleep(LOOKUP_INTERVAL * 3)
        nursery.cancel_scope.cancel()
    assert told == [(began + 2 * LOOKUP_INTERVAL, ("203.0.113.44",))]


async def test_without_names_there_is_nothing_to_follow() -> None:
    async def changed(_: tuple[str, ...]) -> None:
        raise AssertionError

    await Resolver().addresses("192.0.2.1").follow(changed)

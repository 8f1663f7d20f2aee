"""The candidates of TransportInfo, key for key."""

from __future__ import annotations

import pytest

from sfu.ice.candidate import candidate_priority, host_candidates, tcp_candidate, udp_candidate


def test_udp() -> None:
    value = udp_candidate("sfu.example.org", 20000).to_json()
    assert value == {
        "foundation": "udpcandidate",
        "priority": 1076558079,
        "ip": "sfu.example.org",
        "address": "sfu.example.org",
        "protocol": "udp",
        "port": 20000,
        "type": "host",
    }
    assert list(value) == ["foundation", "priority", "ip", "address", "protocol", "port", "type"]


def test_tcp() -> None:
    value = tcp_candidate("192.0.2.1", 20001).to_json()
    assert value == {
        "foundation": "tcpcandidate",
        "priority": 1076276479,
        "ip": "192.0.2.1",
        "address": "192.0.2.1",
        "protocol": "tcp",
        "port": 20001,
        "type": "host",
        "tcpType": "passive",
    }


def test_several_addresses_are_preferred_as_given_and_udp_before_tcp() -> None:
    addresses = [f"192.0.2.{n}" for n in range(8)]
    candidates = host_candidates(addresses, 20000, 20001)
    assert [(c.address, c.protocol, c.port) for c in candidates] == [
        *((address, "udp", 20000) for address in addresses),
        *((address, "tcp", 20001) for address in addresses),
    ]
    priorities = [c.priority for c in candidates]
    assert priorities == sorted(set(priorities), reverse=True)
    assert len({c.foundation for c in candidates}) == len(candidates)  # RFC 8445 5.1.1.3
    assert all(1 <= len(c.foundation) <= 32 and c.foundation.isalnum() for c in candidates)
    assert (candidates[0], candidates[8]) == (
        udp_candidate(addresses[0], 20000),
        tcp_candidate(addresses[0], 20001),
    )


def test_no_tcp() -> None:
    assert host_candidates(["192.0.2.1"], 20000, None) == [udp_candidate("192.0.2.1", 20000)]


@pytest.mark.parametrize(
    ("type_preference", "local_preference", "component", "priority"),
    [
        (126, 65535, 1, 2130706431),  # the usual host candidate of others
        (100, 65535, 2, 1694498814),
        (0, 0, 256, 0),
    ],
)
def test_priority(type_preference: int, local_preference: int, component: int, priority: int) -> None:
    assert candidate_priority(type_preference, local_preference, component) == priority


@pytest.mark.parametrize(
    "values", [(-1, 0, 1), (127, 0, 1), (0, -1, 1), (0, 65536, 1), (0, 0, 0), (0, 0, 257)]
)
def test_priority_out_of_range(values: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError):
        candidate_priority(*values)

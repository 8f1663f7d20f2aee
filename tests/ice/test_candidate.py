"""The candidates of TransportInfo, key for key."""

from __future__ import annotations

import pytest

from sfu.ice.candidate import candidate_priority, tcp_candidate, udp_candidate


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

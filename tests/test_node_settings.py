"""Settings reach whoever they are for."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from sfu.config import Settings, load
from sfu.node import app_settings, signaling_settings, worker_configurations
from sfu.rooms.limits import RoomLimits
from sfu.signaling.app_settings import AppSettings
from sfu.signaling.layer_policy import LayerPolicy
from sfu.signaling.limits import SignalingLimits
from sfu.signaling.settings import SignalingSettings
from sfu.worker.limits import IceTcpLimits
from tests.config.reading import ALONE

ANNOUNCED = ("192.0.2.7", "2001:db8::7")


def alone(**environ: str) -> Settings:
    return load({**ALONE, **environ}, cpus=4).settings


def test_defaults_of_the_transport_are_the_defaults() -> None:
    settings = alone()
    expected = replace(SignalingSettings(), trusted_proxies=settings.trusted_proxies)
    assert signaling_settings(settings) == expected


def test_the_transport_gets_its_settings() -> None:
    settings = alone(
        SFU_SOCKET_PATH="/netplay/",
        NODE_ID="one",
        SFU_PING_INTERVAL_SECONDS="5",
        SFU_PING_TIMEOUT_SECONDS="4",
        SFU_CONNECT_TIMEOUT_SECONDS="3",
        SFU_MAX_PAYLOAD_BYTES="100000",
        SFU_TRUSTED_PROXIES="10.0.0.2",
        SFU_LIMIT_MAX_SESSIONS="7",
        SFU_LIMIT_MAX_CONNECTIONS_PER_REMOTE="9",
    )
    assert signaling_settings(settings) == SignalingSettings(
        path="/netplay/",
        sid_prefix="one.",
        ping_interval=5,
        ping_timeout=4,
        connect_timeout=3,
        max_payload=100_000,
        trusted_proxies=settings.trusted_proxies,
        max_sessions=7,
        max_connections_per_remote=9,
    )


def test_defaults_of_the_application_are_the_defaults() -> None:
    settings = alone(SFU_STUN_SERVERS=",")
    given = app_settings(settings, ANNOUNCED)
    default = AppSettings(public_url=given.public_url, node_id=given.node_id, announced_ip=ANNOUNCED[0])
    assert given == default


def test_the_application_gets_its_settings() -> None:
    settings = alone(
        PUBLIC_URL="https://one.example",
        NODE_ID="one",
        ANNOUNCED_IP="192.0.2.1,192.0.2.2",
        STUN_SERVERS="a",
        SFU_ALLOW_AUTH_TAKEOVER="0",
        SFU_AUTH_TAKEOVER_GRACE_SECONDS="7",
        SFU_REQUIRE_WRITE_TOKEN="connect",
        SFU_ROOM_REDIRECT="0",
        SFU_DEBUG_ROUTES="1",
        SFU_LIST_OWN_PRODUCERS="1",
        SFU_LIMIT_CHATS_BURST="3",
        SFU_LIMIT_CHAT_LENGTH="8",
        SFU_EXPECT_VP9_SVC_MODE="L1T2",
        SFU_ENFORCE_VP9_SVC_MODE="1",
        SFU_ENFORCE_2_LAYER_SIMULCAST="1",
        ROOM_REGISTRY_TTL_SECONDS="20",
    )
    given = app_settings(settings, ANNOUNCED)
    assert given == AppSettings(
        public_url="https://one.example",
        node_id="one",
        ice_servers=({"urls": "stun:a"},),
        announced_ip="192.0.2.1",
        allow_takeover=False,
        takeover_grace=7.0,
        require_write_token="connect",
        room_redirect=False,
        debug_routes=True,
        list_own_producers=True,
        limits=SignalingLimits(chats_burst=3),
        room_limits=RoomLimits(chat_length=8),
        layer_policy=LayerPolicy(expected_vp9_mode="L1T2", enforce_vp9_mode=True, enforce_two_layers=True),
        registry_refresh=10.0,
    )
    default = AppSettings(public_url="", node_id="")
    same = {
        field.name
        for field in fields(AppSettings)
        if getattr(given, field.name) == getattr(default, field.name)
    }
    assert same == {"shutdown_timeout"}, "what else is there to set?"


@pytest.mark.parametrize("binary", [True, False])
def test_workers_get_their_settings(binary: bool) -> None:
    settings = alone(
        SFU_WORKER_COUNT="2",
        LISTEN_IP="192.0.2.3",
        WEBRTC_UDP_PORT="30000",
        WEBRTC_TCP_PORT="40000",
        SFU_VIDEO_CODECS="VP8",
        SFU_REQUIRE_BINARY_DATA_CHANNEL=str(int(binary)),
        SFU_LIMIT_ICE_TCP_CONNECTIONS="70",
        SFU_LIMIT_ICE_TCP_CONNECTIONS_PER_ADDRESS="7",
    )
    configurations = worker_configurations(settings, ANNOUNCED)
    assert [(each.port, each.tcp_port) for each in configurations] == [(30000, 40000), (30001, 40001)]
    for each in configurations:
        assert (each.listen_ip, each.announced, each.video_codecs) == ("192.0.2.3", ANNOUNCED, ("VP8",))
        assert each.require_binary_data_channel is binary
        assert each.ice_tcp_limits == IceTcpLimits(70, 7)


def test_no_tcp() -> None:
    [configuration] = worker_configurations(alone(SFU_WORKER_COUNT="1", ENABLE_WEBRTC_TCP="0"), ANNOUNCED)
    assert configuration.tcp_port is None

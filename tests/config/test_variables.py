"""The table of ``signaling.md`` 8, row by row: names in order, default, how the text is read."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sfu.config import Settings, load
from sfu.config.settings import PRIVATE_NETWORKS, SOURCES
from sfu.romm.tokens import MIN_KEY_BYTES, READ_TOKEN_TTL, WRITE_TOKEN_TTL
from sfu.signaling.settings import SignalingSettings
from tests.config.reading import ALONE, CPUS, KEY, ROMM, alone, problems, settings, warnings

ANYTHING = object()

ROWS: list[tuple[tuple[str, ...], Any, dict[str, Any]]] = [
    # 8.1
    (
        ("ROMM_API_BASE_URL", "ROMM_BASE_URL", "ROMM_URL"),
        None,
        {"http://a:1/b/": "http://a:1/b", " https://a ": "https://a"},
    ),
    # 8.2
    (("PORT",), 3001, {"4000": 4000, " 4000 ": 4000, "4000x": 4000}),
    (("PUBLIC_URL",), "http://localhost:3001", {"https://a/b": "https://a/b", "anything": "anything"}),
    (("NODE_ID",), ANYTHING, {"one": "one"}),
    (("ROOM_REGISTRY_TTL_SECONDS",), 60, {"10": 10, "10.5s": 10}),
    # 8.3
    (("USE_WEBRTC_SERVER",), True, {"0": False, "1": True, "x": True}),
    (("LISTEN_IP",), "::", {"192.0.2.1": "192.0.2.1", "0.0.0.0": "0.0.0.0"}),
    (("ANNOUNCED_IP",), (), {"192.0.2.1": ("192.0.2.1",), "sfu.example": ("sfu.example",)}),
    (("WEBRTC_PORT",), 20000, {"30000": 30000}),
    (("WEBRTC_UDP_PORT",), 20000, {"30000": 30000}),
    (("WEBRTC_TCP_PORT",), 20000, {"30000": 30000}),
    (("ENABLE_WEBRTC_TCP",), True, {"0": False, "1": True, "x": True}),
    # 8.5
    (("SFU_ALLOW_AUTH_TAKEOVER",), True, {"0": False, "1": True, "x": True}),
    (("SFU_AUTH_TAKEOVER_GRACE_SECONDS",), 30, {"0": 0, " 45 ": 45, "-5": 30, "x": 30, "4.5": 30}),
    # 8.6; as many workers as processors by architecture.md 7, rule 16
    (("SFU_WORKER_COUNT",), CPUS, {"3": 3, "0": 1, "-2": 1, "x": 1, "9": CPUS, "auto": CPUS}),
    (("SFU_FANOUT_ENABLED",), False, {"1": True, "0": False, "x": False}),
    (("SFU_FANOUT_VIEWER_THRESHOLD",), 500, {"7": 7, "7x": 7}),
    (("SFU_EXPECT_VP9_SVC_MODE",), None, {"l1t2": "L1T2"}),
    (("SFU_ENFORCE_VP9_SVC_MODE",), False, {"1": True, "x": False}),
    (("SFU_ENFORCE_2_LAYER_SIMULCAST",), False, {"1": True, "x": False}),
    (("SFU_REQUIRE_BINARY_DATA_CHANNEL",), True, {"0": False, "x": True}),
    (("SFU_LIST_OWN_PRODUCERS",), False, {"1": True, "x": False}),
    (
        ("LOG_LEVEL",),
        "warn",
        {"debug": "debug", "INFO": "info", "Error": "error", "silent": "silent", "loud": "warn"},
    ),
    (("SFU_DEBUG_STATS",), False, {"1": True, "x": False}),
    # Our own
    (("SFU_STANDALONE",), False, {"1": True, "x": False}),
    (("SFU_READ_TOKEN_TTL_SECONDS",), READ_TOKEN_TTL, {"60": 60}),
    (("SFU_WRITE_TOKEN_TTL_SECONDS",), WRITE_TOKEN_TTL, {"60": 60}),
    (("SFU_ALLOWED_ORIGINS",), (), {"*": ("*",), "https://a, http://b:1": ("https://a", "http://b:1")}),
    (("HTTP_LISTEN_IP",), "0.0.0.0", {"localhost": "127.0.0.1", "::1": "::1"}),
    (("SFU_SOCKET_PATH",), "/socket.io/", {"a": "/a/", "/a/b.c/": "/a/b.c/"}),
    (("SFU_TRUSTED_PROXIES",), PRIVATE_NETWORKS, {"none": (), "NONE": ()}),
    (("SFU_PING_INTERVAL_SECONDS",), 25.0, {"5": 5.0, "0.5": 0.5}),
    (("SFU_PING_TIMEOUT_SECONDS",), 20.0, {"5": 5.0, "0.5": 0.5}),
    (("SFU_CONNECT_TIMEOUT_SECONDS",), 45.0, {"5": 5.0, "0.5": 0.5}),
    (("SFU_MAX_PAYLOAD_BYTES",), 1_000_000, {"100000": 100_000}),
    (("SFU_ROOM_REDIRECT",), True, {"0": False, "x": True}),
    (
        ("SFU_VIDEO_CODECS",),
        ("VP9", "H264", "VP8", "AV1"),
        {"vp8": ("VP8",), "AV1, vp9 av1": ("AV1", "VP9"), "H264": ("H264",)},
    ),
    (
        ("SFU_REQUIRE_WRITE_TOKEN",),
        "off",
        {"0": "off", "no": "off", "1": "room", "Room": "room", "CONNECT": "connect"},
    ),
    (("SFU_DEBUG_ROUTES",), False, {"1": True, "x": False}),
]
"""Names, default, and values by text."""

SECRETS = {"ROMM_SFU_INTERNAL_SECRET", "ROMM_AUTH_SECRET_KEY"}
"""Required, or kept apart: they have tests of their own."""


def field_of(variable: str) -> str:
    """The setting that a variable belongs to."""
    (name,) = [name for name, source in SOURCES.items() if variable in source.names]
    return name


def test_the_table_is_complete() -> None:
    names = [name for row in ROWS for name in row[0]]
    assert sorted([*names, *SECRETS]) == sorted(name for source in SOURCES.values() for name in source.names)


@pytest.mark.parametrize(("names", "default", "values"), ROWS, ids=[row[0][0] for row in ROWS])
def test_row(names: tuple[str, ...], default: Any, values: dict[str, Any]) -> None:
    field = field_of(names[0])
    assert SOURCES[field].names == names
    # A base without the setting itself; RomM's address has to be given where RomM is not what is looked at.
    base = ALONE if "ROMM_URL" in names else ROMM
    for text in ("", "  "):
        value = getattr(load({**base, names[0]: text}, cpus=CPUS).settings, field)
        assert default is ANYTHING or value == default
    for text, expected in values.items():
        for name in names:
            loaded = load({**base, name: text}, cpus=CPUS)
            assert getattr(loaded.settings, field) == expected
            assert loaded.origins[field] == name


def test_aliases_first_that_is_not_blank() -> None:
    secret = {"ROMM_SFU_INTERNAL_SECRET": "s"}
    every = {"ROMM_API_BASE_URL": "http://a", "ROMM_BASE_URL": "http://b", "ROMM_URL": "http://c"}
    for left_out, address in ((0, "http://a"), (1, "http://b"), (2, "http://c")):
        blank = dict.fromkeys(list(every)[:left_out], " ")
        assert load({**secret, **every, **blank}).settings.romm_api_base_url == address


def test_node_id_is_random() -> None:
    values = settings()
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", values.node_id
    )
    assert values.node_id != settings().node_id


@pytest.mark.parametrize(
    ("node_id", "prefix"), [("a", "a."), ("node-1_b.c", "node-1_b.c."), ("", ""), ("a/b", ""), ("ä", "")]
)
def test_session_ids_begin_with_a_name_that_was_given(node_id: str, prefix: str) -> None:
    assert settings(NODE_ID=node_id).sid_prefix == prefix
    assert any(warning.startswith("NODE_ID: ") for warning in warnings(NODE_ID=node_id)) != bool(prefix)


def test_defaults_of_ice_and_transport() -> None:
    values = settings()
    assert [server.urls for server in values.ice_servers] == ["stun:stun.l.google.com:19302"]
    assert values.transport_limits == SignalingSettings()


def test_derived_defaults() -> None:
    assert settings(PORT="4000").public_url == "http://localhost:4000"
    values = settings(WEBRTC_PORT="30000", WEBRTC_TCP_PORT="40000")
    assert (values.webrtc_udp_port, values.webrtc_tcp_port) == (30000, 40000)
    assert alone().http_listen_ip == "127.0.0.1"
    assert alone(HTTP_LISTEN_IP="0.0.0.0").http_listen_ip == "0.0.0.0"


def test_trusted_proxies() -> None:
    networks = settings(SFU_TRUSTED_PROXIES="127.0.0.1, 10.1.0.0/16 fd00::/8").trusted_proxies
    assert list(map(str, networks)) == ["127.0.0.1/32", "10.1.0.0/16", "fd00::/8"]
    assert all(network.is_private for network in PRIVATE_NETWORKS)


def test_announced_ip() -> None:
    values = settings(ANNOUNCED_IP="192.0.2.1, 2001:db8::1 sfu.example 192.0.2.1")
    assert values.announced_ips == ("192.0.2.1", "2001:db8::1", "sfu.example")
    assert values.announced_ip == "192.0.2.1"
    assert settings(ANNOUNCED_IP=",").announced_ip is None


@pytest.mark.contract("D91")
@pytest.mark.parametrize(("ttl", "refresh"), [(1, 5), (10, 5), (30, 15), (60, 25), (600, 25)])
def test_registry_refresh(ttl: int, refresh: float) -> None:
    assert settings(ROOM_REGISTRY_TTL_SECONDS=str(ttl)).registry_refresh_seconds == refresh


# Secrets


def test_without_standalone_romm_is_required() -> None:
    hint = "or use --standalone to run without RomM"
    assert problems({}) == [
        f"ROMM_API_BASE_URL is not set: give RomM's address, like http://romm:8080, {hint}",
        f"ROMM_SFU_INTERNAL_SECRET is not set: give the same one as to RomM, {hint}",
    ]
    assert len(problems({"ROMM_URL": "http://romm", "ROMM_SFU_INTERNAL_SECRET": "  "})) == 1


def test_standalone_needs_nothing() -> None:
    first, second = alone(), alone()
    assert first.romm_auth_secret_key is not None
    assert len(first.romm_auth_secret_key.get_secret_value()) >= MIN_KEY_BYTES
    assert first.romm_auth_secret_key != second.romm_auth_secret_key


def test_standalone_signing_key() -> None:
    key = alone(ROMM_AUTH_SECRET_KEY=KEY).romm_auth_secret_key
    assert key is not None
    assert key.get_secret_value() == KEY
    assert (
        "at least 32 characters" in problems({**ALONE, "ROMM_AUTH_SECRET_KEY": KEY[: MIN_KEY_BYTES - 1]})[0]
    )
    same = {**ALONE, "ROMM_AUTH_SECRET_KEY": KEY, "ROMM_SFU_INTERNAL_SECRET": KEY}
    assert problems(same) == ["ROMM_AUTH_SECRET_KEY and ROMM_SFU_INTERNAL_SECRET must differ"]


def test_the_signing_key_is_not_kept_behind_romm() -> None:
    loaded = load({**ROMM, "ROMM_AUTH_SECRET_KEY": KEY})
    assert loaded.settings.romm_auth_secret_key is None
    assert "romm_auth_secret_key" not in loaded.origins
    assert any(warning.startswith("ROMM_AUTH_SECRET_KEY: not used") for warning in loaded.warnings)


# Switches and numbers

ON = [names[0] for names, default, _ in ROWS if default is True]
OFF = [names[0] for names, default, _ in ROWS if default is False]


@pytest.mark.parametrize("variable", ON + OFF)
def test_switches_mean_what_they_say(variable: str) -> None:
    texts = {"0": False, "false": False, "No": False, "OFF": False}
    texts |= {"1": True, "true": True, "Yes": True, "on": True}
    for text, on in texts.items():
        assert getattr(settings(**{variable: text}), field_of(variable)) is on
        assert not any("taken as" in warning for warning in warnings(**{variable: text}))


@pytest.mark.parametrize("text", ["maybe", "2", "00", "enabled"])
def test_switches_that_say_something_else(text: str) -> None:
    for variables, value in ((ON, True), (OFF, False)):
        for variable in variables:
            assert getattr(settings(**{variable: text}), field_of(variable)) is value
            assert f"{variable}: is neither 0 nor 1, taken as {int(value)}" in warnings(**{variable: text})


@pytest.mark.parametrize(
    ("text", "number"), [("12", 12), ("12x", 12), ("+12", 12), ("12.9", 12), ("0012", 12)]
)
def test_leading_number(text: str, number: int) -> None:
    assert settings(SFU_FANOUT_VIEWER_THRESHOLD=text).fanout_viewer_threshold == number
    expected = [] if text in ("12", "+12", "0012") else ["SFU_FANOUT_VIEWER_THRESHOLD: taken as 12"]
    assert warnings(SFU_FANOUT_VIEWER_THRESHOLD=text) == expected


@pytest.mark.parametrize(
    ("variable", "limits"),
    [
        ("PORT", "from 1 to 65535"),
        ("WEBRTC_PORT", "from 1 to 65535"),
        ("WEBRTC_UDP_PORT", "from 1 to 65535"),
        ("WEBRTC_TCP_PORT", "from 1 to 65535"),
        ("ROOM_REGISTRY_TTL_SECONDS", "from 1 to 86400"),
        ("SFU_FANOUT_VIEWER_THRESHOLD", "from 1 up"),
        ("SFU_READ_TOKEN_TTL_SECONDS", "from 30 to 2592000"),
        ("SFU_WRITE_TOKEN_TTL_SECONDS", "from 5 to 3600"),
        ("SFU_MAX_PAYLOAD_BYTES", "from 1000 to 100000000"),
    ],
)
@pytest.mark.contract("D6")
def test_whole_numbers_are_checked_at_start(variable: str, limits: str) -> None:
    for text in ("garbage", "x12", "-", "١٢", "0", "-1"):
        assert problems({**ALONE, variable: text}) == [
            f"{variable}={text!r}: must be a whole number {limits}"
        ]
    (problem,) = problems({**ALONE, variable: "9" * 5000})
    assert problem == f"{variable}=(5000 characters): must be a whole number {limits}"
    if "up" not in limits:
        assert problems({**ALONE, variable: "99999999999"})


@pytest.mark.parametrize(
    "variable", ["SFU_PING_INTERVAL_SECONDS", "SFU_PING_TIMEOUT_SECONDS", "SFU_CONNECT_TIMEOUT_SECONDS"]
)
@pytest.mark.contract("D6")
def test_times_are_checked_at_start(variable: str) -> None:
    for text in ("garbage", "5s", "-1", "nan", "inf", "1e3", "0", "0.01", "301", ".5", "5."):
        assert problems({**ALONE, variable: text}) == [
            f"{variable}={text!r}: must be a number from 0.1 to 300"
        ]


@pytest.mark.parametrize("text", ["-5", "x", "4.5", "9" * 30])
@pytest.mark.contract("D6")
def test_takeover_grace_falls_back_with_a_warning(text: str) -> None:
    (warning,) = warnings(SFU_AUTH_TAKEOVER_GRACE_SECONDS=text)
    assert warning.startswith("SFU_AUTH_TAKEOVER_GRACE_SECONDS: ")
    assert "taken as 30" in warning
    assert warnings(SFU_AUTH_TAKEOVER_GRACE_SECONDS="30") == []


@pytest.mark.parametrize(
    ("text", "warned"),
    [("3", 0), ("auto", 0), ("8", 0), ("0", 1), ("-2", 1), ("x", 1), ("9" * 5000, 1), ("9", 1)],
)
@pytest.mark.contract("D6")
def test_workers_fall_back_with_a_warning(text: str, warned: int) -> None:
    assert len(warnings(SFU_WORKER_COUNT=text)) == warned


@pytest.mark.parametrize(("text", "warned"), [("WARN", 0), ("warning", 0), ("loud", 1)])
@pytest.mark.contract("D6")
def test_log_level_falls_back_with_a_warning(text: str, warned: int) -> None:
    assert settings(LOG_LEVEL=text).log_level == "warn"
    assert len(warnings(LOG_LEVEL=text)) == warned


# What cannot be meant


@pytest.mark.parametrize(
    ("variable", "text", "reason"),
    [
        ("HTTP_LISTEN_IP", "example.org", "an IP address of this machine"),
        ("LISTEN_IP", "1.2.3", "an IP address of this machine"),
        ("ANNOUNCED_IP", "0.0.0.0", "browsers can reach"),
        ("ANNOUNCED_IP", "::", "browsers can reach"),
        ("ANNOUNCED_IP", "224.0.0.1", "browsers can reach"),
        ("ANNOUNCED_IP", "1.2.3", "browsers can reach"),
        ("ANNOUNCED_IP", "http://a", "browsers can reach"),
        ("ANNOUNCED_IP", "a:20000", "browsers can reach"),
        ("ROMM_URL", "http://ro\nmm", "printable text"),
        ("ROMM_URL", "romm:8080", "a URL like"),
        ("ROMM_URL", "http://", "a URL like"),
        ("ROMM_URL", "http://romm:99999", "a URL like"),
        ("ROMM_URL", "http://[", "a URL like"),
        ("ROMM_URL", "http://romm?x", "without user name, query"),
        ("SFU_VIDEO_CODECS", "VP8 VP7", "one or more of VP9, H264, VP8, AV1"),
        ("SFU_VIDEO_CODECS", ",", "one or more of VP9, H264, VP8, AV1"),
        ("SFU_REQUIRE_WRITE_TOKEN", "always", "off, room or connect"),
        ("SFU_ALLOWED_ORIGINS", "games.example", "origins like"),
        ("SFU_ALLOWED_ORIGINS", "https://games.example/path", "origins like"),
        ("NODE_ID", "a\nb", "printable text"),
        ("PUBLIC_URL", "http://\udcff", "printable text"),
        ("SFU_EXPECT_VP9_SVC_MODE", "L1\x1bT2", "printable text"),
        ("SFU_TRUSTED_PROXIES", "nginx", "addresses or networks"),
        ("SFU_TRUSTED_PROXIES", "10.0.0.1/8", "addresses or networks"),
        ("SFU_SOCKET_PATH", "/", "a path like /socket.io/"),
        ("SFU_SOCKET_PATH", "/a//b/", "a path like /socket.io/"),
        ("SFU_SOCKET_PATH", "/a?b/", "a path like /socket.io/"),
    ],
)
@pytest.mark.contract("D6")
def test_what_cannot_be_meant(variable: str, text: str, reason: str) -> None:
    (problem,) = problems({**ALONE, variable: text})
    assert problem.startswith(f"{variable}={text!r}: must be ")
    assert reason in problem


@pytest.mark.contract("D6")
def test_a_secret_that_cannot_be_used_is_not_repeated() -> None:
    (problem,) = problems({**ALONE, "ROMM_SFU_INTERNAL_SECRET": "sécret"})
    assert problem.startswith("ROMM_SFU_INTERNAL_SECRET=********: must be printable ASCII")
    (problem,) = problems({**ALONE, "ROMM_URL": "http://ann:sécret@romm"})
    assert problem.startswith("ROMM_URL='http://********@romm': must be a URL without user name")


# Together


def test_ports_must_fit_the_workers() -> None:
    environ = {**ALONE, "SFU_WORKER_COUNT": "4", "WEBRTC_UDP_PORT": "65532"}
    assert load(environ, cpus=CPUS).settings.webrtc_udp_port == 65532
    (problem,) = problems(environ | {"WEBRTC_UDP_PORT": "65533"})
    assert "WEBRTC_UDP_PORT" in problem
    assert "at most 65532" in problem
    assert problems(environ | {"WEBRTC_TCP_PORT": "65533"})
    load(environ | {"WEBRTC_TCP_PORT": "65533", "ENABLE_WEBRTC_TCP": "0"}, cpus=CPUS)


@pytest.mark.parametrize(("port", "collides"), [(19999, False), (20000, True), (20003, True), (20004, False)])
def test_signaling_port_among_the_media_ports(port: int, collides: bool) -> None:
    environ = {**ALONE, "SFU_WORKER_COUNT": "4", "PORT": str(port)}
    if collides:
        assert "PORT" in problems(environ)[0]
        environ["ENABLE_WEBRTC_TCP"] = "0"
    load(environ, cpus=CPUS)


@pytest.mark.parametrize("queue", ["SFU_LIMIT_MAX_PENDING_BYTES", "SFU_LIMIT_MAX_QUEUED_BYTES"])
def test_the_longest_message_must_fit_the_queues(queue: str) -> None:
    alone(SFU_MAX_PAYLOAD_BYTES="2000", **{queue: "2000"})
    assert problems({**ALONE, "SFU_MAX_PAYLOAD_BYTES": "2001", queue: "2000"}) == [
        f"{queue} must be at least SFU_MAX_PAYLOAD_BYTES, which is 2001"
    ]


def test_the_model_itself_is_frozen_and_deaf_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "4321")
    assert Settings(standalone=True).port == 3001

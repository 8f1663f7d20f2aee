"""Settings: every variable, every parsing idiom, every message."""

from __future__ import annotations

import os
import re
from pathlib import Path

import grimp
import pytest
from pydantic import ValidationError

from sfu import config
from sfu.config import ConfigError, Settings, available_cpus, load
from sfu.romm.client import check_base_url
from sfu.romm.tokens import MIN_KEY_BYTES, READ_TOKEN_TTL, WRITE_TOKEN_TTL

ROMM = {"ROMM_API_BASE_URL": "http://romm:8080", "ROMM_SFU_INTERNAL_SECRET": "internal secret"}
ALONE = {"SFU_STANDALONE": "1"}
KEY = "0123456789abcdef0123456789abcdef"


def settings(**environ: str) -> Settings:
    return load({**ROMM, **environ}, cpus=8).settings


def alone(**environ: str) -> Settings:
    return load({**ALONE, **environ}, cpus=8).settings


def warnings(**environ: str) -> list[str]:
    base = {**ROMM, "PUBLIC_URL": "https://sfu.example"}
    return list(load({**base, **environ}, cpus=8).warnings)


def problems(environ: dict[str, str], flags: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(environ, flags, cpus=8)
    return [str(problem) for problem in caught.value.problems]


# Defaults and required ones


def test_defaults() -> None:
    values = settings()
    assert values.http_listen_ip == "0.0.0.0"
    assert values.port == 3001
    assert values.public_url == "http://localhost:3001"
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", values.node_id
    )
    assert values.node_id != settings().node_id
    assert values.room_registry_ttl_seconds == 60
    assert values.use_webrtc_server
    assert values.listen_ip == "0.0.0.0"
    assert values.announced_ips == ()
    assert values.announced_ip is None
    assert (values.webrtc_port, values.webrtc_udp_port, values.webrtc_tcp_port) == (20000, 20000, 20000)
    assert values.enable_webrtc_tcp
    assert values.video_codecs == ("VP9", "H264", "VP8", "AV1")
    assert values.require_write_token == "off"
    assert values.allow_auth_takeover
    assert values.auth_takeover_grace_seconds == 30
    assert values.worker_count == 8
    assert not values.fanout_enabled
    assert values.fanout_viewer_threshold == 500
    assert values.expect_vp9_svc_mode is None
    assert not values.enforce_vp9_svc_mode
    assert not values.enforce_2_layer_simulcast
    assert values.require_binary_data_channel
    assert values.log_level == "warn"
    assert not values.debug_stats
    assert values.romm_auth_secret_key is None
    assert (values.read_token_ttl_seconds, values.write_token_ttl_seconds) == (
        READ_TOKEN_TTL,
        WRITE_TOKEN_TTL,
    )
    assert [server.urls for server in values.ice_servers] == ["stun:stun.l.google.com:19302"]


def test_without_standalone_romm_is_required() -> None:
    hint = "or use --standalone to run without RomM"
    assert problems({}) == [
        f"ROMM_API_BASE_URL is not set: give RomM's address, like http://romm:8080, {hint}",
        f"ROMM_SFU_INTERNAL_SECRET is not set: give the same one as to RomM, {hint}",
    ]
    assert len(problems({"ROMM_URL": "http://romm", "ROMM_SFU_INTERNAL_SECRET": "  "})) == 1


def test_standalone_needs_nothing() -> None:
    first, second = alone(), alone()
    assert first.http_listen_ip == "127.0.0.1"
    assert first.romm_auth_secret_key is not None
    assert len(first.romm_auth_secret_key.get_secret_value()) >= MIN_KEY_BYTES
    assert first.romm_auth_secret_key != second.romm_auth_secret_key
    assert alone(HTTP_LISTEN_IP="0.0.0.0").http_listen_ip == "0.0.0.0"


def test_standalone_signing_key() -> None:
    key = alone(ROMM_AUTH_SECRET_KEY=KEY).romm_auth_secret_key
    assert key is not None
    assert key.get_secret_value() == KEY
    assert "at least 32 characters" in problems({**ALONE, "ROMM_AUTH_SECRET_KEY": KEY[:-1]})[0]
    same = {**ALONE, "ROMM_AUTH_SECRET_KEY": KEY, "ROMM_SFU_INTERNAL_SECRET": KEY}
    assert problems(same) == ["ROMM_AUTH_SECRET_KEY and ROMM_SFU_INTERNAL_SECRET must differ"]
    assert config.MIN_SIGNING_KEY == MIN_KEY_BYTES


def test_the_signing_key_is_not_kept_behind_romm() -> None:
    loaded = load({**ROMM, "ROMM_AUTH_SECRET_KEY": KEY})
    assert loaded.settings.romm_auth_secret_key is None
    assert "romm_auth_secret_key" not in loaded.origins
    assert any(warning.startswith("ROMM_AUTH_SECRET_KEY: not used") for warning in loaded.warnings)


# Where values come from


def test_aliases_first_that_is_not_blank() -> None:
    secret = {"ROMM_SFU_INTERNAL_SECRET": "s"}
    every = {"ROMM_API_BASE_URL": "http://a", "ROMM_BASE_URL": "http://b", "ROMM_URL": "http://c"}
    loaded = load({**secret, **every})
    assert (loaded.settings.romm_api_base_url, loaded.origins["romm_api_base_url"]) == (
        "http://a",
        "ROMM_API_BASE_URL",
    )
    loaded = load({**secret, **every, "ROMM_API_BASE_URL": " ", "ROMM_BASE_URL": ""})
    assert (loaded.settings.romm_api_base_url, loaded.origins["romm_api_base_url"]) == (
        "http://c",
        "ROMM_URL",
    )


def test_blank_is_unset_and_blanks_are_trimmed() -> None:
    assert settings(PORT="").port == 3001
    assert settings(PORT="  ").port == 3001
    assert settings(PORT=" 4000\n").port == 4000
    assert settings(NODE_ID=" a ").node_id == "a"


def test_flags_win() -> None:
    loaded = load({**ROMM, "PORT": "4000"}, {"port": "5000", "standalone": "1"})
    assert (loaded.settings.port, loaded.origins["port"]) == (5000, "--port")
    assert (loaded.settings.standalone, loaded.origins["standalone"]) == (True, "--standalone")
    assert not load({**ROMM, "SFU_STANDALONE": "1"}, {"standalone": "0"}).settings.standalone


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFU_STANDALONE", "1")
    monkeypatch.setenv("PORT", "4321")
    assert load().settings.port == 4321


def test_derived_defaults() -> None:
    assert settings(PORT="4000").public_url == "http://localhost:4000"
    values = settings(WEBRTC_PORT="30000", WEBRTC_TCP_PORT="40000")
    assert (values.webrtc_udp_port, values.webrtc_tcp_port) == (30000, 40000)


def test_secrets_from_files(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(" from a file\n")
    environ = {"ROMM_URL": "http://romm", "ROMM_SFU_INTERNAL_SECRET_FILE": str(path)}
    loaded = load(environ)
    assert loaded.settings.romm_sfu_internal_secret is not None
    assert loaded.settings.romm_sfu_internal_secret.get_secret_value() == "from a file"
    assert loaded.origins["romm_sfu_internal_secret"] == "ROMM_SFU_INTERNAL_SECRET_FILE"
    assert problems({**environ, "ROMM_SFU_INTERNAL_SECRET": "x"}) == [
        "ROMM_SFU_INTERNAL_SECRET: set either this or ROMM_SFU_INTERNAL_SECRET_FILE, not both"
    ]
    path.write_text("\n")
    assert problems(environ) == [f"ROMM_SFU_INTERNAL_SECRET_FILE: {path} is empty"]
    path.write_bytes(b"\xff")
    assert problems(environ) == [f"ROMM_SFU_INTERNAL_SECRET_FILE: cannot read {path}: not a text"]
    path.unlink()
    assert problems(environ) == [
        f"ROMM_SFU_INTERNAL_SECRET_FILE: cannot read {path}: No such file or directory"
    ]


# Idioms

ON = ["USE_WEBRTC_SERVER", "ENABLE_WEBRTC_TCP", "SFU_ALLOW_AUTH_TAKEOVER", "SFU_REQUIRE_BINARY_DATA_CHANNEL"]
OFF = [
    "SFU_FANOUT_ENABLED",
    "SFU_ENFORCE_VP9_SVC_MODE",
    "SFU_ENFORCE_2_LAYER_SIMULCAST",
    "SFU_DEBUG_STATS",
    "SFU_STANDALONE",
]


def field_of(variable: str) -> str:
    (name,) = [name for name, source in config.SOURCES.items() if variable in source.names]
    return name


@pytest.mark.parametrize("variable", ON + OFF)
@pytest.mark.parametrize(
    ("text", "on"),
    [
        ("0", False),
        ("false", False),
        ("No", False),
        ("OFF", False),
        ("1", True),
        ("true", True),
        ("Yes", True),
        ("on", True),
    ],
)
def test_switches(variable: str, text: str, on: bool) -> None:
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
    ],
)
def test_numbers_are_checked_at_start(variable: str, limits: str) -> None:
    for text in ("garbage", "x12", "-", "9" * 5000, "١٢"):
        assert problems({**ALONE, variable: text}) == [f"{variable}: must be a whole number"]
    for text in ("0", "-1", "99999999999"):
        if "up" not in limits or text != "99999999999":
            assert problems({**ALONE, variable: text}) == [f"{variable}: must be a whole number {limits}"]


def test_all_problems_at_once() -> None:
    found = problems({"PORT": "x", "WEBRTC_PORT": "70000", "SFU_VIDEO_CODECS": "VP7", "ROMM_URL": "romm"})
    assert [problem.partition(":")[0] for problem in found] == [
        "ROMM_URL",
        "PORT",
        "SFU_VIDEO_CODECS",
        "WEBRTC_PORT",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), (" 45 ", 45), ("-5", 30), ("x", 30), ("4.5", 30), ("9" * 30, 30)]
)
def test_takeover_grace(text: str, seconds: int) -> None:
    assert settings(SFU_AUTH_TAKEOVER_GRACE_SECONDS=text).auth_takeover_grace_seconds == seconds
    warned = warnings(SFU_AUTH_TAKEOVER_GRACE_SECONDS=text)
    assert bool(warned) == (seconds == 30)


@pytest.mark.parametrize(
    ("text", "workers", "warned"),
    [
        ("3", 3, False),
        ("auto", 8, False),
        ("AUTO", 8, False),
        ("0", 1, True),
        ("-2", 1, True),
        ("x", 1, True),
        ("9" * 5000, 1, True),
        ("8", 8, False),
        ("9", 8, True),
    ],
)
def test_workers(text: str, workers: int, warned: bool) -> None:
    assert settings(SFU_WORKER_COUNT=text).worker_count == workers
    assert bool(warnings(SFU_WORKER_COUNT=text)) == warned


@pytest.mark.parametrize(
    ("text", "level"), [("DEBUG", "debug"), ("Silent", "silent"), ("warning", "warn"), ("loud", "warn")]
)
def test_log_level(text: str, level: str) -> None:
    assert settings(LOG_LEVEL=text).log_level == level
    assert bool(warnings(LOG_LEVEL=text)) == (text == "loud")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("0", "off"), ("no", "off"), ("1", "room"), ("Room", "room"), ("CONNECT", "connect")],
)
def test_require_write_token(text: str, meaning: str) -> None:
    assert settings(SFU_REQUIRE_WRITE_TOKEN=text).require_write_token == meaning


@pytest.mark.parametrize(
    ("text", "codecs"), [("vp8", ("VP8",)), ("AV1, vp9 av1", ("AV1", "VP9")), ("H264", ("H264",))]
)
def test_video_codecs(text: str, codecs: tuple[str, ...]) -> None:
    assert settings(SFU_VIDEO_CODECS=text).video_codecs == codecs


def test_announced_ip() -> None:
    values = settings(ANNOUNCED_IP="192.0.2.1, 2001:db8::1 sfu.example 192.0.2.1")
    assert values.announced_ips == ("192.0.2.1", "2001:db8::1", "sfu.example")
    assert values.announced_ip == "192.0.2.1"
    assert settings(ANNOUNCED_IP=",").announced_ip is None


def test_upper_case_svc_mode() -> None:
    assert settings(SFU_EXPECT_VP9_SVC_MODE="l1t2").expect_vp9_svc_mode == "L1T2"


def test_localhost_is_an_address() -> None:
    assert settings(HTTP_LISTEN_IP="localhost", LISTEN_IP="::").http_listen_ip == "127.0.0.1"


def test_origins() -> None:
    assert alone(SFU_ALLOWED_ORIGINS="https://a.example, http://b:5173").allowed_origins == (
        "https://a.example",
        "http://b:5173",
    )
    assert alone(SFU_ALLOWED_ORIGINS="*").allowed_origins == ("*",)


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
        ("ROMM_URL", "romm:8080", "a URL like"),
        ("ROMM_URL", "http://", "a URL like"),
        ("ROMM_URL", "http://romm:99999", "a URL like"),
        ("ROMM_URL", "http://[", "a URL like"),
        ("ROMM_URL", "http://u:p@romm", "without user name"),
        ("ROMM_URL", "http://romm?x", "without user name, query"),
        ("ROMM_SFU_INTERNAL_SECRET", "sécret", "printable ASCII"),
        ("SFU_VIDEO_CODECS", "VP8 VP7", "one or more of VP9, H264, VP8, AV1"),
        ("SFU_VIDEO_CODECS", ",", "one or more of VP9, H264, VP8, AV1"),
        ("SFU_REQUIRE_WRITE_TOKEN", "always", "off, room or connect"),
        ("SFU_ALLOWED_ORIGINS", "games.example", "origins like"),
        ("SFU_ALLOWED_ORIGINS", "https://games.example/path", "origins like"),
    ],
)
def test_what_cannot_be_meant(variable: str, text: str, reason: str) -> None:
    (problem,) = problems({**ALONE, variable: text})
    assert problem.startswith(f"{variable}: must be ")
    assert reason in problem
    assert "sécret" not in problem


@pytest.mark.parametrize(
    "url", ["http://romm", "https://romm.example:8443/a/b", "http://[::1]:80", "http://10.0.0.1/romm/"]
)
def test_what_we_accept_the_client_accepts(url: str) -> None:
    accepted = settings(ROMM_API_BASE_URL=url).romm_api_base_url
    assert accepted is not None
    assert not accepted.endswith("/")
    check_base_url(accepted)


# Together


def test_ports_must_fit_the_workers() -> None:
    environ = {**ALONE, "SFU_WORKER_COUNT": "4", "WEBRTC_UDP_PORT": "65532"}
    assert load(environ, cpus=8).settings.webrtc_udp_port == 65532
    (problem,) = problems(environ | {"WEBRTC_UDP_PORT": "65533"})
    assert "WEBRTC_UDP_PORT" in problem
    assert "at most 65532" in problem
    assert problems(environ | {"WEBRTC_TCP_PORT": "65533"})
    load(environ | {"WEBRTC_TCP_PORT": "65533", "ENABLE_WEBRTC_TCP": "0"}, cpus=8)


@pytest.mark.parametrize(("port", "collides"), [(19999, False), (20000, True), (20003, True), (20004, False)])
def test_signaling_port_among_the_media_ports(port: int, collides: bool) -> None:
    environ = {**ALONE, "SFU_WORKER_COUNT": "4", "PORT": str(port)}
    if collides:
        assert "PORT" in problems(environ)[0]
        environ["ENABLE_WEBRTC_TCP"] = "0"
    load(environ, cpus=8)


@pytest.mark.parametrize(("ttl", "refresh"), [(1, 5), (10, 5), (30, 15), (60, 25), (600, 25)])
def test_registry_refresh(ttl: int, refresh: float) -> None:
    assert settings(ROOM_REGISTRY_TTL_SECONDS=str(ttl)).registry_refresh_seconds == refresh


# Warnings


def test_no_warning_without_reason() -> None:
    assert warnings() == []
    assert load(ALONE, cpus=8).warnings == ()


@pytest.mark.parametrize(
    ("variable", "text", "part"),
    [
        ("USE_WEBRTC_SERVER", "0", "ports are per worker"),
        ("RTC_MIN_PORT", "1000", "ports are per worker"),
        ("RTC_MAX_PORT", "x", "ports are per worker"),
        ("SFU_AUTH_ISSUER", "x", "no effect"),
        ("SFU_AUTH_JTI_KEY_PREFIX", "x", "no effect"),
        ("SFU_AUTH_CLOCK_SKEW_SECONDS", "x", "no effect"),
        ("DEBUG_LOG_PATH", "/x", "no effect"),
        ("SFU_STUN_SERVER", "x", "did you mean SFU_STUN_SERVERS?"),
        ("SFU_QQQQQQQQ", "x", "unknown"),
        ("SFU_TURN_SERVERS", "x", "JSON array"),
    ],
)
def test_warnings(variable: str, text: str, part: str) -> None:
    (warning,) = warnings(**{variable: text})
    assert warning.startswith(f"{variable}: ")
    assert part in warning


def test_variables_of_romm_itself_are_no_typos() -> None:
    assert warnings(SFU_HOST="x", SFU_PORT="1", SFU_NETPLAY_ENABLED="true") == []


def test_public_url_should_be_set_where_the_registry_is_shared() -> None:
    assert any("PUBLIC_URL" in warning for warning in load(ROMM, cpus=8).warnings)


def test_romm_is_not_used_when_alone() -> None:
    assert load({**ALONE, "ROMM_URL": "http://romm"}).warnings == ("ROMM_URL: not used with --standalone",)


# Processors


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 4),
        ({"cpu.max": "max 100000"}, 4),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "1000 100000"}, 1),
        ({"cpu.max": "900000 100000"}, 4),
        ({"cpu.max": "nonsense"}, 4),
        ({"cpu.max": "100000 0"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_available_cpus(
    files: dict[str, str], cpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert available_cpus(tmp_path) == cpus


def test_available_cpus_of_this_machine() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)


# The model itself


def test_settings_are_frozen_strict_and_deaf_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "4321")
    values = Settings(standalone=True)
    assert values.port == 3001
    with pytest.raises(ValidationError):
        values.port = 1
    with pytest.raises(ValidationError):
        Settings(standalone=True, prot=1)  # type: ignore[call-arg]


def test_secrets_do_not_show() -> None:
    values = alone(
        ROMM_AUTH_SECRET_KEY=KEY,
        ROMM_SFU_INTERNAL_SECRET="s3cret",
        SFU_TURN_SERVER1="a",
        SFU_TURN_USER1="u",
        SFU_TURN_PASS1="s3cret",
    )
    texts = [repr(values), str(values), *(config.shown(value) for _, value in values)]
    assert not any("s3cret" in text or KEY in text for text in texts)


def test_every_setting_has_a_source_and_a_description() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description
        assert name in config.SOURCES or name == "ice_servers"


def test_no_name_twice() -> None:
    names = [name for source in config.SOURCES.values() for name in source.names]
    assert len(names) == len(set(names))
    flags = [source.flag for source in config.SOURCES.values() if source.flag]
    assert len(flags) == len(set(flags))


def test_secrets_have_no_flag() -> None:
    assert not any(source.flag for source in config.SOURCES.values() if source.secret)


def test_the_documentation_is_complete() -> None:
    table = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
    for name, source in config.SOURCES.items():
        names = " ".join(f"`{each}`" for each in source.names)
        flag = f"`{source.flag}`" if source.flag else ""
        row = (
            f"| {names} | {flag} | {config.default_text(name)} | {Settings.model_fields[name].description} |"
        )
        assert row in table.splitlines(), row
    for variable in (
        *config.IGNORED,
        "SFU_STUN_SERVERS",
        "STUN_SERVERS",
        "SFU_TURN_SERVERS",
        "SFU_TURN_PASS4",
    ):
        assert f"`{variable}`" in table


def test_importing_settings_takes_no_server_with_it() -> None:
    graph = grimp.build_graph("sfu", include_external_packages=True)
    for heavy in ("trio", "httpx", "h11", "OpenSSL"):
        assert graph.find_shortest_chain("sfu.config", heavy) is None
        assert graph.find_shortest_chain("sfu.cli", heavy) is None

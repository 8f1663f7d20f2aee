"""The command line: options, output, exit status."""

from __future__ import annotations

import json
from ipaddress import ip_network

import pytest
import structlog
from click.testing import CliRunner, Result

import sfu.node
import sfu.romm_service
from sfu.cli import main
from sfu.config import RommSettings, Settings, available_cpus, docs
from sfu.config.limits import LIMITS
from sfu.config.source import SettingsModel, sources_of
from sfu.romm_service import RommServiceSettings
from tests.config.reading import KEY, SERVICE


def run(*args: str, **environ: str) -> Result:
    cleared = dict.fromkeys(
        name
        for model in (Settings, RommSettings)
        for source in sources_of(model).values()
        for name in source.names
    )
    return CliRunner().invoke(main, list(args), env={**cleared, **environ}, catch_exceptions=False)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What the node was started with; the node itself is not under test here."""
    seen: list[Settings] = []
    monkeypatch.setattr(sfu.node, "run", seen.append, raising=False)
    return seen


@pytest.fixture(autouse=True)
def _logging_as_before() -> None:
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("command", "model"), [("serve", Settings), ("config", Settings), ("romm", RommSettings)]
)
def test_help_names_every_flag_and_variable(command: str, model: type[SettingsModel]) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for name, source in sources_of(model).items():
        if source.flag is not None:
            for flag in source.flag.split("/"):
                assert f"{flag} " in text
            assert ", ".join(source.names) in text
            assert (model.model_fields[name].description or "?") in text


def test_help_of_the_whole() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "serve" in result.output
    assert "config" in result.output
    assert "romm" in result.output
    assert run("-h").output == result.output


def test_version() -> None:
    assert run("--version").output == "trio-sfu, version 0.1.0\n"


def test_serve(served: list[Settings]) -> None:
    result = run("serve", "--standalone", "--port", "4000", "--no-webrtc-tcp", SFU_FANOUT_ENABLED="1")
    assert result.exit_code == 0
    (settings,) = served
    assert (settings.standalone, settings.port, settings.enable_webrtc_tcp) == (True, 4000, False)
    assert settings.fanout_enabled


def test_every_flag(served: list[Settings]) -> None:
    result = run(
        *("serve", "--no-standalone", "--romm-url", "http://romm/x/", "--host", "127.0.0.2", "--port", "1"),
        *("--public-url", "https://a", "--node-id", "n", "--media-host", "127.0.0.3"),
        *("--announced-ip", "192.0.2.1", "--announced-ip", "a.example", "--webrtc-port", "2"),
        *("--webrtc-tcp", "--video-codecs", "vp8,av1", "--require-write-token", "ROOM", "--workers", "1"),
        *("--log-level", "ERROR", "--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "::1"),
        ROMM_SFU_INTERNAL_SECRET="s",
        SFU_STANDALONE="1",
        ENABLE_WEBRTC_TCP="0",
    )
    assert result.output == ""
    (settings,) = served
    assert not settings.standalone
    assert settings.romm_api_base_url == "http://romm/x"
    assert (settings.http_listen_ip, settings.port) == ("127.0.0.2", 1)
    assert (settings.public_url, settings.node_id, settings.listen_ip) == ("https://a", "n", "127.0.0.3")
    assert settings.announced_ips == ("192.0.2.1", "a.example")
    assert (settings.webrtc_port, settings.enable_webrtc_tcp) == (2, True)
    assert settings.video_codecs == ("VP8", "AV1")
    assert (settings.require_write_token, settings.worker_count) == ("room", 1)
    assert settings.log_level == "error"
    assert list(map(str, settings.trusted_proxies)) == ["10.0.0.0/8", "::1/128"]


def test_workers_auto(served: list[Settings]) -> None:
    run("serve", "--standalone", "--workers", "auto", SFU_WORKER_COUNT="1")
    assert served[0].worker_count == available_cpus()


def test_warnings_are_logged(served: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    result = run("serve", "--standalone", RTC_MIN_PORT="1")
    (line,) = result.stderr.splitlines()
    event = json.loads(line)
    assert event["level"] == "warning"
    assert event["text"].startswith("RTC_MIN_PORT: ")
    assert run("serve", "--standalone", "--log-level", "silent", RTC_MIN_PORT="1").output == ""


@pytest.mark.parametrize("command", ["serve", "config"])
def test_config_errors_are_one_line_each_and_exit_1(command: str, served: list[Settings]) -> None:
    result = run(command, PORT="x")
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert lines[0] == "trio-sfu: PORT='x': must be a whole number from 1 to 65535"
    assert all(line.startswith("trio-sfu: ") for line in lines)
    assert not served


@pytest.mark.parametrize(
    "args",
    [
        ("serve", "--nonsense"),
        ("serve", "extra"),
        ("nonsense",),
        ("serve", "--standalone", "--port", "x"),
        ("serve", "--standalone", "--port", "65536"),
        ("serve", "--standalone", "--workers", "0"),
        ("serve", "--standalone", "--workers", "some"),
        ("serve", "--standalone", "--log-level", "loud"),
        ("serve", "--standalone", "--require-write-token", "1"),
        ("serve", "--standalone", "--host", "nowhere.example"),
        ("serve", "--standalone", "--announced-ip", "0.0.0.0"),
        ("serve", "--standalone", "--video-codecs", "VP7"),
        ("serve", "--standalone", "--trusted-proxy", "nginx"),
        ("romm", "--port", "0"),
        ("romm", "--write-token-ttl", "4"),
        ("romm", "--allowlist-format", "json"),
        ("config", "--redis", "redis://redis"),
    ],
)
def test_usage_errors_exit_2(args: tuple[str, ...], served: list[Settings]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert result.stderr
    assert not served


def test_config_shows_values_and_sources() -> None:
    result = run(
        *("config", "--standalone", "--port", "4000"),
        SFU_WORKER_COUNT="1",
        STUN_SERVERS="a",
        SFU_LIMIT_ROOMS="7",
    )
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert rows["PORT"] == ["4000", "--port"]
    assert rows["SFU_STANDALONE"] == ["on", "--standalone"]
    assert rows["SFU_WORKER_COUNT"] == ["1", "SFU_WORKER_COUNT"]
    assert rows["WEBRTC_PORT"] == ["20000", "default"]
    assert rows["ICE"] == ["servers", "stun:a", "STUN_SERVERS"]
    assert rows["SFU_LIMIT_ROOMS"] == ["7", "SFU_LIMIT_ROOMS"]
    assert rows["SFU_LIMIT_CHAT_LENGTH"] == ["500", "default"]
    assert rows["SFU_LIMIT_MAX_CONNECTIONS_PER_REMOTE"] == ["default"]
    assert rows["ROMM_AUTH_SECRET_KEY"] == ["********", "default"]
    assert len(rows) == len(sources_of(Settings)) + 1 + len(LIMITS)


def test_config_shows_warnings_apart() -> None:
    result = run("config", "--standalone", RTC_MAX_PORT="1")
    assert result.stderr.startswith("warning: RTC_MAX_PORT: ")
    assert "warning" not in result.stdout


def test_config_as_json() -> None:
    result = run("config", "--standalone", "--json", RTC_MAX_PORT="1")
    shown = json.loads(result.stdout)
    assert shown["settings"]["PORT"] == {"value": "3001", "source": "default"}
    assert shown["warnings"] == ["RTC_MAX_PORT: has no effect: ports are per worker, from WEBRTC_PORT on"]


def test_config_as_markdown_takes_no_settings() -> None:
    assert run("config", "--markdown", PORT="x").output == docs.markdown()


@pytest.mark.contract("D11", "D12")
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_config_masks_secrets(form: tuple[str, ...]) -> None:
    result = run(
        *("config", "--standalone", *form),
        ROMM_AUTH_SECRET_KEY=KEY,
        ROMM_SFU_INTERNAL_SECRET="s3cret",
        PUBLIC_URL="https://ann:s3cret@sfu.example",
        SFU_TURN_SERVERS='[{"urls":"turn:a","username":"u","credential":"s3cret"}]',
        SFU_TURN_SERVER1="b",
        SFU_TURN_USER1="u",
        SFU_TURN_PASS1="s3cret",
    )
    assert result.exit_code == 0
    assert KEY not in result.output
    assert "s3cret" not in result.output
    assert "turn:a (u:********), turn:b (u:********)" in result.output


# RomM's side


@pytest.fixture
def served_romm(monkeypatch: pytest.MonkeyPatch) -> list[RommServiceSettings]:
    """What RomM's side was started with."""
    seen: list[RommServiceSettings] = []
    monkeypatch.setattr(sfu.romm_service, "run", seen.append)
    return seen


def test_romm(served_romm: list[RommServiceSettings]) -> None:
    result = run(
        *("romm", "--redis", "redis://redis/1", "--host", "127.0.0.2", "--port", "4"),
        *("--identity-header", "X-User", "--trusted-proxy", "10.0.0.2", "--trusted-proxy", "fd00::2"),
        *("--read-token-ttl", "60", "--write-token-ttl", "10", "--allowlist-format", "HASH"),
        *("--log-level", "error", "--allowed-origin", "https://games.example"),
        STUN_SERVERS="a",
        **SERVICE,
    )
    assert result.output == ""
    assert served_romm == [
        RommServiceSettings(
            signing_key=KEY,
            internal_secret=SERVICE["ROMM_SFU_INTERNAL_SECRET"],
            redis_url="redis://redis/1",
            allowlist_format="hash",
            host="127.0.0.2",
            port=4,
            read_token_ttl=60,
            write_token_ttl=10,
            ice_servers=[{"urls": "stun:a"}],
            identity_header="X-User",
            trusted_proxies=(ip_network("10.0.0.2"), ip_network("fd00::2")),
            allowed_origins=("https://games.example",),
        )
    ]


def test_romm_without_settings_is_the_services_own_default(served_romm: list[RommServiceSettings]) -> None:
    result = run("romm", "--log-level", "error", STUN_SERVERS=",", **SERVICE)
    assert result.output == ""
    secret = SERVICE["ROMM_SFU_INTERNAL_SECRET"]
    assert served_romm == [RommServiceSettings(signing_key=KEY, internal_secret=secret, ice_servers=[])]


def test_romm_without_secrets_says_so(served_romm: list[RommServiceSettings]) -> None:
    result = run("romm")
    assert result.exit_code == 1
    assert [line.partition(" is not set")[0] for line in result.stderr.splitlines()] == [
        "trio-sfu: ROMM_SFU_INTERNAL_SECRET",
        "trio-sfu: ROMM_AUTH_SECRET_KEY",
    ]
    assert not served_romm

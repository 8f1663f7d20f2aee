"""The command line: options, output, exit status."""

from __future__ import annotations

import json

import pytest
import structlog
from click.testing import CliRunner, Result

import sfu.node
from sfu import config
from sfu.cli import main
from sfu.config import Settings

KEY = "0123456789abcdef0123456789abcdef"


def run(*args: str, **environ: str) -> Result:
    cleared = dict.fromkeys(name for source in config.SOURCES.values() for name in source.names)
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


@pytest.mark.parametrize("command", ["serve", "config"])
def test_help_names_every_flag_and_variable(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for name, source in config.SOURCES.items():
        if source.flag is not None:
            for flag in source.flag.split("/"):
                assert f"{flag} " in text
            assert ", ".join(source.names) in text
            assert (Settings.model_fields[name].description or "?") in text


def test_help_of_the_whole() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "serve" in result.output
    assert "config" in result.output
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
        *("--log-level", "ERROR"),
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


def test_workers_auto(served: list[Settings]) -> None:
    run("serve", "--standalone", "--workers", "auto", SFU_WORKER_COUNT="1")
    assert served[0].worker_count == config.available_cpus()


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
    assert lines[0] == "trio-sfu: PORT: must be a whole number"
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
    ],
)
def test_usage_errors_exit_2(args: tuple[str, ...], served: list[Settings]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert result.stderr
    assert not served


def test_config_shows_values_and_sources() -> None:
    result = run("config", "--standalone", "--port", "4000", SFU_WORKER_COUNT="1", STUN_SERVERS="a")
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert rows["PORT"] == ["4000", "--port"]
    assert rows["SFU_STANDALONE"] == ["on", "--standalone"]
    assert rows["SFU_WORKER_COUNT"] == ["1", "SFU_WORKER_COUNT"]
    assert rows["WEBRTC_PORT"] == ["20000", "default"]
    assert rows["ice"] == ["servers", "stun:a", "STUN_SERVERS"]
    assert rows["ROMM_AUTH_SECRET_KEY"] == ["********", "default"]
    assert len(rows) == len(Settings.model_fields)


def test_config_shows_warnings_apart() -> None:
    result = run("config", "--standalone", RTC_MAX_PORT="1")
    assert result.stderr.startswith("warning: RTC_MAX_PORT: ")
    assert "warning" not in result.stdout


def test_config_as_json() -> None:
    result = run("config", "--standalone", "--json", RTC_MAX_PORT="1")
    shown = json.loads(result.stdout)
    assert shown["settings"]["PORT"] == {"value": "3001", "source": "default"}
    assert shown["warnings"] == ["RTC_MAX_PORT: has no effect: ports are per worker, from WEBRTC_PORT on"]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_config_masks_secrets(form: tuple[str, ...]) -> None:
    result = run(
        *("config", "--standalone", *form),
        ROMM_AUTH_SECRET_KEY=KEY,
        ROMM_SFU_INTERNAL_SECRET="s3cret",
        SFU_TURN_SERVERS='[{"urls":"turn:a","username":"u","credential":"s3cret"}]',
        SFU_TURN_SERVER1="b",
        SFU_TURN_USER1="u",
        SFU_TURN_PASS1="s3cret",
    )
    assert result.exit_code == 0
    assert KEY not in result.output
    assert "s3cret" not in result.output
    assert "turn:a (u:********), turn:b (u:********)" in result.output

"""Where values come from, what is said about them, and what is warned of."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest
from pydantic import ValidationError

from sfu.announced import AnnouncedAddresses
from sfu.config import Settings, load
from sfu.config.settings import SOURCES
from sfu.romm.client import check_base_url
from tests.config.reading import ALONE, CPUS, NAMED, ROMM, alone, problems, settings, warnings


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


@pytest.mark.contract("D6")
def test_all_problems_at_once() -> None:
    found = problems(
        {
            "PORT": "x",
            "WEBRTC_PORT": "70000",
            "SFU_VIDEO_CODECS": "VP7",
            "ROMM_URL": "romm",
            "SFU_LIMIT_ROOMS": "0",
        },
        {"http_listen_ip": "nowhere"},
    )
    assert [problem.partition("=")[0] for problem in found] == [
        "ROMM_URL",
        "--host",
        "PORT",
        "SFU_VIDEO_CODECS",
        "SFU_LIMIT_ROOMS",
        "WEBRTC_PORT",
    ]


@pytest.mark.parametrize(
    "url", ["http://romm", "https://romm.example:8443/a/b", "http://[::1]:80", "http://10.0.0.1/romm/"]
)
@pytest.mark.contract("D93")
def test_what_we_accept_as_romms_address_its_client_accepts(url: str) -> None:
    accepted = settings(ROMM_API_BASE_URL=url).romm_api_base_url
    assert accepted == url.rstrip("/")  # with its path
    check_base_url(accepted)


# Warnings


def test_no_warning_without_reason() -> None:
    assert warnings() == []
    assert load(ALONE, cpus=CPUS).warnings == ()


@pytest.mark.parametrize(
    ("variable", "text", "part"),
    [
        ("USE_WEBRTC_SERVER", "0", "ports are per worker"),
        ("RTC_MIN_PORT", "1000", "ports are per worker"),
        ("RTC_MAX_PORT", "x", "ports are per worker"),
        ("SFU_AUTH_ISSUER", "x", "no effect"),
        ("SFU_AUTH_JTI_KEY_PREFIX", "x", "no effect"),
        ("SFU_AUTH_CLOCK_SKEW_SECONDS", "x", "no effect"),
        ("SFU_FANOUT_ENABLED", "1", "no effect"),
        ("SFU_DEBUG_STATS", "1", "no effect without LOG_LEVEL=debug"),
        pytest.param("DEBUG_LOG_PATH", "/x", "no effect", marks=pytest.mark.contract("D15")),
        ("SFU_STUN_SERVER", "x", "did you mean SFU_STUN_SERVERS?"),
        ("SFU_LIMIT_ROOM", "x", "did you mean SFU_LIMIT_ROOMS?"),
        ("SFU_QQQQQQQQ", "x", "unknown"),
        ("SFU_TURN_SERVERS", "x", "JSON array"),
    ],
)
def test_warnings(variable: str, text: str, part: str) -> None:
    (warning,) = warnings(**{variable: text})
    assert warning.startswith(f"{variable}: ")
    assert part in warning


def test_debug_stats_at_level_debug() -> None:
    assert warnings(SFU_DEBUG_STATS="1", LOG_LEVEL="debug") == []


def test_variables_of_others_are_no_typos() -> None:
    """RomM's own may share a file with ours, and RomM's side those of a node."""
    assert warnings(SFU_HOST="x", SFU_PORT="1", SFU_NETPLAY_ENABLED="true", NODE_ENV="production") == []
    assert warnings(SFU_REDIS_URL="redis://redis", SFU_IDENTITY_HEADER="X-User") == []


@pytest.mark.contract("D89")
@pytest.mark.parametrize("url", [None, "http://localhost:3001", "https://127.0.0.1", "http://[::1]/"])
def test_nodes_that_share_a_registry_need_addresses_of_their_own(url: str | None) -> None:
    environ = {**NAMED, "PUBLIC_URL": url or ""}
    (warning,) = load(environ, cpus=CPUS).warnings
    assert warning.startswith("PUBLIC_URL: ")
    assert load({**environ, **ALONE}, cpus=CPUS).warnings == (
        "ROMM_API_BASE_URL: not used with --standalone",
    )


@pytest.mark.parametrize("url", ["https://sfu.example", "anything", "http://[", "https://localhost.example"])
def test_addresses_that_are_not_this_machines_own(url: str) -> None:
    assert warnings(PUBLIC_URL=url) == []


@pytest.mark.contract("D90")
def test_nodes_that_share_a_registry_need_names_that_outlive_restarts() -> None:
    (warning,) = warnings(NODE_ID="")
    assert warning.startswith("NODE_ID: not set; after a restart")


@pytest.mark.contract("D73")
async def test_without_webrtc_server_and_announced_ip_there_is_an_address_all_the_same() -> None:
    values = settings(USE_WEBRTC_SERVER="0", ANNOUNCED_IP="")
    addresses = AnnouncedAddresses(values.announced_ips, values.listen_ip, loopback=False)
    await addresses.resolve()
    assert addresses.current


@pytest.mark.parametrize(
    ("listen", "unheard"),
    [("0.0.0.0", "2001:db8::1"), ("192.0.2.9", "2001:db8::1"), ("2001:db8::9", "192.0.2.1"), ("::", "")],
)
def test_announced_addresses_that_nothing_listens_on(listen: str, unheard: str) -> None:
    told = warnings(LISTEN_IP=listen, ANNOUNCED_IP="192.0.2.1,sfu.example,2001:db8::1")
    expected = [f"ANNOUNCED_IP: {unheard} cannot be reached on LISTEN_IP={listen}"] if unheard else []
    assert [warning for warning in told if "ANNOUNCED_IP" in warning] == expected


def test_romm_is_not_used_when_alone() -> None:
    assert load({**ALONE, "ROMM_URL": "http://romm"}).warnings == ("ROMM_URL: not used with --standalone",)


# The model itself


def test_settings_are_frozen_and_strict() -> None:
    values = alone()
    with pytest.raises(ValidationError):
        values.port = 1
    with pytest.raises(ValidationError):
        Settings(standalone=True, prot=1)  # type: ignore[call-arg]


def test_every_setting_has_a_source_and_a_description() -> None:
    composed = {"ice_servers", "ice_tcp_limits", "room_limits", "signaling_limits", "transport_limits"}
    for name, field in Settings.model_fields.items():
        assert field.description
        assert (name in SOURCES) != (name in composed)


def test_no_name_twice() -> None:
    names = [name for source in SOURCES.values() for name in source.names]
    assert len(names) == len(set(names))
    flags = [source.flag for source in SOURCES.values() if source.flag]
    assert len(flags) == len(set(flags))


def test_secrets_have_no_flag() -> None:
    assert not any(source.flag for source in SOURCES.values() if source.secret)


def test_importing_settings_takes_no_server_with_it() -> None:
    graph = grimp.build_graph("sfu", include_external_packages=True, exclude_type_checking_imports=True)
    for heavy in ("trio", "httpx", "h11", "OpenSSL"):
        assert graph.find_shortest_chain("sfu.config.load", heavy) is None
        assert graph.find_shortest_chain("sfu.cli", heavy) is None

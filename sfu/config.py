"""All settings: names, aliases, defaults, and what is wrong with what was given (``signaling.md`` 8).

Settings come from the command line, then the environment, then the defaults. :func:`load` reads them all, and
reports every problem at once, in words that say what to do. An empty or blank variable counts as unset.

Every setting is a field of :class:`Settings` whose :class:`Source` says where it comes from and how its text
is read; ``trio-sfu serve --help``, ``trio-sfu config`` and the test of the documentation are made from those.
"""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sfu import configtext
from sfu.configtext import VIDEO_CODECS, Parser
from sfu.iceservers import STUN_VARIABLES, TURN_NUMBERS, TURN_VARIABLE, IceServer, ice_servers

MIN_SIGNING_KEY: Final = 32
"""Characters."""
MASK: Final = "********"
"""What is shown in place of a secret."""
REGISTRY_REFRESH: Final = (5.0, 25.0)
"""Shortest and longest interval in seconds; RomM forgets a room after 60 s."""


class ConfigError(Exception):
    """The settings cannot be used."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and what to do about it."""

    where: str
    """Variable or flag; empty where none is at fault."""
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


# The settings


@dataclass(frozen=True, slots=True)
class Source:
    """Where a setting comes from."""

    names: tuple[str, ...]
    """Environment variables; the first that is not blank counts."""
    parse: Parser
    flag: str | None = None
    """On the command line; a pair like ``--x/--no-x`` for a switch."""
    secret: bool = False
    """Never shown; may also come from a file named by ``NAME_FILE``."""
    default: str | None = None
    """The default in words, where it is not a constant."""


def _var(*names: str, parse: Parser = configtext.plain, **options: Any) -> Source:
    return Source(names, parse, **options)


Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """The effective settings. Built by :func:`load`, or directly with keyword arguments in tests."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=False)

    standalone: Annotated[
        bool,
        _var("SFU_STANDALONE", parse=configtext.off_unless_on, flag="--standalone/--no-standalone"),
    ] = Field(default=False, description="Run without RomM: guests, tokens and registry of our own.")

    # RomM
    romm_api_base_url: Annotated[
        str | None,
        _var("ROMM_API_BASE_URL", "ROMM_BASE_URL", "ROMM_URL", parse=configtext.base_url, flag="--romm-url"),
    ] = Field(default=None, description="RomM's address as this machine sees it; a path prefix is kept.")
    romm_sfu_internal_secret: Annotated[
        SecretStr | None, _var("ROMM_SFU_INTERNAL_SECRET", parse=configtext.secret, secret=True)
    ] = Field(default=None, description="Secret shared with RomM.")
    romm_auth_secret_key: Annotated[
        SecretStr | None,
        _var("ROMM_AUTH_SECRET_KEY", parse=configtext.secret, secret=True, default="random, standalone only"),
    ] = Field(
        default_factory=lambda data: SecretStr(secrets.token_hex(32)) if data["standalone"] else None,
        description="Key that signs tokens (standalone only); tokens survive a restart if it is set.",
    )
    read_token_ttl_seconds: Annotated[int, _var("SFU_READ_TOKEN_TTL_SECONDS", parse=configtext.whole)] = (
        Field(default=900, ge=30, le=2_592_000, description="Life of read tokens (standalone only).")
    )
    write_token_ttl_seconds: Annotated[int, _var("SFU_WRITE_TOKEN_TTL_SECONDS", parse=configtext.whole)] = (
        Field(default=30, ge=5, le=3600, description="Life of write tokens (standalone only).")
    )
    allowed_origins: Annotated[tuple[str, ...], _var("SFU_ALLOWED_ORIGINS", parse=configtext.origins)] = (
        Field(
            default=(),
            description="Pages of other hosts that may play here as guests (standalone only), or *.",
        )
    )

    # Server and registry
    http_listen_ip: Annotated[
        str,
        _var(
            "HTTP_LISTEN_IP",
            parse=configtext.address,
            flag="--host",
            default="0.0.0.0; 127.0.0.1 if standalone",
        ),
    ] = Field(
        default_factory=lambda data: "127.0.0.1" if data["standalone"] else "0.0.0.0",  # noqa: S104
        description="Address of the signaling port.",
    )
    port: Annotated[Port, _var("PORT", parse=configtext.whole, flag="--port")] = Field(
        default=3001, description="Signaling port (HTTP and WebSocket)."
    )
    public_url: Annotated[str, _var("PUBLIC_URL", flag="--public-url", default="http://localhost:PORT")] = (
        Field(
            default_factory=lambda data: f"http://localhost:{data['port']}",
            description="Address of this node for browsers; must differ between nodes.",
        )
    )
    node_id: Annotated[str, _var("NODE_ID", flag="--node-id", default="random")] = Field(
        default_factory=lambda: str(uuid.uuid4()), description="Name of this node in the registry."
    )
    room_registry_ttl_seconds: Annotated[int, _var("ROOM_REGISTRY_TTL_SECONDS", parse=configtext.whole)] = (
        Field(
            default=60,
            ge=1,
            le=86_400,
            description="Rooms are registered anew after half of this, 5 to 25 s.",
        )
    )

    # WebRTC
    use_webrtc_server: Annotated[bool, _var("USE_WEBRTC_SERVER", parse=configtext.on_unless_off)] = Field(
        default=True, description="Accepted for compatibility; ports are always per worker."
    )
    listen_ip: Annotated[str, _var("LISTEN_IP", parse=configtext.address, flag="--media-host")] = Field(
        default="0.0.0.0",  # noqa: S104
        description="Address of the media sockets.",
    )
    announced_ips: Annotated[
        tuple[str, ...],
        _var(
            "ANNOUNCED_IP",
            parse=configtext.announced,
            flag="--announced-ip",
            default="addresses of this machine",
        ),
    ] = Field(default=(), description="Addresses or host names for ICE candidates, separated by commas.")
    webrtc_port: Annotated[Port, _var("WEBRTC_PORT", parse=configtext.whole, flag="--webrtc-port")] = Field(
        default=20000, description="First media port, UDP and TCP; worker i uses port + i."
    )
    webrtc_udp_port: Annotated[
        Port, _var("WEBRTC_UDP_PORT", parse=configtext.whole, default="WEBRTC_PORT")
    ] = Field(default_factory=lambda data: data["webrtc_port"], description="First UDP media port.")
    webrtc_tcp_port: Annotated[
        Port, _var("WEBRTC_TCP_PORT", parse=configtext.whole, default="WEBRTC_PORT")
    ] = Field(default_factory=lambda data: data["webrtc_port"], description="First TCP media port.")
    enable_webrtc_tcp: Annotated[
        bool, _var("ENABLE_WEBRTC_TCP", parse=configtext.on_unless_off, flag="--webrtc-tcp/--no-webrtc-tcp")
    ] = Field(default=True, description="Offer ICE over TCP.")
    video_codecs: Annotated[
        tuple[str, ...], _var("SFU_VIDEO_CODECS", parse=configtext.codecs, flag="--video-codecs")
    ] = Field(default=VIDEO_CODECS, description="Video codecs in order of preference.")

    # Auth
    require_write_token: Annotated[
        Literal["off", "room", "connect"],
        _var("SFU_REQUIRE_WRITE_TOKEN", parse=configtext.write_token, flag="--require-write-token"),
    ] = Field(
        default="off",
        description=(
            "What takes a write token: off, room (opening, joining), connect. "
            "Not enforced yet: with other than off the daemon refuses to start."
        ),
    )
    allow_auth_takeover: Annotated[bool, _var("SFU_ALLOW_AUTH_TAKEOVER", parse=configtext.on_unless_off)] = (
        Field(default=True, description="A user's new connection may take the seat of a silent old one.")
    )
    auth_takeover_grace_seconds: Annotated[
        int, _var("SFU_AUTH_TAKEOVER_GRACE_SECONDS", parse=configtext.grace)
    ] = Field(default=30, ge=0, description="For how long it may; 0 means always.")

    # Scaling and policy
    worker_count: Annotated[
        int, _var("SFU_WORKER_COUNT", parse=configtext.workers, flag="--workers", default="one per processor")
    ] = Field(default_factory=lambda: available_cpus(), ge=1, description="Media worker processes, or auto.")
    fanout_enabled: Annotated[bool, _var("SFU_FANOUT_ENABLED", parse=configtext.off_unless_on)] = Field(
        default=False, description="Spread the viewers of large rooms over several workers. No effect yet."
    )
    fanout_viewer_threshold: Annotated[int, _var("SFU_FANOUT_VIEWER_THRESHOLD", parse=configtext.whole)] = (
        Field(default=500, ge=1, description="Members from which on a room is large. No effect yet.")
    )
    expect_vp9_svc_mode: Annotated[str | None, _var("SFU_EXPECT_VP9_SVC_MODE", parse=configtext.upper)] = (
        Field(default=None, description="VP9 scalability mode that hosts should send, like L1T2.")
    )
    enforce_vp9_svc_mode: Annotated[
        bool, _var("SFU_ENFORCE_VP9_SVC_MODE", parse=configtext.off_unless_on)
    ] = Field(default=False, description="Refuse other modes.")
    enforce_2_layer_simulcast: Annotated[
        bool, _var("SFU_ENFORCE_2_LAYER_SIMULCAST", parse=configtext.off_unless_on)
    ] = Field(default=False, description="Refuse simulcast with other than two layers.")
    require_binary_data_channel: Annotated[
        bool, _var("SFU_REQUIRE_BINARY_DATA_CHANNEL", parse=configtext.on_unless_off)
    ] = Field(default=True, description="Accepted for compatibility, without effect as in the original.")

    # Logging
    log_level: Annotated[
        Literal["debug", "info", "warn", "error", "silent"],
        _var("LOG_LEVEL", parse=configtext.log_level, flag="--log-level"),
    ] = Field(default="warn", description="debug, info, warn, error or silent.")
    debug_stats: Annotated[bool, _var("SFU_DEBUG_STATS", parse=configtext.off_unless_on)] = Field(
        default=False, description="Log media statistics every 2 s, at level debug. No effect yet."
    )

    ice_servers: tuple[IceServer, ...] = Field(
        default_factory=lambda: ice_servers({})[0], description="STUN and TURN servers for browsers."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing is read behind the caller's back; :func:`load` asks :class:`Environment`."""
        return (init_settings,)

    @property
    def announced_ip(self) -> str | None:
        """The one that ``/ice`` reports."""
        return self.announced_ips[0] if self.announced_ips else None

    @property
    def registry_refresh_seconds(self) -> float:
        """How often rooms are registered anew."""
        shortest, longest = REGISTRY_REFRESH
        return min(max(self.room_registry_ttl_seconds / 2, shortest), longest)

    @model_validator(mode="after")
    def _together(self) -> Settings:
        """What is right one by one may be wrong together."""
        problems = [*self._romm_problems(), *self._port_problems()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _romm_problems(self) -> list[str]:
        key, secret = self.romm_auth_secret_key, self.romm_sfu_internal_secret
        problems = []
        if not self.standalone:
            hint = "or use --standalone to run without RomM"
            if not self.romm_api_base_url:
                problems.append(
                    f"ROMM_API_BASE_URL is not set: give RomM's address, like http://romm:8080, {hint}"
                )
            if not secret:
                problems.append(f"ROMM_SFU_INTERNAL_SECRET is not set: give the same one as to RomM, {hint}")
            return problems
        if key is not None and len(key.get_secret_value()) < MIN_SIGNING_KEY:
            problems.append(
                f"ROMM_AUTH_SECRET_KEY must have at least {MIN_SIGNING_KEY} characters: "
                "make one with openssl rand -hex 32, or leave it out"
            )
        if key is not None and key == secret:
            problems.append("ROMM_AUTH_SECRET_KEY and ROMM_SFU_INTERNAL_SECRET must differ")
        return problems

    def _port_problems(self) -> list[str]:
        problems = []
        bases = {"WEBRTC_UDP_PORT": self.webrtc_udp_port}
        if self.enable_webrtc_tcp:
            bases["WEBRTC_TCP_PORT"] = self.webrtc_tcp_port
        for name, base in bases.items():
            if base + self.worker_count - 1 > 65535:
                problems.append(
                    f"{name} (or WEBRTC_PORT) is too high for {self.worker_count} workers, "
                    f"which use ports from {base} on: at most {65536 - self.worker_count}"
                )
        tcp = range(self.webrtc_tcp_port, self.webrtc_tcp_port + self.worker_count)
        if self.enable_webrtc_tcp and self.port in tcp:
            problems.append(
                f"PORT {self.port} is one of the TCP media ports {tcp[0]} to {tcp[-1]}: "
                "change PORT or WEBRTC_TCP_PORT"
            )
        return problems


SOURCES: Final[dict[str, Source]] = {
    name: source
    for name, field in Settings.model_fields.items()
    for source in field.metadata
    if isinstance(source, Source)
}
"""By field."""

IGNORED: Final = {
    "SFU_AUTH_ISSUER": "has no effect: RomM checks tokens",
    "SFU_AUTH_JTI_KEY_PREFIX": "has no effect: RomM checks tokens",
    "SFU_AUTH_CLOCK_SKEW_SECONDS": "has no effect: RomM checks tokens",
    "RTC_MIN_PORT": "has no effect: ports are per worker, from WEBRTC_PORT on",
    "RTC_MAX_PORT": "has no effect: ports are per worker, from WEBRTC_PORT on",
    "DEBUG_LOG_PATH": "has no effect: logs go to standard error",
}
"""Variables of the original that we accept with a warning."""

_FOREIGN: Final = frozenset({"SFU_HOST", "SFU_PORT", "SFU_NETPLAY_ENABLED"})
"""Variables of RomM's own, which may share an environment file with ours."""


class Environment(PydanticBaseSettingsSource):
    """Values out of environment variables and flags, with a note of where each came from."""

    def __init__(self, environ: Mapping[str, str], flags: Mapping[str, str]) -> None:
        """:param flags: texts from the command line by field, which win over the environment."""
        super().__init__(Settings)
        self._environ = environ
        self._flags = flags
        self.origins: dict[str, str] = {}
        """Variable or flag by field."""
        self.failed: set[str] = set()
        """Variables that are set, but to something that cannot be read."""
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        origin, text = self._lookup(field_name, SOURCES[field_name])
        if origin is None:
            return None, field_name, False
        self.origins[field_name] = origin
        try:
            value = SOURCES[field_name].parse(
                text, lambda warning: self.warnings.append(f"{origin}: {warning}")
            )
        except ValueError as error:
            self.problems.append(Problem(origin, f"must be {error}"))
            self.failed.update(SOURCES[field_name].names)
            return None, field_name, False
        return value, field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {}
        for name, field in Settings.model_fields.items():
            if name in SOURCES:
                value, _, _ = self.get_field_value(field, name)
                if value is not None:
                    values[name] = value
        return values

    def _lookup(self, field_name: str, source: Source) -> tuple[str | None, str]:
        """Where a field's text comes from, and the text, trimmed; None where it is not set."""
        flag = self._flags.get(field_name, "").strip()
        if flag and source.flag is not None:
            return source.flag.partition("/")[0], flag
        for name in source.names:
            text = self._environ.get(name, "").strip()
            path = self._environ.get(f"{name}_FILE", "").strip() if source.secret else ""
            if text and path:
                self.problems.append(Problem(name, f"set either this or {name}_FILE, not both"))
            if text:
                return name, text
            if path:
                text = self._read(f"{name}_FILE", path)
                if not text:
                    self.failed.add(name)
                return (f"{name}_FILE", text) if text else (None, "")
        return None, ""

    def _read(self, name: str, path: str) -> str:
        """A trimmed file; empty, with a problem noted, if there is nothing to be had."""
        try:
            text = Path(path).read_text().strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text"
            self.problems.append(Problem(name, f"cannot read {path}: {reason}"))
            return ""
        if not text:
            self.problems.append(Problem(name, f"{path} is empty"))
        return text


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome of :func:`load`."""

    settings: Settings
    origins: Mapping[str, str]
    """Variable or flag that each setting came from, by field; those not in here have their default."""
    warnings: tuple[str, ...]


def load(
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    *,
    cpus: int | None = None,
) -> Loaded:
    """Read all settings.

    :param environ: defaults to the process's environment.
    :param flags: texts from the command line by field of :class:`Settings`.
    :param cpus: processors that may be used; counted if not given.
    :raises ConfigError: with all problems.
    """
    environ = os.environ if environ is None else environ
    source = Environment(environ, flags or {})
    values = source()
    warnings = source.warnings
    values["ice_servers"], ice_warnings = ice_servers(environ)
    warnings += ice_warnings
    if any(name in environ for name in _ICE_VARIABLES):
        source.origins["ice_servers"] = ", ".join(name for name in _ICE_VARIABLES if name in environ)
    cpus = available_cpus() if cpus is None else cpus
    workers = values.setdefault("worker_count", cpus)
    if workers > cpus:
        values["worker_count"] = cpus
        warnings.append(f"{source.origins['worker_count']}: only {cpus} processors here, taken as {cpus}")
    if not values.get("standalone") and values.pop("romm_auth_secret_key", None) is not None:
        del source.origins["romm_auth_secret_key"]
        warnings.append("ROMM_AUTH_SECRET_KEY: not used without --standalone, better leave it to RomM")
    try:
        settings = Settings(**values)
    except ValidationError as error:
        # "… is not set" would be said of what was set wrongly.
        others = [
            problem
            for problem in _problems(error, source.origins)
            if problem.text.partition(" ")[0] not in source.failed
        ]
        raise ConfigError([*source.problems, *others]) from None
    if source.problems:
        raise ConfigError(source.problems)
    warnings += _remarks(settings, source.origins, environ)
    return Loaded(settings, source.origins, tuple(warnings))


_ICE_VARIABLES: Final = (
    *STUN_VARIABLES,
    TURN_VARIABLE,
    *(f"SFU_TURN_{part}{number}" for number in TURN_NUMBERS for part in ("SERVER", "USER", "PASS")),
)


def _problems(error: ValidationError, origins: Mapping[str, str]) -> list[Problem]:
    problems = []
    for each in error.errors(include_input=False, include_url=False):
        if each["type"] == "default_factory_not_called":
            continue  # follows from another one
        name = str(each["loc"][0]) if each["loc"] else ""
        if not name:
            texts = str(each["ctx"]["error"]).splitlines()
            problems += [Problem("", text) for text in texts]
        else:
            problems.append(Problem(origins.get(name, name), _range(name) or each["msg"]))
    return problems


def _range(name: str) -> str | None:
    """A field's limits in words."""
    least = most = None
    for limit in Settings.model_fields[name].metadata:
        least = getattr(limit, "ge", least)
        most = getattr(limit, "le", most)
    if least is None:
        return None
    return f"must be a whole number from {least} " + ("up" if most is None else f"to {most}")


def _remarks(settings: Settings, origins: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """What works, but perhaps not as meant."""
    remarks = [f"{name}: {reason}" for name, reason in IGNORED.items() if environ.get(name, "").strip()]
    if not settings.use_webrtc_server:
        remarks.append("USE_WEBRTC_SERVER: has no effect, ports are per worker, from WEBRTC_PORT on")
    if settings.standalone and settings.romm_api_base_url:
        remarks.append(f"{origins['romm_api_base_url']}: not used with --standalone")
    if not settings.standalone and "public_url" not in origins:
        remarks.append("PUBLIC_URL: not set; nodes that share a registry need one each")
    known = {
        *IGNORED,
        *_ICE_VARIABLES,
        *_FOREIGN,
        *(name for source in SOURCES.values() for name in source.names),
    }
    for name in sorted(environ):
        if name.startswith("SFU_") and name not in known:
            close = get_close_matches(name, known, n=1)
            remarks.append(f"{name}: unknown" + (f", did you mean {close[0]}?" if close else ""))
    return remarks


def shown(value: object) -> str:
    """A setting's value for people, without any secret in it."""
    match value:
        case SecretStr():
            return MASK
        case bool():
            return "on" if value else "off"
        case None:
            return ""
        case IceServer(urls=urls, username=username):
            text = urls if isinstance(urls, str) else " ".join(urls)
            return text if username is None else f"{text} ({username}:{MASK})"
        case tuple():
            return ", ".join(map(shown, value))
        case _:
            return str(value)


def default_text(name: str) -> str:
    """A field's default in words."""
    return SOURCES[name].default or shown(Settings.model_fields[name].default) or "unset"


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Processors that this process may use: its affinity, cut by a container's quota (cgroup v2 or v1)."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return cpus
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return cpus  # "max", or -1
    return max(1, min(cpus, -(-int(quota) // int(period))))

"""Reading settings: the command line, then the environment, then the defaults; every problem at once.

:class:`Environment` reads any :class:`~sfu.config.source.SettingsModel`; :func:`load` the settings of a node,
:func:`load_romm` those of RomM's side. An empty or blank variable counts as unset.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic import ValidationError

from sfu.addresses import is_loopback_url
from sfu.config import limits, parse
from sfu.config.cpus import available_cpus
from sfu.config.romm import RommSettings
from sfu.config.settings import Settings
from sfu.config.source import MASK, SettingsModel, Source, allowed, quoted, sources_of
from sfu.iceservers import ICE_VARIABLES, ice_servers

M = TypeVar("M", bound=SettingsModel)

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
    value: str = ""
    """What was given, for people; empty where it does not matter."""

    def __str__(self) -> str:
        where = f"{self.where}={self.value}" if self.value else self.where
        return f"{where}: {self.text}" if where else self.text


@dataclass(frozen=True, slots=True)
class Loaded(Generic[M]):
    """The outcome of :func:`load` and :func:`load_romm`."""

    settings: M
    origins: Mapping[str, str]
    """Variable or flag that each setting came from, by field, limits by variable; those not in here have
    their default."""
    warnings: tuple[str, ...]


class Environment:
    """Values out of environment variables and flags, with a note of where each came from."""

    def __init__(
        self, model: type[SettingsModel], environ: Mapping[str, str], flags: Mapping[str, str]
    ) -> None:
        """:param flags: texts from the command line by field, which win over the environment."""
        self._model = model
        self._environ = environ
        self._flags = flags
        self._sources = sources_of(model)
        self._texts: dict[str, str] = {}
        """What was given, by field."""
        self._failed: set[str] = set()
        """Variables that are set, but to something that cannot be read."""
        self.origins: dict[str, str] = {}
        """Variable or flag by field."""
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def values(self) -> dict[str, Any]:
        """All settings that are given and can be read, by field."""
        found = ((name, self._value(name, source)) for name, source in self._sources.items())
        return {name: value for name, value in found if value is not None}

    def limits(self) -> dict[str, Any]:
        """The groups of limits, by field."""
        chosen = {}
        for variable in limits.LIMITS:
            text = self._environ.get(variable, "").strip()
            if not text:
                continue
            try:
                value = parse.whole(text, partial(self._warn, variable))
            except ValueError:
                value = 0
            if 1 <= value <= limits.LARGEST:
                chosen[variable] = value
                self.origins[variable] = variable
            else:
                self.problems.append(Problem(variable, f"must be {limits.ALLOWED}", quoted(text)))
        return limits.build(chosen)

    def ice_servers(self) -> Any:
        """STUN and TURN servers."""
        servers, warnings = ice_servers(self._environ)
        self.warnings += warnings
        given = [name for name in ICE_VARIABLES if name in self._environ]
        if given:
            self.origins["ice_servers"] = ", ".join(given)
        return servers

    def build(self, model: type[M], values: Mapping[str, Any]) -> M:
        """The settings themselves.

        Raises:
            ConfigError: with all problems, those of reading included.
        """
        try:
            settings = model(**values)
        except ValidationError as error:
            # "… is not set" would be said of what was set wrongly.
            others = [
                problem
                for problem in self._invalid(error)
                if problem.text.partition(" ")[0] not in self._failed
            ]
            raise ConfigError([*self.problems, *others]) from None
        if self.problems:
            raise ConfigError(self.problems)
        return settings

    def _value(self, name: str, source: Source) -> Any:
        """A field's value; None, perhaps with a problem noted, if there is none."""
        origin, text = self._lookup(name, source)
        if origin is None:
            return None
        self.origins[name] = origin
        self._texts[name] = text
        try:
            return source.parse(text, partial(self._warn, origin))
        except ValueError as error:
            rule = allowed(self._model.model_fields[name]) or str(error)
            self.problems.append(Problem(origin, f"must be {rule}", MASK if source.secret else quoted(text)))
            self._failed.update(source.names)
            return None

    def _warn(self, origin: str, warning: str) -> None:
        self.warnings.append(f"{origin}: {warning}")

    def _lookup(self, name: str, source: Source) -> tuple[str | None, str]:
        """Where a field's text comes from, and the text, trimmed; None where it is not set."""
        flag = self._flags.get(name, "").strip()
        if flag and source.flag is not None:
            return source.flag.partition("/")[0], flag
        for variable in source.names:
            text = self._environ.get(variable, "").strip()
            path = self._environ.get(f"{variable}_FILE", "").strip() if source.secret else ""
            if text and path:
                self.problems.append(Problem(variable, f"set either this or {variable}_FILE, not both"))
            if text:
                return variable, text
            if path:
                text = self._read(f"{variable}_FILE", path)
                if not text:
                    self._failed.add(variable)
                return (f"{variable}_FILE", text) if text else (None, "")
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

    def _invalid(self, error: ValidationError) -> Iterable[Problem]:
        """What pydantic found: numbers out of range, and what is wrong together."""
        for each in error.errors(include_input=False, include_url=False):
            if each["type"] == "default_factory_not_called":
                continue  # follows from another one
            if not each["loc"]:
                yield from (Problem("", text) for text in str(each["ctx"]["error"]).splitlines())
                continue
            name = str(each["loc"][0])
            rule = allowed(self._model.model_fields[name])
            yield Problem(
                self.origins.get(name, name),
                f"must be {rule}" if rule else each["msg"],
                quoted(self._texts[name]) if name in self._texts else "",
            )


def load(
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    *,
    cpus: int | None = None,
) -> Loaded[Settings]:
    """Read all settings of a node.

    :param environ: defaults to the process's environment.
    :param flags: texts from the command line by field of :class:`Settings`.
    :param cpus: processors that may be used; counted if not given.
    :raises ConfigError: with all problems.
    """
    environ = os.environ if environ is None else environ
    source = Environment(Settings, environ, flags or {})
    values = source.values() | source.limits() | {"ice_servers": source.ice_servers()}
    warnings = source.warnings
    cpus = available_cpus() if cpus is None else cpus
    workers = values.setdefault("worker_count", cpus)
    if workers > cpus:
        values["worker_count"] = cpus
        warnings.append(f"{source.origins['worker_count']}: only {cpus} processors here, taken as {cpus}")
    if not values.get("standalone") and values.pop("romm_auth_secret_key", None) is not None:
        del source.origins["romm_auth_secret_key"]
        warnings.append("ROMM_AUTH_SECRET_KEY: not used without --standalone, better leave it to RomM")
    settings = source.build(Settings, values)
    warnings += _remarks(settings, source.origins, environ)
    warnings += _unknown(environ)
    return Loaded(settings, source.origins, tuple(warnings))


def load_romm(
    environ: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> Loaded[RommSettings]:
    """Read all settings of RomM's side, like :func:`load`."""
    environ = os.environ if environ is None else environ
    source = Environment(RommSettings, environ, flags or {})
    values = source.values() | {"ice_servers": source.ice_servers()}
    settings = source.build(RommSettings, values)
    if not settings.trusted_proxies:
        source.warnings.append("SFU_TRUSTED_PROXIES: not set; nobody gets a token")
    return Loaded(settings, source.origins, tuple(source.warnings + _unknown(environ)))


def _remarks(settings: Settings, origins: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """What works, but perhaps not as meant."""
    remarks = [f"{name}: {reason}" for name, reason in IGNORED.items() if environ.get(name, "").strip()]
    if not settings.use_webrtc_server:
        remarks.append("USE_WEBRTC_SERVER: has no effect, ports are per worker, from WEBRTC_PORT on")
    unheard = _addresses_not_listened_on(settings)
    if unheard:
        listening = f"LISTEN_IP={settings.listen_ip}"
        remarks.append(f"{origins['announced_ips']}: {', '.join(unheard)} cannot be reached on {listening}")
    if settings.fanout_enabled:
        remarks.append("SFU_FANOUT_ENABLED: has no effect in this version")
    if settings.debug_stats and settings.log_level != "debug":
        remarks.append("SFU_DEBUG_STATS: has no effect without LOG_LEVEL=debug")
    if settings.standalone:
        if settings.romm_api_base_url:
            remarks.append(f"{origins['romm_api_base_url']}: not used with --standalone")
        return remarks
    if "public_url" not in origins:
        remarks.append("PUBLIC_URL: not set; nodes that share a registry need one each")
    elif is_loopback_url(settings.public_url):
        remarks.append(f"{origins['public_url']}: only this machine can reach that address")
    if "node_id" not in origins:
        remarks.append("NODE_ID: not set; after a restart the registry's records look like another node's")
    elif not settings.sid_prefix:
        remarks.append(f"{origins['node_id']}: not only letters, digits, . - _, so no prefix for session ids")
    return remarks


def _addresses_not_listened_on(settings: Settings) -> list[str]:
    """Announced addresses of the IP family that the media sockets do not have."""
    if settings.listen_ip == "::":
        return []
    colon = ":" in settings.listen_ip
    literals = [word for word in settings.announced_ips if ":" in word or word.replace(".", "").isdigit()]
    return [address for address in literals if (":" in address) is not colon]


def _unknown(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like ours and are not."""
    known = {*IGNORED, *_FOREIGN, *ICE_VARIABLES, *limits.LIMITS}
    for model in (Settings, RommSettings):
        known.update(name for source in sources_of(model).values() for name in source.names)
    warnings = []
    for name in sorted(environ):
        if name.startswith("SFU_") and name not in known:
            close = get_close_matches(name, known, n=1)
            warnings.append(f"{name}: unknown" + (f", did you mean {close[0]}?" if close else ""))
    return warnings

"""The command line: ``trio-sfu serve``, ``trio-sfu romm`` and ``trio-sfu config``.

Every setting that has a flag (:class:`sfu.config.source.Source`) is an option here; a flag wins over the
environment. Secrets have none, since command lines are visible to everyone on a machine.

Exit status: 0, 1 for settings that cannot be used, 2 for a command line that cannot.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
import structlog
from pydantic.fields import FieldInfo

from sfu import config, logs
from sfu.config import ConfigError, Loaded, Settings, docs
from sfu.config.limits import LIMITS
from sfu.config.romm import RommSettings
from sfu.config.source import SettingsModel, Source, bounds, choices, default_text, sources_of

if TYPE_CHECKING:
    from sfu.romm_service import RommServiceSettings

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def settings_options(model: type[SettingsModel]) -> Callable[[F], F]:
    """One option for each setting of a model that has a flag."""

    def decorate(command: F) -> F:
        for name, source in reversed(sources_of(model).items()):
            if source.flag is not None:
                command = _option(model, name, source)(command)
        return command

    return decorate


def _option(model: type[SettingsModel], name: str, source: Source) -> Callable[[F], F]:
    field = model.model_fields[name]
    text = f"{field.description}  [env: {', '.join(source.names)}; default: {default_text(model, name)}]"
    assert source.flag is not None
    if "/" in source.flag:
        return click.option(source.flag, name, default=None, help=text)
    if source.many:
        text += " May be repeated."
    return click.option(
        source.flag, name, type=_type(name, field), metavar=source.metavar, multiple=source.many, help=text
    )


def _type(name: str, field: FieldInfo) -> Any:
    if name == "worker_count":
        return _workers
    if words := choices(field):
        return click.Choice(words, case_sensitive=False)
    limits = bounds(field)
    return click.IntRange(*limits) if limits is not None else str


def _workers(text: str) -> str:
    if not re.fullmatch(r"auto|[1-9][0-9]{0,8}", text):
        raise click.BadParameter(f"{text!r} is neither a whole number from 1 up nor auto")
    return text


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="trio-sfu", prog_name="trio-sfu")
def main() -> None:
    """A WebRTC SFU for emulator netplay."""


@main.command()
@settings_options(Settings)
def serve(**flags: object) -> None:
    """Run the daemon.

    Behind RomM it needs ROMM_API_BASE_URL and ROMM_SFU_INTERNAL_SECRET; with --standalone it needs nothing.
    Settings without a flag here are read from the environment: see "trio-sfu config".
    """
    loaded = _load(config.load, flags)
    _start_logging(loaded.settings.log_level, loaded.warnings)
    # Late, since it takes the whole server with it, which the other commands do without.
    run: Callable[[Settings], None] = importlib.import_module("sfu.node").run
    run(loaded.settings)


@main.command("config")
@settings_options(Settings)
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@click.option("--markdown", is_flag=True, help="All settings there are instead, as docs/configuration.md.")
def show_config(as_json: bool, markdown: bool, **flags: object) -> None:
    """Show the effective settings and where each comes from.

    Secrets are masked. Takes the options of "serve".
    """
    if markdown:
        click.echo(docs.markdown(), nl=False)
        return
    loaded = _load(config.load, flags)
    rows = _rows(loaded)
    if as_json:
        shown = {
            "settings": {name: {"value": value, "source": origin} for name, value, origin in rows},
            "warnings": list(loaded.warnings),
        }
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        click.echo(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}")
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)


def _rows(loaded: Loaded[Settings]) -> list[tuple[str, str, str]]:
    """Variable, value and origin of each setting."""
    settings, origins = loaded.settings, loaded.origins
    rows = [
        (source.names[0], config.shown(getattr(settings, name)), origins.get(name, "default"))
        for name, source in sources_of(Settings).items()
    ]
    rows.append(("ICE servers", config.shown(settings.ice_servers), origins.get("ice_servers", "default")))
    for variable, limit in LIMITS.items():
        value = getattr(getattr(settings, limit.group), limit.name)
        rows.append((variable, config.shown(value), origins.get(variable, "default")))
    return rows


@main.command()
@settings_options(RommSettings)
def romm(**flags: object) -> None:
    """Run RomM's side of the protocol without RomM: tokens and the registry of rooms.

    It needs ROMM_SFU_INTERNAL_SECRET, shared with the nodes, and ROMM_AUTH_SECRET_KEY, which signs tokens:
    from the environment, or from files that the variables with _FILE appended name. Who a user is comes from
    --identity-header, set by a --trusted-proxy. STUN and TURN servers are read from the environment as well.
    """
    loaded = _load(config.load_romm, flags)
    _start_logging(loaded.settings.log_level, loaded.warnings)
    service = importlib.import_module("sfu.romm_service")
    service.run(_romm_service_settings(service.RommServiceSettings, loaded.settings))


def _romm_service_settings(make: type[RommServiceSettings], settings: RommSettings) -> RommServiceSettings:
    assert settings.romm_auth_secret_key is not None
    assert settings.romm_sfu_internal_secret is not None
    return make(
        signing_key=settings.romm_auth_secret_key.get_secret_value(),
        internal_secret=settings.romm_sfu_internal_secret.get_secret_value(),
        redis_url=settings.redis_url,
        allowlist_format=settings.allowlist_format,
        host=settings.http_listen_ip,
        port=settings.port,
        read_token_ttl=settings.read_token_ttl_seconds,
        write_token_ttl=settings.write_token_ttl_seconds,
        ice_servers=[server.to_json() for server in settings.ice_servers],
        identity_header=settings.identity_header,
        trusted_proxies=settings.trusted_proxies,
        allowed_origins=settings.allowed_origins,
    )


def _start_logging(level: str, warnings: tuple[str, ...]) -> None:
    logs.configure(level)
    log = structlog.get_logger("sfu.config")
    for warning in warnings:
        log.warning("setting", text=warning)


def _load(load: Callable[..., T], flags: Mapping[str, object]) -> T:
    try:
        return load(flags=_texts(flags))
    except ConfigError as error:
        _fail(error)


def _texts(flags: Mapping[str, object]) -> dict[str, str]:
    """Flags as the texts that environment variables would have."""
    texts = {}
    for name, value in flags.items():
        if isinstance(value, bool):
            texts[name] = "1" if value else "0"
        elif isinstance(value, tuple):
            texts[name] = ",".join(map(str, value))
        elif value is not None:
            texts[name] = str(value)
    return texts


def _fail(error: ConfigError) -> NoReturn:
    for problem in error.problems:
        click.echo(f"trio-sfu: {problem}", err=True)
    only_flags = all(problem.where.startswith("--") for problem in error.problems)
    raise SystemExit(2 if only_flags else 1)

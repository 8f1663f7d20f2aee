"""The command line: ``trio-sfu serve`` and ``trio-sfu config``.

Every setting that has a flag (:data:`sfu.config.SOURCES`) is an option here; a flag wins over the
environment. Secrets have none, since command lines are visible to everyone on a machine.

Exit status: 0, 1 for settings that cannot be used, 2 for a command line that cannot.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar

import click
import structlog

from sfu import config, logs
from sfu.config import ConfigError, Loaded, Settings

F = TypeVar("F", bound=Callable[..., Any])


def _workers(text: str) -> str:
    if not re.fullmatch(r"auto|[1-9][0-9]{0,8}", text):
        raise click.BadParameter(f"{text!r} is neither a whole number from 1 up nor auto")
    return text


_TYPES: Final[dict[str, Any]] = {
    "port": click.IntRange(1, 65535),
    "webrtc_port": click.IntRange(1, 65535),
    "worker_count": _workers,
    "log_level": click.Choice(list(logs.LEVELS), case_sensitive=False),
    "require_write_token": click.Choice(["off", "room", "connect"], case_sensitive=False),
}
_METAVARS: Final = {
    "romm_api_base_url": "URL",
    "public_url": "URL",
    "http_listen_ip": "ADDRESS",
    "listen_ip": "ADDRESS",
    "announced_ips": "ADDRESS",
    "node_id": "NAME",
    "video_codecs": "NAMES",
    "worker_count": "N|auto",
}


def _settings_options(command: F) -> F:
    """One option for each setting that has a flag."""
    for name, source in reversed(config.SOURCES.items()):
        if source.flag is None:
            continue
        description = Settings.model_fields[name].description
        text = f"{description}  [env: {', '.join(source.names)}; default: {config.default_text(name)}]"
        if "/" in source.flag:
            option = click.option(source.flag, name, default=None, help=text)
        elif name == "announced_ips":
            option = click.option(
                source.flag, name, multiple=True, metavar=_METAVARS[name], help=f"{text} May be repeated."
            )
        else:
            option = click.option(
                source.flag, name, type=_TYPES.get(name, str), metavar=_METAVARS.get(name), help=text
            )
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="trio-sfu", prog_name="trio-sfu")
def main() -> None:
    """A WebRTC SFU for emulator netplay."""


@main.command()
@_settings_options
def serve(**flags: object) -> None:
    """Run the daemon.

    Behind RomM it needs ROMM_API_BASE_URL and ROMM_SFU_INTERNAL_SECRET; with --standalone it needs nothing.
    Settings without a flag here are read from the environment: see "trio-sfu config".
    """
    loaded = _load(flags)
    logs.configure(loaded.settings.log_level)
    log = structlog.get_logger("sfu.config")
    for warning in loaded.warnings:
        log.warning("setting", text=warning)
    # Late, since it takes the whole server with it, which the other commands do without.
    run: Callable[[Settings], None] = importlib.import_module("sfu.node").run
    run(loaded.settings)


@main.command("config")
@_settings_options
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def show_config(as_json: bool, **flags: object) -> None:
    """Show the effective settings and where each comes from.

    Secrets are masked. Takes the options of "serve".
    """
    loaded = _load(flags)
    rows = [
        (_variable(name), config.shown(getattr(loaded.settings, name)), _origin(loaded, name))
        for name in Settings.model_fields
    ]
    if as_json:
        click.echo(
            json.dumps(
                {
                    "settings": {name: {"value": value, "source": origin} for name, value, origin in rows},
                    "warnings": list(loaded.warnings),
                },
                indent=2,
                ensure_ascii=False,
            )
        )
        return
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        click.echo(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}")
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)


def _load(flags: dict[str, object]) -> Loaded:
    try:
        return config.load(flags=_texts(flags))
    except ConfigError as error:
        _fail(error)


def _texts(flags: dict[str, object]) -> dict[str, str]:
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


def _variable(name: str) -> str:
    """What a setting is called in the environment."""
    return config.SOURCES[name].names[0] if name in config.SOURCES else "ice servers"


def _origin(loaded: Loaded, name: str) -> str:
    return loaded.origins.get(name, "default")

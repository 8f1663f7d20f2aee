"""What a setting is made of: where it comes from, how its text is read, how it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args, get_origin

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sfu.config import parse
from sfu.config.parse import Parser
from sfu.iceservers import IceServer

MASK: Final = "********"
"""What is shown in place of a secret."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a setting comes from."""

    names: tuple[str, ...]
    """Environment variables; the first that is not blank counts."""
    parse: Parser
    flag: str | None
    """On the command line; a pair like ``--x/--no-x`` for a switch."""
    metavar: str | None
    """What stands for the flag's value in help."""
    many: bool
    """Whether the flag may be repeated."""
    secret: bool
    """Never shown; may also come from a file named by ``NAME_FILE``."""
    default: str | None
    """The default in words, where it is not a constant."""


def setting(
    *names: str,
    about: str,
    parse: Parser = parse.plain,
    flag: str | None = None,
    metavar: str | None = None,
    many: bool = False,
    secret: bool = False,
    default_text: str | None = None,
    **constraints: Any,
) -> Any:
    """A field of a :class:`SettingsModel`: a :class:`Source`, and what pydantic's ``Field`` takes.

    :param about: one sentence for help and documentation.
    :param constraints: ``default`` or ``default_factory``, ``ge``, ``le``.
    """
    field = Field(description=about, **constraints)
    field.metadata.append(Source(names, parse, flag, metavar, many, secret, default_text))
    return field


class SettingsModel(BaseSettings):
    """Settings whose fields have a :class:`Source`. Tests build them with keyword arguments."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing is read behind the caller's back; the loader asks :class:`~sfu.config.load.Environment`."""
        return (init_settings,)


Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
LogLevel: TypeAlias = Literal["debug", "info", "warn", "error", "silent"]
READ_TOKEN_TTL: Final[dict[str, Any]] = {"default": 900, "ge": 30, "le": 2_592_000}
WRITE_TOKEN_TTL: Final[dict[str, Any]] = {"default": 30, "ge": 5, "le": 3600}
MIN_SIGNING_KEY: Final = 32
"""Characters."""


def signing_key_problems(key: SecretStr | None, secret: SecretStr | None) -> list[str]:
    """What is wrong with the key that signs tokens, next to the secret shared between servers."""
    problems = []
    if key is not None and len(key.get_secret_value()) < MIN_SIGNING_KEY:
        problems.append(
            f"ROMM_AUTH_SECRET_KEY must have at least {MIN_SIGNING_KEY} characters: "
            "make one with openssl rand -hex 32"
        )
    if key is not None and key == secret:
        problems.append("ROMM_AUTH_SECRET_KEY and ROMM_SFU_INTERNAL_SECRET must differ")
    return problems


def sources_of(model: type[SettingsModel]) -> dict[str, Source]:
    """The sources of a model's settings, by field."""
    return {
        name: source
        for name, field in model.model_fields.items()
        for source in field.metadata
        if isinstance(source, Source)
    }


def bounds(field: FieldInfo) -> tuple[Any, Any] | None:
    """Least and greatest number, the latter None where there is none; None for what is not limited."""
    least = most = None
    for limit in field.metadata:
        least = getattr(limit, "ge", least)
        most = getattr(limit, "le", most)
    return None if least is None else (least, most)


def allowed(field: FieldInfo) -> str | None:
    """A number's bounds in words that can follow "must be"; None for what is not a limited number."""
    limits = bounds(field)
    if limits is None:
        return None
    least, most = limits
    kind = "a number" if field.annotation is float else "a whole number"
    return f"{kind} from {least:.10g} " + ("up" if most is None else f"to {most:.10g}")


def choices(field: FieldInfo) -> tuple[str, ...]:
    """The words that a setting may be; empty where it is not one of a few."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def default_text(model: type[SettingsModel], name: str) -> str:
    """A field's default in words."""
    return sources_of(model)[name].default or shown(model.model_fields[name].default) or "unset"


# Showing


def shown(value: object) -> str:
    """A setting's value for people, without any secret in it."""
    match value:
        case SecretStr():
            return MASK
        case bool():
            return "on" if value else "off"
        case None:
            return ""
        case float():
            return f"{value:.10g}"
        case IceServer(urls=urls, username=username):
            text = urls if isinstance(urls, str) else " ".join(urls)
            return text if username is None else f"{text} ({username}:{MASK})"
        case tuple():
            return ", ".join(map(shown, value))
        case _:
            return masked(str(value))


_USER_IN_URL: Final = re.compile(
    r"(?:(?<=[\s:/?#])|^)([a-z][a-z0-9+.-]*://)?[^\s:/?#]*:(?!//)\S*@", re.IGNORECASE
)
_SECRET_IN_QUERY: Final = re.compile(
    r"([?&][^=&\s]*(?:passw|token|secret|key)[^=&\s]*=)[^&\s]+", re.IGNORECASE
)
_MAX_QUOTED: Final = 80
"""Characters of a wrong value that is repeated."""


def masked(text: str) -> str:
    """A text without the password of any URL in it, be it before the host or in the query.

    Where that could be told in two ways it hides rather too much.
    """
    text = _USER_IN_URL.sub(rf"\1{MASK}@", text)
    return _SECRET_IN_QUERY.sub(rf"\1{MASK}", text)


def quoted(text: str) -> str:
    """A wrong value, to be repeated in a message: printable and without a password."""
    return repr(masked(text)) if len(text) <= _MAX_QUOTED else f"({len(text)} characters)"

"""Any environment gives settings, or problems in words: never a traceback, never a secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from sfu.config import ConfigError, RommSettings, Settings, load, load_romm, shown
from sfu.config.limits import LIMITS
from sfu.config.source import sources_of

PASSWORD = "hunter2-correct-horse"
SECRETS = {
    "ROMM_SFU_INTERNAL_SECRET": PASSWORD,
    "ROMM_AUTH_SECRET_KEY": f"{PASSWORD}-{PASSWORD}",
}

texts = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=40)  # surrogates too
    | st.integers(-10, 1 << 40).map(str)
    | st.sampled_from(
        [
            *("0", "1", "true", "auto", "none", "connect", "debug", "VP8", "*", "12x", "0.5", "9" * 5000),
            *("127.0.0.1", "::1", "10.0.0.0/8", "0.0.0.0/0", "/a/", "X-User", "hash"),
            *("http://romm:8080/x", "https://a.example", "redis://redis/1", "unix:///redis", "http://["),
            *("http://ro\nmm", "redis://redis\x1b[0m"),
            f"http://ann:{PASSWORD}@romm",
            f"redis://:{PASSWORD}@redis?password={PASSWORD}",
        ]
    )
)


def variables(model: type[Settings | RommSettings]) -> list[str]:
    """All but those of the secrets."""
    names = [name for source in sources_of(model).values() for name in source.names]
    return [name for name in names if name not in SECRETS]


def check(read: Callable[..., Any], environ: dict[str, str]) -> None:
    try:
        loaded = read(environ)
    except ConfigError as error:
        said = [str(problem) for problem in error.problems]
        assert said
    else:
        said = [*loaded.warnings, *(shown(value) for _, value in loaded.settings)]
    for text in said:
        assert PASSWORD not in text
        assert text.isprintable()


@given(st.dictionaries(st.sampled_from([*variables(Settings), *LIMITS]), texts, max_size=12), st.booleans())
@example({"PUBLIC_URL": f"http://ann:{PASSWORD}@sfu", "ROMM_URL": "http://romm"}, False)
def test_a_node(environ: dict[str, str], alone: bool) -> None:
    environ.setdefault("SFU_STANDALONE", str(int(alone)))
    check(load, environ | SECRETS)


@given(st.dictionaries(st.sampled_from(variables(RommSettings)), texts, max_size=8))
@example({"SFU_REDIS_URL": f"redis://redis?password={PASSWORD}"})
def test_romms_side(environ: dict[str, str]) -> None:
    check(load_romm, environ | SECRETS)

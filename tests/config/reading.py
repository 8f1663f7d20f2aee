"""Reading settings out of made-up environments."""

from __future__ import annotations

import pytest

from sfu.config import ConfigError, RommSettings, Settings, load, load_romm

KEY = "0123456789abcdef0123456789abcdef"
ROMM = {"ROMM_API_BASE_URL": "http://romm:8080", "ROMM_SFU_INTERNAL_SECRET": "internal secret"}
"""What a node behind RomM needs."""
NAMED = {**ROMM, "PUBLIC_URL": "https://sfu.example", "NODE_ID": "one"}
"""What it should have."""
ALONE = {"SFU_STANDALONE": "1"}
SERVICE = {"ROMM_SFU_INTERNAL_SECRET": "internal secret", "ROMM_AUTH_SECRET_KEY": KEY}
"""What RomM's side needs."""
CPUS = 8


def settings(**environ: str) -> Settings:
    """Of a node behind RomM."""
    return load({**ROMM, **environ}, cpus=CPUS).settings


def alone(**environ: str) -> Settings:
    """Of a node without RomM."""
    return load({**ALONE, **environ}, cpus=CPUS).settings


def service(**environ: str) -> RommSettings:
    """Of RomM's side."""
    return load_romm({**SERVICE, **environ}).settings


def warnings(**environ: str) -> list[str]:
    """For a node behind RomM that has everything it should have."""
    return list(load({**NAMED, **environ}, cpus=CPUS).warnings)


def problems(environ: dict[str, str], flags: dict[str, str] | None = None) -> list[str]:
    """What a node does not start for."""
    with pytest.raises(ConfigError) as caught:
        load(environ, flags, cpus=CPUS)
    return [str(problem) for problem in caught.value.problems]


def service_problems(environ: dict[str, str], flags: dict[str, str] | None = None) -> list[str]:
    """What RomM's side does not start for."""
    with pytest.raises(ConfigError) as caught:
        load_romm(environ, flags)
    return [str(problem) for problem in caught.value.problems]

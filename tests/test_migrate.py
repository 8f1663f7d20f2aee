"""docs/migrate.md says what the repository holds."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "migrate.md").read_text()
NGINX = ROOT / "deploy" / "nginx"


def test_the_nginx_configuration_is_the_one_that_is_tested() -> None:
    blocks = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
    assert blocks == [(NGINX / name).read_text() for name in ("trio-sfu-locations.conf", "trio-sfu.conf")]


def test_every_variable_is_one_of_ours_or_romms() -> None:
    configuration = (ROOT / "docs" / "configuration.md").read_text()
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    named = {name.partition("=")[0] for name in re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+(?:=\w+)?)`", prose)}
    assert len(named) > 15
    romms = {"SFU_HOST", "SFU_PORT"}
    unknown = {name for name in named - romms if f"`{name}`" not in configuration}
    assert unknown - {"ROMM_SFU_INTERNAL_SECRET_FILE"} == set()
    assert "ROMM_SFU_INTERNAL_SECRET_FILE" in configuration


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target

"""The page about the configuration is the settings' own."""

from __future__ import annotations

import re
from pathlib import Path

from sfu.config import docs
from sfu.config.limits import LIMITS
from sfu.config.load import IGNORED
from sfu.config.romm import SOURCES as ROMM_SOURCES
from sfu.config.settings import SOURCES, Settings
from sfu.iceservers import ICE_VARIABLES

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    _, _, rest = docs.markdown().partition(f"# {title}\n")
    lines = [line for line in re.split(r"\n#", rest)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == docs.markdown(), "run: trio-sfu config --markdown > docs/configuration.md"


def test_every_setting_has_a_row_with_its_names_flag_and_default() -> None:
    page = docs.markdown()
    for source in (*SOURCES.values(), *ROMM_SOURCES.values()):
        names = " ".join(f"`{name}`" for name in source.names)
        flag = f"`{source.flag}`" if source.flag else ""
        assert f"\n| {names} | {flag} | " in page
    for variable in (*LIMITS, *IGNORED):
        assert f"`{variable}`" in page
    for variable in ICE_VARIABLES:
        assert f"`{variable}`" in page or re.search(r"SFU_TURN_\w+[23]$", variable)


def test_every_setting_of_a_node_is_in_one_section() -> None:
    titles = ["RomM", "Standalone", "Server", "Registry", "WebRTC", "Auth", "Scaling and policy"]
    titles.append("Logging and debugging")
    documented = [row[0] for title in titles for row in rows(title)]
    assert documented == [" ".join(f"`{name}`" for name in source.names) for source in SOURCES.values()]


def test_a_row() -> None:
    assert ["`PORT`", "`--port`", "3001", "Signaling port (HTTP and WebSocket). From 1 to 65535."] in rows(
        "Server"
    )
    assert ["`LOG_LEVEL`", "`--log-level`", "warn", Settings.model_fields["log_level"].description] in rows(
        "Logging and debugging"
    )
    assert ["`SFU_LIMIT_ROOMS`", "10000", "Rooms of this node."] in rows("Rooms")


def test_no_place_is_left_empty() -> None:
    assert "[[" not in docs.markdown()

"""Settings that a node cannot honour."""

from __future__ import annotations

from typing import Literal

import pytest
from structlog.testing import capture_logs

from sfu.config import Settings
from sfu.node import NodeError, check_built


@pytest.mark.parametrize("what", ["room", "connect"])
def test_a_protection_that_is_not_built_is_not_silently_left_out(what: Literal["room", "connect"]) -> None:
    with pytest.raises(NodeError, match=f"SFU_REQUIRE_WRITE_TOKEN={what} is not enforced"):
        check_built(Settings(standalone=True, require_write_token=what))


def test_other_settings_without_effect_are_told() -> None:
    with capture_logs() as logs:
        check_built(Settings(standalone=True))
        assert logs == []
        check_built(Settings(standalone=True, fanout_enabled=True, debug_stats=True))
    assert [entry["setting"] for entry in logs] == ["SFU_FANOUT_ENABLED", "SFU_DEBUG_STATS"]

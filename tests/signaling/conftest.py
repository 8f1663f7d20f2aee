"""Fixtures. A test asks for ``autojump_clock`` itself; fixtures cannot for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from sfu.signaling import frontdoor
from sfu.signaling.engineio import server

if TYPE_CHECKING:
    from tests.support.app_world import AppWorld


@pytest.fixture(autouse=True)
def bugs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """No error of ours may end a connection or a session, unless the test takes it off this list."""
    seen: list[str] = []

    def exception(event: str, **fields: Any) -> None:
        if event in ("connection failed", "session failed"):
            seen.append(event)
        structlog.get_logger().exception(event, **fields)

    for module in (frontdoor, server):
        monkeypatch.setattr(module.log, "exception", exception, raising=False)
    yield seen
    assert seen == []


@pytest.fixture
async def world() -> AsyncIterator[AppWorld]:
    """A node with one application."""
    from tests.support.app_world import open_world  # the transport's tests do without the application

    async with open_world() as world:
        yield world

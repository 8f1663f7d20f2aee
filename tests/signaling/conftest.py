"""Fixtures of the application's tests. A test asks for ``autojump_clock`` itself; fixtures cannot for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.app_world import AppWorld


@pytest.fixture
async def world() -> AsyncIterator[AppWorld]:
    """A node with one application."""
    from tests.support.app_world import open_world  # the transport's tests do without the application

    async with open_world() as world:
        yield world

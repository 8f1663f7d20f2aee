"""Fixtures of the application's tests. A test asks for ``autojump_clock`` itself; fixtures cannot for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.app_world import AppWorld, open_world


@pytest.fixture
async def world() -> AsyncIterator[AppWorld]:
    """A node with one application."""
    async with open_world() as world:
        yield world

"""Room members that run as processes of their own, made of WebRTC stacks that share no code with ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.daemon import Daemon, environment

ROOT = Path(__file__).parents[2]
WERIFT = ROOT / "tests" / "interop" / "werift"
SOON = 20.0
"""Seconds for whatever must happen, on a machine that has other things to do."""


class Remote:
    """A peer's process, which takes commands: a line of JSON each, answered with a line of JSON."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._buffer = b""

    async def do(self, name: str, **arguments: Any) -> Any:
        """Run one command there. Raises AssertionError with its words if it fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        await self._process.stdin.send_all(json.dumps({"do": name, **arguments}).encode() + b"\n")
        with trio.fail_after(SOON * 2):
            while b"\n" not in self._buffer:
                data = await self._process.stdout.receive_some()
                assert data, "the peer's process ended"
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    async def until(self, what: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Its status, once something holds of it."""
        status: dict[str, Any] = {}
        with trio.move_on_after(SOON):
            while True:
                status = await self.do("status")
                assert status["failures"] == []
                if what(status):
                    return status
                await trio.sleep(0.1)
        raise AssertionError(status)

    def kill(self) -> None:
        """As a crash would: nobody is told."""
        self._process.kill()


def aiortc(daemon: Daemon, name: str) -> AbstractAsyncContextManager[Remote]:
    """A peer made of aiortc (:mod:`tests.support.aiortc_peer`)."""
    return open_remote(daemon, name, [sys.executable, "-m", "tests.support.aiortc_peer"])


def werift(daemon: Daemon, name: str) -> AbstractAsyncContextManager[Remote]:
    """A peer made of werift (``tests/interop/werift``); skips the test where that is not installed."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node")
    if not (WERIFT / "node_modules").is_dir():
        pytest.skip("werift is not installed: ./dev setup-test")
    return open_remote(daemon, name, [node, str(WERIFT / "peer.mjs")])


@asynccontextmanager
async def open_remote(daemon: Daemon, name: str, command: Sequence[str]) -> AsyncIterator[Remote]:
    """Start a peer's process, given the daemon's address and a token; it is killed at the end."""
    token = await trio.to_thread.run_sync(daemon.mint, name)
    with tempfile.TemporaryFile() as stderr:
        process = await trio.lowlevel.open_process(
            [*command, daemon.url, token],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=ROOT,
            env=environment(),
        )
        try:
            yield Remote(process)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for stream in (process.stdin, process.stdout):
                    assert stream is not None
                    await stream.aclose()
            stderr.seek(0)
            sys.stderr.write(f"{name}:\n{stderr.read().decode()}")


async def together(*work: Awaitable[Any]) -> None:
    """Wait for several things at once."""

    async def wait(one: Awaitable[Any]) -> None:
        await one

    async with trio.open_nursery() as nursery:
        for one in work:
            nursery.start_soon(wait, one)

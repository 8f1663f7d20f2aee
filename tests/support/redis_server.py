"""A real Redis as a child process: on a free loopback port, without persistence, gone with the test."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager

import redis

START_ATTEMPTS = 3
"""Somebody else may take the port between our look and the server's bind."""


class RedisServer:
    """Started by :func:`running_redis`. Blocking; every call is short."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self.raw: redis.Redis = redis.Redis(port=port, protocol=2)
        """A client of the test's own, to look into the server and to put things there."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> bool:
        """Start it, empty, and wait until it takes commands; False if the port is not to be had."""
        executable = shutil.which("redis-server")
        assert executable is not None, "install redis-server"
        options = ("--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no")
        self._process = subprocess.Popen(
            [executable, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd="/"
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                return True
        self.kill()
        return False

    def kill(self) -> None:
        """End it on the spot; connections break. It may be started again."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        self.raw.close()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """A server for the length of a block."""
    for _ in range(START_ATTEMPTS):
        server = RedisServer(_free_port())
        if server.start():
            break
    else:
        raise AssertionError("redis-server does not start")
    try:
        yield server
    finally:
        server.kill()

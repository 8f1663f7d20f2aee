"""The real daemon as a child process, on free loopback ports.

:func:`running_daemon` is for plain tests and fixtures, :func:`open_daemon` for those on Trio. Both show what
the daemon wrote to standard error when a test fails, and stop it whatever happens.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

HOST = "127.0.0.1"
START_TIMEOUT = 30.0
"""Seconds until the daemon must have announced itself; about one on an idle machine."""
STOP_TIMEOUT = 10.0
"""Seconds until a daemon that was told to stop is killed instead. Tests hold it to less."""
PORT_RANGE = range(12_000, 30_000)
"""Below the ports that the kernel gives to clients."""
START_ATTEMPTS = 3
"""Somebody else may take a port between our look and the daemon's bind."""
EXECUTABLE = Path(sys.executable).with_name("trio-sfu")


class StartFailed(AssertionError):
    """The daemon ended, or did not announce itself in time."""


@dataclass(frozen=True)
class Ended:
    """How a daemon went."""

    status: int
    seconds: float
    """From the signal to the end of the process."""
    stdout: str
    stderr: str


class Program:
    """A running program of ours that listens on a port and says so. Blocking; every call is short except
    :meth:`stop`."""

    def __init__(
        self, subcommand: str, *options: str, port: int, variables: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._stdout = ""
        self._ended: Ended | None = None
        self._process = subprocess.Popen(
            [str(EXECUTABLE), subcommand, "--port", str(port), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment() | dict(variables or {}),
        )

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr(self) -> str:
        """What it has written so far."""
        if self._ended is not None:
            return self._ended.stderr
        return os.pread(self._stderr.fileno(), 1 << 24, 0).decode(errors="replace")

    def wait_ready(self) -> None:
        """Wait for the announcement on standard output. Raises :class:`StartFailed`."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + START_TIMEOUT
        fd = self._process.stdout.fileno()
        while "\n" not in self._stdout:
            readable, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(fd, 65536) if readable else b""
            self._stdout += chunk.decode()
            if not chunk:
                ended = self.stop(signal.SIGKILL)
                raise StartFailed(
                    f"the daemon did not start (status {ended.status}):\n{ended.stdout}{ended.stderr}"
                )

    def request(
        self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One HTTP request with a JSON body; status, headers by lower-case name, body."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        with contextlib.closing(connection):
            fields = dict(headers or {})
            data = None
            if body is not None:
                data = json.dumps(body)
                fields["Content-Type"] = "application/json"
            connection.request(method, target, data, fields)
            response = connection.getresponse()
            return (
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Ended:
        """End it by a signal and reap it. A second call returns what the first did."""
        if self._ended is not None:
            return self._ended
        began = time.monotonic()
        self._process.send_signal(number)
        try:
            rest, _ = self._process.communicate(timeout=STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            rest, _ = self._process.communicate()
        seconds = time.monotonic() - began
        self._stdout += rest.decode()
        stderr = self.stderr
        self._ended = Ended(self._process.returncode, seconds, self._stdout, stderr)
        self._stderr.close()
        return self._ended


class Daemon(Program):
    """One running daemon: a whole node, by default ``--standalone``."""

    def __init__(
        self,
        *,
        workers: int,
        port: int,
        media_port: int,
        options: tuple[str, ...] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.workers = workers
        self.media_port = media_port
        """Of the first worker, UDP and TCP; the others follow."""
        super().__init__(
            "serve",
            "--standalone",
            *("--webrtc-port", str(media_port)),
            *("--workers", str(workers)),
            *("--announced-ip", HOST),
            *("--media-host", HOST),
            *options,
            port=port,
            variables=variables,
        )

    def mint(self, name: str) -> str:
        """A guest's token."""
        status, _, body = self.request("POST", "/api/sfu/token", {"name": name})
        assert status == 200, body
        return str(json.loads(body)["token"])

    @property
    def worker_pids(self) -> list[int]:
        """Its child processes, oldest first."""
        return children_of(self.pid)


def command(*options: str) -> list[str]:
    """The command line of ``trio-sfu serve``."""
    return [str(EXECUTABLE), "serve", *options]


def environment() -> dict[str, str]:
    """Ours without any setting of the daemon's: tests must not depend on who runs them."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or name.startswith(("COVERAGE_", "COV_"))
    }


def children_of(pid: int) -> list[int]:
    """Process ids of the children of a process, all its threads' together, in order."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return sorted(found)


def exists(pid: int) -> bool:
    """Whether there is such a process, be it a zombie."""
    return Path(f"/proc/{pid}").exists()


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def is_free(port: int, kind: socket.SocketKind) -> bool:
    """Whether a loopback port can be bound, as the daemon would bind it."""
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(workers: int) -> tuple[int, int]:
    """A port for signaling and, after it, a run of media ports: (signaling, first media)."""
    chance = random.SystemRandom()
    while True:
        port = chance.choice(PORT_RANGE)
        run = range(port, port + workers + 1)
        if all(is_free(p, kind) for p in run for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
            return port, port + 1


def start_daemon(
    workers: int = 1, options: tuple[str, ...] = (), variables: Mapping[str, str] | None = None
) -> Daemon:
    """Start one, with environment variables of its own, and wait until it is ready."""
    for attempt in range(START_ATTEMPTS):
        port, media_port = free_ports(workers)
        daemon = Daemon(
            workers=workers, port=port, media_port=media_port, options=options, variables=variables
        )
        try:
            daemon.wait_ready()
        except StartFailed as error:
            if "cannot listen" not in str(error) or attempt == START_ATTEMPTS - 1:
                raise
        except BaseException:
            daemon.stop(signal.SIGKILL)
            raise
        else:
            return daemon
    raise AssertionError


def _finish(daemon: Daemon) -> None:
    ended = daemon.stop()
    # pytest shows this with a failing test, and only then.
    sys.stderr.write(f"daemon: status {ended.status} after {ended.seconds:.2f} s\n{ended.stderr}")


@contextlib.contextmanager
def running_daemon(
    workers: int = 1, options: tuple[str, ...] = (), variables: Mapping[str, str] | None = None
) -> Iterator[Daemon]:
    """A daemon for the length of a block."""
    daemon = start_daemon(workers, options, variables)
    try:
        yield daemon
    finally:
        _finish(daemon)


@contextlib.asynccontextmanager
async def open_daemon(
    workers: int = 1, options: tuple[str, ...] = (), variables: Mapping[str, str] | None = None
) -> AsyncIterator[Daemon]:
    """The same without holding up Trio's loop."""
    daemon = await trio.to_thread.run_sync(start_daemon, workers, options, variables)
    try:
        yield daemon
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(_finish, daemon)


def stretched(seconds: float) -> float:
    """A limit that holds for an idle machine, on this one as busy as it is."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def clean(stderr: str) -> bool:
    """Whether nothing in a daemon's log is a bug of its own."""
    return "Traceback" not in stderr and "Exception ignored" not in stderr

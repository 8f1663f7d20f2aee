"""Debian's nginx as a child process, with a configuration file as it stands.

A test gives the file and what has to differ on this machine (where daemons listen), and gets an nginx on a
free loopback port, with a folder of its own for everything it writes and no rights that the test has not.

``python -m tests.support.nginx FILE OLD=NEW...`` does the same for tests in other languages: it prints the
address and becomes nginx.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.support.daemon import HOST

DEPLOY = Path(__file__).parents[2] / "deploy" / "nginx"
ONE_NODE = DEPLOY / "trio-sfu.conf"
"""The daemon at ``127.0.0.1:3001``, RomM at ``127.0.0.1:8080``."""
SEVERAL_NODES = DEPLOY / "trio-sfu-nodes.conf"
"""Daemons ``a``, ``b`` and ``c`` at ``127.0.0.1:3001`` to ``3003``; see :func:`several_nodes`."""
LOCATIONS = DEPLOY / "trio-sfu-locations.conf"
SITES = {
    "ours": ONE_NODE,
    "g5": Path(__file__).parent / "romm_nginx" / "g5.conf",
    "g6": Path(__file__).parent / "romm_nginx" / "g6.conf",
}
"""One daemon and RomM behind one address: as we have it, and as two generations of RomM's image do."""

LISTEN = "listen 80;"
ACCESS_LOG = "/var/log/nginx/access.log"
STOP_TIMEOUT = 5.0
"""Seconds until an nginx that was told to stop is killed instead."""

MAIN = """\
daemon off;
{user}worker_processes 1;
pid nginx.pid;
error_log error.log info;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include site.conf;
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx."""

    port: int
    folder: Path
    pid: int

    def reload(self) -> None:
        """Have it read its configuration again, as after a change or a new certificate: what it is doing is
        for the old worker process to finish."""
        os.kill(self.pid, signal.SIGHUP)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def access_log(self) -> str:
        """What it has written so far."""
        return (self.folder / "access.log").read_text()

    @property
    def error_log(self) -> str:
        """The same of its complaints."""
        return (self.folder / "error.log").read_text()


def one_node(daemon_port: int, romm_port: int) -> dict[str, str]:
    """The changes for :data:`ONE_NODE`."""
    return {"127.0.0.1:3001": f"{HOST}:{daemon_port}", "127.0.0.1:8080": f"{HOST}:{romm_port}"}


def several_nodes(a: int, b: int, c: int) -> dict[str, str]:
    """The changes for :data:`SEVERAL_NODES`: the ports of daemons with these names as their ``NODE_ID``."""
    return {f"127.0.0.1:{3001 + i}": f"{HOST}:{port}" for i, port in enumerate((a, b, c))}


def render(text: str, changes: Mapping[str, str]) -> tuple[str, set[str]]:
    """Put in what differs; also returns which of the changes there was a place for."""
    found: set[str] = set()

    def put(match: re.Match[str]) -> str:
        found.add(match[0])
        return changes[match[0]]

    return re.sub("|".join(map(re.escape, changes)), put, text), found


def _write(folder: Path, site: Path, changes: Mapping[str, str], port: int) -> None:
    """Lay out nginx's folder. Raises ValueError if a change has no place: the file has become another."""
    changes = {
        LISTEN: f"listen {HOST}:{port};",
        ACCESS_LOG: str(folder / "access.log"),
        **changes,
    }
    places: set[str] = set()
    # Started by root, nginx would serve as nobody, who may not look into the folder.
    (folder / "nginx.conf").write_text(MAIN.format(user="user root;\n" if os.geteuid() == 0 else ""))
    (folder / "snippets").mkdir()
    for source, target in ((site, "site.conf"), (LOCATIONS, f"snippets/{LOCATIONS.name}")):
        text, found = render(source.read_text(), changes)
        (folder / target).write_text(text)
        places |= found
    if missing := changes.keys() - places:
        raise ValueError(f"{site.name} has no {missing}")


def _command(folder: Path, *options: str) -> list[str]:
    # Debian keeps it out of the PATH of ordinary users.
    program = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    assert program is not None, "there is no nginx: run ./dev setup-test first"
    return [program, "-e", "error.log", "-p", str(folder), "-c", str(folder / "nginx.conf"), *options]


def _prepare(folder: Path, site: Path, changes: Mapping[str, str]) -> tuple[socket.socket, dict[str, str]]:
    """Write everything down and have nginx check it; returns the listening socket that it is to inherit, and
    the environment that tells it so. Clients may connect at once: they are served when nginx runs."""
    listener = socket.create_server((HOST, 0), backlog=512)
    try:
        _write(folder, site, changes, listener.getsockname()[1])
        environment = {"NGINX": f"{listener.fileno()};"}
        check = subprocess.run(
            _command(folder, "-t"),
            env=environment,
            pass_fds=[listener.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
        assert check.returncode == 0, check.stderr
    except BaseException:
        listener.close()
        raise
    return listener, environment


@contextlib.contextmanager
def running_nginx(site: Path, changes: Mapping[str, str]) -> Iterator[Nginx]:
    """An nginx for the length of a block; its complaints are shown with a failing test.

    Args:
        site: a file for nginx's ``http`` context, with ``listen 80;``.
        changes: what stands in the file, and what is to stand there.

    Raises:
        ValueError: one of the changes has no place in the file.
        AssertionError: there is no nginx, or it does not like the file.
    """
    with tempfile.TemporaryDirectory(prefix="trio-sfu-nginx-") as name:
        folder = Path(name)
        listener, environment = _prepare(folder, site, changes)
        port = listener.getsockname()[1]
        with listener:
            process = subprocess.Popen(_command(folder), env=environment, pass_fds=[listener.fileno()])
        try:
            yield Nginx(port, folder, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            sys.stderr.write((folder / "error.log").read_text())


@contextlib.asynccontextmanager
async def open_nginx(site: Path, changes: Mapping[str, str]) -> AsyncIterator[Nginx]:
    """The same without holding up Trio's loop."""
    with contextlib.ExitStack() as stack:
        nginx = await trio.to_thread.run_sync(stack.enter_context, running_nginx(site, changes))
        try:
            yield nginx
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(stack.close)


def main() -> None:
    """See the module's text. The folder is left to the caller, who names it in ``TMPDIR``."""
    site, *pairs = sys.argv[1:]
    folder = Path(tempfile.mkdtemp(prefix="trio-sfu-nginx-"))
    listener, environment = _prepare(folder, Path(site), dict(pair.split("=", 1) for pair in pairs))
    print(f"http://{HOST}:{listener.getsockname()[1]}", flush=True)
    listener.set_inheritable(True)
    program, *arguments = _command(folder)
    os.execve(program, [program, *arguments], environment)


if __name__ == "__main__":
    main()

"""Several nodes as an operator runs them, all on this machine: three daemons, RomM's side twice on one Redis,
an nginx before the nodes, and one before all that, which knows the users by their passwords.

::

    clients ── front ──┬── RomM's side, twice ── Redis
                       │        │
                       └── balancer ── a, b, c

``python -m tests.support.cluster FOLDER`` does the same for tests in other languages. It serves a folder at
the front as well, writes a line of JSON with the addresses, and ends with its standard input. A line of input
like ``b`` stops a node; when it is gone, the line comes back.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from tests.support.daemon import HOST, Daemon, Program, clean, free_ports
from tests.support.nginx import SEVERAL_NODES, running_nginx, several_nodes
from tests.support.redis_server import RedisServer, running_redis

NODES = ("a", "b", "c")
"""Names of the nodes, as ``trio-sfu-nodes.conf`` has them."""
DOMAIN = "sfu.example.org"
"""What that file puts behind them."""
USERS = tuple(f"user{number}" for number in range(60))
PASSWORD = "swordfish"
REFRESH = 5
"""Seconds from one registration of a room to the next: as few as can be set."""

_FRONT = Path(__file__).parent / "romm_nginx" / "users.conf"
_SECRET = "what the nodes and RomM share"
_KEY = "what signs the tokens of this house"


class Cluster:
    """Made by :func:`running_cluster`. Blocking."""

    def __init__(self, stack: ExitStack, *, domain: str, pages: Path | None) -> None:
        """Start Redis and nginx, which does not mind that nobody else is there yet."""
        first, _ = free_ports(2 * len(NODES) + 1)
        self._domain = domain
        self._ports = {name: first + 2 * i for i, name in enumerate(NODES)}
        self._romm_ports = (first + 2 * len(NODES), first + 2 * len(NODES) + 1)
        self.nodes: dict[str, Daemon] = {}
        """Those that run, by name."""
        self.romms: list[Program] = []
        """Two, or none while RomM's side is away."""
        self._stderr = ""
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trio-sfu-cluster-")))
        users = folder / "users"
        users.write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}\n" for user in USERS))
        self.redis: RedisServer = stack.enter_context(running_redis())
        names = {f"{name}.{DOMAIN}": f"{name}.{domain}" for name in NODES if domain != DOMAIN}
        self.balancer = stack.enter_context(
            running_nginx(SEVERAL_NODES, several_nodes(*self._ports.values()) | names)
        )
        places = {
            "127.0.0.1:3001": f"{HOST}:{self.balancer.port}",
            "127.0.0.1:3002": f"{HOST}:{self._romm_ports[0]}",
            "127.0.0.1:3003": f"{HOST}:{self._romm_ports[1]}",
            "/etc/nginx/users": str(users),
            "/usr/share/nginx/html": str(pages or folder / "nothing"),
        }
        self.front = stack.enter_context(running_nginx(_FRONT, places))

    def public_url(self, name: str) -> str:
        """Where clients are sent when a room is on this node."""
        return f"http://{name}.{self._domain}:{self.balancer.port}"

    @property
    def stderr(self) -> str:
        """What all daemons and services have written so far, those of the past as well."""
        return self._stderr + "".join(program.stderr for program in (*self.nodes.values(), *self.romms))

    def mint(self, user: str, kind: str = "read") -> str:
        """A token for somebody whom nginx lets in."""
        credentials = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
        fields = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(HOST, self.front.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", "/api/sfu/token", json.dumps({"token_type": kind}), fields)
            answer = connection.getresponse()
            body = answer.read()
        assert answer.status == 200, body
        return str(json.loads(body)["token"])

    # Starting and stopping

    def mend(self) -> None:
        """Start whatever does not run."""
        if not self.redis_runs:
            assert self.redis.start()
        missing = [self._spawn(name) for name in NODES if name not in self.nodes]
        if not self.romms:
            self.start_romm()
        for daemon in missing:
            daemon.wait_ready()

    @property
    def redis_runs(self) -> bool:
        try:
            return bool(self.redis.raw.ping())
        except redis.ConnectionError:
            return False

    def start_romm(self) -> None:
        """Start both services of RomM's side."""
        options = ("--redis", self.redis.url, "--trusted-proxy", HOST)
        variables = {"ROMM_SFU_INTERNAL_SECRET": _SECRET, "ROMM_AUTH_SECRET_KEY": _KEY}
        self.romms = [Program("romm", *options, port=port, variables=variables) for port in self._romm_ports]
        for romm in self.romms:
            romm.wait_ready()

    def stop_romm(self, number: signal.Signals) -> None:
        """End both by a signal."""
        for romm in self.romms:
            self._stderr += romm.stop(number).stderr
        self.romms = []

    def start_node(self, name: str) -> None:
        """Start a node, at the ports that it has always had."""
        self._spawn(name).wait_ready()

    def stop_node(self, name: str, number: signal.Signals) -> None:
        """End a node by a signal."""
        self._stderr += self.nodes.pop(name).stop(number).stderr

    def stop(self) -> None:
        """End all daemons and services."""
        for name in list(self.nodes):
            self.stop_node(name, signal.SIGTERM)
        self.stop_romm(signal.SIGTERM)

    def _spawn(self, name: str) -> Daemon:
        romm_port = self._romm_ports[NODES.index(name) % len(self._romm_ports)]
        self.nodes[name] = Daemon(
            workers=1,
            port=self._ports[name],
            media_port=self._ports[name] + 1,
            options=(
                "--no-standalone",
                *("--host", HOST),
                *("--node-id", name),
                *("--public-url", self.public_url(name)),
            ),
            variables={
                "ROMM_API_BASE_URL": f"http://{HOST}:{romm_port}",
                "ROMM_SFU_INTERNAL_SECRET": _SECRET,
                "ROOM_REGISTRY_TTL_SECONDS": str(2 * REFRESH),
            },
        )
        return self.nodes[name]


@contextmanager
def running_cluster(*, domain: str = DOMAIN, pages: Path | None = None) -> Iterator[Cluster]:
    """A cluster for the length of a block.

    Args:
        domain: what stands behind the nodes' names in their ``PUBLIC_URL``.
        pages: a folder to serve at the front.
    """
    with ExitStack() as stack:
        cluster = Cluster(stack, domain=domain, pages=pages)
        try:
            cluster.mend()
            yield cluster
        finally:
            cluster.stop()
            sys.stderr.write(cluster.stderr)  # shown with a failing test


def main() -> None:
    """See the module's text. The nodes have names that browsers know to be this machine."""
    with running_cluster(domain="localhost", pages=Path(sys.argv[1])) as cluster:
        nodes = {name: cluster.public_url(name) for name in NODES}
        print(json.dumps({"front": cluster.front.url, "nodes": nodes, "password": PASSWORD}), flush=True)
        for line in sys.stdin:
            cluster.stop_node(line.strip(), signal.SIGTERM)
            print(line.strip(), flush=True)
        cluster.stop()
        assert clean(cluster.stderr)


if __name__ == "__main__":
    main()

"""Signaling under load: many sockets in one room, many idle sockets, slot changes, relayed messages.

A real daemon (``serve --standalone``, one media worker), and a load generator in this process, over loopback
WebSockets. CPU is the node process's user and system time; the workers have nothing to do. Tokens are minted
here, with the daemon's own key: names of guests are limited per address. The limits per socket and address
are raised where a measurement would run into them, since all load comes from one address. Room sizes count
everybody; the first four are players, the others spectators. A delay runs from the call to its answer, with
the load generator's own share in it: "generator" is how much of a core that one took.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.crowd import Client, Crowd
from sfu.romm.tokens import TokenKind, Tokens
from tests.support.daemon import Daemon, start_daemon

KEY = "0123456789abcdef0123456789abcdef"
PLAYERS = 4
UNLIMITED = "100000000"
PING_INTERVAL = 25.0
"""Seconds between heartbeats unless it is set otherwise."""
IN_FLIGHT = 8
"""Relayed messages that not everybody has yet."""
FEW_DESCRIPTORS = 64
"""Those that are open besides the sockets."""
VARIABLES = {
    "ROMM_AUTH_SECRET_KEY": KEY,
    "LOG_LEVEL": "error",
    **{
        f"SFU_LIMIT_{name}": UNLIMITED
        for name in (
            "EVENTS_PER_SECOND",
            "EVENTS_BURST",
            "CHANGES_PER_SECOND",
            "CHANGES_BURST",
            "RELAYS_PER_SECOND",
            "RELAYS_BURST",
            "RELAY_BYTES_PER_SECOND",
            "RELAY_BYTES_BURST",
            "ADDRESS_EVENTS_PER_SECOND",
            "ADDRESS_EVENTS_BURST",
            "ADDRESS_CONNECTS_PER_SECOND",
            "ADDRESS_CONNECTS_BURST",
        )
    },
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used."""

    cpu: float
    """Seconds."""
    rss: int
    """Bytes."""
    pss: int
    """The same with shared pages divided among those who share them."""


def usage(pid: int) -> Usage:
    """Of one process, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    memory = {
        line.split()[0]: int(line.split()[1]) * 1024
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    }
    ticks = os.sysconf("SC_CLK_TCK")
    return Usage((int(fields[11]) + int(fields[12])) / ticks, memory["Rss:"], memory["Pss:"])


class Span:
    """What happened from its making to :meth:`end`."""

    def __init__(self, daemon: Daemon, crowd: Crowd) -> None:
        self._pid = daemon.pid
        self._crowd = crowd
        crowd.delays.clear()
        crowd.seen = 0
        self._received = crowd.received
        self._heartbeats = crowd.heartbeats
        self._began = time.perf_counter()
        self._own = time.process_time()
        self._before = usage(self._pid)

    def end(self) -> None:
        after = usage(self._pid)
        self.seconds = time.perf_counter() - self._began
        self.cpu = after.cpu - self._before.cpu
        self.own_share = (time.process_time() - self._own) / self.seconds
        self.received = self._crowd.received - self._received
        self.heartbeats = self._crowd.heartbeats - self._heartbeats
        self.delays = sorted(self._crowd.delays)
        if self._crowd.refused:
            raise AssertionError(f"refused: {self._crowd.refused[:3]}")

    def delay(self, share: float) -> str:
        """Milliseconds within which that share of the calls was answered."""
        return f"{self.delays[min(len(self.delays) - 1, int(len(self.delays) * share))] * 1000:.1f} ms"

    @property
    def generator(self) -> str:
        return f"{self.own_share:.0%}"


@contextmanager
def playground(**variables: str) -> Iterator[tuple[Daemon, Crowd]]:
    """A daemon and a crowd without anybody in it yet."""
    daemon = start_daemon(variables=VARIABLES | variables)
    crowd = Crowd(daemon.port)
    try:
        yield daemon, crowd
    finally:
        crowd.close()
        daemon.stop()


def connect(crowd: Crowd, count: int) -> list[Client]:
    """So many more, each a guest of its own."""
    tokens = Tokens(KEY.encode())
    clients = []
    for number in range(len(crowd), len(crowd) + count):
        minted = tokens.mint(TokenKind.READ, sub=f"guest {number}", uid=f"{number:032x}", now=time.time())
        clients.append(crowd.connect(minted.token))
    return clients


def enter(crowd: Crowd, room: str, clients: list[Client], rate: float) -> None:
    """The first opens the room, three more are players, the others watch; so many joins per second."""
    crowd.call(clients[0], "open-room", {"extra": {"room_name": room}, "maxPlayers": PLAYERS})
    crowd.settle(clients[0])
    watch(crowd, room, clients[1:PLAYERS], rate, slot=0)


def watch(crowd: Crowd, room: str, clients: list[Client], rate: float, slot: int = 8) -> None:
    """Join, so many a second, and wait until everybody is in."""
    began = time.monotonic()
    for number, client in enumerate(clients):
        while (left := began + number / rate - time.monotonic()) > 0:
            crowd.pump(left)
        crowd.call(client, "join-room", {"extra": {"room_name": room, "player_slot": slot}})
        crowd.pump(0)
    crowd.settle(*clients)


def joins(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """(a) and (b)."""
    for size in sorted({*options.sizes, options.joiners + PLAYERS}):
        with playground() as (daemon, crowd):
            connecting = Span(daemon, crowd)
            clients = connect(crowd, size)
            connecting.end()
            enter(crowd, "room", clients[:PLAYERS], options.rate)
            crowd.listen(1)
            span = Span(daemon, crowd)
            watch(crowd, "room", clients[PLAYERS:], options.rate)
            crowd.listen(1)  # room lists and maps that are paced
            span.end()
        yield f"{size} sockets connect: node CPU each", f"{connecting.cpu / size * 1000:.2f} ms"
        yield "  per second", f"{size / connecting.seconds:.0f}"
        count = len(span.delays)
        yield f"{count} spectators join a room of {PLAYERS}, {options.rate:g}/s: p50", span.delay(0.5)
        yield "  p99", span.delay(0.99)
        yield "  node CPU, all joins", f"{span.cpu:.2f} s"
        yield "  node CPU per join", f"{span.cpu / count * 1000:.2f} ms"
        yield "  bytes sent per join, to everyone", f"{span.received / count:,.0f}"
        yield "  generator", span.generator


def idle(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """(c)."""
    with playground(SFU_PING_INTERVAL_SECONDS=str(options.ping)) as (daemon, crowd):
        nobody = Span(daemon, crowd)
        crowd.listen(options.seconds / 4)
        nobody.end()
        before = usage(daemon.pid)
        connect(crowd, options.idle)
        crowd.listen(2 * options.ping)
        span = Span(daemon, crowd)
        crowd.listen(options.seconds)
        span.end()
        after = usage(daemon.pid)
    spent = span.cpu - nobody.cpu / nobody.seconds * span.seconds
    per_heartbeat = spent / max(1, span.heartbeats)
    yield (
        f"{options.idle} idle sockets: node memory each (RSS)",
        f"{(after.rss - before.rss) / options.idle / 1024:.1f} KiB",
    )
    yield "  node memory, all (RSS / PSS)", f"{after.rss / 2**20:.0f} / {after.pss / 2**20:.0f} MiB"
    yield (
        f"  node CPU per heartbeat (one each {options.ping:g} s, so as to see many)",
        f"{per_heartbeat * 1e6:.0f} us",
    )
    yield (
        f"  node CPU per socket and minute (one each {PING_INTERVAL:g} s, scaled)",
        (f"{per_heartbeat * 60 / PING_INTERVAL * 1000:.2f} ms"),
    )
    yield "  generator", span.generator


def changes(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """(d), in a large room."""
    with playground() as (daemon, crowd):
        clients = connect(crowd, options.room)
        players = clients[:PLAYERS]
        # One seat stays free, to move to.
        enter(crowd, "room", players[:3], options.rate)
        watch(crowd, "room", clients[3:], options.rate)
        crowd.listen(1)
        span = Span(daemon, crowd)
        for number in range(options.changes):
            crowd.call(players[2], "update-player-slot", {"roomName": "room", "playerSlot": 3 - number % 2})
            crowd.settle(players[2])
            crowd.listen(0.3)  # so that each change is told, and not many at once
        span.end()
        yield f"slot changes of a player in a room of {options.room}: p50", span.delay(0.5)
        yield "  p99", span.delay(0.99)
        yield "  node CPU per change", f"{span.cpu / options.changes * 1000:.2f} ms"
        yield "  bytes sent per change, to everyone", f"{span.received / options.changes:,.0f}"
        yield "  generator", span.generator
        yield from relay(daemon, crowd, players[0], options.room, options.messages // 20)
    with playground() as (daemon, crowd):
        clients = connect(crowd, PLAYERS)
        enter(crowd, "room", clients, options.rate)
        yield from relay(daemon, crowd, clients[0], PLAYERS, options.messages)


def relay(
    daemon: Daemon, crowd: Crowd, sender: Client, room: int, messages: int
) -> Iterator[tuple[str, str]]:
    """Input of one player to everyone else, as fast as it goes, a few messages at a time."""
    crowd.watched = b'42["data-message"'
    payload = {"sync-control": [{"frame": 1234, "connected_input": [0, 8, 1]}]}
    others = room - 1
    span = Span(daemon, crowd)
    for number in range(messages):
        crowd.see((number - IN_FLIGHT) * others)
        crowd.emit(sender, "data-message", payload)
    crowd.see(messages * others)
    span.end()
    yield (
        f"data-messages of one player in a room of {room}: sent per second",
        f"{messages / span.seconds:,.0f}",
    )
    yield "  delivered per second", f"{messages * others / span.seconds:,.0f}"
    yield "  node CPU per delivery", f"{span.cpu / (messages * others) * 1e6:.1f} us"
    yield "  generator", span.generator


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[tuple[str, str]]]] = {
    "joins": joins,
    "idle": idle,
    "changes": changes,
}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench signaling", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="of joins, idle, changes")
    parser.add_argument("--joiners", type=int, default=500)
    parser.add_argument("--sizes", default="10,100,500", help="rooms whose joins are measured as well")
    parser.add_argument("--rate", type=float, default=100, help="joins per second")
    parser.add_argument("--idle", type=int, default=2000, help="idle sockets")
    parser.add_argument("--ping", type=float, default=2.0, help="seconds between heartbeats of idle sockets")
    parser.add_argument("--seconds", type=float, default=20.0, help="of idling")
    parser.add_argument("--room", type=int, default=1000, help="members of the large room")
    parser.add_argument("--changes", type=int, default=30)
    parser.add_argument("--messages", type=int, default=20_000)
    options = parser.parse_args(argv)
    options.sizes = [int(size) for size in options.sizes.split(",") if size]
    most = max(options.joiners + PLAYERS, options.idle, options.room, *options.sizes) + FEW_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    print(f"signaling, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for part in options.parts.split(","):
        for what, figure in PARTS[part](options):
            print(f"{what:82} {figure:>16}", flush=True)

"""Whatever a client and the application do in several namespaces, each socket lives by the rules."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import structlog.testing
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio_websocket import ConnectionClosed

from sfu.signaling.application import AckTimeout, Socket, SocketGone
from tests.signaling.harness import Recorder, Ws, open_house

NAMESPACES = ["/", "/a", "/b"]
UNKNOWN = "/unknown"

STEPS = st.tuples(
    st.sampled_from(["event", "ask", "leave", "kick", "call", "late answer", "connect"]),
    st.sampled_from([*NAMESPACES, UNKNOWN]),
)
GAMES = st.builds(
    lambda entered, steps: [("connect", namespace) for namespace in entered] + steps,
    st.lists(st.sampled_from(NAMESPACES), unique=True),
    st.lists(STEPS, max_size=20),
)


@dataclass
class Model:
    """What has to be true after each step."""

    connected: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    """Namespaces that once had a socket."""
    events: dict[str, list[tuple[str, list[object]]]] = field(default_factory=lambda: defaultdict(list))
    reasons: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    closed: bool = False

    def end(self, namespace: str, reason: str) -> None:
        self.connected.discard(namespace)
        self.reasons[namespace].append(reason)

    def close(self) -> None:
        """A packet out of turn."""
        for namespace in list(self.connected):
            self.end(namespace, "forced close")
        self.closed = True

    def may_send(self, namespace: str) -> bool:
        """Whether a packet reaches a socket; one for a namespace that never had any ends the session."""
        if namespace not in self.known:
            self.close()
        return namespace in self.connected


class Play:
    """Takes one step after the other on both sides of a connection and in the model."""

    def __init__(self, ws: Ws, apps: dict[str, Recorder]) -> None:
        self.ws = ws
        self.apps = apps
        self.model = Model()
        self.number = 0
        self.calls: dict[str, int] = defaultdict(int)

    def socket(self, namespace: str) -> Socket:
        return self.apps[namespace].sockets[-1]

    async def step(self, what: str, namespace: str) -> None:
        prefix = "" if namespace == "/" else namespace + ","
        model = self.model
        self.number += 1
        match what:
            case "connect":
                await self.ws.send(f"40{prefix}")
                if namespace == UNKNOWN:
                    assert await self.ws.text() == f'44{prefix}{{"message":"Invalid namespace"}}'
                elif namespace in model.connected:
                    model.close()
                else:
                    assert (await self.ws.text()).startswith(f'40{prefix}{{"sid":"')
                    model.connected.add(namespace)
                    model.known.add(namespace)
                    self.calls[namespace] = 0
            case "event" | "ask":
                ack_id = str(self.number) if what == "ask" else ""
                await self.ws.send(f'42{prefix}{ack_id}["e",{self.number}]')
                if model.may_send(namespace):
                    if ack_id:
                        assert await self.ws.text() == f"43{prefix}{ack_id}[{self.number}]"
                    assert await self.ws.text() == f'42{prefix}["e",{self.number}]'
                    model.events[namespace].append(("e", [self.number]))
            case "leave":
                await self.ws.send(f"41{prefix}")
                if model.may_send(namespace):
                    model.end(namespace, "client namespace disconnect")
            case "late answer":
                await self.ws.send(f"43{prefix}{self.number + 1000}[]")
                model.may_send(namespace)
            case "kick" if namespace in model.known:
                self.socket(namespace).disconnect()
                if namespace in model.connected:
                    assert await self.ws.text() == f"41{prefix}"
                    model.end(namespace, "server namespace disconnect")
            case "call" if namespace in model.known:
                await self.call(namespace, prefix)

    async def call(self, namespace: str, prefix: str) -> None:
        """Answered, or not, as the number of the step has it."""
        answers = self.number % 2 == 0

        async def answer() -> None:
            ack_id = self.calls[namespace]
            assert await self.ws.text() == f'42{prefix}{ack_id}["q"]'
            self.calls[namespace] += 1
            if answers:
                await self.ws.send(f"43{prefix}{ack_id}[{self.number}]")

        async with trio.open_nursery() as nursery:
            if namespace in self.model.connected:
                nursery.start_soon(answer)
            try:
                outcome = list(await self.socket(namespace).emit_with_ack("q", timeout=1.0))
            except SocketGone:
                assert namespace not in self.model.connected
            except AckTimeout:
                assert not answers
            else:
                assert outcome == [self.number]
                assert answers


async def play(steps: list[tuple[str, str]]) -> None:
    apps = {namespace: Recorder() for namespace in NAMESPACES}
    async with open_house(apps["/"], namespaces=apps) as house, house.websocket() as ws:
        await ws.text()
        game = Play(ws, apps)
        model = game.model
        for what, namespace in steps:
            if trio.current_time() > 20.0:  # a ping would come
                break
            try:
                await game.step(what, namespace)
            except ConnectionClosed:
                assert model.closed
            await trio.testing.wait_all_tasks_blocked()
            assert house.door.session_count == (0 if model.closed else 1)
            for name, app in apps.items():
                assert app.events == model.events[name]
                assert app.reasons == model.reasons[name]
                alive = [socket for socket in app.sockets if socket.connected]
                assert len(alive) == (name in model.connected)
            if model.closed:
                break


@given(GAMES)
def test_namespaces(steps: list[tuple[str, str]]) -> None:
    with structlog.testing.capture_logs() as logs:
        trio.run(play, steps, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [entry for entry in logs if entry["log_level"] == "error"] == []

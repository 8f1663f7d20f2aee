"""Playing a conversation against a running daemon."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

import trio
from trio_websocket import ConnectionClosed

from tests.conversations.client import Client, Heard, Refusal
from tests.conversations.script import Script, Step
from tests.conversations.values import BadValue, difference, plain, read_value, read_values, show
from tests.support.daemon import HOST, Daemon, stretched

PATIENCE: Final = 5.0
"""Seconds that something expected may take."""
PACE: Final = 0.27
"""Seconds after which the server sends a user map, or a room list, at once again; its own figure is 0.25."""
PACED: Final = ("users-updated", "rooms-updated")
ROOM_LIST: Final = "rooms-updated"
EXPECTATIONS: Final = frozenset(
    {"hear", "among", "ack", "dropped", "nothing", "answer", "header", "no-header", "let", "without"}
)
"""Verbs that make nothing happen."""
MAX_LINE: Final = 300
"""Characters of a message in a report."""
MAX_LINES: Final = 8
"""Messages of one client in a report."""

_REQUEST = re.compile(r"(?P<target>\S+)(?P<body>\s.*?)??(?:\swith (?P<headers>\{.*))?", re.DOTALL)


class Difference(AssertionError):
    """The server did not say what the conversation expects."""


@dataclass(frozen=True, slots=True)
class User:
    """A guest of the daemon."""

    name: str
    token: str
    """A read token."""
    cookie: str

    @property
    def id(self) -> str:
        """``signaling.md`` 0.3."""
        digits = hashlib.sha256(self.name.encode()).hexdigest()[:36]
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class World:
    """What all conversations of one daemon share."""

    daemon: Daemon
    secret: str
    """For ``/api/sfu/internal/``."""
    users: dict[str, User] = field(default_factory=dict)

    async def user(self, name: str) -> User:
        """A guest of that very name."""
        if name not in self.users:
            status, headers, body = await trio.to_thread.run_sync(
                self.daemon.request, "POST", "/api/sfu/token", {"name": name}
            )
            assert status == 200, body
            granted = json.loads(body)
            assert granted["sub"] == name, granted
            cookie = headers["set-cookie"].partition(";")[0]
            self.users[name] = User(name, granted["token"], cookie)
        return self.users[name]


class Stage:
    """One conversation under way."""

    def __init__(self, world: World, script: Script, nursery: trio.Nursery) -> None:
        self._world = world
        self._script = script
        self._nursery = nursery
        self._clients: dict[str, Client] = {}
        self._users: dict[str, User] = {}
        self._named: dict[str, Any] = {"node.secret": world.secret, "node.port": world.daemon.port}
        self._ignored: set[str] = set()
        self._room_list: Any = [[]]
        self._answer: Answer | None = None
        self._patience = stretched(PATIENCE)

    async def play(self) -> None:
        """From beginning to end. :raises Difference: the first, with file and line."""
        try:
            if any(step.what == ROOM_LIST and step.verb == "hear" for step in self._script.steps):
                await trio.sleep(2 * PACE)  # the file before has made its last changes
            for index, step in enumerate(self._script.steps):
                await self._take(index, step)
            await self._take(index, Step(step.line, "quiet"))
        finally:
            with trio.move_on_after(self._patience, shield=True):
                await self._clear()

    async def _take(self, index: int, step: Step) -> None:
        problem = ""
        try:
            if step.verb not in EXPECTATIONS:
                await self._wait_for_pace(index)
            await self._verbs[step.verb](self, step)
        except (Difference, BadValue) as error:
            problem = str(error)
        except trio.TooSlowError:
            problem = f"no answer within {self._patience:.0f} s"
        if problem:
            raise Difference(self._report(step, problem))

    async def _clear(self) -> None:
        """Leave nothing behind for the next conversation."""
        for client in self._clients.values():
            if not client.ended:
                try:
                    await client.emit("leave-room", [])
                    await client.probe()
                except ConnectionClosed:
                    continue
                await client.disconnect()

    def _report(self, step: Step, problem: str) -> str:
        words = [f"{self._script.path.name}:{step.line}: {step.words or 'the end'}", f"  {problem}"]
        for name, client in self._clients.items():
            self._drop_old_lists(client)
            if client.heard:
                words.append(f"  not accounted for, at {name}:")
                words += [f"    {self._shown(heard)}"[:MAX_LINE] for heard in list(client.heard)[:MAX_LINES]]
        return "\n".join(words)

    # Pace

    async def _wait_for_pace(self, index: int) -> None:
        """Let the server's pauses between user maps, and between room lists, pass where one is expected.

        It sends the first at once, and what comes within the next 250 ms at their end. The order of messages
        can be foretold only for the first.
        """
        expected: set[str] = set()
        for step in self._script.steps[index + 1 :]:
            if step.verb not in EXPECTATIONS:
                break
            if step.verb == "hear" and step.what in PACED:
                expected.add(step.what)
        last = max(
            (c.last_lists[name] for c in self._clients.values() for name in expected if name in c.last_lists),
            default=None,
        )
        if last is not None:
            await trio.sleep_until(last + PACE)

    # Coming and going

    async def _connect(self, step: Step) -> None:
        [name] = step.who
        user = self._users[name] = await self._world.user(step.what or name)
        options = plain(self._value(step.text)) if step.text else {"auth": {"token": user.token}}
        try:
            with trio.fail_after(self._patience):
                client = await Client.open(self._nursery, self._world.daemon.port, **options)
        except Refusal as refusal:
            raise Difference(f"refused: {show(refusal.args[0])}") from None
        client.room_list = self._room_list
        self._clients[name] = client

    async def _refused(self, step: Step) -> None:
        [name] = step.who
        self._users[name] = await self._world.user(step.what or name)
        options, expected = read_values(step.text, self._lookup)
        try:
            with trio.fail_after(self._patience):
                await Client.open(self._nursery, self._world.daemon.port, **plain(options))
        except Refusal as refusal:
            self._compare(expected, refusal.args[0])
            return
        raise Difference("connected, though it should have been refused")

    async def _leave(self, step: Step) -> None:
        for name in step.who:
            await self._client(name).disconnect()

    async def _lose(self, step: Step) -> None:
        for name in step.who:
            await self._client(name).lose()

    # Speaking

    async def _call(self, step: Step) -> None:
        await self._client(step.who[0]).call(step.what, plain(read_values(step.text, self._lookup)))

    async def _emit(self, step: Step) -> None:
        await self._client(step.who[0]).emit(step.what, plain(read_values(step.text, self._lookup)))

    # Listening

    async def _hear(self, step: Step) -> None:
        expected = read_values(step.text, self._lookup)
        for name in step.who:
            client = self._client(name)
            heard = await self._next(name, client, lambda h: h.kind == "event" and h.name == step.what)
            if heard.kind != "event" or heard.name != step.what:
                raise Difference(f"{name} heard {self._shown(heard)}")
            problem, captured = self._difference(expected, heard)
            while problem is not None and self._is_old_list(client, heard):
                client.heard.popleft()
                heard = await self._next(name, client, lambda h: h.name == step.what)
                problem, captured = self._difference(expected, heard)
            if problem is not None:
                raise Difference(f"{name}: {problem}")
            self._account(client, heard)
            self._named |= captured

    async def _among(self, step: Step) -> None:
        """Wait for a message wherever it stands among those that came since."""
        expected = read_values(step.text, self._lookup)
        for name in step.who:
            client = self._client(name)
            nearest = "nothing of the kind"
            with trio.move_on_after(self._patience) as scope:
                found = None
                while found is None:
                    news = client.news
                    for heard in client.heard:
                        if heard.kind != "event" or heard.name != step.what:
                            continue
                        problem, captured = self._difference(expected, heard)
                        if problem is None:
                            found = heard
                            self._named |= captured
                            break
                        nearest = problem
                    else:
                        await news.wait()
                assert found is not None
                self._account(client, found)
            if scope.cancelled_caught:
                raise Difference(f"{name}: {nearest}")

    async def _ack(self, step: Step) -> None:
        [name] = step.who
        client = self._client(name)
        expected = self._value(step.text)
        if not client.unanswered:
            raise Difference("nothing was asked that could be acknowledged")
        ack_id = client.unanswered.popleft()
        heard = await self._next(name, client, lambda h: h.kind == "ack")
        if heard.kind != "ack" or heard.ack_id != ack_id:
            raise Difference(f"{name} heard {self._shown(heard)}")
        args = heard.args
        if heard.name == "get-open-rooms" and len(args) == 2:
            args = [args[0], *self._own_rooms(args[1:])]
        self._compare(expected, args)
        client.heard.popleft()

    async def _dropped(self, step: Step) -> None:
        for name in step.who:
            client = self._client(name)
            heard = await self._next(name, client, lambda h: h.kind == "thrown out")
            if heard.kind != "thrown out":
                raise Difference(f"{name} heard {self._shown(heard)}")
            client.heard.popleft()
            heard = await self._next(name, client, lambda h: h.kind == "closed")
            if heard.kind != "closed":
                raise Difference(f"{name} heard {self._shown(heard)}")
            client.heard.popleft()

    async def _nothing(self, step: Step) -> None:
        others = [client for name, client in self._clients.items() if name not in step.who]
        with trio.fail_after(self._patience):
            for client in (*others, *map(self._client, step.who)):
                await client.probe()
        for name in step.who:
            client = self._client(name)
            self._drop_old_lists(client)
            if client.heard:
                raise Difference(f"{name} heard {self._shown(client.heard[0])}")

    async def _quiet(self, step: Step) -> None:
        """Everything is accounted for, and nothing more comes."""
        await self._nothing(Step(step.line, "nothing", tuple(self._clients)))
        if self._ignored.issuperset(PACED):
            return  # nothing else is ever sent late
        await trio.sleep(PACE)
        await self._nothing(Step(step.line, "nothing", tuple(self._clients)))

    async def _next(self, name: str, client: Client, wanted: Callable[[Heard], bool]) -> Heard:
        """The first message not accounted for; room lists that say nothing new only if one is wanted."""
        with trio.move_on_after(self._patience):
            while True:
                news = client.news
                self._drop_ignored(client)
                while (
                    client.heard
                    and not wanted(client.heard[0])
                    and self._is_old_list(client, client.heard[0])
                ):
                    client.heard.popleft()
                if client.heard:
                    return client.heard[0]
                await news.wait()
        raise Difference(f"{name} heard nothing within {self._patience:.0f} s")

    def _drop_ignored(self, client: Client) -> None:
        if self._ignored and any(h.name in self._ignored and h.kind == "event" for h in client.heard):
            kept = [h for h in client.heard if h.kind != "event" or h.name not in self._ignored]
            client.heard.clear()
            client.heard.extend(kept)

    def _drop_old_lists(self, client: Client) -> None:
        self._drop_ignored(client)
        while client.heard and self._is_old_list(client, client.heard[0]):
            client.heard.popleft()

    def _is_old_list(self, client: Client, heard: Heard) -> bool:
        """Whether it is a room list in which nothing of this file's rooms has changed."""
        if heard.kind != "event" or heard.name != ROOM_LIST:
            return False
        return bool(self._own_rooms(heard.args) == client.room_list)

    def _account(self, client: Client, heard: Heard) -> None:
        client.heard.remove(heard)
        if heard.name == ROOM_LIST:
            client.room_list = self._room_list = self._own_rooms(heard.args)

    def _own_rooms(self, args: list[Any]) -> list[Any]:
        """A room list without the rooms of other files."""
        if len(args) != 1 or not isinstance(args[0], list):
            return args
        return [[room for room in args[0] if str(room.get("name", "")).startswith(self._script.rooms)]]

    def _difference(self, expected: list[Any], heard: Heard) -> tuple[str | None, dict[str, Any]]:
        captured: dict[str, Any] = {}
        args = self._own_rooms(heard.args) if heard.name == ROOM_LIST else heard.args
        if len(expected) == len(args) == 1:
            return difference(expected[0], args[0], captured), captured
        return difference(expected, args, captured), captured

    # HTTP

    async def _request(self, step: Step) -> None:
        [name] = step.who
        parts = _REQUEST.fullmatch(step.text)
        assert parts is not None
        target = plain(self._value(json.dumps(parts["target"])))
        headers: dict[str, str] = {}
        if name != "nobody":
            user = self._users[name] = await self._world.user(name)
            headers = {"Authorization": f"Bearer {user.token}", "Cookie": user.cookie}
        headers |= plain(self._value(parts["headers"] or "{}"))
        rest = (parts["body"] or "").strip()
        body = None
        if rest.startswith("text "):
            body = rest.removeprefix("text ").encode()
        elif rest:
            body = json.dumps(plain(self._value(rest))).encode()
            headers.setdefault("Content-Type", "application/json")
        port = self._world.daemon.port
        with trio.fail_after(self._patience):
            try:
                self._answer = await trio.to_thread.run_sync(_ask, port, step.what, target, body, headers)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise Difference(f"no answer: {error!r}") from None

    async def _check_answer(self, step: Step) -> None:
        answer = self._answered()
        shown = answer.body.decode(errors="replace")
        if answer.status != int(step.what):
            raise Difference(f"{step.what} expected, not {answer.status} {shown}")
        if step.text.startswith("text "):
            self._compare(self._value(step.text.removeprefix("text ")), shown)
        elif step.text:
            try:
                found = json.loads(answer.body)
            except ValueError:
                raise Difference(f"the answer is no JSON: {shown!r}") from None
            expected = self._value(step.text)
            if isinstance(found, dict) and "room_name" not in found:
                known = {room: value for room, value in found.items() if self._is_ours(value)}
                found = known
            self._compare(expected, found)

    def _is_ours(self, value: Any) -> bool:
        """Whether a member of ``/list`` is of this file, or the object is no list of rooms."""
        if not isinstance(value, dict) or "nodeId" not in value:
            return True
        return str(value.get("room_name", "")).startswith(self._script.rooms)

    async def _check_header(self, step: Step) -> None:
        found = self._answered().headers.get(step.what.lower())
        if found is None:
            raise Difference(f"there is no header {step.what}")
        self._compare(self._value(step.text), found)

    async def _check_no_header(self, step: Step) -> None:
        found = self._answered().headers.get(step.what.lower())
        if found is not None:
            raise Difference(f"there is a header {step.what}: {found}")

    def _shown(self, heard: Heard) -> str:
        match heard.kind:
            case "event":
                args = self._own_rooms(heard.args) if heard.name == ROOM_LIST else heard.args
                return f"<- {heard.name} {', '.join(map(show, args))}"
            case "ack":
                return f"<= {show(heard.args)} (of {heard.name})"
        return f"the connection's end: {heard.kind} {heard.name}"

    def _answered(self) -> Answer:
        if self._answer is None:
            raise Difference("nothing was requested")
        return self._answer

    # Names

    async def _let(self, step: Step) -> None:
        self._named[step.what] = self._value(step.text)

    async def _without(self, step: Step) -> None:
        self._ignored.add(step.what)

    def _client(self, name: str) -> Client:
        try:
            return self._clients[name]
        except KeyError:
            raise BadValue(f"{name} is not connected") from None

    def _lookup(self, name: str) -> Any:
        if name in self._named:
            return self._named[name]
        who, _, what = name.partition(".")
        if who in self._users and what in ("id", "token", "name", "cookie"):
            return getattr(self._users[who], what)
        if who in self._clients and what == "socket":
            return self._clients[who].id
        raise BadValue(f"nothing is called ${name}")

    def _value(self, text: str) -> Any:
        return read_value(text, self._lookup)

    def _compare(self, expected: Any, found: Any) -> None:
        captured: dict[str, Any] = {}
        problem = difference(expected, found, captured)
        if problem is not None:
            raise Difference(f"{problem}\n  all of it: {show(found)}")
        self._named |= captured

    _verbs: Final = {
        "connect": _connect,
        "refused": _refused,
        "leave": _leave,
        "lose": _lose,
        "call": _call,
        "emit": _emit,
        "hear": _hear,
        "among": _among,
        "ack": _ack,
        "dropped": _dropped,
        "nothing": _nothing,
        "quiet": _quiet,
        "request": _request,
        "answer": _check_answer,
        "header": _check_header,
        "no-header": _check_no_header,
        "let": _let,
        "without": _without,
    }


def _ask(port: int, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> Answer:
    """One request. Blocking."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=PATIENCE)) as connection:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read())


async def play(world: World, script: Script) -> Difference | None:
    """Play one conversation; the first difference, if there is one."""
    found: Difference | None = None
    async with trio.open_nursery() as nursery:
        try:
            await Stage(world, script, nursery).play()
        except Difference as error:
            found = error
        nursery.cancel_scope.cancel()
    return found

"""The HTTP side of the front door, as raw clients see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_network

import pytest
import structlog.testing
import trio
import trio.testing
from trio.testing import MockClock

from sfu.signaling.connection import MAX_PIPELINED
from sfu.signaling.frontdoor import serve_http
from sfu.signaling.http import (
    HttpError,
    Mount,
    Request,
    Response,
    Route,
    json_response,
)
from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import (
    POLLING,
    WEBSOCKET,
    Client,
    Echo,
    MemoryListener,
    open_house,
    upgrade_request,
)


async def describe(request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    return json_response(
        {
            "method": request.method,
            "path": request.path,
            "params": request.path_params,
            "query": request.query,
            "cookies": request.cookies,
            "json": request.json(),
            "remote": request.remote,
        }
    )


async def fail(request: Request) -> Response:
    raise RuntimeError("secret detail")


async def teapot(request: Request) -> Response:
    raise HttpError(418, "short and stout")


ROUTES = [
    Route("GET", "/list", describe),
    Route("POST", "/join/:room_id", describe),
    Route("GET", "/fail", fail),
    Route("GET", "/teapot", teapot),
]
MOUNTS = [Mount("/api/", describe)]


# --- routing -----------------------------------------------------------------------------------------------


@pytest.mark.contract("D86")
@pytest.mark.parametrize("target", ["/list", "/LIST", "/list/", "//list", "///List/?", "http://x/list"])
async def test_finds_a_route(autojump_clock: MockClock, target: str) -> None:
    async with open_house(routes=ROUTES) as house:
        answer = await house.client().get(target)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert "etag" not in answer.headers
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "date" in answer.headers


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("POST", "/list"),
        ("DELETE", "/list"),
        ("GET", "/list//"),
        ("GET", "/list/x"),
        ("POST", "/join/"),
        ("POST", "/join/a/b"),
        ("GET", "/api"),
        ("GET", "/socket.io?EIO=4&transport=polling"),
        ("GET", "/Socket.io/?EIO=4&transport=polling"),
    ],
)
async def test_anything_else_is_not_found(autojump_clock: MockClock, method: str, target: str) -> None:
    async with open_house(Echo(), routes=ROUTES, mounts=MOUNTS) as house:
        answer = await house.client().request(method, target)
        assert (answer.status, answer.json()) == (404, {"error": "not found"})
        assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("target", "room"),
    [("/join/a", "a"), ("/Join/R%C3%A4um%201/", "Räum 1"), ("/join/a%2Fb", "a/b"), ("/join/A+B", "A+B")],
)
async def test_decodes_path_parameters(autojump_clock: MockClock, target: str, room: str) -> None:
    async with open_house(routes=ROUTES) as house:
        answer = await house.client().request("POST", target)
        assert answer.json()["params"] == {"room_id": room}


@pytest.mark.parametrize("target", ["/join/%", "/join/%zz", "/join/%ff", "/join/a%2"])
async def test_refuses_bad_percent_encoding(autojump_clock: MockClock, target: str) -> None:
    async with open_house(routes=ROUTES) as house:
        answer = await house.client().request("POST", target)
        assert (answer.status, answer.json()) == (400, {"error": "bad request"})


async def test_decodes_query_and_cookies(autojump_clock: MockClock) -> None:
    async with open_house(routes=ROUTES) as house:
        client = house.client()
        answer = await client.get("/list?a=1&a=%C3%A9&b=&c", Cookie='x=1; y="a%20b" ; =; z')
        assert answer.json()["query"] == [["a", "1"], ["a", "é"], ["b", ""], ["c", ""]]
        assert answer.json()["cookies"] == [["x", "1"], ["y", "a%20b"]]
        assert (await client.get("/list?" + "a&" * 300)).status == 400


async def test_mounts_get_every_method(autojump_clock: MockClock) -> None:
    async with open_house(routes=ROUTES, mounts=MOUNTS) as house:
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = await house.client().request(method, "/api/deep/path")
            assert answer.json()["path"] == "/api/deep/path"
            assert answer.json()["method"] == method


async def test_head_is_get_without_body(autojump_clock: MockClock) -> None:
    async with open_house(routes=ROUTES) as house:
        raw = house.client()
        await raw.stream.send_all(b"HEAD /list HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = await read_all(raw)
        head, _, body = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert body == b""
        assert b"Content-Length: 0" not in head


@pytest.mark.parametrize("target", [b"nonsense", b"/?" + b"a&" * 300])
async def test_a_refused_head_has_no_body_either(autojump_clock: MockClock, target: bytes) -> None:
    async with open_house(routes=ROUTES) as house:
        client = house.client()
        await client.stream.send_all(b"HEAD " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = (await read_all(client)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert body == b""


async def read_all(client: Client) -> bytes:
    received = b""
    while data := await client.stream.receive_some():
        received += data
    return received


# --- CORS --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/list", "/nothing", "/socket.io/?EIO=4", "*"])
async def test_preflight(autojump_clock: MockClock, target: str) -> None:
    async with open_house(Echo(), routes=ROUTES) as house:
        client = house.client()
        headers = {"Access-Control-Request-Headers": "authorization,content-type", "Origin": "https://a"}
        for _ in range(2):
            answer = await client.request("OPTIONS", target, headers=headers)
            assert (answer.status, answer.body) == (204, b"")
            assert {name: value for name, value in answer.headers.items() if name != "date"} == {
                "access-control-allow-origin": "*",
                "access-control-allow-methods": "GET,HEAD,PUT,PATCH,POST,DELETE",
                "access-control-allow-headers": "authorization,content-type",
                "vary": "Access-Control-Request-Headers",
                "content-length": "0",
            }


@pytest.mark.parametrize("wishes", ["", "Access-Control-Request-Headers: x-\xe9\r\n"])
async def test_preflight_without_wishes_that_we_could_repeat(autojump_clock: MockClock, wishes: str) -> None:
    async with open_house() as house:
        request = f"OPTIONS / HTTP/1.1\r\nHost: x\r\n{wishes}\r\n".encode("latin-1")
        answer = await house.client().send_raw(request)
        assert answer.status == 204
        assert "access-control-allow-headers" not in answer.headers


# --- bodies ------------------------------------------------------------------------------------------------


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "body", "value"),
    [
        (JSON, b'{"a":1}', {"a": 1}),
        (JSON, b"[1]", [1]),
        (JSON, b"", {}),
        ({"Content-Type": "Application/JSON; charset=utf-8"}, b'{"a":1}', {"a": 1}),
        ({"Content-Type": "text/plain"}, b"{", {}),
        ({}, b"{", {}),
    ],
)
async def test_reads_json(
    autojump_clock: MockClock, headers: dict[str, str], body: bytes, value: object
) -> None:
    async with open_house(routes=ROUTES) as house:
        answer = await house.client().request("POST", "/join/x", body, headers)
        assert answer.json()["json"] == value


@pytest.mark.contract("D16")
@pytest.mark.parametrize(
    "body", [b"{", b"1", b'"x"', b"null", b"\xff", b"[NaN]", b"[" * 50_000, b"[1e999]", b'["\\ud800"]']
)
async def test_refuses_bad_json(autojump_clock: MockClock, body: bytes) -> None:
    async with open_house(routes=ROUTES) as house:
        answer = await house.client().request("POST", "/join/x", body, JSON)
        assert (answer.status, answer.json()) == (400, {"error": "invalid json"})


@pytest.mark.contract("D16")
async def test_refuses_large_bodies(autojump_clock: MockClock) -> None:
    async with open_house(routes=ROUTES) as house:
        ok = await house.client().request("POST", "/join/x", b"x" * 102_400)
        assert ok.status == 200
        client = house.client()
        answer = await client.request("POST", "/join/x", b"x" * 102_401)
        assert (answer.status, answer.json()) == (413, {"error": "payload too large"})
        assert answer.headers["connection"] == "close"
        assert await client.is_closed()
        head = b"POST /join/x HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n"
        assert (await house.client().send_raw(head % (b"9" * 19))).status == 413


async def test_a_body_may_come_in_pieces_and_wait_for_continue(autojump_clock: MockClock) -> None:
    async with open_house(routes=ROUTES) as house:
        client = house.client()
        await client.stream.send_all(
            b"POST /join/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\n\r\n"
        )
        assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        answer = await client.send_raw(b'3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n')
        assert answer.json()["json"] == {"a": 1}


async def test_one_byte_at_a_time_is_as_good(autojump_clock: MockClock) -> None:
    async with open_house(routes=ROUTES) as house:
        client = house.client()
        head = (
            b"POST /join/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n"
        )
        data = head + b'{"a":1}'
        for byte in data[:-1]:
            await client.stream.send_all(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        assert (await client.send_raw(data[-1:])).json()["json"] == {"a": 1}


# --- failures ----------------------------------------------------------------------------------------------


@pytest.mark.contract("D7", "D13")
async def test_a_failing_handler_is_an_internal_error(autojump_clock: MockClock) -> None:
    with structlog.testing.capture_logs() as logs:
        async with open_house(routes=ROUTES) as house:
            client = house.client()
            answer = await client.get("/fail?token=hunter2", Authorization="Bearer hunter2")
            assert (answer.status, answer.json()) == (500, {"error": "internal error"})
            assert (await client.get("/list")).status == 200
    assert [entry["event"] for entry in logs] == ["request handler failed"]
    assert "hunter2" not in repr(logs)


async def test_a_handler_may_raise_its_status(autojump_clock: MockClock) -> None:
    async with open_house(routes=ROUTES) as house:
        answer = await house.client().get("/teapot")
        assert (answer.status, answer.json()) == (418, {"error": "short and stout"})


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000,
        b"GET /" + b"x" * 20_000,
    ],
)
async def test_malformed_requests_are_refused_and_end_the_connection(
    autojump_clock: MockClock, data: bytes
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with open_house(Echo(), routes=ROUTES) as house:
            client = house.client()
            answer = await client.send_raw(data)
            assert answer.status in (400, 431, 501, 505)
            assert answer.json() == {"error": "bad request"}
            assert answer.headers["access-control-allow-origin"] == "*"
            assert answer.headers["connection"] == "close"
            assert await client.is_closed()
    assert logs == []


# --- time --------------------------------------------------------------------------------------------------


async def test_a_silent_connection_is_closed(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        assert await read_all(house.client()) == b""
        assert trio.current_time() == 10.0


async def test_a_slow_head_is_refused(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        client = house.client()
        for _ in range(9):
            await client.stream.send_all(b"G")
            await trio.sleep(1.0)
        answer = await client.send_raw(b"E")
        assert (answer.status, answer.json()) == (408, {"error": "request timeout"})
        assert trio.current_time() == 10.0


async def test_an_idle_connection_is_closed(autojump_clock: MockClock) -> None:
    async with open_house(routes=ROUTES) as house:
        client = house.client()
        await client.get("/list")
        await trio.sleep(59.0)
        await client.get("/list")
        assert await read_all(client) == b""
        assert trio.current_time() == 119.0


async def test_a_slow_body_is_refused(autojump_clock: MockClock) -> None:
    async with open_house(routes=ROUTES) as house:
        client = house.client()
        head = b"POST /join/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"
        assert (await client.send_raw(head)).status == 408
        assert trio.current_time() == 30.0


async def test_a_client_that_does_not_read_its_answer_is_closed(autojump_clock: MockClock) -> None:
    async with open_house(routes=ROUTES) as house:
        client = house.client(lockstep=True)
        await client.stream.send_all(b"GET /list HTTP/1.1\r\nHost: x\r\n\r\n")
        await trio.sleep(59.9)
        assert house.door.connection_count == 1
        await trio.sleep(0.2)
        assert house.door.connection_count == 0


# --- connections -------------------------------------------------------------------------------------------


async def test_http_1_0_is_served_and_closed(autojump_clock: MockClock) -> None:
    """What nginx sends upstream by default."""
    async with open_house(routes=ROUTES) as house:
        client = house.client()
        answer = await client.send_raw(b"GET /list HTTP/1.0\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.status == 200
        assert await client.is_closed()
        client = house.client()
        assert (await client.send_raw(b"GET /list HTTP/1.0\r\n\r\n")).status == 200
        assert await client.is_closed()


async def test_pipelined_requests_are_answered_in_order(autojump_clock: MockClock) -> None:
    async with open_house(routes=ROUTES) as house:
        client = house.client()
        requests = b"".join(b"GET /list?%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(50))
        await client.stream.send_all(requests + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = await read_all(client)
        positions = [received.index(b'[["%d",""]]' % number) for number in range(50)]
        assert positions == sorted(positions)


async def test_what_is_pipelined_behind_a_poll_is_bounded(autojump_clock: MockClock) -> None:
    async with open_house(Echo(), routes=ROUTES) as house:
        poller = await house.connect_polling()
        client = house.client(lockstep=True)
        poll = f"GET {poller.target} HTTP/1.1\r\nHost: sfu.test\r\n\r\n".encode()
        await client.stream.send_all(poll)
        sent = 0
        with trio.move_on_after(1.0):
            while sent < 10_000_000:
                await client.stream.send_all(b"GET /list HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
                sent += 3700
        assert MAX_PIPELINED <= sent < MAX_PIPELINED + 200_000


async def test_connections_are_limited(autojump_clock: MockClock) -> None:
    async with open_house(routes=ROUTES, settings=SignalingSettings(max_connections=2)) as house:
        first, second, third = house.client(), house.client(), house.client()
        await first.get("/list")
        await second.get("/list")
        assert await third.is_closed()
        await first.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (await house.client().get("/list")).status == 200


@asynccontextmanager
async def tcp_door(settings: SignalingSettings) -> AsyncIterator[Callable[[], Awaitable[Client]]]:
    """A door on a real port; yields what connects to it."""
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(partial(serve_http, [listener], routes=ROUTES, settings=settings))

        async def connect() -> Client:
            return Client(await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port)))

        yield connect
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("trusted", [False, True])
async def test_connections_of_one_peer_are_limited_unless_it_is_a_trusted_proxy(trusted: bool) -> None:
    settings = SignalingSettings(max_connections_per_remote=2)
    if trusted:
        settings = replace(settings, trusted_proxies=(ip_network("127.0.0.0/8"),))
    async with tcp_door(settings) as connect:
        clients = [await connect() for _ in range(3)]
        for client in clients[:2]:
            assert (await client.get("/list")).status == 200
        if trusted:
            assert (await clients[2].get("/list")).status == 200
        else:
            assert await clients[2].is_closed()


async def test_sessions_are_limited(autojump_clock: MockClock) -> None:
    async with open_house(Echo(), SignalingSettings(max_sessions=1)) as house:
        poller = await house.open_polling()
        answer = await house.client().get(POLLING)
        assert (answer.status, answer.json()) == (503, {"error": "too many sessions"})
        await poller.post("1")
        await house.open_polling()


async def test_websockets_that_come_at_once_are_limited_too(autojump_clock: MockClock) -> None:
    async with open_house(Echo(), SignalingSettings(max_sessions=2)) as house:
        clients = [house.client() for _ in range(6)]
        for client in clients:
            await client.stream.send_all(upgrade_request(WEBSOCKET))
        await trio.testing.wait_all_tasks_blocked()
        assert house.door.session_count == 2


async def test_many_sessions_at_once(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(house.connect_polling)
        assert house.door.session_count == 200
    assert house.door.session_count == 0


# --- who is asking -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "forwarded", "remote"),
    [
        ((), "1.2.3.4", "127.0.0.1"),
        (("127.0.0.0/8",), "1.2.3.4", "1.2.3.4"),
        (("127.0.0.0/8",), "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (("127.0.0.0/8", "10.0.0.0/8"), "6.6.6.6, 1.2.3.4, 10.1.1.1", "1.2.3.4"),
        (("127.0.0.0/8",), "2001:db8::1", "2001:db8::1"),
        (("127.0.0.0/8",), "nonsense", "127.0.0.1"),
        (("127.0.0.0/8",), "", "127.0.0.1"),
    ],
)
async def test_only_trusted_proxies_are_believed(
    trusted: tuple[str, ...], forwarded: str, remote: str
) -> None:
    settings = SignalingSettings(trusted_proxies=tuple(map(ip_network, trusted)))
    async with tcp_door(settings) as connect:
        answer = await (await connect()).get("/list", **{"X-Forwarded-For": forwarded})
        assert answer.json()["remote"] == remote


# --- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"ping_interval": 0.0}, {"max_body": -1}, {"path": "/socket.io"}])
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        SignalingSettings(**wrong)  # type: ignore[arg-type]


async def test_an_own_path(autojump_clock: MockClock) -> None:
    async with open_house(Echo(), SignalingSettings(path="/ws/sfu/")) as house:
        assert (await house.client().get("/ws/sfu/?EIO=4&transport=polling")).status == 200
        assert (await house.client().get(POLLING)).status == 404


async def test_a_door_without_application(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        assert (await house.client().get(POLLING)).status == 404


# --- shutdown ----------------------------------------------------------------------------------------------


async def test_shutdown_finishes_the_request_in_hand(autojump_clock: MockClock) -> None:
    async def slow(request: Request) -> Response:
        await trio.sleep(0.5)
        return json_response("done")

    async with open_house(routes=[Route("GET", "/slow", slow)]) as house:
        client = house.client()
        await client.stream.send_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        house.scope.cancel()
        assert (await client.send_raw(b"")).json() == "done"
        await house.over.wait()
        assert trio.current_time() == 0.5


async def test_shutdown_cuts_off_what_takes_too_long(autojump_clock: MockClock) -> None:
    async def stuck(request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    async with open_house(routes=[Route("GET", "/stuck", stuck)]) as house:
        client = house.client()
        await client.stream.send_all(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        house.scope.cancel()
        await house.over.wait()
        assert trio.current_time() == 1.0


async def test_nothing_is_accepted_after_shutdown(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.scope.cancel()
        await house.over.wait()
        with pytest.raises(trio.BrokenResourceError):
            house.listener.connect()


async def test_a_listener_that_breaks_is_an_error(autojump_clock: MockClock) -> None:
    class Broken(MemoryListener):
        async def accept(self) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            raise RuntimeError("broken")

    with pytest.raises(ExceptionGroup) as raised:
        await serve_http([Broken()])
    assert raised.group_contains(RuntimeError, match="broken")

"""Several namespaces over one session."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import structlog.testing
import trio
import trio.testing
from trio.testing import MockClock

from sfu.signaling.application import Ack, Socket
from sfu.signaling.frontdoor import serve_http
from sfu.signaling.settings import SignalingSettings
from sfu.signaling.socketio.codec import MAX_NAMESPACE_LENGTH, encode_event
from tests.signaling.harness import Echo, Recorder, Ws, open_house
from tests.signaling.test_engineio_conformance import EchoSession


async def enter(ws: Ws, namespace: str, auth: str = "") -> None:
    await ws.send(f"40{namespace},{auth}")
    answer = await ws.text()
    assert answer.startswith(f'40{namespace},{{"sid":"'), answer


async def test_each_namespace_has_its_own_application_and_socket(autojump_clock: MockClock) -> None:
    main, admin = Recorder(), Recorder()
    async with (
        open_house(main, namespaces={"/admin": admin}) as house,
        house.connected_websocket('{"a":1}') as ws,
    ):
        await enter(ws, "/admin", '{"b":2}')
        (one,), (other,) = main.sockets, admin.sockets
        assert (one.namespace, other.namespace) == ("/", "/admin")
        assert (one.handshake.auth, other.handshake.auth) == ({"a": 1}, {"b": 2})
        assert len({one.id, other.id, ws.sid}) == 3
        await ws.send('42/admin,7["x",1]', '42["y"]')
        assert [await ws.text() for _ in range(3)] == ["43/admin,7[1]", '42/admin,["x",1]', '42["y"]']
        assert (main.events, admin.events) == ([("y", [])], [("x", [1])])
        one.emit("from", "main")
        other.emit("from", b"admin")
        assert [await ws.receive() for _ in range(3)] == [
            '42["from","main"]',
            '451-/admin,["from",{"_placeholder":true,"num":0}]',
            b"admin",
        ]


async def test_without_the_main_namespace(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(namespaces={"/only": app}) as house, house.websocket() as ws:
        await ws.text()
        await ws.send("40")
        assert await ws.text() == '44{"message":"Invalid namespace"}'
        await enter(ws, "/only")
        await ws.send('42/only,["x"]')
        assert await ws.text() == '42/only,["x"]'


@pytest.mark.contract("D9")
async def test_an_unknown_namespace_is_refused_before_anyone_is_asked(autojump_clock: MockClock) -> None:
    main, admin = Recorder(), Recorder()
    async with open_house(main, namespaces={"/admin": admin}) as house, house.websocket() as ws:
        await ws.text()
        for namespace in ("/other", "/Admin", "/admin/", "/admi", "/admin%2c", "//"):
            await ws.send(f'40{namespace},{{"token":"once only"}}')
            assert await ws.text() == f'44{namespace},{{"message":"Invalid namespace"}}'
        assert (main.sockets, admin.sockets) == ([], [])


async def test_a_query_is_part_of_the_name(autojump_clock: MockClock) -> None:
    """Version 5 of the protocol has none in namespaces: CONNECT has a payload instead."""
    async with open_house(namespaces={"/admin": Echo()}) as house, house.websocket() as ws:
        await ws.text()
        await ws.send('40/admin?token=x,{"a":1}')
        assert await ws.text() == '44/admin?token=x,{"message":"Invalid namespace"}'


@pytest.mark.parametrize(
    ("namespace", "sound"),
    [
        ("/" + "x" * (MAX_NAMESPACE_LENGTH - 1), True),
        ("/" + "x" * MAX_NAMESPACE_LENGTH, False),
        ("/é", True),
        ("admin", False),
        ("", False),
        ("/a,b", False),
    ],
)
async def test_namespaces_must_have_names_that_packets_can_carry(
    autojump_clock: MockClock, namespace: str, sound: bool
) -> None:
    if not sound:
        with pytest.raises(ValueError, match="is no namespace"):
            await serve_http([], namespaces={namespace: Echo()})
        return
    async with open_house(namespaces={namespace: Echo()}) as house, house.websocket() as ws:
        await ws.text()
        await enter(ws, namespace)


async def test_who_serves_a_namespace_must_be_clear() -> None:
    app = Echo()
    with pytest.raises(ValueError, match="two applications"):
        await serve_http([], application=app, namespaces={"/": Echo()})
    with pytest.raises(ValueError, match="engine_handler"):
        await serve_http([], application=app, engine_handler=EchoSession)
    async with open_house(app, namespaces={"/": app}) as house, house.connected_websocket():
        pass


async def test_leaving_one_namespace_leaves_the_other_alone(autojump_clock: MockClock) -> None:
    main, admin = Recorder(), Recorder()
    async with open_house(main, namespaces={"/admin": admin}) as house, house.connected_websocket() as ws:
        await enter(ws, "/admin")
        await ws.send("41/admin", '42/admin,["late"]', '42["x"]')
        assert await ws.text() == '42["x"]'
        assert (main.reasons, admin.reasons) == ([], ["client namespace disconnect"])
        main.sockets[0].disconnect()
        assert await ws.text() == "41"
        await enter(ws, "/admin")
        admin.sockets[1].disconnect()
        assert await ws.text() == "41/admin,"
        await trio.testing.wait_all_tasks_blocked()
        assert admin.events == []
        assert admin.reasons == ["client namespace disconnect", "server namespace disconnect"]


async def test_the_end_of_the_session_ends_every_socket(autojump_clock: MockClock) -> None:
    main, admin = Recorder(), Recorder()
    async with open_house(main, namespaces={"/admin": admin}) as house:
        async with house.connected_websocket() as ws:
            await enter(ws, "/admin")
        await trio.testing.wait_all_tasks_blocked()
        assert (main.reasons, admin.reasons) == (["transport close"], ["transport close"])


@pytest.mark.parametrize(
    "packet", ['42/admin,["x"]', "43/admin,1[]", "41/admin,", '44/admin,{"message":""}', "40", "40/slow,"]
)
async def test_packets_out_of_turn_end_the_session(autojump_clock: MockClock, packet: str) -> None:
    """For a namespace without socket, or with one already, or with one that is being asked for."""
    main = Recorder()
    namespaces = {"/admin": Echo(), "/slow": Recorder(connect_delay=10.0)}
    async with open_house(main, namespaces=namespaces) as house, house.connected_websocket() as ws:
        await ws.send("40/slow,")
        await trio.testing.wait_all_tasks_blocked()
        assert house.door.session_count == 1
        await ws.send(packet)
        assert await ws.closed() == 1000
        await trio.testing.wait_all_tasks_blocked()
        assert main.reasons in (["forced close"], ["parse error"])


async def test_one_namespace_does_not_wait_for_the_other(autojump_clock: MockClock) -> None:
    main, slow = Recorder(), Recorder(connect_delay=5.0, event_delay=5.0)
    async with open_house(main, namespaces={"/slow": slow}) as house, house.connected_websocket() as ws:
        await ws.send("40/slow,", '42["x"]')
        assert await ws.text() == '42["x"]'
        assert trio.current_time() == 0.0
        assert (await ws.text()).startswith("40/slow,{")
        await ws.send(*(f'42/slow,["e",{number}]' for number in range(3)), '42["y"]')
        assert await ws.text() == '42["y"]'
        assert trio.current_time() == 5.0
        assert [await ws.text() for _ in range(3)] == [f'42/slow,["e",{number}]' for number in range(3)]


async def test_a_failure_in_one_namespace_harms_no_other(autojump_clock: MockClock) -> None:
    class Broken(Echo):
        async def connect(self, socket: Socket) -> None:
            raise RuntimeError

    with structlog.testing.capture_logs() as logs:
        async with (
            open_house(Echo(), namespaces={"/broken": Broken()}) as house,
            house.connected_websocket() as ws,
        ):
            await ws.send("40/broken,", '42["x"]')
            answers = {await ws.text(), await ws.text()}
            assert answers == {'44/broken,{"message":"internal error"}', '42["x"]'}
    assert [entry["event"] for entry in logs] == ["connect handler failed"]


async def test_unusable_data_is_refused_in_its_namespace(autojump_clock: MockClock) -> None:
    async with open_house(namespaces={"/a": Echo()}) as house, house.websocket() as ws:
        await ws.text()
        await enter(ws, "/a")
        await ws.send('42/a,5["x",1e999]', '42/a,["fine"]')
        assert [await ws.text(), await ws.text()] == ['43/a,5["invalid"]', '42/a,["fine"]']
        await ws.send("41/a", '42/a,6["x",1e999]')
        await enter(ws, "/a")


async def test_the_time_to_connect_runs_only_without_any_socket(autojump_clock: MockClock) -> None:
    settings = SignalingSettings(ping_interval=1000.0, connect_timeout=45.0)
    async with (
        open_house(Recorder(), settings, namespaces={"/b": Recorder()}) as house,
        house.connected_websocket() as ws,
    ):
        await trio.sleep(10.0)
        await enter(ws, "/b")
        await ws.send("41")
        await trio.sleep(100.0)
        assert house.door.session_count == 1
        await ws.send("41/b")
        await ws.closed()
        assert trio.current_time() == 155.0


async def test_a_session_has_one_socket_for_each_namespace_at_most(autojump_clock: MockClock) -> None:
    """However often a client leaves and comes back."""
    app = Recorder()
    async with open_house(app, namespaces={"/b": app}) as house, house.connected_websocket() as ws:
        for _ in range(100):
            await enter(ws, "/b")
            await ws.send("41/b")
        await trio.testing.wait_all_tasks_blocked()
        assert len(app.goodbyes) == 100
        assert [socket.namespace for socket in app.sockets if socket.connected] == ["/"]


async def test_an_event_is_encoded_for_one_namespace(autojump_clock: MockClock) -> None:
    main, admin = Recorder(), Recorder()
    async with open_house(main, namespaces={"/admin": admin}) as house, house.connected_websocket() as ws:
        await enter(ws, "/admin")
        packet = encode_event("x", 1, namespace="/admin")
        admin.sockets[0].emit_encoded(packet)
        assert await ws.text() == '42/admin,["x",1]'
        with pytest.raises(ValueError, match="for /admin in /"):
            main.sockets[0].emit_encoded(packet)


async def test_shutdown_reaches_every_namespace(autojump_clock: MockClock) -> None:
    main, admin = Recorder(), Recorder()
    async with open_house(main, namespaces={"/admin": admin}) as house, house.connected_websocket() as ws:
        await enter(ws, "/admin")
        house.scope.cancel()
        assert await ws.closed() == 1000
        await house.over.wait()
        assert main.reasons == admin.reasons == ["server shutting down"]


async def test_over_polling_too(autojump_clock: MockClock) -> None:
    async with open_house(Echo(), namespaces={"/admin": Echo()}) as house:
        poller = await house.connect_polling()
        await poller.post('40/admin,\x1e42["x"]')
        received: list[str] = []
        while len(received) < 2:
            received += (await poller.poll()).body.decode().split("\x1e")
        assert sorted(text[:10] for text in received) == ["40/admin,{", '42["x"]']


async def test_binary_of_two_namespaces_is_never_mixed(autojump_clock: MockClock) -> None:
    class Late(Echo):
        async def event(self, socket: Socket, name: str, args: Sequence[Any], ack: Ack) -> None:
            await trio.sleep(args[0])
            await super().event(socket, name, args, ack)

    namespaces = {f"/{number}": Late() for number in range(8)}
    async with open_house(namespaces=namespaces) as house, house.websocket() as ws:
        await ws.text()
        for number in range(8):
            await enter(ws, f"/{number}")
        for number in range(8):
            await ws.send(
                f'451-/{number},["b",{8 - number},{{"_placeholder":true,"num":0}}]', bytes([number])
            )
        for number in reversed(range(8)):
            text = await ws.text()
            assert json.loads(text[text.index("[") :])[1] == 8 - number
            assert text.startswith(f"451-/{number},")
            assert await ws.receive() == bytes([number])

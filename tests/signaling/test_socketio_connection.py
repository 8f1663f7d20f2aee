"""Sockets as the application and a client without a library see them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
import structlog.testing
import trio
import trio.testing
from trio.testing import MockClock
from trio_websocket import ConnectionClosed

from sfu.signaling.application import Ack, ConnectionRefused, Socket
from sfu.signaling.settings import SignalingSettings
from sfu.signaling.socketio import codec
from sfu.signaling.socketio.codec import encode_event
from sfu.signaling.socketio.connection import MAX_UNCONNECTED_MESSAGE
from sfu.signaling.socketio.socket import MAX_EARLY_EVENTS
from tests.signaling.harness import POLLING, Echo, Recorder, Ws, open_house


async def drain(ws: Ws, count: int) -> list[str]:
    return [await ws.text() for _ in range(count)]


# --- connect -----------------------------------------------------------------------------------------------


async def test_a_socket_knows_how_it_came_in(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house:
        client = house.client()
        target = POLLING + "&a=1&a=%C3%A9&b="
        answer = await client.get(target, Authorization="Bearer x", Cookie="a=b; c=d")
        sid = answer.body[9:29].decode()
        await client.request("POST", f"{POLLING}&sid={sid}&later=1", b'40{"token":"t"}')
        await trio.testing.wait_all_tasks_blocked()
        (socket,) = app.sockets
        assert len(socket.id) == 20
        assert socket.connected
        assert socket.handshake.auth == {"token": "t"}
        expected = [("EIO", "4"), ("transport", "polling"), ("a", "1"), ("a", "é"), ("b", "")]
        assert list(socket.handshake.query) == expected
        assert socket.handshake.headers["authorization"] == "Bearer x"
        assert socket.handshake.headers["cookie"] == "a=b; c=d"


async def test_socket_ids_differ_from_session_ids(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        assert app.sockets[0].id != ws.sid


async def test_refusal_reaches_the_client_and_may_be_followed_by_another_try(
    autojump_clock: MockClock,
) -> None:
    app = Recorder()
    async with open_house(app) as house, house.websocket() as ws:
        await ws.text()
        await ws.send('40{"refuse":"unauthorized"}')
        assert await ws.text() == '44{"message":"unauthorized"}'
        await ws.send("40")
        assert (await ws.text()).startswith('40{"sid":')
        assert app.goodbyes == []


@pytest.mark.contract("D11")
async def test_a_failing_connect_handler_refuses(autojump_clock: MockClock) -> None:
    class Broken(Echo):
        async def connect(self, socket: Socket) -> None:
            raise RuntimeError("secret detail")

    with structlog.testing.capture_logs() as logs:
        async with open_house(Broken()) as house, house.websocket() as ws:
            await ws.text()
            await ws.send('40{"token":"secret token"}')
            assert await ws.text() == '44{"message":"internal error"}'
    assert [entry["event"] for entry in logs] == ["connect handler failed"]
    assert "secret token" not in repr(logs)


@pytest.mark.contract("D9")
@pytest.mark.parametrize("namespace", ["/random", "/a?b=c", "/" + "x" * 127])
async def test_other_namespaces_are_refused(autojump_clock: MockClock, namespace: str) -> None:
    async with open_house(Echo()) as house, house.connected_websocket() as ws:
        for _ in range(1000):
            await ws.send(f"40{namespace},")
            assert await ws.text() == f'44{namespace},{{"message":"Invalid namespace"}}'
        await ws.send('42["still here"]')
        assert await ws.text() == '42["still here"]'


@pytest.mark.parametrize(
    "packet",
    ['42["x"]', "431[]", "41", "40", "40{}", '42/other,["x"]', '44{"message":""}'],
)
async def test_packets_while_connecting_close(autojump_clock: MockClock, packet: str) -> None:
    app = Recorder(connect_delay=5.0)
    async with open_house(app) as house, house.websocket() as ws:
        await ws.text()
        await ws.send("40", packet)
        await ws.closed()
        await trio.sleep(10.0)
        assert app.sockets == []
        assert app.goodbyes == []


@pytest.mark.parametrize("packet", ['42["x"]', "431[]", "41", "4"])
async def test_packets_before_connect_close(autojump_clock: MockClock, packet: str) -> None:
    async with open_house(Echo()) as house, house.websocket() as ws:
        await ws.text()
        await ws.send(packet)
        assert await ws.closed() == 1000


@pytest.mark.parametrize("packet", ["40", '42/other,["x"]', "41/other", '44{"message":""}'])
async def test_packets_that_make_no_sense_when_connected_close(
    autojump_clock: MockClock, packet: str
) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        await ws.send(packet)
        await ws.closed()
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons in (["forced close"], ["parse error"])


async def test_events_emitted_while_connecting_follow_the_welcome(autojump_clock: MockClock) -> None:
    class Eager(Echo):
        async def connect(self, socket: Socket) -> None:
            socket.emit("early", 1)
            assert not socket.connected
            await trio.sleep(1.0)
            socket.emit("early", 2)

    async with open_house(Eager()) as house, house.websocket() as ws:
        await ws.text()
        await ws.send("40")
        assert (await ws.text()).startswith("40{")
        assert await drain(ws, 2) == ['42["early",1]', '42["early",2]']


async def test_events_emitted_while_connecting_are_bounded(autojump_clock: MockClock) -> None:
    class Flood(Echo):
        async def connect(self, socket: Socket) -> None:
            for _ in range(MAX_EARLY_EVENTS + 1):
                socket.emit("early")
            await trio.sleep(1.0)

    async with open_house(Flood()) as house, house.websocket() as ws:
        await ws.text()
        await ws.send("40")
        await ws.closed()
        assert house.door.session_count == 0


async def test_events_for_a_refused_client_are_dropped(autojump_clock: MockClock) -> None:
    class Teasing(Echo):
        async def connect(self, socket: Socket) -> None:
            socket.emit("early")
            raise ConnectionRefused("no")

    async with open_house(Teasing()) as house, house.websocket() as ws:
        await ws.text()
        await ws.send("40")
        assert await ws.text() == '44{"message":"no"}'
        assert await ws.text() == "2"


async def test_a_socket_dismissed_while_connecting_is_welcomed_first(autojump_clock: MockClock) -> None:
    class Doorman(Recorder):
        async def connect(self, socket: Socket) -> None:
            socket.disconnect()
            await super().connect(socket)

    app = Doorman()
    async with open_house(app) as house, house.websocket() as ws:
        await ws.text()
        await ws.send("40")
        assert (await ws.text()).startswith("40{")
        assert await ws.text() == "41"
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["server namespace disconnect"]


async def test_strangers_cannot_send_large_messages(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house:
        for size, admitted in ((MAX_UNCONNECTED_MESSAGE, True), (MAX_UNCONNECTED_MESSAGE + 1, False)):
            async with house.websocket() as ws:
                await ws.text()
                await ws.send('40{"token":"' + "x" * (size - 13) + '"}')
                if admitted:
                    assert (await ws.text()).startswith("40{")
                    await ws.send('42["' + "x" * size + '"]')
                    assert (await ws.text()).startswith('42["x')
                else:
                    assert await ws.closed() == 1000
    assert len(app.sockets) == 1


# --- events ------------------------------------------------------------------------------------------------


async def test_events_of_one_socket_are_handled_in_order_one_at_a_time(autojump_clock: MockClock) -> None:
    app = Recorder(event_delay=0.1)
    async with open_house(app) as house, house.connected_websocket() as ws:
        await ws.send(*(f'42["e",{number}]' for number in range(50)))
        assert await drain(ws, 50) == [f'42["e",{number}]' for number in range(50)]
        assert trio.current_time() == pytest.approx(5.0)


async def test_a_slow_handler_holds_up_neither_heartbeat_nor_other_sockets(
    autojump_clock: MockClock,
) -> None:
    app = Recorder(event_delay=90.0)
    async with open_house(app) as house, house.connected_websocket() as slow:
        await slow.send('42["slow"]')
        async with house.connected_websocket() as other:
            await other.send('42["other"]')
            for _ in range(3):
                assert await slow.text() == "2"
                await slow.send("3")
                assert await other.text() == "2"
                await other.send("3")
            assert await slow.text() == '42["slow"]'
            assert await other.text() == '42["other"]'
            assert trio.current_time() == 90.0


async def test_acknowledges_once(autojump_clock: MockClock) -> None:
    class Twice(Echo):
        async def event(self, socket: Socket, name: str, args: Sequence[Any], ack: Ack) -> None:
            ack(None, {"a": b"\x01"})
            ack("again")

    async with open_house(Twice()) as house, house.connected_websocket() as ws:
        await ws.send('4212["x"]', '42["no id"]', '4213["x"]')
        for ack_id in (12, 13):
            assert await ws.text() == f'461-{ack_id}[null,{{"a":{{"_placeholder":true,"num":0}}}}]'
            assert await ws.receive() == b"\x01"


@pytest.mark.contract("D1", "D11")
async def test_a_failing_handler_costs_only_its_event(autojump_clock: MockClock) -> None:
    with structlog.testing.capture_logs() as logs:
        async with open_house(Recorder()) as house, house.connected_websocket() as ws:
            await ws.send('427["fail",{"password":"hunter2"}]', '42["fail"]', '42["x"]')
            assert await drain(ws, 2) == ['437["error"]', '42["x"]']
    assert [entry["event"] for entry in logs] == ["event handler failed"] * 2
    assert "hunter2" not in repr(logs)


@pytest.mark.contract("D85")
async def test_a_failure_without_a_message_is_not_taken_for_success(autojump_clock: MockClock) -> None:
    class Wordless(Echo):
        async def event(self, socket: Socket, name: str, args: Sequence[Any], ack: Ack) -> None:
            raise RuntimeError

    async with open_house(Wordless()) as house, house.connected_websocket() as ws:
        await ws.send('421["x"]')
        assert await ws.text() == '431["error"]'


@pytest.mark.contract("D1", "D2")
@pytest.mark.parametrize("args", ["", ",null", ",{},1", ',{},1,[],"x"', ",{},{},null"])
async def test_whatever_the_arguments_an_ack_is_what_the_packet_asks_for(
    autojump_clock: MockClock, args: str
) -> None:
    """Nothing among them is taken for a callback, and none have to be there."""
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        await ws.send(f'42["e"{args}]')
        assert await ws.text() == f'42["e"{args}]'
        await ws.send(f'427["e"{args}]')
        assert await ws.text() == f"437[{args[1:]}]"
        assert app.events == [("e", json.loads(f"[{args[1:]}]"))] * 2


async def test_a_handler_that_fails_after_its_answer_is_not_answered_again(
    autojump_clock: MockClock,
) -> None:
    class Late(Echo):
        async def event(self, socket: Socket, name: str, args: Sequence[Any], ack: Ack) -> None:
            ack("done")
            raise RuntimeError

    async with open_house(Late()) as house, house.connected_websocket() as ws:
        await ws.send('421["x"]', '422["x"]')
        assert await drain(ws, 2) == ['431["done"]', '432["done"]']


@pytest.mark.parametrize(
    "data",
    [
        "[" * 20_000 + "]" * 20_000,
        '{"a":' * 20_000 + "1" + "}" * 20_000,
        "1e400",
        "9" * 5000,
        '"\\ud800"',
    ],
    ids=["arrays", "objects", "float", "integer", "surrogate"],
)
async def test_unusable_data_costs_only_its_event(autojump_clock: MockClock, data: str) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        await ws.send(f'427["x",{data}]', f'42["x",{data}]', '42["fine"]')
        assert await drain(ws, 2) == ['437["invalid"]', '42["fine"]']
        assert app.events == [("fine", [])]


@pytest.mark.parametrize(
    "packet",
    [
        "42",
        "42{}",
        "42[]",
        "42[1]",
        '42[null,"x"]',
        '42abc["x"]',
        "42[NaN]",
        '42["x",]',
        '42["connect"]',
        '42["disconnect"]',
        '42["newListener"]',
        f'42{10**30}["x"]',
        f'42{2**53}["x"]',
        "43[]",
        "431{}",
        "47",
        "4",
        "41{}",
        "40[]",
        '4511-["x"]',
        '45-["x"]',
        '45["x"]',
        '451-["connect"]',
    ],
)
async def test_malformed_packets_close(autojump_clock: MockClock, packet: str) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        if packet == '451-["connect"]':
            await ws.send(packet, b"x")
        else:
            await ws.send(packet)
        assert await ws.closed() == 1000
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["parse error"]
        assert app.events == []


@pytest.mark.parametrize(
    "messages",
    [
        [b"x"],
        ['451-["x"]', '42["y"]'],
        ['451-["x",{"_placeholder":true,"num":1}]', b""],
        ['451-["x",{"_placeholder":true,"num":-1}]', b""],
        ['451-["x",{"_placeholder":true,"num":0.5}]', b""],
        ['451-["x",{"_placeholder":true,"num":true}]', b""],
        ['451-["x",{"_placeholder":true}]', b""],
        ['452-["x"]', b"x" * 600_000, b"x" * 600_000],
    ],
)
async def test_bad_attachments_close(autojump_clock: MockClock, messages: list[str | bytes]) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        await ws.send(*messages)
        assert await ws.closed() == 1000
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["parse error"]


async def test_prototype_names_are_ordinary(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        await ws.send('42["__proto__",{"__proto__":{"a":1},"constructor":1,"a":1,"a":2}]')
        await ws.text()
        assert app.events == [("__proto__", [{"__proto__": {"a": 1}, "constructor": 1, "a": 2}])]


async def test_acknowledgements_of_the_client_are_ignored(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house, house.connected_websocket() as ws:
        await ws.send("431[]", '43999["x",1]', '42["x"]')
        assert await ws.text() == '42["x"]'


@pytest.mark.parametrize(
    "settings",
    [SignalingSettings(max_pending_events=100), SignalingSettings(max_pending_bytes=2000)],
    ids=["number", "bytes"],
)
async def test_events_that_wait_are_bounded(autojump_clock: MockClock, settings: SignalingSettings) -> None:
    app = Recorder(event_delay=10.0)
    async with open_house(app, settings) as house, house.connected_websocket() as ws:
        await ws.send(*('42["0123456789"]' for _ in range(101)))
        await trio.testing.wait_all_tasks_blocked()
        assert house.door.session_count == 1
        with suppress(ConnectionClosed):
            await ws.send(*('42["0123456789"]' for _ in range(30)))
        await ws.closed()
        assert house.door.session_count == 0


@pytest.mark.parametrize(
    "settings",
    [SignalingSettings(max_queued_packets=100), SignalingSettings(max_queued_bytes=1000)],
    ids=["number", "bytes"],
)
async def test_what_waits_for_a_client_is_bounded(
    autojump_clock: MockClock, settings: SignalingSettings
) -> None:
    app = Recorder()
    async with open_house(app, settings) as house:
        poller = await house.connect_polling()
        socket = app.sockets[0]
        for _ in range(100):
            socket.emit("x")
        assert house.door.session_count == 1
        for _ in range(100):
            socket.emit("x")
        assert house.door.session_count == 0
        socket.emit("ignored")
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["transport error"]
        assert (await poller.poll()).status == 400


async def test_an_event_is_encoded_once_for_many(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as a, house.connected_websocket() as b:
        packet = encode_event("x", {"y": b"z"})
        monkeypatch.delattr(codec, "_to_json")
        monkeypatch.delattr(codec, "encode_packet")
        for socket in app.sockets:
            socket.emit_encoded(packet)
        for ws in (a, b):
            assert await ws.text() == '451-["x",{"y":{"_placeholder":true,"num":0}}]'
            assert await ws.receive() == b"z"
        monkeypatch.undo()

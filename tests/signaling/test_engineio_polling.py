"""Engine.IO over long-polling, as a client without a library sees it."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from sfu.signaling.engineio.session import PACKETS_PER_TURN
from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import POLLING, Echo, Recorder, open_house


async def test_opens_a_session(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        answer = await house.client().get(POLLING)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
        assert answer.body[:1] == b"0"
        opening = json.loads(answer.body[1:])
        assert len(opening.pop("sid")) == 20
        assert opening == {
            "upgrades": ["websocket"],
            "pingInterval": 25000,
            "pingTimeout": 20000,
            "maxPayload": 1000000,
        }
        assert house.door.session_count == 1


@pytest.mark.parametrize(
    ("method", "target", "code", "message"),
    [
        ("GET", "/socket.io/?EIO=4", 0, "Transport unknown"),
        ("GET", "/socket.io/?EIO=4&transport=abc", 0, "Transport unknown"),
        ("GET", "/socket.io/?EIO=4&transport=polling&transport=polling", 0, "Transport unknown"),
        ("GET", POLLING + "&sid=nobody", 1, "Session ID unknown"),
        ("GET", POLLING + "&sid=a&sid=b", 1, "Session ID unknown"),
        ("POST", POLLING, 2, "Bad handshake method"),
        ("PUT", POLLING, 2, "Bad handshake method"),
        ("HEAD", POLLING, 2, "Bad handshake method"),
        ("GET", "/socket.io/?EIO=4&transport=websocket", 3, "Bad request"),
        ("GET", "/socket.io/?EIO=3&transport=polling", 5, "Unsupported protocol version"),
        ("GET", "/socket.io/?EIO=abc&transport=polling", 5, "Unsupported protocol version"),
        ("GET", "/socket.io/?transport=polling", 5, "Unsupported protocol version"),
    ],
)
async def test_refuses_with_code(
    autojump_clock: MockClock, method: str, target: str, code: int, message: str
) -> None:
    async with open_house(Echo()) as house:
        answer = await house.client().request(method, target)
        assert answer.status == 400
        assert answer.headers["access-control-allow-origin"] == "*"
        if method != "HEAD":
            assert answer.json() == {"code": code, "message": message}
        assert house.door.session_count == 0


async def test_carries_messages_both_ways(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        poller = await house.connect_polling()
        answer = await poller.post('42["a",1]\x1e427["b","\u00e9"]\x1e42["c"]')
        assert (answer.status, answer.body) == (200, b"ok")
        received: list[str] = []
        while len(received) < 4:
            received += (await poller.poll()).body.decode().split("\x1e")
        assert received == ['42["a",1]', '437["\u00e9"]', '42["b","\u00e9"]', '42["c"]']


async def test_carries_binary(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        poller = await house.connect_polling()
        await poller.post('451-["a",{"_placeholder":true,"num":0}]\x1ebAQIDBA==')
        assert (await poller.poll()).body == b'451-["a",{"_placeholder":true,"num":0}]\x1ebAQIDBA=='


async def test_a_poll_waits_for_data(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house, trio.open_nursery() as nursery:
        poller = await house.connect_polling()
        bodies: list[bytes] = []

        async def poll() -> None:
            bodies.append((await poller.poll()).body)

        nursery.start_soon(poll)
        await trio.testing.wait_all_tasks_blocked()
        assert bodies == []
        await poller.post('42["a"]')
        await trio.testing.wait_all_tasks_blocked()
        assert bodies == [b'42["a"]']


@pytest.mark.parametrize(
    "body", ["abc", "", "4\x1e", "b!!!!", "0", "2", "5", b"4\xff", "4abc", '42["a"', "42{}"]
)
async def test_malformed_input_ends_the_session(autojump_clock: MockClock, body: str | bytes) -> None:
    app = Recorder()
    async with open_house(app) as house:
        poller = await house.connect_polling()
        assert (await poller.post(body)).status in (200, 400)
        assert (await poller.poll()).json()["code"] == 1
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["parse error"]
        assert house.door.session_count == 0


async def test_a_second_poll_ends_the_session(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, trio.open_nursery() as nursery:
        poller = await house.connect_polling()
        bodies: list[bytes] = []

        async def poll() -> None:
            bodies.append((await poller.poll()).body)

        nursery.start_soon(poll)
        await trio.testing.wait_all_tasks_blocked()
        assert (await house.client().get(poller.target)).status == 400
        await trio.testing.wait_all_tasks_blocked()
        assert bodies == [b"1"]
        assert app.reasons == ["transport error"]
        assert (await poller.poll()).json()["code"] == 1


async def test_a_second_post_ends_the_session(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house:
        poller = await house.connect_polling()
        slow = house.client()
        head = f"POST {poller.target} HTTP/1.1\r\nHost: sfu.test\r\nContent-Length: 9\r\n\r\n42"
        await slow.stream.send_all(head.encode())
        await trio.testing.wait_all_tasks_blocked()
        assert (await poller.post('42["a"]')).status == 400
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["transport error"]


async def test_a_client_that_drops_its_poll_ends_the_session(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house:
        poller = await house.connect_polling()
        request = f"GET {poller.target} HTTP/1.1\r\nHost: sfu.test\r\n\r\n"
        client = house.client()
        await client.stream.send_all(request.encode())
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == []
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["transport error"]


async def test_a_client_can_close_the_session(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, trio.open_nursery() as nursery:
        poller = await house.connect_polling()
        bodies: list[bytes] = []

        async def poll() -> None:
            bodies.append((await poller.poll()).body)

        nursery.start_soon(poll)
        await trio.testing.wait_all_tasks_blocked()
        assert (await poller.post("1")).status == 200
        await trio.testing.wait_all_tasks_blocked()
        assert bodies == [b"6"]
        assert app.reasons == ["transport close"]
        assert (await poller.poll()).status == 400


@pytest.mark.parametrize("rest", ['42["late"]', "40", "41", "2", "1"])
async def test_what_follows_the_end_in_a_payload_is_ignored(autojump_clock: MockClock, rest: str) -> None:
    app = Recorder()
    async with open_house(app) as house:
        poller = await house.connect_polling()
        assert (await poller.post(f"1\x1e{rest}")).status == 200
        await trio.testing.wait_all_tasks_blocked()
        assert app.events == []
        assert len(app.sockets) == 1
        assert app.reasons == ["transport close"]


async def test_a_payload_over_the_limit_is_refused_before_it_is_read(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app, SignalingSettings(max_payload=1000)) as house:
        poller = await house.connect_polling()
        head = f"POST {poller.target} HTTP/1.1\r\nHost: sfu.test\r\nContent-Length: 100000000\r\n\r\n"
        answer = await house.client().send_raw(head.encode())
        assert (answer.status, answer.json()) == (413, {"error": "payload too large"})
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["transport error"]


async def test_an_undeclared_payload_over_the_limit_is_refused(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app, SignalingSettings(max_payload=1000)) as house:
        poller = await house.connect_polling()
        head = f"POST {poller.target} HTTP/1.1\r\nHost: sfu.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunks = b"200\r\n" + b"4" * 512 + b"\r\n"
        answer = await house.client().send_raw(head.encode() + chunks * 2)
        assert answer.status == 413
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["transport error"]


async def test_too_many_packets_end_the_session(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house:
        poller = await house.connect_polling()
        assert (await poller.post("\x1e".join("6" * 16_385))).status == 400
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["parse error"]


async def test_others_get_their_turn_during_a_large_payload(autojump_clock: MockClock) -> None:
    turns = 0

    async def somebody_else() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with open_house(Echo()) as house, trio.open_nursery() as nursery:
        poller = await house.connect_polling()
        nursery.start_soon(somebody_else)
        await poller.post("6")
        few, turns = turns, 0
        await poller.post("\x1e".join("6" * 16_384))
        assert turns >= few + 16_384 // PACKETS_PER_TURN - 1
        nursery.cancel_scope.cancel()


async def test_a_flood_of_pongs_does_nothing(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        poller = await house.connect_polling()
        assert (await poller.post("\x1e".join("3" * 16_384))).status == 200
        await poller.post('42["still here"]')
        assert (await poller.poll()).body == b'42["still here"]'


async def test_a_large_backlog_goes_out_in_several_polls(autojump_clock: MockClock) -> None:
    class Talker(Recorder):
        async def event(self, socket, name, args, ack):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            for number in range(30):
                socket.emit("x", number, "y" * 100_000)

    async with open_house(Talker()) as house:
        poller = await house.connect_polling()
        await poller.post('42["talk"]')
        numbers: list[int] = []
        polls = 0
        while len(numbers) < 30:
            body = (await poller.poll()).body
            assert len(body) <= 1_000_029
            numbers += [json.loads(packet[2:])[1] for packet in body.split(b"\x1e")]
            polls += 1
        assert numbers == list(range(30))
        assert polls > 1


async def test_a_session_through_a_proxy_that_speaks_http_1_0(autojump_clock: MockClock) -> None:
    """As nginx does by default: one connection a request, ``Connection: upgrade`` without ``Upgrade``."""
    async with open_house(Echo()) as house:

        async def ask(method: str, target: str, body: bytes = b"") -> bytes:
            client = house.client()
            head = f"{method} {target} HTTP/1.0\r\nHost: sfu.test\r\nConnection: upgrade\r\n"
            length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
            answer = await client.send_raw(f"{head}{length}\r\n".encode() + body)
            assert answer.status == 200
            assert await client.is_closed()
            return answer.body

        target = f"{POLLING}&sid={json.loads((await ask('GET', POLLING))[1:])['sid']}"
        assert await ask("POST", target, b"40") == b"ok"
        assert (await ask("GET", target)).startswith(b"40{")
        assert await ask("POST", target, b'421["x",1]') == b"ok"
        assert await ask("GET", target) == b'431[1]\x1e42["x",1]'
        assert await ask("GET", target) == b"2"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD"])
async def test_other_methods_leave_a_session_alone(autojump_clock: MockClock, method: str) -> None:
    async with open_house(Echo()) as house:
        poller = await house.connect_polling()
        assert (await house.client().request(method, poller.target)).status == 400
        await poller.post('42["still here"]')
        assert (await poller.poll()).body == b'42["still here"]'

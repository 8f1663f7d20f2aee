"""Engine.IO over WebSocket: from the start, and taking over from long-polling."""

from __future__ import annotations

import json
import struct

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import (
    POLLING,
    UPGRADE_HEADERS,
    WEBSOCKET,
    Answer,
    Echo,
    House,
    Poller,
    Recorder,
    frame,
    open_house,
    read_until,
    upgrade_request,
)


async def test_opens_a_session(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house, house.websocket() as ws:
        opening = json.loads((await ws.text())[1:])
        assert len(opening.pop("sid")) == 20
        assert opening == {
            "upgrades": [],
            "pingInterval": 25000,
            "pingTimeout": 20000,
            "maxPayload": 1000000,
        }


async def test_carries_text_and_binary(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house, house.connected_websocket() as ws:
        await ws.send('427["a","\u00e9"]')
        assert [await ws.text(), await ws.text()] == ['437["\u00e9"]', '42["a","\u00e9"]']
        await ws.send('451-["b",{"_placeholder":true,"num":0}]', b"\x00\xff")
        assert await ws.receive() == '451-["b",{"_placeholder":true,"num":0}]'
        assert await ws.receive() == b"\x00\xff"


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/socket.io/?EIO=4", 0),
        ("/socket.io/?EIO=4&transport=abc", 0),
        (WEBSOCKET + "&sid=nobody", 1),
        (WEBSOCKET + "&sid=a&sid=b", 1),
        (POLLING, 3),
        ("/socket.io/?EIO=3&transport=websocket", 5),
        ("/socket.io/?transport=websocket", 5),
    ],
)
async def test_refuses_with_code(autojump_clock: MockClock, target: str, code: int) -> None:
    async with open_house(Echo()) as house:
        client = house.client()
        answer = await client.send_raw(upgrade_request(target))
        assert answer.status == 400
        assert answer.json()["code"] == code
        assert await client.is_closed()
        assert house.door.session_count == 0


@pytest.mark.parametrize(
    ("find", "put"),
    [
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12"),
        ("Sec-WebSocket-Version: 13", "X: y"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "\xff\xff"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "X: y"),
        ("Upgrade: websocket", "Upgrade: websocket, h2c"),
        ("Host: sfu.test", "Host: xn--\xff.test"),
        ("Connection: Upgrade", "Connection: Upgrade, \xe9"),
        ("Connection: Upgrade", "Connection: Upgrade\r\nSec-WebSocket-Protocol: \xe9"),
        ("Connection: Upgrade", "Connection: Upgrade\r\nContent-Length: 5"),
    ],
)
async def test_refuses_a_handshake_that_the_library_would_choke_on(
    autojump_clock: MockClock, find: str, put: str
) -> None:
    async with open_house(Echo()) as house:
        headers = UPGRADE_HEADERS.replace(find, put)
        assert headers != UPGRADE_HEADERS
        client = house.client()
        assert (await client.send_raw(upgrade_request(WEBSOCKET, headers))).status == 400
        assert await client.is_closed()
        assert (await house.client().get(POLLING)).status == 200


async def test_an_upgrade_elsewhere_is_an_ordinary_request(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        assert (await house.client().send_raw(upgrade_request("/elsewhere"))).status == 404


async def test_polling_with_connection_upgrade_is_an_ordinary_request(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        client = house.client()
        for _ in range(2):
            assert (await client.get(POLLING, Connection="upgrade")).status == 200


# --- frames ------------------------------------------------------------------------------------------------


async def raw_websocket(house: House, trailing: bytes = b"") -> trio.abc.Stream:
    """A connection after the opening packet."""
    client = house.client()
    await client.stream.send_all(upgrade_request(WEBSOCKET) + trailing)
    received = await read_until(client.stream, b"}")
    assert received.startswith(b"HTTP/1.1 101 ")
    return client.stream


async def close_code(stream: trio.abc.Stream) -> int | None:
    """Read to the end; the code in the last frame if that is a close frame."""
    received = b""
    try:
        while data := await stream.receive_some():
            received += data
    except trio.BrokenResourceError:
        pass
    index = received.rfind(b"\x88")
    if index < 0 or received[index + 1] < 2:
        return None
    return int(struct.unpack_from("!H", received, index + 2)[0])


BAD_FRAMES = [
    (frame(0xC1, b"x"), 1002),
    (frame(0x91, b"x"), 1002),
    (frame(0x81, b"x", mask=False), 1002),
    (frame(0x83, b"x"), 1002),
    (frame(0x09, b"fragmented ping"), 1002),
    (frame(0x89, b"x" * 126), 1002),
    (frame(0x80, b"continues nothing"), 1002),
    (frame(0x01, b"a") + frame(0x81, b"b"), 1002),
    (frame(0x88, b"x"), 1002),
    (frame(0x88, struct.pack("!H", 1005)), 1002),
    (frame(0x81, b"\xff\xfe"), 1007),
    (struct.pack("!BBQ", 0x81, 0x80 | 127, 2**63) + b"mask", 1002),
    (frame(0x82, b"x" * 1001), 1009),
    (frame(0x02, b"x" * 600) + frame(0x80, b"x" * 600), 1009),
    (frame(0x81, "\u20ac".encode() * 400), 1009),
]


@pytest.mark.parametrize(("data", "code"), BAD_FRAMES)
async def test_a_peer_that_breaks_the_rules_is_told(
    autojump_clock: MockClock, data: bytes, code: int
) -> None:
    app = Recorder()
    async with open_house(app, SignalingSettings(max_payload=1000)) as house:
        stream = await raw_websocket(house)
        await stream.send_all(frame(0x81, b"40"))
        await trio.testing.wait_all_tasks_blocked()
        await stream.send_all(data)
        assert await close_code(stream) == code
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["transport error"]


async def test_frames_behind_the_handshake_are_not_lost(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        stream = await raw_websocket(house, trailing=frame(0x81, b"40"))
        await read_until(stream, b"}")
        await stream.send_all(frame(0x81, b'42["x"]'))
        await read_until(stream, b'42["x"]')


async def test_pings_of_the_peer_are_answered(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        stream = await raw_websocket(house)
        for number in range(1000):
            await stream.send_all(frame(0x89, str(number).encode()))
        answers = await read_until(stream, b"\x8a\x03999")
        assert answers.count(b"\x8a") == 1000


async def test_input_that_never_becomes_a_message_ends_the_connection(autojump_clock: MockClock) -> None:
    async with open_house(Echo(), SignalingSettings(max_payload=1000)) as house:
        stream = await raw_websocket(house)
        await stream.send_all(frame(0x01, b"4"))
        fragments = frame(0x00, b"") * 1000
        sent = 0
        while house.door.session_count and sent < 10_000_000:
            await stream.send_all(fragments)
            sent += len(fragments)
            await trio.testing.wait_all_tasks_blocked()
        assert sent < 100_000


async def test_a_ping_after_our_close_frame_harms_nobody(autojump_clock: MockClock) -> None:
    """trio-websocket's reader fails on it."""
    async with open_house(Recorder()) as house:
        stream = await raw_websocket(house)
        await stream.send_all(frame(0x81, b"garbage") + frame(0x89, b"?") * 3)
        await close_code(stream)
        assert (await house.client().get(POLLING)).status == 200


@pytest.mark.parametrize("message", ["abc", "", "0", "2", "5", "2probe"])
async def test_malformed_packets_close(autojump_clock: MockClock, message: str) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        await ws.send(message)
        assert await ws.closed() == 1000
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["parse error"]


async def test_a_close_packet_closes(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        await ws.send("1")
        assert await ws.closed() == 1000
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["transport close"]


async def test_a_dropped_connection_is_noticed(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house:
        stream = await raw_websocket(house)
        await stream.send_all(frame(0x81, b"40"))
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["transport close"]
        assert house.door.connection_count == 0


# --- upgrade -----------------------------------------------------------------------------------------------


async def test_upgrades(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        poller = await house.connect_polling()
        async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}") as ws:
            await ws.send("2probe")
            assert await ws.text() == "3probe"
            assert (await poller.poll()).body == b"6"
            await poller.post('42["last by polling"]')
            await trio.testing.wait_all_tasks_blocked()
            await ws.send("5", '42["first by websocket"]')
            assert await ws.text() == '42["last by polling"]'
            assert await ws.text() == '42["first by websocket"]'
            answer = await poller.poll()
            assert (answer.status, answer.json()["code"]) == (400, 3)
            assert (await poller.post("3")).status == 400
            second = await house.client().send_raw(upgrade_request(f"{WEBSOCKET}&sid={poller.sid}"))
            assert second.status == 400
            await ws.send('42["still here"]')
            assert await ws.text() == '42["still here"]'


async def test_a_held_poll_is_let_go_when_the_probe_comes(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house, trio.open_nursery() as nursery:
        poller = await house.connect_polling()
        answers: list[Answer] = []

        async def poll() -> None:
            answers.append(await poller.poll())

        nursery.start_soon(poll)
        async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}") as ws:
            await trio.testing.wait_all_tasks_blocked()
            assert not answers
            await ws.send("2probe")
            assert await ws.text() == "3probe"
            await trio.testing.wait_all_tasks_blocked()
            assert [answer.body for answer in answers] == [b"6"]


async def test_data_during_the_probe_still_goes_by_polling(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        poller = await house.connect_polling()
        async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}") as ws:
            await ws.send("2probe")
            assert await ws.text() == "3probe"
            await poller.post('42["x"]')
            assert (await poller.poll()).body == b'42["x"]'
            await ws.send("5", '42["y"]')
            assert await ws.text() == '42["y"]'


@pytest.mark.parametrize("messages", [["5"], ["4"], ["2probe", "2probe"], ["2probe", "41"], [b"x"], [""]])
async def test_a_bad_probe_leaves_the_session_on_polling(
    autojump_clock: MockClock, messages: list[str | bytes]
) -> None:
    async with open_house(Recorder()) as house:
        poller = await house.connect_polling()
        async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}") as ws:
            await ws.send(*messages)
            await ws.closed()
        await assert_polling_works(poller)


async def assert_polling_works(poller: Poller) -> None:
    await poller.post('42["x"]')
    assert (await poller.poll()).body == b'42["x"]'


async def test_a_websocket_that_goes_while_probing_leaves_the_session_on_polling(
    autojump_clock: MockClock,
) -> None:
    async with open_house(Recorder()) as house:
        poller = await house.connect_polling()
        for _ in range(3):
            async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}") as ws:
                await ws.send("2probe")
                assert await ws.text() == "3probe"
            await trio.testing.wait_all_tasks_blocked()
        await assert_polling_works(poller)


async def test_only_one_websocket_may_probe(autojump_clock: MockClock) -> None:
    async with open_house(Recorder()) as house:
        poller = await house.connect_polling()
        async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}"):
            second = await house.client().send_raw(upgrade_request(f"{WEBSOCKET}&sid={poller.sid}"))
            assert second.json()["code"] == 3
        await trio.testing.wait_all_tasks_blocked()
        await assert_polling_works(poller)


async def test_a_session_that_ends_takes_its_probing_websocket_along(autojump_clock: MockClock) -> None:
    async with open_house(Recorder(), SignalingSettings(close_timeout=0.05)) as house:
        poller = await house.connect_polling()
        async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}") as ws:
            await ws.send("2probe")
            assert await ws.text() == "3probe"
            await poller.post("1")
            assert await ws.closed() == 1000


async def test_closing_while_probed_then_upgrade_is_harmless(autojump_clock: MockClock) -> None:
    async with open_house(Recorder()) as house:
        poller = await house.connect_polling()
        async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}") as ws:
            await ws.send("2probe")
            assert await ws.text() == "3probe"
            await poller.post("1")
            await ws.send("5")
            assert await ws.closed() == 1000
        assert house.door.session_count == 0

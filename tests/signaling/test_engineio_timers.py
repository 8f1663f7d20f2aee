"""Heartbeat and time-outs of sessions, in virtual time."""

from __future__ import annotations

import trio
import trio.testing
from trio.testing import MockClock

from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import WEBSOCKET, Echo, Recorder, frame, open_house, read_until, upgrade_request


async def test_pings_after_each_pong(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house, house.connected_websocket() as ws:
        for _ in range(3):
            before = trio.current_time()
            assert await ws.text() == "2"
            assert trio.current_time() - before == 25.0
            await trio.sleep(19.0)
            await ws.send("3")
            await trio.testing.wait_all_tasks_blocked()


async def test_pings_over_polling(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        poller = await house.connect_polling()
        for _ in range(3):
            assert (await poller.poll()).body == b"2"
            assert (await poller.post("3")).status == 200
        assert trio.current_time() == 75.0


async def test_a_missing_pong_ends_the_session(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        assert await ws.text() == "2"
        await ws.send('42["not a pong"]')
        assert await ws.closed() == 1000
        assert trio.current_time() == 45.0
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["ping timeout"]


async def test_a_pong_may_be_late_while_other_packets_come(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        assert await ws.text() == "2"
        for _ in range(10):
            await trio.sleep(15.0)
            await ws.send('42["x"]')
            assert await ws.text() == '42["x"]'
        await ws.send("3")
        assert await ws.text() == "2"
        assert trio.current_time() == 200.0
        await trio.sleep(15.0)
        await ws.send("6")
        await ws.closed()
        assert trio.current_time() == 235.0


async def test_a_poller_that_vanishes_is_noticed(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house:
        await house.connect_polling()
        await trio.sleep(45.1)
        assert app.reasons == ["ping timeout"]
        assert house.door.session_count == 0


async def test_a_pong_nobody_asked_for_does_not_count_as_answer(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        await ws.send("3")
        assert await ws.text() == "2"
        assert await ws.closed() == 1000
        assert trio.current_time() == 45.0


async def test_heartbeat_goes_on_across_the_upgrade(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        poller = await house.connect_polling()
        await trio.sleep(20.0)
        async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}") as ws:
            await ws.send("2probe")
            assert await ws.text() == "3probe"
            await ws.send("5")
            assert await ws.text() == "2"
            assert trio.current_time() == 25.0
            await ws.send("3")
            assert await ws.text() == "2"
            assert trio.current_time() == 50.0


async def test_an_upgrade_that_does_not_happen_is_given_up(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        poller = await house.connect_polling()
        async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}") as ws:
            await ws.send("2probe")
            assert await ws.text() == "3probe"
            await ws.closed()
            assert trio.current_time() == 10.0
        await poller.post('42["x"]')
        assert (await poller.poll()).body == b'42["x"]'


async def test_polls_are_not_answered_in_a_busy_loop_while_probed(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        poller = await house.connect_polling()
        async with house.websocket(f"{WEBSOCKET}&sid={poller.sid}") as ws:
            await ws.send("2probe")
            assert await ws.text() == "3probe"
            before = trio.current_time()
            for _ in range(10):
                assert (await poller.poll()).body == b"6"
            assert trio.current_time() - before > 0.9


async def test_a_session_without_socket_is_closed(autojump_clock: MockClock) -> None:
    async with open_house(Echo()) as house:
        poller = await house.open_polling()
        assert (await poller.poll()).body == b"2"
        await poller.post("3")
        assert (await poller.poll()).body == b"1"
        assert trio.current_time() == 45.0
        async with house.websocket() as ws:
            await ws.text()
            assert await ws.text() == "2"
            await ws.send("3")
            assert await ws.closed() == 1000
            assert trio.current_time() == 90.0


async def test_asking_the_application_counts_as_being_without_socket(autojump_clock: MockClock) -> None:
    app = Recorder(connect_delay=1000.0)
    async with open_house(app) as house:
        poller = await house.open_polling()
        await poller.post("40")
        assert (await poller.poll()).body == b"2"
        await poller.post("3")
        assert (await poller.poll()).body == b"1"
        assert trio.current_time() == 45.0
        assert app.goodbyes == []


async def test_a_refused_client_is_closed_in_time(autojump_clock: MockClock) -> None:
    async with open_house(Recorder()) as house, house.websocket() as ws:
        await ws.text()
        await ws.send('40{"refuse":"unauthorized"}')
        assert await ws.text() == '44{"message":"unauthorized"}'
        assert await ws.text() == "2"
        await ws.send("3")
        await ws.closed()
        assert trio.current_time() == 45.0


async def test_time_to_connect_begins_anew_after_a_disconnect(autojump_clock: MockClock) -> None:
    settings = SignalingSettings(ping_interval=1000.0)
    async with open_house(Recorder(), settings) as house, house.connected_websocket() as ws:
        await trio.sleep(100.0)
        await ws.send("41")
        await ws.closed()
        assert trio.current_time() == 145.0


async def test_a_websocket_that_stops_reading_is_closed(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house:
        stream = house.client(lockstep=True).stream
        await stream.send_all(upgrade_request(WEBSOCKET))
        await read_until(stream, b"}")
        await stream.send_all(frame(0x81, b"40"))
        await trio.sleep(44.9)
        assert house.door.session_count == 1
        await trio.sleep(0.2)
        assert house.door.session_count == 0
        await trio.sleep(3.0)
        assert house.door.connection_count == 0
        assert app.reasons == ["ping timeout"]


async def test_a_poller_that_stops_reading_is_closed(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app, SignalingSettings(ping_interval=1000.0)) as house:
        poller = await house.connect_polling()
        stream = house.client(lockstep=True).stream
        await stream.send_all(f"GET {poller.target} HTTP/1.1\r\nHost: sfu.test\r\n\r\n".encode())
        await poller.post('42["x"]')
        await trio.sleep(59.9)
        assert app.goodbyes == []
        await trio.sleep(0.2)
        assert app.reasons == ["transport error"]
        assert house.door.session_count == 0


async def test_last_seen_follows_every_packet(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        for packet in ("3", "6", '42["x"]', "431[]"):
            await trio.sleep(5.0)
            await ws.send(packet)
            await trio.testing.wait_all_tasks_blocked()
            assert app.sockets[0].last_seen == trio.current_time()


async def test_asking_for_a_sign_of_life(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws, trio.open_nursery() as nursery:
        [socket] = app.sockets
        answers: list[bool] = []

        async def ask() -> None:
            answers.append(await socket.is_alive(1.5))

        for answer in ("3", '42["x"]'):
            nursery.start_soon(ask)
            nursery.start_soon(ask)
            assert await ws.text() == "2"  # one ping for both
            await trio.sleep(1.0)
            await ws.send(answer)
            await trio.testing.wait_all_tasks_blocked()
        assert answers == [True] * 4
        before = trio.current_time()
        await ask()
        assert not answers.pop()
        assert trio.current_time() - before == 1.5
        await ws.text()
        nursery.start_soon(ask)
        await ws.text()
        await ws.send("41")
        await ws.send("1")
        await trio.testing.wait_all_tasks_blocked()
        assert answers.pop() is True  # it was alive a moment ago
        assert not await socket.is_alive(1.5)  # and now there is no link that could be


async def test_a_link_that_ends_is_known_to_be_dead_at_once(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws, trio.open_nursery() as nursery:
        answers: list[bool] = []

        async def ask() -> None:
            answers.append(await app.sockets[0].is_alive(1.5))

        nursery.start_soon(ask)
        await ws.text()
        await ws.connection.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert answers == [False]
        assert trio.current_time() == 0.0


async def test_a_poller_is_asked_for_a_sign_of_life_too(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, trio.open_nursery() as nursery:
        poller = await house.connect_polling()
        nursery.start_soon(app.sockets[0].is_alive, 1.5)
        assert (await poller.poll()).body == b"2"
        assert trio.current_time() == 0.0
        await poller.post("3")

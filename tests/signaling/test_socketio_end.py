"""The end of sockets: who leaves, who is waited for, and what shutdown does."""

from __future__ import annotations

import structlog.testing
import trio
import trio.testing
from trio.testing import MockClock

from sfu.signaling.application import Socket
from tests.signaling.harness import Echo, Recorder, Ws, open_house


async def test_a_client_can_leave_and_come_back(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        await ws.send('42["x"]', "41", '42["too late"]', "40")
        assert await ws.text() == '42["x"]'
        assert (await ws.text()).startswith("40{")
        assert app.reasons == ["client namespace disconnect"]
        first, second = app.sockets
        assert first.id != second.id
        assert not first.connected
        await ws.send('42["y"]')
        assert await ws.text() == '42["y"]'
        assert app.events == [("x", []), ("y", [])]


async def test_a_socket_that_comes_back_waits_for_the_goodbye_of_the_last(autojump_clock: MockClock) -> None:
    log: list[str] = []

    class Slow(Recorder):
        async def connect(self, socket: Socket) -> None:
            log.append("connect")

        async def disconnect(self, socket: Socket, reason: str) -> None:
            await trio.sleep(2.0)
            log.append("goodbye")

    async with open_house(Slow()) as house, house.connected_websocket() as ws:
        await ws.send("41", "40")
        assert (await ws.text()).startswith("40{")
        assert log == ["connect", "goodbye", "connect"]
        assert trio.current_time() == 2.0


async def test_the_server_can_disconnect(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, house.connected_websocket() as ws:
        app.sockets[0].emit("bye")
        app.sockets[0].disconnect()
        app.sockets[0].disconnect()
        app.sockets[0].emit("ignored")
        await ws.send('42["sent before it knew"]')
        assert [await ws.text(), await ws.text()] == ['42["bye"]', "41"]
        await trio.testing.wait_all_tasks_blocked()
        assert app.reasons == ["server namespace disconnect"]
        assert app.events == []
        await ws.send("40")
        assert (await ws.text()).startswith("40{")


async def test_a_disconnect_forgets_events_that_wait(autojump_clock: MockClock) -> None:
    app = Recorder(event_delay=1.0)
    async with open_house(app) as house, house.connected_websocket() as ws:
        await ws.send(*('42["x"]' for _ in range(10)))
        await trio.sleep(2.5)
        app.sockets[0].disconnect()
        await trio.sleep(60.0)
        assert len(app.events) == 3
        assert app.reasons == ["server namespace disconnect"]


async def test_events_that_came_before_the_end_are_still_handled(autojump_clock: MockClock) -> None:
    app = Recorder(event_delay=0.1)
    async with open_house(app) as house:
        async with house.connected_websocket() as ws:
            await ws.send(*(f'42["x",{number}]' for number in range(20)))
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(3.0)
        assert [args for _, args in app.events] == [[number] for number in range(20)]
        assert app.reasons == ["transport close"]


async def test_a_handler_has_limited_time_after_the_end(autojump_clock: MockClock) -> None:
    app = Recorder(event_delay=1000.0)
    async with open_house(app) as house:
        async with house.connected_websocket() as ws:
            await ws.send('42["x"]', '42["y"]')
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(4.9)
        assert app.goodbyes == []
        await trio.sleep(0.2)
        assert app.reasons == ["transport close"]
        assert app.events == [("x", [])]


async def test_a_goodbye_has_limited_time(autojump_clock: MockClock) -> None:
    class Stuck(Echo):
        async def disconnect(self, socket: Socket, reason: str) -> None:
            await trio.sleep_forever()

    with structlog.testing.capture_logs() as logs:
        async with open_house(Stuck()) as house:
            async with house.connected_websocket():
                pass
            await trio.sleep(5.1)
            assert [entry["event"] for entry in logs] == ["disconnect handler took too long"]


async def test_a_failing_goodbye_harms_nobody(autojump_clock: MockClock) -> None:
    class Broken(Echo):
        async def disconnect(self, socket: Socket, reason: str) -> None:
            raise RuntimeError

    with structlog.testing.capture_logs() as logs:
        async with open_house(Broken()) as house:
            async with house.connected_websocket():
                pass
            async with house.connected_websocket() as ws:
                await ws.send('42["x"]')
                assert await ws.text() == '42["x"]'
    assert [entry["event"] for entry in logs] == ["disconnect handler failed"] * 2


async def test_no_goodbye_for_a_client_that_left_while_connecting(autojump_clock: MockClock) -> None:
    app = Recorder(connect_delay=5.0)
    async with open_house(app) as house:
        async with house.websocket() as ws:
            await ws.text()
            await ws.send("40")
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(60.0)
        assert app.sockets == []
        assert app.goodbyes == []


async def test_a_goodbye_is_owed_to_whoever_was_let_in_too_late(autojump_clock: MockClock) -> None:
    class Stubborn(Recorder):
        async def connect(self, socket: Socket) -> None:
            with trio.CancelScope(shield=True):
                await super().connect(socket)

    app = Stubborn(connect_delay=5.0)
    async with open_house(app) as house:
        async with house.websocket() as ws:
            await ws.text()
            await ws.send("40")
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(60.0)
        assert len(app.sockets) == 1
        assert app.reasons == ["transport close"]


# --- shutdown ----------------------------------------------------------------------------------------------


async def test_shutdown_tells_everyone_and_takes_a_second_at_most(autojump_clock: MockClock) -> None:
    app = Recorder()
    async with open_house(app) as house, trio.open_nursery() as nursery:
        poller = await house.connect_polling()
        idle = house.client()
        assert (await idle.get("/")).status == 404
        polled: list[bytes] = []
        closed: list[int] = []

        async def poll() -> None:
            polled.append((await poller.poll()).body)

        async def read(ws: Ws) -> None:
            closed.append(await ws.closed())

        async with house.connected_websocket() as ws:
            nursery.start_soon(poll)
            nursery.start_soon(read, ws)
            await trio.testing.wait_all_tasks_blocked()
            before = trio.current_time()
            house.scope.cancel()
            await house.over.wait()
            assert trio.current_time() - before <= 1.0
            assert (polled, closed) == ([b"1"], [1000])
            assert app.reasons == ["server shutting down"] * 2
            assert await idle.is_closed()


async def test_shutdown_does_not_wait_for_handlers(autojump_clock: MockClock) -> None:
    app = Recorder(event_delay=1000.0)
    async with open_house(app) as house, house.connected_websocket() as ws:
        await ws.send('42["x"]', '42["y"]')
        await trio.testing.wait_all_tasks_blocked()
        before = trio.current_time()
        house.scope.cancel()
        assert await ws.closed() == 1000
        await house.over.wait()
        assert trio.current_time() - before <= 1.0
        assert app.reasons == ["server shutting down"]
        assert app.events == [("x", [])]


async def test_shutdown_waits_a_second_for_goodbyes(autojump_clock: MockClock) -> None:
    class Stuck(Echo):
        async def disconnect(self, socket: Socket, reason: str) -> None:
            await trio.sleep_forever()

    before = 0.0
    async with open_house(Stuck()) as house, house.connected_websocket():
        before = trio.current_time()
        house.scope.cancel()
    assert trio.current_time() - before <= 1.0

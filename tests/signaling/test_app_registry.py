"""What RomM's registry is told, and that nobody waits for it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sfu.romm.port import RoomRecord
from sfu.signaling.app_settings import AppSettings
from sfu.signaling.registry import MAX_WRITES
from tests.support.app_world import AppWorld, MemorySocket, open_world
from tests.support.memory_romm import MemoryRomm


def writes(romm: MemoryRomm) -> list[tuple[str, str]]:
    """Calls that change the registry since the last time."""
    calls, romm.calls = romm.calls, []
    return [(call[0], call[1]) for call in calls if call[0] in ("upsert", "delete")]


async def test_a_room_is_registered_followed_and_deleted(autojump_clock: MockClock, world: AppWorld) -> None:
    ann = await world.host("ann", maxPlayers=3, password="pw")
    await world.settle()
    record = world.romm.rooms["R"]
    assert record == RoomRecord("R", 1, 3, True, "node-1", "http://here", record.extras)
    assert record.extras["netplay_mode"] == "live_stream"
    assert "password" not in record.extras
    bob = await world.connect("bob")
    await bob.ask("join-room", {"extra": {"room_name": "R"}, "password": "pw"})
    await world.settle()
    assert world.romm.rooms["R"].current == 2
    await ann.ask("leave-room")
    await world.settle()
    assert world.romm.rooms["R"].current == 1
    await bob.leave()
    await trio.sleep(61)
    assert world.romm.rooms == {}


@pytest.mark.contract("D91")
async def test_records_are_refreshed(autojump_clock: MockClock, world: AppWorld) -> None:
    await world.host("ann", "A")
    await world.host("bob", "B")
    await wait_all_tasks_blocked()
    writes(world.romm)
    await trio.sleep(24)
    assert writes(world.romm) == []
    await trio.sleep(2)
    assert sorted(writes(world.romm)) == [("upsert", "A"), ("upsert", "B")]


@pytest.mark.contract("D92")
async def test_an_outage_hurts_nobody_and_heals(autojump_clock: MockClock, world: AppWorld) -> None:
    ann = await world.connect("ann")
    world.romm.down = True
    await ann.ask("open-room", {"extra": {"room_name": "R"}})
    await trio.sleep(30)
    assert world.romm.rooms == {}
    world.romm.down = False
    await trio.sleep(30)
    assert set(world.romm.rooms) == {"R"}


@pytest.mark.contract("D91")
async def test_many_changes_under_a_slow_romm_are_one_write_more(
    autojump_clock: MockClock, world: AppWorld
) -> None:
    ann = await world.host("ann")
    await world.settle()
    writes(world.romm)
    world.romm.held = trio.Event()
    for slot in (8, 3, 8, 1, 8):
        await ann.ask("update-player-slot", {"roomName": "R", "playerSlot": slot})
        await wait_all_tasks_blocked()
    await ann.ask("leave-room")
    await wait_all_tasks_blocked()
    world.romm.held.set()
    await wait_all_tasks_blocked()
    assert writes(world.romm) == [("upsert", "R"), ("delete", "R")]
    assert world.romm.rooms == {}


async def test_writes_of_one_name_keep_their_order(autojump_clock: MockClock, world: AppWorld) -> None:
    ann = await world.connect("ann")
    for _ in range(3):
        await ann.ask("open-room", {"extra": {"room_name": "R"}})
        await trio.lowlevel.checkpoint()
        await ann.ask("leave-room")
    await wait_all_tasks_blocked()
    assert world.romm.rooms == {}
    await ann.ask("open-room", {"extra": {"room_name": "R"}})
    await wait_all_tasks_blocked()
    assert set(world.romm.rooms) == {"R"}


async def test_few_writes_are_under_way_at_once(autojump_clock: MockClock, world: AppWorld) -> None:
    sockets = [await world.connect(f"user{n}") for n in range(3 * MAX_WRITES)]
    for n, socket in enumerate(sockets):
        await socket.ask("open-room", {"extra": {"room_name": f"R{n}"}})
    await wait_all_tasks_blocked()
    world.romm.most_running = 0
    world.romm.held = trio.Event()
    await trio.sleep(26)
    assert world.romm.most_running == MAX_WRITES
    world.romm.held.set()
    await wait_all_tasks_blocked()
    assert world.romm.running == 0


@pytest.mark.contract("D5")
async def test_at_the_end_ones_own_records_go(autojump_clock: MockClock) -> None:
    romm = MemoryRomm()
    romm.rooms["theirs"] = RoomRecord("theirs", 1, 4, False, "node-2", "http://there", {})
    async with open_world(romm=romm) as world:
        await world.host("ann")
        await wait_all_tasks_blocked()
        assert set(romm.rooms) == {"theirs", "R"}
    assert set(romm.rooms) == {"theirs"}


async def test_the_end_does_not_wait_for_a_romm_that_hangs(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.host("ann")
        await wait_all_tasks_blocked()
        world.romm.held = trio.Event()
        start = trio.current_time()
    assert trio.current_time() - start <= 1.01


async def test_an_outage_at_the_end_is_no_failure(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.host("ann")
        await wait_all_tasks_blocked()
        world.romm.down = True


async def test_sockets_may_go_after_the_application_has_stopped(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ann = await world.host("ann")
        await ann.ask("sfu-create-transport", {})
    await ann.leave()
    assert await ann.call("leave-room") is None


@pytest.mark.parametrize(
    "bad", [{"registry_refresh": 0}, {"shutdown_timeout": float("nan")}, {"takeover_grace": -1}]
)
def test_settings_that_make_no_sense(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        AppSettings(public_url="u", node_id="n", **bad)  # type: ignore[arg-type]


async def test_sockets_may_go_while_the_application_stops(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        sockets = [await world.host(f"user{n}", f"R{n}") for n in range(20)]
        for socket in sockets:
            await socket.ask("sfu-create-transport", {})

        async def go(socket: MemorySocket, ticks: int) -> None:
            with trio.CancelScope(shield=True):
                for _ in range(ticks):
                    await trio.lowlevel.checkpoint()
                await socket.call("leave-room")
                await socket.leave()

        for ticks, socket in enumerate(sockets):
            world.nursery.start_soon(go, socket, ticks)
        world.nursery.cancel_scope.cancel()
    assert len(world.rooms) == 0

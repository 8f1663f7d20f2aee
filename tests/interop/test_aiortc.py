"""A game with aiortc on both sides: another WebRTC stack, each peer a process, against the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import trio

from tests.interop.content import TONE, digest, messages
from tests.support.daemon import Daemon, clean, running_daemon
from tests.support.remote_peer import Remote, aiortc, together

pytestmark = pytest.mark.interop

ENOUGH_FRAMES = 45
CHANNELS: dict[str, dict[str, Any]] = {
    "reliable": {"ordered": True},
    "unordered": {"ordered": False},
    "netplay-input": {"ordered": False, "maxPacketLifeTime": 3000},
}
TEXT_AND_BINARY = 60


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """One for all games, with two workers: rooms are spread over them."""
    with running_daemon(workers=2) as one:
        yield one
        pids = one.worker_pids
        assert len(pids) == 2
        ended = one.stop()
        assert ended.status == 0
        assert clean(ended.stderr)


def watched(status: dict[str, Any], count: int = ENOUGH_FRAMES) -> bool:
    return bool(status["numbers"]) and len(status["numbers"][-1]) >= count


def rising(numbers: list[int]) -> bool:
    """No picture twice, none out of order."""
    return all(a < b for a, b in pairwise(numbers))


async def check_channel(sender: Remote, receiver: Remote, label: str, seed: int) -> None:
    """Send messages one way; all arrive as they were, in order where that was asked for."""
    before = (await receiver.do("status"))["messages"].get(label, [])
    await sender.do("send", label=label, seed=seed, count=TEXT_AND_BINARY)
    expected = [digest(message) for message in messages(seed, TEXT_AND_BINARY)]
    status = await receiver.until(
        lambda status: len(status["messages"][label]) >= len(before) + len(expected)
    )
    got = status["messages"][label][len(before) :]
    if CHANNELS[label]["ordered"]:
        assert got == expected
    else:
        assert sorted(got) == sorted(expected)


@pytest.mark.parametrize(("host_role", "viewer_role"), [("client", "server"), ("server", "client")])
async def test_a_game(daemon: Daemon, host_role: str, viewer_role: str) -> None:
    """Picture, sound and data, with either side of DTLS on either side of the game."""
    room = f"game {host_role}"
    async with aiortc(daemon, "host") as host, aiortc(daemon, "viewer") as viewer:
        await host.do("join", room=room, create=True, dtls_role=host_role)
        await host.do("produce", kinds=["video", "audio"], channels=CHANNELS)
        await viewer.do("join", room=room, dtls_role=viewer_role)
        await viewer.do("produce", kinds=[], channels=CHANNELS)

        status = await viewer.until(watched)
        [numbers] = status["numbers"]
        assert rising(numbers)
        assert status["unreadable"] == 0
        assert len(numbers) >= 0.9 * (numbers[-1] - numbers[0] + 1)  # aiortc drops what it decodes too late
        sent = (await host.do("status"))["picture"]
        assert numbers[-1] <= sent

        status = await viewer.until(lambda status: status["heard"] >= 50)
        assert status["tone"] == [pytest.approx(TONE, rel=0.01)]

        await host.until(lambda status: set(status["messages"]) == set(CHANNELS))
        for seed, label in enumerate(CHANNELS):
            await check_channel(host, viewer, label, seed)
            await check_channel(viewer, host, label, 100 + seed)

        # Reports both ways: the host hears how its streams arrive, the viewer which time they belong to.
        await host.until(
            lambda status: all(status["feedback"][kind].get("report") for kind in ("video", "audio"))
        )
        await host.until(lambda status: status["feedback"]["video"].get("remb"))
        await viewer.until(
            lambda status: (
                status["counts"][0].get("sender report") and status["audio_counts"][0].get("sender report")
            )
        )
        await together(viewer.do("leave"), host.do("leave"))


async def test_lost_packets_are_repaired(daemon: Daemon) -> None:
    """Losing one in twenty both ways: aiortc asks us, and we ask aiortc, to send again over RTX."""
    async with aiortc(daemon, "host") as host, aiortc(daemon, "viewer") as viewer:
        await host.do("join", room="loss", create=True)
        await host.do("produce", kinds=["video"], channels={})
        await viewer.do("join", room="loss")
        await viewer.until(watched)
        await together(host.do("lose", rate=0.05), viewer.do("lose", rate=0.05))
        start = len((await viewer.do("status"))["numbers"][0])
        await viewer.until(lambda status: watched(status, start + 150))
        await together(host.do("lose", rate=0.0), viewer.do("lose", rate=0.0))
        status = await viewer.until(lambda status: watched(status, start + 180))
        numbers = status["numbers"][0][start:]
        assert rising(numbers)
        assert status["unreadable"] == 0
        assert status["lost"] > 0
        assert status["counts"][0]["nacks sent"] > 0
        assert status["counts"][0]["rtx"] > 0
        hosts = await host.do("status")
        assert hosts["lost"] > 0
        assert hosts["feedback"]["video"]["nack"] > 0
        # Without repair one frame in ten would be gone, and each of them would freeze the picture.
        assert len(numbers) >= 0.95 * (numbers[-1] - numbers[0] + 1)


async def test_ice_restarts_from_new_ports(daemon: Daemon) -> None:
    """Both ends change their addresses in the middle of a game: nothing is lost, nothing starts anew."""
    async with aiortc(daemon, "host") as host, aiortc(daemon, "viewer") as viewer:
        await host.do("join", room="restart", create=True)
        await host.do("produce", kinds=["video", "audio"], channels=CHANNELS)
        await viewer.do("join", room="restart")
        await viewer.do("produce", kinds=[], channels=CHANNELS)
        await viewer.until(watched)
        await host.until(lambda status: set(status["messages"]) == set(CHANNELS))
        for which, end in enumerate((viewer, host)):
            ports = await end.do("restart_ice")
            assert len(ports) == 2
            assert all(before != after for before, after in ports)
            seen = len((await viewer.do("status"))["numbers"][0])
            enough = seen + ENOUGH_FRAMES
            status = await viewer.until(partial(watched, count=enough))
            assert rising(status["numbers"][0])
            assert status["tone"] == [pytest.approx(TONE, rel=0.01)]
            await check_channel(host, viewer, "reliable", which)
            await check_channel(viewer, host, "reliable", 50 + which)
        assert {*(await viewer.do("status"))["dtls"], *(await host.do("status"))["dtls"]} == {"connected"}


async def test_a_crashed_viewer_comes_back(daemon: Daemon) -> None:
    """A new process in the same place sees the picture: a key frame is asked for on its behalf."""
    async with aiortc(daemon, "host") as host:
        await host.do("join", room="crash", create=True)
        await host.do("produce", kinds=["video", "audio"], channels={})
        async with aiortc(daemon, "viewer") as viewer:
            await viewer.do("join", room="crash")
            await viewer.until(watched)
            viewer.kill()
        plis = (await host.do("status"))["feedback"]["video"].get("pli", 0)
        async with aiortc(daemon, "viewer") as viewer:
            await viewer.do("join", room="crash")
            status = await viewer.until(watched)
            [numbers] = status["numbers"]
            assert rising(numbers)
            assert status["unreadable"] == 0
            assert (await host.do("status"))["feedback"]["video"]["pli"] > plis
            await viewer.until(lambda status: status["heard"] >= 50)


async def test_transports_are_made_anew(daemon: Daemon) -> None:
    """``sfu-recreate-transports`` by the host and then by the viewer: the game goes on each time."""
    async with aiortc(daemon, "host") as host, aiortc(daemon, "viewer") as viewer:
        await host.do("join", room="anew", create=True)
        await host.do("produce", kinds=["video", "audio"], channels=CHANNELS)
        await viewer.do("join", room="anew")
        await viewer.until(watched)
        await host.do("recreate")
        assert (await host.do("status"))["dtls"] == []
        await host.do("produce", kinds=["video", "audio"], channels=CHANNELS)
        status = await viewer.until(
            lambda status: len(status["numbers"]) == 2 and watched(status) and status["heard"] >= 50
        )
        assert rising(status["numbers"][1])
        assert status["unreadable"] == 0
        await check_channel(host, viewer, "reliable", 1)


async def test_the_end_of_the_daemon_is_seen() -> None:
    """Both ends hear that it goes: by signaling, and by DTLS on every transport."""
    with running_daemon() as daemon:
        async with aiortc(daemon, "host") as host, aiortc(daemon, "viewer") as viewer:
            await host.do("join", room="end", create=True)
            await host.do("produce", kinds=["video"], channels={})
            await viewer.do("join", room="end")
            await viewer.until(watched)
            ended = await trio.to_thread.run_sync(daemon.stop)
            assert ended.status == 0
            assert ended.stderr == ""
            for end in (host, viewer):
                await end.until(
                    lambda status: status["disconnected"] is not None and set(status["dtls"]) == {"closed"}
                )

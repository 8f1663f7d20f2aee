"""A game with werift, a WebRTC stack in TypeScript, as host, as viewer, and on both sides."""

from __future__ import annotations

import base64
import fractions
import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from aiortc.codecs.vpx import Vp8Decoder, Vp8Encoder, vp8_depayload
from aiortc.jitterbuffer import JitterFrame
from av import VideoFrame

from tests.interop.content import HEIGHT, WIDTH, digest, messages, paint, read_number
from tests.support.daemon import Daemon, clean, running_daemon
from tests.support.remote_peer import SOON, Remote, aiortc, together, werift

pytestmark = pytest.mark.interop

FRAME_RATE = 30
PICTURES = 600
"""As many as are numbered: 20 s, which is longer than any test watches."""
KEY_INTERVAL = 10
ENOUGH_FRAMES = 45
COUNT = 60
"""Messages each way; every other one is text, and some are left out."""
LARGEST_INPUT = 1_000
"""Bytes of a message on an unreliable channel."""
CHANNELS: dict[str, dict[str, Any]] = {
    "reliable": {"ordered": True},
    "netplay-input": {"ordered": False, "maxRetransmits": 5},
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as one:
        yield one
        ended = one.stop()
        assert ended.status == 0
        assert clean(ended.stderr)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a werift host sends: numbered pictures as RTP payloads of VP8, for it encodes nothing itself."""
    encoder = Vp8Encoder()
    payloads = []
    for number in range(1, PICTURES + 1):
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        luma = frame.planes[0]
        padding = bytes(luma.line_size - WIDTH)
        luma.update(b"".join(row + padding for row in paint(number)))
        for plane in frame.planes[1:]:
            plane.update(b"\x80" * plane.buffer_size)
        frame.pts, frame.time_base = number, fractions.Fraction(1, FRAME_RATE)
        packets, _ = encoder.encode(frame, force_keyframe=number % KEY_INTERVAL == 1)
        payloads.append([base64.b64encode(packet).decode() for packet in packets])
    path = tmp_path_factory.mktemp("werift") / "pictures.json"
    path.write_text(json.dumps(payloads))
    return path


class Screen:
    """Decodes what a werift viewer got, and reads the numbers in it."""

    def __init__(self, viewer: Remote) -> None:
        self._viewer = viewer
        self._decoder = Vp8Decoder()
        self.numbers: list[int] = []
        self.unreadable = 0

    async def update(self) -> None:
        """Decode what the viewer has ready."""
        for timestamp, payloads in await self._viewer.do("pictures"):
            data = b"".join(vp8_depayload(base64.b64decode(payload)) for payload in payloads)
            for frame in cast(list[VideoFrame], self._decoder.decode(JitterFrame(data, timestamp))):
                plane = frame.planes[0]
                number = read_number(bytes(plane), plane.line_size)
                if number is None:
                    self.unreadable += 1
                else:
                    self.numbers.append(number)

    async def show(self, count: int) -> None:
        """Until it has shown so many pictures more."""
        wanted = len(self.numbers) + count
        with trio.move_on_after(SOON):
            while len(self.numbers) < wanted:
                await self.update()
                await trio.sleep(0.2)
        assert len(self.numbers) >= wanted, await self._viewer.do("status")


def rising(numbers: list[int]) -> bool:
    return all(one < other for one, other in pairwise(numbers))


async def check_channel(sender: Remote, receiver: Remote, label: str, seed: int) -> None:
    """What werift sends arrives as it was, in order where that was asked for."""
    # For an empty message werift takes a stream sequence number, and sends nothing that has it. What waits on
    # an unreliable channel may be dropped for newer ones, a large message above all.
    largest = math.inf if CHANNELS[label]["ordered"] else LARGEST_INPUT
    sent = [each for each in messages(seed, COUNT) if 0 < len(each) <= largest]
    await receiver.until(lambda status: label in status["messages"])
    before = len((await receiver.do("status"))["messages"][label])
    await sender.do(
        "send",
        label=label,
        messages=[
            {"text": each} if isinstance(each, str) else {"base64": base64.b64encode(each).decode()}
            for each in sent
        ],
    )
    status = await receiver.until(lambda status: len(status["messages"][label]) >= before + len(sent))
    expected = [digest(each) for each in sent]
    got = status["messages"][label][before:]
    if CHANNELS[label]["ordered"]:
        assert got == expected
    else:
        assert sorted(got) == sorted(expected)


async def test_a_werift_host_is_seen_by_aiortc(daemon: Daemon, pictures: Path) -> None:
    """Its pictures are decoded by others, it hears how its packets arrive, and its messages come through."""
    async with werift(daemon, "host") as host, aiortc(daemon, "viewer") as viewer:
        await host.do("join", room="werift host", create=True)
        await host.do("produce", pictures=str(pictures), channels=CHANNELS)
        await viewer.do("join", room="werift host")
        status = await viewer.until(lambda status: len((status["numbers"] or [[]])[0]) >= ENOUGH_FRAMES)
        assert rising(status["numbers"][0])
        assert status["unreadable"] == 0
        for seed, label in enumerate(CHANNELS):
            await check_channel(host, viewer, label, seed)
        status = await host.until(lambda status: status["reports"][0].get("receiver report"))
        [reports] = status["reports"]
        assert reports["pli"] >= 1
        assert reports["transport-cc"] >= 10
        await together(host.do("leave"), viewer.do("leave"))


@pytest.mark.parametrize("role", ["client", "server"])
async def test_a_werift_viewer_sees_aiortc(daemon: Daemon, role: str) -> None:
    """With either side of DTLS; sound arrives too, and messages go the other way."""
    room = f"werift viewer {role}"
    async with aiortc(daemon, "host") as host, werift(daemon, "viewer") as viewer:
        await host.do("join", room=room, create=True)
        await host.do("produce", kinds=["video", "audio"], channels={})
        await viewer.do("join", room=room, dtls_role=role)
        await viewer.do("produce", channels=CHANNELS)
        screen = Screen(viewer)
        await screen.show(ENOUGH_FRAMES)
        assert rising(screen.numbers)
        status = await viewer.until(lambda status: status["packets"]["audio"] >= 50)
        await viewer.until(lambda status: any(each.get("sender report") for each in status["reports"]))
        assert status["dtls"] == ["connected", "connected"]
        for seed, label in enumerate(CHANNELS):
            await check_channel(viewer, host, label, seed)


async def test_what_a_werift_viewer_loses_is_sent_again(daemon: Daemon) -> None:
    """One packet in twenty: it asks in its own way, and takes what comes over RTX."""
    async with aiortc(daemon, "host") as host, werift(daemon, "viewer") as viewer:
        await host.do("join", room="werift loss", create=True)
        await host.do("produce", kinds=["video"], channels={})
        await viewer.do("join", room="werift loss")
        screen = Screen(viewer)
        await screen.show(ENOUGH_FRAMES)
        await viewer.do("lose", every=20)
        await screen.show(150)
        status = await viewer.do("status")
        assert status["lost"] >= 5
        assert status["nacks"] > 0
        numbers = screen.numbers[ENOUGH_FRAMES:]
        # Without repair one picture in twenty would be missing.
        assert len(set(numbers)) >= 0.98 * (max(numbers) - min(numbers) + 1)


async def test_werift_restarts_ice(daemon: Daemon, pictures: Path) -> None:
    """Both ends are werift's, and both take new credentials in the middle of a game."""
    async with werift(daemon, "host") as host, werift(daemon, "viewer") as viewer:
        await host.do("join", room="werift restart", create=True)
        await host.do("produce", pictures=str(pictures), channels=CHANNELS)
        await viewer.do("join", room="werift restart")
        await viewer.do("produce", channels=CHANNELS)
        screen = Screen(viewer)
        await screen.show(ENOUGH_FRAMES)
        for which, end in enumerate((viewer, host)):
            fragments = await end.do("restart_ice")
            assert len(fragments) == 2
            assert all(before != after for before, after in fragments)
            await screen.show(ENOUGH_FRAMES)
            for label in CHANNELS:
                await check_channel(host, viewer, label, which)
                await check_channel(viewer, host, label, 50 + which)

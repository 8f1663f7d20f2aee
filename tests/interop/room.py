"""A room with a host and a viewer whose media can be proved to pass."""

from __future__ import annotations

from typing import Any

import trio

from sfu.sctp.ppid import BINARY
from tests.interop.member import LivePeer, Member, eventually
from tests.support.daemon import Daemon
from tests.support.world import VideoSource, received, video_parameters, viewer_capabilities


class Room:
    """A host and a viewer who must not notice anything."""

    def __init__(self, name: str, daemon: Daemon, host: Member, viewer: Member) -> None:
        """Nothing happens before :meth:`start`."""
        self.name = name
        self.daemon = daemon
        self.host = host
        self.viewer = viewer
        self.video = ""
        self.data = ""
        self.ssrc = 0

    async def start(self, *, tcp: bool = False) -> None:
        """Enter and connect."""
        await self.host.open(self.name)
        await self.viewer.join(self.name)
        await self.connect(tcp=tcp)

    async def connect(self, *, tcp: bool = False) -> None:
        """Make the media; again after it was lost."""
        self.sending = await self.host.transport(tcp=tcp)
        self.receiving = await self.viewer.transport(tcp=tcp)
        self.video = await produce_video(self.host, self.sending)
        self.data = await produce_data(self.host, self.sending)
        consumer = await consume(self.viewer, self.receiving, self.video)
        self.ssrc = consumer["rtpParameters"]["encodings"][0]["ssrc"]
        await self.viewer.signaling.call(
            "consumedata", {"dataProducerId": self.data, "transportId": self.receiving.transport_id}
        )
        self.source = VideoSource(self.sending.peer)

    async def prove(self) -> None:
        """Ten frames and twenty messages pass, whole and in order."""
        before = len(received(self.receiving.peer, self.ssrc))
        told = len(self.receiving.peer.messages)
        for i in range(10):
            self.source.frame(key=i == 0)
            self.sending.flush()
            for part in range(2):
                message = b"%d %d" % (i, part)
                self.sending.peer.send_data(0, BINARY, message, trio.current_time())
                self.sending.flush()
            await trio.sleep(0.005)
        await eventually(lambda: len(received(self.receiving.peer, self.ssrc)) >= before + 30)
        await eventually(lambda: len(self.receiving.peer.messages) >= told + 20)
        packets = received(self.receiving.peer, self.ssrc)[before:]
        numbers = [packet.sequence_number for packet in packets]
        assert [(n - numbers[0]) % 65536 for n in numbers] == list(range(30))
        assert [m.data for m in self.receiving.peer.messages[told:]] == [
            b"%d %d" % (i, part) for i in range(10) for part in range(2)
        ]
        assert (self.sending.peer.ended, self.receiving.peer.ended) == (None, None)
        assert await self.viewer.signaling.call_raw("sfu-available", {}) == [{"available": True}]


async def produce_video(member: Member, live: LivePeer) -> str:
    return str(
        await member.signaling.call(
            "sfu-produce",
            {
                "transportId": live.transport_id,
                "kind": "video",
                "rtpParameters": video_parameters(),
            },
        )
    )


async def produce_data(member: Member, live: LivePeer, stream_id: int = 0) -> str:
    return str(
        await member.signaling.call(
            "producedata",
            {
                "transportId": live.transport_id,
                "sctpStreamParameters": {"streamId": stream_id},
                "label": f"inputs {stream_id}",
            },
        )
    )


async def consume(member: Member, live: LivePeer, producer_id: str) -> Any:
    return await member.signaling.call(
        "sfu-consume",
        {
            "producerId": producer_id,
            "transportId": live.transport_id,
            "rtpCapabilities": viewer_capabilities(),
        },
    )

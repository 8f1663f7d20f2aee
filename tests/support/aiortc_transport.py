"""Transports of :mod:`tests.support.aiortc_peer`: aiortc's objects put together without SDP."""

from __future__ import annotations

import asyncio
import fractions
import math
import random
import struct
import time
from collections import Counter, deque
from typing import Any

import aioice
from aiortc import (
    AudioStreamTrack,
    MediaStreamTrack,
    RTCCertificate,
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCDtlsTransport,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSctpTransport,
    VideoStreamTrack,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters, RTCRtpSendParameters
from aiortc.rtcrtpreceiver import RemoteStreamTrack
from aiortc.rtcsctptransport import RTCSctpCapabilities
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    is_rtcp,
)
from av import AudioFrame, VideoFrame

from tests.interop.content import HEIGHT, SAMPLE_RATE, TONE, WIDTH, frequency, paint, read_number

HOST = "127.0.0.1"
TIMEOUT = 10.0
"""Seconds for an acknowledgement, a handshake, a channel to open."""
FRAME_SAMPLES = 960
KEPT_AUDIO = 50
"""Frames of 20 ms that the tone is looked for in."""

Json = dict[str, Any]


# What is sent


class Picture(VideoStreamTrack):
    """30 numbered frames a second."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    async def recv(self) -> VideoFrame:
        pts, time_base = await self.next_timestamp()
        self.number += 1
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        luma = frame.planes[0]
        padding = bytes(luma.line_size - WIDTH)
        luma.update(b"".join(row + padding for row in paint(self.number)))
        for plane in frame.planes[1:]:
            plane.update(b"\x80" * plane.buffer_size)
        frame.pts, frame.time_base = pts, time_base
        return frame


class Tone(AudioStreamTrack):
    """A steady sine."""

    def __init__(self) -> None:
        super().__init__()
        self._sent = 0
        self._began = time.monotonic()

    async def recv(self) -> AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        await asyncio.sleep(self._began + self._sent / SAMPLE_RATE - time.monotonic())
        step = 2 * math.pi * TONE / SAMPLE_RATE
        samples = (round(8000 * math.sin(step * (self._sent + i))) for i in range(FRAME_SAMPLES))
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME_SAMPLES)
        frame.planes[0].update(struct.pack(f"<{FRAME_SAMPLES}h", *samples))
        frame.pts, frame.sample_rate = self._sent, SAMPLE_RATE
        frame.time_base = fractions.Fraction(1, SAMPLE_RATE)
        self._sent += FRAME_SAMPLES
        return frame


# The transport


class LoopbackConnection(aioice.Connection):
    """The full ICE agent, on the loopback interface, which it leaves out by itself."""

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ASYNC109 - the signature is aioice's
    ) -> list[aioice.Candidate]:
        return await super().get_component_candidates(component, [HOST], timeout)


class Ice:
    """What aiortc's DTLS takes for an ICE transport.

    The agent below it can be exchanged (an ICE restart from a new address), and media packets can be lost on
    purpose.
    """

    role = "controlling"

    def __init__(self, candidates: list[Json]) -> None:
        self._candidates = [
            aioice.Candidate(
                foundation=c["foundation"],
                component=1,
                transport=c["protocol"],
                priority=c["priority"],
                host=c["ip"],
                port=c["port"],
                type=c["type"],
            )
            for c in candidates
            if c["protocol"] == "udp"
        ]
        self._connection: LoopbackConnection | None = None
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None
        self.loss = 0.0
        self._chance = random.Random(1)
        self.lost = 0

    async def connect(self, parameters: Json) -> None:
        """Run connectivity checks with these credentials, then carry everything over the new path."""
        connection = LoopbackConnection(ice_controlling=True, use_ipv6=False)
        connection.remote_is_lite = parameters["iceLite"]
        connection.remote_username = parameters["usernameFragment"]
        connection.remote_password = parameters["password"]
        await connection.gather_candidates()
        for candidate in self._candidates:
            await connection.add_remote_candidate(candidate)
        await connection.add_remote_candidate(None)
        async with asyncio.timeout(TIMEOUT):
            await connection.connect()
        old, old_pump = self._connection, self._pump
        self._connection = connection
        self._pump = asyncio.create_task(self._carry(connection))
        if old is not None and old_pump is not None:
            old_pump.cancel()
            await old.close()

    @property
    def local_port(self) -> int:
        assert self._connection is not None
        return int(self._connection.local_candidates[0].port)

    def _loses(self, data: bytes) -> bool:
        """Whether a datagram is to be lost: media only, never reports or handshakes."""
        if data and 128 <= data[0] < 192 and not is_rtcp(data) and self._chance.random() < self.loss:
            self.lost += 1
            return True
        return False

    async def _carry(self, connection: LoopbackConnection) -> None:
        try:
            while True:
                data = await connection.recv()
                if not self._loses(data):
                    self._received.put_nowait(data)
        except ConnectionError:
            if self._connection is connection:
                self._received.put_nowait(None)

    async def _recv(self) -> bytes:
        data = await self._received.get()
        if data is None:
            raise ConnectionError
        return data

    async def _send(self, data: bytes) -> None:
        if self._connection is None:
            raise ConnectionError
        if not self._loses(data):
            await self._connection.send(data)

    async def stop(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        if self._pump is not None:
            await asyncio.gather(self._pump, return_exceptions=True)


class Sender(RTCRtpSender):
    """Counts the feedback it gets."""

    def __init__(self, track: MediaStreamTrack, transport: RTCDtlsTransport) -> None:
        super().__init__(track, transport)
        self.feedback: Counter[str] = Counter()

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        match packet:
            case RtcpRrPacket() | RtcpSrPacket():
                self.feedback["report"] += any(r.ssrc == self._ssrc for r in packet.reports)
            case RtcpRtpfbPacket(fmt=fmt) if fmt == RTCP_RTPFB_NACK:
                self.feedback["nack"] += 1
            case RtcpPsfbPacket(fmt=fmt) if fmt == RTCP_PSFB_PLI:
                self.feedback["pli"] += 1
            case RtcpPsfbPacket(fmt=fmt) if fmt == RTCP_PSFB_APP:
                self.feedback["remb"] += 1
        await super()._handle_rtcp_packet(packet)


class Receiver(RTCRtpReceiver):
    """Counts sender reports and repairs, and reads its frames."""

    def __init__(self, kind: str, transport: RTCDtlsTransport) -> None:
        super().__init__(kind, transport)
        self.kind = kind
        self._remote = self._track = RemoteStreamTrack(kind=kind)
        self.rtx_ssrc: int | None = None
        self.counts: Counter[str] = Counter()
        self.numbers: list[int] = []
        self.unreadable = 0
        self.audio: deque[bytes] = deque(maxlen=KEPT_AUDIO)
        self._task: asyncio.Task[None] | None = None

    async def receive(self, parameters: RTCRtpReceiveParameters) -> None:
        rtx = parameters.encodings[0].rtx
        self.rtx_ssrc = rtx.ssrc if rtx is not None else None
        await super().receive(parameters)
        self._task = asyncio.create_task(self._read())

    async def _handle_rtp_packet(self, packet: Any, arrival_time_ms: int) -> None:
        self.counts["rtx" if packet.ssrc == self.rtx_ssrc else "rtp"] += 1
        await super()._handle_rtp_packet(packet, arrival_time_ms)

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        self.counts["sender report"] += isinstance(packet, RtcpSrPacket)
        await super()._handle_rtcp_packet(packet)

    async def _send_rtcp_nack(self, media_ssrc: int, lost: list[int]) -> None:
        self.counts["nacks sent"] += 1
        await super()._send_rtcp_nack(media_ssrc, lost)

    async def _read(self) -> None:
        try:
            while True:
                frame: Any = await self._remote.recv()
                plane = frame.planes[0]
                if isinstance(frame, AudioFrame):
                    self.audio.append(bytes(plane)[: frame.samples * 4])
                    continue
                number = read_number(bytes(plane), plane.line_size)
                if number is None or (frame.width, frame.height) != (WIDTH, HEIGHT):
                    self.unreadable += 1
                else:
                    self.numbers.append(number)
        except MediaStreamError:
            pass

    @property
    def tone(self) -> float:
        """What is heard at the moment, in Hz; the left of two channels."""
        return frequency([left for chunk in self.audio for left, _ in struct.iter_unpack("<hh", chunk)])


class Transport:
    """One WebRTC transport with what is on it."""

    def __init__(self, info: Json, dtls_role: str) -> None:
        self.info = info
        self.id: str = info["id"]
        self.ice = Ice(info["iceCandidates"])
        ice: Any = self.ice
        self.dtls = RTCDtlsTransport(ice, [RTCCertificate.generateCertificate()])
        self.dtls._set_role(dtls_role)
        self.sctp = RTCSctpTransport(self.dtls)
        self.parts: list[Sender | Receiver] = []
        self._streams = 0

    @property
    def dtls_parameters(self) -> Json:
        """For ``sfu-connect-transport``."""
        return {
            "role": self.dtls._role,
            "fingerprints": [
                {"algorithm": f.algorithm, "value": f.value}
                for f in self.dtls.getLocalParameters().fingerprints
            ],
        }

    async def start(self) -> None:
        fingerprints = [
            RTCDtlsFingerprint(f["algorithm"], f["value"])
            for f in self.info["dtlsParameters"]["fingerprints"]
        ]
        await self.ice.connect(self.info["iceParameters"])
        async with asyncio.timeout(TIMEOUT):
            await self.dtls.start(RTCDtlsParameters(fingerprints=fingerprints))
        assert self.dtls.state == "connected", self.dtls.state
        await self.sctp.start(
            RTCSctpCapabilities(maxMessageSize=self.info["sctpParameters"]["maxMessageSize"]),
            self.info["sctpParameters"]["port"],
        )

    async def send_track(self, track: MediaStreamTrack, parameters: RTCRtpSendParameters) -> Sender:
        sender = Sender(track, self.dtls)
        self.parts.append(sender)
        await sender.send(parameters)
        return sender

    async def channel(self, label: str, stream_id: int | None = None, **reliability: Any) -> RTCDataChannel:
        """A channel that signaling negotiates, opened. Without a stream id: the next one."""
        if stream_id is None:
            stream_id = self._streams
            self._streams += 1
        channel = RTCDataChannel(
            self.sctp, RTCDataChannelParameters(label=label, negotiated=True, id=stream_id, **reliability)
        )
        async with asyncio.timeout(TIMEOUT):
            while channel.readyState != "open":  # noqa: ASYNC110 - it has an event, but may be open already
                await asyncio.sleep(0.01)
        return channel

    async def stop(self) -> None:
        for part in self.parts:
            await part.stop()
        await self.sctp.stop()
        await self.dtls.stop()
        await self.ice.stop()

"""A room member made of aiortc and python-socketio: a WebRTC stack that shares no code with ours.

A program of its own: ``python -m tests.support.aiortc_peer URL TOKEN``. It reads one JSON command a line
from standard input (``{"do": name, ...}``, see :class:`Program`) and answers each with one line,
``{"value": ...}`` or ``{"error": text}``. What it sends is in :mod:`tests.interop.content`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Iterable
from typing import Any

import socketio
from aiortc import MediaStreamTrack, RTCDataChannel
from aiortc.rtcrtpparameters import (
    RTCRtcpParameters,
    RTCRtpCodecParameters,
    RTCRtpDecodingParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpReceiveParameters,
    RTCRtpRtxParameters,
    RTCRtpSendParameters,
)

from tests.interop.content import digest, messages
from tests.support.aiortc_transport import TIMEOUT, Json, Picture, Receiver, Sender, Tone, Transport

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
VP8, VP8_RTX, OPUS = 97, 98, 96


def codec_json(parameters: RTCRtpCodecParameters, feedback: Iterable[tuple[str, str]] = ()) -> Json:
    json_ = {
        "mimeType": parameters.mimeType,
        "payloadType": parameters.payloadType,
        "clockRate": parameters.clockRate,
        "parameters": parameters.parameters,
        "rtcpFeedback": [{"type": kind, "parameter": parameter} for kind, parameter in feedback],
    }
    if parameters.channels is not None:
        json_["channels"] = parameters.channels
    return json_


VIDEO_FEEDBACK = (("nack", ""), ("nack", "pli"), ("goog-remb", ""))
VIDEO_CODECS = [
    RTCRtpCodecParameters("video/VP8", 90000, payloadType=VP8),
    RTCRtpCodecParameters("video/rtx", 90000, payloadType=VP8_RTX, parameters={"apt": VP8}),
]
AUDIO_CODECS = [RTCRtpCodecParameters("audio/opus", 48000, 2, payloadType=OPUS)]
CODECS = {"video": VIDEO_CODECS, "audio": AUDIO_CODECS}
EXTENSIONS = {"video": {MID: 1, ABS_SEND_TIME: 3}, "audio": {MID: 1, AUDIO_LEVEL: 2}}


def wanted_capabilities(router: Json) -> Json:
    """Of the router's, what aiortc can receive: VP8 with RTX, Opus, no transport-wide feedback."""
    codecs = [c for c in router["codecs"] if c["mimeType"].lower() in ("audio/opus", "video/vp8")]
    known = {c["preferredPayloadType"] for c in codecs}
    codecs += [c for c in router["codecs"] if c["parameters"].get("apt") in known]
    return {
        "codecs": [
            {**c, "rtcpFeedback": [f for f in c["rtcpFeedback"] if f["type"] in ("nack", "goog-remb")]}
            for c in codecs
        ],
        "headerExtensions": [
            e for e in router["headerExtensions"] if e["uri"] in (MID, ABS_SEND_TIME, AUDIO_LEVEL)
        ],
    }


class Program:
    """One member of one room. Every public coroutine is a command."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
        self._client = socketio.AsyncClient(reconnection=False)
        self._dtls_role = "client"
        self._capabilities: Json = {}
        self._sending: Transport | None = None
        self._receiving: Transport | None = None
        self._picture: Picture | None = None
        self._senders: dict[str, Sender] = {}
        self._receivers: list[Receiver] = []
        self._channels: dict[str, RTCDataChannel] = {}
        self._received: dict[str, list[Any]] = {}
        self._disconnected: str | None = None
        self._consuming: set[asyncio.Task[None]] = set()
        self._failures: list[str] = []
        self._lock = asyncio.Lock()

    async def _call(self, event: str, payload: Any = None) -> Any:
        answer = await self._client.call(event, payload if payload is not None else {}, timeout=TIMEOUT)
        error, value = answer if isinstance(answer, (list, tuple)) else (answer, None)
        if error is not None:
            raise RuntimeError(f"{event}: {error}")
        return value

    # Commands

    async def join(self, *, room: str, create: bool = False, dtls_role: str = "client") -> None:
        """Connect, enter a room, and from then on consume whatever the others produce."""
        self._dtls_role = dtls_role
        self._client.on("disconnect", self._gone)
        self._client.on("new-producer", lambda event: self._later(self._consume(event["id"])))
        self._client.on("new-data-producer", lambda event: self._later(self._consume_data(event["id"])))
        await self._client.connect(self._url, auth={"token": self._token})
        self._capabilities = wanted_capabilities(await self._call("sfu-get-router-rtp-capabilities"))
        payload = {"extra": {"room_name": room}, "maxPlayers": 4}
        if create:
            await self._call("open-room", payload)
        await self._call("join-room", payload)
        for producer in await self._call("sfu-get-producers"):
            await self._consume(producer["id"])
        for producer in await self._call("sfu-get-data-producers"):
            await self._consume_data(producer["id"])

    async def produce(self, *, kinds: list[str], channels: Json) -> None:
        """Send a picture and a sound, and open channels: ``{label: reliability}``."""
        transport = await self._sender()
        for kind in kinds:
            await self._produce(transport, kind)
        for label, reliability in channels.items():
            channel = await transport.channel(label, **reliability)
            self._channels[label] = channel
            parameters = {"streamId": channel.id, **reliability}
            await self._call(
                "producedata",
                {
                    "transportId": transport.id,
                    "sctpStreamParameters": parameters,
                    "label": label,
                    "protocol": "json",  # so that text may pass
                },
            )

    async def send(self, *, label: str, seed: int, count: int) -> int:
        """Send :func:`messages`; returns when none is buffered any more."""
        channel = self._channels[label]
        for message in messages(seed, count):
            channel.send(message)
        async with asyncio.timeout(TIMEOUT):
            while channel.bufferedAmount:  # noqa: ASYNC110 - its event comes for a threshold only
                await asyncio.sleep(0.01)
        return count

    async def status(self) -> Json:
        """All that was received and what is known of the state."""
        video = [r for r in self._receivers if r.kind == "video"]
        audio = [r for r in self._receivers if r.kind == "audio"]
        return {
            "numbers": [r.numbers for r in video],
            "unreadable": sum(r.unreadable for r in video),
            "heard": sum(len(r.audio) for r in audio),
            "tone": [r.tone for r in audio],
            "counts": [dict(r.counts) for r in video],
            "audio_counts": [dict(r.counts) for r in audio],
            "messages": self._received,
            "picture": self._picture.number if self._picture is not None else 0,
            "feedback": {kind: dict(sender.feedback) for kind, sender in self._senders.items()},
            "lost": sum(t.ice.lost for t in self._transports()),
            "dtls": [t.dtls.state for t in self._transports()],
            "disconnected": self._disconnected,
            "failures": self._failures,
        }

    async def lose(self, *, rate: float) -> None:
        """From now on lose this share of media packets, both ways."""
        for transport in self._transports():
            transport.ice.loss = rate

    async def restart_ice(self) -> list[list[int]]:
        """Restart ICE on all transports, from new ports: ``[[before, after], ...]``."""
        ports = []
        for transport in self._transports():
            before = transport.ice.local_port
            answer = await self._call("sfu-restart-ice", {"transportId": transport.id})
            await transport.ice.connect(answer["iceParameters"])
            ports.append([before, transport.ice.local_port])
        return ports

    async def recreate(self) -> None:
        """Give up all transports at once, as after their loss; further commands make new ones."""
        answer = await self._call("sfu-recreate-transports")
        assert answer == {"ok": True}
        await self._stop_media()

    async def leave(self) -> None:
        """Leave properly."""
        await self._call("leave-room")
        await self._stop_media()
        await self._client.disconnect()

    # What they are made of

    def _gone(self, reason: str) -> None:
        self._disconnected = reason

    def _transports(self) -> list[Transport]:
        return [t for t in (self._sending, self._receiving) if t is not None]

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._consuming.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._consuming.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(repr(error))

    async def _make_transport(self, direction: str) -> Transport:
        transport = Transport(
            await self._call("sfu-create-transport", {"direction": direction}), self._dtls_role
        )
        await self._call(
            "sfu-connect-transport",
            {"transportId": transport.id, "dtlsParameters": transport.dtls_parameters},
        )
        await transport.start()
        return transport

    async def _sender(self) -> Transport:
        if self._sending is None:
            self._sending = await self._make_transport("send")
        return self._sending

    async def _receiver(self) -> Transport:
        async with self._lock:
            if self._receiving is None:
                self._receiving = await self._make_transport("recv")
            return self._receiving

    async def _produce(self, transport: Transport, kind: str) -> None:
        track: MediaStreamTrack
        if kind == "video":
            track = self._picture = Picture()
        else:
            track = Tone()
        codecs, extensions = CODECS[kind], EXTENSIONS[kind]
        parameters = RTCRtpSendParameters(
            codecs=codecs,
            headerExtensions=[RTCRtpHeaderExtensionParameters(i, uri) for uri, i in extensions.items()],
            muxId=kind,
            rtcp=RTCRtcpParameters(cname="aiortc"),
        )
        sender = self._senders[kind] = await transport.send_track(track, parameters)
        encoding: Json = {"ssrc": sender._ssrc}
        if kind == "video":
            encoding["rtx"] = {"ssrc": sender._rtx_ssrc}
        rtp_parameters = {
            "mid": kind,
            "codecs": [
                codec_json(codec, VIDEO_FEEDBACK if codec.mimeType == "video/VP8" else ()) for codec in codecs
            ],
            "headerExtensions": [{"uri": uri, "id": i} for uri, i in extensions.items()],
            "encodings": [encoding],
            "rtcp": {"cname": "aiortc"},
        }
        await self._call(
            "sfu-produce", {"transportId": transport.id, "kind": kind, "rtpParameters": rtp_parameters}
        )

    async def _consume(self, producer_id: str) -> None:
        transport = await self._receiver()
        consumer = await self._call(
            "sfu-consume",
            {
                "producerId": producer_id,
                "transportId": transport.id,
                "rtpCapabilities": self._capabilities,
                "ignoreDtx": True,
            },
        )
        parameters = consumer["rtpParameters"]
        encoding = parameters["encodings"][0]
        codecs = [
            RTCRtpCodecParameters(
                c["mimeType"],
                c["clockRate"],
                c.get("channels"),
                payloadType=c["payloadType"],
                parameters=c["parameters"],
            )
            for c in parameters["codecs"]
        ]
        rtx = RTCRtpRtxParameters(encoding["rtx"]["ssrc"]) if "rtx" in encoding else None
        receiver = Receiver(consumer["kind"], transport.dtls)
        receiver._set_rtcp_ssrc(random.SystemRandom().getrandbits(32))
        transport.parts.append(receiver)
        self._receivers.append(receiver)
        await receiver.receive(
            RTCRtpReceiveParameters(
                codecs=codecs,
                headerExtensions=[
                    RTCRtpHeaderExtensionParameters(e["id"], e["uri"]) for e in parameters["headerExtensions"]
                ],
                muxId=parameters["mid"],
                encodings=[
                    RTCRtpDecodingParameters(encoding["ssrc"], parameters["codecs"][0]["payloadType"], rtx)
                ],
            )
        )

    async def _consume_data(self, producer_id: str) -> None:
        transport = await self._receiver()
        consumer = await self._call(
            "consumedata", {"dataProducerId": producer_id, "transportId": transport.id}
        )
        parameters = dict(consumer["sctpStreamParameters"])
        received = self._received.setdefault(consumer["label"], [])
        channel = await transport.channel(
            consumer["label"],
            parameters.pop("streamId"),
            ordered=parameters.get("ordered", True),
        )
        channel.on("message", lambda message: received.append(digest(message)))

    async def _stop_media(self) -> None:
        for transport in self._transports():
            await transport.stop()
        self._sending = self._receiving = None
        self._senders.clear()
        self._receivers.clear()
        self._channels.clear()


COMMANDS = ("join", "produce", "send", "status", "lose", "restart_ice", "recreate", "leave")


async def main(url: str, token: str) -> None:
    """Serve commands until standard input ends."""
    program = Program(url, token)
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        command = json.loads(line)
        name = command.pop("do")
        try:
            assert name in COMMANDS
            answer = {"value": await getattr(program, name)(**command)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to see it
            answer = {"error": f"{name}: {error!r}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))

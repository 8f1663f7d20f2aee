"""What clients ask of the media events, as tests need it."""

from __future__ import annotations

from typing import Any

from tests.support.app_world import MemorySocket

CAN: dict[str, Any] = {"codecs": [{"mimeType": "audio/opus"}]}


def rtp(ssrc: int = 1, **more: Any) -> dict[str, Any]:
    return {"codecs": [{"mimeType": "video/VP9"}], "encodings": [{"ssrc": ssrc}], **more}


async def transport(socket: MemorySocket) -> str:
    info = await socket.ask("sfu-create-transport", {"direction": "send"})
    transport_id = info["id"]
    assert isinstance(transport_id, str)
    return transport_id


async def produce(socket: MemorySocket, transport_id: str, kind: str = "video", **more: Any) -> str:
    payload = {"transportId": transport_id, "kind": kind, "rtpParameters": rtp(), **more}
    producer_id = await socket.ask("sfu-produce", payload)
    assert isinstance(producer_id, str)
    return producer_id


async def produce_data(
    socket: MemorySocket, transport_id: str, stream: int = 0, label: str = "netplay-input", **more: Any
) -> str:
    payload = {
        "transportId": transport_id,
        "sctpStreamParameters": {"streamId": stream},
        "label": label,
        "protocol": "",
        **more,
    }
    producer_id = await socket.ask("producedata", payload)
    assert isinstance(producer_id, str)
    return producer_id


async def listed(socket: MemorySocket) -> list[str]:
    return [entry["id"] for entry in await socket.ask("sfu-get-producers", {})]

"""Handlers of events about media: transports, producers and consumers of one's own, lists of others'."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import structlog

from sfu.rooms import Refused, Room, StartMedia
from sfu.signaling.application import Ack
from sfu.signaling.core import Client, Core
from sfu.signaling.layer_policy import MAX_ECHO
from sfu.signaling.media_session import Consumer, Producer
from sfu.signaling.payloads import (
    MAX_LABEL_BYTES,
    ConnectTransportPayload,
    ConsumeDataPayload,
    ConsumePayload,
    CreateTransportPayload,
    ProduceDataPayload,
    ProducePayload,
    TransportPayload,
)
from sfu.worker.port import MediaError

log = structlog.get_logger(__name__)

MAX_SOURCE_LENGTH = 64
"""Characters of what tells two producers of one kind apart."""


# Transports


async def available(core: Core, _client: Client, _payload: None, ack: Ack) -> None:
    ack({"available": core.media.available})


async def router_rtp_capabilities(core: Core, _client: Client, _payload: None, ack: Ack) -> None:
    ack(None, core.media.rtp_capabilities)


async def create_transport(core: Core, client: Client, _payload: CreateTransportPayload, ack: Ack) -> None:
    room = core.room_of(client)
    session = core.table.open(client.id, room.id)
    if len(session.transports) >= core.settings.limits.transports:
        raise Refused("too many transports")
    await core.media.create_router(room.id)
    info = await core.media.create_transport(room.id)
    if session.closed or not core.is_in(client, room):
        core.in_background(core.media.close_transport, info["id"])
        if core.rooms.by_id(room.id) is None:
            core.in_background(core.media.close_router, room.id)
        raise Refused("no room")
    core.table.add_transport(session, info["id"])
    core.do(StartMedia(client.id))
    if core.settings.ice_servers:
        info = {**info, "iceServers": list(core.settings.ice_servers)}
    ack(None, info)


async def connect_transport(core: Core, client: Client, payload: ConnectTransportPayload, ack: Ack) -> None:
    core.own_transport(client, payload.transport_id)
    await core.media.connect_transport(payload.transport_id, payload.dtls_parameters)
    ack(None, True)


async def restart_ice(core: Core, client: Client, payload: TransportPayload, ack: Ack) -> None:
    core.own_transport(client, payload.transport_id)
    ack(None, {"iceParameters": await core.media.restart_ice(payload.transport_id)})


async def recreate_transports(core: Core, client: Client, _payload: None, ack: Ack) -> None:
    for transport_id in core.end_session(client.id, core.rooms.peers(client.id)):
        await core.media.close_transport(transport_id)
    ack(None, {"ok": True})


# Producers


async def produce(core: Core, client: Client, payload: ProducePayload, ack: Ack) -> None:
    session = core.own_transport(client, payload.transport_id)
    parameters = payload.rtp_parameters
    match payload.kind:
        case "video":
            for complaint in core.settings.layer_policy.check(parameters):
                log.warning("unexpected video layers", socket=client.id, complaint=complaint)
            kind: Literal["audio", "video"] = "video"
        case "audio":
            kind = "audio"
        case other:
            raise Refused(f'invalid kind "{other[:MAX_ECHO]}"')
    role = (kind, _source(payload.app_data))
    old = session.in_role(role)
    if old is None and session.count_producers(data=False) >= core.settings.limits.producers:
        raise Refused("too many producers")
    producer_id = await core.media.produce(
        payload.transport_id, kind, parameters, replaces=old.id if old is not None else None
    )
    _publish(core, client, Producer(producer_id, kind, payload.transport_id, role, session), old)
    ack(None, producer_id)


async def produce_data(core: Core, client: Client, payload: ProduceDataPayload, ack: Ack) -> None:
    if isinstance(payload.app_data, dict):
        userid = payload.app_data.get("userid")
        if userid is not None and userid != client.caller.userid:
            raise Refused("userid mismatch for this connection")
    session = core.own_transport(client, payload.transport_id)
    label, protocol = payload.label or "", payload.protocol or ""
    if max(len(label.encode()), len(protocol.encode())) > MAX_LABEL_BYTES:
        raise Refused("invalid")
    role = (payload.transport_id, label) if label else None
    old = session.in_role(role)
    if old is None and session.count_producers(data=True) >= core.settings.limits.data_producers:
        raise Refused("too many data producers")
    producer_id = await core.media.produce_data(
        payload.transport_id,
        payload.sctp_stream_parameters,
        label,
        protocol,
        replaces=old.id if old is not None else None,
    )
    _publish(core, client, Producer(producer_id, "data", payload.transport_id, role, session, label), old)
    ack(None, producer_id)


def _publish(core: Core, client: Client, producer: Producer, old: Producer | None) -> None:
    """Enter a new producer in the table and tell the room, before its maker gets the ack. The media side has
    closed the ``old`` one for it."""
    if old is not None:
        core.forget_producer(old)
    session = producer.session
    ended = core.table.ended_early(producer.id)
    if ended or session.closed or producer.transport_id not in session.transports:
        core.in_background(core.close_producer, producer)
        raise Refused("transport not found")
    core.table.add_producer(producer)
    peers = core.rooms.peers(client.id)
    if producer.kind == "data":
        core.send(peers, "new-data-producer", {"id": producer.id, "label": producer.label})
    else:
        core.send(peers, "new-producer", {"id": producer.id, "kind": producer.kind})


def _source(app_data: Any) -> str:
    """What tells a second camera or microphone from the first; empty where nothing does."""
    if isinstance(app_data, dict):
        for name in ("source", "label"):
            value = app_data.get(name)
            if isinstance(value, str) and value:
                return value[:MAX_SOURCE_LENGTH]
    return ""


# Consumers


async def consume(core: Core, client: Client, payload: ConsumePayload, ack: Ack) -> None:
    room = core.room_of(client)
    producer = core.table.producer(payload.producer_id)
    capabilities = payload.rtp_capabilities
    if producer is None or producer.kind == "data" or producer.session.room_id != room.id:
        raise _cannot_consume(client, payload, "there is no such producer in the room")
    if not isinstance(capabilities, dict):
        raise _cannot_consume(client, payload, "no rtpCapabilities")
    session = core.own_transport(client, payload.transport_id)
    if session.count_consumers(data=False) >= core.settings.limits.consumers:
        raise Refused("too many consumers")
    ignore_dtx = producer.kind == "audio" and payload.ignore_dtx is not False
    try:
        consumer = await core.media.consume(
            payload.transport_id, producer.id, capabilities, ignore_dtx=ignore_dtx
        )
    except MediaError as error:
        if error.cause:
            raise _cannot_consume(client, payload, error.cause) from None
        raise
    _enter_consumer(core, Consumer(consumer["id"], payload.transport_id, producer, session))
    ack(None, consumer)


async def consume_data(core: Core, client: Client, payload: ConsumeDataPayload, ack: Ack) -> None:
    room = core.room_of(client)
    session = core.own_transport(client, payload.transport_id)
    if not payload.data_producer_id:
        raise Refused("missing dataProducerId")
    producer = core.table.producer(payload.data_producer_id)
    if producer is None or producer.kind != "data" or producer.session.room_id != room.id:
        raise Refused(f'DataProducer with id "{payload.data_producer_id[:MAX_ECHO]}" not found')
    if session.count_consumers(data=True) >= core.settings.limits.data_consumers:
        raise Refused("too many data consumers")
    consumer = await core.media.consume_data(payload.transport_id, producer.id)
    _enter_consumer(core, Consumer(consumer["id"], payload.transport_id, producer, session))
    ack(None, {**consumer, "appData": {}})


def _cannot_consume(client: Client, payload: ConsumePayload, cause: str) -> Refused:
    """The one answer that clients know, and the reason in the log."""
    log.info("cannot consume", socket=client.id, producer=payload.producer_id[:MAX_ECHO], cause=cause)
    return Refused("cannot consume")


def _enter_consumer(core: Core, consumer: Consumer) -> None:
    """Remember a consumer unless it has ended meanwhile with its transport or its producer."""
    if consumer.session.closed or consumer.transport_id not in consumer.session.transports:
        raise Refused("transport not found")
    if core.table.producer(consumer.producer.id) is not consumer.producer:
        raise Refused("cannot consume")
    core.table.add_consumer(consumer)


# Lists


async def get_producers(core: Core, client: Client, _payload: None, ack: Ack) -> None:
    ack(None, [{"id": p.id, "kind": p.kind} for p in _others_producers(core, client, data=False)])


async def get_data_producers(core: Core, client: Client, _payload: None, ack: Ack) -> None:
    producers = _others_producers(core, client, data=True)
    ack(None, [{"id": p.id, "kind": p.kind, "label": p.label} for p in producers])


def _others_producers(core: Core, client: Client, *, data: bool) -> Iterator[Producer]:
    """Producers of the other members, those in grace included, in the order of joining."""
    room: Room | None = core.rooms.room_of(client.id)
    own_too = core.settings.list_own_producers
    for member in room.members.values() if room is not None else ():
        if own_too or member.userid != client.caller.userid:
            for socket_id in member.media_sockets:
                yield from core.table.producers_of(socket_id, data=data)

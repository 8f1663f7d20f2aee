"""Media events on the wire: acks, error strings, broadcasts, and what closes when."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from sfu.signaling.limits import SignalingLimits
from sfu.worker.port import MediaError
from tests.signaling.media_calls import CAN, listed, produce, produce_data, rtp, transport
from tests.support.app_world import AppWorld, MemorySocket, open_world
from tests.support.memory_media import CAPABILITIES

# Before any room


async def test_availability_is_one_object(world: AppWorld) -> None:
    alice = await world.connect("alice")
    assert await alice.call("sfu-available", {}) == [{"available": True}]
    world.media.available = False
    assert await alice.call("sfu-available") == [{"available": False}]


@pytest.mark.contract("D74")
async def test_capabilities_are_the_same_everywhere(world: AppWorld) -> None:
    alice = await world.connect("alice")
    assert await alice.call("sfu-get-router-rtp-capabilities", {}) == [None, CAPABILITIES]
    await alice.ask("open-room", {"extra": {"room_name": "R"}})
    assert await alice.call("sfu-get-router-rtp-capabilities", {}) == [None, CAPABILITIES]
    assert world.media.log == []


async def test_outside_a_room(world: AppWorld) -> None:
    alice = await world.connect("alice")
    assert await alice.call("sfu-create-transport", {"direction": "send"}) == ["no room"]
    assert await alice.call("sfu-consume", {"producerId": "p", "transportId": "t"}) == ["no room"]
    assert await alice.call("consumedata", {"dataProducerId": "p", "transportId": "t"}) == ["no room"]
    assert await alice.call("sfu-get-producers", {}) == [None, []]
    assert await alice.call("sfu-get-data-producers", {}) == [None, []]
    assert await alice.call("sfu-recreate-transports", {}) == [None, {"ok": True}]


@pytest.mark.parametrize("payload", [[], [None], [5], [[]], ["x"], [{"transportId": 5}], [{}, {}]])
@pytest.mark.parametrize(
    "event",
    [
        "sfu-create-transport",
        "sfu-connect-transport",
        "sfu-restart-ice",
        "sfu-produce",
        "producedata",
        "sfu-produce-data",
        "sfu-consume",
        "consumedata",
        "sfu-consume-data",
    ],
)
@pytest.mark.contract("D1")
async def test_payloads_out_of_shape_are_invalid(world: AppWorld, event: str, payload: list[Any]) -> None:
    alice = await world.host("alice")
    if event == "sfu-create-transport" and payload == [{"transportId": 5}]:
        return
    assert await alice.call(event, *payload) == ["invalid"]


# Transports


async def test_a_transport_is_made_connected_and_restarted(world: AppWorld) -> None:
    alice = await world.host("alice")
    answer = await alice.call("sfu-create-transport", {"direction": "send"})
    assert answer is not None
    assert set(answer[1]) == {"id", "iceParameters", "iceCandidates", "dtlsParameters", "sctpParameters"}
    transport_id = answer[1]["id"]
    dtls = {"role": "client", "fingerprints": [{"algorithm": "sha-256", "value": "AA"}]}
    connect = {"transportId": transport_id, "dtlsParameters": dtls}
    assert await alice.call("sfu-connect-transport", connect) == [None, True]
    assert world.media.connected[transport_id] == dtls
    assert await alice.call("sfu-connect-transport", connect) == ["connect() already called"]
    restarted = {"usernameFragment": "u2", "password": "p2", "iceLite": True}
    assert await alice.call("sfu-restart-ice", {"transportId": transport_id}) == [
        None,
        {"iceParameters": restarted},
    ]


@pytest.mark.contract("D70", "M15")
async def test_configured_ice_servers_come_with_the_transport() -> None:
    servers = ({"urls": "turn:x", "username": "u", "credential": "c"},)
    async with open_world(ice_servers=servers) as world:
        alice = await world.host("alice")
        info = await alice.ask("sfu-create-transport", {})
        assert info["iceServers"] == list(servers)


async def test_a_room_has_one_router(world: AppWorld) -> None:
    alice, bob, eve = await world.host("alice"), await world.guest("bob"), await world.host("eve", "E")
    one, two, three = [await transport(socket) for socket in (alice, bob, eve)]
    routers = world.media.transports
    assert routers[one] == routers[two] != routers[three]


async def test_without_workers(world: AppWorld) -> None:
    alice = await world.host("alice")
    world.media.available = False
    assert await alice.call("sfu-create-transport", {}) == ["worker not available"]


async def test_transports_of_others_are_not_found(world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    theirs = await transport(alice)
    video = await produce(alice, theirs)
    data = await produce_data(alice, theirs)
    for transport_id in (theirs, "nope", ""):
        for event, more in (
            ("sfu-connect-transport", {"dtlsParameters": {}}),
            ("sfu-restart-ice", {}),
            ("sfu-produce", {"kind": "video", "rtpParameters": rtp(2)}),
            ("producedata", {"sctpStreamParameters": {"streamId": 9}}),
            ("sfu-consume", {"producerId": video, "rtpCapabilities": CAN}),
            ("consumedata", {"dataProducerId": data}),
        ):
            answer = await bob.call(event, {"transportId": transport_id, **more})
            assert answer == ["transport not found"], event


@pytest.mark.contract("D4")
async def test_transports_are_bounded() -> None:
    async with open_world(limits=SignalingLimits(transports=3)) as world:
        alice, bob = await world.host("alice"), await world.guest("bob")
        for _ in range(3):
            await transport(alice)
        assert await alice.call("sfu-create-transport", {}) == ["too many transports"]
        await transport(bob)
        await alice.ask("sfu-recreate-transports")
        await transport(alice)


async def test_recreating_closes_everything_of_ones_own(world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    video = await produce(alice, await transport(alice))
    theirs = await transport(bob)
    bob.take()
    assert await alice.call("sfu-recreate-transports", {}) == [None, {"ok": True}]
    assert bob.take() == [("producer-closed", {"id": video})]
    assert set(world.media.transports) == {theirs}
    assert await listed(bob) == []
    await produce(alice, await transport(alice))


# Producing


@pytest.mark.contract("D68", "D69", "D79", "M1", "M11")
async def test_a_producer_is_announced_before_its_ack(autojump_clock: MockClock, world: AppWorld) -> None:
    alice, bob, eve = await world.host("alice"), await world.guest("bob"), await world.host("eve", "E")
    transport_id = await transport(alice)
    await world.settle()
    for socket in (alice, bob, eve):
        socket.take()
    video = await produce(alice, transport_id)
    assert alice.take() == [("ack", None, video)]
    assert bob.take() == [("new-producer", {"id": video, "kind": "video"})]
    audio = await produce(alice, transport_id, "audio", rtpParameters=rtp(2))
    data = await produce_data(alice, transport_id)
    assert bob.take() == [
        ("new-producer", {"id": audio, "kind": "audio"}),
        ("new-data-producer", {"id": data, "label": "netplay-input"}),
    ]
    assert await bob.call("sfu-get-producers", {}) == [
        None,
        [{"id": video, "kind": "video"}, {"id": audio, "kind": "audio"}],
    ]
    entry = {"id": data, "kind": "data", "label": "netplay-input"}
    assert await bob.call("sfu-get-data-producers", {}) == [None, [entry]]
    assert await alice.call("sfu-get-producers", {}) == [None, []]
    assert await alice.call("sfu-get-data-producers", {}) == [None, []]
    assert world.media.log[-3:] == ["produce", "produce", "produce_data"], (
        "nothing is done for receivers first"
    )
    assert eve.take() == []
    assert await eve.call("sfu-get-producers", {}) == [None, []]


@pytest.mark.contract("M11")
async def test_a_switch_lists_ones_own_producers_too(autojump_clock: MockClock) -> None:
    async with open_world(list_own_producers=True) as world:
        alice = await world.host("alice")
        transport_id = await transport(alice)
        video = await produce(alice, transport_id)
        data = await produce_data(alice, transport_id)
        assert [entry["id"] for entry in await alice.ask("sfu-get-producers", {})] == [video]
        assert [entry["id"] for entry in await alice.ask("sfu-get-data-producers", {})] == [data]


@pytest.mark.contract("M2")
async def test_the_old_names_of_data_events_work(world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    sender, receiver = await transport(alice), await transport(bob)
    payload = {"transportId": sender, "sctpStreamParameters": {"streamId": 0}}
    data = await alice.ask("sfu-produce-data", payload | {"label": "ejs-inputs", "protocol": "json"})
    consumed = await bob.ask("sfu-consume-data", {"dataProducerId": data, "transportId": receiver})
    assert (consumed["label"], consumed["protocol"]) == ("ejs-inputs", "json")


@pytest.mark.parametrize("kind", ["", "text", "data", "x" * 100])
async def test_other_kinds_are_refused(world: AppWorld, kind: str) -> None:
    alice = await world.host("alice")
    payload = {"transportId": await transport(alice), "kind": kind, "rtpParameters": rtp()}
    assert await alice.call("sfu-produce", payload) == [f'invalid kind "{kind[:64]}"']


async def test_media_says_what_is_wrong(world: AppWorld) -> None:
    alice = await world.host("alice")
    transport_id = await transport(alice)
    payload = {"transportId": transport_id, "kind": "video", "rtpParameters": {}}
    assert await alice.call("sfu-produce", payload) == ["missing params.codecs"]
    payload = {"transportId": transport_id, "sctpStreamParameters": {}}
    assert await alice.call("producedata", payload) == ["missing params.streamId"]


@pytest.mark.contract("D65")
async def test_a_producer_replaces_the_one_of_its_kind_when_accepted(world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    transport_id = await transport(alice)
    first = await produce(alice, transport_id)
    bad = {"transportId": transport_id, "kind": "video", "rtpParameters": {}}
    await alice.call("sfu-produce", bad)
    assert await listed(bob) == [first], "a refused one replaces nothing"
    assert set(world.media.producers) == {first}
    bob.take()
    second = await produce(alice, transport_id, rtpParameters=rtp(2))
    assert bob.take() == [
        ("producer-closed", {"id": first}),
        ("new-producer", {"id": second, "kind": "video"}),
    ]
    await wait_all_tasks_blocked()
    assert set(world.media.producers) == {second}
    bad = {"transportId": transport_id, "kind": "video", "rtpParameters": {"encodings": [{"ssrc": 2}]}}
    await alice.call("sfu-produce", bad)
    assert set(world.media.producers) == {second}, "not even one that has its SSRC"
    third = await produce(alice, transport_id, rtpParameters=rtp(2))
    assert set(world.media.producers) == {third}
    assert await listed(bob) == [third]


@pytest.mark.contract("D65")
async def test_sources_live_side_by_side(world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    transport_id = await transport(alice)
    game = await produce(alice, transport_id, "audio")
    mic = await produce(alice, transport_id, "audio", rtpParameters=rtp(2), appData={"source": "mic"})
    chat = await produce(alice, transport_id, "audio", rtpParameters=rtp(3), appData={"label": "chat"})
    assert await listed(bob) == [game, mic, chat]
    mic2 = await produce(alice, transport_id, "audio", rtpParameters=rtp(4), appData={"source": "mic"})
    assert await listed(bob) == [game, chat, mic2]
    game2 = await produce(alice, transport_id, "audio", rtpParameters=rtp(5), appData={"source": 5})
    assert await listed(bob) == [chat, mic2, game2]


async def test_producers_are_bounded() -> None:
    async with open_world(limits=SignalingLimits(producers=2, data_producers=1)) as world:
        alice = await world.host("alice")
        transport_id = await transport(alice)
        await produce(alice, transport_id)
        await produce(alice, transport_id, "audio", rtpParameters=rtp(2))
        payload = {
            "transportId": transport_id,
            "kind": "audio",
            "rtpParameters": rtp(3),
            "appData": {"source": "x"},
        }
        assert await alice.call("sfu-produce", payload) == ["too many producers"]
        await produce(alice, transport_id, "audio", rtpParameters=rtp(4))  # in the place of another
        await produce_data(alice, transport_id)
        payload = {"transportId": transport_id, "sctpStreamParameters": {"streamId": 5}, "label": "other"}
        assert await alice.call("producedata", payload) == ["too many data producers"]
        await produce_data(alice, transport_id, 1)


@pytest.mark.contract("D66")
async def test_data_producers_are_replaced_by_label_on_one_transport(world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    one, two = await transport(alice), await transport(alice)
    first = await produce_data(alice, one, 0, "a")
    unnamed = [await produce_data(alice, one, stream, "") for stream in (1, 2)]
    elsewhere = await produce_data(alice, two, 0, "a")
    second = await produce_data(alice, one, 3, "a")
    third = await produce_data(alice, one, 3, "a")
    await wait_all_tasks_blocked()
    assert first != second != third
    expected = [*unnamed, elsewhere, third]
    assert [entry["id"] for entry in await bob.ask("sfu-get-data-producers")] == expected
    assert set(world.media.data_producers) == set(expected)


async def test_data_producers_of_another_name(world: AppWorld) -> None:
    alice = await world.host("alice")
    transport_id = await transport(alice)
    payload: dict[str, Any] = {"transportId": "nope", "sctpStreamParameters": {"streamId": 0}}
    payload["appData"] = {"userid": "someone else"}
    assert await alice.call("producedata", payload) == ["userid mismatch for this connection"]
    await produce_data(alice, transport_id, appData={"userid": alice.userid})
    payload = {"transportId": transport_id, "sctpStreamParameters": {"streamId": 1}, "label": "x" * 257}
    assert await alice.call("producedata", payload) == ["invalid"]


# Consuming


@pytest.mark.contract("D81")
async def test_consuming(world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    sender, receiver = await transport(alice), await transport(bob)
    video = await produce(alice, sender)
    audio = await produce(alice, sender, "audio", rtpParameters=rtp(2))
    consumed = await bob.ask(
        "sfu-consume",
        {"producerId": video, "transportId": receiver, "rtpCapabilities": CAN, "ignoreDtx": True},
    )
    assert (consumed["producerId"], consumed["kind"]) == (video, "video")
    assert set(consumed) == {"id", "producerId", "kind", "rtpParameters"}
    dtx: list[bool] = []
    for more in ({}, {"ignoreDtx": True}, {"ignoreDtx": None}, {"ignoreDtx": False}):
        payload = {"producerId": audio, "transportId": receiver, "rtpCapabilities": CAN, **more}
        dtx.append(world.media.consumers[(await bob.ask("sfu-consume", payload))["id"]][2])
    assert dtx == [True, True, True, False]
    assert world.media.consumers[consumed["id"]][2] is False, "silence is a matter of audio"


@pytest.mark.contract("D72")
async def test_the_log_says_why_something_cannot_be_consumed(
    world: AppWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, eve = await world.host("alice"), await world.guest("bob"), await world.host("eve", "E")
    video = await produce(alice, await transport(alice))
    receiver, foreign = await transport(bob), await transport(eve)

    async def cause(socket: MemorySocket, **payload: Any) -> str:
        with capture_logs() as logs:
            assert await socket.call("sfu-consume", payload) == ["cannot consume"]
        [entry] = [entry for entry in logs if entry["event"] == "cannot consume"]
        assert entry["producer"] == payload["producerId"]
        return str(entry["cause"])

    nowhere = "there is no such producer in the room"
    assert await cause(bob, producerId="nope", transportId=receiver, rtpCapabilities=CAN) == nowhere
    assert await cause(eve, producerId=video, transportId=foreign, rtpCapabilities=CAN) == nowhere
    assert await cause(bob, producerId=video, transportId=receiver) == "no rtpCapabilities"

    async def refuse(*_: object, **__: object) -> Any:
        raise MediaError("cannot consume", "sent is video/VP9; received could be nothing")

    monkeypatch.setattr(world.media, "consume", refuse)
    answer = await cause(bob, producerId=video, transportId=receiver, rtpCapabilities=CAN)
    assert answer == "sent is video/VP9; received could be nothing"


@pytest.mark.contract("D85")
async def test_a_failure_without_a_text_is_an_error_all_the_same(
    world: AppWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.host("alice")
    transport_id = await transport(alice)

    async def fail(*_: object, **__: object) -> Any:
        raise MediaError("")

    for name in ("connect_transport", "restart_ice", "produce", "produce_data"):
        monkeypatch.setattr(world.media, name, fail)
    for event, more in (
        ("sfu-connect-transport", {"dtlsParameters": {}}),
        ("sfu-restart-ice", {}),
        ("sfu-produce", {"kind": "video", "rtpParameters": rtp()}),
        ("producedata", {"sctpStreamParameters": {"streamId": 0}}),
    ):
        assert await alice.call(event, {"transportId": transport_id, **more}) == ["error"]


@pytest.mark.contract("M22")
async def test_nothing_is_written_or_sent_aside(world: AppWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")

    def refuse(*args: object, **_: object) -> Any:
        raise AssertionError(f"opened {args!r}")

    for name in ("socket.socket.__init__", "builtins.open", "os.open"):
        monkeypatch.setattr(name, refuse)
    sender, receiver = await transport(alice), await transport(bob)
    video, data = await produce(alice, sender), await produce_data(alice, sender)
    assert await listed(bob) == [video]
    payload = {"producerId": video, "transportId": receiver, "rtpCapabilities": CAN}
    await bob.ask("sfu-consume", payload)
    await bob.ask("consumedata", {"dataProducerId": data, "transportId": receiver})
    await bob.ask("leave-room")


@pytest.mark.contract("M23")
async def test_consuming_data(world: AppWorld) -> None:
    alice, bob = await world.host("alice"), await world.guest("bob")
    data = await produce_data(alice, await transport(alice))
    receiver = await transport(bob)
    payload = {"dataProducerId": data, "transportId": receiver}
    for _ in range(2):  # hosts in the wild consume each one twice
        consumed = await bob.ask("consumedata", payload)
        assert consumed.pop("id")
        assert consumed == {
            "dataProducerId": data,
            "sctpStreamParameters": {"streamId": 0, "ordered": True},
            "label": "netplay-input",
            "protocol": "",
            "appData": {},
        }


async def test_what_cannot_be_consumed(world: AppWorld) -> None:
    alice, bob, eve = await world.host("alice"), await world.guest("bob"), await world.host("eve", "E")
    sender, receiver, foreign = [await transport(socket) for socket in (alice, bob, eve)]
    video, data = await produce(alice, sender), await produce_data(alice, sender)
    for payload in (
        {"producerId": "nope", "transportId": receiver, "rtpCapabilities": CAN},
        {"producerId": "nope", "transportId": "nope", "rtpCapabilities": CAN},
        {"producerId": data, "transportId": receiver, "rtpCapabilities": CAN},
        {"producerId": video, "transportId": receiver, "rtpCapabilities": {}},
        {"producerId": video, "transportId": receiver, "rtpCapabilities": None},
        {"producerId": video, "transportId": receiver},
        {},
    ):
        assert await bob.call("sfu-consume", payload) == ["cannot consume"]
    payload = {"producerId": video, "transportId": foreign, "rtpCapabilities": CAN}
    assert await eve.call("sfu-consume", payload) == ["cannot consume"]
    for producer_id in ("nope", video):
        answer = await bob.call("consumedata", {"dataProducerId": producer_id, "transportId": receiver})
        assert answer == [f'DataProducer with id "{producer_id}" not found']
    answer = await eve.call("consumedata", {"dataProducerId": data, "transportId": foreign})
    assert answer == [f'DataProducer with id "{data}" not found']
    assert await bob.call("consumedata", {"transportId": receiver}) == ["missing dataProducerId"]


@pytest.mark.contract("D67", "D77")
async def test_consumers_are_bounded_and_end_with_their_producer() -> None:
    async with open_world(limits=SignalingLimits(consumers=2, data_consumers=1)) as world:
        alice, bob = await world.host("alice"), await world.guest("bob")
        sender, receiver = await transport(alice), await transport(bob)
        video, data = await produce(alice, sender), await produce_data(alice, sender)
        payload = {"producerId": video, "transportId": receiver, "rtpCapabilities": CAN}
        for _ in range(2):
            await bob.ask("sfu-consume", payload)
        assert await bob.call("sfu-consume", payload) == ["too many consumers"]
        await bob.ask("consumedata", {"dataProducerId": data, "transportId": receiver})
        answer = await bob.call("consumedata", {"dataProducerId": data, "transportId": receiver})
        assert answer == ["too many data consumers"]
        payload["producerId"] = await produce(alice, sender, rtpParameters=rtp(2))
        await bob.ask("sfu-consume", payload)

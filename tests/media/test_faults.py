"""A fault of ours that a peer finds, by whatever it sends, ends its own transport and nothing else.

The faults are planted, since there is no other way to have one: deep in the machines, set off by what one
peer does.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from sfu.media.core import FAULT_INTERVAL, MAX_TRACEBACK
from sfu.media.events import Fault, ProducerClosed, TransportClosed
from sfu.rtp.packet import build_header
from sfu.rtp.rtcp import PictureLossIndication, build_compound
from sfu.sctp.ppid import BINARY
from tests.support.peer import Peer
from tests.support.world import VideoSource, World, received

TRIGGER = 0x0BADF00D
TRIGGER_BYTES = TRIGGER.to_bytes(4, "big")


class Stage:
    """A host plays to a viewer; a third one is up to something."""

    def __init__(self) -> None:
        self.world = World()
        host_id, self.host = self.world.join("host")
        self.world.produce_video(host_id)
        self.world.core.produce_data(host_id, "state", {"streamId": 0}, "", "", self.world.now)
        viewer_id, self.viewer = self.world.join("viewer")
        self.ssrc = self.world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
        self.world.core.consume_data(viewer_id, "dc", "state")
        rogue_id, self.rogue = self.world.join("rogue")
        self.world.produce_video(rogue_id, "rogue's", encodings=[{"ssrc": TRIGGER}])
        self.world.core.produce_data(rogue_id, "rogue's data", {"streamId": 0}, "", "", self.world.now)
        self.world.consume(rogue_id)
        self.source = VideoSource(self.host)
        self.source.frame(key=True)
        assert self.world.run(1, lambda: len(received(self.viewer, self.ssrc)) == 3)

    def check(self, faults: int = 1) -> None:
        """The rogue's transport has ended, the others play on."""
        world = self.world
        world.run(0.2)
        [fault] = [e for e in world.events if isinstance(e, Fault)]
        assert fault.transport_id == "rogue"
        assert "planted" in fault.traceback
        ended = [e.transport_id for e in world.events if isinstance(e, TransportClosed)]
        assert ended == ["rogue"]
        assert ProducerClosed("rogue's") in world.events
        assert world.core.stats({}).counters["faults"] == faults
        self.viewer.rtp.clear()
        self.viewer.messages.clear()
        self.source.frame()
        self.host.send_data(0, BINARY, b"x", world.now)
        assert world.run(1, lambda: len(received(self.viewer, self.ssrc)) == 3 and bool(self.viewer.messages))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def plant(monkeypatch: pytest.MonkeyPatch, where: str, when: Callable[..., bool]) -> None:
    """Have a function fail when its arguments are such."""
    module, cls, name = where.rsplit(".", 2)
    plain = getattr(getattr(import_module(module), cls), name)

    def faulty(self: Any, *args: Any, **options: Any) -> Any:
        if when(self, *args, **options):
            raise ZeroDivisionError("planted")
        return plain(self, *args, **options)

    monkeypatch.setattr(where, faulty)


def of(transport_id: str) -> Callable[..., bool]:
    """Whether a transport is that one."""
    return lambda transport, *_args, **_options: transport.id == transport_id


def send_rtp(peer: Peer, world: World) -> None:
    header = build_header(payload_type=98, sequence_number=1, timestamp=0, ssrc=TRIGGER)
    peer.send_rtp(header, b"\x08" + bytes(20), TRIGGER, 1)
    world.run(0.1)


def test_in_a_dtls_record(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(
        monkeypatch,
        "sfu.sctp.association.Association.receive_datagram_untrusted",
        lambda _self, data, _now: TRIGGER_BYTES in data,
    )
    stage.rogue.send_data(0, BINARY, TRIGGER_BYTES, stage.world.now)
    stage.check()


def test_in_a_connectivity_check(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rogue = stage.rogue.address
    plant(
        monkeypatch,
        "sfu.ice.agent.IceAgent.receive_datagram_untrusted",
        lambda _self, _data, address, _now: address == rogue,
    )
    stage.rogue.send_raw(stage.rogue.check())
    stage.check()


def test_in_opening_a_media_packet(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(
        monkeypatch,
        "sfu.rtp.srtp.SrtpReceiver.unprotect_rtp_untrusted",
        lambda _self, data: data[8:12] == TRIGGER_BYTES,
    )
    send_rtp(stage.rogue, stage.world)
    stage.check()


def test_in_forwarding(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.world.consume("viewer", "rogue's")
    plant(
        monkeypatch,
        "sfu.media.engine.PythonEngine._forward",
        lambda _self, group, _burst, _now: group.stream.ssrc == TRIGGER,
    )
    send_rtp(stage.rogue, stage.world)
    stage.check()


def test_in_accounting(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rogue = stage.world.core._transports["rogue"].streams[TRIGGER].receiver
    plant(
        monkeypatch,
        "sfu.media.reception.StreamReceiver.on_packet",
        lambda self, *_args, **_options: self is rogue,
    )
    send_rtp(stage.rogue, stage.world)
    stage.check()


def test_in_a_report(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(
        monkeypatch,
        "sfu.media.rtcp_session.RtcpSession.receive_untrusted",
        lambda _self, packet, _transport, _now: TRIGGER_BYTES in packet,
    )
    stage.rogue.send_rtcp(build_compound([PictureLossIndication(1, TRIGGER)]))
    stage.check()


def test_in_a_packet_of_an_unknown_ssrc(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(transport: Any, plain: bytes) -> Any:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("sfu.media.core.discover_untrusted", find)
    header = build_header(payload_type=98, sequence_number=1, timestamp=0, ssrc=TRIGGER + 1)
    stage.rogue.send_rtp(header, bytes(20), TRIGGER + 1, 1)
    stage.check()


def test_in_sending_what_is_due(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a datagram has spoilt may show only later."""
    plant(monkeypatch, "sfu.media.transport.Transport.flush_data", of("rogue"))
    send_rtp(stage.rogue, stage.world)
    stage.check()


def test_in_a_timer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "sfu.media.transport.Transport.handle_timer", of("rogue"))
    stage.world.run(3)
    stage.check()


def test_in_receiving_what_somebody_else_sends(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot be sent to goes, not who sends."""
    stage.world.core.consume_data("rogue", "dc-rogue", "state")
    plant(monkeypatch, "sfu.media.transport.Transport.send_data", of("rogue"))
    stage.host.send_data(0, BINARY, b"y", stage.world.now)
    stage.check()


def test_in_closing_what_has_a_fault(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "sfu.media.transport.Transport.flush_data", of("rogue"))
    plant(monkeypatch, "sfu.media.transport.Transport.close", of("rogue"))
    send_rtp(stage.rogue, stage.world)
    stage.check(faults=2)
    stage.world.core.create_transport("room", "rogue")
    stage.world.core.close(stage.world.now)
    stage.world.run(0.2)
    assert stage.viewer.ended is not None
    assert stage.world.core.get_timer() is None
    assert not stage.world.core.engine.tuples


def test_in_the_end_of_a_tcp_connection(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "sfu.media.transport.Transport.address_closed", of("rogue"))
    stage.world.core.address_closed(stage.rogue.address, stage.world.now)
    stage.check()


def test_reports_are_few_and_short_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    rogues = [world.join()[1] for _ in range(4)]
    addresses = [rogue.address for rogue in rogues]
    plant(
        monkeypatch,
        "sfu.ice.agent.IceAgent.receive_datagram_untrusted",
        lambda _self, _data, address, _now: address in addresses,
    )
    began = world.now
    for rogue in rogues[:3]:
        world.core.receive_batch([(rogue.check(), rogue.address, began)], began)
    world.run(FAULT_INTERVAL)
    later = began + FAULT_INTERVAL
    world.core.receive_batch([(rogues[3].check(), rogues[3].address, later)], later)
    world.run(0.1)
    faults = [e for e in world.events if isinstance(e, Fault)]
    assert [fault.count for fault in faults] == [1, 4]
    assert len([e for e in world.events if isinstance(e, TransportClosed)]) == 4

    def nest(depth: int) -> None:
        if depth == 0:
            raise ZeroDivisionError("planted")
        # Two kinds of lines in turns, or the traceback sums them up.
        if depth % 2:
            nest(depth - 1)
        else:
            nest(depth - 1)

    with pytest.raises(ZeroDivisionError) as caught:
        nest(400)
    world.core.record_fault(caught.value, began + 10 * FAULT_INTERVAL)
    event = world.core.next_event()
    assert isinstance(event, Fault)
    assert event.transport_id == ""
    assert len(event.traceback) <= MAX_TRACEBACK
    assert event.traceback.endswith("ZeroDivisionError: planted\n")

"""Every cap of a worker is there, and names itself to whoever meets it."""

from __future__ import annotations

import pytest

from sfu.media import core, router
from sfu.media.errors import MediaRefused
from sfu.media.rtcp_session import MAX_ARRIVALS, RtcpSession
from sfu.media.transport import MAX_FINGERPRINTS
from tests.support.world import World


def test_transports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "MAX_TRANSPORTS", 2)
    world = World()
    first, _ = world.join(connect=False)
    world.join(connect=False)
    with pytest.raises(MediaRefused, match="this worker has 2 transports already"):
        world.join(connect=False)
    world.core.close_transport(first, world.now)
    world.join(connect=False)


def test_consumers_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "MAX_CONSUMERS", 2)
    world = World()
    host_id, viewer_id = world.join(connect=False)[0], world.join(connect=False)[0]
    world.produce_video(host_id)
    for _ in range(2):
        world.consume(viewer_id)
    with pytest.raises(MediaRefused, match="more than 2 consumers on one transport"):
        world.consume(viewer_id)
    world.core.close_producer("video")
    world.produce_video(host_id)
    world.consume(viewer_id)


def test_consumers_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """No SSRC is used twice under one key, so each that was is remembered."""
    monkeypatch.setattr(router, "MAX_USED_SSRCS", 6)
    world = World()
    host_id, viewer_id = world.join(connect=False)[0], world.join(connect=False)[0]
    for _ in range(3):
        world.produce_video(host_id)
        world.consume(viewer_id)
        world.core.close_producer("video")
    world.produce_video(host_id)
    with pytest.raises(MediaRefused, match="more than 3 consumers in the life of one transport"):
        world.consume(viewer_id)
    world.consume(world.join(connect=False)[0])


def test_fingerprints() -> None:
    world = World()
    transport_id, peer = world.join(connect=False)
    parameters = peer.dtls_parameters
    with pytest.raises(MediaRefused, match="more than 16 fingerprints"):
        world.core.connect_transport(
            transport_id,
            {**parameters, "fingerprints": parameters["fingerprints"] * (MAX_FINGERPRINTS + 1)},
            world.now,
        )
    world.core.connect_transport(
        transport_id, {**parameters, "fingerprints": parameters["fingerprints"] * MAX_FINGERPRINTS}, world.now
    )


def test_arrivals_between_two_feedbacks() -> None:
    session = RtcpSession(lambda count: b"\x01" * count, 0.0)
    for number in range(MAX_ARRIVALS + 100):
        session.record_arrival(number & 0xFFFF, 0.0)
    assert len(session._arrivals) == MAX_ARRIVALS

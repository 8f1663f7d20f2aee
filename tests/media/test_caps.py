"""Every cap of a worker is there, and names itself to whoever meets it."""

from __future__ import annotations

from typing import Any

import pytest

from sfu.media import core, router
from sfu.media.errors import MediaRefused
from sfu.media.parameters import (
    MAX_CODECS,
    MAX_ENCODINGS,
    MAX_FEEDBACK,
    MAX_HEADER_EXTENSIONS,
    MAX_SETTINGS,
    MAX_WORD,
    OrtcError,
)
from sfu.media.transport import MAX_FINGERPRINTS
from sfu.worker.messages import Result, encode
from tests.support.world import World, video_parameters, viewer_capabilities

VP9 = video_parameters()["codecs"][0]
FEEDBACK = [{"type": "\N{GRINNING FACE}" * MAX_WORD, "parameter": "\N{GRINNING FACE}" * MAX_WORD}]


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


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"codecs": [VP9] * (MAX_CODECS + 1)}, "$.codecs"),
        ({"codecs": [{**VP9, "mimeType": "video/" + "x" * MAX_WORD}]}, "$.codecs[0].mimeType"),
        (
            {"codecs": [{**VP9, "rtcpFeedback": FEEDBACK * (MAX_FEEDBACK + 1)}]},
            "$.codecs[0].rtcpFeedback",
        ),
        (
            {"codecs": [{**VP9, "rtcpFeedback": [{"type": "x" * (MAX_WORD + 1)}]}]},
            "$.codecs[0].rtcpFeedback[0].type",
        ),
        (
            {"codecs": [{**VP9, "parameters": dict.fromkeys(map(str, range(MAX_SETTINGS + 1)), 1)}]},
            "$.codecs[0].parameters",
        ),
        (
            {"headerExtensions": [{"uri": "x", "id": 1}] * (MAX_HEADER_EXTENSIONS + 1)},
            "$.headerExtensions",
        ),
        ({"encodings": [{"ssrc": 1}] * (MAX_ENCODINGS + 1)}, "$.encodings"),
        ({"encodings": [{"scalabilityMode": "x" * (MAX_WORD + 1)}]}, "$.encodings[0].scalabilityMode"),
    ],
)
def test_what_a_producer_is_made_of(changes: dict[str, Any], where: str) -> None:
    world = World()
    with pytest.raises(OrtcError) as refusal:
        world.produce_video(world.join(connect=False)[0], **changes)
    assert str(refusal.value).startswith("invalid parameters: Expected ")
    assert str(refusal.value).endswith(f" - at `{where}`")


@pytest.mark.parametrize(
    "changes",
    [
        {"codecs": viewer_capabilities()["codecs"] * MAX_CODECS},
        {"headerExtensions": viewer_capabilities()["headerExtensions"] * MAX_HEADER_EXTENSIONS},
        {"codecs": [{**VP9, "kind": "video", "rtcpFeedback": FEEDBACK * (MAX_FEEDBACK + 1)}]},
    ],
)
def test_what_a_consumer_says(changes: dict[str, Any]) -> None:
    world = World()
    host_id, viewer_id = world.join(connect=False)[0], world.join(connect=False)[0]
    world.produce_video(host_id)
    with pytest.raises(MediaRefused) as refusal:
        world.core.consume(viewer_id, "c", "video", {**viewer_capabilities(), **changes}, world.now)
    assert refusal.value.cause.startswith(
        "rtpCapabilities: invalid parameters: Expected `array` of length <= "
    )


@pytest.mark.contract("D1")
def test_the_longest_answer_fits_into_a_control_message() -> None:
    """A worker that cannot send an answer is lost: a producer of many codecs and a consumer of much feedback
    once ended one, each of them far below the longest message."""
    world = World()
    host_id, viewer_id = world.join(connect=False)[0], world.join(connect=False)[0]
    settings = {f"{number}".ljust(255, "x"): "y" * 255 for number in range(MAX_SETTINGS)}
    codecs = [{**VP9, "payloadType": number, "parameters": settings} for number in range(MAX_CODECS)]
    world.produce_video(host_id, codecs=codecs)
    capabilities = viewer_capabilities()
    for codec in capabilities["codecs"]:
        codec["rtcpFeedback"] = FEEDBACK * MAX_FEEDBACK
    answer = world.core.consume(viewer_id, "c", "video", capabilities, world.now)
    assert len(encode(Result(1, answer))) > 2_000_000, "or it is not the longest"


def test_a_consumer_that_never_began_leaves_nothing() -> None:
    """Its producer's streams have only a RID, and no packet has told their SSRC."""
    world = World()
    host_id, viewer_id = world.join(connect=False)[0], world.join(connect=False)[0]
    world.produce_video(host_id, encodings=[{"rid": "r0"}, {"rid": "r1"}])
    world.consume(viewer_id)
    viewer = world.core._transports[viewer_id]
    assert viewer.consumers_by_ssrc
    world.core.close_producer("video")
    assert not viewer.consumers_by_ssrc

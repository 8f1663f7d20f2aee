from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from sfu.rooms import Refused
from sfu.signaling.layer_policy import LayerPolicy
from tests.support.app_world import open_world

VP9 = [{"mimeType": "video/rtx"}, {"mimeType": "video/VP9"}]
VP8 = [{"mimeType": "video/VP8"}]
SVC = LayerPolicy("l1t3", enforce_vp9_mode=True)
TWO = LayerPolicy(enforce_two_layers=True)
BOTH = LayerPolicy("L1T3", enforce_vp9_mode=True, enforce_two_layers=True)


def parameters(codecs: Any, *encodings: Any) -> dict[str, Any]:
    return {"codecs": codecs, "encodings": list(encodings)}


@pytest.mark.parametrize(
    ("policy", "offered", "error"),
    [
        (SVC, parameters(VP9, {"scalabilityMode": "L3T3"}), "VP9 SVC mode mismatch: got L3T3, expected L1T3"),
        (SVC, parameters(VP9, {}), "VP9 without scalabilityMode (expected L1T3)"),
        (SVC, parameters(VP9), "VP9 without scalabilityMode (expected L1T3)"),
        (TWO, parameters(VP8, {}, {}, {}), "simulcast encoding count 3 (expected 2)"),
        (TWO, parameters(VP9, {}, {}, {}), "simulcast encoding count 3 (expected 2)"),
        # What the old client module's simulcast looks like: the mode is no SVC there.
        (TWO, parameters(VP8, *[{"scalabilityMode": "L1T3"}] * 3), "simulcast encoding count 3 (expected 2)"),
        (BOTH, parameters(VP9, {}, {}, {}), "VP9 without scalabilityMode (expected L1T3)"),
    ],
)
def test_what_is_enforced_is_refused(policy: LayerPolicy, offered: dict[str, Any], error: str) -> None:
    with pytest.raises(Refused) as refusal:
        policy.check(offered)
    assert refusal.value.error == error


@pytest.mark.parametrize(
    ("policy", "offered"),
    [
        (SVC, parameters(VP9, {"scalabilityMode": "l1t3"})),
        (SVC, parameters(VP8, {})),
        (SVC, {"codecs": 5, "encodings": 5}),
        (SVC, {"codecs": [5, {"mimeType": 5}], "encodings": [5]}),
        (TWO, parameters(VP8, {}, {})),
        (TWO, parameters(VP8, {})),
        (TWO, parameters(VP9, {"scalabilityMode": "L1T3"}, {}, {})),
        (LayerPolicy(), parameters(VP9, {}, {}, {})),
        (LayerPolicy(), parameters(VP8, {"scalabilityMode": "L9T9"}, {}, {})),
    ],
)
def test_the_rest_passes(policy: LayerPolicy, offered: dict[str, Any]) -> None:
    assert policy.check(offered) == []


@pytest.mark.parametrize(
    ("policy", "offered", "complaints"),
    [
        (
            LayerPolicy("L1T3"),
            parameters(VP9, {"scalabilityMode": "L3T3"}),
            ["VP9 SVC mode mismatch: got L3T3, expected L1T3"],
        ),
        (LayerPolicy("L1T3"), parameters(VP9), ["VP9 without scalabilityMode (expected L1T3)"]),
        (
            LayerPolicy("L1T3"),
            parameters(VP9, {}, {}, {}),
            [
                "VP9 without scalabilityMode (expected L1T3)",
                "simulcast encoding count 3 (expected 2)",
            ],
        ),
        (SVC, parameters(VP8, {}, {}, {}), ["simulcast encoding count 3 (expected 2)"]),
    ],
)
def test_the_rest_is_only_mentioned(
    policy: LayerPolicy, offered: dict[str, Any], complaints: list[str]
) -> None:
    assert policy.check(offered) == complaints


async def test_mentioned_is_in_the_log() -> None:
    async with open_world(layer_policy=LayerPolicy("L1T3")) as world:
        alice = await world.host("alice")
        transport_id = (await alice.ask("sfu-create-transport", {}))["id"]
        payload = {"transportId": transport_id, "kind": "video", "rtpParameters": parameters(VP9, {})}
        with capture_logs() as logs:
            await alice.ask("sfu-produce", payload)
        [entry] = [entry for entry in logs if entry["log_level"] == "warning"]
        assert entry["complaint"] == "VP9 without scalabilityMode (expected L1T3)"


async def test_it_is_asked_of_video_before_anything_is_made() -> None:
    async with open_world(layer_policy=TWO) as world:
        alice = await world.host("alice")
        transport_id = (await alice.ask("sfu-create-transport", {}))["id"]
        offered = parameters(VP8, {}, {}, {})
        payload = {"transportId": transport_id, "kind": "video", "rtpParameters": offered}
        assert await alice.call("sfu-produce", payload) == ["simulcast encoding count 3 (expected 2)"]
        await alice.ask("sfu-produce", payload | {"kind": "audio"})

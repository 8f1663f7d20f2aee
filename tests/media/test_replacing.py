"""A producer that takes the place of another: found sound first, and with the same SSRCs if it likes."""

from __future__ import annotations

from typing import Any

import pytest

from sfu.media.errors import MediaRefused
from sfu.media.objects import MAX_PRODUCERS
from sfu.media.parameters import OrtcError
from sfu.media.table import MAX_STREAMS
from tests.support.world import VIDEO_SSRC, VideoSource, World, received, video_parameters


def replace(world: World, transport_id: str, producer_id: str = "new", **changes: Any) -> None:
    parameters = video_parameters(**changes)
    world.core.produce(transport_id, producer_id, "video", parameters, world.now, replaces="video")


def playing(world: World) -> tuple[str, VideoSource, str, Any]:
    """A host that plays to a viewer."""
    host_id, host = world.join()
    world.produce_video(host_id)
    viewer_id, viewer = world.join()
    world.consume(viewer_id)
    return host_id, VideoSource(host), viewer_id, viewer


@pytest.mark.contract("D65")
def test_the_new_one_may_have_the_ssrcs_of_the_old() -> None:
    world = World()
    host_id, source, viewer_id, viewer = playing(world)
    source.frame(key=True)
    world.run(0.2)
    replace(world, host_id)
    assert world.events == [], "who asked need not be told"
    with pytest.raises(MediaRefused, match="cannot consume"):
        world.consume(viewer_id, "video")
    ssrc = world.consume(viewer_id, "new")["rtpParameters"]["encodings"][0]["ssrc"]
    wanted = source.frame(key=True)
    world.run(0.2)
    assert [p.payload for p in received(viewer, ssrc)] == [source.sent[i] for i in wanted]


@pytest.mark.contract("D65")
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"codecs": []}, "codecs is empty"),
        ({"encodings": [{"ssrc": 0}]}, "invalid or repeated ssrc"),
        ({"encodings": [{"ssrc": VIDEO_SSRC}, {"ssrc": 7}]}, "ssrc 7 is in use on this transport"),
        ({"encodings": [{"ssrc": VIDEO_SSRC, "rtx": {"ssrc": 8}}]}, "ssrc 8 is in use on this transport"),
        (
            {"codecs": [{"mimeType": "video/H265", "payloadType": 98, "clockRate": 90000}]},
            "unsupported codec",
        ),
    ],
)
def test_a_refused_one_changes_nothing(changes: dict[str, Any], error: str) -> None:
    world = World()
    host_id, source, _, viewer = playing(world)
    world.core.produce(
        host_id,
        "beside",
        "video",
        video_parameters(mid="5", encodings=[{"ssrc": 7, "rtx": {"ssrc": 8}}]),
        world.now,
    )
    with pytest.raises(OrtcError, match=error):
        replace(world, host_id, **changes)
    source.frame(key=True)
    world.run(0.2)
    assert len(viewer.rtp) == 3


@pytest.mark.contract("D65")
def test_it_may_be_on_another_transport() -> None:
    world = World()
    host_id, source, viewer_id, viewer = playing(world)
    other_id, other = world.join()
    replace(world, other_id)
    ssrc = world.consume(viewer_id, "new")["rtpParameters"]["encodings"][0]["ssrc"]
    source.frame(key=True)
    world.run(0.2)
    assert viewer.rtp == []
    VideoSource(other).frame(key=True)
    world.run(0.2)
    assert len(received(viewer, ssrc)) == 3
    world.produce_video(host_id, "again")  # the place on the first one is free


def test_what_is_to_be_replaced_may_be_gone_or_not_ones_room() -> None:
    world = World()
    host_id, source, _, viewer = playing(world)
    world.core.create_router("other room")
    world.core.create_transport("other room", "stranger")
    replace(world, "stranger", "theirs")
    world.core.produce(
        host_id, "mine", "video", video_parameters(encodings=[{"ssrc": 5}]), world.now, replaces="nope"
    )
    source.frame(key=True)
    world.run(0.2)
    assert len(viewer.rtp) == 3


def test_replacing_needs_no_room_beside_the_old() -> None:
    world = World()
    host_id, _ = world.join()
    world.produce_video(host_id)
    for number in range(1, MAX_PRODUCERS):
        world.produce_video(host_id, f"p{number}", encodings=[{"ssrc": 100 + number}])
    with pytest.raises(MediaRefused, match="more than 32 producers on one transport"):
        world.produce_video(host_id, "more", encodings=[{"ssrc": 1}])
    replace(world, host_id)


def test_streams_are_bounded_and_those_of_the_old_do_not_count() -> None:
    world = World()
    host_id, _ = world.join()
    for number in range(MAX_STREAMS // 8):
        encodings = [{"ssrc": 1 + 8 * number + i} for i in range(8)]
        world.produce_video(host_id, "video" if number == 0 else f"p{number}", encodings=encodings)
    with pytest.raises(MediaRefused, match="more than 64 streams on one transport"):
        world.produce_video(host_id, "more", encodings=[{"ssrc": 1000}])
    replace(world, host_id, encodings=[{"ssrc": 1001 + i} for i in range(8)])

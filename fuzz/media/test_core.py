"""A worker's core against hostile datagrams and requests: only declared errors, and the room goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sfu.ice.address import Address
from sfu.media.core import MediaCore
from sfu.media.errors import MediaRefused
from sfu.media.parameters import OrtcError
from sfu.rtp.packet import build_header
from tests.support.world import (
    VIDEO_SSRC,
    VideoSource,
    World,
    received,
    video_parameters,
    viewer_capabilities,
)

STRANGER: Address = ("203.0.113.7", 4242)

FIRST_BYTES = st.sampled_from([0, 1, 20, 22, 23, 63, 64, 127, 128, 129, 144, 191, 192, 255])
JUNK = st.builds(lambda first, rest: bytes([first]) + rest, FIRST_BYTES, st.binary(max_size=200))


class Stage:
    """A room in which a host plays to a viewer, made once: no case may spoil it for the next."""

    def __init__(self) -> None:
        self.world = World()
        host_id, self.host = self.world.join("host")
        self.world.produce_video(host_id)
        self.world.core.produce_data(host_id, "data", {"streamId": 0}, "", "", self.world.now)
        self.source = VideoSource(self.host)
        viewer_id, self.viewer = self.world.join("viewer")
        self.ssrc = self.world.consume(viewer_id)["rtpParameters"]["encodings"][0]["ssrc"]
        self.world.core.consume_data(viewer_id, "dc", "data")
        self.source.frame(key=True)
        self.world.run(0.5)

    def still_plays(self) -> bool:
        self.viewer.rtp.clear()
        self.viewer.messages.clear()
        self.source.frame()
        self.host.send_data(0, 53, b"input", self.world.now)
        return self.world.run(
            2, lambda: len(received(self.viewer, self.ssrc)) >= 3 and bool(self.viewer.messages)
        )


STAGE = Stage()


@given(st.lists(st.tuples(JUNK, st.sampled_from(["stranger", "host", "viewer"])), max_size=20))
def test_any_datagrams_from_anyone(datagrams: list[tuple[bytes, str]]) -> None:
    addresses = {"stranger": STRANGER, "host": STAGE.host.address, "viewer": STAGE.viewer.address}
    core = STAGE.world.core
    core.receive_batch([(data, addresses[who], STAGE.world.now) for data, who in datagrams], STAGE.world.now)
    for egress in core.egress(STAGE.world.now):
        assert egress.address != STRANGER
    assert STAGE.still_plays()


@given(st.data(), st.sampled_from(["stranger", "host"]))
def test_damaged_copies_of_what_a_member_sends(data: st.DataObject, who: str) -> None:
    world, host = STAGE.world, STAGE.host
    STAGE.source.frame()
    host.send_data(0, 53, b"x" * 50, world.now)
    host.send_raw(host.check())
    genuine = [d for d, _, _ in host.take_output(world.now)]
    victim = bytearray(data.draw(st.sampled_from(genuine)))
    for _ in range(data.draw(st.integers(1, 4))):
        victim[data.draw(st.integers(0, len(victim) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(1, len(victim)))
    source = STRANGER if who == "stranger" else host.address
    world.core.receive_batch(
        [(bytes(victim), source, world.now), (bytes(victim[:cut]), source, world.now)], world.now
    )
    world.core.receive_batch([(d, host.address, world.now) for d in genuine], world.now)
    world.run(0.05)
    assert STAGE.still_plays()


@given(st.binary(max_size=300), st.binary(max_size=60), st.integers(0, 127))
def test_authentic_but_senseless_media_and_reports(payload: bytes, report: bytes, payload_type: int) -> None:
    world, host = STAGE.world, STAGE.host
    index = STAGE.source.index
    STAGE.source.index += 1
    if not 64 <= payload_type <= 95:  # those are RTCP on the wire
        header = build_header(
            payload_type=payload_type, sequence_number=index & 0xFFFF, timestamp=0, ssrc=VIDEO_SSRC
        )
        host.send_rtp(header, payload, VIDEO_SSRC, index)
    for head in (b"\x81\xc8", b"\x81\xc9", b"\x8f\xcd", b"\x81\xce", b"\x84\xce", b"\x81\xcd", b"\x8f\xce"):
        words = (len(report) + 3) // 4 + 1
        body = STAGE.ssrc.to_bytes(4, "big") + report + bytes(-len(report) % 4)
        packet = head + words.to_bytes(2, "big") + body
        host.send_rtcp(packet)
        STAGE.viewer.send_rtcp(packet)
    world.run(0.1)
    assert STAGE.still_plays()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


def altered(base: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Sound parameters with something senseless in the place of some."""
    return st.dictionaries(st.sampled_from(sorted(base)), JSON, max_size=3).map(
        lambda change: {**base, **change}
    )


@settings(max_examples=60)
@given(
    altered(video_parameters()),
    altered(viewer_capabilities()),
    altered({"role": "client", "fingerprints": []}),
    altered({"streamId": 3, "ordered": True, "maxRetransmits": 1}),
)
def test_any_parameters_are_taken_or_refused(
    rtp: dict[str, Any], capabilities: dict[str, Any], dtls: dict[str, Any], stream: dict[str, Any]
) -> None:
    world = World()
    core: MediaCore = world.core
    core.create_transport("room", "t")
    core.create_transport("room", "u")
    requests: list[Callable[[], object]] = [
        lambda: core.connect_transport("t", dtls, world.now),
        lambda: core.produce("t", "p", "video", rtp, world.now),
        lambda: core.consume("u", "c", "p", capabilities, world.now),
        lambda: core.produce_data("t", "d", stream, "l", "p", world.now),
        lambda: core.consume_data("u", "dc", "d"),
    ]
    for request in requests:
        try:
            request()
        except (MediaRefused, OrtcError) as refusal:
            assert str(refusal)
    world.network.run(0.2)
    core.close(world.now)
    assert core.get_timer() is None
    assert not core.engine.tuples

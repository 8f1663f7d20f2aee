"""The answers of a worker against the wire contract, literally: ``signaling.md`` 5.1 to 5.7."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest

from sfu.ice.candidate import tcp_candidate, udp_candidate
from sfu.media.capabilities import router_capabilities
from sfu.media.core import MediaCore
from sfu.media.errors import MediaRefused
from sfu.media.parameters import OrtcError, to_json
from tests.media.test_ortc import CHROME_AUDIO, CHROME_FEEDBACK, CHROME_VIDEO
from tests.support.peer import CERTIFICATE
from tests.support.world import World, video_parameters

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
DEPENDENCY = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
ORIENTATION = "urn:3gpp:video-orientation"
OFFSET = "urn:ietf:params:rtp-hdrext:toffset"
CAPTURE_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
PACKET_ID = "urn:mediasoup:params:rtp-hdrext:packet-id"

EXTENSIONS = [  # 5.1, in this order
    ("audio", MID, 1, "sendrecv"),
    ("video", MID, 1, "sendrecv"),
    ("video", RID, 2, "recvonly"),
    ("video", REPAIRED_RID, 3, "recvonly"),
    ("audio", ABS_SEND_TIME, 4, "sendrecv"),
    ("video", ABS_SEND_TIME, 4, "sendrecv"),
    ("audio", TRANSPORT_CC, 5, "recvonly"),
    ("video", TRANSPORT_CC, 5, "sendrecv"),
    ("audio", AUDIO_LEVEL, 6, "sendrecv"),
    ("video", DEPENDENCY, 7, "recvonly"),
    ("video", ORIENTATION, 8, "sendrecv"),
    ("video", OFFSET, 9, "sendrecv"),
    ("audio", CAPTURE_TIME, 10, "sendrecv"),
    ("video", CAPTURE_TIME, 10, "sendrecv"),
    ("audio", PLAYOUT_DELAY, 11, "sendrecv"),
    ("video", PLAYOUT_DELAY, 11, "sendrecv"),
    ("audio", PACKET_ID, 12, "sendrecv"),
    ("video", PACKET_ID, 12, "sendrecv"),
]


def device_capabilities() -> dict[str, Any]:
    """What Chrome's Device makes of the reference's router: every feedback and extension that it knows."""
    known = {MID, ABS_SEND_TIME, TRANSPORT_CC, AUDIO_LEVEL, ORIENTATION, OFFSET, CAPTURE_TIME, PLAYOUT_DELAY}
    return {
        "codecs": [
            {
                "kind": "audio",
                "mimeType": "audio/opus",
                "clockRate": 48000,
                "channels": 2,
                "preferredPayloadType": 100,
                "parameters": {"minptime": 10, "useinbandfec": 1},
                "rtcpFeedback": [
                    {"type": "transport-cc", "parameter": ""},
                    {"type": "nack", "parameter": ""},
                ],
            },
            {
                "kind": "video",
                "mimeType": "video/VP9",
                "clockRate": 90000,
                "preferredPayloadType": 101,
                "parameters": {"profile-id": 0},
                "rtcpFeedback": CHROME_FEEDBACK,
            },
            {
                "kind": "video",
                "mimeType": "video/rtx",
                "clockRate": 90000,
                "preferredPayloadType": 102,
                "parameters": {"apt": 101},
                "rtcpFeedback": [],
            },
        ],
        "headerExtensions": [
            # Ids collide in the client library's table: what audio and video share is listed as video's only.
            {
                "kind": kind,
                "uri": uri,
                "preferredId": number,
                "preferredEncrypt": False,
                "direction": "recvonly",
            }
            for kind, uri, number, _ in EXTENSIONS
            if uri in known and (kind == "video" or uri == AUDIO_LEVEL)
        ],
    }


def test_the_routers_header_extensions() -> None:
    rows = to_json(router_capabilities())["headerExtensions"]
    assert rows == [
        {"kind": kind, "uri": uri, "preferredId": number, "preferredEncrypt": False, "direction": direction}
        for kind, uri, number, direction in EXTENSIONS
    ]


def test_transport_info() -> None:
    core = MediaCore(
        certificate=CERTIFICATE,
        capabilities=router_capabilities(),
        candidates=[udp_candidate("192.0.2.1", 20000), tcp_candidate("192.0.2.1", 20001)],
        wall_offset=0.0,
    )
    core.create_router("room")
    info = core.create_transport("room", "b7e0c8f4-51a1-4d0c-9a3e-0a8f6c1d2e3f")
    ice = info["iceParameters"]
    assert re.fullmatch("[0-9a-z]{32}", ice["usernameFragment"])
    assert re.fullmatch("[0-9a-z]{32}", ice["password"])
    assert info == {
        "id": "b7e0c8f4-51a1-4d0c-9a3e-0a8f6c1d2e3f",
        "iceParameters": {**ice, "iceLite": True},
        "iceCandidates": [
            {
                "foundation": "udpcandidate",
                "priority": 1076558079,
                "ip": "192.0.2.1",
                "address": "192.0.2.1",
                "protocol": "udp",
                "port": 20000,
                "type": "host",
            },
            {
                "foundation": "tcpcandidate",
                "priority": 1076276479,
                "ip": "192.0.2.1",
                "address": "192.0.2.1",
                "protocol": "tcp",
                "port": 20001,
                "type": "host",
                "tcpType": "passive",
            },
        ],
        "dtlsParameters": {"role": "auto", "fingerprints": info["dtlsParameters"]["fingerprints"]},
        "sctpParameters": {
            "port": 5000,
            "OS": 1024,
            "MIS": 1024,
            "maxMessageSize": 262144,
            "sendBufferSize": 262144,
            "sctpBufferedAmount": 0,
            "isDataChannel": True,
        },
    }
    fingerprints = {f["algorithm"]: f["value"] for f in info["dtlsParameters"]["fingerprints"]}
    assert set(fingerprints) == {"sha-1", "sha-224", "sha-256", "sha-384", "sha-512"}
    for algorithm, value in fingerprints.items():
        digest = hashlib.new(algorithm.replace("-", ""), CERTIFICATE.der).hexdigest().upper()
        assert value.replace(":", "") == digest
    assert ice != core.restart_ice(info["id"], 0.0)


@pytest.mark.parametrize(
    ("role", "ours"), [("client", "SERVER"), ("server", "CLIENT"), ("auto", "CLIENT"), (None, "CLIENT")]
)
def test_the_peers_dtls_role_decides_ours(role: str | None, ours: str) -> None:
    world = World()
    transport_id, peer = world.join(connect=False)
    parameters = {**peer.dtls_parameters, "role": role}
    if role is None:
        del parameters["role"]
    world.core.connect_transport(transport_id, parameters, world.now)
    dtls = world.core._transports[transport_id].wire.dtls
    assert dtls is not None
    assert dtls.role.name == ours


def test_the_video_example() -> None:
    world = World()
    host_id, _ = world.join(connect=False)
    viewer_id, _ = world.join(connect=False)
    world.core.produce(host_id, "p", "video", CHROME_VIDEO, world.now)
    answer = world.core.consume(viewer_id, "c", "p", device_capabilities(), world.now)
    ssrc = answer["rtpParameters"]["encodings"][0]["ssrc"]
    assert answer == {
        "id": "c",
        "producerId": "p",
        "kind": "video",
        "rtpParameters": {
            "codecs": [
                {
                    "mimeType": "video/VP9",
                    "payloadType": 101,
                    "clockRate": 90000,
                    "parameters": {"profile-id": 0},
                    "rtcpFeedback": [
                        {"type": "transport-cc", "parameter": ""},
                        {"type": "ccm", "parameter": "fir"},
                        {"type": "nack", "parameter": ""},
                        {"type": "nack", "parameter": "pli"},
                    ],
                },
                {
                    "mimeType": "video/rtx",
                    "payloadType": 102,
                    "clockRate": 90000,
                    "parameters": {"apt": 101},
                    "rtcpFeedback": [],
                },
            ],
            "headerExtensions": [
                {"uri": uri, "id": number, "encrypt": False, "parameters": {}}
                for uri, number in [
                    (MID, 1),
                    (ABS_SEND_TIME, 4),
                    (TRANSPORT_CC, 5),
                    (ORIENTATION, 8),
                    (OFFSET, 9),
                    (CAPTURE_TIME, 10),
                    (PLAYOUT_DELAY, 11),
                ]
            ],
            "encodings": [{"ssrc": ssrc, "rtx": {"ssrc": ssrc + 1}}],
            "rtcp": {"cname": "abc", "reducedSize": True},
            "mid": "0",
        },
    }
    again = world.core.consume(viewer_id, "c2", "p", device_capabilities(), world.now)
    assert again["rtpParameters"]["mid"] == "1"
    assert again["rtpParameters"]["encodings"][0]["ssrc"] not in (ssrc, ssrc + 1)


def test_the_audio_example() -> None:
    world = World()
    host_id, _ = world.join(connect=False)
    viewer_id, _ = world.join(connect=False)
    world.core.produce(host_id, "p", "audio", CHROME_AUDIO, world.now)
    parameters = world.core.consume(viewer_id, "c", "p", device_capabilities(), world.now)["rtpParameters"]
    assert parameters["codecs"] == [
        {
            "mimeType": "audio/opus",
            "payloadType": 100,
            "clockRate": 48000,
            "channels": 2,
            "parameters": {"minptime": 10, "useinbandfec": 1, "sprop-stereo": 1},
            "rtcpFeedback": [],
        }
    ]
    assert [e["id"] for e in parameters["headerExtensions"]] == [1, 4, 6, 10, 11]
    [encoding] = parameters["encodings"]
    assert set(encoding) == {"ssrc"}


def test_one_cname_for_all_of_a_transport() -> None:
    world = World()
    host_id, other_id, viewer_id = [world.join(connect=False)[0] for _ in range(3)]
    world.core.produce(host_id, "first", "audio", CHROME_AUDIO, world.now)
    world.core.produce(host_id, "second", "video", {**CHROME_VIDEO, "rtcp": {"cname": "other"}}, world.now)
    nameless = {k: v for k, v in CHROME_VIDEO.items() if k != "rtcp"}
    world.core.produce(other_id, "nameless", "video", nameless, world.now)

    def cname(producer_id: str) -> str:
        answer = world.core.consume(viewer_id, f"c-{producer_id}", producer_id, device_capabilities(), 0.0)
        return str(answer["rtpParameters"]["rtcp"]["cname"])

    assert cname("first") == cname("second") == "abc"
    assert re.fullmatch("[0-9a-f]{8}", cname("nameless"))


@pytest.mark.parametrize("cname", ["", "two words", "line\r\na=inactive", "naïve", "x" * 256])
def test_a_cname_that_cannot_stand_in_sdp_is_replaced(cname: str) -> None:
    # Chromium sends "" with simulcast; a viewer that is told so again makes SDP that its browser refuses.
    world = World()
    host_id, viewer_id = [world.join(connect=False)[0] for _ in range(2)]
    world.core.produce(host_id, "p", "video", {**CHROME_VIDEO, "rtcp": {"cname": cname}}, world.now)
    answer = world.core.consume(viewer_id, "c", "p", device_capabilities(), world.now)
    assert re.fullmatch("[0-9a-f]{8}", answer["rtpParameters"]["rtcp"]["cname"])


H265 = {"mimeType": "video/H265", "payloadType": 98, "clockRate": 90000}


@pytest.mark.contract("D85")
@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"codecs": [H265]}, "unsupported codec [mimeType:video/H265, payloadType:98]"),
        (
            {"codecs": [{**CHROME_VIDEO["codecs"][0], "parameters": {"profile-id": 2}}]},
            "unsupported codec [mimeType:video/VP9, payloadType:98]",
        ),
        (
            {"codecs": [{**CHROME_VIDEO["codecs"][0], "parameters": {"x": "1\r\na=inactive"}}]},
            "invalid codec.parameters",
        ),
        ({}, "invalid parameters: Object missing required field `codecs`"),
    ],
)
def test_what_cannot_be_produced(parameters: dict[str, Any], error: str) -> None:
    world = World()
    transport_id, _ = world.join(connect=False)
    with pytest.raises(OrtcError) as refusal:
        world.core.produce(transport_id, "p", "video", parameters, world.now)
    assert str(refusal.value) == error


@pytest.mark.contract("D72")
@pytest.mark.parametrize(
    ("capabilities", "cause"),
    [
        ({}, "sent is video/VP9; received could be nothing"),
        ({"codecs": 5}, "rtpCapabilities: invalid parameters: Expected `array`, got `int` - at `$.codecs`"),
        (
            {"codecs": [{"kind": "video", "mimeType": "video/VP8", "clockRate": 90000}]},
            "sent is video/VP9; received could be video/VP8",
        ),
        # One that retransmits what it cannot decode
        (
            {"codecs": [{"kind": "video", "mimeType": "video/rtx", "clockRate": 90000}]},
            "sent is video/VP9; received could be video/rtx",
        ),
    ],
)
def test_what_cannot_be_consumed_and_why(capabilities: dict[str, Any], cause: str) -> None:
    world = World()
    host_id, _ = world.join(connect=False)
    world.core.produce(host_id, "p", "video", video_parameters(), world.now)
    with pytest.raises(MediaRefused) as refusal:
        world.core.consume(host_id, "c", "p", capabilities, world.now)
    assert str(refusal.value) == "cannot consume"
    assert refusal.value.cause == cause


def test_a_cause_is_short() -> None:
    world = World()
    host_id, _ = world.join(connect=False)
    world.core.produce(host_id, "p", "video", video_parameters(), world.now)
    codecs = [{"kind": "video", "mimeType": "video/" + "x" * 50, "clockRate": 90000}] * 50
    with pytest.raises(MediaRefused) as refusal:
        world.core.consume(host_id, "c", "p", {"codecs": codecs}, world.now)
    assert len(refusal.value.cause) == 200


@pytest.mark.parametrize(
    ("sent", "relayed"),
    [
        ({"streamId": 7}, {"ordered": True}),
        ({"streamId": 7, "ordered": False}, {"ordered": False}),
        ({"streamId": 7, "maxPacketLifeTime": 3000}, {"ordered": False, "maxPacketLifeTime": 3000}),
        ({"streamId": 7, "maxRetransmits": 0}, {"ordered": False, "maxRetransmits": 0}),
        (
            {"streamId": 7, "ordered": False, "maxPacketLifeTime": 3000},
            {"ordered": False, "maxPacketLifeTime": 3000},
        ),
    ],
)
def test_a_data_consumer_is_ordered_and_reliable_as_its_producer(
    sent: dict[str, Any], relayed: dict[str, Any]
) -> None:
    world = World()
    player_id, host_id = world.join(connect=False)[0], world.join(connect=False)[0]
    world.core.produce_data(player_id, "d", sent, "netplay-input", "", world.now)
    assert world.core.consume_data(host_id, "dc", "d") == {
        "id": "dc",
        "dataProducerId": "d",
        "sctpStreamParameters": {"streamId": 0, **relayed},
        "label": "netplay-input",
        "protocol": "",
    }


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({}, "missing params.streamId"),
        ({"streamId": -1}, "invalid params.streamId"),
        ({"streamId": 1024}, "invalid params.streamId"),
        ({"streamId": "1"}, "invalid parameters: Expected `int`, got `str` - at `$.streamId`"),
        (
            {"streamId": 1, "maxPacketLifeTime": 1, "maxRetransmits": 1},
            "cannot provide both maxPacketLifeTime and maxRetransmits",
        ),
        (
            {"streamId": 1, "ordered": True, "maxRetransmits": 1},
            "cannot be ordered with maxPacketLifeTime or maxRetransmits",
        ),
        (
            {"streamId": 1, "ordered": True, "maxPacketLifeTime": 1},
            "cannot be ordered with maxPacketLifeTime or maxRetransmits",
        ),
        ({"streamId": 1, "maxRetransmits": 70000}, "invalid params.maxRetransmits"),
    ],
)
def test_bad_stream_parameters(parameters: dict[str, object], error: str) -> None:
    world = World()
    transport_id, _ = world.join(connect=False)
    with pytest.raises(OrtcError) as refusal:
        world.core.produce_data(transport_id, "p", parameters, "", "", world.now)
    assert str(refusal.value) == error

"""Negotiation against the wire contract: exact answers for what a real Chrome sends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.capabilities import HEADER_EXTENSIONS, router_capabilities
from sfu.media.ortc import (
    RtpMapping,
    can_consume,
    consumable_parameters,
    consumer_parameters,
    producer_mapping,
    validate_rtp_parameters,
)
from sfu.media.parameters import (
    OrtcError,
    RtpCapabilities,
    RtpParameters,
    decode_untrusted,
    to_json,
)

CHROME_FEEDBACK = [
    {"type": "goog-remb", "parameter": ""},
    {"type": "transport-cc", "parameter": ""},
    {"type": "ccm", "parameter": "fir"},
    {"type": "nack", "parameter": ""},
    {"type": "nack", "parameter": "pli"},
]
CHROME_VIDEO: dict[str, Any] = {
    "mid": "0",
    "codecs": [
        {
            "mimeType": "video/VP9",
            "payloadType": 98,
            "clockRate": 90000,
            "parameters": {"profile-id": 0},
            "rtcpFeedback": CHROME_FEEDBACK,
        },
        {
            "mimeType": "video/rtx",
            "payloadType": 99,
            "clockRate": 90000,
            "parameters": {"apt": 98},
            "rtcpFeedback": [],
        },
    ],
    "headerExtensions": [
        {"uri": "urn:ietf:params:rtp-hdrext:sdes:mid", "id": 9, "encrypt": False, "parameters": {}},
        {
            "uri": "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            "id": 4,
            "encrypt": False,
            "parameters": {},
        },
    ],
    "encodings": [{"ssrc": 1111, "rtx": {"ssrc": 2222}, "dtx": False, "active": True}],
    "rtcp": {"cname": "abc", "reducedSize": True},
    "msid": "stream track",
}
CHROME_AUDIO: dict[str, Any] = {
    "mid": "1",
    "codecs": [
        {
            "mimeType": "audio/opus",
            "payloadType": 111,
            "clockRate": 48000,
            "channels": 2,
            "parameters": {"minptime": 10, "useinbandfec": 1, "sprop-stereo": 1},
            "rtcpFeedback": [{"type": "transport-cc", "parameter": ""}],
        }
    ],
    "headerExtensions": [{"uri": "urn:ietf:params:rtp-hdrext:sdes:mid", "id": 9}],
    "encodings": [{"ssrc": 3333, "dtx": False}],
    "rtcp": {"cname": "abc"},
}


def vp9_only() -> RtpCapabilities:
    return router_capabilities(["VP9"])


def chrome_capabilities(router: RtpCapabilities) -> RtpCapabilities:
    """What a Device in Chrome answers to that router: its extensions, without kinds it cannot tell apart."""
    json = to_json(router)
    json["headerExtensions"] = [
        {**e, "direction": "recvonly"}
        for e in json["headerExtensions"]
        if e["direction"] == "sendrecv" and "packet-id" not in e["uri"]
    ]
    for codec in json["codecs"]:
        if codec["mimeType"] == "video/VP9":
            codec["parameters"] = {"profile-id": 0}
        if codec["kind"] == "audio":
            codec["rtcpFeedback"] = [{"type": "transport-cc", "parameter": ""}]
    return decode_untrusted(json, RtpCapabilities)


def negotiate(kind: Any, json: dict[str, Any], router: RtpCapabilities) -> tuple[RtpMapping, RtpParameters]:
    parameters = validate_rtp_parameters(kind, decode_untrusted(json, RtpParameters))
    mapping = producer_mapping(parameters, router, 1000)
    return mapping, consumable_parameters(kind, parameters, router, mapping, "abc")


def test_router_capabilities_are_the_contract() -> None:
    json = to_json(vp9_only())
    assert json["codecs"] == [
        {
            "kind": "audio",
            "mimeType": "audio/opus",
            "clockRate": 48000,
            "channels": 2,
            "rtcpFeedback": [
                {"type": "nack", "parameter": ""},
                {"type": "transport-cc", "parameter": ""},
            ],
            "parameters": {"useinbandfec": 1, "stereo": 1},
            "preferredPayloadType": 100,
        },
        {
            "kind": "video",
            "mimeType": "video/VP9",
            "clockRate": 90000,
            "rtcpFeedback": [
                {"type": "nack", "parameter": ""},
                {"type": "nack", "parameter": "pli"},
                {"type": "ccm", "parameter": "fir"},
                {"type": "goog-remb", "parameter": ""},
                {"type": "transport-cc", "parameter": ""},
            ],
            "parameters": {},
            "preferredPayloadType": 101,
        },
        {
            "kind": "video",
            "mimeType": "video/rtx",
            "preferredPayloadType": 102,
            "clockRate": 90000,
            "parameters": {"apt": 101},
            "rtcpFeedback": [],
        },
    ]
    assert len(json["headerExtensions"]) == 18
    assert json["headerExtensions"][0] == {
        "kind": "audio",
        "uri": "urn:ietf:params:rtp-hdrext:sdes:mid",
        "preferredId": 1,
        "preferredEncrypt": False,
        "direction": "sendrecv",
    }


@pytest.mark.contract("M16")
def test_default_codec_order() -> None:
    codecs = router_capabilities().codecs
    assert [(c.mime_type, c.preferred_payload_type) for c in codecs] == [
        ("audio/opus", 100),
        ("video/VP9", 101),
        ("video/rtx", 102),
        ("video/H264", 103),
        ("video/rtx", 104),
        ("video/VP8", 105),
        ("video/rtx", 106),
        ("video/AV1", 107),
        ("video/rtx", 108),
    ]


def test_unknown_codec_setting_says_what_to_choose() -> None:
    with pytest.raises(OrtcError, match="unknown video codec 'H265': choose from VP9, H264, VP8, AV1"):
        router_capabilities(["H265"])


def test_chrome_video_consumer() -> None:
    router = vp9_only()
    mapping, consumable = negotiate("video", CHROME_VIDEO, router)
    assert mapping.payload_types == {98: 101, 99: 102}
    assert [(e.ssrc, e.mapped_ssrc, e.rtx_ssrc) for e in mapping.encodings] == [(1111, 1000, 2222)]
    json = to_json(
        consumer_parameters(
            "video", consumable, chrome_capabilities(router), ssrc=204648717, rtx_ssrc=204648718, mid="0"
        )
    )
    assert json["codecs"] == [
        {
            "mimeType": "video/VP9",
            "payloadType": 101,
            "clockRate": 90000,
            "parameters": {"profile-id": 0},
            "rtcpFeedback": [
                {"type": "nack", "parameter": ""},
                {"type": "nack", "parameter": "pli"},
                {"type": "ccm", "parameter": "fir"},
                {"type": "transport-cc", "parameter": ""},
            ],
        },
        {
            "mimeType": "video/rtx",
            "payloadType": 102,
            "clockRate": 90000,
            "parameters": {"apt": 101},
            "rtcpFeedback": [],
        },
    ]
    assert [e["id"] for e in json["headerExtensions"]] == [1, 4, 5, 8, 9, 10, 11]
    assert json["headerExtensions"][0] == {
        "uri": "urn:ietf:params:rtp-hdrext:sdes:mid",
        "id": 1,
        "encrypt": False,
        "parameters": {},
    }
    assert json["encodings"] == [{"ssrc": 204648717, "rtx": {"ssrc": 204648718}}]
    assert json["rtcp"] == {"cname": "abc", "reducedSize": True}
    assert json["mid"] == "0"


def test_chrome_audio_consumer() -> None:
    router = vp9_only()
    _, consumable = negotiate("audio", CHROME_AUDIO, router)
    json = to_json(
        consumer_parameters("audio", consumable, chrome_capabilities(router), ssrc=5, rtx_ssrc=6, mid="1")
    )
    assert json["codecs"] == [
        {
            "mimeType": "audio/opus",
            "payloadType": 100,
            "clockRate": 48000,
            "channels": 2,
            "parameters": {"minptime": 10, "useinbandfec": 1, "sprop-stereo": 1},
            "rtcpFeedback": [],
        }
    ]
    assert [e["id"] for e in json["headerExtensions"]] == [1, 4, 6, 10, 11]
    assert json["encodings"] == [{"ssrc": 5}]


def test_bandwidth_feedback_follows_the_extensions() -> None:
    router = vp9_only()
    _, consumable = negotiate("video", CHROME_VIDEO, router)
    capabilities = chrome_capabilities(router)

    def feedback(*without: int) -> set[str]:
        capabilities.header_extensions = [
            e for e in chrome_capabilities(router).header_extensions if e.preferred_id not in without
        ]
        parameters = consumer_parameters("video", consumable, capabilities, ssrc=1, rtx_ssrc=2, mid="0")
        return {f.type for f in parameters.codecs[0].rtcp_feedback} - {"nack", "ccm"}

    assert feedback() == {"transport-cc"}
    assert feedback(5) == {"goog-remb"}
    assert feedback(4, 5) == set()


def test_extension_must_match_by_uri_and_id() -> None:
    router = vp9_only()
    _, consumable = negotiate("video", CHROME_VIDEO, router)
    capabilities = chrome_capabilities(router)
    for extension in capabilities.header_extensions:
        extension.preferred_id += 1
    parameters = consumer_parameters("video", consumable, capabilities, ssrc=1, rtx_ssrc=2, mid="0")
    assert parameters.header_extensions == []


def test_several_encodings_become_one() -> None:
    json = {
        **CHROME_VIDEO,
        "encodings": [
            {"rid": "r0", "maxBitrate": 900000, "scalabilityMode": "L1T3"},
            {"rid": "r1", "maxBitrate": 2500000, "scalabilityMode": "L1T3"},
        ],
    }
    mapping, consumable = negotiate("video", json, vp9_only())
    assert [(e.rid, e.mapped_ssrc) for e in mapping.encodings] == [("r0", 1000), ("r1", 1001)]
    parameters = consumer_parameters(
        "video", consumable, chrome_capabilities(vp9_only()), ssrc=1, rtx_ssrc=2, mid="0"
    )
    assert to_json(parameters)["encodings"] == [
        {"ssrc": 1, "rtx": {"ssrc": 2}, "scalabilityMode": "L2T3", "maxBitrate": 2500000.0}
    ]


def test_who_cannot_decode_cannot_consume() -> None:
    _, consumable = negotiate("video", CHROME_VIDEO, vp9_only())
    assert can_consume(consumable, chrome_capabilities(vp9_only()))
    assert not can_consume(consumable, RtpCapabilities())
    only_vp8 = router_capabilities(["VP8"])
    assert not can_consume(consumable, only_vp8)
    with pytest.raises(OrtcError, match="cannot consume"):
        consumer_parameters("video", consumable, only_vp8, ssrc=1, rtx_ssrc=2, mid="0")


@pytest.mark.parametrize(
    ("parameters", "works"),
    [
        ({"packetization-mode": 1, "profile-level-id": "42e01f"}, True),
        ({"packetization-mode": 1, "profile-level-id": "42e034"}, True),
        ({"packetization-mode": "1", "profile-level-id": "42e01f"}, True),
        ({"packetization-mode": 1, "profile-level-id": "42001f"}, False),
        ({"packetization-mode": 1, "profile-level-id": "4d001f"}, False),
        ({"packetization-mode": 0, "profile-level-id": "42e01f"}, False),
        ({"packetization-mode": 1, "profile-level-id": "junk"}, False),
        ({"packetization-mode": "x", "profile-level-id": "42e01f"}, False),
    ],
)
def test_h264_profiles(parameters: dict[str, Any], works: bool) -> None:
    codec = {"mimeType": "video/H264", "payloadType": 96, "clockRate": 90000, "parameters": parameters}
    if works:
        mapping, _ = negotiate("video", {"codecs": [codec]}, router_capabilities())
        assert mapping.payload_types == {96: 103}
    else:
        with pytest.raises(OrtcError, match=r"unsupported codec \[mimeType:video/H264, payloadType:96\]"):
            negotiate("video", {"codecs": [codec]}, router_capabilities())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codecs": []}, "codecs is empty"),
        ({"codecs": [{"mimeType": "video/VP9", "payloadType": 128, "clockRate": 90000}]}, "payloadType"),
        ({"codecs": [{"mimeType": "vp9", "payloadType": 98, "clockRate": 90000}]}, "mimeType"),
        ({"codecs": [{"mimeType": "audio/opus", "payloadType": 98, "clockRate": 48000}]}, "does not match"),
        ({"codecs": [{"mimeType": "video/rtx", "payloadType": 98, "clockRate": 90000}]}, "apt"),
        ({"codecs": [{"mimeType": "video/VP9", "payloadType": 98, "clockRate": 0}]}, "clockRate"),
        ({"encodings": [{"ssrc": 0}]}, "ssrc"),
        ({"encodings": [{"ssrc": 7}, {"ssrc": 7}]}, "ssrc"),
        ({"encodings": [{"ssrc": 7, "rtx": {"ssrc": 7}}]}, "ssrc"),
        ({"encodings": [{"rid": ""}]}, "rid"),
        ({"encodings": [{}, {}]}, "needs an ssrc or a rid"),
        ({"encodings": [{"ssrc": i + 1} for i in range(9)]}, "length <= 8"),
        ({"headerExtensions": [{"uri": "u", "id": 0}]}, "headerExtension id"),
        ({"headerExtensions": [{"uri": "u", "id": 1, "encrypt": True}]}, "encrypted"),
    ],
)
def test_bad_parameters_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(OrtcError, match=message):
        negotiate("video", {**CHROME_VIDEO, **change}, vp9_only())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(["codecs", "headerExtensions", "encodings", "rtcp", "mid"])


@given(st.dictionaries(FIELDS, JSON, max_size=3))
def test_any_json_negotiates_or_raises_its_one_error(change: dict[str, Any]) -> None:
    try:
        negotiate("video", {**CHROME_VIDEO, **change}, vp9_only())
    except OrtcError as error:
        assert str(error)


@given(st.permutations(range(len(HEADER_EXTENSIONS))), st.booleans())
def test_order_of_capabilities_does_not_matter(order: list[int], backwards: bool) -> None:
    router = vp9_only()
    _, consumable = negotiate("video", CHROME_VIDEO, router)
    capabilities = chrome_capabilities(router)
    capabilities.header_extensions.sort(key=lambda e: order[e.preferred_id])
    if backwards:
        capabilities.codecs.reverse()
    parameters = consumer_parameters("video", consumable, capabilities, ssrc=1, rtx_ssrc=2, mid="0")
    assert [c.payload_type for c in parameters.codecs] == [101, 102]
    assert [e.id for e in parameters.header_extensions] == [1, 4, 5, 8, 9, 10, 11]

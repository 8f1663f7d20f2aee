"""Session ids that say which node opened them."""

from __future__ import annotations

import json

import pytest

from sfu.signaling.settings import SignalingSettings
from tests.signaling.harness import POLLING, Recorder, open_house

LABELLED = SignalingSettings(sid_prefix="node-1.")


async def test_a_session_id_begins_with_the_prefix(autojump_clock: object) -> None:
    async with open_house(Recorder(), LABELLED) as house:
        polled = json.loads((await house.client().get(POLLING)).body[1:])["sid"]
        async with house.connected_websocket() as ws:
            for sid in (polled, ws.sid):
                prefix, secret = sid[:7], sid[7:]
                assert prefix == "node-1."
                assert len(secret) == 20
        assert polled != ws.sid


async def test_the_prefix_alone_is_nobody(autojump_clock: object) -> None:
    async with open_house(Recorder(), LABELLED) as house:
        poller = await house.connect_polling()
        assert (await house.client().get(f"{POLLING}&sid=node-1.")).status == 400
        assert (await poller.post("2")).status == 200


@pytest.mark.parametrize("prefix", ["a b", "a/", "ä.", "a&sid=", "%41", "a\n"])
def test_a_prefix_goes_into_urls_as_it_is(prefix: str) -> None:
    with pytest.raises(ValueError, match="sid_prefix"):
        SignalingSettings(sid_prefix=prefix)

"""Any environment gives a list that browsers take, and warnings without passwords."""

from __future__ import annotations

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.romm.test_tokens import json_values
from sfu.iceservers import ice_servers

words = st.text(max_size=30) | st.sampled_from(["a", "stun:a", "turn:b:5", "turns:[::1]:1", "//c", "x://y"])
texts = st.lists(words, max_size=4).map(" ,".join)
entries = st.fixed_dictionaries(
    {}, optional={"urls": texts | st.lists(texts | json_values), "username": json_values, "credential": words}
)
json_texts = (
    texts
    | json_values.map(lambda value: msgspec.json.encode(value).decode())
    | st.lists(entries, max_size=3).map(lambda value: msgspec.json.encode(value).decode())
)
PASSWORD = "hunter2-correct-horse"


@given(stun=texts, turn=json_texts, server=texts, user=words)
@example(stun="\x1f", turn="", server="", user="")
def test_any_environment(stun: str, turn: str, server: str, user: str) -> None:
    environ = {
        "SFU_STUN_SERVERS": stun,
        "SFU_TURN_SERVERS": turn,
        "SFU_TURN_SERVER1": server,
        "SFU_TURN_USER1": user,
        "SFU_TURN_PASS1": PASSWORD,
        "SFU_TURN_PASS2": PASSWORD,
    }
    servers, warnings = ice_servers(environ)
    for entry in servers:
        value = entry.to_json()
        urls = [value["urls"]] if isinstance(value["urls"], str) else value["urls"]
        assert urls
        for url in urls:
            scheme, _, rest = url.partition(":")
            assert rest.isascii()
            assert rest
            assert not set(rest) & set(" ,/@\t\r\n")
            assert scheme.lower() in (("stun", "stuns") if "username" not in value else ("turn", "turns"))
        if "username" in value:
            assert value["username"]
            assert value["credential"]
            assert isinstance(value["username"], str)
            assert isinstance(value["credential"], str)
        msgspec.json.encode(value)
    assert not any(PASSWORD in warning or "\n" in warning for warning in warnings)

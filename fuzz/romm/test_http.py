"""Requests: nothing that a client sends makes the mapping raise, and junk is answered with 4xx."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.romm.test_tokens import json_values
from sfu.romm.http import RommRequest, RommResponse
from sfu.romm.identity import COOKIE, GuestIdentify
from sfu.romm.records import EXTRA_FIELDS
from tests.romm.support import SECRET, Side

T = TypeVar("T")
PATHS = [
    "/api/sfu/token",
    "/api/sfu/ice",
    "/api/sfu/internal/verify",
    "/api/sfu/internal/rooms/upsert",
    "/api/sfu/internal/rooms/delete",
    "/api/sfu/internal/rooms/resolve",
    "/api/sfu/internal/rooms/list",
    "/api/sfu/internal/revoke",
]
FIELDS = [
    "token_type",
    "name",
    "token",
    "consume",
    "room_name",
    "current",
    "max",
    "hasPassword",
    "nodeId",
    "if_absent",
    "force",
    "sub",
]

bodies = (
    st.binary(max_size=100)
    | json_values.map(msgspec.json.encode)
    | st.dictionaries(
        st.sampled_from([*FIELDS, "url", "updatedAt", "model_config", "__class__", *EXTRA_FIELDS]),
        json_values,
        max_size=5,
    ).map(msgspec.json.encode)
)
headers = st.dictionaries(
    st.sampled_from(["content-type", "cookie", "origin", "host", "authorization", "x-romm-sfu-secret"]),
    st.text(max_size=20)
    | st.sampled_from([SECRET, "application/json", f"{COOKIE}={'x' * 43}", "http://a", "a"]),
    max_size=4,
)


def run(awaitable: Awaitable[T]) -> T:
    """Run what never waits."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("waits")


def well_formed(response: RommResponse) -> Any:
    assert dict(response.headers)["Content-Type"] == "application/json"
    for name, value in response.headers:
        assert name.isascii()
        assert value.isascii()
        assert value.isprintable()
    return msgspec.json.decode(response.body)


@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"]) | st.text(max_size=5),
    path=st.sampled_from(PATHS) | st.text(max_size=30).map(lambda text: "/api/sfu/" + text),
    query=st.lists(st.tuples(st.sampled_from(["room", "x"]), st.text(max_size=20)), max_size=2),
    given_headers=headers,
    body=bodies,
)
@example("GET", PATHS[5], [("room", "\ud800")], {"x-romm-sfu-secret": SECRET}, b"")
@example("POST", PATHS[3], [], {"x-romm-sfu-secret": SECRET}, b'{"room_name":"' + b"x" * 1025 + b'"}')
@example("POST", PATHS[0], [], {"content-type": "\ud800"}, b"{}")
def test_any_request(
    method: str, path: str, query: list[tuple[str, str]], given_headers: dict[str, str], body: bytes
) -> None:
    side = Side(GuestIdentify())
    request = RommRequest(method, path, query, given_headers, body, "192.0.2.1")
    response = run(side.http.handle(request))
    value = well_formed(response)
    assert 200 <= response.status < 500
    if response.status != 200:
        assert set(value) == {"detail"}


@given(st.sampled_from(PATHS), bodies)
def test_junk_without_the_secret_is_refused(path: str, body: bytes) -> None:
    side = Side()
    for method in ("GET", "POST"):
        response = run(side.http.handle(RommRequest(method, path, [], {}, body, "")))
        assert 400 <= response.status < 500


@given(
    name=st.text(min_size=1, max_size=50).filter(lambda text: bool(text.strip())),
    current=st.integers(-(2**53), 2**53),
    flag=st.booleans(),
    extras=st.dictionaries(st.sampled_from(EXTRA_FIELDS), json_values.filter(lambda v: v is not None)),
)
def test_what_is_registered_is_found(name: str, current: int, flag: bool, extras: dict[str, Any]) -> None:
    side = Side()
    body = {"room_name": name, "current": current, "hasPassword": flag, **extras}
    assert run(side.internal("POST", "rooms/upsert", body)).body == b'{"ok":true}'
    headers = {"x-romm-sfu-secret": SECRET}
    resolved = well_formed(
        run(side.http.handle(RommRequest("GET", PATHS[5], [("room", name)], headers, b"", "")))
    )
    listed = well_formed(run(side.internal("GET", "rooms/list")))
    assert list(listed) == [name.strip()]
    for answer in (resolved, listed[name.strip()]):
        assert (answer["room_name"], answer["current"], answer["hasPassword"]) == (
            name.strip(),
            current,
            flag,
        )
        assert {key: answer[key] for key in extras} == extras

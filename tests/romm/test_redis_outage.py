"""RomM's side while its Redis is away, silent, strange, or about to restart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import structlog.testing
import trio
import trio.testing

from sfu.romm.port import RommUnavailable, RoomRecord, TokenRefused
from sfu.romm.redis_store import (
    CALL_TIMEOUT,
    MAX_CONNECTIONS,
    MAX_WAITING,
    open_redis_store,
)
from sfu.romm.store import StoreError
from tests.romm.support import Side, outcome
from tests.romm.test_http_tokens import read_claims, signed
from tests.support.http_server import serve_raw
from tests.support.redis_server import RedisServer

PATIENT = 60.0
"""Seconds: a time-out that a busy machine does not reach."""

pytestmark = pytest.mark.interop


async def test_no_redis_at_all() -> None:
    async with open_redis_store("redis://127.0.0.1:1", call_timeout=PATIENT) as store:
        with pytest.raises(StoreError, match="ConnectionError"):
            await store.ping()
        side = Side(store=store)
        for response in (
            await side.mint({"token_type": "write"}),
            await side.verify(signed(read_claims(type="sfu:write", jti="j"))),
            await side.internal("GET", "rooms/list"),
            await side.internal("GET", "rooms/resolve?room=a"),
            await side.internal("POST", "rooms/upsert", {"room_name": "a"}),
            await side.internal("POST", "rooms/upsert", {"room_name": "a", "if_absent": True}),
            await side.internal("POST", "rooms/delete", {"room_name": "a"}),
            await side.internal("POST", "revoke", {"sub": "a"}),
        ):
            assert outcome(response) == (503, "store unavailable")
        assert (await side.verify(await side.token("read"))).status == 200  # read tokens need no store
        assert outcome(await side.verify("junk")) == (401, "invalid token")


async def test_revocations_that_are_known_hold_while_redis_is_away(own_redis: RedisServer) -> None:
    async with (
        open_redis_store(own_redis.url, call_timeout=PATIENT) as first,
        open_redis_store(own_redis.url, call_timeout=PATIENT) as second,
    ):
        here, there = Side(store=first), Side(store=second)
        token = await here.token("read")
        assert (await here.internal("POST", "revoke", {"sub": "ann"})).status == 200
        own_redis.kill()
        assert outcome(await here.verify(token)) == (401, "token revoked")
        assert (await there.verify(token)).status == 200  # it was not there when that was said
        assert own_redis.start()
        assert (await here.verify(token)).status == 200  # Redis is empty now, and it counts
        own_redis.raw.set("sfu:auth:revoked:ann", "99999999999")
        assert outcome(await there.verify(token)) == (401, "token revoked")
        own_redis.kill()
        assert outcome(await there.verify(token)) == (401, "token revoked")
        assert (await here.verify(token)).status == 200


async def test_known_revocations_have_a_limit(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfu.romm.redis_store.MAX_REVOCATIONS", 2)
    async with open_redis_store(redis_server.url, call_timeout=PATIENT) as store:
        for sub in ("a", "b", "a", "c"):
            await store.revoke(sub, 5, 100)
        assert store._revocations.keys() == {"a", "c"}
        assert await store.revoked_before("b") == 5
        assert store._revocations.keys() == {"c", "b"}


async def test_an_outage_is_logged_once_and_its_end_too(own_redis: RedisServer) -> None:
    async with open_redis_store(own_redis.url, call_timeout=PATIENT) as store:
        with structlog.testing.capture_logs() as logs:
            await store.ping()
            own_redis.raw.config_set("min-replicas-to-write", 1)
            with pytest.raises(StoreError, match="ResponseError"):
                await store.put_room("a", "{}", 60)
            own_redis.kill()
            for _ in range(3):
                with pytest.raises(StoreError, match="ConnectionError"):
                    await store.ping()
            assert own_redis.start()
            for _ in range(2):
                await store.ping()
    assert [(line["event"], line.get("error")) for line in logs] == [
        ("Redis refused a call", "ResponseError"),
        ("Redis is away; until it is back, only read tokens work", "Redis: ConnectionError"),
        ("Redis answers again", None),
    ]


async def _silent(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        pass


async def test_a_redis_that_does_not_answer_is_given_up() -> None:
    assert CALL_TIMEOUT * 3 < 5.0  # the three calls of a verify, within what daemons wait
    async with serve_raw(_silent) as url:
        address = url.replace("http:", "redis:")
        async with open_redis_store(address, call_timeout=0.05) as store:
            for _ in range(MAX_CONNECTIONS + 1):
                with pytest.raises(StoreError, match=re.escape("within 0.05 s")):
                    await store.room("a")


async def test_waiting_calls_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_WAITING == 1024
    monkeypatch.setattr("sfu.romm.redis_store.MAX_WAITING", 3)
    async with (
        serve_raw(_silent) as url,
        open_redis_store(url.replace("http:", "redis:"), call_timeout=PATIENT) as store,
        trio.open_nursery() as nursery,
    ):
        for _ in range(3):
            nursery.start_soon(store.room, "a")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(StoreError, match="too many"):
            await store.room("a")
        nursery.cancel_scope.cancel()


async def test_connections_are_limited(redis_server: RedisServer) -> None:
    async with open_redis_store(redis_server.url, call_timeout=PATIENT) as store:
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(store.room, "a")
        clients = redis_server.raw.info("clients")["connected_clients"]
        assert 1 < clients <= MAX_CONNECTIONS + 1  # the test's own


async def test_a_cancelled_call_leaves_no_answer_behind(redis_server: RedisServer) -> None:
    """Else the next call on that connection would get the answer to the one before."""
    redis_server.raw.mset({f"sfu:room:{number}": str(number) for number in range(20)})
    async with open_redis_store(redis_server.url, call_timeout=PATIENT) as store:
        for number in range(200):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.room, str(number % 20))
                for _ in range(number % 30):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert await store.room(str((number + 7) % 20)) == str((number + 7) % 20)


@pytest.mark.parametrize(
    "answer", [b"-LOADING Redis is loading\r\n", b"-OOM\r\n", b"$5\r\nab", b"HTTP/1.1 400\r\n\r\n"]
)
async def test_a_redis_that_answers_strangely(answer: bytes) -> None:
    async def strange(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            await stream.send_all(answer)
            if answer.startswith(b"$"):
                return

    async with (
        serve_raw(strange) as url,
        open_redis_store(url.replace("http:", "redis:"), call_timeout=0.2) as store,
    ):
        for call in (store.ping, partial(store.room, "a"), partial(store.consume_token, "j"), store.rooms):
            with pytest.raises(StoreError):
                await call()


@asynccontextmanager
async def _callers(side: Side, verdicts: Counter[str], wrong: list[str]) -> AsyncIterator[None]:
    """Verify and upsert without end, and write down what cannot be right."""
    listed = await side.token("read")
    forged = signed(read_claims(), key=b"another key of thirty-two bytes.")
    room = RoomRecord("mine", 1, 4, False, "n", "u", {})

    async def verify(token: str, good: bool) -> None:
        while True:
            try:
                verified = await side.service.verify(token, consume=True)
            except TokenRefused as refused:
                verdicts["refused"] += 1
                await trio.lowlevel.checkpoint()
                if good:
                    wrong.append(str(refused))
            except RommUnavailable as unavailable:
                wrong.append(str(unavailable))  # a read token can be judged without Redis
                await trio.lowlevel.checkpoint()
            else:
                verdicts["verified"] += 1
                if not good or verified.sub != "ann":
                    wrong.append(f"verified {verified}")

    async def once() -> None:
        """Each write token passes once at most, and is refused only after that."""
        while True:
            try:
                token = await side.token("write")
            except AssertionError:
                verdicts["not minted"] += 1
                await trio.lowlevel.checkpoint()
                continue
            passed = 0
            for _ in range(3):
                try:
                    await side.service.verify(token, consume=True)
                    passed += 1
                except (TokenRefused, RommUnavailable):
                    pass
            verdicts[f"passed {passed} times"] += 1
            if passed > 1:
                wrong.append("a write token passed twice")

    async def register() -> None:
        while True:
            try:
                await side.service.upsert_room(room)
                found = await side.service.resolve_room("mine")
            except RommUnavailable:
                verdicts["registry unavailable"] += 1
                await trio.lowlevel.checkpoint()
            else:
                verdicts["registered"] += 1
                if found not in (room, None):  # None: the store was emptied between the two
                    wrong.append(f"resolved {found}")

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(verify, listed, True)
            nursery.start_soon(once)
            nursery.start_soon(register)
        nursery.start_soon(verify, forged, False)
        yield
        nursery.cancel_scope.cancel()


async def test_redis_restarts_under_load(own_redis: RedisServer) -> None:
    verdicts: Counter[str] = Counter()
    wrong: list[str] = []

    async def until(*kinds: str) -> None:
        """Until each of these has happened twenty times more."""
        for kind in kinds:
            target = verdicts[kind] + 20
            while verdicts[kind] < target:
                await trio.lowlevel.checkpoint()

    working = ("registered", "verified", "passed 1 times")
    async with (
        open_redis_store(own_redis.url, call_timeout=PATIENT) as store,
        _callers(Side(store=store), verdicts, wrong),
    ):
        for _ in range(3):
            await until(*working)
            own_redis.kill()
            await until("registry unavailable", "not minted", "verified")
            assert await trio.to_thread.run_sync(own_redis.start)
        await until(*working)
    assert not wrong
    assert verdicts["refused"]


async def test_the_first_call_after_a_restart_succeeds(own_redis: RedisServer) -> None:
    async with open_redis_store(own_redis.url, call_timeout=PATIENT) as store:
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_CONNECTIONS):
                nursery.start_soon(store.ping)
        own_redis.kill()
        assert own_redis.start()
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_CONNECTIONS):
                nursery.start_soon(store.ping)


async def test_a_read_only_redis_still_verifies_read_tokens(own_redis: RedisServer) -> None:
    own_redis.raw.config_set("min-replicas-to-write", 1)
    async with open_redis_store(own_redis.url, call_timeout=PATIENT) as store:
        side = Side(store=store)
        assert (await side.verify(await side.token("read"))).status == 200
        assert outcome(await side.mint({"token_type": "write"})) == (503, "store unavailable")


async def test_an_error_of_no_call_ends_nothing() -> None:
    async with open_redis_store("redis://127.0.0.1:1") as store:
        with structlog.testing.capture_logs() as logs:
            store._loop.call_exception_handler({"message": "lost", "exception": OSError("x")})
    [line] = logs
    assert (line["log_level"], line["message"], line["error"]) == ("warning", "lost", "OSError('x')")

"""RomM's side on a real Redis: its keys and formats, races, its users and addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import redis
import trio

from sfu.romm.port import RoomRecord
from sfu.romm.redis_store import (
    check_redis_url,
    open_redis_store,
)
from sfu.romm.store import LISTED, MAX_ROOMS, StoreError, TokenRecord
from tests.romm.support import EPOCH, Accounts, Clock, Side, User, json_of, outcome
from tests.romm.test_http_tokens import claims_of, read_claims, signed
from tests.romm.worlds import RedisWorld
from tests.support.redis_server import RedisServer

NOW = int(EPOCH)
PATIENT = 60.0
"""Seconds: a time-out that a busy machine does not reach."""


@pytest.fixture
async def redis_world(redis_server: RedisServer) -> AsyncIterator[RedisWorld]:
    async with RedisWorld.open(redis_server) as world:
        yield world


pytestmark = pytest.mark.interop


def keys(server: RedisServer) -> set[str]:
    return {key.decode() for key in server.raw.scan_iter(count=1000)}


# Keys and formats


@pytest.mark.contract("TOK-03", "TOK-04")
async def test_what_a_mint_leaves_in_redis(redis_world: RedisWorld) -> None:
    raw = redis_world.server.raw
    side = redis_world.side()
    await side.token("read")
    assert keys(redis_world.server) == set()
    claims = claims_of(await side.token("write", user="bob"))
    jti = claims["jti"]
    assert keys(redis_world.server) == {f"sfu:auth:jti:{jti}", f"sfu:auth:meta:{jti}"}
    assert raw.get(f"sfu:auth:jti:{jti}") == b"0"
    assert raw.hgetall(f"sfu:auth:meta:{jti}") == {
        b"sub": "Zed☆".encode(),
        b"netplay_username": "Zed☆".encode(),
        b"iss": b"romm:sfu",
        b"jti": jti.encode(),
        b"iat": str(NOW).encode(),
        b"exp": str(NOW + 30).encode(),
        b"source": b"trio-sfu",
    }
    for key in keys(redis_world.server):
        assert 0 < raw.ttl(key) <= 30


async def test_a_verify_leaves_nothing(redis_world: RedisWorld) -> None:
    side = redis_world.side()
    assert (await side.verify(await side.token())).status == 200
    assert keys(redis_world.server) == set()


async def test_the_first_romms_format(redis_server: RedisServer) -> None:
    async with RedisWorld.open(redis_server, "hash") as world:
        side = world.side(Accounts(User("ann", old_name="Annie")))
        token = await side.token()
        jti = claims_of(token)["jti"]
        assert keys(redis_server) == {f"sfu:auth:jti:{jti}"}
        record = redis_server.raw.hgetall(f"sfu:auth:jti:{jti}")
        assert {key: record[key] for key in (b"sub", b"netplay_username", b"jti")} == {
            b"sub": b"ann",
            b"netplay_username": b"Annie",
            b"jti": jti.encode(),
        }
        assert 0 < redis_server.raw.ttl(f"sfu:auth:jti:{jti}") <= 30
        async with RedisWorld.open(redis_server, "string") as other:  # formats mix
            assert (await other.side().verify(token)).status == 200
        assert keys(redis_server) == set()


async def test_a_room_in_redis(redis_world: RedisWorld) -> None:
    raw = redis_world.server.raw
    await redis_world.side().service.put(RoomRecord("b \u2603:*", 1, 4, True, "n", "u", {"game_id": 7}))
    assert keys(redis_world.server) == {"sfu:room:b \u2603:*"}
    assert msgspec.json.decode(raw.get("sfu:room:b \u2603:*") or b"") == {
        "room_name": "b \u2603:*",
        "current": 1,
        "max": 4,
        "hasPassword": True,
        "nodeId": "n",
        "url": "u",
        "updatedAt": NOW * 1000,
        "game_id": 7,
    }
    assert raw.ttl("sfu:room:b \u2603:*") in (59, 60)


GENERATIONS: dict[str, tuple[str, TokenRecord]] = {
    "G1, G2, G3": (
        "sfu",
        {"sub": "ann", "iss": "romm:sfu", "jti": "j", "iat": str(NOW), "exp": str(NOW + 30)},
    ),
    "G3 write": ("sfu:write", {"sub": "ann", "iss": "romm:sfu", "jti": "j", "iat": "1", "exp": "2"}),
    "JSON": ("sfu:write", '{"sub":"ann","jti":"j"}'),
    "G4, G5, G6": ("sfu:write", "0"),
}


@pytest.mark.contract("VER-26", "VER-28", "VER-29")
@pytest.mark.parametrize("generation", GENERATIONS)
async def test_tokens_that_a_romm_of_any_generation_listed(redis_world: RedisWorld, generation: str) -> None:
    kind, record = GENERATIONS[generation]
    redis_world.plant_token("j", record)
    side = redis_world.side()
    token = signed(read_claims(type=kind, jti="j"))
    assert (await side.verify(token, consume=False)).status == 200
    assert (await side.verify(token)).status == 200
    assert outcome(await side.verify(token)) == (401, "token not listed, already consumed or doesn't exist")
    assert keys(redis_world.server) == set()


@pytest.mark.contract("VER-29")
@pytest.mark.parametrize("record", ["0", {"sub": "ann", "iss": "romm:sfu", "jti": "j"}])
async def test_a_token_that_an_old_romm_marked_as_used(redis_world: RedisWorld, record: Any) -> None:
    redis_world.plant_token("j", record)
    redis_world.server.raw.set("sfu:auth:jti:used:j", "1")
    side = redis_world.side()
    token = signed(read_claims(type="sfu", jti="j"))
    for consume in (False, True):
        response = await side.verify(token, consume=consume)
        assert outcome(response) == (401, "token not listed, already consumed or doesn't exist")
    assert not await side.store.consume_token("j")


async def test_keys_of_other_types_are_no_tokens_and_no_rooms(redis_world: RedisWorld) -> None:
    raw = redis_world.server.raw
    for key in ("sfu:auth:jti:j", "sfu:room:a", "sfu:auth:revoked:bob"):
        raw.rpush(key, "x")
    raw.set(b"sfu:room:\xff", "{}")
    raw.set("sfu:room:raw", b'{"room_name":"\xff"}')
    raw.set("sfu:room:good", "{}")
    side = redis_world.side()
    token = signed(read_claims(type="sfu:write", jti="j"))
    assert outcome(await side.verify(token)) == (401, "token not listed, already consumed or doesn't exist")
    assert list(json_of(await side.internal("GET", "rooms/list"))) == ["good"]
    for name in ("a", "raw"):
        response = await side.internal("GET", f"rooms/resolve?room={name}")
        assert outcome(response) == (500, "invalid room record")
    # Nobody's, so they can be claimed.
    for name in ("a", "raw"):
        body = {"room_name": name, "nodeId": "n", "if_absent": True}
        assert (await side.internal("POST", "rooms/upsert", body)).status == 200
    assert outcome(await side.verify(await side.token("read", user="bob"))) == (200, None)


@pytest.mark.parametrize("value", ["soon", "", "nan", "-1", "1e3", "9" * 30])
async def test_a_revocation_without_a_time_is_for_good(redis_world: RedisWorld, value: str) -> None:
    redis_world.server.raw.set("sfu:auth:revoked:ann", value)
    side = redis_world.side()
    assert outcome(await side.verify(await side.token("read"))) == (401, "token revoked")


async def test_a_revocation_by_hand(redis_world: RedisWorld) -> None:
    side = redis_world.side()
    token = await side.token("read")
    redis_world.server.raw.set("sfu:auth:revoked:ann", str(NOW))
    assert (await side.verify(token)).status == 200
    redis_world.server.raw.set("sfu:auth:revoked:ann", str(NOW + 1))
    assert outcome(await side.verify(token)) == (401, "token revoked")


async def test_names_that_utf_8_cannot_say(redis_world: RedisWorld) -> None:
    store = redis_world.store
    assert await store.room("\ud800") is None
    assert await store.listed_token("\ud800") is None
    assert await store.revoked_before("\udcff") is None
    await store.delete_room("\ud800")


async def test_list_has_a_limit(redis_world: RedisWorld) -> None:
    raw = redis_world.server.raw
    raw.mset({f"sfu:room:{number}": "{}" for number in range(MAX_ROOMS + 100)})
    assert len(await redis_world.store.rooms()) == MAX_ROOMS


@pytest.mark.contract("REG-16")
async def test_rooms_are_found_among_all_that_romm_keeps(redis_world: RedisWorld) -> None:
    raw = redis_world.server.raw
    raw.mset({f"session:{number}": "{}" for number in range(20_000)})
    raw.mset({f"sfu:room:{number}": "{}" for number in range(1000)})
    assert (await redis_world.store.rooms()).keys() == {str(number) for number in range(1000)}


async def test_scripts_survive_a_flush_of_the_script_cache(redis_world: RedisWorld) -> None:
    redis_world.plant_token("j", "0")
    assert await redis_world.store.listed_token("j") == LISTED
    redis_world.server.raw.script_flush()
    assert await redis_world.store.consume_token("j")


# Races


RACES = 2000


@pytest.mark.contract("VER-08")
async def test_of_two_services_racing_for_a_token_exactly_one_wins(redis_server: RedisServer) -> None:
    outcomes: Counter[tuple[int, ...]] = Counter()
    losers: Counter[str] = Counter()
    async with (
        open_redis_store(redis_server.url, call_timeout=PATIENT) as first,
        open_redis_store(redis_server.url, call_timeout=PATIENT) as second,
    ):
        sides = [Side(store=store, clock=Clock()) for store in (first, second)]

        async def race(number: int) -> None:
            token = signed(read_claims(type="sfu:write", jti=f"j{number}"))
            statuses = []

            async def verify(side: Side) -> None:
                status, detail = outcome(await side.verify(token))
                statuses.append(status)
                if status != 200:
                    losers[detail] += 1

            async with trio.open_nursery() as nursery:
                for side in sides:
                    nursery.start_soon(verify, side)
            outcomes[tuple(sorted(statuses))] += 1

        for batch in range(0, RACES, 50):
            redis_server.raw.mset({f"sfu:auth:jti:j{number}": "0" for number in range(batch, batch + 50)})
            async with trio.open_nursery() as nursery:
                for number in range(batch, batch + 50):
                    nursery.start_soon(race, number)
    assert outcomes == {(200, 401): RACES}
    assert losers.keys() <= {
        "token already used or not found",
        "token not listed, already consumed or doesn't exist",
    }
    assert losers["token already used or not found"], "they never met"


@pytest.mark.contract("VER-08")
async def test_fifty_at_once_on_one_service(redis_world: RedisWorld) -> None:
    side = redis_world.side()
    token = await side.token()
    statuses: Counter[int] = Counter()

    async def one() -> None:
        statuses[(await side.verify(token)).status] += 1

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(one)
    assert statuses == {200: 1, 401: 49}


async def test_two_services_share_tokens_rooms_and_revocations(redis_server: RedisServer) -> None:
    async with (
        open_redis_store(redis_server.url, call_timeout=PATIENT) as one,
        open_redis_store(redis_server.url, call_timeout=PATIENT) as two,
    ):
        first, second = Side(store=one), Side(store=two)
        token = await first.token()
        assert (await second.verify(token)).status == 200
        assert (await first.verify(token)).status == 401
        room = RoomRecord("a", 1, 4, False, "n", "u", {})
        await first.service.upsert_room(room, if_absent=True)
        assert await second.service.resolve_room("a") == room
        await second.service.delete_room("a", node_id="n")
        assert await first.service.list_rooms() == {}
        token = await first.token("read")
        await second.service.revoke("ann")
        assert outcome(await first.verify(token)) == (401, "token revoked")


# Users of Redis, and its address


async def test_wrong_password(own_redis: RedisServer) -> None:
    own_redis.raw.config_set("requirepass", "s3cr3t")
    async with open_redis_store(own_redis.url, call_timeout=PATIENT) as store:
        with pytest.raises(StoreError, match="AuthenticationError"):
            await store.ping()
    url = own_redis.url.replace("//", "//:s3cr3t@")
    async with open_redis_store(url, call_timeout=PATIENT) as store:
        await store.ping()
    url = own_redis.url.replace("//", "//:wrong@")
    async with open_redis_store(url, call_timeout=PATIENT) as store:
        with pytest.raises(StoreError) as caught:
            await store.ping()
        assert "wrong" not in str(caught.value)


async def test_rights_that_suffice(own_redis: RedisServer) -> None:
    """Those that docs/romm.md names."""
    commands = "get set del mget scan ping hset pexpire multi exec evalsha eval script exists type hgetall"
    allowed = [f"+{command}" for command in commands.split()]
    own_redis.raw.acl_setuser("sfu", enabled=True, passwords=["+pass"], keys=["sfu:*"], commands=allowed)
    async with open_redis_store(own_redis.url.replace("//", "//sfu:pass@"), call_timeout=PATIENT) as store:
        await store.ping()
        side = Side(store=store)
        assert (await side.verify(await side.token())).status == 200
        await side.service.upsert_room(RoomRecord("a", 0, 0, False, "n", None, {}), if_absent=True)
        assert list(await side.service.list_rooms()) == ["a"]
        await side.service.delete_room("a", node_id="n")
        await side.service.put(RoomRecord("a", 0, 0, False, None, None, {}))
        await side.service.delete_room("a")
        await side.service.revoke("ann")


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/15",
        "redis://:pass@[::1]:6379",
        "rediss://user:p%40ss@redis.example:6380/0?ssl_ca_certs=/etc/ca.pem",
        "unix:///run/redis.sock?db=3",
    ],
)
def test_good_addresses(url: str) -> None:
    check_redis_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost",
        "redis://",
        "redis://localhost:0",
        "redis://localhost:65536",
        "redis://localhost:x",
        "redis://localhost/name",
        "redis://localhost/0?socket_timeout=100",
        "redis://localhost/0?ssl_cert_reqs=none",
        "rediss://localhost/0?retry_on_timeout=1",
        "redis://localhost/0#x",
        "unix://",
        "unix:///run/redis.sock?max_connections=1",
        "redis://[::1",
    ],
)
async def test_bad_addresses(url: str) -> None:
    with pytest.raises(ValueError, match="a URL like"):
        async with open_redis_store(url):
            raise AssertionError


async def test_another_database(redis_server: RedisServer) -> None:
    async with open_redis_store(redis_server.url[:-1] + "3", call_timeout=PATIENT) as store:
        await store.put_room("a", "{}", 60)
        assert keys(redis_server) == set()
        with redis.Redis(port=redis_server.port, db=3, protocol=2) as other:
            assert other.keys("*") == [b"sfu:room:a"]
        await store.delete_room("a")

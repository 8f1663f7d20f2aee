"""Conformance of mint, verify and the ICE list, named after the cases of ``romm-api.md`` 8.2."""

from __future__ import annotations

import base64
from typing import Any

import jwt
import msgspec
import pytest
import trio
import trio.testing

from sfu.romm.http import MAX_BODY
from sfu.romm.store import MemoryStore
from sfu.romm.tokens import MAX_TOKEN_CHARS
from tests.romm.support import EPOCH, KEY, SECRET, Accounts, Clock, Side, User, json_of, outcome
from tests.romm.worlds import World

NOW = int(EPOCH)


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = msgspec.json.decode(jwt.PyJWS().decode(token, KEY, algorithms=["HS256"]))
    return claims


def signed(payload: object, *, key: bytes = KEY, header: dict[str, Any] | None = None) -> str:
    """A token with any payload, signed with HS256 whatever its header says."""

    def segment(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = {"typ": "JWT", "alg": "HS256"} if header is None else header
    signing_input = f"{segment(msgspec.json.encode(head))}.{segment(msgspec.json.encode(payload))}"
    signature = jwt.get_algorithm_by_name("HS256").sign(signing_input.encode(), key)
    return f"{signing_input}.{segment(signature)}"


def read_claims(**changes: object) -> dict[str, object]:
    """A good read token's claims; None removes one."""
    claims = {"iss": "romm:sfu", "sub": "ann", "type": "sfu:read", "iat": NOW, "exp": NOW + 900} | changes
    return {key: value for key, value in claims.items() if value is not ...}


# Mint


@pytest.mark.contract("TOK-01")
async def test_tok_01_anonymous() -> None:
    assert outcome(await Side().request("POST", "/api/sfu/token")) == (403, "Forbidden")


@pytest.mark.contract("TOK-02")
@pytest.mark.parametrize("raw", [b"", b"{}", b"null", b'{"token_type":null}'])
async def test_tok_02_default_is_read(world: World, raw: bytes) -> None:
    side = world.side()
    response = await side.request("POST", "/api/sfu/token", raw=raw, headers={"cookie": "romm_session=ann"})
    answer = json_of(response)
    assert (response.status, answer["token_type"], answer["expires"]) == (200, "bearer", 900)
    assert claims_of(answer["token"])["type"] == "sfu:read"


@pytest.mark.contract("TOK-03")
async def test_tok_03_write(world: World) -> None:
    side = world.side()
    response = await side.mint({"token_type": "write"})
    answer = json_of(response)
    assert (response.status, answer["expires"]) == (200, 30)
    jti = claims_of(answer["token"])["jti"]
    assert await side.store.listed_token(jti) == "0"
    assert list(world.tokens()) == [jti]
    assert 15 < world.tokens()[jti] <= 30
    world.elapse(30)
    assert await side.store.listed_token(jti) is None


@pytest.mark.contract("TOK-04")
async def test_tok_04_read_lists_nothing(world: World) -> None:
    assert "jti" not in claims_of(await world.side().token("read"))
    assert world.tokens() == {}


@pytest.mark.contract("TOK-05")
async def test_tok_05_other_kind() -> None:
    for kind in ("admin", "", "READ"):
        response = await Side().mint({"token_type": kind})
        assert outcome(response) == (400, "token_type must be 'read' or 'write'")


@pytest.mark.contract("TOK-06")
@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (b'{"token_type":5}', "application/json"),
        (b"[]", "application/json"),
        (b"{", "application/json"),
        (b"\xff", "application/json"),
        (b"[" * 20_000, "application/json"),
        (b"token_type=write", "application/x-www-form-urlencoded"),
        (b'{"token_type":"write"}', "text/plain"),
    ],
)
async def test_tok_06_bad_body(raw: bytes, content_type: str) -> None:
    headers = {"cookie": "romm_session=ann", "content-type": content_type}
    status, detail = outcome(await Side().request("POST", "/api/sfu/token", raw=raw, headers=headers))
    assert status == 422
    assert all(set(problem) == {"type", "loc", "msg"} for problem in detail)


@pytest.mark.contract("TOK-06")
async def test_tok_06_body_comes_before_identity() -> None:
    assert (await Side().request("POST", "/api/sfu/token", {"token_type": 5})).status == 422


@pytest.mark.contract("TOK-07")
async def test_tok_07_netplay_id() -> None:
    response = await Side().mint(user="bob")
    assert claims_of(json_of(response)["token"])["sub"] == "Zed☆"
    assert json_of(response)["sub"] == "Zed☆"


@pytest.mark.contract("TOK-08")
async def test_tok_08_name_in_ui_settings(world: World) -> None:
    side = world.side(Accounts(User("ann", old_name="Annie")))
    token = await side.token()
    assert claims_of(token)["sub"] == "ann"
    assert json_of(await side.verify(token))["netplay_username"] == "Annie"


@pytest.mark.contract("TOK-09")
async def test_tok_09_distinct_jti(world: World) -> None:
    side = world.side()
    first, second = [claims_of(await side.token())["jti"] for _ in range(2)]
    assert world.tokens().keys() == {first, second}
    assert first != second
    assert all(len(jti) == 32 and set(jti) <= set("0123456789abcdef") for jti in (first, second))


@pytest.mark.contract("TOK-10")
async def test_tok_10_session_without_csrf_header() -> None:
    headers = {"cookie": "romm_session=ann", "origin": "https://romm.example", "host": "romm.example"}
    assert (await Side().request("POST", "/api/sfu/token", headers=headers)).status == 200


@pytest.mark.contract("TOK-11")
async def test_tok_11_sfu_token_is_no_identity() -> None:
    side = Side()
    bearer = {"authorization": f"Bearer {await side.token('read')}"}
    assert outcome(await side.request("POST", "/api/sfu/token", headers=bearer)) == (403, "Forbidden")


@pytest.mark.contract("TOK-12")
async def test_tok_12_kiosk() -> None:
    accounts = Accounts()
    accounts.kiosk = True
    assert json_of(await Side(accounts).request("POST", "/api/sfu/token"))["sub"] == "kiosk"


@pytest.mark.contract("TOK-13")
@pytest.mark.parametrize(("kind", "lifetime"), [("read", 900), ("write", 30)])
async def test_tok_13_header_and_lifetime(world: World, kind: str, lifetime: int) -> None:
    token = await world.side().token(kind)
    head = token.partition(".")[0]
    assert base64.urlsafe_b64decode(head + "==") == b'{"typ":"JWT","alg":"HS256"}'
    claims = claims_of(token)
    assert claims["exp"] - claims["iat"] == lifetime
    assert claims["iat"] == NOW
    assert claims["iss"] == "romm:sfu"


@pytest.mark.contract("TOK-14")
async def test_tok_14_surplus_fields() -> None:
    assert (await Side().mint({"token_type": "read", "scope": ["x"], "exp": 1})).status == 200


@pytest.mark.contract("TOK-15")
async def test_tok_15_trailing_slash() -> None:
    side = Side()
    cookie = {"cookie": "romm_session=ann"}
    assert (await side.request("POST", "/api/sfu/token/", headers=cookie)).status == 200
    assert outcome(await side.request("POST", "/api/sfu/token//", headers=cookie)) == (404, "Not Found")


async def test_mint_reply_is_additive_and_not_cached() -> None:
    response = await Side().mint({"token_type": "write"}, user="bob")
    answer = json_of(response)
    assert answer["expires_in"] == answer["expires"] == 30
    assert (answer["type"], answer["sub"], answer["netplay_username"]) == ("sfu:write", "Zed☆", "Zed☆")
    assert ("Cache-Control", "no-store") in response.headers


async def test_mint_with_a_full_store_is_503() -> None:
    side = Side(store=MemoryStore(max_tokens=1))
    await side.token()
    assert outcome(await side.mint({"token_type": "write"})) == (503, "store unavailable")


async def test_a_new_token_fits_what_verify_reads() -> None:
    side = Side(Accounts(User("\U0001f9d9" * 64)))
    token = await side.token(user="\U0001f9d9" * 64)
    assert len(token) < MAX_TOKEN_CHARS
    assert (await side.verify(token)).status == 200


# Verify


@pytest.mark.contract("VER-01")
async def test_ver_01_secret() -> None:
    side = Side()
    for headers in (
        {},
        {"x-romm-sfu-secret": ""},
        {"x-romm-sfu-secret": "x"},
        {"x-romm-sfu-secret": "\ud800"},
    ):
        response = await side.request("POST", "/api/sfu/internal/verify", {"token": "x"}, headers=headers)
        assert outcome(response) == (401, "unauthorized")


@pytest.mark.contract("VER-02")
@pytest.mark.parametrize("secret", [None, "", "  "])
async def test_ver_02_no_secret_configured(secret: str | None) -> None:
    side = Side(secret=secret)
    assert outcome(await side.verify("x")) == (503, "SFU internal secret not configured")


@pytest.mark.contract("VER-03")
@pytest.mark.parametrize("body", [{}, {"token": 5}, {"token": None}, [], "x", None])
async def test_ver_03_bad_body(body: object) -> None:
    assert (await Side().internal("POST", "verify", body)).status == 422


@pytest.mark.contract("VER-03")
async def test_ver_03_answer_does_not_repeat_the_token() -> None:
    response = await Side().verify("s3cr3t", consume="s3cr3t")
    assert response.status == 422
    assert b"s3cr3t" not in response.body


@pytest.mark.contract("VER-04")
async def test_ver_04_secret_comes_first() -> None:
    wrong = {"x-romm-sfu-secret": "wrong"}
    for raw in (b"{}", b"{", b"x" * (MAX_BODY + 1)):
        response = await Side().request("POST", "/api/sfu/internal/verify", raw=raw, headers=wrong)
        assert outcome(response) == (401, "unauthorized")


async def test_body_limit() -> None:
    side = Side()
    for size, status in ((MAX_BODY, 422), (MAX_BODY + 1, 413)):
        response = await side.internal("POST", "verify", "x" * (size - 2))
        assert response.status == status


@pytest.mark.contract("VER-05", "VER-06")
async def test_ver_05_and_06_consumed_once(world: World) -> None:
    side = world.side()
    token = await side.token()
    response = await side.verify(token)
    claims = claims_of(token)
    assert response.status == 200
    assert json_of(response) == {
        "sub": "ann",
        "netplay_username": None,
        "type": "sfu:write",
        "exp": claims["exp"],
        "jti": claims["jti"],
    }
    assert await side.store.listed_token(claims["jti"]) is None
    assert outcome(await side.verify(token)) == (401, "token not listed, already consumed or doesn't exist")


@pytest.mark.contract("VER-07")
async def test_ver_07_without_consuming(world: World) -> None:
    side = world.side()
    token = await side.token()
    for _ in range(2):
        assert (await side.verify(token, consume=False)).status == 200
        world.elapse(10)
    assert max(world.tokens().values()) <= 10
    world.elapse(10)
    assert (await side.verify(token, consume=False)).status == 401


@pytest.mark.contract("VER-08")
async def test_ver_08_fifty_at_once() -> None:
    class SlowStore(MemoryStore):
        """Lets all callers see the record before any consumes it."""

        async def listed_token(self, jti: str) -> Any:
            record = await super().listed_token(jti)
            await trio.testing.wait_all_tasks_blocked()
            return record

    clock = Clock()
    side = Side(clock=clock, store=SlowStore(clock=clock.monotonic))
    token = await side.token()
    seen: list[tuple[int, Any]] = []

    async def one() -> None:
        seen.append(outcome(await side.verify(token)))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(one)
    assert seen.count((200, None)) == 1
    assert seen.count((401, "token already used or not found")) == 49


@pytest.mark.contract("VER-09")
async def test_ver_09_read_is_reusable(world: World) -> None:
    side = world.side()
    token = await side.token("read")
    assert [(await side.verify(token)).status for _ in range(2)] == [200, 200]


@pytest.mark.contract("VER-10")
async def test_ver_10_lax_booleans(world: World) -> None:
    side = world.side()
    token = await side.token()
    for value in ("no", 0, "off", "false", "0"):
        assert (await side.verify(token, consume=value)).status == 200
    assert (await side.verify(token, consume="yes")).status == 200
    assert (await side.verify(token, consume="no")).status == 401


@pytest.mark.contract("VER-11")
@pytest.mark.parametrize("value", [None, "maybe", 2, [], {}])
async def test_ver_11_no_boolean(value: object) -> None:
    side = Side()
    assert (await side.verify(await side.token(), consume=value)).status == 422


@pytest.mark.contract("VER-12")
@pytest.mark.parametrize(
    "token", ["", "abc", "a.b.c", "a.b.c.d.e", "ü.ü.ü", ".", "..", "\x00", "a" * (MAX_TOKEN_CHARS + 1)]
)
async def test_ver_12_not_a_token(token: str) -> None:
    assert outcome(await Side().verify(token)) == (401, "invalid token")


@pytest.mark.contract("VER-12")
async def test_ver_12_length_limit_is_exact() -> None:
    side = Side()
    fitting = signed(read_claims(pad=""))
    pad = (MAX_TOKEN_CHARS - len(fitting)) * 3 // 4
    token = signed(read_claims(pad="x" * pad))
    assert MAX_TOKEN_CHARS - 2 <= len(token) <= MAX_TOKEN_CHARS
    assert (await side.verify(token)).status == 200
    assert outcome(await side.verify(signed(read_claims(pad="x" * (pad + 3))))) == (401, "invalid token")


@pytest.mark.contract("VER-13")
async def test_ver_13_wrong_key() -> None:
    token = signed(read_claims(), key=b"another key of thirty-two bytes.")
    assert outcome(await Side().verify(token)) == (401, "invalid token")


@pytest.mark.contract("VER-14")
@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT", "alg": "none"},
        {"typ": "JWT", "alg": "HS384"},
        {"typ": "JWT", "alg": "HS512"},
        {"typ": "JWT", "alg": "RS256"},
        {"typ": "JWT"},
        {"typ": "JWT", "alg": "hs256"},
        {"typ": "JWT", "alg": ["HS256"]},
        {"typ": "JWT", "alg": {}},
        {"typ": "JWT", "alg": "HS256", "crit": ["exp"], "exp": 1},
        {"typ": "JWT", "alg": "HS256", "crit": []},
        {"typ": "JWT", "alg": "HS256", "crit": "b64"},
        {"typ": "JWT", "alg": "HS256", "crit": ["b64"], "b64": True},
        {"typ": "JWT", "alg": "HS256", "crit": ["b64"], "b64": False},
        {"typ": "JWT", "alg": "HS256", "kid": 5},
        ["HS256"],
    ],
)
async def test_ver_14_header(header: Any) -> None:
    assert outcome(await Side().verify(signed(read_claims(), header=header))) == (401, "invalid token")


@pytest.mark.contract("VER-14")
@pytest.mark.parametrize("digest", ["HS384", "HS512"])
async def test_ver_14_other_digest_really_signed(digest: str) -> None:
    payload = msgspec.json.encode(read_claims())
    token = jwt.PyJWS().encode(payload, KEY * 2, digest)
    side = Side()
    assert outcome(await side.verify(token)) == (401, "invalid token")


@pytest.mark.contract("VER-14")
async def test_ver_14_no_signature() -> None:
    for header in ({"typ": "JWT", "alg": "none"}, {"typ": "JWT", "alg": "HS256"}):
        token = signed(read_claims(), header=header).rpartition(".")[0]
        assert outcome(await Side().verify(token + ".")) == (401, "invalid token")


@pytest.mark.contract("VER-15")
@pytest.mark.parametrize("payload", [[], [{}], "x", 5, None, True])
async def test_ver_15_payload_is_no_object(payload: object) -> None:
    assert outcome(await Side().verify(signed(payload))) == (401, "invalid token")


@pytest.mark.contract(
    "VER-16", "VER-17", "VER-18", "VER-19", "VER-20", "VER-21", "VER-22", "VER-23", "VER-24", "VER-25"
)
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"exp": NOW - 4}, None, id="VER-16 late"),
        pytest.param({"exp": NOW - 5}, "jwt expired", id="VER-16 too late"),
        pytest.param({"exp": ...}, "missing exp", id="VER-17 absent"),
        pytest.param({"exp": None}, "missing exp", id="VER-17 null"),
        pytest.param({"exp": "soon"}, "invalid exp", id="VER-17 text"),
        pytest.param({"exp": []}, "invalid exp", id="VER-17 array"),
        pytest.param({"exp": "9" * 5000}, "invalid exp", id="VER-17 endless"),
        pytest.param({"exp": str(NOW + 9)}, None, id="VER-18 text"),
        pytest.param({"exp": NOW + 9.7}, None, id="VER-18 float"),
        pytest.param({"exp": NOW - 3.5}, None, id="VER-18 late float"),
        pytest.param({"exp": NOW - 4.5}, "jwt expired", id="VER-18 float is cut"),
        pytest.param({"nbf": NOW + 5}, None, id="VER-19 skew"),
        pytest.param({"nbf": NOW + 6}, "jwt not active", id="VER-19 beyond skew"),
        pytest.param({"nbf": NOW + 7}, "jwt not active", id="VER-19"),
        pytest.param({"nbf": "x"}, "invalid nbf", id="VER-19 text"),
        pytest.param({"nbf": None}, None, id="VER-19 null"),
        pytest.param({"iat": NOW + 10**9}, None, id="VER-20"),
        pytest.param({"aud": "x"}, None, id="aud is not examined"),
        pytest.param({"iss": "romm:oauth"}, "invalid issuer", id="VER-21"),
        pytest.param({"iss": ["romm:sfu"]}, "invalid issuer", id="VER-21 array"),
        pytest.param({"type": "access"}, "invalid token type", id="VER-22"),
        pytest.param({"type": ...}, "invalid token type", id="VER-22 absent"),
        pytest.param({"type": ["sfu"]}, "invalid token type", id="VER-22 array"),
        pytest.param({"sub": ""}, "missing sub", id="VER-23 empty"),
        pytest.param({"sub": 5}, "missing sub", id="VER-23 number"),
        pytest.param({"type": "sfu:write"}, "missing jti", id="VER-24 absent"),
        pytest.param({"type": "sfu:write", "jti": 5}, "missing jti", id="VER-24 number"),
        pytest.param({"type": "sfu", "jti": ""}, "missing jti", id="VER-24 empty"),
        pytest.param({"exp": NOW - 60, "iss": "x"}, "jwt expired", id="VER-25"),
        pytest.param({"nbf": "x", "exp": NOW - 60}, "invalid nbf", id="VER-25 nbf first"),
        pytest.param({"iss": "x", "type": "x"}, "invalid issuer", id="VER-25 issuer before type"),
        pytest.param({"type": "x", "sub": ""}, "invalid token type", id="VER-25 type before sub"),
        pytest.param({"type": "sfu:write", "sub": ""}, "missing sub", id="VER-25 sub before jti"),
        pytest.param({"jti": "x"}, None, id="a read token's jti is nothing"),
    ],
)
async def test_ver_16_to_25_claims(changes: dict[str, object], expected: str | None) -> None:
    response = await Side().verify(signed(read_claims(**changes)))
    assert outcome(response) == ((200, None) if expected is None else (401, expected))


@pytest.mark.contract("VER-26")
async def test_ver_26_old_kind(world: World) -> None:
    side = world.side()
    world.plant_token("j", "0")
    token = signed(read_claims(type="sfu", jti="j"))
    assert (await side.verify(token)).status == 200
    assert (await side.verify(token)).status == 401


@pytest.mark.contract("VER-27")
@pytest.mark.parametrize(
    ("record", "detail"),
    [
        ({"sub": "bob", "jti": "j"}, "sub mismatch"),
        ({"sub": "ann", "jti": "k"}, "jti mismatch"),
        ({"jti": "j"}, "sub mismatch"),
    ],
)
async def test_ver_27_record_contradicts(world: World, record: dict[str, str], detail: str) -> None:
    side = world.side()
    text = msgspec.json.encode(record).decode()
    world.plant_token("j", text)
    assert outcome(await side.verify(signed(read_claims(type="sfu:write", jti="j")))) == (401, detail)
    assert await side.store.listed_token("j") == text


@pytest.mark.contract("VER-28")
@pytest.mark.parametrize("record", ["", "anything", "[1]", "NaN", '{"sub":"ann","jti":"j"}'])
async def test_ver_28_any_record_will_do(world: World, record: str) -> None:
    side = world.side()
    world.plant_token("j", record)
    assert (await side.verify(signed(read_claims(type="sfu:write", jti="j")))).status == 200
    assert await side.store.listed_token("j") is None


SEED = {"sub": "ann", "iss": "romm:sfu", "jti": "j", "iat": str(NOW), "exp": str(NOW + 30)}


@pytest.mark.contract("VER-29")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (200, None)),
        ({"sub": "x"}, (401, "sub mismatch")),
        ({"iss": "x"}, (401, "invalid issuer")),
        ({"jti": "x"}, (401, "jti mismatch")),
    ],
)
async def test_ver_29_hash_record(world: World, change: dict[str, str], expected: tuple[int, Any]) -> None:
    side = world.side()
    world.plant_token("j", SEED | change)
    assert outcome(await side.verify(signed(read_claims(type="sfu:write", jti="j")))) == expected
    assert (await side.store.listed_token("j") is None) == (expected[0] == 200)


@pytest.mark.contract("VER-30")
async def test_ver_30_hash_record_with_a_name(world: World) -> None:
    side = world.side()
    world.plant_token("j", SEED | {"netplay_username": "Annie"})
    response = await side.verify(signed(read_claims(type="sfu:write", jti="j")))
    assert json_of(response)["netplay_username"] == "Annie"


@pytest.mark.parametrize("name", ["", 5, None])
async def test_a_record_whose_name_is_none(world: World, name: object) -> None:
    side = world.side()
    world.plant_token("j", msgspec.json.encode({"sub": "ann", "jti": "j", "netplay_username": name}).decode())
    response = await side.verify(signed(read_claims(type="sfu:write", jti="j")))
    assert (response.status, json_of(response)["netplay_username"]) == (200, None)


@pytest.mark.contract("VER-31")
async def test_ver_31_write_token_after_31_s(world: World) -> None:
    side = world.side()
    token = await side.token()
    world.elapse(31)
    assert (await side.verify(token)).status == 401


@pytest.mark.contract("VER-32")
@pytest.mark.parametrize("sub", ["Zed☆", "bob", "BOB"])
async def test_ver_32_netplay_username(world: World, sub: str) -> None:
    response = await world.side().verify(signed(read_claims(sub=sub)))
    assert json_of(response)["netplay_username"] == "Zed☆"
    assert json_of(response)["sub"] == sub


@pytest.mark.contract("VER-33")
async def test_ver_33_no_netplay_username(world: World) -> None:
    assert json_of(await world.side().verify(signed(read_claims())))["netplay_username"] is None


@pytest.mark.contract("VER-34")
async def test_ver_34_user_is_gone(world: World) -> None:
    accounts = Accounts(User("ann"))
    side = world.side(accounts)
    token = await side.token()
    user = accounts.users.pop("ann")
    assert outcome(await side.verify(token)) == (401, "unknown user")
    accounts.users["ann"] = user
    assert (await side.verify(token)).status == 200  # the refusal did not use it up
    assert (await side.verify(signed(read_claims(sub="kiosk")))).status == 200


@pytest.mark.contract("VER-35")
async def test_ver_35_id_changed_after_mint(world: World) -> None:
    accounts = Accounts(User("ann", netplay_id="Old"))
    side = world.side(accounts)
    token = await side.token()
    accounts.users["ann"].netplay_id = "ann2"
    accounts.users["old"] = User("old")
    assert json_of(await side.verify(token))["sub"] == "Old"


@pytest.mark.contract("VER-36")
async def test_ver_36_no_cookies_and_no_csrf_header() -> None:
    side = Side()
    headers = {"x-romm-sfu-secret": SECRET}
    body = {"token": await side.token()}
    assert (await side.request("POST", "/api/sfu/internal/verify", body, headers=headers)).status == 200


# ICE and routing


@pytest.mark.contract("ICE-01")
async def test_ice_01() -> None:
    servers = ({"urls": "stun:a"}, {"urls": ["turn:b"], "username": "u", "credential": "c"})
    side = Side(ice_servers=servers)
    assert outcome(await side.request("GET", "/api/sfu/ice")) == (403, "Forbidden")
    response = await side.request("GET", "/api/sfu/ice", headers={"cookie": "romm_session=ann"})
    assert (response.status, json_of(response)) == (200, {"iceServers": list(servers)})


@pytest.mark.contract("ICE-02")
async def test_ice_02() -> None:
    response = await Side().request("GET", "/api/sfu/ice", headers={"cookie": "romm_session=ann"})
    assert json_of(response) == {"iceServers": []}


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/sfu/token", "POST"),
        ("HEAD", "/api/sfu/ice", "GET"),
        ("PUT", "/api/sfu/internal/verify", "POST"),
        ("POST", "/api/sfu/internal/rooms/list", "GET"),
    ],
)
async def test_wrong_method(method: str, path: str, allow: str) -> None:
    response = await Side().request(method, path)
    assert outcome(response) == (405, "Method Not Allowed")
    assert ("Allow", allow) in response.headers


@pytest.mark.parametrize("path", ["/api/sfu", "/api/sfu/", "/api/sfu/tokens", "/", "", "/api/sfu/internal"])
async def test_unknown_path(path: str) -> None:
    assert outcome(await Side().request("GET", path)) == (404, "Not Found")

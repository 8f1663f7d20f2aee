"""Revocation: all tokens of a user become void at once (``romm-api.md`` 7.2.7)."""

from __future__ import annotations

from typing import Any

import pytest

from sfu.romm.store import MAX_REVOCATIONS, MemoryStore
from tests.romm.support import Side, json_of, outcome
from tests.romm.test_http_tokens import read_claims, signed
from tests.romm.worlds import World


async def revoke(side: Side, sub: object) -> tuple[int, Any]:
    response = await side.internal("POST", "revoke", {"sub": sub})
    return response.status, json_of(response)


async def test_revocation_voids_what_was_minted_before(world: World) -> None:
    side = world.side()
    old = [await side.token("read"), await side.token("write")]
    others = await side.token("read", user="bob")
    assert await revoke(side, "ann") == (200, {"ok": True})
    for token in old:
        assert outcome(await side.verify(token)) == (401, "token revoked")
    assert (await side.verify(others)).status == 200
    assert len(world.tokens()) == 1  # a refusal costs nothing
    world.elapse(1)
    assert (await side.verify(await side.token("read"))).status == 200
    assert (await side.verify(await side.token("write"))).status == 200
    assert outcome(await side.verify(old[0])) == (401, "token revoked")


@pytest.mark.parametrize("iat", [..., None, "x", [], -1])
async def test_a_token_that_does_not_say_when_is_older_than_a_revocation(world: World, iat: object) -> None:
    side = world.side()
    token = signed(read_claims(iat=iat))
    assert (await side.verify(token)).status == 200
    await revoke(side, "ann")
    assert outcome(await side.verify(token)) == (401, "token revoked")


async def test_a_revocation_is_kept_as_long_as_its_tokens_might_live(world: World) -> None:
    side = world.side(read_ttl=100)
    token = await side.token("read")
    await revoke(side, "ann")
    world.elapse(100)
    assert outcome(await side.verify(token)) == (401, "token revoked")
    world.elapse(5)
    assert outcome(await side.verify(token)) == (401, "jwt expired")
    assert await world.store.revoked_before("ann") is None


async def test_revocation_needs_the_secret_and_a_name() -> None:
    side = Side()
    response = await side.request("POST", "/api/sfu/internal/revoke", {"sub": "ann"})
    assert outcome(response) == (401, "unauthorized")
    for sub in ("", 5, None, "x" * 2049):
        assert (await revoke(side, sub))[0] == 422
    assert await side.store.revoked_before("ann") is None


def test_revocations_have_a_limit() -> None:
    assert MAX_REVOCATIONS == 10_000


async def test_a_full_store_takes_no_further_revocation() -> None:
    side = Side(store=MemoryStore(max_revocations=1))
    assert (await revoke(side, "a"))[0] == 200
    assert (await revoke(side, "a"))[0] == 200
    assert await revoke(side, "b") == (503, {"detail": "store unavailable"})

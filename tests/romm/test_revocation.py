"""Revocation: all tokens of a user become void at once (``romm-api.md`` 7.2.7)."""

from __future__ import annotations

from typing import Any

import pytest

from sfu.romm.store import MAX_REVOCATIONS, MemoryStore, StoreError
from sfu.romm.tokens import CLOCK_SKEW
from tests.romm.support import Side, json_of, outcome
from tests.romm.test_http_tokens import NOW, claims_of, read_claims, signed
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


@pytest.mark.parametrize(("ours", "longest"), [(100, 172_800), (200_000, 200_000)])
async def test_a_revocation_is_kept_as_long_as_its_tokens_might_live(
    world: World, ours: int, longest: int
) -> None:
    """Also those of a RomM with the same key, which may live much longer than ours."""
    side = world.side(read_ttl=ours)
    token = signed(read_claims(exp=NOW + longest))
    await revoke(side, "ann")
    world.elapse(longest + CLOCK_SKEW - 1)
    assert outcome(await side.verify(token)) == (401, "token revoked")
    world.elapse(1)
    assert outcome(await side.verify(token)) == (401, "jwt expired")
    assert await world.store.revoked_before("ann") is None


class _Away(MemoryStore):
    """Out of reach, as a Redis may be."""

    async def revoked_before(self, sub: str) -> float | None:
        raise StoreError("away")


async def test_without_a_store_read_tokens_are_good_and_write_tokens_wait() -> None:
    side = Side(store=_Away())
    assert (await side.verify(await side.token("read"))).status == 200
    token = await side.token("write")
    assert outcome(await side.verify(token)) == (503, "store unavailable")
    assert await side.store.listed_token(claims_of(token)["jti"]) is not None
    assert outcome(await side.verify(signed(read_claims(exp=NOW - 60)))) == (401, "jwt expired")


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

"""The memory store against a model: a token is consumed exactly once, and everything ends on time."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fuzz.romm.test_http import run
from sfu.romm.store import LISTED, MemoryStore, StoreError
from tests.romm.support import Clock

LIMIT = 4
keys = st.sampled_from("abcdef")
ttls = st.sampled_from([1, 5, 30, 60])


class StoreMachine(RuleBasedStateMachine):
    """Six keys, four places, and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = MemoryStore(clock=self.clock.monotonic, max_tokens=LIMIT, max_rooms=LIMIT)
        self.tokens: dict[str, tuple[float, str]] = {}
        self.rooms: dict[str, tuple[float, str]] = {}
        self.serial = 0

    def alive(self, model: dict[str, tuple[float, str]]) -> dict[str, str]:
        now = self.clock.elapsed
        return {key: value for key, (deadline, value) in model.items() if now < deadline}

    def fits(self, model: dict[str, tuple[float, str]], key: str) -> bool:
        alive = self.alive(model)
        return key in alive or len(alive) < LIMIT

    @rule(seconds=st.sampled_from([0.5, 1, 4, 29, 60]))
    def wait(self, seconds: float) -> None:
        self.clock.elapsed += seconds

    @rule(key=keys, ttl=ttls)
    def list_token(self, key: str, ttl: float) -> None:
        fits = self.fits(self.tokens, key)
        try:
            run(self.store.list_token(key, {}, ttl))
        except StoreError:
            assert not fits
        else:
            assert fits
            self.tokens[key] = (self.clock.elapsed + ttl, LISTED)

    @rule(key=keys)
    def look_at_token(self, key: str) -> None:
        assert run(self.store.listed_token(key)) == self.alive(self.tokens).get(key)

    @rule(key=keys)
    def consume_token(self, key: str) -> None:
        listed = key in self.alive(self.tokens)
        assert run(self.store.consume_token(key)) == listed
        assert not run(self.store.consume_token(key))
        assert run(self.store.listed_token(key)) is None
        self.tokens.pop(key, None)

    @rule(key=keys, ttl=ttls)
    def put_room(self, key: str, ttl: float) -> None:
        self.serial += 1
        fits = self.fits(self.rooms, key)
        try:
            run(self.store.put_room(key, str(self.serial), ttl))
        except StoreError:
            assert not fits
        else:
            assert fits
            self.rooms[key] = (self.clock.elapsed + ttl, str(self.serial))

    @rule(key=keys)
    def delete_room(self, key: str) -> None:
        run(self.store.delete_room(key))
        self.rooms.pop(key, None)
        assert run(self.store.room(key)) is None

    @rule(key=keys)
    def look_at_room(self, key: str) -> None:
        assert run(self.store.room(key)) == self.alive(self.rooms).get(key)

    @invariant()
    def list_is_what_lives(self) -> None:
        assert run(self.store.rooms()) == self.alive(self.rooms)


TestStore = StoreMachine.TestCase

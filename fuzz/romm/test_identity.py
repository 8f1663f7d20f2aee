"""Guest names: a name never belongs to two live secrets, the limits hold, and nothing leaks."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sfu.romm.identity import (
    MAX_NAME_CHARS,
    Caller,
    GuestIdentify,
    GuestNames,
    IdentityRefused,
    clean_name_untrusted,
    name_key,
)
from sfu.romm.proxy_identity import MAX_USER_CHARS, ProxyIdentify

LEASE = 60
uids = st.sampled_from(["u1", "u2", "u3", "u4"])
addresses = st.sampled_from(["192.0.2.1", "192.0.2.2"])
asked = st.sampled_from(["Ann", "ann", "Ann 2", "ANN 3", "Bob", "x" * MAX_NAME_CHARS, "x" * 18 + " 2"])


class NamesMachine(RuleBasedStateMachine):
    """Four secrets that want the same few names; the model is who was last told that a name is theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.names = GuestNames(LEASE, max_names=6, max_per_guest=3, max_per_address=4)
        self.now = 0.0
        self.owners: dict[str, tuple[str, float, str]] = {}
        """Owner, deadline and spelling by key."""

    def live(self, key: str) -> tuple[str, float, str] | None:
        owner = self.owners.get(key)
        return owner if owner is not None and self.now < owner[1] else None

    def told(self, uid: str, name: str) -> None:
        owner = self.live(name_key(name))
        assert owner is None or (owner[0] == uid and owner[2] == name)
        self.owners[name_key(name)] = (uid, self.now + LEASE, name)

    def held(self, uid: str) -> set[str]:
        return {key for key in self.owners if (owner := self.live(key)) is not None and owner[0] == uid}

    @rule(seconds=st.sampled_from([1, 20, 59, 60]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(uid=uids, name=asked, address=addresses)
    def mint(self, uid: str, name: str, address: str) -> None:
        before = self.held(uid)
        try:
            got = self.names.take(uid, name, address, self.now)
        except IdentityRefused as refused:
            assert refused.status == 429
            assert self.live(name_key(name)) is None or name_key(name) not in before
            return
        assert 1 <= len(got) <= MAX_NAME_CHARS
        self.told(uid, got)
        if name_key(name) in before:
            assert name_key(got) in before
        assert self.names.take(uid, name, address, self.now) == got
        assert self.names.last_name(uid, self.now) == got

    @rule(uid=uids, name=asked)
    def present_token(self, uid: str, name: str) -> None:
        owner = self.live(name_key(name))
        if self.names.confirm(uid, name, self.now):
            self.told(uid, name)
        elif owner is None:
            total = sum(len(self.held(each)) for each in ("u1", "u2", "u3", "u4"))
            assert total == 6 or len(self.held(uid)) == 3
        else:
            assert owner[0] != uid or owner[2] != name

    @rule(name=asked)
    def stay_connected(self, name: str) -> None:
        self.names.keep(name, self.now)
        owner = self.live(name_key(name))
        if owner is not None and owner[2] == name:
            self.owners[name_key(name)] = (owner[0], self.now + LEASE, name)

    @invariant()
    def limits(self) -> None:
        assert len(self.names) <= 6
        assert all(len(self.held(uid)) <= 3 for uid in ("u1", "u2", "u3", "u4"))

    def teardown(self) -> None:
        self.names.last_name("u1", self.now + LEASE)
        assert len(self.names) == 0
        assert not self.names._of_guest
        assert not self.names._of_address


TestNames = NamesMachine.TestCase


@given(st.text(max_size=100))
def test_any_name(name: str) -> None:
    try:
        cleaned = clean_name_untrusted(name)
    except IdentityRefused as refused:
        assert refused.status == 400
        assert refused.detail.isascii()
        return
    assert 1 <= len(cleaned) <= MAX_NAME_CHARS
    assert cleaned.isprintable() or " " in cleaned or not cleaned.isascii()
    assert clean_name_untrusted(cleaned) == cleaned
    assert name_key(cleaned)
    cleaned.encode()


@given(st.text(max_size=200), st.text(max_size=30), st.text(max_size=30))
def test_any_headers(cookie: str, origin: str, host: str) -> None:
    guests = GuestIdentify()
    caller = Caller({"cookie": cookie, "origin": origin, "host": host}, "")
    assert guests.who(caller) is None
    try:
        identity = guests.claim(caller, None)
    except IdentityRefused as refused:
        assert refused.status == 403
    else:
        assert identity is not None
        assert identity.set_cookie is not None
        assert identity.set_cookie.isascii()


PROXY = "192.0.2.7"


@given(
    st.dictionaries(
        st.sampled_from(["x-forwarded-user", "origin", "host", "x-forwarded-for", "cookie"]),
        st.text(max_size=80) | st.binary(max_size=80).map(lambda raw: raw.decode("latin-1")),
    ),
    st.sampled_from([PROXY, "192.0.2.8", "", "::ffff:192.0.2.7"]) | st.text(max_size=20),
)
def test_any_header_of_a_proxy(headers: dict[str, str], remote: str) -> None:
    identify = ProxyIdentify((ip_network(PROXY),))
    try:
        identity = identify.claim(Caller(headers, remote), None)
    except IdentityRefused as refused:
        assert refused.status == 403
        assert remote in (PROXY, "::ffff:192.0.2.7")
        return
    if identity is None:
        return
    assert remote in (PROXY, "::ffff:192.0.2.7")
    assert clean_name_untrusted(identity.sub, MAX_USER_CHARS) == identity.sub
    assert "," not in identity.sub

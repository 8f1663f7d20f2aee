"""Any record gets a verdict, and what the guard remembers stays small."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fuzz.dtls.test_record import fragments
from fuzz.dtls.test_record import records as any_records
from sfu.dtls import DtlsRole
from sfu.dtls.guard import MESSAGES, HandshakeGuard, Verdict
from sfu.dtls.record import ContentType, HandshakeType, Record, parse_fragments_untrusted
from tests.dtls.test_record import fragment

plausible = st.builds(
    lambda epoch, parts: Record(
        ContentType.HANDSHAKE,
        0xFEFD,
        epoch,
        0,
        b"".join(fragment(kind, offset + len(part), seq, offset, part) for kind, seq, offset, part in parts),
    ),
    st.integers(0, 1),
    st.lists(
        st.one_of(
            fragments,
            st.tuples(st.sampled_from(HandshakeType), st.integers(0, 10), st.just(0), st.just(b"x")),
        ),
        max_size=3,
    ),
)
records = st.one_of(any_records, plausible)
steps = st.one_of(records, st.sampled_from(HandshakeType), st.just("complete"))


@given(st.sampled_from(DtlsRole), st.lists(steps, max_size=30))
def test_what_passes_is_plausible_and_memory_is_bounded(
    role: DtlsRole, script: list[Record | int | str]
) -> None:
    guard = HandshakeGuard(role)
    other = DtlsRole.SERVER if role is DtlsRole.CLIENT else DtlsRole.CLIENT
    complete = False
    for step in script:
        if isinstance(step, str):
            guard.complete()
            complete = True
        elif isinstance(step, int):
            guard.sent(step)
        elif guard.judge_untrusted(step) is Verdict.PASS:
            assert step.epoch in (0, 1)
            assert not complete or step.epoch == 1
            if step.epoch == 0:
                assert step.content_type in (ContentType.HANDSHAKE, ContentType.CHANGE_CIPHER_SPEC)
            if (step.epoch, step.content_type) == (0, ContentType.HANDSHAKE):
                for one in parse_fragments_untrusted(step.body):
                    assert one.length <= MESSAGES[other][one.message_type].limit
        assert len(guard._seen) <= 1 + max(shape.last_seq for shape in MESSAGES[other].values())


@given(st.sampled_from(DtlsRole), st.lists(records, max_size=20))
def test_a_record_judged_twice_gets_the_same_verdict(role: DtlsRole, script: list[Record]) -> None:
    guard = HandshakeGuard(role)
    for record in script:
        assert guard.judge_untrusted(record) is guard.judge_untrusted(record)

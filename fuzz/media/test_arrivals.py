"""Any order and times of transport-wide sequence numbers: feedback can be written, and books stay small."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sfu.media.arrivals import MAX_ARRIVALS, MAX_TOLD, ArrivalLog
from sfu.rtp.rtcp import parse_compound_untrusted

steps = st.lists(
    st.tuples(
        st.one_of(st.integers(-5, 5), st.integers(-1500, 1500), st.integers(0, 0xFFFF)),
        st.one_of(st.floats(0, 0.02), st.floats(0, 30)),
        st.booleans(),
    ),
    max_size=60,
)


@given(st.integers(0, 0xFFFF), steps)
def test_any_arrivals(number: int, steps: list[tuple[int, float, bool]]) -> None:
    log, now = ArrivalLog(), 5.0
    for step, wait, tell in steps:
        number = (number + step) & 0xFFFF
        now += wait
        log.record(number, now)
        assert len(log._arrivals) <= MAX_ARRIVALS
        if tell and log.due is not None:
            for message in log.feedback(1, 2):
                assert parse_compound_untrusted(message.to_bytes()) == [message]
            assert len(log._told) <= MAX_TOLD

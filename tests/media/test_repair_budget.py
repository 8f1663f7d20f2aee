"""What a viewer may have repeated: a share of what it is sent, and nothing twice within a round trip."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from sfu.media.repair_budget import (
    MAX_ANSWERED,
    MAX_REPEAT_TIME,
    REPAIR_BURST,
    REPAIR_SHARE,
    REPEAT_MARGIN,
    RepairBudget,
)


def test_repairs_are_a_share_of_what_is_sent() -> None:
    budget = RepairBudget()
    repaired, packets, number = 0, 0, 0
    for second in range(10):
        packets += 300
        lost = [(number + i) % 65536 for i in range(1000)]
        number += 1000
        repaired += len(budget.allow(lost, packets, 0.05, float(second)))
    assert repaired == REPAIR_BURST + 9 * 300 * REPAIR_SHARE  # what the first second grants, the burst holds


def test_a_fifth_lost_is_repaired_in_full() -> None:
    budget = RepairBudget()
    repaired = lost = 0
    for packets in range(5, 100_000, 5):
        asked = [packets % 65536] + ([(packets - 50) % 65536] if packets % 25 == 0 else [])
        lost += len(asked)
        repaired += len(budget.allow(asked, packets, 0.05, packets / 300))
    assert repaired == lost


def test_what_is_refused_is_not_even_looked_at() -> None:
    budget = RepairBudget()
    looked = 0

    def flood() -> Iterator[int]:
        nonlocal looked
        for number in range(65536):
            looked += 1
            yield number

    assert len(budget.allow(flood(), 1000, None, 1.0)) == REPAIR_BURST
    assert looked <= REPAIR_BURST + 1


def test_a_request_that_crosses_its_answer_is_answered_once() -> None:
    budget = RepairBudget()
    assert budget.allow([7, 8], 100, 0.1, 10.0) == [7, 8]
    assert budget.allow([7, 8, 9], 100, 0.1, 10.05) == [9]
    assert budget.allow([7], 100, 0.1, 10.0 + 0.1 * REPEAT_MARGIN) == [7]
    assert budget.allow([7], 100, 0.1, 10.12) == []


def test_a_long_round_trip_does_not_keep_a_viewer_waiting() -> None:
    budget = RepairBudget()
    budget.allow([7], 100, 3.0, 10.0)
    assert budget.allow([7], 100, 3.0, 10.0 + MAX_REPEAT_TIME) == [7]


def test_what_is_remembered_is_bounded() -> None:
    budget = RepairBudget()
    for i in range(1000):
        budget.allow(range(i * 25, i * 25 + 25), i * 100, 0.1, float(i))
        assert len(budget._answered) <= MAX_ANSWERED


@given(st.lists(st.tuples(st.lists(st.integers(0, 30), max_size=60), st.integers(0, 20)), max_size=60))
def test_no_storm_gets_more_than_its_share(requests: list[tuple[list[int], int]]) -> None:
    budget = RepairBudget()
    packets, repaired, now = 0, 0, 0.0
    last: dict[int, float] = {}
    for lost, step in requests:
        now += 0.01
        packets += step
        for number in budget.allow(lost, packets, 0.1, now):
            assert now - last.get(number, -1.0) > 0.1 * REPEAT_MARGIN - 1e-9
            last[number] = now
            repaired += 1
        assert repaired <= REPAIR_BURST + packets * REPAIR_SHARE

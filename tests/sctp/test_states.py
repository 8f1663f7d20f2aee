"""The tables are complete and lead to an end."""

from __future__ import annotations

import pytest

from sfu.sctp.states import (
    ACCEPTED,
    CONNECTING,
    RECEIVES_DATA,
    SENDS_DATA,
    TRANSITIONS,
    State,
    Trigger,
    next_state,
)


def test_every_state_and_trigger_is_used() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {trigger for row in TRANSITIONS.values() for trigger in row} == set(Trigger)


def test_every_state_can_be_reached_and_can_end() -> None:
    reached = {State.CLOSED}
    for _ in State:
        reached |= {following for state in reached for following in TRANSITIONS[state].values()}
    assert reached == set(State)
    for state in set(State) - {State.ENDED}:
        assert next_state(state, Trigger.FAILED) is State.ENDED


def test_the_end_is_final() -> None:
    assert not TRANSITIONS[State.ENDED]
    assert all(State.ENDED not in states for states in ACCEPTED.values())


@pytest.mark.parametrize("trigger", Trigger)
def test_what_is_not_in_the_table_is_our_defect(trigger: Trigger) -> None:
    with pytest.raises(AssertionError):
        next_state(State.ENDED, trigger)


def test_groups() -> None:
    assert not CONNECTING & (RECEIVES_DATA | SENDS_DATA)
    assert State.SHUTDOWN_RECEIVED in SENDS_DATA
    assert State.SHUTDOWN_SENT in RECEIVES_DATA

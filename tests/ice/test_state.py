"""The transition table agrees with the prose above it."""

from __future__ import annotations

from sfu.ice.state import TRANSITIONS, IceState, Trigger

WITH_TUPLES = {IceState.CONNECTED, IceState.COMPLETED}
LOSSES = {Trigger.CONSENT_EXPIRED, Trigger.CONNECTION_LOST}


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(IceState)


def test_every_trigger_is_used() -> None:
    assert {trigger for row in TRANSITIONS.values() for trigger in row} == set(Trigger)


def test_closed_is_the_end_and_open_to_all_others() -> None:
    assert TRANSITIONS[IceState.CLOSED] == {}
    for state, row in TRANSITIONS.items():
        if state is not IceState.CLOSED:
            assert row[Trigger.CLOSED] is IceState.CLOSED


def test_nothing_leads_back_to_new() -> None:
    assert all(IceState.NEW not in row.values() for row in TRANSITIONS.values())


def test_a_nomination_completes_everywhere() -> None:
    for state, row in TRANSITIONS.items():
        if state is not IceState.CLOSED:
            assert row[Trigger.NOMINATED] is IceState.COMPLETED


def test_the_last_tuple_is_lost_only_where_there_are_tuples() -> None:
    for state, row in TRANSITIONS.items():
        assert set(row) >= LOSSES if state in WITH_TUPLES else not LOSSES & set(row)
        assert all(row[trigger] is IceState.DISCONNECTED for trigger in LOSSES & set(row))


def test_a_first_check_selects_only_where_nothing_is_selected() -> None:
    for state, row in TRANSITIONS.items():
        assert (Trigger.CHECKED in row) is (state in {IceState.NEW, IceState.DISCONNECTED})

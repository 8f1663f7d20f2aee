"""The transition table."""

from __future__ import annotations

from sfu.dtls.state import TRANSITIONS, Cause, DtlsState

FINAL = {DtlsState.CLOSED, DtlsState.FAILED}


def test_every_state_is_reachable_and_has_a_row() -> None:
    assert set(TRANSITIONS) == set(DtlsState)
    reached = {DtlsState.NEW}
    while more := {new for state in reached for new in TRANSITIONS[state].values()} - reached:
        reached |= more
    assert reached == set(DtlsState)


def test_final_states_are_final_and_closing_is_always_allowed() -> None:
    for state, row in TRANSITIONS.items():
        assert Cause.LOCAL_CLOSE in row
        if state in FINAL:
            assert set(row.values()) == {state}


def test_connected_only_comes_from_a_finished_handshake() -> None:
    ways = [
        (state, cause)
        for state, row in TRANSITIONS.items()
        for cause, new in row.items()
        if new is DtlsState.CONNECTED
    ]
    assert ways == [(DtlsState.CONNECTING, Cause.HANDSHAKE_DONE)]

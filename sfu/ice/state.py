"""The states of a lite agent, and all that may change them.

A lite agent sends no checks and never fails by itself: it is driven by the authenticated checks of its peer
and by their absence.

- ``NEW``: no check came yet. There is no time limit here; who made the agent has one.
- ``CONNECTED``: there are validated tuples, and one of them is used, but the peer has not nominated it: it
  has not nominated any yet, the nominated one went away, the peer moved, or it restarted ICE.
- ``COMPLETED``: the tuple in use is the one that the peer nominated last.
- ``DISCONNECTED``: there were validated tuples and the last one went away. Not the end: any later check leads
  back.
- ``CLOSED``: the end.

In other words: outside ``CONNECTED`` and ``COMPLETED`` no tuple is selected; inside there is always one. A
trigger that is missing in a row cannot happen in that state; asking for it is a bug of the agent.
"""

from __future__ import annotations

import enum
from typing import Final


class IceState(enum.Enum):
    """See the head of this module."""

    NEW = "new"
    CONNECTED = "connected"
    COMPLETED = "completed"
    DISCONNECTED = "disconnected"
    CLOSED = "closed"


class Trigger(enum.Enum):
    """What changes the state. Its value is the reason told to people."""

    CHECKED = "a check arrived"
    """... while no tuple was selected, and its tuple became the selected one."""
    NOMINATED = "the peer nominated a path"
    RESTARTED = "the peer restarted ICE"
    """The first check with new credentials came while a tuple was selected, and did not nominate."""
    MOVED = "the peer uses another path"
    """... than the one in use, without having nominated it: it sends from there, or is heard there alone."""
    FELL_BACK = "the path in use went away, another one is used"
    CONSENT_EXPIRED = "no check arrived within the consent timeout"
    """... so that the last tuple was dropped."""
    CONNECTION_LOST = "the last connection of the peer was closed"
    CLOSED = "closed"


_S, _T = IceState, Trigger

TRANSITIONS: Final[dict[IceState, dict[Trigger, IceState]]] = {
    _S.NEW: {
        _T.CHECKED: _S.CONNECTED,
        _T.NOMINATED: _S.COMPLETED,
        _T.CLOSED: _S.CLOSED,
    },
    _S.CONNECTED: {
        _T.NOMINATED: _S.COMPLETED,
        _T.RESTARTED: _S.CONNECTED,
        _T.MOVED: _S.CONNECTED,
        _T.FELL_BACK: _S.CONNECTED,
        _T.CONSENT_EXPIRED: _S.DISCONNECTED,
        _T.CONNECTION_LOST: _S.DISCONNECTED,
        _T.CLOSED: _S.CLOSED,
    },
    _S.COMPLETED: {
        _T.NOMINATED: _S.COMPLETED,
        _T.RESTARTED: _S.CONNECTED,
        _T.MOVED: _S.CONNECTED,
        _T.FELL_BACK: _S.CONNECTED,
        _T.CONSENT_EXPIRED: _S.DISCONNECTED,
        _T.CONNECTION_LOST: _S.DISCONNECTED,
        _T.CLOSED: _S.CLOSED,
    },
    _S.DISCONNECTED: {
        _T.CHECKED: _S.CONNECTED,
        _T.NOMINATED: _S.COMPLETED,
        _T.CLOSED: _S.CLOSED,
    },
    _S.CLOSED: {},
}

"""The association's states and what moves it between them (RFC 9260 4).

Everything that changes the state is in :data:`TRANSITIONS`; a pair that is not there does not happen, and
:func:`next_state` treats it as a defect of ours. Which chunks a state looks at is in :data:`ACCEPTED`; a
chunk in a state that does not accept it is dropped and counted, whoever sent it.

Two things differ from the figure in the RFC, both because the association lives inside one DTLS connection:

- ``ENDED`` is a state of its own. The RFC goes back to CLOSED, where a new INIT begins anew; here the end is
  final, since the streams above were closed with it. CLOSED is only "not begun", and answers an INIT.
- A handshake that is never answered leads from COOKIE-WAIT or COOKIE-ECHOED back to CLOSED, not to the end: a
  browser with no data channel yet does not listen, and sends its own INIT when it gets one.
"""

from __future__ import annotations

import enum
from typing import Final

from sfu.sctp.chunks import (
    CookieAckChunk,
    CookieEchoChunk,
    DataChunk,
    ErrorChunk,
    ForwardTsnChunk,
    HeartbeatAckChunk,
    HeartbeatChunk,
    InitAckChunk,
    ReconfigChunk,
    SackChunk,
    ShutdownAckChunk,
    ShutdownChunk,
    ShutdownCompleteChunk,
)


class State(enum.Enum):
    """RFC 9260 4, and ``ENDED``."""

    CLOSED = "closed"
    COOKIE_WAIT = "cookie-wait"
    COOKIE_ECHOED = "cookie-echoed"
    ESTABLISHED = "established"
    SHUTDOWN_PENDING = "shutdown-pending"
    SHUTDOWN_SENT = "shutdown-sent"
    SHUTDOWN_RECEIVED = "shutdown-received"
    SHUTDOWN_ACK_SENT = "shutdown-ack-sent"
    ENDED = "ended"


class Trigger(enum.Enum):
    """What changes the state."""

    START = "start() was called"
    INIT_ACK = "a good INIT-ACK"
    COOKIE_ECHO = "a COOKIE-ECHO with a cookie of ours"
    COOKIE_ACK = "a COOKIE-ACK"
    STALE_COOKIE = "an ERROR that says our COOKIE-ECHO came too late"
    T1_EXHAUSTED = "INIT or COOKIE-ECHO repeated in vain"
    SHUTDOWN_REQUESTED = "shutdown() was called"
    ALL_ACKED = "nothing is waiting or outstanding any more"
    SHUTDOWN = "a SHUTDOWN"
    SHUTDOWN_ACK = "a SHUTDOWN-ACK"
    SHUTDOWN_COMPLETE = "a SHUTDOWN-COMPLETE"
    FAILED = "an ABORT either way, or a limit was reached"


CONNECTING: Final = frozenset({State.CLOSED, State.COOKIE_WAIT, State.COOKIE_ECHOED})
"""States before the association is up."""
_DATA: Final = frozenset({State.ESTABLISHED, State.SHUTDOWN_PENDING, State.SHUTDOWN_SENT})
_UP: Final = _DATA | {State.SHUTDOWN_RECEIVED, State.SHUTDOWN_ACK_SENT}

TAKES_MESSAGES: Final = CONNECTING | {State.ESTABLISHED}
"""States in which messages may be queued."""
RECEIVES_DATA: Final = _DATA
"""States that take DATA and FORWARD-TSN (RFC 9260 6)."""
SENDS_DATA: Final = frozenset({State.ESTABLISHED, State.SHUTDOWN_PENDING, State.SHUTDOWN_RECEIVED})
"""States that send DATA, new or again."""

TAKES_SACKS: Final = _DATA | {State.SHUTDOWN_RECEIVED}
"""States in which there may be something to acknowledge."""

TRANSITIONS: Final[dict[State, dict[Trigger, State]]] = {
    State.CLOSED: {
        Trigger.START: State.COOKIE_WAIT,
        Trigger.COOKIE_ECHO: State.ESTABLISHED,
        Trigger.SHUTDOWN_REQUESTED: State.ENDED,
        Trigger.FAILED: State.ENDED,
    },
    State.COOKIE_WAIT: {
        Trigger.INIT_ACK: State.COOKIE_ECHOED,
        Trigger.COOKIE_ECHO: State.ESTABLISHED,
        Trigger.T1_EXHAUSTED: State.CLOSED,
        Trigger.SHUTDOWN_REQUESTED: State.ENDED,
        Trigger.FAILED: State.ENDED,
    },
    State.COOKIE_ECHOED: {
        Trigger.COOKIE_ACK: State.ESTABLISHED,
        Trigger.COOKIE_ECHO: State.ESTABLISHED,
        Trigger.STALE_COOKIE: State.COOKIE_WAIT,
        Trigger.T1_EXHAUSTED: State.CLOSED,
        Trigger.SHUTDOWN_REQUESTED: State.ENDED,
        Trigger.FAILED: State.ENDED,
    },
    State.ESTABLISHED: {
        Trigger.COOKIE_ECHO: State.ESTABLISHED,
        Trigger.SHUTDOWN_REQUESTED: State.SHUTDOWN_PENDING,
        Trigger.SHUTDOWN: State.SHUTDOWN_RECEIVED,
        Trigger.FAILED: State.ENDED,
    },
    State.SHUTDOWN_PENDING: {
        Trigger.COOKIE_ECHO: State.ESTABLISHED,
        Trigger.ALL_ACKED: State.SHUTDOWN_SENT,
        Trigger.SHUTDOWN: State.SHUTDOWN_RECEIVED,
        Trigger.FAILED: State.ENDED,
    },
    State.SHUTDOWN_SENT: {
        Trigger.COOKIE_ECHO: State.ESTABLISHED,
        Trigger.SHUTDOWN: State.SHUTDOWN_ACK_SENT,
        Trigger.SHUTDOWN_ACK: State.ENDED,
        Trigger.FAILED: State.ENDED,
    },
    State.SHUTDOWN_RECEIVED: {
        Trigger.COOKIE_ECHO: State.ESTABLISHED,
        Trigger.SHUTDOWN: State.SHUTDOWN_RECEIVED,
        Trigger.ALL_ACKED: State.SHUTDOWN_ACK_SENT,
        Trigger.FAILED: State.ENDED,
    },
    State.SHUTDOWN_ACK_SENT: {
        Trigger.SHUTDOWN: State.SHUTDOWN_ACK_SENT,
        Trigger.SHUTDOWN_ACK: State.ENDED,
        Trigger.SHUTDOWN_COMPLETE: State.ENDED,
        Trigger.FAILED: State.ENDED,
    },
    State.ENDED: {},
}

ACCEPTED: Final[dict[type, frozenset[State]]] = {
    DataChunk: RECEIVES_DATA,
    ForwardTsnChunk: RECEIVES_DATA,
    SackChunk: TAKES_SACKS,
    InitAckChunk: frozenset({State.COOKIE_WAIT}),
    CookieEchoChunk: CONNECTING | _UP,
    CookieAckChunk: frozenset({State.COOKIE_ECHOED}),
    HeartbeatChunk: _UP | {State.COOKIE_ECHOED},
    HeartbeatAckChunk: _UP,
    ErrorChunk: _UP | {State.COOKIE_ECHOED},
    ReconfigChunk: _DATA | {State.SHUTDOWN_RECEIVED},
    ShutdownChunk: frozenset(
        {State.ESTABLISHED, State.SHUTDOWN_PENDING, State.SHUTDOWN_SENT}
        | {State.SHUTDOWN_RECEIVED, State.SHUTDOWN_ACK_SENT}
    ),
    ShutdownAckChunk: frozenset({State.SHUTDOWN_SENT, State.SHUTDOWN_ACK_SENT}),
    ShutdownCompleteChunk: frozenset({State.SHUTDOWN_ACK_SENT}),
}
"""States in which a chunk is looked at, by its class. INIT and ABORT are looked at in all but ``ENDED``."""


def next_state(state: State, trigger: Trigger) -> State:
    """The state after ``trigger``. Raises :class:`AssertionError` for a pair that is not in the table."""
    following = TRANSITIONS[state].get(trigger)
    assert following is not None, f"{trigger} in {state}"
    return following

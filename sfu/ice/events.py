"""What a lite agent reports, and what it counts."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from sfu.ice.address import Address
from sfu.ice.state import IceState, Trigger


class RemovalReason(enum.Enum):
    """Why a tuple is gone. Its value is the reason told to people."""

    SILENT = "no check arrived within the consent timeout"
    EVICTED = "a newer path took its place"
    CONNECTION_CLOSED = "the connection was closed"


@dataclass(frozen=True, slots=True)
class TupleValidated:
    """A peer authenticated itself from a new address: enough to start DTLS."""

    addr: Address
    """From where DTLS and SRTP may be accepted from now on."""


@dataclass(frozen=True, slots=True)
class TupleSelected:
    """Another tuple is the one to send to, nominated or not."""

    addr: Address
    """The new destination, a validated tuple."""


@dataclass(frozen=True, slots=True)
class TupleRemoved:
    """An address is no longer validated. Closing the agent does not report its tuples one by one."""

    addr: Address
    """From where nothing may be accepted any more."""
    reason: RemovalReason


@dataclass(frozen=True, slots=True)
class CredentialsRetired:
    """A username fragment is no longer answered to. Closing the agent does not report the newest."""

    username_fragment: str
    """What to remove from the map of agents."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The agent is in another state than before."""

    state: IceState
    reason: Trigger
    """What made it change."""


Event: TypeAlias = TupleValidated | TupleSelected | TupleRemoved | CredentialsRetired | StateChanged


@dataclass(slots=True)
class Refused:
    """How many messages were refused, by the first reason that applied."""

    closed: int = 0
    """The agent was closed."""
    backlog: int = 0
    """Answers or events had not been fetched."""
    malformed: int = 0
    """Not an acceptable STUN message."""
    fingerprint: int = 0
    """FINGERPRINT absent or wrong."""
    response: int = 0
    """An answer, though nothing was asked."""
    unauthenticated: int = 0
    """A request without USERNAME or MESSAGE-INTEGRITY."""
    username: int = 0
    """Not one of our username fragments, or one that was retired."""
    integrity: int = 0
    """MESSAGE-INTEGRITY made with another password."""
    unknown_attribute: int = 0
    """Authenticated, answered with 420."""
    bad_request: int = 0
    """Authenticated, answered with 400."""
    role_conflict: int = 0
    """Authenticated, answered with 487."""
    tuple_limit: int = 0
    """Authenticated, but every tuple was in use."""

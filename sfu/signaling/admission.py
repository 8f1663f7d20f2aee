"""Who may ask for how much (:class:`sfu.signaling.limits.SignalingLimits`). Pure: ``now`` is a parameter."""

from __future__ import annotations

from enum import Enum, auto

from sfu.signaling.buckets import AddressBuckets, Bucket, address_key
from sfu.signaling.limits import SignalingLimits

TOO_MANY = "too many requests"
"""What is said to those who are over a limit."""


class Kind(Enum):
    """What an event costs."""

    QUESTION = auto()
    """It concerns nobody else."""
    CHANGE = auto()
    """Others are told, or the whole room list is sent."""
    CHAT = auto()
    """A change that people write."""
    RELAY = auto()
    """A message that is passed on; it has no ack."""


class Allowance:
    """What one socket may still ask for."""

    __slots__ = (
        "_changes", "_chats", "_events", "_relay_bytes", "_relay_copied", "_relays", "address", "exceeded",
    )  # fmt: skip

    def __init__(self, limits: SignalingLimits, remote: str) -> None:
        self.address = address_key(remote)
        self.exceeded = False
        """Whether something was refused already, and logged."""
        self._events = Bucket(limits.events_per_second, limits.events_burst)
        self._changes = Bucket(limits.changes_per_second, limits.changes_burst)
        self._chats = Bucket(limits.chats_per_second, limits.chats_burst)
        self._relays = Bucket(limits.relays_per_second, limits.relays_burst)
        self._relay_bytes = Bucket(limits.relay_bytes_per_second, limits.relay_bytes_burst)
        self._relay_copied = Bucket(limits.relay_copied_bytes_per_second, limits.relay_copied_bytes_burst)

    def take(self, kind: Kind, now: float) -> bool:
        """Spend one event of a kind."""
        match kind:
            case Kind.QUESTION:
                return self._events.take(now)
            case Kind.CHANGE:
                return self._events.take(now) and self._changes.take(now)
            case Kind.CHAT:
                return self._chats.take(now) and self._changes.take(now)
            case Kind.RELAY:
                return self._relays.take(now)

    def take_relay_bytes(self, size: int, copies: int, now: float) -> bool:
        """Spend bytes of what is passed on to so many."""
        return self._relay_bytes.take(now, size) and self._relay_copied.take(now, size * copies)


class Admission:
    """The allowances of all addresses of a node."""

    def __init__(self, limits: SignalingLimits) -> None:
        self._limits = limits
        self._connects = AddressBuckets(
            lambda: Bucket(limits.address_connects_per_second, limits.address_connects_burst)
        )
        self._events = AddressBuckets(
            lambda: Bucket(limits.address_events_per_second, limits.address_events_burst)
        )

    def allowance(self, remote: str) -> Allowance:
        """That of a new socket."""
        return Allowance(self._limits, remote)

    def admits_token(self, remote: str, now: float) -> bool:
        """Whether one more token of this address may be asked about."""
        return self._connects.take(address_key(remote), now)

    def admits_event(self, allowance: Allowance, kind: Kind, now: float) -> bool:
        """Whether one more event of a socket may be handled."""
        return allowance.take(kind, now) and self._events.take(allowance.address, now)

"""A lite ICE agent (RFC 8445 2.5 and 7.3), always controlled: it answers checks and sends none.

The agent proves nothing by itself: a peer that knows the password shows, by an authenticated check, at which
addresses it is. These addresses are the *tuples*. Anything else of a transport (DTLS, SRTP) is to be accepted
only from a tuple, and is sent to the *selected* one: the tuple nominated last, or before any nomination the
first one. A peer whose NAT gave it another address may not know, and so nominates nothing: it is followed to
where it sends from.

Who cannot authenticate gets silence, never an error: RFC 8489 9.1.3 would answer 400 and 401 to strangers,
which tells them that somebody is there and lets them aim the answers at others. To an honest peer a check
that runs into its time-out says the same. Errors go to the authenticated alone (400, 420, 487), so 401 to
nobody.

The states are in :mod:`sfu.ice.state`.
"""

from __future__ import annotations

import ipaddress
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from sfu.ice.address import Address
from sfu.ice.credentials import IceCredentials, make_credentials
from sfu.ice.events import (
    CredentialsRetired,
    Event,
    Refused,
    RemovalReason,
    StateChanged,
    TupleRemoved,
    TupleSelected,
    TupleValidated,
)
from sfu.ice.state import TRANSITIONS, IceState, Trigger
from sfu.ice.stun import (
    BINDING,
    ErrorCode,
    MappedAddress,
    MessageClass,
    ParsedMessage,
    StunError,
    StunMessage,
    parse_untrusted,
)

MAX_TUPLES: Final = 8
"""Most validated tuples of one agent."""
TUPLE_PROTECTION: Final = 8.0
"""Seconds since its last check for which a tuple cannot be made to give way to a newcomer.

Longer than the pauses between the checks of a living path (2.5 s in Chromium, at most 6 s by RFC 7675), so
that a flood of addresses cannot push out the paths in use; it is refused itself."""
MAX_PENDING_DATAGRAMS: Final = 64
"""Answers waiting for ``datagrams_to_send``; input is refused beyond."""
MAX_PENDING_EVENTS: Final = 64
"""Events waiting for ``next_event``; input is refused from here on (one datagram makes at most five)."""
DEFAULT_CONSENT_TIMEOUT: Final = 30.0
MIN_CONSENT_TIMEOUT: Final = 10.0
MAX_CONSENT_TIMEOUT: Final = 60.0

_BAD_REQUEST: Final = ErrorCode(400, "Bad Request")
_UNKNOWN_ATTRIBUTE: Final = ErrorCode(420, "Unknown Attribute")
_ROLE_CONFLICT: Final = ErrorCode(487, "Role Conflict")


class _Generation:
    """One set of credentials. Generations are numbered; each ICE restart makes the next."""

    __slots__ = ("credentials", "number", "used")

    def __init__(self, number: int, credentials: IceCredentials) -> None:
        self.number = number
        self.credentials = credentials
        self.used = False
        """Whether a check was authenticated with them."""


class _Tuple:
    """What is known of a validated remote address."""

    __slots__ = ("generation", "last_heard")

    def __init__(self, generation: int, last_heard: float) -> None:
        self.generation = generation
        self.last_heard = last_heard


class IceAgent:
    """The ICE side of one transport. See the head of this module."""

    __slots__ = (
        "_active_generation",
        "_consent_timeout",
        "_current",
        "_events",
        "_highest_nomination",
        "_outbox",
        "_previous",
        "_random_bytes",
        "_refused",
        "_selected",
        "_state",
        "_tuples",
    )

    def __init__(
        self,
        *,
        consent_timeout: float = DEFAULT_CONSENT_TIMEOUT,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Draw credentials and wait for checks.

        ``consent_timeout`` is how long a tuple may stay silent, 10 to 60 seconds (RFC 7675 5.1 says 30);
        raises ``ValueError`` outside.
        """
        if not MIN_CONSENT_TIMEOUT <= consent_timeout <= MAX_CONSENT_TIMEOUT:
            raise ValueError("consent_timeout must be 10 to 60 seconds")
        self._consent_timeout = consent_timeout
        self._random_bytes = random_bytes
        self._current = _Generation(0, make_credentials(random_bytes))
        self._previous: _Generation | None = None
        self._active_generation = 0
        """The newest generation that a check was accepted with."""
        self._highest_nomination = 0
        """The value that the next one has to exceed; 0 whenever the state is not COMPLETED."""
        self._state = IceState.NEW
        self._tuples: dict[Address, _Tuple] = {}
        self._selected: Address | None = None
        self._outbox: list[tuple[bytes, Address]] = []
        self._events: deque[Event] = deque()
        self._refused = Refused()

    @property
    def credentials(self) -> IceCredentials:
        """The newest credentials: what signaling tells the peer."""
        return self._current.credentials

    @property
    def local_ufrags(self) -> tuple[str, ...]:
        """The username fragments answered to: the newest, and during a restart the one before."""
        if self._previous is None:
            return (self._current.credentials.username_fragment,)
        return (
            self._current.credentials.username_fragment,
            self._previous.credentials.username_fragment,
        )

    @property
    def state(self) -> IceState:
        return self._state

    @property
    def selected(self) -> Address | None:
        """Where to send: a validated tuple in states CONNECTED and COMPLETED, otherwise ``None``."""
        return self._selected

    @property
    def tuples(self) -> tuple[Address, ...]:
        """All validated addresses, at most :data:`MAX_TUPLES`, oldest first."""
        return tuple(self._tuples)

    @property
    def refused(self) -> Refused:
        """Counters of refused input, live."""
        return self._refused

    def is_validated(self, addr: Address) -> bool:
        """Whether DTLS and SRTP from ``addr`` may be looked at."""
        return addr in self._tuples

    def receive_datagram_untrusted(self, data: bytes, addr: Address, now: float) -> None:
        """Take a STUN message from ``addr``.

        Raises :class:`sfu.ice.stun.StunError` for bytes that are not an acceptable STUN message. A message
        that is one, but deserves no attention, is counted in :attr:`refused` and has no other effect.
        """
        refused = self._refused
        if self._state is IceState.CLOSED:
            refused.closed += 1
            return
        if len(self._outbox) >= MAX_PENDING_DATAGRAMS or len(self._events) >= MAX_PENDING_EVENTS:
            refused.backlog += 1
            return
        try:
            parsed = parse_untrusted(data)
        except StunError:
            refused.malformed += 1
            raise
        if not parsed.fingerprint_valid:
            # Where the extension is in use it has to be there and to fit (RFC 8489 6.3, RFC 8445 7.1).
            refused.fingerprint += 1
            return
        message_class = parsed.message.message_class
        if message_class is MessageClass.REQUEST:
            generation = self._authenticate(parsed)
            if generation is not None:
                self._handle_request(parsed, generation, addr, now)
        elif message_class is not MessageClass.INDICATION:
            # We ask nothing, so nobody has an answer for us. An indication is a mere keepalive
            # (RFC 8445 11): unauthenticated, hence without effect.
            refused.response += 1

    def follow(self, addr: Address) -> None:
        """Select the tuple ``addr``, from which packets come that only the peer can have made.

        That is DTLS or SRTP that could be opened. Not if the selected one was checked later, or is of newer
        credentials: then these are late packets of a path that the peer has left.
        """
        entry = self._tuples.get(addr)
        if entry is None or self._selected is None or addr == self._selected:
            return
        selected = self._tuples[self._selected]
        if (entry.generation, entry.last_heard) > (selected.generation, selected.last_heard):
            self._move(addr)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:  # noqa: ARG002 - the common face
        """Return the answers that wait, each with its destination, and forget them."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def get_timer(self) -> float | None:
        """When the longest silent tuple runs out of consent."""
        if not self._tuples:
            return None
        return min(entry.last_heard for entry in self._tuples.values()) + self._consent_timeout

    def handle_timer(self, now: float) -> None:
        """Drop the tuples that were silent for the consent timeout (RFC 7675 5.1)."""
        limit = self._consent_timeout
        expired = [addr for addr, entry in self._tuples.items() if entry.last_heard + limit <= now]
        self._drop(expired, RemovalReason.SILENT, Trigger.CONSENT_EXPIRED)

    def next_event(self) -> Event | None:
        """Return the oldest event not yet seen."""
        return self._events.popleft() if self._events else None

    def restart(self, now: float) -> IceCredentials:
        """Begin an ICE restart (RFC 8445 section 9) and return the new credentials.

        Until the first check with the new credentials arrives, nothing else changes: checks with those that
        the peer used last are answered and the selected tuple stays. Then the older ones are refused, and the
        selection follows the new checks. Allowed in any state but CLOSED (``RuntimeError``).
        """
        if self._state is IceState.CLOSED:
            raise RuntimeError("the agent is closed")
        self.handle_timer(now)
        superseded = self._current
        if superseded.used or self._previous is None or not self._previous.used:
            self._retire_previous()
            self._previous = superseded
        else:
            # A restart that the peer never followed: it still uses those before.
            self._events.append(CredentialsRetired(superseded.credentials.username_fragment))
        self._current = _Generation(superseded.number + 1, make_credentials(self._random_bytes))
        return self._current.credentials

    def remove_address(self, addr: Address, now: float) -> None:
        """Forget ``addr``, whose connection was closed. Nothing happens if it is no tuple."""
        self.handle_timer(now)
        if addr in self._tuples:
            self._drop((addr,), RemovalReason.CONNECTION_CLOSED, Trigger.CONNECTION_LOST)

    def close(self) -> None:
        """End: all is forgotten and nothing is answered any more. A second call does nothing."""
        if self._state is IceState.CLOSED:
            return
        self._tuples.clear()
        self._outbox.clear()
        self._selected = None
        self._retire_previous()
        self._transition(Trigger.CLOSED)

    # --- Checks ---

    def _authenticate(self, parsed: ParsedMessage) -> _Generation | None:
        """Find whose credentials a request was made with (RFC 8489 9.1.3)."""
        username = parsed.message.username
        if username is None or parsed.integrity_offset is None:
            self._refused.unauthenticated += 1
            return None
        # The peer's fragment, after the colon, is not known here: signaling does not carry it.
        ufrag, colon, _remote = username.partition(":")
        for generation in (self._current, self._previous):
            if generation is None or not colon or generation.credentials.username_fragment != ufrag:
                continue
            if parsed.verify_integrity(generation.credentials.password):
                return generation
            self._refused.integrity += 1
            return None
        self._refused.username += 1
        return None

    def _handle_request(
        self, parsed: ParsedMessage, generation: _Generation, addr: Address, now: float
    ) -> None:
        generation.used = True
        if generation is self._current:
            self._retire_previous()
        message, refused = parsed.message, self._refused
        password = generation.credentials.password
        if parsed.unknown_required:
            refused.unknown_attribute += 1
            self._answer(message, addr, password, _UNKNOWN_ATTRIBUTE, parsed.unknown_required)
        elif (
            message.method != BINDING
            or message.priority is None
            or (message.ice_controlled is not None and message.ice_controlling is not None)
        ):
            # PRIORITY and exactly one role belong to every check (RFC 8445 7.1); agents of the time before
            # roles sent none, and a conflict cannot be told then (7.3.1.1).
            refused.bad_request += 1
            self._answer(message, addr, password, _BAD_REQUEST)
        elif message.ice_controlled is not None:
            # Of the two outcomes of the tie-break (RFC 8445 7.3.1.1) the one where we become controlling is
            # not open to a lite agent: it always has the smaller tie-breaker.
            refused.role_conflict += 1
            self._answer(message, addr, password, _ROLE_CONFLICT)
        elif self._refresh(addr, generation.number, now):
            self._answer(message, addr, password)
            self._update_selection(message, addr, generation.number, now)
        else:
            refused.tuple_limit += 1

    def _refresh(self, addr: Address, generation: int, now: float) -> bool:
        """Note a check from ``addr``; ``False`` if there is no room for a new tuple."""
        entry = self._tuples.get(addr)
        if entry is not None:
            entry.last_heard = now
            entry.generation = max(entry.generation, generation)
            return True
        if len(self._tuples) >= MAX_TUPLES:
            victim = self._least_recently_heard()
            silent = now - self._tuples[victim].last_heard
            if self._tuples[victim].generation >= generation and silent < TUPLE_PROTECTION:
                return False
            self._remove(victim, RemovalReason.EVICTED)
        self._tuples[addr] = _Tuple(generation, now)
        self._events.append(TupleValidated(addr))
        return True

    def _least_recently_heard(self) -> Address:
        """The tuple to give way first: older generation, then longest silent; never the selected."""
        others = (addr for addr in self._tuples if addr != self._selected)
        return min(others, key=self._rank)

    def _rank(self, addr: Address) -> tuple[int, float]:
        entry = self._tuples[addr]
        return entry.generation, entry.last_heard

    def _update_selection(self, message: StunMessage, addr: Address, generation: int, now: float) -> None:
        restarted = generation > self._active_generation
        if restarted:
            self._active_generation = generation
            self._highest_nomination = 0
        if self._nominates(message):
            self._select(addr)
            self._transition(Trigger.NOMINATED)
        elif self._selected is None:
            self._select(addr)
            self._transition(Trigger.CHECKED)
        elif restarted:
            self._select(addr)
            self._transition(Trigger.RESTARTED)
        elif now - self._tuples[self._selected].last_heard >= TUPLE_PROTECTION:
            self._move(addr)

    def _move(self, addr: Address) -> None:
        self._highest_nomination = 0
        self._select(addr)
        self._transition(Trigger.MOVED)

    def _nominates(self, message: StunMessage) -> bool:
        """Whether a check makes its tuple the selected one.

        With renomination the highest value wins, so that a late check cannot undo a newer choice; plain
        USE-CANDIDATE, regular or aggressive, works by the last one that arrives.
        """
        if not message.nomination:
            return message.use_candidate
        if message.nomination <= self._highest_nomination:
            return False
        self._highest_nomination = message.nomination
        return True

    def _answer(
        self,
        request: StunMessage,
        addr: Address,
        password: str,
        error: ErrorCode | None = None,
        unknown: tuple[int, ...] | None = None,
    ) -> None:
        """Queue a success or an error: never longer than the request was, so nothing is amplified."""
        answer = StunMessage(
            message_class=MessageClass.SUCCESS if error is None else MessageClass.ERROR,
            method=request.method,
            transaction_id=request.transaction_id,
            xor_mapped_address=_mapped(addr) if error is None else None,
            error_code=error,
            unknown_attributes=unknown,
        )
        self._outbox.append((answer.encode(password=password), addr))

    # --- Tuples, selection, state ---

    def _drop(self, addresses: Iterable[Address], reason: RemovalReason, trigger_if_last: Trigger) -> None:
        """Remove tuples; if the selected one is among them, select the best of the others or disconnect."""
        for addr in addresses:
            self._remove(addr, reason)
        if self._selected is None or self._selected in self._tuples:
            return
        self._highest_nomination = 0
        if self._tuples:
            self._select(max(self._tuples, key=self._rank))
            self._transition(Trigger.FELL_BACK)
        else:
            self._selected = None
            self._transition(trigger_if_last)

    def _remove(self, addr: Address, reason: RemovalReason) -> None:
        del self._tuples[addr]
        self._events.append(TupleRemoved(addr, reason))

    def _select(self, addr: Address) -> None:
        if addr != self._selected:
            self._selected = addr
            self._events.append(TupleSelected(addr))

    def _transition(self, trigger: Trigger) -> None:
        state = TRANSITIONS[self._state][trigger]
        if state is not self._state:
            self._state = state
            self._events.append(StateChanged(state, trigger))

    def _retire_previous(self) -> None:
        if self._previous is not None:
            self._events.append(CredentialsRetired(self._previous.credentials.username_fragment))
            self._previous = None


def _mapped(addr: Address) -> MappedAddress:
    """The address as its owner knows it: IPv4, though a dual-stack socket may show it as IPv6."""
    ip = ipaddress.ip_address(addr[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return MappedAddress(str(ip.ipv4_mapped), addr[1])
    return MappedAddress(addr[0], addr[1])

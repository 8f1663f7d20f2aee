"""A controlling peer, reduced to the checks it sends and the answers it gets."""

from __future__ import annotations

import itertools
from typing import Any

from sfu.ice.address import Address
from sfu.ice.agent import IceAgent
from sfu.ice.credentials import IceCredentials
from sfu.ice.events import Event
from sfu.ice.stun import MessageClass, ParsedMessage, StunMessage, parse_untrusted

_transaction_numbers = itertools.count(1)


def udp(number: int) -> Address:
    """The address of the peer's path ``number``."""
    return ("192.0.2.1", 50_000 + number)


def check(credentials: IceCredentials, *, password: str | None = None, **fields: Any) -> bytes:
    """A check as a controlling agent sends it; ``fields`` change or (``None``) remove attributes."""
    values: dict[str, Any] = {
        "message_class": MessageClass.REQUEST,
        "transaction_id": next(_transaction_numbers).to_bytes(12, "big"),
        "username": f"{credentials.username_fragment}:peer",
        "priority": 1853824767,
        "ice_controlling": 0x0123456789ABCDEF,
        **fields,
    }
    return StunMessage(**values).encode(password=credentials.password if password is None else password)


def send(agent: IceAgent, addr: Address, now: float, **fields: Any) -> ParsedMessage | None:
    """Send a check with the newest credentials and return the answer, if any."""
    return exchange(agent, check(agent.credentials, **fields), addr, now, agent.credentials.password)


def exchange(agent: IceAgent, data: bytes, addr: Address, now: float, password: str) -> ParsedMessage | None:
    """Give ``data`` to the agent; return its answer, if any, once it is what every answer must be."""
    agent.receive_datagram_untrusted(data, addr, now)
    sent = agent.datagrams_to_send(now)
    if not sent:
        return None
    [(answer, destination)] = sent
    assert destination == addr
    assert len(answer) <= len(data)
    parsed = parse_untrusted(answer)
    assert parsed.fingerprint_valid
    assert parsed.verify_integrity(password)
    assert parsed.message.transaction_id == data[8:20]
    return parsed


def is_success(answer: ParsedMessage | None) -> bool:
    return answer is not None and answer.message.message_class is MessageClass.SUCCESS


def error_code(answer: ParsedMessage | None) -> int | None:
    """The code of an error answer; ``None`` for silence or success."""
    if answer is None or answer.message.error_code is None:
        return None
    assert answer.message.message_class is MessageClass.ERROR
    return answer.message.error_code.code


def drain(agent: IceAgent) -> list[Event]:
    """All events that wait."""
    events: list[Event] = []
    while (event := agent.next_event()) is not None:
        events.append(event)
    return events

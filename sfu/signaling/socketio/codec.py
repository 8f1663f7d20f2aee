"""Socket.IO version 5 packets, sans-I/O.

A packet is a type digit, for binary packets the number of attachments and ``-``, a namespace and ``,``
unless it is ``/``, an acknowledgement id if one is wanted or given, and JSON. Bytes inside the JSON are
replaced by ``{"_placeholder": true, "num": n}`` and follow as binary messages of their own, in order.

Two kinds of bad input are told apart. What is not Socket.IO at all ends the connection, as with the
original server. What is a sound event but holds JSON beyond our limits (nested too deeply, numbers out of
range, half a surrogate pair) costs only that event: the error then names the acknowledgement id, so that it
can be refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NoReturn

import msgspec

from sfu.signaling.engineio.codec import Frame, Packet, PacketType, encode_packet, frame_size

MAIN = "/"
"""The main namespace, which packets do not name."""

MAX_ATTACHMENTS = 10
"""Attachments of one packet."""

MAX_ACK_ID = 2**53 - 1
"""Largest acknowledgement id: what a JavaScript client can count to."""

MAX_NAMESPACE_LENGTH = 128
"""Characters in a namespace, the leading slash included; it is echoed in the refusal."""

MAX_DEPTH = 128
"""Nesting of arrays and objects. Far below Python's recursion limit, whatever the depth of the stack
around."""

MAX_SECOND_OPINION = 65_536
"""Characters up to which JSON that msgspec rejects is read again, to tell broken from merely unusable."""

RESERVED_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Names that belong to the library on both sides."""


class SocketIoError(Exception):
    """Input that is not Socket.IO version 5, or is beyond our limits."""

    def __init__(
        self, message: str, *, event_only: bool = False, namespace: str = MAIN, ack_id: int | None = None
    ) -> None:
        super().__init__(message)
        self.event_only = event_only
        """True when a well-formed event has unusable data: the connection need not end."""
        self.namespace = namespace
        """The namespace of that event."""
        self.ack_id = ack_id
        """Its acknowledgement id."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Client: open a namespace, with ``auth`` as payload. Server: it is open, with the socket id."""

    namespace: str = MAIN
    data: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ConnectError:
    """Server: the namespace stays closed."""

    data: Mapping[str, Any]
    namespace: str = MAIN


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Either side leaves a namespace."""

    namespace: str = MAIN


@dataclass(frozen=True, slots=True)
class Event:
    """A named event; ``bytes`` anywhere in ``args`` are attachments."""

    name: str
    args: Sequence[Any]
    ack_id: int | None = None
    """Present when the sender wants an acknowledgement."""
    namespace: str = MAIN


@dataclass(frozen=True, slots=True)
class Ack:
    """The answer to an event."""

    ack_id: int
    args: Sequence[Any]
    namespace: str = MAIN


SocketIoPacket = Connect | ConnectError | Disconnect | Event | Ack


@dataclass(frozen=True, slots=True)
class Encoded:
    """A packet ready to be queued, shared by all the sockets it goes to."""

    frames: tuple[Frame, ...]
    """Engine.IO frames: one text frame, then the attachments."""
    size: int
    """Bytes of all frames."""
    namespace: str = MAIN


def check_namespace(namespace: str) -> None:
    """
    Raises:
        ValueError: no packet can name this namespace.
    """
    if not namespace.startswith("/") or "," in namespace or len(namespace) > MAX_NAMESPACE_LENGTH:
        raise ValueError(f"{namespace!r} is no namespace")


# --- encoding -------------------------------------------------------------------------------------

_CONNECT, _DISCONNECT, _EVENT, _ACK, _CONNECT_ERROR, _BINARY_EVENT, _BINARY_ACK = "0123456"


def encode_event(name: str, *args: object, namespace: str = MAIN) -> Encoded:
    """Encode an event once, for any number of sockets in one namespace.

    Bytes are found in dicts, lists and tuples; not inside structs.

    Raises:
        ValueError: a reserved name, or more than :data:`MAX_ATTACHMENTS` attachments.
        TypeError: something that JSON cannot hold.
    """
    if name in RESERVED_EVENTS:
        raise ValueError(f"event name {name!r} is reserved")
    return _encode(_EVENT, _BINARY_EVENT, namespace, None, [name, *args])


def encode(packet: SocketIoPacket) -> Encoded:
    """Encode any packet. Raises as :func:`encode_event`."""
    match packet:
        case Event(name, args, ack_id, namespace):
            if name in RESERVED_EVENTS:
                raise ValueError(f"event name {name!r} is reserved")
            return _encode(_EVENT, _BINARY_EVENT, namespace, ack_id, [name, *args])
        case Ack(ack_id, args, namespace):
            return _encode(_ACK, _BINARY_ACK, namespace, ack_id, list(args))
        case Connect(namespace, data):
            payload = "" if data is None else _to_json(data)
            return _encoded(namespace, _CONNECT + _prefix(namespace) + payload)
        case ConnectError(data, namespace):
            return _encoded(namespace, _CONNECT_ERROR + _prefix(namespace) + _to_json(data))
        case Disconnect(namespace):
            return _encoded(namespace, _DISCONNECT + _prefix(namespace))


def _encode(plain: str, binary: str, namespace: str, ack_id: int | None, data: list[Any]) -> Encoded:
    suffix = _prefix(namespace) + ("" if ack_id is None else str(ack_id))
    if not _has_bytes(data):
        return _encoded(namespace, plain + suffix + _to_json(data))
    attachments: list[bytes] = []
    text = _to_json(_take_bytes(data, attachments))
    if len(attachments) > MAX_ATTACHMENTS:
        raise ValueError(f"{len(attachments)} attachments, at most {MAX_ATTACHMENTS}")
    return _encoded(namespace, f"{binary}{len(attachments)}-{suffix}{text}", *attachments)


def _encoded(namespace: str, text: str, *attachments: bytes) -> Encoded:
    frames = (
        encode_packet(Packet(PacketType.MESSAGE, text)),
        *(encode_packet(Packet(PacketType.MESSAGE, attachment)) for attachment in attachments),
    )
    return Encoded(frames, sum(map(frame_size, frames)), namespace)


def _prefix(namespace: str) -> str:
    return "" if namespace == MAIN else namespace + ","


def _to_json(data: object) -> str:
    return msgspec.json.encode(data).decode()


def _has_bytes(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_bytes, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_bytes, value))
    return isinstance(value, bytes | bytearray | memoryview)


def _take_bytes(value: object, attachments: list[bytes]) -> object:
    if isinstance(value, dict):
        return {key: _take_bytes(item, attachments) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_take_bytes(item, attachments) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        attachments.append(bytes(value))
        return {"_placeholder": True, "num": len(attachments) - 1}
    return value


# --- decoding -------------------------------------------------------------------------------------

_HEAD = re.compile(
    r"(?P<type>[0-6])"
    r"(?:(?<=[56])(?P<attachments>[0-9]{1,2})-)?"
    r"(?:(?P<namespace>/[^,]{0,127})(?:,|\Z))?"
    r"(?P<ack_id>[0-9]{1,16})?"
)


@dataclass(slots=True)
class _Pending:
    """A binary packet whose attachments are still to come."""

    type: str
    namespace: str
    ack_id: int | None
    data: list[Any]
    wanted: int
    attachments: list[bytes]
    size: int = 0


class Decoder:
    """Turns the messages of one connection into packets."""

    def __init__(self, *, max_attachment_bytes: int) -> None:
        """
        Args:
            max_attachment_bytes: limit on all attachments of one packet together.
        """
        self._max_attachment_bytes = max_attachment_bytes
        self._pending: _Pending | None = None

    def receive_untrusted(self, message: str | bytes) -> SocketIoPacket | None:
        """The packet that this message completes; None while attachments are missing.

        Raises:
            SocketIoError: see the class. Nothing is kept of the packet at fault.
        """
        pending, self._pending = self._pending, None
        if isinstance(message, str):
            if pending is not None:
                raise SocketIoError("text where an attachment was due")
            return self._decode_text_untrusted(message)
        if pending is None:
            raise SocketIoError("an attachment that no packet announced")
        pending.attachments.append(message)
        pending.size += len(message)
        if pending.size > self._max_attachment_bytes:
            raise SocketIoError("attachments too large")
        if len(pending.attachments) < pending.wanted:
            self._pending = pending
            return None
        return _complete_untrusted(pending)

    def _decode_text_untrusted(self, text: str) -> SocketIoPacket | None:
        head = _HEAD.match(text)
        if head is None:
            raise SocketIoError("unknown packet type")
        packet_type = head["type"]
        namespace = head["namespace"] or MAIN
        ack_id = None if head["ack_id"] is None else int(head["ack_id"])
        if ack_id is not None and ack_id > MAX_ACK_ID:
            raise SocketIoError("acknowledgement id out of range")
        json_text = text[head.end() :]
        if packet_type in (_CONNECT, _CONNECT_ERROR, _DISCONNECT):
            if ack_id is not None:
                raise SocketIoError("an acknowledgement id where none belongs")
            return _decode_control_untrusted(packet_type, namespace, json_text)
        data = _decode_array_untrusted(packet_type, namespace, ack_id, json_text)
        if packet_type in (_EVENT, _ACK):
            return _finish_untrusted(packet_type, namespace, ack_id, data)
        if head["attachments"] is None or int(head["attachments"]) > MAX_ATTACHMENTS:
            raise SocketIoError("bad number of attachments")
        pending = _Pending(packet_type, namespace, ack_id, data, int(head["attachments"]), [])
        if pending.wanted:
            self._pending = pending
            return None
        return _complete_untrusted(pending)


def _decode_control_untrusted(packet_type: str, namespace: str, json_text: str) -> SocketIoPacket:
    if packet_type == _DISCONNECT:
        if json_text:
            raise SocketIoError("a disconnect packet has no data")
        return Disconnect(namespace)
    data = None
    if json_text:
        data = _from_json_untrusted(json_text)
        if not isinstance(data, dict):
            raise SocketIoError("not an object")
    if packet_type == _CONNECT:
        return Connect(namespace, data)
    if data is None:
        raise SocketIoError("not an object")
    return ConnectError(data, namespace)


def _decode_array_untrusted(
    packet_type: str, namespace: str, ack_id: int | None, json_text: str
) -> list[Any]:
    try:
        data = _from_json_untrusted(json_text)
    except SocketIoError as error:
        # The attachments of a binary packet would follow, so only plain events can be passed over.
        if error.event_only and packet_type == _EVENT:
            error.namespace, error.ack_id = namespace, ack_id
            raise
        raise SocketIoError(str(error)) from None
    if not isinstance(data, list):
        raise SocketIoError("not an array")
    return data


def _finish_untrusted(
    packet_type: str, namespace: str, ack_id: int | None, data: list[Any]
) -> SocketIoPacket:
    if packet_type in (_ACK, _BINARY_ACK):
        if ack_id is None:
            raise SocketIoError("an acknowledgement without id")
        return Ack(ack_id, data, namespace)
    if not data or not isinstance(data[0], str):
        raise SocketIoError("an event without name")
    name: str = data[0]
    if name in RESERVED_EVENTS:
        raise SocketIoError("reserved event name")
    return Event(name, data[1:], ack_id, namespace)


def _complete_untrusted(pending: _Pending) -> SocketIoPacket:
    data = [_put_bytes_untrusted(value, pending.attachments) for value in pending.data]
    return _finish_untrusted(pending.type, pending.namespace, pending.ack_id, data)


def _put_bytes_untrusted(value: Any, attachments: Sequence[bytes]) -> Any:
    """Replace placeholders. Recursion is bounded by :data:`MAX_DEPTH`."""
    if isinstance(value, list):
        return [_put_bytes_untrusted(item, attachments) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("_placeholder") is not True:
        return {key: _put_bytes_untrusted(item, attachments) for key, item in value.items()}
    number = value.get("num")
    if type(number) is not int or not 0 <= number < len(attachments):
        raise SocketIoError("a placeholder without attachment")
    return attachments[number]


# --- JSON -----------------------------------------------------------------------------------------

_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.?[^"\\]*+)*+(?:"|\Z)', re.DOTALL)
"""String literals; one that never ends reaches to the end, so that matching stays linear."""

_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEP = tuple({**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", -1)}.get(byte, 0) for byte in range(256))


def _from_json_untrusted(text: str) -> Any:
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise SocketIoError("nested too deeply", event_only=True)
    try:
        return msgspec.json.decode(text)
    except ValueError:  # msgspec's errors and UnicodeEncodeError alike
        raise SocketIoError("invalid JSON", event_only=_is_json(text)) from None


def _depth(text: str) -> int:
    outside = _STRINGS.sub(b"", text.encode("utf-8", "surrogatepass"))
    return max(accumulate(map(_STEP.__getitem__, outside.translate(None, _NOT_BRACKETS))), default=0)


def _is_json(text: str) -> bool:
    """Whether JavaScript would read what msgspec would not (called with bounded depth only)."""
    if len(text) > MAX_SECOND_OPINION:
        return False
    try:
        json.loads(text, parse_int=len, parse_float=len, parse_constant=_refuse_constant)
    except ValueError:
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)

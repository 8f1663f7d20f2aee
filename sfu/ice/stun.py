"""STUN messages as ICE uses them (RFC 8489, RFC 8445 section 16): parse, check, build.

A message is a 20-byte header and a list of attributes, each a 16-bit type, a 16-bit length and a value padded
to four bytes. ``_ATTRIBUTES`` is all that is known about the contents of attributes: one row each gives the
field of :class:`StunMessage` it fills, its decoder and its encoder. Everything else here is framing.

Two attributes are not fields, because they speak about the bytes before them: MESSAGE-INTEGRITY (HMAC-SHA1
under the receiver's password) and FINGERPRINT (a CRC-32 that tells STUN from other traffic).
:func:`parse_untrusted` checks the fingerprint at once and leaves the integrity to
:meth:`ParsedMessage.verify_integrity`, since the password is found by the user name inside.
"""

from __future__ import annotations

import enum
import hmac
import ipaddress
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

MAX_MESSAGE_SIZE: Final = 1280
"""Longest message accepted, in bytes: what fits every IPv6 path unfragmented. Real checks take 100 to 200."""
MAX_ATTRIBUTES: Final = 32
"""Most attributes in one message. Browsers send about ten."""
MAX_USERNAME_SIZE: Final = 508
"""Longest USERNAME in bytes (RFC 8489 14.3)."""
MAX_TEXT_SIZE: Final = 763
"""Longest SOFTWARE or reason phrase in bytes: 127 characters of UTF-8 (RFC 8489 14.8, 14.14)."""

MAGIC_COOKIE: Final = 0x2112A442
HEADER_SIZE: Final = 20
TRANSACTION_ID_SIZE: Final = 12
BINDING: Final = 0x01
"""The Binding method, the only one of ICE."""

MAX_METHOD: Final = 0xFF
"""Methods above are kept free: their first byte would look like other traffic (RFC 7983 section 5)."""

_COOKIE_BYTES: Final = MAGIC_COOKIE.to_bytes(4, "big")
_INTEGRITY_SIZE: Final = 20
_FINGERPRINT_XOR: Final = 0x5354554E
_FAMILY_IPV4: Final = 1
_FAMILY_IPV6: Final = 2
_COMPREHENSION_OPTIONAL: Final = 0x8000
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE_HEADER = struct.Struct("!HH")


class StunError(Exception):
    """The bytes are not an acceptable STUN message."""


class MessageClass(enum.IntEnum):
    """The two class bits (RFC 8489 section 5)."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


class AttributeType(enum.IntEnum):
    """Attribute types this codec understands; those below 0x8000 are comprehension-required."""

    MAPPED_ADDRESS = 0x0001
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    REALM = 0x0014
    NONCE = 0x0015
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A
    NOMINATION = 0xC001
    """draft-thatcher-ice-renomination, as browsers send it."""


class ErrorCode(NamedTuple):
    """ERROR-CODE (RFC 8489 14.8)."""

    code: int
    """300 to 699."""
    reason: str


class MappedAddress(NamedTuple):
    """The address inside XOR-MAPPED-ADDRESS (RFC 8489 14.2)."""

    host: str
    """An IPv4 or IPv6 literal."""
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StunMessage:
    """What a message says. ``None`` or ``False`` means that the attribute is absent."""

    message_class: MessageClass
    method: int = BINDING
    """0 to 255."""
    transaction_id: bytes
    """12 bytes."""
    software: str | None = None
    username: str | None = None
    """``local:remote`` username fragments, from the receiver's point of view (RFC 8445 7.2.2)."""
    priority: int | None = None
    """32 bits: of the peer-reflexive candidate that the check may reveal (RFC 8445 16.1)."""
    use_candidate: bool = False
    nomination: int | None = None
    """32 bits; of several nominations the highest wins."""
    ice_controlled: int | None = None
    """64-bit tie-breaker of a sender in the controlled role."""
    ice_controlling: int | None = None
    """64-bit tie-breaker of a sender in the controlling role."""
    xor_mapped_address: MappedAddress | None = None
    error_code: ErrorCode | None = None
    unknown_attributes: tuple[int, ...] | None = None
    """Attribute types that a 420 error complains about."""

    def encode(self, *, password: str | None = None, fingerprint: bool = True) -> bytes:
        """Return the message as bytes, with MESSAGE-INTEGRITY if a ``password`` is given.

        Raises ``ValueError`` or ``struct.error`` for a field out of its range: a fault of the caller.
        """
        if len(self.transaction_id) != TRANSACTION_ID_SIZE:
            raise ValueError("a transaction id has 12 bytes")
        body = bytearray()
        for attribute_type, codec in _ATTRIBUTES.items():
            value = getattr(self, codec.field)
            if value is not None and value is not False:
                _append(body, attribute_type, codec.encode(value, self.transaction_id))
        if password is not None:
            header = self._header(len(body) + 4 + _INTEGRITY_SIZE)
            _append(body, AttributeType.MESSAGE_INTEGRITY, _hmac_sha1(password.encode(), header + body))
        if fingerprint:
            header = self._header(len(body) + 8)
            _append(body, AttributeType.FINGERPRINT, _fingerprint(header + body).to_bytes(4, "big"))
        return self._header(len(body)) + body

    def _header(self, length: int) -> bytes:
        message_type = encode_message_type(self.message_class, self.method)
        return _HEADER.pack(message_type, length, MAGIC_COOKIE, self.transaction_id)


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """A received message together with what its bytes prove."""

    message: StunMessage
    unknown_required: tuple[int, ...]
    """Comprehension-required types that are not understood, in order, each once (RFC 8489 6.3.1)."""
    fingerprint_valid: bool | None
    """Whether FINGERPRINT fits; ``None`` without one."""
    data: bytes
    """The whole datagram."""
    integrity_offset: int | None
    """Where MESSAGE-INTEGRITY begins in ``data``; ``None`` without one. Its length has been checked."""

    def verify_integrity(self, password: str) -> bool:
        """Whether MESSAGE-INTEGRITY is there and made with ``password`` (RFC 8489 14.5), in constant time."""
        offset = self.integrity_offset
        if offset is None:
            return False
        # The length field counts up to and including this attribute, whatever follows it.
        length = (offset + 4 + _INTEGRITY_SIZE - HEADER_SIZE).to_bytes(2, "big")
        covered = b"".join((self.data[:2], length, self.data[4:offset]))
        received = self.data[offset + 4 : offset + 4 + _INTEGRITY_SIZE]
        return hmac.compare_digest(received, _hmac_sha1(password.encode(), covered))


def is_stun(data: bytes) -> bool:
    """Whether a datagram claims to be STUN: first byte 0 to 3 (RFC 7983), magic cookie. Cannot fail."""
    return len(data) >= HEADER_SIZE and data[0] < 4 and data[4:8] == _COOKIE_BYTES


def local_ufrag_untrusted(data: bytes) -> str:
    """Return the part of USERNAME before the colon: the receiver's username fragment, unproved.

    Reads no more of the message than it must; the caller looks up the agent that will parse the rest. Raises
    :class:`StunError` if there is no such user name.
    """
    if not is_stun(data) or len(data) > MAX_MESSAGE_SIZE:
        raise StunError("not a STUN message")
    position = HEADER_SIZE
    for _ in range(MAX_ATTRIBUTES):
        if position + 4 > len(data):
            break
        attribute_type, length = _ATTRIBUTE_HEADER.unpack_from(data, position)
        position += 4
        if attribute_type == AttributeType.USERNAME:
            ufrag, colon, _remote = data[position : position + length].partition(b":")
            if not colon or position + length > len(data) or not ufrag.isascii():
                raise StunError("malformed USERNAME")
            return ufrag.decode("ascii")
        position += (length + 3) & ~3
    raise StunError("no USERNAME")


def parse_untrusted(data: bytes) -> ParsedMessage:
    """Parse one datagram or frame.

    Of an attribute that occurs twice the first counts (RFC 8489 section 14). What follows MESSAGE-INTEGRITY
    is ignored, except FINGERPRINT (14.5), which must come last. Raises :class:`StunError`.
    """
    message_class, method, transaction_id = _parse_header(data)
    fields: dict[str, Any] = {}
    unknown: list[int] = []
    integrity_offset: int | None = None
    fingerprint_valid: bool | None = None
    position, count, size = HEADER_SIZE, 0, len(data)
    while position < size:
        count += 1
        if count > MAX_ATTRIBUTES:
            raise StunError("too many attributes")
        # The body is a multiple of four, and so is every step: a header always fits.
        attribute_type, length = _ATTRIBUTE_HEADER.unpack_from(data, position)
        start = position + 4
        end = start + length
        following = (end + 3) & ~3
        if following > size:
            raise StunError("attribute longer than the message")
        if attribute_type == AttributeType.FINGERPRINT:
            if length != 4 or following != size:
                raise StunError("malformed FINGERPRINT, or not the last attribute")
            # As the last attribute it needs no correction of the length field (14.7).
            fingerprint_valid = int.from_bytes(data[start:end], "big") == _fingerprint(data[:position])
        elif integrity_offset is not None:
            pass
        elif attribute_type == AttributeType.MESSAGE_INTEGRITY:
            if length != _INTEGRITY_SIZE:
                raise StunError("malformed MESSAGE-INTEGRITY")
            integrity_offset = position
        elif (codec := _ATTRIBUTES.get(attribute_type)) is not None:
            if codec.field not in fields:
                fields[codec.field] = codec.decode(data[start:end], transaction_id)
        elif (
            attribute_type < _COMPREHENSION_OPTIONAL
            and attribute_type not in _IGNORED
            and attribute_type not in unknown
        ):
            unknown.append(attribute_type)
        position = following
    return ParsedMessage(
        message=StunMessage(
            message_class=message_class, method=method, transaction_id=transaction_id, **fields
        ),
        unknown_required=tuple(unknown),
        fingerprint_valid=fingerprint_valid,
        data=data,
        integrity_offset=integrity_offset,
    )


def encode_message_type(message_class: MessageClass, method: int) -> int:
    """Interleave the class and the method into the message type (RFC 8489 section 5)."""
    if not 0 <= method <= MAX_METHOD:
        raise ValueError("method out of range")
    bits = (method & 0x80) << 2 | (method & 0x70) << 1 | (method & 0x0F)
    return bits | (message_class & 2) << 7 | (message_class & 1) << 4


def decode_message_type(message_type: int) -> tuple[MessageClass, int]:
    """Undo :func:`encode_message_type`, for a type whose first byte is 0 to 3."""
    method = (message_type & 0x200) >> 2 | (message_type & 0xE0) >> 1 | (message_type & 0x0F)
    return MessageClass((message_type & 0x100) >> 7 | (message_type & 0x10) >> 4), method


def _parse_header(data: bytes) -> tuple[MessageClass, int, bytes]:
    if not is_stun(data):
        raise StunError("not a STUN message")
    if len(data) > MAX_MESSAGE_SIZE:
        raise StunError("message too long")
    message_type, length, _cookie, transaction_id = _HEADER.unpack_from(data)
    if length % 4 or length != len(data) - HEADER_SIZE:
        raise StunError("length field does not fit")
    message_class, method = decode_message_type(message_type)
    return message_class, method, transaction_id


def _append(body: bytearray, attribute_type: int, value: bytes) -> None:
    body += _ATTRIBUTE_HEADER.pack(attribute_type, len(value))
    body += value
    body += bytes(-len(value) % 4)


def _hmac_sha1(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha1")


def _fingerprint(data: bytes) -> int:
    return zlib.crc32(data) ^ _FINGERPRINT_XOR


# --- Attribute values: decoders get (value, transaction id) and raise StunError only ---


def _decode_text(limit: int) -> Callable[[bytes, bytes], str]:
    def decode(value: bytes, _transaction_id: bytes) -> str:
        if len(value) > limit:
            raise StunError("text too long")
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise StunError("text is not UTF-8") from None

    return decode


def _encode_text(limit: int) -> Callable[[str, bytes], bytes]:
    def encode(text: str, _transaction_id: bytes) -> bytes:
        value = text.encode("utf-8")
        if len(value) > limit:
            raise ValueError("text too long")
        return value

    return encode


def _decode_uint(size: int) -> Callable[[bytes, bytes], int]:
    def decode(value: bytes, _transaction_id: bytes) -> int:
        if len(value) != size:
            raise StunError("integer of the wrong size")
        return int.from_bytes(value, "big")

    return decode


def _encode_uint(size: int) -> Callable[[int, bytes], bytes]:
    def encode(value: int, _transaction_id: bytes) -> bytes:
        try:
            return value.to_bytes(size, "big")
        except OverflowError:
            raise ValueError("integer out of range") from None

    return encode


def _decode_flag(value: bytes, _transaction_id: bytes) -> bool:
    if value:
        raise StunError("flag with a value")
    return True


def _encode_flag(_value: bool, _transaction_id: bytes) -> bytes:
    return b""


def _xor(value: bytes, pad: bytes) -> bytes:
    size = len(value)
    return (int.from_bytes(value, "big") ^ int.from_bytes(pad[:size], "big")).to_bytes(size, "big")


def _decode_xor_address(value: bytes, transaction_id: bytes) -> MappedAddress:
    if (len(value), value[1:2]) not in ((8, b"\x01"), (20, b"\x02")):
        raise StunError("malformed address")
    port = int.from_bytes(_xor(value[2:4], _COOKIE_BYTES), "big")
    packed = _xor(value[4:], _COOKIE_BYTES + transaction_id)
    return MappedAddress(str(ipaddress.ip_address(packed)), port)


def _encode_xor_address(address: MappedAddress, transaction_id: bytes) -> bytes:
    ip = ipaddress.ip_address(address.host)
    family = _FAMILY_IPV4 if ip.version == 4 else _FAMILY_IPV6
    port = _xor(address.port.to_bytes(2, "big"), _COOKIE_BYTES)
    return bytes((0, family)) + port + _xor(ip.packed, _COOKIE_BYTES + transaction_id)


def _decode_error_code(value: bytes, transaction_id: bytes) -> ErrorCode:
    if len(value) < 4:
        raise StunError("malformed ERROR-CODE")
    hundreds, rest = value[2] & 0x07, value[3]
    if not 3 <= hundreds <= 6 or rest > 99:
        raise StunError("error code out of range")
    return ErrorCode(hundreds * 100 + rest, _decode_reason(value[4:], transaction_id))


def _encode_error_code(error: ErrorCode, transaction_id: bytes) -> bytes:
    if not 300 <= error.code <= 699:
        raise ValueError("error code out of range")
    return bytes((0, 0, *divmod(error.code, 100))) + _encode_reason(error.reason, transaction_id)


def _decode_unknown(value: bytes, _transaction_id: bytes) -> tuple[int, ...]:
    if len(value) % 2:
        raise StunError("malformed UNKNOWN-ATTRIBUTES")
    return struct.unpack(f"!{len(value) // 2}H", value)


def _encode_unknown(types: tuple[int, ...], _transaction_id: bytes) -> bytes:
    return struct.pack(f"!{len(types)}H", *types)


_decode_reason = _decode_text(MAX_TEXT_SIZE)
_encode_reason = _encode_text(MAX_TEXT_SIZE)


class _Codec(NamedTuple):
    field: str
    decode: Callable[[bytes, bytes], object]
    encode: Callable[[Any, bytes], bytes]


_ATTRIBUTES: Final[dict[int, _Codec]] = {
    AttributeType.SOFTWARE: _Codec("software", _decode_text(MAX_TEXT_SIZE), _encode_text(MAX_TEXT_SIZE)),
    AttributeType.PRIORITY: _Codec("priority", _decode_uint(4), _encode_uint(4)),
    AttributeType.USE_CANDIDATE: _Codec("use_candidate", _decode_flag, _encode_flag),
    AttributeType.NOMINATION: _Codec("nomination", _decode_uint(4), _encode_uint(4)),
    AttributeType.ICE_CONTROLLED: _Codec("ice_controlled", _decode_uint(8), _encode_uint(8)),
    AttributeType.ICE_CONTROLLING: _Codec("ice_controlling", _decode_uint(8), _encode_uint(8)),
    AttributeType.ERROR_CODE: _Codec("error_code", _decode_error_code, _encode_error_code),
    AttributeType.UNKNOWN_ATTRIBUTES: _Codec("unknown_attributes", _decode_unknown, _encode_unknown),
    AttributeType.XOR_MAPPED_ADDRESS: _Codec("xor_mapped_address", _decode_xor_address, _encode_xor_address),
    AttributeType.USERNAME: _Codec(
        "username", _decode_text(MAX_USERNAME_SIZE), _encode_text(MAX_USERNAME_SIZE)
    ),
}
"""Field, decoder and encoder of each attribute, in the order in which they are written."""

_IGNORED: Final = frozenset(
    {
        AttributeType.MAPPED_ADDRESS,
        AttributeType.REALM,
        AttributeType.NONCE,
        AttributeType.MESSAGE_INTEGRITY_SHA256,
    }
)
"""Comprehension-required attributes that are understood and have no meaning in a check."""

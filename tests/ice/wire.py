"""STUN bytes made by hand, independent of the encoder under test, and random messages."""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib

from hypothesis import strategies as st

from sfu.ice.stun import MAGIC_COOKIE, ErrorCode, MappedAddress, MessageClass, StunMessage


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def assemble(
    body: bytes,
    *,
    message_type: int = 0x0001,
    transaction_id: bytes = bytes(12),
    password: str | None = None,
    after: bytes = b"",
    fingerprint: bool = True,
) -> bytes:
    """A message of ``body``, then MESSAGE-INTEGRITY under ``password``, ``after``, and FINGERPRINT."""

    def header(length: int) -> bytes:
        return struct.pack("!HHI12s", message_type, length, MAGIC_COOKIE, transaction_id)

    if password is not None:
        digest = hmac.new(password.encode(), header(len(body) + 24) + body, hashlib.sha1).digest()
        body += attribute(0x0008, digest)
    body += after
    if fingerprint:
        crc = zlib.crc32(header(len(body) + 8) + body) ^ 0x5354554E
        body += attribute(0x8028, struct.pack("!I", crc))
    return header(len(body)) + body


def uints(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


def texts(max_size: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), max_size=max_size)


def addresses() -> st.SearchStrategy[MappedAddress]:
    hosts = st.ip_addresses().map(str)
    return st.builds(MappedAddress, hosts, uints(16))


def messages() -> st.SearchStrategy[StunMessage]:
    """Any message that the codec can express, small enough to be accepted."""
    return st.builds(
        StunMessage,
        message_class=st.sampled_from(MessageClass),
        method=uints(8),
        transaction_id=st.binary(min_size=12, max_size=12),
        software=st.none() | texts(20),
        username=st.none() | texts(40) | st.from_regex(r"[0-9a-z]{1,32}:[0-9a-z]{1,32}", fullmatch=True),
        priority=st.none() | uints(32),
        use_candidate=st.booleans(),
        nomination=st.none() | uints(32),
        ice_controlled=st.none() | uints(64),
        ice_controlling=st.none() | uints(64),
        xor_mapped_address=st.none() | addresses(),
        error_code=st.none() | st.builds(ErrorCode, st.integers(300, 699), texts(20)),
        unknown_attributes=st.none() | st.lists(uints(16), max_size=8).map(tuple),
    )

"""Serial number arithmetic (RFC 1982, RFC 9260 1.6): TSNs are 32 bits, stream sequence numbers 16.

Inside the engine a TSN is an *extended* number: a plain ``int`` that never wraps and whose low 32 bits are
what travels. Only the edges convert, so that everything between compares and subtracts without thinking.
"""

from __future__ import annotations

TSN_MASK = 0xFFFF_FFFF
SSN_MASK = 0xFFFF
_TSN_HALF = 0x8000_0000
_SSN_HALF = 0x8000


def extend_tsn(reference: int, tsn: int) -> int:
    """Return the extended number nearest to ``reference`` whose low 32 bits are ``tsn``."""
    return reference + ((tsn - reference + _TSN_HALF & TSN_MASK) - _TSN_HALF)


def ssn_is_newer(ssn: int, than: int) -> bool:
    """Say whether a stream sequence number comes after another (RFC 9260 1.6); equal numbers do not."""
    return 0 < (ssn - than & SSN_MASK) < _SSN_HALF

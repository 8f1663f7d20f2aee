"""Token buckets: how much of something may happen at once, and how much more each second.

Pure: ``now`` is a parameter, in seconds on a monotonic clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

MAX_ADDRESSES = 65_536
"""Addresses that are remembered; beyond it the one that was silent longest is forgotten."""

IPV6_PREFIX = 64
"""Bits of an IPv6 address that count: one household has all the rest."""


class Bucket:
    """One allowance."""

    __slots__ = ("_burst", "_per_second", "_spent", "_then")

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._spent = 0.0
        self._then = 0.0

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Spend ``cost``, unless that is more than there is."""
        spent = self._spent_by(now)
        if spent + cost > self._burst:
            return False
        self._spent, self._then = spent + cost, now
        return True

    def is_full(self, now: float) -> bool:
        """Whether a new bucket would be no different."""
        return self._spent_by(now) == 0.0

    def _spent_by(self, now: float) -> float:
        return max(0.0, self._spent - (now - self._then) * self._per_second)


class AddressBuckets:
    """A bucket for each address (:func:`address_key`). One that is full again is forgotten."""

    def __init__(self, new: Callable[[], Bucket]) -> None:
        self._new = new
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, address: str, now: float) -> bool:
        """Spend one for this address, unless there is none left."""
        bucket = self._buckets.get(address)
        if bucket is None:
            self._forget(now)
            bucket = self._buckets[address] = self._new()
        self._buckets.move_to_end(address)
        return bucket.take(now)

    def _forget(self, now: float) -> None:
        """Make room for a new address. Two steps for each, so that idle ones go faster than others come."""
        for _ in range(2):
            if not self._buckets:
                return
            oldest = next(iter(self._buckets))
            if not self._buckets[oldest].is_full(now) and len(self._buckets) < MAX_ADDRESSES:
                return
            del self._buckets[oldest]


def address_key(remote: str) -> str:
    """What counts as one address: an IPv4 address, or the network of an IPv6 address."""
    try:
        address = ip_address(remote)
    except ValueError:  # a peer on a local socket has none
        return remote
    if not isinstance(address, IPv6Address):
        return remote
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(int(address) >> (128 - IPV6_PREFIX))

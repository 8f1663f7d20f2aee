"""HEARTBEAT: is the path alive when nothing is sent, and is that HEARTBEAT-ACK ours (RFC 9260 8.3).

ICE consent checks the path more often than this; the heartbeat finds a peer whose SCTP is gone while its DTLS
is not, and keeps the round-trip time fresh.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Final

from sfu.sctp.chunks import HeartbeatAckChunk, HeartbeatChunk

HEARTBEAT_INTERVAL = 30.0
"""Seconds without an acknowledgement before a HEARTBEAT (HB.interval, as the RFC)."""
MAX_HEARTBEAT_SIZE = 400
"""Bytes of a peer's HEARTBEAT that are echoed; a longer one is not answered. Usual: below 60."""

_INFO: Final = struct.Struct("!HH8s")


class Heartbeat:
    """The heartbeat of the one path. Times in seconds."""

    __slots__ = ("_nonce", "_random_bytes", "_sent_at", "last_answer", "timer")

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._nonce = b""
        self._sent_at = 0.0
        self.last_answer = 0.0
        """When the peer last acknowledged something."""
        self.timer = math.inf
        """When to look again; infinite while stopped."""

    def start(self, now: float) -> None:
        """The association is up."""
        self._nonce = b""
        self.last_answer = now
        self.timer = now + HEARTBEAT_INTERVAL

    def stop(self) -> None:
        self.timer = math.inf

    def expired(self, now: float, rto: float) -> tuple[bool, HeartbeatChunk | None]:
        """The timer expired: whether the last HEARTBEAT went unanswered, and the one to send now, if any."""
        missed = bool(self._nonce)
        due = self.last_answer + HEARTBEAT_INTERVAL
        if not missed and now < due:
            self.timer = due
            return False, None
        self._nonce = self._random_bytes(8)
        self._sent_at = now
        self.timer = now + rto
        return missed, HeartbeatChunk(_INFO.pack(1, _INFO.size, self._nonce))

    def acknowledged(self, chunk: HeartbeatAckChunk, now: float) -> float | None:
        """A HEARTBEAT-ACK came: the round-trip time, or ``None`` if it echoes nothing we wait for."""
        if not self._nonce or chunk.info != _INFO.pack(1, _INFO.size, self._nonce):
            return None
        self._nonce = b""
        self.last_answer = now
        self.timer = now + HEARTBEAT_INTERVAL
        return now - self._sent_at

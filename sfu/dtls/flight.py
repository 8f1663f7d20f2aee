"""One flight of handshake messages, and when to send it again (RFC 6347 4.2.4).

The clock is the caller's. OpenSSL keeps a timer of its own (one second of real time at first) and sends its
flight again when asked anything after that; :meth:`Flight.adopt` tells its new records from said-again ones.

What a repeated record may look like follows from the receiver's replay window (RFC 6347 4.1.2.6):

* Epoch 0: the same message with a **fresh record number**. A receiver can have noted the number and still
  have thrown the contents away: OpenSSL does that with a ChangeCipherSpec that overtakes the message before
  it, and would never see it again if the number stayed.
* Epoch 1 (the Finished): **unchanged**, as it is sealed. If the receiver has not opened it, its number is
  free (a record that came before its keys is not counted), and this repairs the loss. If it has, it has the
  Finished; then only the answer is missing, and for that see the endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sfu.dtls.record import Record, pack_datagrams

INITIAL_TIMEOUT = 0.1
"""Seconds until a flight is repeated for the first time."""

MAX_TIMEOUT = 3.0
"""The most seconds between two repetitions; they double up to this."""

MIN_REPEAT_INTERVAL = 0.025
"""Seconds a peer that repeats itself must leave between two answers.

Together with :data:`MAX_FLIGHT_BYTES` this bounds what a repeated flight can make us send in a given time."""

MAX_FLIGHT_BYTES = 8_192
"""Most bytes of one flight. Ours have about 700, nearly all of it the certificate and signatures."""


class Flight:
    """The records of our latest flight, and its timer."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._size = 0
        self._timeout = INITIAL_TIMEOUT
        self._sent_at = 0.0
        self.repeat_at: float | None = None
        """When the flight is due again, if it has not been answered by then; None if there is none."""

    def __bool__(self) -> bool:
        return bool(self._records)

    @property
    def sealed(self) -> bool:
        """Whether the flight ends with a Finished, so that repeating it unchanged may not be noticed."""
        return any(record.epoch for record in self._records)

    def begin(self, records: Iterable[Record]) -> None:
        """Replace the flight by the next one. Raises ``ValueError`` above :data:`MAX_FLIGHT_BYTES`."""
        self._records = list(records)
        self._size = sum(len(record.body) for record in self._records)
        self._timeout = INITIAL_TIMEOUT
        if self._size > MAX_FLIGHT_BYTES:
            raise ValueError(f"a flight of {self._size} bytes")

    def adopt(self, finished: Iterable[Record]) -> None:
        """Take a Finished that OpenSSL sealed again, under new record numbers, in place of the old one.

        It may be in several fragments, like any handshake message, and in others than before.
        """
        self._records = [record for record in self._records if record.epoch == 0]
        self._records += finished

    def datagrams(self, number: Callable[[], int], mtu: int, now: float) -> list[bytes]:
        """The flight ready to be sent; ``number`` gives the next record number of epoch 0."""
        self._sent_at = now
        return pack_datagrams(
            (record.encode(number() if record.epoch == 0 else None) for record in self._records), mtu
        )

    def start_timer(self, now: float) -> None:
        """Repeat the flight if there is no answer within the current time-out."""
        self.repeat_at = now + self._timeout

    def back_off(self, now: float) -> None:
        """Start the timer again with twice the time-out."""
        self._timeout = min(2 * self._timeout, MAX_TIMEOUT)
        self.repeat_at = now + self._timeout

    def may_repeat(self, now: float) -> bool:
        """Whether enough time has passed since the flight was last sent to answer a repeat of the peer's."""
        return now >= self._sent_at + MIN_REPEAT_INTERVAL

    def clear(self) -> None:
        """Forget the flight."""
        self._records = []
        self._size = 0
        self.repeat_at = None

"""An outstanding DATA chunk, as the sending half remembers it.

A DATA chunk gets its TSN when it goes out, or when the first fragment of its message does. It then is in one
of five conditions until the cumulative TSN passes it:

==============  =====================================================================================
``RESERVED``    a fragment that was not sent yet (:mod:`~sfu.sctp.send_queue` says why it has a TSN)
``IN_FLIGHT``   sent, nothing heard; counts against the congestion window
``LOST``        missed three times, overdue (:mod:`~sfu.sctp.loss`), or the timer expired; waits to be sent
                again
``ACKED``       in a gap ack block; may fall back to ``IN_FLIGHT`` if a later SACK takes it back (6.2.1)
``ABANDONED``   given up (RFC 3758); final, and the FORWARD-TSN will cover it
==============  =====================================================================================
"""

from __future__ import annotations

from typing import Final

from sfu.sctp.send_queue import Message

IN_FLIGHT: Final = 0
LOST: Final = 1
ACKED: Final = 2
ABANDONED: Final = 3
RESERVED: Final = 4


class SentChunk:
    """An outstanding DATA chunk."""

    __slots__ = (
        "condition",
        "encoded",
        "fast",
        "message",
        "misses",
        "order",
        "sent_at",
        "sent_count",
        "size",
    )

    def __init__(self, message: Message, encoded: bytes, sent_at: float, order: int) -> None:
        self.message = message
        self.encoded = encoded
        """The whole chunk as it travels, padding included."""
        self.size = len(encoded)
        self.sent_at = sent_at
        self.order = order
        """Its place, or that of its retransmission, in the order of sending."""
        self.sent_count = 1
        self.condition = IN_FLIGHT
        self.misses = 0
        self.fast = False
        """Retransmitted by fast retransmit already; misses count no more (7.2.4), only time does."""

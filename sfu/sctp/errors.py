"""What can go wrong, by whose fault: :class:`SctpError` is the peer's, :class:`Refused` is the caller's."""

from __future__ import annotations

import enum


class SctpError(ValueError):
    """Bytes from the network that are not a well-formed SCTP packet. The only error a parser raises."""


class Refusal(enum.Enum):
    """Why a request of the layer above was turned down."""

    CLOSED = "the association is closing or has ended"
    EMPTY = "SCTP cannot carry an empty message (RFC 8831 6.6: send one zero byte, PPID 56 or 57)"
    TOO_LARGE = "the message is larger than max_message_size"
    NO_SUCH_STREAM = "the stream id is beyond the negotiated number of streams"
    RESETTING = "the stream is being reset"
    BUFFER_FULL = "the send buffer is full"
    """Of this stream (a reliable channel to a slow receiver), or of all of them."""
    UNSUPPORTED = "the peer did not negotiate the extension"


class Refused(Exception):
    """A request that cannot be carried out now. Nothing changed."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason.value)
        self.reason = reason
        """Why, for code; ``str(error)`` says it for people."""


class SendRefused(Refused):
    """:meth:`Association.send` did not take the message."""


class ResetRefused(Refused):
    """:meth:`Association.reset_streams` did not take the streams."""

"""How much one socket, and everyone behind one address, may ask of the application."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalingLimits:
    """Rates and caps of the rooms application; each is at least 1.

    A rate is a token bucket: ``..._burst`` at once, then ``..._per_second``. What goes over a limit is
    refused with ``too many requests``, or dropped where nothing could be answered.
    """

    events_per_second: int = 200
    """Events that have an ack, of one socket."""
    events_burst: int = 1000
    changes_per_second: int = 20
    """Events of one socket that make the server tell others: open, join, leave, slot, ready, metadata ..."""
    changes_burst: int = 100
    chats_per_second: int = 2
    """``chat-message``, of one socket."""
    chats_burst: int = 10
    relays_per_second: int = 300
    """``data-message`` and ``webrtc-signal``, of one socket."""
    relays_burst: int = 600
    relay_bytes_per_second: int = 1_000_000
    """Bytes of JSON in what one socket has relayed."""
    relay_bytes_burst: int = 2_000_000
    relay_copied_bytes_per_second: int = 32_000_000
    """Bytes of JSON in all copies of what one socket has relayed, one for each receiver. A host that has to
    send inputs to a thousand spectators 60 times a second stays below."""
    relay_copied_bytes_burst: int = 64_000_000
    address_events_per_second: int = 20_000
    """Events of all sockets of one address."""
    address_events_burst: int = 40_000
    address_connects_per_second: int = 100
    """CONNECTs and HTTP requests with a token, of one address."""
    address_connects_burst: int = 2_000

    data_message_bytes: int = 16_384
    """Longest ``data-message``, in bytes of JSON; longer ones are dropped."""
    signal_bytes: int = 65_536
    """Longest ``webrtc-signal``, in bytes of JSON; longer ones are dropped."""

    transports: int = 16
    """Media transports of one socket at a time."""
    producers: int = 16
    """Audio and video producers of one socket at a time."""
    data_producers: int = 64
    """Data producers of one socket at a time."""
    consumers: int = 4096
    """Audio and video consumers of one socket at a time."""
    data_consumers: int = 4096
    """Data consumers of one socket at a time."""

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) < 1:
                raise ValueError(f"{item.name} must be at least 1")

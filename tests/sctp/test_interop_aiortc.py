"""Against aiortc's SCTP transport: an implementation that shares nothing with ours, over a DTLS made of
memory."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiortc import RTCDataChannel, RTCDataChannelParameters
from aiortc.rtcsctptransport import RTCSctpCapabilities, RTCSctpTransport

from sfu.sctp import ppid
from sfu.sctp.association import Association
from sfu.sctp.dcep import DataChannelAck, DataChannelOpen, parse_dcep_untrusted
from sfu.sctp.errors import SctpError
from sfu.sctp.events import (
    AssociationClosed,
    AssociationEstablished,
    CloseReason,
    Direction,
    Event,
    MessageReceived,
    StreamsReset,
)

pytestmark = pytest.mark.interop
PATIENCE = 20.0


class MemoryDtls:
    """What an RTCSctpTransport wants of a DTLS transport."""

    state = "connected"
    _role = "server"

    def __init__(self, deliver: Callable[[bytes], None]) -> None:
        self._deliver = deliver

    def _register_data_receiver(self, _receiver: object) -> None: ...

    def _unregister_data_receiver(self, _receiver: object) -> None: ...

    async def _send_data(self, data: bytes) -> None:
        self._deliver(data)


class Bridge:
    """Our association and aiortc's transport in one asyncio loop, with seeded loss both ways."""

    def __init__(self, loss: float = 0.0, **options: Any) -> None:
        self.ours = Association(**options)
        self.events: list[Event] = []
        self.theirs = RTCSctpTransport(MemoryDtls(self._from_them))  # type: ignore[arg-type]
        self._random = random.Random(42)
        self._loss = loss
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self._pump = asyncio.ensure_future(self._feed_them())

    async def start(self, *, ours: bool = True) -> None:
        await self.theirs.start(RTCSctpCapabilities(maxMessageSize=262_144), 5000)
        if ours:
            self.ours.start(time.monotonic())
        self.flush()
        await self.until(
            lambda: (
                any(isinstance(e, AssociationEstablished) for e in self.events)
                and self.theirs.state == "connected"
            )
        )

    async def stop(self) -> None:
        self._pump.cancel()
        if self._timer is not None:
            self._timer.cancel()
        await self.theirs.stop()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                try:
                    await asyncio.wait_for(self._changed.wait(), 0.05)
                except TimeoutError:
                    pass

    def channel(self, stream_id: int, **options: Any) -> tuple[RTCDataChannel, list[str | bytes]]:
        """A negotiated channel on their side, and what arrives on it."""
        channel = RTCDataChannel(
            self.theirs, RTCDataChannelParameters(label="x", negotiated=True, id=stream_id, **options)
        )
        received: list[str | bytes] = []
        channel.on("message", received.append)
        return channel, received

    def send(self, stream_id: int, data: bytes, **options: Any) -> None:
        self.ours.send(stream_id, ppid.BINARY, data, time.monotonic(), **options)
        self.flush()

    @property
    def messages(self) -> list[MessageReceived]:
        return [event for event in self.events if isinstance(event, MessageReceived)]

    def flush(self) -> None:
        """Our events, packets and timer."""
        now = time.monotonic()
        while (event := self.ours.next_event()) is not None:
            self.events.append(event)
        while packets := self.ours.datagrams_to_send(now):
            for data in packets:
                if self._random.random() >= self._loss:
                    self._inbox.put_nowait(data)
        if self._timer is not None:
            self._timer.cancel()
        due = self.ours.get_timer()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - now), self._expired)
        self._changed.set()

    def _expired(self) -> None:
        self.ours.handle_timer(time.monotonic())
        self.flush()

    def _from_them(self, data: bytes) -> None:
        if self._random.random() >= self._loss:
            asyncio.get_running_loop().call_soon(self._take, data)

    def _take(self, data: bytes) -> None:
        try:
            self.ours.receive_datagram_untrusted(data, time.monotonic())
        except SctpError as error:  # pragma: no cover
            raise AssertionError("their packets parse") from error
        self.flush()

    async def _feed_them(self) -> None:
        while True:
            await self.theirs._handle_data(await self._inbox.get())
            self._changed.set()


def run(
    scenario: Callable[[Bridge], Awaitable[None]], *, loss: float = 0.0, ours: bool = True, **options: Any
) -> None:
    """Run a scenario on an established pair."""

    async def main() -> None:
        bridge = Bridge(loss, **options)
        try:
            await bridge.start(ours=ours)
            await scenario(bridge)
            assert not any(bridge.ours.dropped.values()) or loss
        finally:
            await bridge.stop()

    asyncio.run(main())


@pytest.mark.parametrize("ours", [True, False])
def test_handshake_from_both_sides_at_once_and_from_theirs(ours: bool) -> None:
    async def scenario(bridge: Bridge) -> None:
        event = bridge.events[0]
        assert isinstance(event, AssociationEstablished)
        assert (event.partial_reliability, event.stream_reset) == (True, True)
        assert (event.outbound_streams, event.inbound_streams) == (1024, 1024)

    run(scenario, ours=ours)


@pytest.mark.parametrize(
    ("ordered", "max_retransmits", "max_lifetime"),
    [(True, None, None), (False, None, None), (False, 0, None), (True, 2, None), (False, None, 3.0)],
)
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_messages_both_ways(
    ordered: bool, max_retransmits: int | None, max_lifetime: float | None, loss: float
) -> None:
    count = 120
    reliable = max_retransmits is None and max_lifetime is None
    sent = [str(number).encode() * (1 + number % 40) for number in range(count)]

    async def scenario(bridge: Bridge) -> None:
        channel, received = bridge.channel(
            3,
            ordered=ordered,
            maxRetransmits=max_retransmits,
            maxPacketLifeTime=None if max_lifetime is None else int(max_lifetime * 1000),
        )
        for data in sent:
            channel.send(data)
            bridge.send(3, data, ordered=ordered, max_retransmits=max_retransmits, max_lifetime=max_lifetime)
            await asyncio.sleep(0.002)
        if reliable or not loss:
            await bridge.until(lambda: len(received) == len(bridge.messages) == count)
        else:
            await bridge.until(lambda: bridge.ours.outbound.idle)
            await asyncio.sleep(0.3)
        ours = [message.data for message in bridge.messages]
        assert len(ours) >= 0.8 * count
        assert len(received) >= 0.8 * count
        assert {message.ppid for message in bridge.messages} == {ppid.BINARY}
        for arrived in (ours, received):
            assert set(arrived) <= set(sent)
            assert len(set(arrived)) == len(arrived)
            if ordered:
                assert arrived == [data for data in sent if data in set(arrived)]

    run(scenario, loss=loss)


def test_large_messages_both_ways() -> None:
    large = random.Random(1).randbytes(262_144)

    async def scenario(bridge: Bridge) -> None:
        channel, received = bridge.channel(1)
        channel.send(large)
        bridge.send(1, large)
        await bridge.until(lambda: len(received) == len(bridge.messages) == 1)
        assert received[0] == large
        assert hashlib.sha256(bridge.messages[0].data).digest() == hashlib.sha256(large).digest()

    run(scenario)


def test_empty_messages_and_text() -> None:
    async def scenario(bridge: Bridge) -> None:
        channel, received = bridge.channel(1)
        for message in ("", "a", b"", b"b"):
            channel.send(message)
        await bridge.until(lambda: len(bridge.messages) == 4)
        opened = [ppid.from_wire(message.ppid, message.data) for message in bridge.messages]
        text, binary = ppid.MessageKind.TEXT, ppid.MessageKind.BINARY
        assert opened == [(text, b""), (text, b"a"), (binary, b""), (binary, b"b")]
        for kind, data in ((text, b""), (text, b"a"), (binary, b""), (binary, b"b")):
            bridge.ours.send(1, *ppid.to_wire(kind, data), time.monotonic())
        bridge.flush()
        await bridge.until(lambda: len(received) == 4)
        assert received == ["", "a", b"", b"b"]

    run(scenario)


def test_channels_opened_by_the_peer() -> None:
    """DCEP (RFC 8832): we acknowledge, they talk."""

    async def scenario(bridge: Bridge) -> None:
        channel = RTCDataChannel(
            bridge.theirs,
            RTCDataChannelParameters(label="play", protocol="json", ordered=False, maxRetransmits=0),
        )
        await bridge.until(lambda: len(bridge.messages) == 1)
        message = bridge.messages[0]
        assert message.ppid == ppid.DCEP
        opened = parse_dcep_untrusted(message.data)
        assert opened == DataChannelOpen("play", "json", ordered=False, max_retransmits=0, priority=0)
        bridge.ours.send(message.stream_id, ppid.DCEP, DataChannelAck().encode(), time.monotonic())
        bridge.flush()
        await bridge.until(lambda: channel.readyState == "open")
        channel.send("hello")
        await bridge.until(lambda: len(bridge.messages) == 2)

    run(scenario)


@pytest.mark.parametrize("loss", [0.0, 0.05])
@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_streams_are_reset_and_used_again(who: str, loss: float) -> None:
    incoming = StreamsReset((5,), Direction.INCOMING)
    outgoing = StreamsReset((5,), Direction.OUTGOING)

    async def scenario(bridge: Bridge) -> None:
        for round_ in range(1, 3):
            channel, received = bridge.channel(5)
            channel.send(b"to you")
            bridge.send(5, b"to me")
            await bridge.until(lambda r=received, n=round_: bool(r) and len(bridge.messages) == n)  # type: ignore[misc]
            if who == "theirs":
                channel.close()
                await bridge.until(lambda n=round_: bridge.events.count(incoming) == n)  # type: ignore[misc]
            bridge.ours.reset_streams([5], time.monotonic())
            bridge.flush()
            await bridge.until(lambda n=round_: bridge.events.count(outgoing) == n)  # type: ignore[misc]
            await bridge.until(lambda n=round_: bridge.events.count(incoming) == n)  # type: ignore[misc]
            await bridge.until(lambda c=channel: c.readyState == "closed")  # type: ignore[misc]

    run(scenario, loss=loss)


def test_their_abort_ends_ours() -> None:
    async def scenario(bridge: Bridge) -> None:
        await bridge.theirs.stop()
        await bridge.until(lambda: isinstance(bridge.events[-1], AssociationClosed))
        assert bridge.events[-1] == AssociationClosed(CloseReason.PEER_ABORTED, "")

    run(scenario)


def test_our_abort_ends_theirs() -> None:
    async def scenario(bridge: Bridge) -> None:
        bridge.ours.abort(time.monotonic(), "bye")
        bridge.flush()
        await bridge.until(lambda: bridge.theirs.state == "closed")

    run(scenario)


def test_our_shutdown_ends_both() -> None:
    async def scenario(bridge: Bridge) -> None:
        bridge.send(0, b"last")
        bridge.ours.shutdown(time.monotonic())
        bridge.flush()
        await bridge.until(lambda: isinstance(bridge.events[-1], AssociationClosed))
        assert bridge.events[-1] == AssociationClosed(CloseReason.SHUTDOWN, "")
        await bridge.until(lambda: bridge.theirs.state == "closed")

    run(scenario)

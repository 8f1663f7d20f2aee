"""One Engine.IO session: a client's place while its transports come and go.

Which transport carries packets is a small state machine, :class:`Link`:

* A session begins in POLLING or, when the client connects by WebSocket at once, in WEBSOCKET.
* A WebSocket that names the session's id makes it PROBING. Polling goes on as before.
* When that WebSocket sends ``2probe`` it is answered ``3probe`` and the session is PROBED: polling goes
  on, but a poll is no longer held, so that the client can stop polling.
* ``5`` on the WebSocket makes it WEBSOCKET for good. The client has waited for its last poll and post to
  be answered before it sends that, so nothing is lost or overtaken.
* Anything else on the WebSocket, its end, or no ``5`` in time brings the session back to POLLING.
* Every state can become CLOSED, and nothing leaves that.

The steps that are not in the table are refused before they are taken, so a missing entry is a bug of ours.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
import trio

from sfu.signaling.engineio.codec import (
    CLOSE_FRAME,
    NOOP_FRAME,
    PING_FRAME,
    PROBE_ANSWER_FRAME,
    PROBE_FRAME,
    UPGRADE_FRAME,
    EngineIoError,
    Frame,
    Packet,
    PacketType,
    decode_frame_untrusted,
    decode_payload_untrusted,
)
from sfu.signaling.engineio.outbox import Outbox
from sfu.signaling.settings import SignalingSettings
from sfu.signaling.websocket import ServerWebSocket, WebSocketClosed

log = structlog.get_logger(__name__)

NOOP_DELAY = 0.1
"""Seconds that a poll waits for data while a WebSocket is taking over."""

MAX_POLL_BYTES = 1_000_000
"""Frames beyond this wait for the next poll."""

PACKETS_PER_TURN = 256
"""Packets of one payload handled before other tasks get a turn."""


class Link(enum.Enum):
    """Which transport the session is on."""

    POLLING = enum.auto()
    PROBING = enum.auto()
    PROBED = enum.auto()
    WEBSOCKET = enum.auto()
    CLOSED = enum.auto()


class Step(enum.Enum):
    """What can change it."""

    ATTACH = enum.auto()
    """A WebSocket wants to take over."""
    PROBE = enum.auto()
    """It has been probed."""
    UPGRADE = enum.auto()
    """It takes over."""
    ABANDON = enum.auto()
    """It failed to."""
    CLOSE = enum.auto()
    """The session ends."""


TRANSITIONS: dict[tuple[Link, Step], Link] = {
    (Link.POLLING, Step.ATTACH): Link.PROBING,
    (Link.PROBING, Step.PROBE): Link.PROBED,
    (Link.PROBED, Step.UPGRADE): Link.WEBSOCKET,
    (Link.PROBING, Step.ABANDON): Link.POLLING,
    (Link.PROBED, Step.ABANDON): Link.POLLING,
    (Link.POLLING, Step.CLOSE): Link.CLOSED,
    (Link.PROBING, Step.CLOSE): Link.CLOSED,
    (Link.PROBED, Step.CLOSE): Link.CLOSED,
    (Link.WEBSOCKET, Step.CLOSE): Link.CLOSED,
}


class CloseReason(enum.StrEnum):
    """Why a session or socket ended, in Socket.IO's words."""

    TRANSPORT_CLOSE = "transport close"
    TRANSPORT_ERROR = "transport error"
    PING_TIMEOUT = "ping timeout"
    PARSE_ERROR = "parse error"
    FORCED_CLOSE = "forced close"
    SHUTTING_DOWN = "server shutting down"
    CLIENT_DISCONNECT = "client namespace disconnect"
    SERVER_DISCONNECT = "server namespace disconnect"


OUR_OWN = frozenset({CloseReason.SHUTTING_DOWN, CloseReason.FORCED_CLOSE})
"""Ends that the client could not foresee: if it is between two polls, the next one tells it."""


class SessionHandler(Protocol):
    """The layer above a session."""

    def message(self, data: str | bytes) -> None:
        """A message came in. Must not block or raise."""

    def closed(self, reason: CloseReason) -> None:
        """The session has ended; called once, nothing follows, though :meth:`run` may be still to begin. Must
        not block or raise."""

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Do this layer's work until it is done after :meth:`closed`; ``started()`` when messages may
        come."""


class Session:
    """See the module. All methods that are not ``async`` return at once."""

    def __init__(
        self, sid: str, link: Link, settings: SignalingSettings, forget: Callable[[Session], None]
    ) -> None:
        """
        Args:
            sid: the session's id.
            link: POLLING or WEBSOCKET.
            settings: limits and times.
            forget: called once, when the session ends and before anyone else is told.
        """
        self.sid = sid
        self.handler: SessionHandler
        """Set once, before anything else is done with the session."""
        self.last_seen = trio.current_time()
        """When the last packet of any kind came in."""
        self.polling = False
        """A poll is being held."""
        self.posting = False
        """A post is being read or handled."""
        self.lingers = False
        """The session has ended, and a poll is still to say so."""
        self.ended_at = 0.0
        """When it ended, by trio's clock."""
        self.farewell_taken = False
        """A poll that says so is being answered."""
        self._settings = settings
        self._forget = forget
        self._link = link
        self._outbox = Outbox(max_frames=settings.max_queued_packets, max_bytes=settings.max_queued_bytes)
        self._changed = trio.lowlevel.ParkingLot()
        """Unparked when there is something to send, or the link has changed."""
        self._pong = trio.Event()
        self._sign_of_life: trio.Event | None = None
        """Set by the next packet or the end, if somebody waits for it."""
        self._farewell: list[Frame] = []
        self._websocket_scope: trio.CancelScope | None = None

    @property
    def link(self) -> Link:
        """Where the session is."""
        return self._link

    # --- life -------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the session's tasks until it has ended and the layer above has wound up."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._beat)
                await self.handler.run(task_status=task_status)
                nursery.cancel_scope.cancel()
        finally:
            self.close(CloseReason.FORCED_CLOSE)

    def close(self, reason: CloseReason, *, farewell: Frame = CLOSE_FRAME, flush: bool = False) -> None:
        """End the session; does nothing if it has ended.

        Args:
            reason: told to the layer above.
            farewell: last frame for a poll that is being held, or for the next one if the session
                :attr:`lingers`; a WebSocket gets its closing handshake.
            flush: whether what is queued is still sent before that.
        """
        if self._link is Link.CLOSED:
            return
        by_websocket = self._is(Link.WEBSOCKET)
        self.lingers = reason in OUR_OWN and not by_websocket
        self.ended_at = trio.current_time()
        self._step(Step.CLOSE)
        self._hear()
        self._forget(self)
        if not flush:
            self._outbox.clear()
        self._farewell = [farewell]
        if self._websocket_scope is not None:
            patience = self._settings.close_timeout if by_websocket else 0.0
            self._websocket_scope.deadline = trio.current_time() + patience
        self.handler.closed(reason)

    async def is_alive(self, within: float) -> bool:
        """Ping the client now, unless such a ping is unanswered yet, and say whether anything at all
        comes from it within so many seconds."""
        if self._link is not Link.CLOSED and self._sign_of_life is None:
            self._sign_of_life = trio.Event()
            self.send([PING_FRAME], len(PING_FRAME))
        with trio.move_on_after(within) as silence:
            if self._sign_of_life is not None:
                await self._sign_of_life.wait()
        return self._link is not Link.CLOSED and not silence.cancelled_caught

    def _hear(self) -> None:
        """There is a sign of life, or there will be none."""
        if self._sign_of_life is not None:
            self._sign_of_life.set()
            self._sign_of_life = None

    def _is(self, link: Link) -> bool:
        return self._link is link

    def _step(self, step: Step) -> None:
        self._link = TRANSITIONS[self._link, step]
        self._changed.unpark_all()

    async def _beat(self) -> None:
        """Heartbeat: one ping at a time, ``ping_interval`` after the last pong.

        A pong can be stuck behind a long queue of other packets, so a session ends only when nothing at all
        has come for ``ping_timeout`` after a ping.
        """
        while True:
            await trio.sleep(self._settings.ping_interval)
            self._pong = trio.Event()
            self.send([PING_FRAME], len(PING_FRAME))
            heard = trio.current_time()
            while not self._pong.is_set():
                with trio.move_on_at(heard + self._settings.ping_timeout) as silence:
                    await self._pong.wait()
                if silence.cancelled_caught:
                    if self.last_seen <= heard:
                        self.close(CloseReason.PING_TIMEOUT)
                        return
                    heard = self.last_seen

    # --- packets ----------------------------------------------------------------------------------

    def send(self, frames: Sequence[Frame], size: int) -> None:
        """Queue frames of ``size`` bytes, in one piece. A client that lets its queue overflow is closed."""
        if self._link is Link.CLOSED:
            return
        if self._outbox.put(frames, size):
            self._changed.unpark_all()
        else:
            log.warning("closing a session", error="too much waits for the client")
            self.close(CloseReason.TRANSPORT_ERROR)

    def _receive(self, packet: Packet) -> None:
        if self._link is Link.CLOSED:
            return
        self.last_seen = trio.current_time()
        self._hear()
        match packet.type:
            case PacketType.MESSAGE:
                self.handler.message(packet.data)
            case PacketType.PONG:
                self._pong.set()
            case PacketType.NOOP:
                pass
            case PacketType.CLOSE:
                self.close(CloseReason.TRANSPORT_CLOSE, farewell=NOOP_FRAME)
            case PacketType.OPEN | PacketType.PING | PacketType.UPGRADE:
                self.close(CloseReason.PARSE_ERROR)

    # --- polling ----------------------------------------------------------------------------------

    async def receive_payload_untrusted(self, body: bytes) -> None:
        """Take the packets of a post.

        Raises:
            EngineIoError: the payload is malformed; the session has been closed.
        """
        try:
            packets = decode_payload_untrusted(body, max_bytes=self._settings.max_payload)
        except EngineIoError:
            self.close(CloseReason.PARSE_ERROR)
            raise
        for number, packet in enumerate(packets, 1):
            self._receive(packet)
            if number % PACKETS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()

    async def wait_for_frames(self) -> list[Frame]:
        """The frames that answer a poll; waits until there is one."""
        held_since_before_probe = self._link is not Link.PROBED
        while True:
            frames = self._outbox.take(MAX_POLL_BYTES)
            if self._link is Link.CLOSED and not self._outbox:
                self.farewell_taken = True
                return frames + self._farewell
            if frames:
                return frames
            match self._link:
                case Link.WEBSOCKET:
                    return [NOOP_FRAME]
                case Link.PROBED if held_since_before_probe:
                    return [NOOP_FRAME]
                case Link.PROBED:
                    with trio.move_on_after(NOOP_DELAY) as delay:
                        await self._changed.park()
                    if delay.cancelled_caught:
                        return [NOOP_FRAME]
                case _:
                    await self._changed.park()

    # --- WebSocket --------------------------------------------------------------------------------

    def attach(self) -> bool:
        """Reserve the session for one WebSocket that wants to take over; False if it is not to be had."""
        if self._link is not Link.POLLING:
            return False
        self._step(Step.ATTACH)
        return True

    def detach(self) -> None:
        """The WebSocket that was attached has gone without taking over."""
        if self._link in (Link.PROBING, Link.PROBED):
            self._step(Step.ABANDON)

    async def upgrade_untrusted(self, websocket: ServerWebSocket) -> bool:
        """Let an attached WebSocket probe and take over; False if it did not. :meth:`detach` is the
        caller's."""
        with trio.move_on_after(self._settings.upgrade_timeout) as scope:
            self._websocket_scope = scope
            try:
                if await websocket.receive() != PROBE_FRAME or not self._is(Link.PROBING):
                    return False
                await websocket.send(PROBE_ANSWER_FRAME)
                if not self._is(Link.PROBING):
                    return False
                self._step(Step.PROBE)
                if await websocket.receive() != UPGRADE_FRAME or not self._is(Link.PROBED):
                    return False
                self._step(Step.UPGRADE)
                return True
            except WebSocketClosed:
                return False
            finally:
                self._websocket_scope = None
        return False

    async def serve_websocket_untrusted(self, websocket: ServerWebSocket) -> None:
        """Carry the session over a WebSocket until either ends."""
        async with trio.open_nursery() as nursery:
            self._websocket_scope = nursery.cancel_scope
            if self._link is Link.CLOSED:
                nursery.cancel_scope.deadline = trio.current_time() + self._settings.close_timeout
            nursery.start_soon(self._write, websocket, nursery.cancel_scope)
            try:
                while self._is(Link.WEBSOCKET):
                    self._receive(decode_frame_untrusted(await websocket.receive()))
            except EngineIoError:
                self.close(CloseReason.PARSE_ERROR)
            except WebSocketClosed as closed:
                self.close(CloseReason.TRANSPORT_ERROR if closed.is_error else CloseReason.TRANSPORT_CLOSE)
            except trio.Cancelled:
                self.close(CloseReason.TRANSPORT_ERROR)
                raise

    async def _write(self, websocket: ServerWebSocket, scope: trio.CancelScope) -> None:
        """Send what is queued, and the closing handshake when the session ends."""
        try:
            while True:
                frame = self._outbox.pop()
                if frame is not None:
                    await websocket.send(frame)
                elif self._link is Link.CLOSED:
                    await websocket.close()
                    break
                else:
                    await self._changed.park()
        except WebSocketClosed:
            self.close(CloseReason.TRANSPORT_CLOSE)
        scope.cancel()

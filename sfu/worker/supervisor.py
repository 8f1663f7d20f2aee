"""Runs the media workers: child processes, their control channels, and their replacements.

Everything here belongs to the nursery of :func:`open_media_workers`: leaving it closes every control channel,
upon which the workers say goodbye to their peers and exit, and reaps every child.
"""

from __future__ import annotations

import socket
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import structlog
import trio

from sfu.media.events import Fault
from sfu.worker.client import LOST, WorkerClient
from sfu.worker.messages import (
    Announce,
    CloseDataProducer,
    CloseProducer,
    CloseRouter,
    CloseTransport,
    Configure,
    ConnectTransport,
    Consume,
    ConsumeData,
    CreateRouter,
    CreateTransport,
    GetStats,
    Ping,
    Produce,
    ProduceData,
    Ready,
    Request,
    RestartIce,
    WorkerEvent,
)
from sfu.worker.port import (
    DataProducerClosed,
    JsonObject,
    Kind,
    MediaError,
    MediaEvent,
    ProducerClosed,
    RouterLost,
    TransportClosed,
    WorkerStats,
)

PING_INTERVAL = 0.5
PING_TIMEOUT = 2.0
"""Seconds without an answer after which a worker is killed."""
START_TIMEOUT = 20.0
STOP_TIMEOUT = 1.0
"""Seconds that a worker gets to exit after its control channel closed."""
RESTART_DELAY = 0.1
MAX_RESTART_DELAY = 5.0
STABLE_AFTER = 10.0
"""Seconds of life after which a worker's death counts as its first again."""

log = structlog.get_logger(__name__)


class WorkerStartError(Exception):
    """A worker could not be started; the text says why (a port in use, for example)."""


@dataclass(slots=True, eq=False)
class _Worker:
    """One slot; the process in it may be replaced."""

    index: int
    configure: Configure
    client: WorkerClient | None = None
    ready: Ready | None = None
    routers: set[str] = field(default_factory=set)
    transports: set[str] = field(default_factory=set)
    pid: int | None = None

    @property
    def load(self) -> int:
        """Who is there counts, player or spectator; an empty room counts for one who is about to come."""
        return len(self.transports) + len(self.routers)


class MediaWorkers:
    """The :class:`sfu.worker.port.Media` of a node. Made by :func:`open_media_workers`."""

    def __init__(self, configurations: list[Configure]) -> None:
        self._workers = [_Worker(i, c) for i, c in enumerate(configurations)]
        self._routers: dict[str, _Worker] = {}
        self._transports: dict[str, tuple[str, _Worker]] = {}  # id -> (router id, worker)
        self._producers: dict[
            str, tuple[str, _Worker]
        ] = {}  # id -> (transport id, worker); data producers too
        # Unbounded by design: one entry per object that exists in the tables above, and those are capped.
        self._send_event, self._receive_event = trio.open_memory_channel[MediaEvent](sys.maxsize)
        self._capabilities: JsonObject = {}

    # ---------------------------------------------------------------- the port

    @property
    def available(self) -> bool:
        return any(w.client is not None for w in self._workers)

    @property
    def rtp_capabilities(self) -> JsonObject:
        return self._capabilities

    @property
    def pids(self) -> list[int | None]:
        """Process ids by worker, None while one is being replaced."""
        return [w.pid for w in self._workers]

    @property
    def ready(self) -> list[Ready | None]:
        """What each running worker reported: its ports and its engine."""
        return [w.ready for w in self._workers]

    async def events(self) -> AsyncIterator[MediaEvent]:
        async for event in self._receive_event:
            yield event

    async def announce(self, addresses: tuple[str, ...]) -> None:
        """Put other addresses into the candidates of transports made from now on, best first."""
        for worker in self._workers:
            worker.configure = msgspec.structs.replace(worker.configure, announced=addresses)
            await self._call_quietly(worker, Announce(addresses))

    async def create_router(self, router_id: str) -> None:
        if router_id in self._routers:
            return
        candidates = [w for w in self._workers if w.client is not None]
        if not candidates:
            raise MediaError("worker not available")
        worker = min(candidates, key=lambda w: (w.load, w.index))
        worker.routers.add(router_id)
        self._routers[router_id] = worker
        try:
            await self._call(worker, CreateRouter(router_id))
        except MediaError:
            self._forget_router(router_id)
            raise
        # A cancelled caller leaves the router to whoever came meanwhile, and to its room's end.

    async def close_router(self, router_id: str) -> None:
        worker = self._routers.get(router_id)
        if worker is None:
            return
        self._forget_router(router_id)
        await self._call_quietly(worker, CloseRouter(router_id))

    async def create_transport(self, router_id: str) -> JsonObject:
        worker = self._routers.get(router_id)
        if worker is None:
            raise MediaError("no such room")
        transport_id = str(uuid.uuid4())
        self._transports[transport_id] = (router_id, worker)
        worker.transports.add(transport_id)
        try:
            info: JsonObject = await self._call(worker, CreateTransport(router_id, transport_id))
        except BaseException:
            self._forget_transport(transport_id)
            with trio.CancelScope(shield=True):
                await self._call_quietly(worker, CloseTransport(transport_id))
            raise
        return info

    async def connect_transport(self, transport_id: str, dtls_parameters: JsonObject) -> None:
        await self._call(self._of_transport(transport_id), ConnectTransport(transport_id, dtls_parameters))

    async def restart_ice(self, transport_id: str) -> JsonObject:
        parameters: JsonObject = await self._call(self._of_transport(transport_id), RestartIce(transport_id))
        return parameters

    async def close_transport(self, transport_id: str) -> None:
        entry = self._transports.get(transport_id)
        if entry is None:
            return
        self._forget_transport(transport_id)
        await self._call_quietly(entry[1], CloseTransport(transport_id))

    async def produce(
        self, transport_id: str, kind: Kind, rtp_parameters: JsonObject, *, replaces: str | None = None
    ) -> str:
        producer_id = str(uuid.uuid4())
        request = Produce(transport_id, producer_id, kind, rtp_parameters, replaces)
        await self._produce(request, producer_id, CloseProducer(producer_id))
        return producer_id

    async def close_producer(self, producer_id: str) -> None:
        entry = self._producers.pop(producer_id, None)
        if entry is not None:
            await self._call_quietly(entry[1], CloseProducer(producer_id))

    async def consume(
        self, transport_id: str, producer_id: str, rtp_capabilities: JsonObject, *, ignore_dtx: bool = False
    ) -> JsonObject:
        request = Consume(transport_id, str(uuid.uuid4()), producer_id, rtp_capabilities, ignore_dtx)
        consumer: JsonObject = await self._call(self._of_transport(transport_id), request)
        return consumer

    async def produce_data(
        self,
        transport_id: str,
        sctp_stream_parameters: JsonObject,
        label: str,
        protocol: str,
        *,
        replaces: str | None = None,
    ) -> str:
        producer_id = str(uuid.uuid4())
        request = ProduceData(transport_id, producer_id, sctp_stream_parameters, label, protocol, replaces)
        await self._produce(request, producer_id, CloseDataProducer(producer_id))
        return producer_id

    async def close_data_producer(self, data_producer_id: str) -> None:
        entry = self._producers.pop(data_producer_id, None)
        if entry is not None:
            await self._call_quietly(entry[1], CloseDataProducer(data_producer_id))

    async def consume_data(self, transport_id: str, data_producer_id: str) -> JsonObject:
        request = ConsumeData(transport_id, str(uuid.uuid4()), data_producer_id)
        consumer: JsonObject = await self._call(self._of_transport(transport_id), request)
        return consumer

    async def stats(self) -> dict[int, WorkerStats]:
        found = {}
        for worker in self._workers:
            try:
                found[worker.index] = msgspec.convert(await self._call(worker, GetStats()), WorkerStats)
            except MediaError:
                pass  # being replaced
        return found

    # ------------------------------------------------------------------ tables

    async def _produce(
        self, request: Produce | ProduceData, producer_id: str, undo: CloseProducer | CloseDataProducer
    ) -> None:
        worker = self._of_transport(request.transport_id)
        self._producers[producer_id] = (request.transport_id, worker)
        try:
            await self._call(worker, request)
        except BaseException as error:
            self._producers.pop(producer_id, None)
            if not isinstance(error, MediaError):
                # Cancelled, but carried out all the same. This is cancelled as well, once it is on its way.
                await self._call_quietly(worker, undo)
            raise
        if request.replaces is not None:
            self._producers.pop(request.replaces, None)

    def _of_transport(self, transport_id: str) -> _Worker:
        entry = self._transports.get(transport_id)
        if entry is None:
            raise MediaError("transport not found")
        return entry[1]

    async def _call(self, worker: _Worker, request: Request) -> Any:
        if worker.client is None:
            raise MediaError(LOST)
        return await worker.client.call(request)

    async def _call_quietly(self, worker: _Worker, request: Request) -> None:
        """Close something: that it, or its worker, is gone already is as good."""
        try:
            await self._call(worker, request)
        except MediaError:
            pass

    def _forget_router(self, router_id: str) -> None:
        worker = self._routers.pop(router_id, None)
        if worker is not None:
            worker.routers.discard(router_id)
        self._forget_transports({t for t, (r, _) in self._transports.items() if r == router_id})

    def _forget_transport(self, transport_id: str) -> None:
        self._forget_transports({transport_id})

    def _forget_transports(self, transport_ids: set[str]) -> None:
        """All in one pass: a large room's must not cost one each."""
        for transport_id in transport_ids:
            entry = self._transports.pop(transport_id, None)
            if entry is not None:
                entry[1].transports.discard(transport_id)
        for producer_id in [p for p, (t, _) in self._producers.items() if t in transport_ids]:
            del self._producers[producer_id]

    def _heard(self, event: WorkerEvent) -> None:
        match event:
            case Fault(transport_id, traceback, count):
                log.error("media fault", transport=transport_id, count=count, traceback=traceback)
                return
            case TransportClosed(transport_id=transport_id):
                if transport_id not in self._transports:
                    return  # crossed with our own request to close it
                self._forget_transport(transport_id)
                log.info("transport closed", transport=transport_id, reason=event.reason)
            case ProducerClosed(producer_id=producer_id) | DataProducerClosed(data_producer_id=producer_id):
                if self._producers.pop(producer_id, None) is None:
                    return
                if isinstance(event, DataProducerClosed) and event.reason:
                    log.warning("data producer closed", data_producer=producer_id, reason=event.reason)
        self._send_event.send_nowait(event)

    def _lost(self, worker: _Worker) -> None:
        worker.client = worker.ready = worker.pid = None
        for router_id in sorted(worker.routers):
            self._forget_router(router_id)
            self._send_event.send_nowait(RouterLost(router_id))

    # --------------------------------------------------------------- processes

    async def _keep_running(
        self, worker: _Worker, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the process of one slot and replace it when it dies."""
        first = True
        delay = RESTART_DELAY
        while True:
            began = trio.current_time()
            try:
                async with _process(worker, self._heard) as (process, client, ready):
                    worker.client, worker.ready = client, ready
                    self._capabilities = ready.rtp_capabilities
                    # They may have become others while it started.
                    await self._call_quietly(worker, Announce(worker.configure.announced))
                    if first:
                        first = False
                        task_status.started()
                    if await _ping_until_lost(client) == "hung":
                        process.kill()  # it would not notice that its channel closes
            except WorkerStartError as error:
                if first:
                    raise
                log.error("media worker does not start", worker=worker.index, error=str(error))
            finally:
                self._lost(worker)
            lived = trio.current_time() - began
            delay = RESTART_DELAY if lived > STABLE_AFTER else min(delay * 2, MAX_RESTART_DELAY)
            log.error("media worker died, replacing it", worker=worker.index, lived_s=round(lived, 1))
            await trio.sleep(delay)


async def _ping_until_lost(client: WorkerClient) -> Literal["gone", "hung"]:
    while True:
        with trio.move_on_after(PING_TIMEOUT) as scope:
            try:
                await client.call(Ping())
            except MediaError:
                return "gone"
        if scope.cancelled_caught:
            return "hung"
        with trio.move_on_after(PING_INTERVAL):
            await client.lost.wait()


async def _spawn() -> tuple[trio.Process, socket.socket]:
    """A new process, and our end of its control channel. Raises :class:`OSError`."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            command = [sys.executable, "-m", "sfu.worker", str(theirs.fileno())]
            return await trio.lowlevel.open_process(command, pass_fds=[theirs.fileno()]), ours
    except BaseException:
        ours.close()
        raise


@asynccontextmanager
async def _process(
    worker: _Worker, heard: Callable[[WorkerEvent], None]
) -> AsyncIterator[tuple[trio.Process, WorkerClient, Ready]]:
    """One worker process, from its start to its reaping."""
    try:
        process, ours = await _spawn()
    except OSError as error:
        raise WorkerStartError(
            f"media worker {worker.index} did not start: {error.strerror or error}"
        ) from None
    worker.pid = process.pid
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    client = WorkerClient(stream, heard)
    failure: str | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            try:
                with trio.fail_after(START_TIMEOUT):
                    ready = msgspec.convert(await client.call(worker.configure), Ready)
            except MediaError as error:
                failure = str(error)
            except trio.TooSlowError:
                failure = f"no answer within {START_TIMEOUT:.0f} s"
            else:
                yield process, client, ready
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise WorkerStartError(f"media worker {worker.index} did not start: {failure}")
    finally:
        with trio.CancelScope(shield=True):
            await stream.aclose()
            with trio.move_on_after(STOP_TIMEOUT):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


@asynccontextmanager
async def open_media_workers(configurations: list[Configure]) -> AsyncIterator[MediaWorkers]:
    """Start all workers; when the block ends they are told to go, and reaped.

    Raises :class:`WorkerStartError`, in the usual exception group of a nursery, if one does not come up.
    """
    media = MediaWorkers(configurations)
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as starting:
            for worker in media._workers:
                starting.start_soon(nursery.start, media._keep_running, worker)
        yield media
        nursery.cancel_scope.cancel()

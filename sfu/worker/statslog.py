"""What the workers have counted, into the log at regular intervals (``SFU_DEBUG_STATS``)."""

from __future__ import annotations

from typing import Final

import msgspec
import structlog
import trio

from sfu.worker.port import Media

STATS_INTERVAL: Final = 2.0
"""Seconds between two rounds."""

log = structlog.get_logger(__name__)


async def log_stats(media: Media, interval: float = STATS_INTERVAL) -> None:
    """Log the statistics of all workers, transports and producer streams at debug level, until cancelled.

    ``interval`` is in seconds.
    """
    while True:
        await trio.sleep(interval)
        for index, worker in (await media.stats()).items():
            log.debug("worker stats", worker=index, omitted=worker.omitted, **worker.counters)
            for transport in worker.transports:
                row = msgspec.structs.asdict(transport)
                del row["streams"]
                log.debug("transport stats", **row)
                for stream in transport.streams:
                    log.debug(
                        "producer stats",
                        transport_id=transport.transport_id,
                        **msgspec.structs.asdict(stream),
                    )

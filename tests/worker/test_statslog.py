from __future__ import annotations

import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from sfu.worker.port import StreamStats, TransportStats, WorkerStats
from sfu.worker.statslog import STATS_INTERVAL, log_stats
from tests.support.memory_media import MemoryMedia

STREAM = StreamStats("p", "video", 1, 100, 90_000, 2, 0.25, 0.01, 8)
TRANSPORT = TransportStats("t", "r", "connected", (STREAM,), 3, 300, 270_000, 4, 5, 6)


class CountingMedia(MemoryMedia):
    async def stats(self) -> dict[int, WorkerStats]:
        return {1: WorkerStats((TRANSPORT,), 7, {"forwarded": 300, "faults": 0})}


async def test_everything_is_logged_at_every_interval(autojump_clock: MockClock) -> None:
    with capture_logs() as logs, trio.move_on_after(2.5 * STATS_INTERVAL):
        await log_stats(CountingMedia())
    assert logs[:3] * 2 == logs
    assert {entry["log_level"] for entry in logs} == {"debug"}
    worker, transport, producer = logs[:3]
    assert (worker["event"], worker["forwarded"], worker["omitted"]) == ("worker stats", 300, 7)
    assert worker["worker"] == 1, "the one before it may be on its way back"
    assert (transport["event"], transport["transport_id"], transport["packets_sent"]) == (
        "transport stats",
        "t",
        300,
    )
    assert "streams" not in transport
    assert (producer["event"], producer["transport_id"], producer["score"]) == ("producer stats", "t", 8)

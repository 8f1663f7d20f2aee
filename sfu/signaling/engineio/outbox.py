"""What one client is still to be sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from sfu.signaling.engineio.codec import Frame, frame_size


class Outbox:
    """A queue of frames, bounded in number and bytes. Knows nothing of time or tasks."""

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._frames: deque[Frame] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def bytes(self) -> int:
        """Size of everything queued."""
        return self._bytes

    def put(self, frames: Sequence[Frame], size: int) -> bool:
        """Queue frames of ``size`` bytes together, all or none; False if that would exceed a limit."""
        if len(self._frames) + len(frames) > self._max_frames or self._bytes + size > self._max_bytes:
            return False
        self._frames.extend(frames)
        self._bytes += size
        return True

    def pop(self) -> Frame | None:
        """The next frame, or None."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._bytes -= frame_size(frame)
        return frame

    def take(self, max_bytes: int) -> list[Frame]:
        """Frames up to ``max_bytes`` together, at least one unless there is none."""
        taken: list[Frame] = []
        room = max_bytes
        while self._frames:
            room -= frame_size(self._frames[0])
            if room < 0 and taken:
                break
            taken.append(self._frames.popleft())
        self._bytes -= sum(map(frame_size, taken))
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self._frames.clear()
        self._bytes = 0

"""The one error of requests to the media side."""

from __future__ import annotations


class MediaRefused(Exception):
    """A request that cannot be met. ``str(error)`` goes to the client as it is; never empty."""

    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(error)
        self.cause = cause
        """For logs only: what the client is not told."""

"""The one error of requests to the media side."""

from __future__ import annotations


class MediaRefused(Exception):
    """A request that cannot be met. ``str(error)`` goes to the client as it is; never empty."""

"""Which layers a video producer has to offer; by default none in particular."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sfu.rooms import Refused

MAX_ECHO = 64
"""Characters of a client's own text that an error repeats."""


@dataclass(frozen=True, slots=True)
class LayerPolicy:
    """Only what is enforced here is refused."""

    expected_vp9_mode: str | None = None
    """A scalability mode like ``L1T3``."""
    enforce_vp9_mode: bool = False
    enforce_two_layers: bool = False
    """Whether simulcast has to have exactly two encodings."""

    def check(self, rtp_parameters: dict[str, Any]) -> None:
        """Raise :class:`Refused` if video with these RtpParameters is not wanted."""
        encodings = rtp_parameters.get("encodings")
        encodings = encodings if isinstance(encodings, list) else []
        mode = encodings[0].get("scalabilityMode") if encodings and isinstance(encodings[0], dict) else None
        if self.expected_vp9_mode and _primary_codec(rtp_parameters) == "video/vp9":
            expected = self.expected_vp9_mode.upper()
            if mode and str(mode).upper() != expected and self.enforce_vp9_mode:
                got = str(mode)[:MAX_ECHO]
                raise Refused(f"VP9 SVC mode mismatch: got {got}, expected {expected}")
            if not mode and self.enforce_vp9_mode:
                raise Refused(f"VP9 without scalabilityMode (expected {expected})")
        if self.enforce_two_layers and not mode and len(encodings) > 1 and len(encodings) != 2:
            raise Refused(f"simulcast encoding count {len(encodings)} (expected 2)")


def _primary_codec(rtp_parameters: dict[str, Any]) -> str | None:
    codecs = rtp_parameters.get("codecs")
    for codec in codecs if isinstance(codecs, list) else []:
        mime = codec.get("mimeType") if isinstance(codec, dict) else None
        if isinstance(mime, str) and mime.lower().startswith("video/") and mime.lower() != "video/rtx":
            return mime.lower()
    return None

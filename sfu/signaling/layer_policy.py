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

    def check(self, rtp_parameters: dict[str, Any]) -> list[str]:
        """What is wrong with video of these RtpParameters (``signaling.md`` 5.6), for the log.

        Raises :class:`Refused` for what is enforced.
        """
        if not (self.expected_vp9_mode or self.enforce_vp9_mode or self.enforce_two_layers):
            return []
        encodings = rtp_parameters.get("encodings")
        encodings = encodings if isinstance(encodings, list) else []
        complaints = []
        if _primary_codec(rtp_parameters) == "video/vp9":
            first = encodings[0] if encodings and isinstance(encodings[0], dict) else {}
            mode = str(first.get("scalabilityMode") or "")[:MAX_ECHO]
            expected = (self.expected_vp9_mode or "").upper()
            if mode and expected and mode.upper() != expected:
                complaints.append(f"VP9 SVC mode mismatch: got {mode}, expected {expected}")
            elif not mode and expected:
                complaints.append(f"VP9 without scalabilityMode (expected {expected})")
            if complaints and self.enforce_vp9_mode:
                raise Refused(complaints[0])
            if mode:
                return complaints  # its layers are in the one stream
        if len(encodings) > 2:
            complaint = f"simulcast encoding count {len(encodings)} (expected 2)"
            if self.enforce_two_layers:
                raise Refused(complaint)
            complaints.append(complaint)
        return complaints


def _primary_codec(rtp_parameters: dict[str, Any]) -> str | None:
    codecs = rtp_parameters.get("codecs")
    for codec in codecs if isinstance(codecs, list) else []:
        mime = codec.get("mimeType") if isinstance(codec, dict) else None
        if isinstance(mime, str) and mime.lower().startswith("video/") and mime.lower() != "video/rtx":
            return mime.lower()
    return None

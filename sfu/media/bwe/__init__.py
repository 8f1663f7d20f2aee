"""Send-side bandwidth estimation: what a viewer's line carries, found out without filling its queue.

:class:`SendSideEstimator` is the face of the package; one module each does the parts:

- ``sent``: what was sent, matched with transport-wide feedback;
- ``delay``: whether a queue grows, from the variation of the delay between groups of packets;
- ``acknowledged``: the rate of what arrived;
- ``rate``: the estimate, increased and decreased by what these say;
- ``loss``: which losses are congestion, and which are the line's own;
- ``probing``: padding above the estimate, to find out what the media itself never shows.

After draft-ietf-rmcat-gcc-02. A viewer that sends no transport-wide feedback is estimated from REMB
(draft-alvestrand-rmcat-remb-03), or from receiver reports alone.
"""

from sfu.media.bwe.estimator import START_BITRATE, SendSideEstimator
from sfu.media.bwe.probing import Probe
from sfu.media.bwe.rate import MAX_BITRATE, MIN_BITRATE

__all__ = ["MAX_BITRATE", "MIN_BITRATE", "START_BITRATE", "Probe", "SendSideEstimator"]

"""Hypothesis strategies for chunks and packets."""

from __future__ import annotations

from hypothesis import strategies as st

from sfu.sctp import chunks as c
from sfu.sctp import parameters as p
from sfu.sctp.causes import Cause

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFF_FFFF)
stream_ids = st.lists(u16, max_size=8).map(tuple)
causes = st.lists(st.builds(Cause, u16, st.binary(max_size=20)), max_size=4).map(tuple)

KNOWN_PARAMETERS = st.one_of(
    st.builds(p.StateCookie, st.binary(max_size=40)),
    st.builds(p.UnrecognizedParameter, st.binary(max_size=20)),
    st.builds(p.SupportedExtensions, st.lists(u8, max_size=6).map(tuple)),
    st.builds(p.ForwardTsnSupported),
    st.builds(p.ZeroChecksumAcceptable, u32),
    st.builds(p.OutgoingResetRequest, u32, u32, u32, stream_ids),
    st.builds(p.IncomingResetRequest, u32, stream_ids),
    st.builds(p.TsnResetRequest, u32),
    st.builds(p.ReconfigResponse, u32, u32, st.none() | st.tuples(u32, u32)),
    st.builds(p.AddOutgoingStreams, u32, u16),
    st.builds(p.AddIncomingStreams, u32, u16),
    st.builds(p.UnknownParameter, st.sampled_from([0x8003, 0xC006, 0xFFFE, 5]), st.binary(max_size=20)),
)
parameters = st.lists(KNOWN_PARAMETERS, max_size=5).map(tuple)

data_chunks = st.builds(c.DataChunk, u32, u16, u16, u32, st.integers(0, 15), st.binary(max_size=40))
sack_chunks = st.builds(
    c.SackChunk,
    u32,
    u32,
    st.lists(st.tuples(u16, u16), max_size=6).map(tuple),
    st.lists(u32, max_size=4).map(tuple),
)
control_chunks = st.one_of(
    st.builds(c.InitChunk, u32, u32, u16, u16, u32, parameters),
    st.builds(c.InitAckChunk, u32, u32, u16, u16, u32, parameters),
    st.builds(c.HeartbeatChunk, st.binary(min_size=4, max_size=40)),
    st.builds(c.HeartbeatAckChunk, st.binary(min_size=4, max_size=40)),
    st.builds(c.AbortChunk, causes, st.booleans()),
    st.builds(c.ShutdownChunk, u32),
    st.builds(c.ShutdownAckChunk),
    st.builds(c.ErrorChunk, causes),
    st.builds(c.CookieEchoChunk, st.binary(max_size=60)),
    st.builds(c.CookieAckChunk),
    st.builds(c.ShutdownCompleteChunk, st.booleans()),
    st.builds(c.ReconfigChunk, parameters),
    st.builds(c.ForwardTsnChunk, u32, st.lists(st.tuples(u16, u16), max_size=6).map(tuple)),
    st.builds(c.UnknownChunk, st.sampled_from([0x80, 0xBF, 0xC5, 0xFF]), u8, st.binary(max_size=20)),
)
any_chunk = st.one_of(data_chunks, sack_chunks, control_chunks)

"""Any bytes are refused by an SRTP receiver with SrtpError, and change nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sfu.rtp.packet import build_header
from sfu.rtp.srtp import REPLAY_WINDOW, SrtpError, SrtpProfile, SrtpReason, SrtpReceiver, SrtpSender

profiles = st.sampled_from(list(SrtpProfile))
junk = st.builds(
    lambda first, rest, word: bytes((first,)) + rest + word,
    st.one_of(st.integers(0x80, 0xBF), st.integers(0, 255)),
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x80\0\0\x01", b"\x80\0\0\x01" + bytes(10)]),
)


def pair(profile: SrtpProfile) -> tuple[SrtpSender, SrtpReceiver]:
    key, salt = bytes(range(profile.key_size)), bytes(range(profile.salt_size))
    return SrtpSender(profile, key, salt), SrtpReceiver(profile, key, salt)


@given(profiles, junk)
def test_junk(profile: SrtpProfile, data: bytes) -> None:
    _, receiver = pair(profile)
    for unprotect in (receiver.unprotect_rtp_untrusted, receiver.unprotect_rtcp_untrusted):
        try:
            unprotect(data)
        except SrtpError as error:
            assert error.reason in (SrtpReason.MALFORMED, SrtpReason.AUTH)
        else:
            raise AssertionError("junk was authentic")
    assert not receiver._rtp_streams
    assert not receiver._rtcp_streams


class ReceiverMachine(RuleBasedStateMachine):
    """A sender, an attacker who repeats and damages, and a model: each index opens once, in the window."""

    @initialize(profile=profiles, start=st.integers(0, 0xFFFF))
    def begin(self, profile: SrtpProfile, start: int) -> None:
        self.sender, self.receiver = pair(profile)
        self.next = start
        self.wire: list[tuple[int, bytes, bytes]] = []
        self.opened: set[int] = set()

    @rule(step=st.one_of(st.just(1), st.integers(1, 600)), payload=st.binary(max_size=40))
    def send(self, step: int, payload: bytes) -> None:
        index = self.next
        self.next += step
        header = build_header(payload_type=96, sequence_number=index % 65536, timestamp=0, ssrc=7)
        self.wire.append((index, header + payload, header + self.sender.seal(header, payload, 7, index)))

    @rule(which=st.integers(0, 8))
    def deliver(self, which: int) -> None:
        """One of the latest packets: in order, reordered or repeated."""
        if not self.wire:
            return
        index, plain, data = self.wire[max(0, len(self.wire) - 1 - which)]
        highest = max(self.opened, default=-1)
        # Fifty steps stay within half a cycle, so the model needs no estimate.
        replay = index in self.opened or (self.opened and index <= highest - REPLAY_WINDOW)
        try:
            assert self.receiver.unprotect_rtp_untrusted(data) == plain
        except SrtpError as error:
            assert replay
            assert error.reason is SrtpReason.REPLAY
        else:
            assert not replay
            self.opened.add(index)

    @rule(which=st.integers(0, 8), at=st.integers(0, 60), bit=st.integers(0, 7))
    def damage(self, which: int, at: int, bit: int) -> None:
        if not self.wire:
            return
        before = self.state()
        data = bytearray(self.wire[max(0, len(self.wire) - 1 - which)][2])
        data[at % len(data)] ^= 1 << bit
        try:
            self.receiver.unprotect_rtp_untrusted(bytes(data))
        except SrtpError:
            pass
        else:
            raise AssertionError("a damaged packet was authentic")
        assert self.state() == before

    def state(self) -> dict[int, tuple[int, int]]:
        return {ssrc: (stream.highest, stream.seen) for ssrc, stream in self.receiver._rtp_streams.items()}

    @invariant()
    def bounded(self) -> None:
        for highest, seen in self.state().values():
            assert highest == max(self.opened)
            assert 0 < seen < 1 << REPLAY_WINDOW


TestReceiver = ReceiverMachine.TestCase

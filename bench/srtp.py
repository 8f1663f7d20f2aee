"""Microseconds per packet of sealing and opening SRTP, against libsrtp through pylibsrtp in the same run.

    python -m bench.srtp [--packets N] [--rounds N]

Ours and libsrtp's rounds alternate, and the medians are compared: absolute figures move with the machine's
load, the ratio hardly does. Sizes are RTP payloads; headers are 24 bytes with a one-byte extension.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable

import pylibsrtp

from sfu.rtp.extensions import build_extension
from sfu.rtp.packet import build_header
from sfu.rtp.srtp import SrtpProfile, SrtpReceiver, SrtpSender

SSRC = 0x2A2A2A2A
SIZES = (120, 1100)
LIBSRTP_PROFILES = {
    SrtpProfile.AEAD_AES_128_GCM: pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    SrtpProfile.AEAD_AES_256_GCM: pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    SrtpProfile.AES128_CM_HMAC_SHA1_80: pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
}


def libsrtp_session(profile: SrtpProfile, key: bytes, direction: int) -> pylibsrtp.Session:
    """A libsrtp session for any SSRC, with the replay window that we use."""
    policy = pylibsrtp.Policy(key=key, ssrc_type=direction, srtp_profile=LIBSRTP_PROFILES[profile])
    policy.window_size = 1024
    return pylibsrtp.Session(policy)


def per_packet(function: Callable[[], None], packets: int) -> float:
    """CPU microseconds of this process for each of ``packets``."""
    start = time.process_time_ns()
    function()
    return (time.process_time_ns() - start) / packets / 1000


def packet_headers(packets: int) -> list[bytes]:
    extension = build_extension([(1, b"0"), (5, b"\x00\x01")])
    return [
        build_header(payload_type=101, sequence_number=n, timestamp=n, ssrc=SSRC, extension=extension)
        for n in range(packets)
    ]


def measure(profile: SrtpProfile, size: int, packets: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Medians of (ours, libsrtp) for ``seal`` and ``open``."""
    headers = packet_headers(packets)
    payload = os.urandom(size)
    plain = [header + payload for header in headers]
    times: dict[str, tuple[list[float], list[float]]] = {"seal": ([], []), "open": ([], [])}
    for _ in range(rounds):
        key, salt = os.urandom(profile.key_size), os.urandom(profile.salt_size)
        seal = SrtpSender(profile, key, salt).seal
        unprotect = SrtpReceiver(profile, key, salt).unprotect_rtp_untrusted
        outbound = libsrtp_session(profile, key + salt, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        inbound = libsrtp_session(profile, key + salt, pylibsrtp.Policy.SSRC_ANY_INBOUND)
        wire = [header + seal(header, payload, SSRC, n) for n, header in enumerate(headers)]

        def ours_seal(seal: Callable[[bytes, bytes, int, int], bytes] = seal) -> None:
            for n, header in enumerate(headers):
                seal(header, payload, SSRC, n)

        def libsrtp_seal(protect: Callable[[bytes], bytes] = outbound.protect) -> None:
            for packet in plain:
                protect(packet)

        def opened(unprotect: Callable[[bytes], bytes] = unprotect, wire: list[bytes] = wire) -> None:
            for packet in wire:
                unprotect(packet)

        def libsrtp_opened(
            unprotect: Callable[[bytes], bytes] = inbound.unprotect, wire: list[bytes] = wire
        ) -> None:
            for packet in wire:
                unprotect(packet)

        for name, ours, theirs in (("seal", ours_seal, libsrtp_seal), ("open", opened, libsrtp_opened)):
            times[name][0].append(per_packet(ours, packets))
            times[name][1].append(per_packet(theirs, packets))
    return {
        name: (statistics.median(ours), statistics.median(theirs)) for name, (ours, theirs) in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--packets", type=int, default=5000, help="packets per round (at most 32768)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds; the median counts")
    arguments = parser.parse_args()
    gc.disable()
    print(
        f"Python {platform.python_version()}, {platform.machine()}; us per packet, ratio = ours / pylibsrtp"
    )
    print(f"{'profile':<24} {'bytes':>5} {'':<5} {'ours':>7} {'pylibsrtp':>10} {'ratio':>6}")
    for profile in LIBSRTP_PROFILES:
        for size in SIZES:
            for name, (ours, theirs) in measure(
                profile, size, min(arguments.packets, 32768), arguments.rounds
            ).items():
                columns = f"{ours:>7.3f} {theirs:>10.3f} {ours / theirs:>6.2f}"
                print(f"{profile.name:<24} {size:>5} {name:<5} {columns}")


if __name__ == "__main__":
    main()

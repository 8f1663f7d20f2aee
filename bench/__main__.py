"""``./dev bench [NAME] [OPTIONS]``: without a name, the figures that the README quotes."""

from __future__ import annotations

import importlib
import sys

NAMES = {
    "forward": "CPU per forwarded media packet, as a ratio to a plain sendto",
    "delay": "one-way delay of a data message through a running daemon",
    "srtp": "sealing and opening packets, as a ratio to libsrtp's Python binding",
    "sctp": "relaying data messages",
    "signaling": "joins, idle sockets, slot changes and relayed messages of a running daemon",
}
SUMMARY = ("forward", "delay")


def main(argv: list[str]) -> int:
    if argv and argv[0] not in NAMES:
        print("benchmarks:", *(f"  {name:9} {text}" for name, text in NAMES.items()), sep="\n")
        return 0 if argv[0] in ("help", "-h", "--help") else 2
    for name in argv[:1] or SUMMARY:
        importlib.import_module(f"bench.{name}").main(argv[1:])
    return 0


sys.exit(main(sys.argv[1:]))

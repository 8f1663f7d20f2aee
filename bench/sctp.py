"""What SCTP costs: CPU per relayed small message, and bulk throughput, on one core and without sockets or
DTLS.

    python -m bench.sctp [--receivers 128] [--messages 600] [--runs 5]

*Relay*: one sender's 64-byte input arrives, becomes an event, is sent to every receiver, and each
receiver's SACK for every second packet is processed. Only our side's calls are timed, the browsers' are
not; what a shell would do around them (``get_timer`` after every touch) is in. *Bulk*: both ends timed,
256 KiB messages, no loss.

Figures move with the machine: compare runs of one session only. Each line is the best run and the median.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable

from sfu.sctp.association import Association
from sfu.sctp.events import MessageReceived

INPUT = b'{"t":"i","f":0,"s":1,"p":1,"k":8,"v":1}'.ljust(64)
LIFETIME = 3.0


def connect() -> tuple[Association, Association]:
    """Our side and a browser's, up."""
    ours, theirs = Association(), Association()
    ours.start(0.0)
    theirs.start(0.0)
    while exchange(ours, theirs, 0.0):
        pass
    drain(ours)
    drain(theirs)
    return ours, theirs


def exchange(a: Association, b: Association, now: float) -> bool:
    """Move what both want sent; says whether there was anything."""
    moved = False
    for source, target in ((a, b), (b, a)):
        for data in source.datagrams_to_send(now):
            moved = True
            target.receive_datagram_untrusted(data, now)
    return moved


def drain(association: Association) -> int:
    count = 0
    while association.next_event() is not None:
        count += 1
    return count


def relay(receivers: int, messages: int) -> tuple[float, float, float]:
    """Microseconds per relayed message in all; in receiving SACKs; and per message in receiving from the
    sender."""
    ours_in, host = connect()
    pairs = [connect() for _ in range(receivers)]
    clock = time.perf_counter
    ingress = egress = sacks = 0.0
    now = 1.0
    for _ in range(messages):
        now += 1 / 60
        host.send(0, 53, INPUT, now, ordered=False, max_lifetime=LIFETIME)
        packets = host.datagrams_to_send(now)

        start = clock()
        for packet in packets:
            ours_in.receive_datagram_untrusted(packet, now)
        event = ours_in.next_event()
        back = ours_in.datagrams_to_send(now)
        ours_in.get_timer()
        assert isinstance(event, MessageReceived)
        middle = clock()
        out = []
        for ours, _theirs in pairs:
            ours.send(0, event.ppid, event.data, now, ordered=False, max_lifetime=LIFETIME)
            out.append(ours.datagrams_to_send(now))
            ours.get_timer()
        end = clock()
        ingress += middle - start
        egress += end - middle

        for packet in back:
            host.receive_datagram_untrusted(packet, now)
        if (deadline := ours_in.get_timer()) is not None and deadline <= now:
            ours_in.handle_timer(now)
        answers = []
        for (_ours, theirs), packets in zip(pairs, out, strict=True):
            for packet in packets:
                theirs.receive_datagram_untrusted(packet, now)
            drain(theirs)
            answers.append(theirs.datagrams_to_send(now))
        start = clock()
        for (ours, _theirs), packets in zip(pairs, answers, strict=True):
            for packet in packets:
                ours.receive_datagram_untrusted(packet, now)
                ours.datagrams_to_send(now)
                ours.get_timer()
        sacks += clock() - start
    total = messages * receivers
    return (ingress + egress + sacks) / total * 1e6, sacks / total * 1e6, ingress / messages * 1e6


def bulk(messages: int) -> float:
    """Megabytes a second from one association to another, both on this core."""
    a, b = connect()
    data = bytes(256 * 1024)
    now = 1.0
    start = time.perf_counter()
    for _ in range(messages):
        a.send(0, 53, data, now)
        received = 0
        while not received:
            now += 0.001
            exchange(a, b, now)
            received = drain(b)
    return messages * len(data) / (time.perf_counter() - start) / 1e6


def repeated(runs: int, measure: Callable[[], float], pick: Callable[[list[float]], float]) -> str:
    values = [measure() for _ in range(runs)]
    return f"{pick(values):8.2f} best {statistics.median(values):8.2f} median"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--receivers", type=int, default=128)
    parser.add_argument("--messages", type=int, default=600)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    gc.freeze()
    gc.disable()
    rows = [relay(options.receivers, options.messages) for _ in range(options.runs)]
    names = (
        f"relay to {options.receivers}, us per relayed message",
        "  of it SACKs",
        "receive from the sender, us per message",
    )
    for index, name in enumerate(names):
        values = [row[index] for row in rows]
        print(f"{name:45} {min(values):8.2f} best {statistics.median(values):8.2f} median")
    print(f"{'bulk, MB/s through both ends':45} {repeated(options.runs, lambda: bulk(40), max)}")


if __name__ == "__main__":
    main()

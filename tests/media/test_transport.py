"""What a transport makes of bytes that its peer sealed but nobody can read."""

from __future__ import annotations

import random

from sfu.sctp.ppid import BINARY
from tests.interop.attacks import sctp
from tests.support.world import World


def test_malformed_sctp_costs_only_itself() -> None:
    """Inside good DTLS; this once ended the worker."""
    world = World()
    player_id, player = world.join()
    world.core.produce_data(player_id, "data", {"streamId": 0}, "", "", world.now)
    host_id, host = world.join()
    world.core.consume_data(host_id, "dc", "data")
    for packet in (b"\x00", bytes(11), bytes(12), bytes(16), bytes(2000)):
        player.dtls.send(packet[: player.dtls.max_data_size])
        world.run(0.05)
    player.send_data(0, BINARY, b"still here", world.now)
    assert world.run(2, lambda: bool(host.messages))
    assert host.messages[0].data == b"still here"
    assert world.events == []


def test_any_sctp_costs_only_its_association() -> None:
    """Whatever a peer does to its association, everybody else's data passes."""
    world = World()
    watcher_id, watcher = world.join()
    player_id, player = world.join()
    world.core.produce_data(player_id, "data", {"streamId": 0}, "", "", world.now)
    world.core.consume_data(watcher_id, "dc", "data")
    seen: list[bytes] = []
    for seed in range(5):
        _, intruder = world.join()
        intruder.sctp.send(0, BINARY, b"genuine", world.now)
        [genuine, *_] = intruder.sctp.datagrams_to_send(world.now)
        for packet in sctp(random.Random(seed), genuine, 100):
            if packet and intruder.ended is None:
                intruder.dtls.send(packet)
                world.core.receive_batch(
                    [(data, intruder.address, world.now) for data, _, _ in intruder.take_output(world.now)],
                    world.now,
                )
                world.core.egress(world.now)
        player.send_data(0, BINARY, b"%d" % seed, world.now)
        world.run(2, lambda: watcher.messages[-1:] != [] and watcher.messages[-1].data == b"%d" % len(seen))
        seen.append(watcher.messages[-1].data)
    assert seen == [m.data for m in watcher.messages] == [b"%d" % seed for seed in range(5)]

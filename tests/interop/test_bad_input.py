"""Malformed input of every kind at a running daemon, from strangers and from members.

What the daemon owes: it drops it or answers with the declared error. Nobody else notices, nothing grows, no
process dies, and nothing but warnings is logged. Each test watches a room of its own through its attack.
"""

from __future__ import annotations

import json
import random
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest
import trio

from sfu.ice.address import Address
from sfu.ice.stun import is_stun
from sfu.sctp.ppid import BINARY
from sfu.signaling.events import EVENTS
from tests.interop import attacks
from tests.interop.member import LivePeer, Member, Signaling, eventually, open_member, open_signaling
from tests.interop.room import Room, consume, produce_data, produce_video
from tests.support.daemon import HOST, Daemon, clean, resident, running_daemon
from tests.support.world import (
    AUDIO_SSRC,
    RTX_SSRC,
    VIDEO_SSRC,
    VideoSource,
    audio_parameters,
    received,
    video_parameters,
    viewer_capabilities,
)

pytestmark = pytest.mark.interop

SEED = 20_26
GROWTH = 8 << 20
"""Bytes that a process may have grown after an attack; most grow by less than a hundredth of that."""
PAUSE_EVERY = 50
"""Datagrams between pauses: a socket's buffer must not do the dropping."""


UNHURRIED = {
    f"SFU_LIMIT_{name}": "1000000"
    for name in ("EVENTS_PER_SECOND", "EVENTS_BURST", "CHANGES_PER_SECOND", "CHANGES_BURST")
}
"""Whoever sends so much nonsense would be told to wait, before the nonsense is looked at."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """One worker, so that everybody meets there; warmed up by a room that comes and goes."""
    with running_daemon(variables=UNHURRIED) as one:
        trio.run(warm_up, one)
        yield one
        ended = one.stop()
        assert ended.status == 0
        assert_quiet(ended.stderr)


async def warm_up(daemon: Daemon) -> None:
    """What is imported or allocated once must not count as growth."""
    for _ in range(3):
        async with watched(daemon):
            pass


def assert_quiet(stderr: str) -> None:
    """Nothing worse than warnings."""
    assert clean(stderr), stderr
    for line in stderr.splitlines():
        assert json.loads(line)["level"] in ("warning", "info"), line


@asynccontextmanager
async def watched(daemon: Daemon) -> AsyncIterator[Room]:
    """A room that works before and after, in processes that stay what they were."""
    pids = [daemon.pid, *daemon.worker_pids]
    before = [resident(pid) for pid in pids]
    async with open_member(daemon, "host") as host, open_member(daemon, "viewer") as viewer:
        room = Room(f"room {random.random()}", daemon, host, viewer)
        await room.start()
        await room.prove()
        yield room
        await room.prove()
        await host.signaling.call("leave-room")
        await viewer.signaling.call("leave-room")
    assert [daemon.pid, *daemon.worker_pids] == pids
    growth = [resident(pid) - size for pid, size in zip(pids, before, strict=True)]
    print("growth in KiB (node, worker):", [size >> 10 for size in growth])
    assert max(growth) < GROWTH
    assert_quiet(daemon.stderr)


@asynccontextmanager
async def intruder(room: Room) -> AsyncIterator[tuple[Member, LivePeer]]:
    """A third member with a transport that sends and receives like the others'."""
    async with open_member(room.daemon, "intruder") as member:
        await member.join(room.name)
        yield member, await equip(room, member)
        await member.signaling.call("leave-room")


async def equip(room: Room, member: Member) -> LivePeer:
    live = await member.transport()
    await produce_video(member, live)
    await produce_data(member, live)
    await consume(member, live, room.video)
    return live


class Stranger:
    """A UDP socket that nobody knows."""

    def __init__(self) -> None:
        self.socket = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sent = 0
        self.answers: list[bytes] = []

    async def __aenter__(self) -> Self:
        await self.socket.bind((HOST, 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()

    async def send_all(self, datagrams: Iterator[bytes], server: Address, wait: float = 0.1) -> int:
        """Send, and collect what comes back until ``wait`` seconds after the last."""
        count = 0
        for count, data in enumerate(datagrams, 1):
            await self.socket.sendto(data, server)
            self.sent += len(data)
            if count % PAUSE_EVERY == 0:
                await self._collect(0.005)
        await self._collect(wait)
        return count

    async def _collect(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while True:
                self.answers.append(await self.socket.recv(65536))


async def send_all(live: LivePeer, datagrams: Iterator[bytes]) -> int:
    """From a member's own address, as they are."""
    count = 0
    for count, data in enumerate(datagrams, 1):
        live.send(data)
        if count % PAUSE_EVERY == 0:
            await trio.sleep(0.005)
    await trio.sleep(0.05)
    return count


# UDP


async def test_datagrams_from_strangers(daemon: Daemon) -> None:
    """STUN without the password, DTLS, RTP and noise: nothing is answered but STUN, and never with more."""
    chance = random.Random(SEED)
    async with watched(daemon) as room, Stranger() as stranger:
        server = room.sending.peer.server
        username = room.sending.peer._username
        genuine = room.sending.peer.check()
        total = await stranger.send_all(attacks.stun_from_strangers(chance, username, 400), server)
        total += await stranger.send_all(attacks.dtls(chance, 300), server)
        total += await stranger.send_all(attacks.noise(chance, 300), server)
        total += await stranger.send_all(attacks.noise(chance, 200, first=range(128, 192)), server)
        total += await stranger.send_all(attacks.mutated(chance, genuine, 200), server)
        print(total, "datagrams,", len(stranger.answers), "answers")
        assert all(is_stun(answer) for answer in stranger.answers)
        assert sum(map(len, stranger.answers)) < stranger.sent / 10


async def test_checks_from_many_addresses_with_the_password(daemon: Daemon) -> None:
    """Authentic but odd STUN from a hundred addresses; the one that carries the media keeps it."""
    chance = random.Random(SEED + 1)
    async with watched(daemon) as room, intruder(room) as (_, live):
        peer = live.peer
        name, password = peer._username, peer._password
        await send_all(live, attacks.stun_from_members(chance, name, password, 300))
        for _ in range(100):
            async with Stranger() as elsewhere:
                checks = attacks.stun_from_members(chance, name, password, 5)
                await elsewhere.send_all(checks, peer.server, wait=0.01)
                assert sum(map(len, elsewhere.answers)) <= 2 * elsewhere.sent
        peer.use_credentials({"usernameFragment": name.split(":")[0], "password": password})
        live.flush()
        await eventually(lambda: peer.validated)


async def test_dtls_records_at_a_connected_transport(daemon: Daemon) -> None:
    """From the very address of a connected peer: what is not sealed with its keys changes nothing."""
    chance = random.Random(SEED + 2)
    async with watched(daemon) as room, intruder(room) as (_, live):
        total = await send_all(live, attacks.dtls(chance, 600))
        print(total, "datagrams")
        live.peer.send_data(0, BINARY, b"still here", trio.current_time())
        live.flush()
        await eventually(lambda: live.peer.sctp.get_timer() is not None)
        assert live.peer.ended is None


async def test_handshakes_of_garbage(daemon: Daemon) -> None:
    """Transports whose peers have the ICE password but send no handshake worth the name; each ends alone."""
    chance = random.Random(SEED + 3)
    async with watched(daemon) as room, open_member(daemon, "intruder") as member:
        await member.join(room.name)
        for _ in range(12):
            info = await member.signaling.call("sfu-create-transport", {})
            live = LivePeer(info["id"], info)
            await member.signaling.call(
                "sfu-connect-transport",
                {"transportId": info["id"], "dtlsParameters": live.peer.dtls_parameters},
            )
            live.send(live.peer.check())
            await send_all(live, attacks.dtls(chance, 80))
            live.socket.close()
        await member.signaling.call("sfu-recreate-transports")
        await equip(room, member)


async def test_media_that_is_not_what_it_seems(daemon: Daemon) -> None:
    """From a member: unsealed and damaged packets, replays, and well-sealed ones that are nonsense."""
    chance = random.Random(SEED + 4)
    async with watched(daemon) as room, intruder(room) as (member, live):
        peer = live.peer
        source = VideoSource(peer, first=1000)
        source.frame(key=True)
        genuine = [data for data, _, _ in peer.take_output(trio.current_time())]
        media = next(data for data in genuine if 128 <= data[0] < 192)
        total = await send_all(live, iter([media] * 20))
        total += await send_all(live, attacks.mutated(chance, media, 300))
        total += await send_all(live, attacks.noise(chance, 200, first=range(128, 192)))
        total += await send_all(live, (h + p for h, p, _, _ in attacks.rtp(chance, 100, [VIDEO_SSRC])))
        assert peer.sender is not None
        sender = peer.sender
        sealed = (
            header + sender.seal(header, payload, ssrc, index)
            for header, payload, ssrc, index in attacks.rtp(chance, 800, [VIDEO_SSRC, RTX_SSRC, AUDIO_SSRC])
        )
        total += await send_all(live, sealed)
        print(total, "datagrams")
        # A new producer on the same transport is still learned and forwarded.
        audio = await member.signaling.call(
            "sfu-produce",
            {"transportId": live.transport_id, "kind": "audio", "rtpParameters": audio_parameters()},
        )
        await consume(room.viewer, room.receiving, audio)


async def test_reports_that_lie(daemon: Daemon) -> None:
    """From a member who watches: feedback about everybody's streams, of every shape."""
    chance = random.Random(SEED + 5)
    async with watched(daemon) as room, intruder(room) as (_, live):
        peer = live.peer
        assert peer.sender is not None
        own = [packet.ssrc for packet in received(room.receiving.peer, room.ssrc)[:1]]
        ssrcs = [VIDEO_SSRC, RTX_SSRC, room.ssrc, 0, 0xFFFFFFFF, *own]
        room.source.frame(key=True)
        room.sending.flush()
        await eventually(lambda: bool(peer.rtp))
        ssrcs += list({struct.unpack_from("!I", data, 8)[0] for data in peer.rtp}) * 5
        packets = [p for p in attacks.rtcp(chance, 800, ssrcs) if 8 <= len(p) <= 1400]
        total = await send_all(live, (peer.sender.protect_rtcp(packet) for packet in packets))
        total += await send_all(live, iter(packets[:100]))  # not sealed
        genuine = peer.sender.protect_rtcp(packets[0])
        total += await send_all(live, attacks.mutated(chance, genuine, 100))
        print(total, "datagrams")


async def test_sctp_inside_dtls(daemon: Daemon) -> None:
    """From members who completed the handshake; whoever loses their association only loses their own."""
    chance = random.Random(SEED + 6)
    async with watched(daemon) as room, open_member(daemon, "intruder") as member:
        await member.join(room.name)
        total = 0
        for _ in range(15):
            live = await member.transport()
            await produce_data(member, live)
            await member.signaling.call(
                "consumedata", {"dataProducerId": room.data, "transportId": live.transport_id}
            )
            peer = live.peer
            now = trio.current_time()
            peer.sctp.send(0, BINARY, b"genuine", now)
            [genuine, *_] = peer.sctp.datagrams_to_send(now)
            for count, packet in enumerate(attacks.sctp(chance, genuine, 80), 1):
                if packet and peer.ended is None:
                    peer.dtls.send(packet)
                    live.flush()
                if count % PAUSE_EVERY == 0:
                    await trio.sleep(0.005)
                total += 1
            await trio.sleep(0.05)
        print(total, "packets")


# TCP


async def test_ice_tcp(daemon: Daemon) -> None:
    """Frames of length 0 and 65,535, halves, noise, another protocol; from strangers, on many connections."""
    chance = random.Random(SEED + 7)
    async with watched(daemon) as room, trio.open_nursery() as nursery:
        check = room.sending.peer.check()
        framed = struct.pack("!H", len(check)) + check
        openings = [
            b"",
            b"\x00",
            b"\x00\x00" * 500,
            b"\xff\xff" + bytes(100),
            b"\xff\xff" + bytes(65_535) * 3,
            b"GET / HTTP/1.1\r\n\r\n",
            framed[:30],
            framed * 50,
            b"".join(struct.pack("!H", 1) + b"\x80" for _ in range(2000)),
            *(struct.pack("!H", len(d) % 65536) + d for d in attacks.dtls(chance, 40)),
            *attacks.mutated(chance, framed, 100),
        ]

        async def connect(data: bytes) -> None:
            async with await trio.open_tcp_stream(HOST, daemon.media_port) as stream:
                try:
                    await stream.send_all(data)
                    with trio.move_on_after(0.3):
                        while await stream.receive_some():
                            pass
                except trio.BrokenResourceError:
                    pass

        for index, data in enumerate(openings):
            nursery.start_soon(connect, data)
            if index % 20 == 19:
                await trio.sleep(0.05)


async def raw_exchange(port: int, data: bytes, seconds: float = 0.5) -> bytes:
    """Send bytes on a connection, read what comes until it ends or nothing has for a while."""
    answer = b""
    async with await trio.open_tcp_stream(HOST, port) as stream:
        try:
            await stream.send_all(data)
            with trio.move_on_after(seconds) as scope:
                while chunk := await stream.receive_some():
                    answer += chunk
                    scope.deadline = trio.current_time() + seconds
        except trio.BrokenResourceError:
            pass
    return answer


async def test_http(daemon: Daemon) -> None:
    """Every answer is a proper one, none says that something broke inside."""
    chance = random.Random(SEED + 8)
    statuses: set[int] = set()
    async with watched(daemon), trio.open_nursery() as nursery:
        limit = trio.CapacityLimiter(16)

        async def ask(data: bytes) -> None:
            async with limit:
                answer = await raw_exchange(daemon.port, data)
            if answer:
                version, status, _ = answer.split(b" ", 2)
                assert version == b"HTTP/1.1", (data, answer)
                statuses.add(int(status))
                assert int(status) < 500 or int(status) in (501, 505), (data[:200], answer[:200])

        for data in attacks.http(chance):
            nursery.start_soon(ask, data)
    print("statuses:", sorted(statuses))
    assert {400, 401, 404} <= statuses


async def test_engineio_polling(daemon: Daemon) -> None:
    """Posts of junk end their own session, at most."""
    chance = random.Random(SEED + 9)
    refused = 0
    async with watched(daemon), trio.open_nursery() as nursery:
        limit = trio.CapacityLimiter(8)

        async def post(body: bytes) -> None:
            nonlocal refused
            async with limit:
                opened = await raw_exchange(
                    daemon.port,
                    b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n"
                    b"Host: x\r\nConnection: close\r\n\r\n",
                )
                sid = json.loads(opened[opened.index(b"0{") + 1 :])["sid"]
                head = (
                    f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n"
                    f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                answer = await raw_exchange(daemon.port, head.encode() + body)
            if answer:
                status = int(answer.split(b" ", 2)[1])
                assert status in (200, 400, 413), (body[:100], answer[:200])
                refused += status != 200

        for body in attacks.polling_payloads(chance):
            nursery.start_soon(post, body)
    print(refused, "refused")
    assert refused > 20


async def test_websocket_frames(daemon: Daemon) -> None:
    """A connection whose frames are wrong ends; the daemon goes on."""
    chance = random.Random(SEED + 10)
    token = await trio.to_thread.run_sync(daemon.mint, "intruder")
    async with watched(daemon):
        for data in attacks.websocket_frames(chance):
            async with open_signaling(daemon, token) as signaling:
                try:
                    await signaling.send_bytes(data)
                    with trio.move_on_after(0.05):
                        await signaling.over.wait()
                except trio.BrokenResourceError:
                    pass


async def test_socketio_from_strangers(daemon: Daemon) -> None:
    """Packets before and instead of CONNECT, as text and as WebSocket messages."""
    chance = random.Random(SEED + 11)
    async with watched(daemon):
        for packet in attacks.socketio(chance):
            async with await trio.open_tcp_stream(HOST, daemon.port) as stream:
                signaling = Signaling(stream)
                await signaling.open()
                try:
                    await signaling.send("4" + packet)
                    await signaling.send('421["sfu-available",{}]')
                    with trio.move_on_after(0.03):
                        await signaling.run()
                except trio.BrokenResourceError:
                    pass
                assert signaling.events == []


async def test_socketio_from_members(daemon: Daemon) -> None:
    """The same from somebody signed in; for most of it they are thrown out."""
    chance = random.Random(SEED + 12)
    token = await trio.to_thread.run_sync(daemon.mint, "intruder")
    thrown_out = 0
    async with watched(daemon):
        for packet in attacks.socketio(chance):
            async with open_signaling(daemon, token) as signaling:
                try:
                    await signaling.send("4" + packet)
                    with trio.move_on_after(0.03):
                        await signaling.over.wait()
                except trio.BrokenResourceError:
                    pass
                thrown_out += signaling.disconnected is not None
    print(thrown_out, "thrown out")
    assert thrown_out > 20


def templates(room: Room, live: LivePeer) -> dict[str, Any]:
    """A good payload for each event."""
    transport = {"transportId": live.transport_id}
    extra = {"room_name": room.name, "player_slot": 2, "netplay_mode": 0, "romHash": "r", "coreId": "c"}
    dtls = {"dtlsParameters": live.peer.dtls_parameters}
    data = {
        "sctpStreamParameters": {"streamId": 7, "ordered": False, "maxPacketLifeTime": 1000},
        "label": "other inputs",
        "protocol": "json",
        "appData": {"x": 1},
    }
    listed = {"roomName": room.name}
    known = {
        "open-room": {"extra": extra, "maxPlayers": 4, "password": "p"},
        "join-room": {"extra": extra, "password": None},
        "leave-room": {"roomName": "elsewhere"},
        "update-player-slot": {**listed, "playerSlot": 3},
        "data-message": {"frameAck": 1},
        "chat-message": {"message": "hello"},
        "sfu-create-transport": {"direction": "send"},
        "sfu-connect-transport": {**transport, **dtls},
        "sfu-restart-ice": transport,
        "sfu-produce": {**transport, "kind": "video", "rtpParameters": video_parameters(), "appData": {}},
        "sfu-consume": {**transport, "producerId": room.video, "rtpCapabilities": viewer_capabilities()},
        "producedata": {**transport, **data},
        "sfu-produce-data": {**transport, **data},
        "consumedata": {**transport, "dataProducerId": room.data},
        "sfu-consume-data": {**transport, "dataProducerId": room.data},
        "update-room-metadata": {**listed, "metadata": {"rom_hash": "x"}},
        "update-player-metadata": {**listed, "metadata": {"a": 1}},
        "webrtc-signal": {**listed, "target": "host", "offer": {"type": "offer", "sdp": "v=0"}},
    }
    return {name: known.get(name, listed) for name in EVENTS}


SILENT = ("data-message", "chat-message", "webrtc-signal")
"""Events that are never acknowledged."""


async def test_payloads_of_every_event(daemon: Daemon) -> None:
    """Each event with each part of a good payload spoilt in turn: refused with a reason, or harmless."""
    chance = random.Random(SEED + 13)
    total = 0
    surplus: list[list[Any]] = [[], [None], [None, None], [{}, {}], [[]], [1, 2, 3]]
    async with watched(daemon) as room:
        for name in sorted(EVENTS):
            async with intruder(room) as (member, live):
                payloads = list(attacks.variants(chance, templates(room, live)[name]))
                if len(payloads) > 150:
                    payloads = chance.sample(payloads, 150)
                for payload in payloads:
                    total += 1
                    if name in SILENT:
                        await member.signaling.emit(name, payload)
                        continue
                    answer = await member.signaling.call_raw(name, payload)
                    assert answer, (name, payload)
                    if name != "sfu-available":
                        assert_declared(name, payload, answer)
                for args in surplus:
                    if name not in SILENT:
                        total += 1
                        answer = await member.signaling.call_raw(name, *args)
                        if name != "sfu-available" or len(args) > 1:
                            assert_declared(name, args, answer)
                assert member.signaling.disconnected is None
                await member.signaling.call_raw("join-room", {"extra": {"room_name": room.name}})
    print(total, "events")


def assert_declared(name: str, payload: Any, answer: list[Any]) -> None:
    """``[null]``, ``[null, value]``, or one error: a text that says something, or ``join-room``'s object."""
    error, *rest = answer
    what = (name, payload, answer)
    if error is None:
        assert len(rest) <= 1, what
        return
    assert rest == [], what
    assert error != "error", what  # that is what a bug of ours is called
    assert (isinstance(error, str) and error) or (name == "join-room" and isinstance(error, dict)), what

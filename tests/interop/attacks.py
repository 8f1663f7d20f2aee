"""Malformed input of every layer, from a seeded generator: each function yields what to send, in order.

Nothing here sends. What needs keys takes a connected peer's machines and yields what they sealed.
"""

from __future__ import annotations

import hmac
import json
import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from sfu.dtls.context import DtlsRole
from sfu.sctp.packet import PacketHeader
from tests.support.dtls_raw import RawPeer

COOKIE = 0x2112A442
MAX_UDP = 9000
"""Bytes of the longest datagram sent."""
FIRST_INDEX = 5000
"""Of RTP packets: beyond what a source has sent before, so that they are no replays."""
WEIRD: Sequence[Any] = (
    None,
    True,
    0,
    -1,
    1e308,
    2**31,
    2**53,
    2**63,
    10**30,
    "",
    "\x00",
    "x" * 5000,
    "\u202egpj.exe",
    "../../etc/passwd",
    "__proto__",
    [],
    [[]],
    {},
    {"": None},
    {"_placeholder": True, "num": 0},
    {"__proto__": {"polluted": 1}},
    ["x"] * 1000,
    {str(i): i for i in range(500)},
)
"""What clients send where something else is expected."""


def mutated(chance: random.Random, data: bytes, count: int) -> Iterator[bytes]:
    """Damaged versions of something that was right: bits, lengths, cuts, growth, repetition."""
    for _ in range(count):
        value = bytearray(data)
        for _ in range(chance.choice((1, 1, 1, 2, 8))):
            kind = chance.randrange(6)
            if not value or kind == 0:
                value += chance.randbytes(chance.choice((1, 4, 100)))
                continue
            place = chance.randrange(len(value))
            if kind == 1:
                value[place] ^= 1 << chance.randrange(8)
            elif kind == 2:
                value[place : place + 2] = chance.choice((b"\x00\x00", b"\xff\xff", b"\x7f\xff", b"\x00\x01"))
            elif kind == 3:
                del value[place:]
            elif kind == 4:
                del value[place : place + chance.randrange(1, 20)]
            else:
                value[place:place] = value[place : place + chance.randrange(1, 60)]
        yield bytes(value[:MAX_UDP])


def noise(chance: random.Random, count: int, first: Sequence[int] = range(256)) -> Iterator[bytes]:
    """Random bytes that begin as one kind of traffic does (RFC 7983)."""
    for _ in range(count):
        size = chance.choice((0, 1, 2, 3, 4, 12, 13, 20, 28, 60, 200, 1200, 1472, MAX_UDP))
        yield (bytes([chance.choice(first)]) + chance.randbytes(size))[:size]


# STUN (RFC 8489)


def stun(
    attributes: Sequence[tuple[int, bytes]],
    *,
    key: str | None = None,
    transaction: bytes = bytes(12),
    kind: int = 0x0001,
    fingerprint: bool = True,
    late: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """A message with any attributes; with a ``key`` its integrity is right. ``late`` ones come after that."""

    def encode(pairs: Sequence[tuple[int, bytes]]) -> bytes:
        return b"".join(struct.pack("!HH", t, len(v)) + v + bytes(-len(v) % 4) for t, v in pairs)

    def head(length: int) -> bytes:
        return struct.pack("!HHI", kind, length, COOKIE) + transaction

    body = encode(attributes)
    if key is not None:
        body += encode([(0x0008, hmac.digest(key.encode(), head(len(body) + 24) + body, "sha1"))])
    body += encode(late)
    if fingerprint:
        crc = zlib.crc32(head(len(body) + 8) + body) ^ 0x5354554E
        body += encode([(0x8028, struct.pack("!I", crc))])
    return head(len(body)) + body


def stun_from_strangers(chance: random.Random, username: str, count: int) -> Iterator[bytes]:
    """Checks without the password, for a user name that exists and for others."""
    name = (0x0006, username.encode())
    priority, tie = (0x0024, bytes(4)), (0x802A, bytes(8))
    good = stun([name, priority, tie], key="not the password")
    yield good
    yield stun([name])
    yield stun([])
    yield stun([(0x0006, b"nobody:peer"), priority], key="x")
    yield stun([(0x0006, b"x" * 5000), priority], key="x")
    yield stun([name] * 100, key="x")
    yield stun([(0x7FFF, b"?" * 100)] * 20, key="x")
    for kind in (0x0011, 0x0101, 0x0111, 0x0003, 0x3FFF):
        yield stun([name], key="x", kind=kind)
    yield from mutated(chance, good, count)
    yield from noise(chance, count // 4, first=(0, 1, 2, 3))


def stun_from_members(chance: random.Random, username: str, password: str, count: int) -> Iterator[bytes]:
    """Authentic, but odd: unknown attributes, role conflicts, attributes after the integrity, flapping."""
    name, priority = (0x0006, username.encode()), (0x0024, bytes(4))
    controlling, controlled = (0x802A, b"\xff" * 8), (0x8029, bytes(8))
    nominate = (0x0025, b"")
    for _ in range(count):
        attributes = [name, priority, chance.choice((controlling, controlled))]
        if chance.random() < 0.5:
            attributes.append(nominate)
        if chance.random() < 0.3:
            attributes.append((chance.randrange(0x10000), chance.randbytes(chance.randrange(40))))
        chance.shuffle(attributes)
        late = [(chance.randrange(0x10000), chance.randbytes(8))] if chance.random() < 0.2 else []
        yield stun(
            attributes,
            key=password,
            transaction=chance.randbytes(12),
            kind=chance.choice((0x0001, 0x0001, 0x0001, 0x0011, 0x0101)),
            fingerprint=chance.random() < 0.9,
            late=late,
        )


# DTLS (RFC 6347)


def dtls(chance: random.Random, count: int) -> Iterator[bytes]:
    """Hellos, fragments that do not fit, alerts, records of all kinds."""
    hellos = RawPeer(DtlsRole.CLIENT, ciphers=b"ALL:NULL:@SECLEVEL=0").advance()
    yield from hellos
    for level, description in ((1, 0), (2, 40), (2, 0), (1, 90), (255, 255)):
        yield record(21, bytes([level, description]))
    for body in fragments(chance):
        yield record(22, body)
    for _ in range(count // 4):
        yield record(
            chance.choice((20, 21, 22, 23, 24, 25, 63)),
            chance.randbytes(chance.choice((0, 1, 2, 12, 40, 1100))),
            epoch=chance.choice((0, 0, 1, 65535)),
            sequence=chance.randrange(1 << 48),
            length=chance.choice((None, None, 0, 1, 0xFFFF)),
        )
    yield from mutated(chance, hellos[0], count // 2)
    yield from noise(chance, count // 4, first=range(20, 64))


def record(kind: int, body: bytes, *, epoch: int = 0, sequence: int = 0, length: int | None = None) -> bytes:
    """A record in the clear; ``length`` may lie."""
    head = struct.pack("!BHH", kind, 0xFEFD, epoch) + sequence.to_bytes(6, "big")
    return head + struct.pack("!H", len(body) if length is None else length) + body


def fragments(chance: random.Random) -> Iterator[bytes]:
    """Handshake messages in pieces that overlap, lie about their place, or promise too much."""

    def piece(total: int, offset: int, size: int, *, message: int = 1, number: int = 0) -> bytes:
        head = bytes([message]) + total.to_bytes(3, "big") + struct.pack("!H", number)
        return head + offset.to_bytes(3, "big") + size.to_bytes(3, "big") + chance.randbytes(size)

    yield piece(131_072, 0, 100)
    yield piece(0xFFFFFF, 0xFFFFF0, 15)
    for number in range(20):
        yield piece(1000, 0, 0, number=number)
        yield piece(1000, 990, 100, number=number)
        yield piece(100, 50, 50, number=0)
        yield piece(50 + number, 0, 50, number=0)
        yield piece(60_000, number * 1000, 1000, number=1)
    for message in (0, 2, 3, 11, 14, 16, 20, 255):
        yield piece(40, 0, 40, message=message)


# RTP and RTCP (RFC 3550), in the clear: the caller seals them or not


def rtp(chance: random.Random, count: int, ssrcs: Sequence[int]) -> Iterator[tuple[bytes, bytes, int, int]]:
    """(header, payload, SSRC, index): authentic packets with odd extensions, payloads, SSRCs and padding."""
    for i in range(FIRST_INDEX, FIRST_INDEX + count):
        ssrc = chance.choice(ssrcs) if chance.random() < 0.6 else chance.getrandbits(32)
        csrcs = chance.choice((0, 0, 0, 1, 15))
        extension = b""
        if chance.random() < 0.6:
            profile = chance.choice((0xBEDE, 0xBEDE, 0xBEDE, 0x1000, 0x100F, 0xFFFF))
            words = chance.choice((0, 1, 2, 5, 60))
            extension = struct.pack("!HH", profile, words) + chance.randbytes(4 * words)
        first = 0x80 | chance.choice((0, 0, 0x20)) | (0x10 if extension else 0) | csrcs
        kind = chance.choice((98, 98, 98, 99, 111, 0, 127)) | chance.choice((0, 0x80))
        header = struct.pack("!BBHII", first, kind, i & 0xFFFF, chance.getrandbits(32), ssrc)
        header += chance.randbytes(4 * csrcs) + extension
        size = chance.choice((0, 1, 2, 3, 10, 100, 1000))
        payload = chance.choice((b"\x8a", b"\x0a", b"\xff", b"\x82", b"")) + chance.randbytes(size)
        yield header, payload, ssrc, i


def rtcp(chance: random.Random, count: int, ssrcs: Sequence[int]) -> Iterator[bytes]:
    """Compound packets: lies about lengths, huge lists, feedback and goodbyes for the streams of others."""

    def one(kind: int, number: int, body: bytes, *, words: int | None = None) -> bytes:
        body += bytes(-len(body) % 4)
        return struct.pack("!BBH", 0x80 | number, kind, len(body) // 4 if words is None else words) + body

    def ssrc() -> bytes:
        value = chance.choice(ssrcs) if chance.random() < 0.8 else chance.getrandbits(32)
        return struct.pack("!I", value)

    report = one(201, 0, ssrc())
    for _ in range(count):
        match chance.randrange(9):
            case 0:  # as many NACKs as fit
                body = ssrc() + ssrc() + chance.randbytes(4 * chance.choice((0, 1, 17, 300)))
                yield report + one(205, 1, body)
            case 1:  # transport-wide feedback: 65,535 statuses, times that run backwards
                fci = struct.pack("!HH", chance.getrandbits(16), chance.choice((0, 1, 65535)))
                fci += chance.randbytes(4) + chance.randbytes(2 * chance.choice((0, 1, 8, 500)))
                yield report + one(205, 15, ssrc() + ssrc() + fci)
            case 2:  # REMB
                many = chance.choice((0, 1, 255))
                fci = b"REMB" + bytes([many]) + chance.randbytes(3) + ssrc() * chance.choice((0, 1, many))
                yield report + one(206, 15, ssrc() + bytes(4) + fci)
            case 3:
                yield report + one(206, 1, ssrc() + ssrc()) * chance.choice((1, 60, 80))
            case 4:
                yield report + one(206, 4, ssrc() + ssrc() + (ssrc() + chance.randbytes(4)) * 20)
            case 5:
                yield report + one(203, chance.choice((0, 1, 31)), ssrc() * chance.choice((0, 1, 31)))
            case 6:
                items = bytes([1, 255]) + chance.randbytes(chance.choice((0, 10, 255)))
                yield report + one(202, chance.choice((0, 1, 31)), ssrc() + items)
            case 7:
                yield one(200, chance.choice((0, 31)), ssrc() + chance.randbytes(20 + 24 * 4))
            case _:
                kind, words = chance.randrange(192, 224), chance.choice((None, 0, 1, 0xFFFF))
                yield report + one(kind, chance.randrange(32), ssrc() + chance.randbytes(40), words=words)
    yield from mutated(chance, report + one(205, 1, ssrc() + ssrc() + bytes(8)), count // 4)


# SCTP (RFC 9260), inside DTLS


def sctp(chance: random.Random, genuine: bytes, count: int) -> Iterator[bytes]:
    """Packets with the ports and the tag of a genuine one, which holds a DATA chunk, but other chunks."""
    source, destination, tag = struct.unpack_from("!HHI", genuine)
    tsn = int.from_bytes(genuine[16:20], "big")
    header = PacketHeader(source, destination, tag)

    def chunk(kind: int, flags: int, value: bytes, *, length: int | None = None) -> bytes:
        head = struct.pack("!BBH", kind, flags, 4 + len(value) if length is None else length)
        return head + value + bytes(-len(value) % 4)

    def near() -> int:
        return (tsn + chance.choice((-1, 0, 1, 2, 3, 100, 70_000, 1 << 31))) & 0xFFFFFFFF

    def data() -> bytes:
        stream, number = chance.choice((0, 1, 1023, 1024, 65535)), chance.getrandbits(16)
        ppid = chance.choice((50, 51, 53, 54, 56, 57, 0, 0xFFFFFFFF))
        size = 0 if chance.random() < 0.02 else chance.choice((1, 12, 100, 1100))  # an empty one is fatal
        body = chance.randbytes(size)
        return chunk(0, chance.randrange(16), struct.pack("!IHHI", near(), stream, number, ppid) + body)

    def dcep() -> bytes:
        name = chance.choice((0, 5, 0xFFFF))
        opening = struct.pack("!BBHIHH", 3, chance.getrandbits(8), 0, 1, name, chance.choice((0, 3)))
        return chunk(0, 3, struct.pack("!IHHI", near(), 5, 0, 50) + opening + b"\xff\xfe\xfd" * 4)

    def sack() -> bytes:
        gaps, repeats = chance.choice((0, 1, 50)), chance.choice((0, 3))
        fields = struct.pack("!IIHH", near(), chance.choice((0, 1, 1 << 20)), gaps, repeats)
        return chunk(3, 0, fields + chance.randbytes(4 * (gaps + repeats)))

    def parameters() -> bytes:
        kind = chance.choice((1, 7, 8, 9, 13, 14, 15, 16, 17, 18, 0x8008, 0xC000, 0xC006, 0x8001))
        body = struct.pack("!III", near(), near(), near()) + chance.randbytes(chance.choice((0, 2, 4, 40)))
        length = chance.choice((4 + len(body), 0, 3, 4, 0xFFFF))
        return struct.pack("!HH", kind, length) + body + bytes(-len(body) % 4)

    def forward() -> bytes:
        return chunk(192, 0, struct.pack("!I", near()) + chance.randbytes(4 * chance.choice((0, 1, 100))))

    makers = (
        data,
        data,
        dcep,
        sack,
        forward,
        lambda: chunk(130, 0, parameters()),
        lambda: chunk(4, 0, chance.randbytes(chance.choice((0, 4, 1000)))),
        lambda: chunk(5, 0, chance.randbytes(8)),
        lambda: chunk(9, 0, struct.pack("!HH", chance.getrandbits(8), chance.choice((0, 4, 0xFFFF)))),
        lambda: chunk(10, 0, chance.randbytes(chance.choice((0, 40, 300)))),
        lambda: chunk(1, 0, chance.randbytes(16) + parameters()),
        lambda: chunk(2, 0, chance.randbytes(16) + parameters()),
        lambda: chunk(chance.randrange(256), chance.getrandbits(8), chance.randbytes(8)),
        lambda: chunk(0, 3, chance.randbytes(20), length=chance.choice((0, 1, 3, 4, 15, 16, 0xFFFF))),
    )
    for _ in range(count):
        body = b"".join(chance.choice(makers)() for _ in range(chance.choice((1, 1, 2, 5))))
        wrong = PacketHeader(source, destination, chance.getrandbits(32) if chance.random() < 0.5 else 0)
        packet = (wrong if chance.random() < 0.1 else header).packet(body)
        yield packet[:1150]
    # A message that never ends, and messages that never begin, on many streams.
    for i in range(count // 4):
        fields = struct.pack("!IHHI", (tsn + 2 + i) & 0xFFFFFFFF, i, 0, 53)
        yield header.packet(chunk(0, 2 if i % 2 else 0, fields + bytes(1000)))
    yield from mutated(chance, genuine, count // 4)
    # Not before the end: these take the association down.
    yield header.packet(chunk(7, 0, struct.pack("!I", near())))
    yield header.packet(chunk(6, chance.randrange(2), b""))


# HTTP, Engine.IO, Socket.IO


def http(chance: random.Random) -> Iterator[bytes]:
    """Requests that are wrong, ambiguous, too large, or not HTTP."""
    host = b"Host: sfu\r\n"
    yield b"\r\n\r\n\r\n"
    yield b"GET\r\n\r\n"
    yield b"GET / HTTP/9.9\r\n" + host + b"\r\n"
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield b"GET / HTTP/1.1\r\n" + host * 2 + b"\r\n"
    yield b"GET http://[::1 HTTP/1.1\r\n" + host + b"\r\n"
    yield b"GET /%ff%00%zz HTTP/1.1\r\n" + host + b"\r\n"
    yield b"GET " + b"/" * 20_000 + b" HTTP/1.1\r\n" + host + b"\r\n"
    yield b"GET / HTTP/1.1\r\n" + host + b"X: " + b"y" * 30_000 + b"\r\n\r\n"
    yield b"GET / HTTP/1.1\r\n" + host + b"A: b\r\n" * 3000 + b"\r\n"
    yield b"GET / HTTP/1.1\r\n" + host + b"A\x00: \xff\r\n\r\n"
    yield b"GET / HTTP/1.1\r\n" + host + b" folded: x\r\n\r\n"
    for length in (b"-1", b"1e3", b"99999999999999999999", b"0x10", b"5, 6"):
        yield b"POST /create HTTP/1.1\r\n" + host + b"Content-Length: " + length + b"\r\n\r\nabc"
    yield b"POST /api/sfu/token HTTP/1.1\r\n" + host + b"Content-Length: 4\r\nContent-Length: 9\r\n\r\nabcd"
    smuggled = b"0\r\n\r\nGET /list HTTP/1.1\r\n" + host + b"\r\n"
    yield (
        b"POST /api/sfu/token HTTP/1.1\r\n"
        + host
        + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
        + smuggled
    )
    for chunks in (b"zz\r\n", b"ffffffffffffffffffff\r\n", b"-1\r\nx\r\n", b"3\r\nabcdef\r\n0\r\n\r\n"):
        yield (b"POST /api/sfu/token HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    for body in (b"", b"{", b"[]", b"null", b'{"name":' + b"[" * 50_000, b"\xff\xfe", b'{"name":"\\ud800"}'):
        yield (
            b"POST /api/sfu/token HTTP/1.1\r\n"
            + host
            + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
    for token in (b"x", b"." * 5000, b"a.b.c", b"eyJhbGciOiJub25lIn0.e30."):
        yield b"GET /list HTTP/1.1\r\n" + host + b"Authorization: Bearer " + token + b"\r\n\r\n"
    for verb in (b"PUT", b"DELETE", b"TRACE", b"CONNECT", b"PRI"):
        yield verb + b" /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n" + host + b"\r\n"
    for query in (b"", b"EIO=3", b"EIO=4", b"EIO=4&transport=x", b"EIO=4&transport=polling&sid=x", b"&&=="):
        yield b"GET /socket.io/?" + query + b" HTTP/1.1\r\n" + host + b"\r\n"
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    for rest in (b"", b"Sec-WebSocket-Version: 12\r\n", b"Sec-WebSocket-Version: 13\r\n"):
        yield (b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n" + host + upgrade + rest + b"\r\n")
    good = b"GET /list?token=x HTTP/1.1\r\n" + host + b"Accept: */*\r\n\r\n"
    yield from mutated(chance, good, 60)
    yield from noise(chance, 20)


def polling_payloads(chance: random.Random) -> Iterator[bytes]:
    """Bodies of posts to a session: packets that are none, too many, too large."""
    yield b""
    yield b"\x1e" * 1000
    yield b"\x1e".join([b"3"] * 5000)
    yield b"4" * 100_000
    yield b"4" + b"x" * 1_100_000
    yield b"\x1e".join([b"4"] * 20_000)
    yield "4\ud83d".encode("utf-8", "surrogatepass")
    for kind in (b"0", b"1", b"2", b"5", b"6", b"7", b"9", b"x", b"b!!!", b"bAAA", b"2probe", b"5"):
        yield kind
        yield kind + b"junk"
    for packet in socketio(chance):
        yield b"4" + packet.encode()
    yield from mutated(chance, b'40{"token":"x"}\x1e421["sfu-available",{}]', 40)


def socketio(chance: random.Random) -> Iterator[str]:
    """Socket.IO packets, as text, that no client sends."""
    yield from ("", "7", "9", "0{", "0[]", "0null", "0/other,", "0/other,{}", "0" + "/" * 1000, "1", "1{}")
    yield from ('2["connect"]', '2["disconnect"]', '2["newListener"]', "2[]", "2[1]", "2{}", "2null", "2")
    yield from ('2["a"', "2" + "[" * 5000, '2["a",' + "[" * 5000 + "]" * 5000 + "]", '21e5["a"]')
    yield "2" + "9" * 40 + '["sfu-available",{}]'
    yield from ('3["x"]', "30[]", "399[1]", "3", "4{}", '4"x"')
    yield from ('51-["a",{"_placeholder":true,"num":0}]', '599-["a"]', "5-[]", "50-[]", '5["a"]', "61-0[]")
    yield from ('2["data-message",NaN]', '2["data-message",1e999]', '2["data-message","\\ud800"]')
    yield '2["data-message",' + "1" * 5000 + "]"
    yield '2["data-message",{"a":1,"a":2}]'
    yield from (f"2{json.dumps([name, {}])}" for name in ("__proto__", "constructor", "", "x" * 5000))
    good = '421["join-room",{"extra":{"room_name":"x"}}]'
    for data in mutated(chance, good.encode(), 60):
        yield data.decode(errors="replace")


def websocket_frames(chance: random.Random) -> Iterator[bytes]:
    """Frames that break RFC 6455; each is for a connection of its own."""

    def frame(first: int, second: int, rest: bytes) -> bytes:
        return bytes([first, second]) + rest

    mask = b"\0\0\0\0"
    yield frame(0x81, 0x01, b"2")  # not masked
    yield frame(0xF1, 0x81, mask + b"2")  # reserved bits
    yield frame(0x83, 0x81, mask + b"2")  # reserved opcodes
    yield frame(0x8F, 0x80, mask)
    yield frame(0x09, 0x80, mask)  # a fragmented ping
    yield frame(0x89, 0xFE, struct.pack("!H", 200) + mask + bytes(200))  # a ping that is too long
    yield frame(0x80, 0x81, mask + b"2")  # a continuation of nothing
    yield frame(0x81, 0xFF, struct.pack("!Q", 1 << 62) + mask)  # more than anybody has
    yield frame(0x81, 0xFF, struct.pack("!Q", 2_000_000) + mask + b"4" * 1000)
    yield frame(0x81, 0x82, mask + b"\xff\xfe")  # not UTF-8
    yield frame(0x88, 0x81, mask + b"\x03")  # half a close code
    yield frame(0x88, 0x82, mask + b"\x00\x00")
    yield frame(0x82, 0x81, mask + b"x")  # binary where nothing is awaited
    yield (frame(0x89, 0x80, mask)) * 2000
    yield (frame(0x01, 0x80, mask) + frame(0x00, 0x80, mask) * 2000)
    yield from mutated(chance, frame(0x81, 0x85, mask + b"42[1]"), 40)


def variants(chance: random.Random, value: Any) -> Iterator[Any]:
    """A JSON value with one thing in it, however deep, replaced, taken away or added."""
    yield chance.choice(WEIRD)
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {k: v for k, v in value.items() if k != key}
            yield {**value, key: chance.choice(WEIRD)}
            for variant in variants(chance, inner):
                yield {**value, key: variant}
        yield {**value, "surplus": chance.choice(WEIRD)}
    elif isinstance(value, list):
        for i, inner in enumerate(value[:3]):
            yield value[:i] + value[i + 1 :]
            for variant in variants(chance, inner):
                yield [*value[:i], variant, *value[i + 1 :]]
        yield value * 50

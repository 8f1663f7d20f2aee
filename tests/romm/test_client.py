"""Our client against our own RomM side over a loopback socket, and against servers that are not RomM."""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sfu.romm.client import MAX_CONNECTIONS, RommClient, check_base_url
from sfu.romm.port import Romm, RommError, RommUnavailable, RoomRecord, TokenRefused, Verified
from tests.romm.support import EPOCH, SECRET, Side
from tests.romm.test_http_tokens import read_claims, signed
from tests.support.http_server import Request, Response, serve_http, serve_raw

RECORD = RoomRecord("a room", 1, 4, True, "n", "https://n.example", {"netplay_mode": "arcade"})
JSON = (("Content-Type", "application/json"),)

CALLS: dict[str, Callable[[Romm], Awaitable[object]]] = {
    "verify": lambda romm: romm.verify("a.b.c", consume=True),
    "upsert": lambda romm: romm.upsert_room(RECORD),
    "delete": lambda romm: romm.delete_room("a"),
    "resolve": lambda romm: romm.resolve_room("a"),
    "list": lambda romm: romm.list_rooms(),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def fixed(status: int, body: bytes, *headers: tuple[str, str]) -> Callable[[Request], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        return Response(status, headers or JSON, body)

    return handler


async def verdict(status: int, body: bytes, token: str = "a.b.c") -> Verified:
    verified: Verified | RommError
    async with serve_http(fixed(status, body)) as url, RommClient(url, SECRET) as romm:
        try:
            verified = await romm.verify(token, consume=True)
        except RommError as error:
            verified = error
    if isinstance(verified, RommError):
        raise verified  # out here, where the server's nursery does not wrap it
    return verified


# Against our own side


async def test_round_trip() -> None:
    side = Side()
    async with serve_http(side.answer) as url, RommClient(url, SECRET) as romm:
        token = await side.token("write", user="bob")
        assert await romm.verify(token, consume=False) == Verified("Zed☆", "Zed☆", "sfu:write")
        assert await romm.verify(token, consume=True) == Verified("Zed☆", "Zed☆", "sfu:write")
        with pytest.raises(TokenRefused, match="not listed"):
            await romm.verify(token, consume=True)
        assert await romm.resolve_room("a room") is None
        await romm.upsert_room(RECORD)
        assert await romm.resolve_room(" a room ") == RECORD
        assert await romm.list_rooms() == {
            "a room": {
                "room_name": "a room",
                "current": 1,
                "max": 4,
                "hasPassword": True,
                "nodeId": "n",
                "url": "https://n.example",
                "netplay_mode": "arcade",
            }
        }
        await romm.delete_room("a room")
        await romm.delete_room("a room")
        assert await romm.resolve_room("a room") is None


async def test_names_survive_the_wire() -> None:
    side = Side()
    async with serve_http(side.answer) as url, RommClient(url, SECRET) as romm:
        for name in ("a&b=c?d#e/f%20", "\U0001f47e", "\"'[*:", "+ +", "x" * 500):
            await romm.upsert_room(RoomRecord(name, 0, 0, False, None, None, {}))
            record = await romm.resolve_room(name)
            assert record is not None
            assert record.room_name == name


@pytest.mark.contract("D93")
async def test_prefix_of_the_base_url_is_kept() -> None:
    seen = []

    async def handler(request: Request) -> Response:
        seen.append(request.target)
        return Response(200, JSON, b"{}")

    async with serve_http(handler) as url, RommClient(url + "/romm/", SECRET) as romm:
        await romm.list_rooms()
    assert seen == ["/romm/api/sfu/internal/rooms/list"]


async def test_what_goes_over_the_wire() -> None:
    seen: list[Request] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return Response(200, JSON, b'{"sub":"ann"}')

    async with serve_http(handler) as url, RommClient(url, f" {SECRET}\n", timeout=5) as romm:
        await romm.verify("a.b.c", consume=True)
    (request,) = seen
    assert request.headers["x-romm-sfu-secret"] == SECRET
    assert request.headers["accept"] == "application/json"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert "cookie" not in request.headers
    assert msgspec.json.decode(request.body) == {"token": "a.b.c", "consume": True}


# Kinds of token


@pytest.mark.parametrize(
    ("answered", "claimed", "expected"),
    [
        ("sfu:read", "sfu:write", "sfu:read"),
        (None, "sfu:write", "sfu:write"),
        (None, "sfu", "sfu"),
        ("nonsense", "sfu:read", "sfu:read"),
        (5, "sfu:read", "sfu:read"),
        (None, "nonsense", None),
        (None, 5, None),
    ],
)
async def test_kind_from_the_answer_or_else_the_token(
    answered: object, claimed: object, expected: str | None
) -> None:
    answer = {"sub": "ann", "netplay_username": None} | ({} if answered is None else {"type": answered})
    token = signed(read_claims(type=claimed), key=b"a key that the daemon does not know")
    assert (await verdict(200, msgspec.json.encode(answer), token)).token_type == expected


@pytest.mark.parametrize("token", ["opaque", "a.b.c", signed([]), signed("x").rpartition(".")[0]])
async def test_kind_of_a_token_that_does_not_tell(token: str) -> None:
    assert await verdict(200, b'{"sub":"ann"}', token) == Verified("ann", None, None)


# Verdicts, and what is none


@pytest.mark.parametrize("status", [400, 401, 422])
async def test_verdicts(status: int) -> None:
    with pytest.raises(TokenRefused, match="jwt expired"):
        await verdict(status, b'{"detail":"jwt expired"}')


@pytest.mark.parametrize(
    "detail", ["a.b.c is bad", "x" * 81, "line\nbreak", "\u202e", [{"input": "a.b.c"}], {"x": "a.b.c"}, 5]
)
async def test_verdicts_are_not_quoted_blindly(detail: object) -> None:
    with pytest.raises(TokenRefused) as caught:
        await verdict(422, msgspec.json.encode({"detail": detail}))
    assert str(caught.value) == "invalid token"


async def test_a_refused_secret_is_no_verdict() -> None:
    side = Side()
    async with serve_http(side.answer) as url, RommClient(url, "wrong " + SECRET) as romm:
        for call in CALLS.values():
            with pytest.raises(RommUnavailable, match="ROMM_SFU_INTERNAL_SECRET") as caught:
                await call(romm)
            assert SECRET not in str(caught.value)


async def test_a_secret_that_romm_does_not_have() -> None:
    async with serve_http(Side(secret=None).answer) as url, RommClient(url, SECRET) as romm:
        with pytest.raises(RommUnavailable, match="on RomM's side"):
            await romm.verify("a.b.c", consume=True)


@every_call
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"null"),
        (200, b"[" * 50_000),
        (204, b""),
        (400, b"<html>"),
        (401, b"<html>"),
        (401, b'{"error":"unauthorized"}'),
        (403, b'{"detail":"Forbidden"}'),
        (404, b'{"detail":"Not Found"}'),
        (405, b'{"detail":"Method Not Allowed"}'),
        (422, b"<html>"),
        (429, b'{"detail":"slow down"}'),
        (500, b"Internal Server Error"),
        (502, b"<html>"),
        (503, b'{"detail":"jwt expired"}'),
    ],
)
async def test_not_a_verdict(call: Callable[[Romm], Awaitable[object]], status: int, body: bytes) -> None:
    async with serve_http(fixed(status, body)) as url, RommClient(url, SECRET) as romm:
        with pytest.raises(RommUnavailable):
            await call(romm)


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"sub":""}', b'{"sub":5}', b'{"sub":null}', b'{"sub":"a","netplay_username":5}'],
)
async def test_verify_of_the_wrong_shape(body: bytes) -> None:
    with pytest.raises(RommUnavailable):
        await verdict(200, body)


@pytest.mark.parametrize("body", [b"{}", b'{"room_name":5}', b'{"room_name":"a","current":"1"}'])
async def test_resolve_of_the_wrong_shape(body: bytes) -> None:
    async with serve_http(fixed(200, body)) as url, RommClient(url, SECRET) as romm:
        with pytest.raises(RommUnavailable):
            await romm.resolve_room("a")


async def test_registry_errors_are_never_verdicts() -> None:
    for status in (400, 401, 404, 409, 422):
        async with serve_http(fixed(status, b'{"detail":"x"}')) as url, RommClient(url, SECRET) as romm:
            for name in ("upsert", "delete", "resolve", "list"):
                with pytest.raises(RommUnavailable, match=str(status)):
                    await CALLS[name](romm)


async def test_list_drops_what_is_no_room() -> None:
    async with serve_http(fixed(200, b'{"a":{},"b":5}')) as url, RommClient(url, SECRET) as romm:
        assert await romm.list_rooms() == {"a": {}}


@pytest.mark.parametrize("token", ["", " ", "a b", "a\nb", "ä.b.c", "\ud800", "x" * 8193, "a\x00"])
async def test_hopeless_tokens_are_refused_without_a_call(token: str) -> None:
    async with RommClient("http://127.0.0.1:9", SECRET) as romm:
        with pytest.raises(TokenRefused):
            await romm.verify(token, consume=True)


async def test_a_blank_room_is_unknown_without_a_call() -> None:
    async with RommClient("http://127.0.0.1:9", SECRET) as romm:
        assert await romm.resolve_room(" ") is None


async def test_what_json_cannot_say_is_unavailable() -> None:
    async with RommClient("http://127.0.0.1:9", SECRET) as romm:
        with pytest.raises(RommUnavailable):
            await romm.delete_room("\ud800")
        with pytest.raises(RommUnavailable):
            await romm.resolve_room("\ud800")
        with pytest.raises(RommUnavailable):
            await romm.upsert_room(RoomRecord("a", 0, 0, False, None, None, {"x": object()}))


# A network that misbehaves


@every_call
async def test_connection_refused(call: Callable[[Romm], Awaitable[object]]) -> None:
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with RommClient(f"http://127.0.0.1:{port}", SECRET) as romm:
            with pytest.raises(RommUnavailable, match="ConnectError"):
                await call(romm)


@every_call
async def test_silent_server(call: Callable[[Romm], Awaitable[object]]) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with serve_raw(silent) as url, RommClient(url, SECRET, timeout=0.05) as romm:
        with pytest.raises(RommUnavailable, match=r"within 0\.05 s|ReadTimeout"):
            await call(romm)


async def test_a_server_that_drips_is_cut_off_in_time() -> None:
    async def drip(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in itertools.count():
            await stream.send_all(b" ")
            await trio.sleep(0.01)

    async with serve_raw(drip) as url, RommClient(url, SECRET, timeout=0.1) as romm:
        with pytest.raises(RommUnavailable, match=r"within 0\.1 s"):
            await romm.list_rooms()


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\x00\xff\x00",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
async def test_garbage(reply: bytes) -> None:
    async def handler(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(reply)

    async with serve_raw(handler) as url, RommClient(url, SECRET, timeout=1) as romm:
        with pytest.raises(RommUnavailable):
            await romm.list_rooms()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    seen = []

    async def handler(request: Request) -> Response:
        seen.append(request.target)
        return Response(status, (("Location", "/elsewhere"),), b'{"sub":"mallory"}')

    async with serve_http(handler) as url, RommClient(url, SECRET) as romm:
        with pytest.raises(RommUnavailable, match=str(status)):
            await romm.verify("a.b.c", consume=True)
    assert seen == ["/api/sfu/internal/verify"]


@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False)])
async def test_response_limit(size: int, fits: bool) -> None:
    body = b'{"sub":"ann"}'.ljust(size)
    async with serve_http(fixed(200, body)) as url, RommClient(url, SECRET, max_response=1000) as romm:
        if fits:
            await romm.verify("a.b.c", consume=True)
        else:
            with pytest.raises(RommUnavailable, match="exceeds 1000 bytes"):
                await romm.verify("a.b.c", consume=True)


async def test_endless_body_is_cut_off() -> None:
    sent = 0

    async def flood(stream: trio.SocketStream) -> None:
        nonlocal sent
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send_all(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            sent += 0x10000

    async with serve_raw(flood) as url, RommClient(url, SECRET, max_response=100_000) as romm:
        with pytest.raises(RommUnavailable, match="exceeds"):
            await romm.list_rooms()
    assert sent < 20_000_000


async def test_recovers_by_itself() -> None:
    side = Side()
    broken = True

    async def handler(request: Request) -> Response:
        return Response(502, JSON, b"") if broken else await side.answer(request)

    async with serve_http(handler) as url, RommClient(url, SECRET) as romm:
        with pytest.raises(RommUnavailable):
            await romm.list_rooms()
        broken = False
        assert await romm.list_rooms() == {}


async def test_connections_are_reused_and_limited() -> None:
    connections = 0

    async def count(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        while await stream.receive_some(65536):
            await trio.sleep(0.001)
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with serve_raw(count) as url, RommClient(url, SECRET) as romm:
        for _ in range(3):
            await romm.list_rooms()
        assert connections == 1
        async with trio.open_nursery() as nursery:
            for _ in range(3 * MAX_CONNECTIONS):
                nursery.start_soon(romm.list_rooms)
        assert connections <= MAX_CONNECTIONS


async def test_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serve_http(fixed(200, b"{}")) as url, RommClient(url, SECRET) as romm:
        assert await romm.list_rooms() == {}


async def test_https_needs_a_trusted_certificate() -> None:
    async def no_tls(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with serve_raw(no_tls) as url, RommClient(url.replace("http:", "https:"), SECRET) as romm:
        with pytest.raises(RommUnavailable):
            await romm.list_rooms()


def self_signed(host: str, path: Path) -> ssl.SSLContext:
    """Write a certificate that is its own authority to ``path``; the context of a server that has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    start = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start - dt.timedelta(hours=1))
        .not_valid_after(start + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context


@pytest.mark.parametrize(("host", "trusted"), [("localhost", True), ("romm.example", False)])
async def test_https_with_the_machines_authorities(
    host: str, trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = self_signed(host, tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    async def tls(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, context, server_side=True)
        await secure.receive_some(65536)
        await secure.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await trio.sleep_forever()

    async with serve_raw(tls) as url:
        base = url.replace("http:", "https:").replace("127.0.0.1", "localhost")
        async with RommClient(base, SECRET) as romm:
            if trusted:
                assert await romm.list_rooms() == {}
            else:
                with pytest.raises(RommUnavailable, match="ConnectError"):
                    await romm.list_rooms()


async def test_cookies_other_than_csrf_are_not_kept() -> None:
    seen = []

    async def handler(request: Request) -> Response:
        seen.append(request.headers.get("cookie"))
        return Response(200, (*JSON, ("Set-Cookie", "romm_session=x; Path=/")), b"{}")

    async with serve_http(handler) as url, RommClient(url, SECRET) as romm:
        await romm.list_rooms()
        await romm.list_rooms()
    assert seen == [None, None]


# Secrets


async def test_nothing_secret_is_logged_or_raised(caplog: pytest.LogCaptureFixture) -> None:
    token = signed(read_claims(exp=EPOCH - 60))
    side = Side()
    caplog.set_level(logging.DEBUG)
    errors: list[RommError] = []
    async with serve_http(side.answer) as url, RommClient(url, SECRET) as romm:
        with pytest.raises(TokenRefused) as refused:
            await romm.verify(token, consume=True)
        errors.append(refused.value)
    async with RommClient("http://127.0.0.1:9", SECRET, timeout=0.2) as romm:
        with pytest.raises(RommUnavailable) as unavailable:
            await romm.verify(token, consume=True)
        errors.append(unavailable.value)
    texts = [caplog.text, *map(repr, errors), repr(romm)]
    assert caplog.text
    for text in texts:
        assert SECRET not in text
        assert token not in text
    # No cause is attached that a traceback would print with its request.
    assert all(error.__suppress_context__ for error in errors if isinstance(error, RommUnavailable))


@pytest.mark.parametrize("secret", ["", "  ", "sécret", "a\nb", "a\x7fb"])
def test_secret_that_cannot_be_sent(secret: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        RommClient("http://romm", secret)
    assert secret.strip() == "" or secret not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "a URL like"),
        ("romm:8080", "a URL like"),
        ("ftp://romm", "a URL like"),
        ("http://", "a URL like"),
        ("http://[::1", "a URL like"),
        ("http://romm:99999999", "a URL like"),
        ("http://user:pw@romm", "user name"),
        ("http://romm/?a=b", "query"),
        ("http://romm/#x", "query"),
    ],
)
def test_bad_base_url(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_base_url(url)


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("http://romm:8080", "http://romm:8080"),
        (" https://romm.example/ ", "https://romm.example"),
        ("http://[::1]:80/a/b/", "http://[::1]/a/b"),
    ],
)
def test_base_url(url: str, clean: str) -> None:
    assert check_base_url(url) == clean

"""One HTTP/1.x connection: h11 with time-outs and limits, and the bytes of a request head kept for an
upgrade."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from ipaddress import ip_address
from typing import TypeVar

import h11
import trio

from sfu.signaling.engineio.server import ClientGone
from sfu.signaling.http import HttpError, Request, Response, parse_cookies, split_target
from sfu.signaling.settings import SignalingSettings

MAX_PIPELINED = 65_536
"""Bytes of later requests taken while one is being answered; beyond that the client's end is no longer
noticed."""

MAX_LINGER_BYTES = 4_194_304
"""Input thrown away while a client takes notice of an error."""

T = TypeVar("T")


class HttpConnection:
    """Reads requests and writes responses, in turn; implements
    :class:`sfu.signaling.engineio.server.Exchange`."""

    def __init__(self, stream: trio.abc.Stream, peer: str, settings: SignalingSettings) -> None:
        """
        Args:
            stream: the connection; the caller closes it.
            peer: address of its other end.
            settings: limits and times.
        """
        self.stream = stream
        self.request = Request("", "")
        """The request being answered."""
        self.last = False
        """Set to close the connection after the response."""
        self._peer = peer
        self._settings = settings
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=settings.max_head)
        self._raw = bytearray()
        """What was received since the request began, up to its head."""
        self._idle_timeout = settings.head_timeout

    # --- receiving --------------------------------------------------------------------------------

    async def read_head_untrusted(self, idle: trio.CancelScope) -> bool:
        """Read the next request up to its body into :attr:`request`; False if there is none.

        Args:
            idle: entered while there is nothing of the request yet; the caller may cancel it.

        Raises:
            HttpError: malformed, too large, or too slow.
            ClientGone: the connection broke.
        """
        self.request = Request("", "")
        idle.deadline = trio.current_time() + self._idle_timeout
        self._idle_timeout = self._settings.idle_timeout
        with idle:
            if not self._raw:
                await self._receive_head()
        if not self._raw:
            return False
        with trio.move_on_after(self._settings.head_timeout):
            while (event := self._next_event_untrusted()) is h11.NEED_DATA:
                await self._receive_head()
            if not isinstance(event, h11.Request):
                return False
            # A refusal has to know the method too: what answers HEAD has no body.
            self.request = Request(event.method.decode("latin-1"), "")
            self.request = self._make_request_untrusted(event)
            if not _has_body(self.request):
                self._next_event_untrusted()  # the end of the message
            return True
        raise HttpError(408, "request timeout")

    async def read_body(self, limit: int) -> bytes:
        """The body of :attr:`request`. See :class:`sfu.signaling.engineio.server.Exchange`."""
        if not _has_body(self.request):
            return b""
        declared = self.request.headers.get("content-length", "0")
        if len(declared) > len(str(limit)) or int(declared) > limit:
            raise HttpError(413, "payload too large")
        body = bytearray()
        with trio.move_on_after(self._settings.body_timeout):
            if self._h11.they_are_waiting_for_100_continue:
                await self._send(self._h11.send(h11.InformationalResponse(status_code=100, headers=[])))
            while not isinstance(event := self._next_event_untrusted(), h11.EndOfMessage):
                if isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > limit:
                        raise HttpError(413, "payload too large")
                else:
                    await self._receive()
            return bytes(body)
        raise HttpError(408, "request timeout")

    async def while_connected(self, wait: Callable[[], Awaitable[T]]) -> T:
        """See :class:`sfu.signaling.engineio.server.Exchange`."""
        answers: list[T] = []

        async def answer() -> None:
            answers.append(await wait())
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            await self._watch()
            nursery.cancel_scope.cancel()
        if not answers:
            raise ClientGone
        return answers[0]

    async def _watch(self) -> None:
        """Return when the client has gone."""
        try:
            while await self._receive():
                if len(self._h11.trailing_data[0]) > MAX_PIPELINED:
                    await trio.sleep_forever()
        except ClientGone:
            pass

    async def _receive(self) -> bytes | bytearray:
        try:
            data = await self.stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ClientGone from None
        self._h11.receive_data(bytes(data))
        return data

    async def _receive_head(self) -> None:
        self._raw += await self._receive()

    def _next_event_untrusted(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise HttpError(error.error_status_hint, "bad request") from None

    def _make_request_untrusted(self, event: h11.Request) -> Request:
        if event.http_version not in (b"1.0", b"1.1"):
            raise HttpError(505, "bad request")
        headers: dict[str, str] = {}
        for raw_name, raw_value in event.headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name in headers:
                value = headers[name] + ("; " if name == "cookie" else ", ") + value
            headers[name] = value
        if "transfer-encoding" in headers and "content-length" in headers:
            raise HttpError(400, "bad request")  # RFC 9112 section 6.3: may be smuggling
        path, query = split_target(event.target.decode("latin-1"))
        return Request(
            method=event.method.decode("latin-1"),
            path=path,
            query=query,
            headers=headers,
            cookies=parse_cookies(headers.get("cookie", "")),
            remote=self._remote(headers),
        )

    def _remote(self, headers: dict[str, str]) -> str:
        """The last address in the chain of forwarders that is not a trusted proxy's."""
        remote = self._peer
        for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
            if not is_trusted(remote, self._settings):
                break
            try:
                remote = str(ip_address(hop.strip()))
            except ValueError:
                break
        return remote

    @property
    def is_complete(self) -> bool:
        """Whether :attr:`request` has been read to its end."""
        return self._h11.their_state not in (h11.IDLE, h11.SEND_BODY, h11.ERROR)

    def take_over(self) -> tuple[bytes, bytes]:
        """The head of :attr:`request` as it came, and what came after it. Ends this object's use of the
        stream."""
        trailing = self._h11.trailing_data[0]
        return bytes(self._raw[: len(self._raw) - len(trailing)]), trailing

    # --- sending ----------------------------------------------------------------------------------

    async def respond(self, response: Response) -> None:
        """Answer :attr:`request`, or input that was none. See
        :class:`sfu.signaling.engineio.server.Exchange`."""
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Access-Control-Allow-Origin", "*"),
            *response.headers,
        ]
        if response.status not in (204, 304):
            headers.append(("Content-Length", str(len(response.body))))
        if self.last or not self.is_complete:
            headers.append(("Connection", "close"))
        head = h11.Response(
            status_code=response.status, headers=headers, reason=HTTPStatus(response.status).phrase.encode()
        )
        data = self._h11.send(head) or b""
        if response.body and self.request.method != "HEAD" and response.status not in (204, 304):
            data += self._h11.send(h11.Data(data=response.body)) or b""
        data += self._h11.send(h11.EndOfMessage()) or b""
        await self._send(data)

    async def _send(self, data: bytes | None) -> None:
        with trio.move_on_after(self._settings.send_timeout):
            try:
                await self.stream.send_all(data or b"")
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise ClientGone from None
            return
        raise ClientGone

    # --- between requests -------------------------------------------------------------------------

    def next_cycle(self) -> bool:
        """Prepare for another request; False if the connection must close."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        self._raw = bytearray(self._h11.trailing_data[0])
        return True


async def linger(stream: trio.abc.Stream, timeout: float) -> None:  # noqa: ASYNC109
    """Send the end of the stream and throw away input, so that closing does not destroy what is under way.

    Args:
        stream: the connection.
        timeout: seconds for the other end to close.
    """
    with trio.move_on_after(timeout):
        try:
            if isinstance(stream, trio.abc.HalfCloseableStream):
                await stream.send_eof()
            room = MAX_LINGER_BYTES
            while room > 0 and (data := await stream.receive_some()):
                room -= len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


def _has_body(request: Request) -> bool:
    return (
        "transfer-encoding" in request.headers or request.headers.get("content-length", "0").strip("0") != ""
    )


def is_trusted(address: str, settings: SignalingSettings) -> bool:
    """Whether an address belongs to a trusted proxy."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in settings.trusted_proxies)

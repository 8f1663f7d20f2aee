"""Headless Chromium as a DTLS peer: a page that opens peer connections on demand, and the other end of each.

The page is driven over plain HTTP: it waits for a case (``GET /next``), sends its offer (``POST /offer``),
gets the answer back, and reports what became of it (``POST /result``).
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
import trio

from sfu.dtls import Certificate, DtlsEndpoint, DtlsEvent, DtlsRole, Fingerprint
from sfu.ice.address import Address
from sfu.ice.agent import IceAgent
from sfu.ice.stun import is_stun

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)

PAGE = b"""<!doctype html><title>DTLS</title><script>
const post = (path, body) => fetch(path, {method: "POST", body: JSON.stringify(body)});
async function run(id) {
  const pc = new RTCPeerConnection();
  pc.createDataChannel("probe");
  await pc.setLocalDescription();
  const answer = await post("/offer", {id, sdp: pc.localDescription.sdp});
  const done = new Promise(resolve => pc.onconnectionstatechange = () => {
    if (["connected", "failed", "closed"].includes(pc.connectionState)) resolve();
  });
  await pc.setRemoteDescription({type: "answer", sdp: await answer.text()});
  await done;
  const stats = [...(await pc.getStats()).values()].find(one => one.type === "transport");
  const linger = await (await post("/result", {id, state: pc.connectionState, stats})).json();
  setTimeout(() => pc.close(), linger);
}
(async () => {
  for (;;) {
    const id = await (await fetch("/next")).json();
    run(id).catch(error => post("/result", {id, state: String(error)}));
  }
})();
</script>"""


@dataclass
class Case:
    """One peer connection of the browser's, and our end of it."""

    role: DtlsRole
    """Ours."""
    lost_from_us: Collection[int] = ()
    """Which of the DTLS datagrams we send never arrive."""
    lost_from_them: Collection[int] = ()
    linger: int = 30_000
    """How many milliseconds the browser keeps the connection open after reporting."""
    sent: list[bytes] = field(default_factory=list)
    """Our DTLS datagrams, lost ones included."""
    received: list[bytes] = field(default_factory=list)
    events: list[DtlsEvent] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    """What the page reported."""
    finished: trio.Event = field(default_factory=trio.Event)
    """Set when the page has reported."""
    reached: defaultdict[type[DtlsEvent], trio.Event] = field(default_factory=lambda: defaultdict(trio.Event))
    """Set when our end has reported an event of that type."""

    async def serve(self, certificate: Certificate, offer: str, task_status: trio.TaskStatus[str]) -> None:
        """Be the other end; reports the SDP answer once it listens."""
        algorithm, value = re.findall(r"a=fingerprint:(\S+) (\S+)", offer)[0]
        ice = IceAgent()
        end = DtlsEndpoint(certificate, self.role, [Fingerprint.parse(algorithm, value)])
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
            await sock.bind(("127.0.0.1", 0))
            task_status.started(_answer(ice, certificate, self.role, sock.getsockname()[1]))
            started = False
            while True:
                now = trio.current_time()
                for stun, address in ice.datagrams_to_send(now):
                    await sock.sendto(stun, address)
                peer = ice.selected
                if peer is not None and not started:
                    started = True
                    end.start(now)
                for datagram in end.datagrams_to_send(now):
                    assert peer is not None
                    self.sent.append(datagram)
                    if len(self.sent) - 1 not in self.lost_from_us:
                        await sock.sendto(datagram, peer)
                while (event := end.next_event()) is not None:
                    self.events.append(event)
                    self.reached[type(event)].set()
                timer = end.get_timer()
                with trio.move_on_at(math.inf if timer is None else timer):
                    data, sender = await sock.recvfrom(4096)
                    self._receive(ice, end, data, sender)
                    continue
                end.handle_timer(trio.current_time())

    def _receive(self, ice: IceAgent, end: DtlsEndpoint, data: bytes, sender: Address) -> None:
        now = trio.current_time()
        if is_stun(data):
            ice.receive_datagram_untrusted(data, sender, now)
        elif ice.is_validated(sender):
            self.received.append(data)
            if len(self.received) - 1 not in self.lost_from_them:
                end.receive_datagram_untrusted(data, now)


def _answer(ice: IceAgent, certificate: Certificate, role: DtlsRole, port: int) -> str:
    fingerprint = certificate.fingerprints[-1]
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=ice-lite",
        "a=group:BUNDLE 0",
        f"m=application {port} UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 127.0.0.1",
        "a=mid:0",
        f"a=ice-ufrag:{ice.credentials.username_fragment}",
        f"a=ice-pwd:{ice.credentials.password}",
        f"a=fingerprint:{fingerprint.algorithm} {fingerprint.value}",
        f"a=setup:{'active' if role is DtlsRole.CLIENT else 'passive'}",
        "a=sctp-port:5000",
        "a=max-message-size:262144",
        f"a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host",
        "a=end-of-candidates",
    ]
    return "".join(line + "\r\n" for line in lines)


class Browser:
    """A running Chromium with the page open."""

    def __init__(self, certificate: Certificate, nursery: trio.Nursery) -> None:
        self._certificate = certificate
        self._nursery = nursery
        self._cases: dict[int, Case] = {}
        self._send, self._receive = trio.open_memory_channel[int](100)

    async def run(self, case: Case) -> None:
        """Have the browser connect to our end, and wait until it reports what became of it."""
        number = len(self._cases)
        self._cases[number] = case
        await self._send.send(number)
        await case.finished.wait()

    async def handle_http(self, stream: trio.SocketStream) -> None:
        """Serve one HTTP connection of the page's."""
        connection = h11.Connection(h11.SERVER)
        try:
            while True:
                request, body = await _read_request(connection, stream)
                if request is None:
                    return
                answer = await self._respond(request.target.decode(), body)
                headers = [("content-length", str(len(answer))), ("content-type", "text/html")]
                head = connection.send(h11.Response(status_code=200, headers=headers))
                data = connection.send(h11.Data(data=answer))
                tail = connection.send(h11.EndOfMessage())
                await stream.send_all((head or b"") + (data or b"") + (tail or b""))
                connection.start_next_cycle()
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            return

    async def _respond(self, path: str, body: bytes) -> bytes:
        if path == "/next":
            return json.dumps(await self._receive.receive()).encode()
        if path not in ("/offer", "/result"):
            return PAGE
        message = json.loads(body)
        case = self._cases[message["id"]]
        if path == "/result":
            case.result = message
            case.finished.set()
            return json.dumps(case.linger).encode()
        serve = case.serve
        certificate = self._certificate

        async def start(task_status: trio.TaskStatus[str]) -> None:
            await serve(certificate, message["sdp"], task_status)

        answer: str = await self._nursery.start(start)
        return answer.encode()


async def _read_request(
    connection: h11.Connection, stream: trio.SocketStream
) -> tuple[h11.Request | None, bytes]:
    request: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some())
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return request, body
        else:
            return None, b""


@asynccontextmanager
async def chromium(certificate: Certificate) -> AsyncIterator[Browser]:
    """Run Chromium with a fresh profile and the page open; end it, and all connections, on leaving."""
    with tempfile.TemporaryDirectory(prefix="trio-sfu-dtls-", ignore_cleanup_errors=True) as profile:
        async with trio.open_nursery() as nursery:
            browser = Browser(certificate, nursery)
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listeners[0].socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, browser.handle_http, listeners)
            command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"http://127.0.0.1:{port}/"]
            process = await nursery.start(_run_process, command)
            yield browser
            process.terminate()
            await process.wait()
            nursery.cancel_scope.cancel()


async def _run_process(command: list[str], task_status: trio.TaskStatus[trio.Process]) -> None:
    await trio.run_process(
        command,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        task_status=task_status,
    )

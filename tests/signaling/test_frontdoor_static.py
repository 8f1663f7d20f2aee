"""Files of a folder, as the front door serves them."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from sfu.signaling.http import Request, Response, Route, StaticFolder, json_response
from tests.signaling.harness import open_house


async def hello(request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    return json_response("hello")


ROUTES = [Route("GET", "/list", hello)]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("secret")
    root = tmp_path / "page"
    (root / "sub").mkdir(parents=True)
    (root / "index.html").write_text("<p>hello")
    (root / "sub" / "app.js").write_text("1")
    (root / "sub" / "a b.wasm").write_bytes(b"\x00asm")
    (root / "unknown.xyz").write_bytes(b"?")
    (root / ".hidden").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "folder").symlink_to(tmp_path)
    return root


async def test_serves_files(autojump_clock: MockClock, page: Path) -> None:
    static = StaticFolder(page, headers=[("Cross-Origin-Opener-Policy", "same-origin")])
    async with open_house(static=static, routes=ROUTES) as house:
        client = house.client()
        for target, content_type, body in (
            ("/", "text/html; charset=utf-8", b"<p>hello"),
            ("/index.html?x=y", "text/html; charset=utf-8", b"<p>hello"),
            ("//sub/app.js", "text/javascript; charset=utf-8", b"1"),
            ("/sub/a%20b.wasm", "application/wasm", b"\x00asm"),
            ("/unknown.xyz", "application/octet-stream", b"?"),
        ):
            answer = await client.get(target)
            assert (answer.status, answer.body) == (200, body)
            assert answer.headers["content-type"] == content_type
            assert answer.headers["cross-origin-opener-policy"] == "same-origin"
            again = await client.get(target, **{"If-None-Match": answer.headers["etag"]})
            assert (again.status, again.body) == (304, b"")
        assert (await client.get("/list")).headers["content-type"].startswith("application/json")
        assert (await client.request("HEAD", "/")).status == 200
        assert (await client.request("POST", "/")).status == 404


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/sub/../../secret.txt",
        "/..%2fsecret.txt",
        "/sub/..%5c..%5csecret.txt",
        "/.hidden",
        "/link.txt",
        "/folder/secret.txt",
        "/sub",
        "/sub/",
        "/index.html/",
        "/%00",
        "/%ff",
    ],
)
async def test_serves_nothing_else(autojump_clock: MockClock, page: Path, target: str) -> None:
    async with open_house(static=StaticFolder(page)) as house:
        answer = await house.client().get(target)
        assert (answer.status, answer.json()) == (404, {"error": "not found"})


def test_a_folder_has_a_size_limit(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfu.signaling.http.MAX_STATIC_BYTES", 10)
    with pytest.raises(ValueError, match="holds more than 10 bytes"):
        StaticFolder(page)

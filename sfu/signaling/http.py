"""What HTTP handlers see: requests, responses, routes and static files. No I/O beyond reading a folder
once."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

MAX_QUERY_FIELDS = 256
"""Fields in a query string."""

MAX_STATIC_BYTES = 64 * 1024 * 1024
"""All files of one static folder together; they are kept in memory."""

JSON_CONTENT_TYPE = "application/json; charset=utf-8"

Headers = Sequence[tuple[str, str]]


class HttpError(Exception):
    """Raised by a handler, or by reading a request: answered ``{"error": message}``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    path: str
    """As sent, percent-encoding included, without query; several leading slashes are one."""
    path_params: Mapping[str, str] = field(default_factory=dict)
    """The ``:name`` parts of the route, percent-decoded."""
    query: Sequence[tuple[str, str]] = ()
    """Decoded, in order."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name; repeated ones joined with ``", "``, ``cookie`` with ``"; "``."""
    cookies: Sequence[tuple[str, str]] = ()
    """Name and raw value of each, in order."""
    body: bytes = b""
    remote: str = ""
    """Address of the peer, or of the client that a trusted proxy names."""

    def query_one(self, name: str) -> str | None:
        """The value of a query field that occurs exactly once."""
        values = [value for key, value in self.query if key == name]
        return values[0] if len(values) == 1 else None

    def json(self) -> Any:
        """The body as a JSON object or array; ``{}`` if it is empty or not declared as
        ``application/json``.

        Raises:
            HttpError: 400, ``invalid json``.
        """
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" or not self.body:
            return {}
        try:
            value = msgspec.json.decode(self.body)
        except (ValueError, RecursionError):
            raise HttpError(400, "invalid json") from None
        if not isinstance(value, dict | list):
            raise HttpError(400, "invalid json")
        return value


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response. Date, length, connection and CORS headers are added on the way out."""

    status: int = 200
    headers: Headers = ()
    body: bytes = b""


Handler = Callable[[Request], Awaitable[Response]]


def json_response(data: object, status: int = 200, headers: Headers = ()) -> Response:
    """A JSON response that nobody may store."""
    return Response(
        status,
        [("Content-Type", JSON_CONTENT_TYPE), ("Cache-Control", "no-store"), *headers],
        msgspec.json.encode(data),
    )


def error_response(status: int, message: str) -> Response:
    """``{"error": message}``."""
    return json_response({"error": message}, status)


@dataclass(frozen=True, slots=True)
class Route:
    """A handler for one method and path. ``GET`` serves ``HEAD`` too."""

    method: str
    pattern: str
    """Like ``/join/:room_id``. Literal parts match in any case, a trailing slash is optional."""
    handler: Handler


@dataclass(frozen=True, slots=True)
class Mount:
    """A handler for everything below a prefix, whatever the method."""

    prefix: str
    """Like ``/api/``."""
    handler: Handler


class Router:
    """Finds the handler of a request: routes first, then mounts, in the order given."""

    def __init__(self, routes: Sequence[Route] = (), mounts: Sequence[Mount] = ()) -> None:
        self._routes = [(route.method, _compile(route.pattern), route.handler) for route in routes]
        self._mounts = list(mounts)

    def find(self, request: Request) -> tuple[Handler, Request] | None:
        """The handler and the request it is to be called with; None if there is none.

        Raises:
            HttpError: 400, a path parameter that is not percent-encoded UTF-8.
        """
        method = "GET" if request.method == "HEAD" else request.method
        for route_method, pattern, handler in self._routes:
            if route_method == method and (match := pattern.fullmatch(request.path)):
                params = {name: _decode_path_part(value) for name, value in match.groupdict().items()}
                return handler, replace(request, path_params=params)
        for mount in self._mounts:
            if request.path.startswith(mount.prefix):
                return mount.handler, request
        return None


def _compile(pattern: str) -> re.Pattern[str]:
    parts = [
        f"(?P<{part[1:]}>[^/]+)" if part.startswith(":") else re.escape(part)
        for part in pattern.strip("/").split("/")
    ]
    return re.compile("/" + "/".join(parts) + "/?", re.IGNORECASE)


def _decode_path_part(value: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", value):
        raise HttpError(400, "bad request")
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise HttpError(400, "bad request") from None


def split_target(target: str) -> tuple[str, Sequence[tuple[str, str]]]:
    """Path and decoded query of a request target (RFC 9112 section 3.2), leading slashes collapsed.

    Raises:
        HttpError: 400, neither origin form nor absolute form nor ``*``; or too many query fields.
    """
    target = re.sub(r"\A[Hh][Tt][Tt][Pp][Ss]?://[^/?]*", "", target)
    path, _, query = target.partition("?")
    if path == "*":
        return path, ()
    if path and not path.startswith("/"):
        raise HttpError(400, "bad request")
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        raise HttpError(400, "bad request") from None
    return "/" + path.lstrip("/"), fields


def parse_cookies(header: str) -> Sequence[tuple[str, str]]:
    """Names and raw values of a ``Cookie`` header (RFC 6265 section 4.2), quotes around a value removed."""
    cookies = []
    for pair in header.split(";"):
        name, equals, value = pair.partition("=")
        if equals and name.strip():
            cookies.append((name.strip(), value.strip().removeprefix('"').removesuffix('"')))
    return cookies


_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": JSON_CONTENT_TYPE,
    ".map": JSON_CONTENT_TYPE,
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}


class StaticFolder:
    """The files below a folder as they were when this was made, ``index.html`` for a folder.

    Requests are looked up in a dictionary, so no path can lead outside. Hidden files and symbolic links
    are left out.
    """

    def __init__(self, root: Path, *, prefix: str = "/", headers: Headers = ()) -> None:
        """
        Args:
            root: an existing folder.
            prefix: where in the URL space its content begins; ends in ``/``.
            headers: added to every response.

        Raises:
            ValueError: more than :data:`MAX_STATIC_BYTES`.
            OSError: a file cannot be read.
        """
        self._files: dict[str, Response] = {}
        total = 0
        for path in sorted(root.rglob("*")):
            parts = path.relative_to(root).parts
            if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in parts):
                continue
            if any(parent.is_symlink() for parent in path.parents if root in parent.parents):
                continue
            body = path.read_bytes()
            total += len(body)
            if total > MAX_STATIC_BYTES:
                raise ValueError(f"{root} holds more than {MAX_STATIC_BYTES} bytes")
            response = Response(
                200,
                [
                    ("Content-Type", _CONTENT_TYPES.get(path.suffix.lower(), "application/octet-stream")),
                    ("Cache-Control", "no-cache"),
                    ("ETag", f'"{sha256(body).hexdigest()[:32]}"'),
                    ("X-Content-Type-Options", "nosniff"),
                    *headers,
                ],
                body,
            )
            name = "/".join(parts)
            self._files[prefix + name] = response
            if parts[-1] == "index.html":
                self._files[prefix + name.removesuffix("index.html")] = response

    def find(self, request: Request) -> Response | None:
        """The file that a GET or HEAD request names, or 304 if the client has it; None if there is none."""
        if request.method not in ("GET", "HEAD"):
            return None
        try:
            response = self._files.get(_decode_path_part(request.path))
        except HttpError:
            return None
        if response is None:
            return None
        etag = dict(response.headers)["ETag"]
        known = [
            tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")
        ]
        if etag in known or known == ["*"]:
            return Response(304, [header for header in response.headers if header[0] != "Content-Type"])
        return response

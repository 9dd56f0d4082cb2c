"""What a server lets in: requests of its own pages, no larger than an upload may be."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Scope, Message = MutableMapping[str, Any], MutableMapping[str, Any]
Receive, Send = Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]

# Of Gradio's addresses, those that the page uses; none of them gives a file by its name but those
# that Gradio brings with it.
PAGES = {"/", "/config", "/config/", "/favicon.ico", "/theme.css", "/manifest.json", "/robots.txt"}
FOLDERS = (
    "/assets/",
    "/static/",
    "/svelte/",
    "/sound/",
    "/gradio_api/heartbeat/",
    "/gradio_api/info",
    "/gradio_api/queue/",
    "/gradio_api/startup-events",
    "/gradio_api/theme.css",
    "/gradio_api/upload",
)
# Where events are asked for, in JSON; and files are named in it, which Gradio would open or fetch.
EVENTS = "/gradio_api/queue/"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Besides the file, a request has its own words.
WORDS = 2**20
# Nothing is fetched from elsewhere, whatever a page holds.
HEADERS = {
    "content-security-policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def address(host: str, port: int) -> str:
    """Where a browser finds the page of a server that listens on a name or an address of IP."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Guard:
    """Stands before an application, and refuses what its page would not ask.

    Args:
        app: That answers.
        largest: Bytes of an upload.
        uploads: The folder that they are put into: no file elsewhere may be named.
        host: That it listens on: on loopback, other names of it are refused, so that no page of
            another site reaches it by a name that leads here.
    """

    def __init__(self, app: Callable, largest: int, uploads: Path, host: str) -> None:
        self.app, self.largest, self.host = app, largest, host
        self.uploads = uploads.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or hands it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        if refused := self.refusal(scope["path"], headers):
            await _answer(send, *refused)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        is_event = scope["path"].startswith(EVENTS)
        receive = _counted(receive, WORDS if is_event else self.largest + WORDS)
        if is_event and scope["method"] == "POST":
            body = self.read(await _whole(receive))
            if body is None:
                await _answer(send, 403, "this names a file that was not uploaded here")
                return
            # What was looked at is what is read: another reader could see other values.
            kept = [each for each in scope["headers"] if each[0] != b"content-length"]
            scope["headers"] = [*kept, (b"content-length", str(len(body)).encode())]
            receive = _again(body, receive)
        await self.app(scope, receive, guarded)

    def refusal(self, path: str, headers: MutableMapping[str, str]) -> tuple[int, str] | None:
        """Status and reason where a request is refused, by what its head says."""
        name = urlsplit(f"//{headers.get('host', '')}").hostname
        if self.host in LOOPBACK and name not in LOOPBACK:
            return 403, "this server is called localhost"
        origin = headers.get("origin")
        if origin and urlsplit(origin).netloc != headers.get("host"):
            return 403, "not asked by a page of this server"
        if path not in PAGES and not path.startswith(FOLDERS):
            return 404, "nothing is here"
        length = headers.get("content-length", "0")
        largest = WORDS if path.startswith(EVENTS) else self.largest + WORDS
        if not length.isdecimal() or int(length) > largest:
            return 413, f"too large; up to {self.largest / 2**20:g} MB are taken"
        return None

    def read(self, body: bytes) -> bytes | None:
        """The JSON of an event, written anew; None where it is none, or names a file elsewhere."""
        try:
            values = json.loads(body)
            return json.dumps(values).encode() if self._names_uploads(values) else None
        except (ValueError, RecursionError):
            return None

    def _names_uploads(self, values: Any) -> bool:
        """Whether all files that are named in JSON are uploads, links followed."""
        if isinstance(values, list):
            return all(map(self._names_uploads, values))
        if not isinstance(values, dict):
            return True
        if "path" in values:
            path = values["path"]
            if not isinstance(path, str) or not Path(path).is_absolute():
                return False
            if not Path(path).resolve().is_relative_to(self.uploads):
                return False
        return all(map(self._names_uploads, values.values()))


def _counted(receive: Receive, rest: int) -> Receive:
    """Ends a request that has more than so many bytes, whatever it said."""

    async def counted() -> Message:
        nonlocal rest
        message = await receive()
        rest -= len(message.get("body", b""))
        if rest < 0:
            return {"type": "http.disconnect"}
        return message

    return counted


async def _whole(receive: Receive) -> bytes:
    """The body of a request; what was broken off is none."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read, and what comes behind it."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return waiting.pop() if waiting else await receive()

    return given


async def _answer(send: Send, status: int, reason: str) -> None:
    body = reason.encode()
    head = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})

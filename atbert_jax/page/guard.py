"""What a server lets in: requests of its own pages, no larger than an upload may be."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
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
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Besides the file, a request has its own words.
WORDS = 2**20
# Nothing is fetched from elsewhere, whatever a page holds.
HEADERS = {
    "content-security-policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Guard:
    """Stands before an application, and refuses what its page would not ask.

    Args:
        app: That answers.
        largest: Bytes of an upload.
        host: That it listens on: on loopback, other names of it are refused, so that no page of
            another site reaches it by a name that leads here.
    """

    def __init__(self, app: Callable, largest: int, host: str) -> None:
        self.app, self.largest, self.host = app, largest, host

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

        await self.app(scope, self._counted(receive), guarded)

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
        if not length.isdecimal() or int(length) > self.largest + WORDS:
            return 413, f"too large; up to {self.largest / 2**20:g} MB are taken"
        return None

    def _counted(self, receive: Receive) -> Receive:
        """Ends a request that has more than it said, or that did not say."""
        rest = self.largest + WORDS

        async def counted() -> Message:
            nonlocal rest
            message = await receive()
            rest -= len(message.get("body", b""))
            if rest < 0:
                await asyncio.sleep(0)
                return {"type": "http.disconnect"}
            return message

        return counted


async def _answer(send: Send, status: int, reason: str) -> None:
    body = reason.encode()
    head = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})

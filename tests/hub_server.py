"""A hub of model repositories on this machine, as much of one as its client asks for."""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub:
    """Its repositories, and what it was asked.

    Attributes:
        address: Of the server.
        files: Contents by the path of each file, by repository.
        private: Which repositories are.
        asked: (method, path) of each request.
        tokens: The headers that authorize.
    """

    def __init__(self) -> None:
        self.address = ""
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.asked: list[tuple[str, str]] = []
        self.tokens: set[str | None] = set()

    def commit_of(self, name: str) -> str:
        digest = hashlib.sha1()
        for path, content in sorted(self.files[name].items()):
            digest.update(path.encode() + content)
        return digest.hexdigest()

    def get(self, path: str) -> tuple[int, bytes | list | dict, dict]:
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            name, rest = "/".join(parts[2:4]), parts[4:]
            if name not in self.files:
                return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
            if rest[:1] == ["tree"]:
                return 200, [_entry(*pair) for pair in self.files[name].items()], {}
            about = {"id": name, "private": self.private[name], "sha": self.commit_of(name)}
            return 200, about | {"tags": [], "siblings": []}, {}
        name, rest = "/".join(parts[:2]), "/".join(parts[4:])
        if name not in self.files or rest not in self.files[name]:
            return 404, {"error": "Not found"}, {"X-Error-Code": "EntryNotFound"}
        content = self.files[name][rest]
        headers = {"ETag": f'"{_entry(rest, content)["oid"]}"', "X-Repo-Commit": parts[3]}
        return 200, content, headers

    def post(self, path: str, body: bytes) -> dict:
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "validate-yaml"]:
            return {"errors": [], "warnings": []}
        if parts[:3] == ["api", "repos", "create"]:
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}"
            self.files.setdefault(name, {})
            self.private.setdefault(name, given.get("visibility") == "private")
            return {"url": f"{self.address}/{name}", "id": name, "name": name}
        name, kind = "/".join(parts[2:4]), parts[4]
        if kind == "preupload":
            files = json.loads(body)["files"]
            shown = {"uploadMode": "regular", "shouldIgnore": False}
            return {"files": [{"path": each["path"]} | shown for each in files]}
        assert kind == "commit"
        for line in body.splitlines():
            row = json.loads(line)
            if row["key"] == "file":
                value = row["value"]
                self.files[name][value["path"]] = base64.b64decode(value["content"])
        commit = self.commit_of(name)
        return {"commitUrl": f"{self.address}/{name}/commit/{commit}", "commitOid": commit}


def _entry(path: str, content: bytes) -> dict:
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid}


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    """The hub, at an address of its own."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(*hub.get(self._path()))

        do_HEAD = do_GET  # noqa: N815

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            self._answer(200, hub.post(self._path(), body), {})

        def _path(self) -> str:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append((self.command, path))
            hub.tokens.add(self.headers["Authorization"])
            return path

        def _answer(self, status: int, content: object, headers: dict) -> None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(data))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        yield hub
    finally:
        server.shutdown()
        server.server_close()

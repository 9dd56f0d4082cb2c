"""What a server lets in, asked as a browser, and as somebody else, would ask."""

import asyncio
import json
from pathlib import Path

import pytest

from atbert_jax.page.guard import WORDS, Guard, address

LARGEST, NOWHERE = 10 * 2**20, Path("/nowhere")
JOIN = "/gradio_api/queue/join"


async def whole(scope, receive, send):
    """Reads all there is, and says how much."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message.get("more_body")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def asked(path: str, listens: str = "127.0.0.1", body=(b"",), uploads=NOWHERE, **headers: str):
    """Status, headers and body of an answer; None where there is none."""
    headers = {"host": "localhost:7860"} | {k.replace("_", "-"): v for k, v in headers.items()}
    scope = {"type": "http", "path": path, "method": "POST"}
    scope["headers"] = [(k.encode(), v.encode()) for k, v in headers.items()]
    parts = list(body)
    sent = []

    async def receive():
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(whole, LARGEST, uploads, listens)(scope, receive, send))
    if not sent:
        return None
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"].decode()


def test_the_page_is_answered_and_fetches_nothing_from_elsewhere():
    status, headers, _ = asked("/")
    assert status == 200
    policy = headers[b"content-security-policy"].decode()
    assert policy.startswith("default-src 'self'")
    assert "http" not in policy


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=https://example.org",
        "/gradio_api/vibe-edit",
        "/gradio_api/run/search",
        "/docs",
        "/monitoring",
        "/sound",
        "//etc/passwd",
    ],
)
def test_what_the_page_does_not_ask_is_not_there(path):
    assert asked(path)[0] == 404


def test_two_gigabytes_are_refused_before_they_are_read():
    status, _, said = asked("/gradio_api/upload", body=(), content_length=str(2 * 2**30))
    assert (status, said) == (413, "too large; up to 10 MB are taken")
    assert asked("/gradio_api/upload", body=(), content_length="-1")[0] == 413
    assert asked("/gradio_api/upload", content_length=str(LARGEST))[0] == 200


def test_a_request_that_has_more_than_it_said_is_ended():
    part = bytes(2**20)
    fits = asked("/gradio_api/upload", body=[part] * 10)
    assert fits[2] == str(LARGEST)
    assert (
        asked("/gradio_api/upload", body=[part] * 10 + [bytes(WORDS + 1)], content_length="9")
        is None
    )


def test_pages_of_others_are_kept_out():
    assert asked("/", origin="http://localhost:7860")[0] == 200
    assert asked("/", origin="http://evil.example")[0] == 403
    assert asked("/", origin="null")[0] == 403
    # A name of another site that leads here.
    assert asked("/", host="evil.example:7860")[0] == 403
    assert asked("/", host="[::1]:7860")[0] == 200
    assert asked("/", "192.168.0.7", host="music.local:7860")[0] == 200


def test_an_address_is_one_that_a_browser_takes():
    assert address("127.0.0.1", 7860) == "http://127.0.0.1:7860"
    assert address("::1", 7860) == "http://[::1]:7860"


def named(*paths: object) -> bytes:
    files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
    return json.dumps({"data": ["a text", files[0], {"deep": [files[1:]]}]}).encode()


def test_an_event_names_no_file_but_uploads(tmp_path):
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (tmp_path / "secret.wav").touch()
    (uploads / "link.wav").symlink_to(tmp_path / "secret.wav")
    own = str(uploads / "a.wav")
    body = named(own, own)
    status, _, said = asked(JOIN, body=[body[:9], body[9:]], uploads=uploads)
    assert (status, said) == (200, str(len(body)))
    for other in (
        "/etc/passwd",
        str(tmp_path / "secret.wav"),
        str(uploads / "../secret.wav"),
        str(uploads / "link.wav"),
        "a.wav",
        "http://127.0.0.1/a.wav",
        "file:///etc/passwd",
        ["/etc/passwd"],
    ):
        for paths in ((other, own), (own, other)):
            assert asked(JOIN, body=[named(*paths)], uploads=uploads)[0] == 403
    twice = b'{"path": "%s", "path": "/etc/passwd"}' % own.encode()
    for wrong in (twice, b"", b"{", b"[" * 100_000):
        assert asked(JOIN, body=[wrong], uploads=uploads)[0] == 403


def test_an_event_is_short():
    assert asked(JOIN, body=[b'"%s"' % (b"x" * 1000)])[0] == 200
    assert asked(JOIN, content_length=str(WORDS + 1))[0] == 413
    assert asked(JOIN, body=[bytes(WORDS + 1)])[0] == 403

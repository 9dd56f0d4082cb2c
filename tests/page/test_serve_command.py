"""`serve`, as a person starts and ends it."""

import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests import commands


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.slow
def test_the_page_is_there_until_it_is_ended_and_leaves_nothing_behind(
    index, tmp_path, monkeypatch
):
    pytest.importorskip("gradio", reason="the extra `serve` is not installed")
    monkeypatch.setitem(commands.ENVIRONMENT, "TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    address, said = f"http://127.0.0.1:{(port := free_port())}/", tmp_path / "said"
    words = ["atbert_jax.serve", str(index.folder), f"--port={port}"]
    words.append(f"--output={tmp_path / 'low.csv'}")
    process = commands.start(words, said, said)
    try:
        page, end = b"", time.monotonic() + 300
        while not page and time.monotonic() < end:
            assert process.is_alive(), said.read_text()
            try:
                page = urllib.request.urlopen(address).read()
            except urllib.error.URLError:
                time.sleep(0.1)
        assert b"3 recordings" in page
        assert not re.search(rb"<(script|link)[^>]+https?://", page)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}gradio_api/file={Path(__file__)}")
        assert list((tmp_path / "temporary").glob("atbert-*"))
        os.kill(process.pid, signal.SIGTERM)
        process.join(60)
        assert not process.is_alive()
    finally:
        process.kill()
        process.join()
    assert not list((tmp_path / "temporary").glob("atbert-*"))
    assert "Traceback" not in said.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the folder of one index"),
        (("nowhere",), "nowhere: is no index"),
        (("lib", "--output=x.json"), "extension .csv"),
        (("lib", "--label=piano"), "--label=piano: is of a manifest that is labelled into"),
    ],
)
def test_what_cannot_be_served_is_said(arguments, said):
    assert said in commands.one_line(commands.run("atbert_jax.serve", *arguments))

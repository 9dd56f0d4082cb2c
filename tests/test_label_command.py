"""`label`, as a person types it in a terminal, and with a kill in the middle."""

import contextlib
import os
import pty
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline.manifest.records import read_manifest
from atbert_jax.training import trained
from tests import commands, music_library, tones


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """An index of three files of two windows, beside them."""
    run = music_library.make_run(tmp_path_factory.mktemp("paired"), alignment=1.0)
    folder, rng = tmp_path_factory.mktemp("music"), np.random.default_rng(0)
    for name in ("a.wav", "b.wav", "c.wav"):
        sound = rng.uniform(-0.5, 0.5, round(0.9 * tones.TONE_RATE))
        soundfile.write(folder / name, sound, tones.TONE_RATE)
    music_library.update(trained.load(run), folder / "lib", folder)
    return folder / "lib"


@contextlib.contextmanager
def labelling(library: Path, said: Path) -> Iterator[tuple[Callable, commands.SERVER.Process]]:
    """The command in a terminal, with a function that types a key."""
    controller, terminal = pty.openpty()
    words = ["atbert_jax.label", str(library), "a low tone", "--player=none"]
    words += [f"--output={library.parent / 'low.csv'}"]
    process = commands.start(words, said, said, stdin=os.ttyname(terminal))
    try:
        yield lambda key: os.write(controller, key.encode()), process
    finally:
        process.kill()
        process.join()
        os.close(controller)
        os.close(terminal)


def wait_for(text: str, said: Path, process) -> None:
    end = time.monotonic() + 120
    while text not in (said.read_text() if said.exists() else "") and time.monotonic() < end:
        assert process.is_alive(), said.read_text()
        time.sleep(0.02)
    assert text in said.read_text()


def test_a_kill_loses_nothing_and_the_manifest_is_one(library, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    with labelling(library, first) as (type_key, process):
        wait_for("[0 yes, 0 no]", first, process)
        type_key("y")
        wait_for("[1 yes, 0 no]", first, process)
        os.kill(process.pid, signal.SIGKILL)
    with labelling(library, second) as (type_key, process):
        wait_for("[1 yes, 0 no]", second, process)
        asked = [path.read_text().splitlines()[-1] for path in (first, second)]
        assert asked[0] == asked[1]  # the same window
        type_key("n")
        wait_for("[1 yes, 1 no]", second, process)
        type_key("q")
        process.join()
        assert process.exitcode == 0
    assert "low.csv: 1 low, 1 not, 0 skipped" in second.read_text()
    records = read_manifest(library.parent / "low.csv")
    assert [record.labels for record in records] == [("low",), ("not low",)]


def test_what_cannot_be_begun_is_said(library, tmp_path):
    output = f"--output={tmp_path / 'x.csv'}"
    for arguments, said in (
        ((output,), "name the folder of an index"),
        ((library, output), "nothing to begin with"),
        ((library, "low", output, "--player=no-such"), "there is no such command"),
        ((library, "low", "--output=x.json"), "extension .csv"),
    ):
        assert said in commands.one_line(commands.run("atbert_jax.label", *arguments))
    assert not (tmp_path / "x.csv").exists()

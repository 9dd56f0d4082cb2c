"""Runs that are killed, asked to stop, or shared by processes end as one that never was."""

import functools
import os
import random
import signal
import socket
import time
from multiprocessing import Process
from pathlib import Path

import numpy as np
import pytest

from atbert_jax.parallel import distributed
from atbert_jax.training.checkpoint import Checkpoints
from atbert_jax.training.writers import read_metrics
from tests import commands, tiny

STEPS = 32
PATIENCE = 240.0  # seconds
TINY = {
    **tiny.MODEL,
    "spectrogram.sample_rate": 8000,
    "spectrogram.n_fft": 256,
    "spectrogram.hop_length": 128,
    "spectrogram.n_mels": 16,
    "segmenting.segments": 2,
    "segmenting.seconds": 0.25,
    "text.max_tokens": 8,
    "train.steps": STEPS,
    "train.batch_size": 4,
    "train.log_every": 3,
    "train.evaluate_every": 7,
    "optimizer.warmup_steps": 1,
    "evaluation.batch_size": 4,
}


def command(manifest: Path, workdir: Path, *more: str) -> tuple[str, ...]:
    """`python -m atbert_jax.train` of a tiny model."""
    return (
        "atbert_jax.train",
        "--config=configs/atbert_pretrain.py:tiny",
        f"--workdir={workdir}",
        f"--config.data.manifest={manifest}",
        *(f"--config.{name}={value}" for name, value in TINY.items()),
        *more,
    )


def start(manifest: Path, workdir: Path, *more: str) -> Process:
    """The same, in the background."""
    workdir.mkdir(exist_ok=True)
    said = workdir / "said.txt"
    return commands.start(command(manifest, workdir, *more), said, said)


def finish(process: Process, workdir: Path, code: int = 0) -> None:
    process.join(PATIENCE)
    assert process.exitcode == code, last_words(workdir / "said.txt")


def last_words(said: Path) -> str:
    """The end of what was said, without the list of modules behind the stack of a crash."""
    lines = said.read_text(encoding="utf-8").splitlines()
    return "\n".join(line[:500] for line in lines if not line.startswith("Extension modules"))[
        -4000:
    ]


def wait_for_step(process: Process, workdir: Path, step: int) -> None:
    """Returns when a step is logged, or the process is done."""
    end = time.monotonic() + PATIENCE
    while process.is_alive():
        rows = read_metrics(workdir)
        if rows and rows[-1]["step"] >= step:
            return
        assert time.monotonic() < end, (workdir / "said.txt").read_text(encoding="utf-8")
        time.sleep(0.02)


def assert_same_run(left: Path, right: Path, step: int = STEPS) -> None:
    """Every array and every row of metrics, bit for bit."""
    ours, theirs = (tiny.named(Checkpoints(run).restore_arrays(step)) for run in (left, right))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(theirs[name], value, err_msg=name)
    assert read_metrics(left) == read_metrics(right)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"))


def write_tones(folder: Path) -> Path:
    """Ten tones with captions, and the manifest of them."""
    import soundfile

    rows = ["path,text,split"]
    for number in range(10):
        tone = 0.5 * np.sin(2 * np.pi * (200 + 150 * number) * np.arange(6000) / 8000)
        soundfile.write(folder / f"{number}.wav", tone, 8000)
        rows.append(f"{number}.wav,tone number {number},{'val' if number > 7 else 'train'}")
    (folder / "tracks.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "tracks.csv"


@pytest.fixture(scope="module")
def whole(manifest, tmp_path_factory) -> Path:
    """A run that nothing happened to."""
    workdir = tmp_path_factory.mktemp("whole")
    finish(start(manifest, workdir), workdir)
    return workdir


@pytest.mark.slow
def test_killed_then_asked_to_stop_then_started_again_is_the_same_run(manifest, whole, tmp_path):
    process = start(manifest, tmp_path)
    wait_for_step(process, tmp_path, random.Random(0).randrange(8, 15))
    process.kill()
    process.join()

    process = start(manifest, tmp_path)
    wait_for_step(process, tmp_path, 18)
    os.kill(process.pid, signal.SIGTERM)
    finish(process, tmp_path, distributed.STOPPED)
    stopped = Checkpoints(tmp_path).latest
    assert 18 <= stopped < STEPS
    said = (tmp_path / "said.txt").read_text(encoding="utf-8")
    assert f"asked to stop: step {stopped} is saved" in " ".join(said.split())

    finish(start(manifest, tmp_path), tmp_path)
    said = (tmp_path / "said.txt").read_text(encoding="utf-8")
    assert f"goes on at step {stopped}" in " ".join(said.split())
    assert_same_run(whole, tmp_path)


def pair(manifest: Path, workdir: Path) -> list[Process]:
    """Two processes of one device each, over gloo on loopback."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [
        start(
            manifest,
            workdir,
            f"--coordinator=localhost:{port}",
            "--processes=2",
            f"--process={process}",
        )
        for process in range(2)
    ]


def assert_close_runs(left: Path, right: Path) -> None:
    """The same rows of metrics to float tolerance."""
    ours, theirs = read_metrics(left), read_metrics(right)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert other[name] == pytest.approx(value, rel=2e-4, abs=2e-4), (name, one["step"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_only_ask_within_the_context(number, request):
    # The handler of a program; a worker of pytest ignores SIGINT.
    before = signal.default_int_handler
    request.addfinalizer(functools.partial(signal.signal, number, signal.signal(number, before)))
    with distributed.Interruption() as interruption:
        assert not interruption.asked(1)
        signal.raise_signal(number)
        assert interruption.asked(2)
        if number == signal.SIGINT:  # which does what it did before
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
    assert signal.getsignal(number) == before


def test_the_three_flags_go_together():
    with pytest.raises(ValueError, match=r"--processes=2 and --process=None go together"):
        distributed.initialize("localhost:1", 2, None)


@pytest.mark.slow
def test_two_processes_compute_what_one_does_and_stop_together(manifest, whole, tmp_path):
    """And one goes on where they stopped: the rows of metrics are of both ways to compute."""
    both = pair(manifest, tmp_path)
    wait_for_step(both[0], tmp_path, 20)
    os.kill(both[1].pid, signal.SIGTERM)
    for process in both:
        finish(process, tmp_path, distributed.STOPPED)
    assert 20 <= Checkpoints(tmp_path).latest < STEPS
    finish(start(manifest, tmp_path), tmp_path)
    assert_close_runs(whole, tmp_path)

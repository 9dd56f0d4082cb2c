"""Trainings that are asked to stop at any time, or that meet another in their folder."""

import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing import Process
from pathlib import Path

import pytest

from atbert_jax.parallel import distributed
from atbert_jax.training import lock
from tests import commands
from tests.training import test_interruption as interruption
from tests.training.test_lock import HOLD

pytestmark = pytest.mark.slow
STEPS = 8
MORE = (
    f"--config.train.steps={STEPS}",
    "--config.train.log_every=1",
    "--config.train.evaluate_every=3",
)


def start(manifest: Path, workdir: Path, said: Path) -> Process:
    command = interruption.command(manifest, workdir, *MORE)
    return commands.start(command, said, said)


def finish(process: Process, said: Path, code: int = 0) -> None:
    process.join(interruption.PATIENCE)
    text = said.read_text(encoding="utf-8")
    assert process.exitcode == code, text[-3000:]
    assert "Traceback" not in text


def wait_for_lock(process: Process, workdir: Path) -> None:
    while process.is_alive() and not (workdir / lock.FILE).exists():
        time.sleep(0.02)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return interruption.write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def whole(manifest, tmp_path_factory) -> tuple[Path, float]:
    """A run that nothing happened to, and how long it took."""
    folder = tmp_path_factory.mktemp("whole")
    # What it compiles is found again by the others, which are timed by it.
    finish(start(manifest, folder / "first", folder / "said.txt"), folder / "said.txt")
    began = time.monotonic()
    finish(start(manifest, folder / "run", folder / "said.txt"), folder / "said.txt")
    return folder / "run", time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_while_it_starts_compiles_or_goes_on(manifest, whole, tmp_path, number):
    """Whenever it is asked, once or twice, the same command goes on, and nothing is lost."""
    rng, (run, seconds) = random.Random(int(number)), whole
    workdir, said = tmp_path / "run", tmp_path / "said.txt"
    for after in (0, rng.uniform(0, seconds / 2), rng.uniform(0, seconds)):
        process = start(manifest, workdir, said)
        wait_for_lock(process, workdir)
        process.join(after)
        if not process.is_alive():
            break
        os.kill(process.pid, number)
        process.join(0.01)
        if number == signal.SIGINT and process.is_alive():  # who is in a hurry presses it again
            os.kill(process.pid, number)
        finish(process, said, distributed.STOPPED)
    finish(start(manifest, workdir, said), said)
    interruption.assert_same_run(run, workdir, STEPS)


def test_processes_of_one_training_share_a_folder_that_another_is_kept_out_of(manifest, tmp_path):
    workdir, said = tmp_path / "run", tmp_path / "said.txt"
    both = interruption.pair(manifest, workdir)
    wait_for_lock(both[0], workdir)
    interruption.wait_for_step(both[0], workdir, 1)
    finish(start(manifest, workdir, said), said, 1)
    who = f"run is being trained by process {both[0].pid} on host"
    assert who in " ".join(said.read_text(encoding="utf-8").split())
    for process in both:
        process.kill()
        process.join()
    # The dead ones keep nobody out.
    both = interruption.pair(manifest, workdir)
    for process in both:
        interruption.finish(process, workdir)


def test_all_processes_end_where_the_folder_is_of_another_training(manifest, tmp_path):
    workdir = tmp_path / "run"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, workdir],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(commands.ROOT)},
    )
    try:
        assert other.stdout.readline() == b"held\n"
        both = interruption.pair(manifest, workdir)
        for process in both:
            process.join(interruption.PATIENCE)
            assert process.exitcode not in (None, 0, distributed.STOPPED)
    finally:
        other.kill()
        other.wait()
    assert f"is being trained by process {other.pid}" in (workdir / "said.txt").read_text()
    assert not (workdir / "config.json").exists()

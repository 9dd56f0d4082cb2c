"""Whenever a command is killed, the same one ends as if nothing had happened."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from atbert_jax.parallel import distributed
from atbert_jax.training import lock
from tests import commands
from tests.training import test_interruption as interruption

STEPS = 8
MORE = (
    f"--config.train.steps={STEPS}",
    "--config.train.log_every=1",
    "--config.train.evaluate_every=3",
)


def kill(command: tuple[str, ...], said: Path, workdir: Path, after: float) -> bool:
    """Starts a training and kills it after so many seconds; whether it was still at work."""
    process = commands.start(command, said, said)
    while process.is_alive() and not (workdir / lock.FILE).exists():
        time.sleep(0.02)
    process.join(after)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def finish(command: tuple[str, ...], said: Path) -> float:
    """Runs a command to its end; returns the seconds that it took."""
    began, process = time.monotonic(), commands.start(command, said, said)
    process.join(interruption.PATIENCE)
    assert process.exitcode == 0, said.read_text(encoding="utf-8")[-3000:]
    return time.monotonic() - began


def training(manifest: Path, workdir: Path) -> tuple[str, ...]:
    return interruption.command(manifest, workdir, *MORE)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return interruption.write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def whole(manifest, tmp_path_factory) -> tuple[Path, float]:
    """A run that nothing happened to, and how long it took."""
    folder = tmp_path_factory.mktemp("whole")
    # What it compiles is found again by the others, which are timed by it.
    finish(training(manifest, folder / "first"), folder / "said.txt")
    return folder / "run", finish(training(manifest, folder / "run"), folder / "said.txt")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_asked_to_stop_before_its_first_step(manifest, whole, tmp_path, number):
    """And again while it goes on: there is nothing to save, and nothing is lost."""
    command, said = training(manifest, tmp_path / "run"), tmp_path / "said.txt"
    process = commands.start(command, said, said)
    while process.is_alive() and not (tmp_path / "run" / lock.FILE).exists():
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.join(interruption.PATIENCE)
    assert process.exitcode == distributed.STOPPED, said.read_text(encoding="utf-8")
    assert "Traceback" not in said.read_text(encoding="utf-8")
    finish(command, said)
    interruption.assert_same_run(whole[0], tmp_path / "run", STEPS)


@pytest.mark.slow
def test_a_training_killed_while_it_starts_or_goes_on(manifest, whole, tmp_path):
    rng, (run, seconds) = random.Random(0), whole
    command, said = training(manifest, tmp_path / "run"), tmp_path / "said.txt"
    # The first while it starts; how far the others come depends on what else the machine does.
    assert kill(command, said, tmp_path / "run", 0)
    for _ in range(2):
        kill(command, said, tmp_path / "run", rng.uniform(0.2, 0.8 * seconds))
    finish(command, said)
    interruption.assert_same_run(run, tmp_path / "run", STEPS)
    assert not list((tmp_path / "run").rglob("*.part"))

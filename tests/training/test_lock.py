"""Two trainings do not write into one folder, and a dead one keeps nobody out."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from atbert_jax.training import lock
from atbert_jax.training.checkpoint import CheckpointError

ROOT = Path(__file__).resolve().parents[2]
HOLD = (
    "import sys, time; from pathlib import Path; from atbert_jax.training import lock\n"
    "with lock.held(Path(sys.argv[1])):\n"
    "    print('held', flush=True); time.sleep(600)"
)


def test_another_process_is_named_and_its_death_frees_the_folder(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "run"],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert other.stdout.readline() == b"held\n"
        who = rf"process {other.pid} on host {re.escape(socket.gethostname())}"
        with pytest.raises(CheckpointError, match=f"run is being trained by {who}; .*--workdir"):
            lock.held(tmp_path / "run").__enter__()
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    with lock.held(tmp_path / "run"):
        assert str(os.getpid()) in (tmp_path / "run" / lock.FILE).read_text()


def test_it_is_held_until_the_end_and_then_free(tmp_path):
    with lock.held(tmp_path):
        with pytest.raises(CheckpointError, match=f"process {os.getpid()}"):
            lock.held(tmp_path).__enter__()
        with lock.held(tmp_path, needed=False), lock.held(tmp_path / "scratch"):
            pass
    with lock.held(tmp_path):
        pass


def test_who_only_helps_writes_nothing(tmp_path):
    with lock.held(tmp_path / "run", needed=False):
        pass
    assert not (tmp_path / "run").exists()


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock.held(tmp_path):
        assert "has no locks; start one command in it at a time" in caplog.text


def test_a_holder_that_has_not_said_who_it_is(tmp_path):
    with lock.held(tmp_path):
        (tmp_path / lock.FILE).write_text("")
        with pytest.raises(CheckpointError, match="by another process; wait"):
            lock.held(tmp_path).__enter__()

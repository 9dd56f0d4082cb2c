"""SIGTERM and Ctrl-C while there is nothing to save: one line, and exit code 75."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from atbert_jax.parallel import stopping

ROOT = Path(__file__).resolve().parents[2]
READY = "print('ready', flush=True); time.sleep(60)"
SWALLOWS = (
    "try:\n"
    f"    {READY}\n"
    "except BaseException: time.sleep(60)"  # as a callback of a library does
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("work", [READY, SWALLOWS])
def test_a_command_leaves_at_once_whatever_it_is_within(number, work):
    code = (
        f"import time\nfrom atbert_jax.parallel import stopping\nstopping.leave_at_once()\n{work}"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == stopping.STOPPED == 75
    assert said.strip().splitlines() == [
        f"stopped by {number.name}; the same command goes on (exit code 75)"
    ]


def test_nothing_that_takes_long_is_imported_before():
    code = "import sys, atbert_jax.train; print('jax' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.split()[0] == b"False"


def test_a_signal_waits_for_what_has_to_end():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("late"))
    try:
        with stopping.deferred():
            signal.raise_signal(signal.SIGTERM)
            heard.append("done")
        assert heard == ["done", "late"]
        with stopping.deferred():
            pass
        assert heard == ["done", "late"]
    finally:
        signal.signal(signal.SIGTERM, before)

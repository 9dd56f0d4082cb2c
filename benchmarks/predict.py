"""What `predict` takes, as people run it: until the first answer, from then on, and its memory.

PYTHONPATH=. python benchmarks/predict.py --checkpoint runs/genre

Makes files of noise and asks the command about them, again and again: about one short file, many
short ones, which are computed together, and long ones, alone. A row's seconds are those of the
fastest of `--rounds`, whose programs are in the compilation cache after the first; its peak is the
largest resident memory of any.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console

from atbert_jax.reporting.tables import Table, print_table

RATE, SHORT, HOUR = 16_000, 10, 3600
# Files of each row, by what they are: how many, and of how many seconds.
ROWS = {
    "a short file": (1, SHORT),
    "short files": (64, SHORT),
    "an hour": (1, HOUR),
    "four hours": (1, 4 * HOUR),
}


def write(path: Path, seconds: int) -> None:
    """Noise, minute by minute, so that little of it is in memory."""
    generator = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for begin in range(0, seconds, 60):
            count = min(60, seconds - begin) * RATE
            file.write(generator.uniform(-0.5, 0.5, count).astype(np.float32))


def ask(checkpoint: Path, files: list[Path]) -> tuple[float, float, float]:
    """Seconds until the first answer and until the end, and MiB at the peak."""
    command = [sys.executable, "-m", "atbert_jax.predict", f"--checkpoint={checkpoint}", "--json"]
    began = time.monotonic()
    process = subprocess.Popen([*command, *map(str, files)], stdout=subprocess.PIPE)
    answers = [process.stdout.readline()]
    first = time.monotonic() - began
    answers += process.stdout.readlines()
    _, status, usage = os.wait4(process.pid, 0)
    whole = time.monotonic() - began
    if status or len(answers) != len(files):
        sys.exit(f"error: {' '.join(command)} ended with status {status}")
    return first, whole, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Prints a row for each kind of files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    rows, started = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, (count, seconds) in ROWS.items():
            files = [Path(folder) / f"{name}{number}.wav" for number in range(count)]
            for file in files:
                write(file, seconds)
            found = np.array([ask(given.checkpoint, files) for _ in range(given.rounds)])
            first, whole = found[:, 0].min(), found[:, 1].min()
            # All rows start alike; what is left is reading and computing.
            started = started or whole
            rate = count * seconds / (whole - started) if rows else None
            rows.append([name, count * seconds, first, whole, rate, found[:, 2].max()])
            for file in files:
                file.unlink()
    columns = ("files", "seconds of audio", "first answer, s", "all, s", "audio s/s", "peak MiB")
    note = "Seconds of audio per second leave out what a short file takes, which is starting."
    print_table(Table("Prediction", columns, rows, note), Console(width=120))


if __name__ == "__main__":
    main()

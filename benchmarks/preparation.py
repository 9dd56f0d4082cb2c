"""Memory and time of preparing and reading many records: memory must not grow with their number.

PYTHONPATH=. python benchmarks/preparation.py --records=100000 --folder=/tmp/preparation

Synthesizes clips of a tenth of a second at 8 kHz, writes them as shards with the command that users
have, and makes the batches of one epoch of training of them. A peak is the resident memory of the
largest process of a stage.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from atbert_jax.configs import defaults

RATE, SAMPLES, IN_A_FILE, BATCH = 8000, 800, 1000, 64


def synthesize(folder: Path, count: int) -> Path:
    """Writes noises, a thousand clips to a file, and the manifest of the clips."""
    generator = np.random.default_rng(0)
    rows = ["path,start,duration,text,label"]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        file, clip = divmod(number, IN_A_FILE)
        if not clip:
            noise = generator.uniform(-0.5, 0.5, SAMPLES * IN_A_FILE)
            soundfile.write(folder / f"{file}.wav", noise, RATE)
        start, duration = clip * SAMPLES / RATE, SAMPLES / RATE
        rows.append(f"{file}.wav,{start:.1f},{duration},clip number {number},{number % 10}")
    table = folder / f"clips{count}.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


def epoch(manifest: Path) -> None:
    """Makes the batches of an epoch of training."""
    from atbert_jax.input_pipeline import dataset
    from atbert_jax.input_pipeline.batching.bad_records import BadRecords
    from atbert_jax.input_pipeline.batching.batches import Batches, measure_normalization

    config = defaults.get_config("tiny")
    config.data.update({"manifest": str(manifest), "task": "single_label", "memory_mb": 16})
    config.spectrogram.sample_rate = RATE
    config.segmenting.update({"segments": 1, "seconds": SAMPLES / RATE})
    with tempfile.TemporaryDirectory() as folder:
        data = dataset.load(
            config, Path(folder), measure=lambda data: measure_normalization(config, data)
        )
    bad = BadRecords(None)
    batches = Batches(config, data, bad).train("train", BATCH)
    for _ in range(len(data.split("train").records) // BATCH):
        assert next(batches)["valid"].all()
    assert not len(bad)


def stage(what: str, count: int, *command: object) -> None:
    """Runs a command; prints its rate, and the peak of it and of all that it started."""
    began = time.monotonic()
    process = subprocess.Popen(list(map(str, (sys.executable, *command))))
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"error: {what} ended with status {status}")
    seconds = time.monotonic() - began
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    rate = count / seconds
    print(
        f"{what}: {count} records, {seconds:.0f} s, {rate:.0f}/s, peak {peak:.0f} MiB", flush=True
    )


def main() -> None:
    """Prints a line for each stage."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "preparation")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--epoch", type=Path, help="only make the batches of this manifest")
    given = parser.parse_args()
    if given.epoch:
        epoch(given.epoch)
        return
    table, shards = synthesize(given.folder, given.records), given.folder / f"n{given.records}"
    shutil.rmtree(shards, ignore_errors=True)
    prepare = ("-m", "atbert_jax.prepare", "manifest", f"--root={table}", f"--output={shards}")
    options = ("--shards", f"--sample_rate={RATE}", f"--processes={given.processes}")
    stage("prepare", given.records, *prepare, *options)
    stage("an epoch", given.records, __file__, f"--epoch={shards / 'manifest.parquet'}")


if __name__ == "__main__":
    main()

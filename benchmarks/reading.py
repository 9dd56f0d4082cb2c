"""How fast clips become log-mels, beside what people write themselves; in turns, as ratios.

PYTHONPATH=. python benchmarks/reading.py --manifest=notes.csv --folder=/tmp/reading

Each contender reads the training split's clips and makes the log-mel of all of each clip, by
librosa's defaults (22.05 kHz, 128 bands). It runs in a process of its own, which tells its rate
without the time that it takes to start. Rounds follow each other, so that all have the same share
of whatever else the machine does; `taskset` before the command binds all of them. The folder gets
`reading.json` and `reading.md`. What remembers keeps the clips of its first epoch as they were
decoded; the others read all of them again.
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

BATCH, SEGMENTS = 32, 10
RATE, N_FFT, HOP, BANDS, FLOOR = 22_050, 2048, 512, 128, 1e-6

LIBROSA = "librosa, a loop"
TORCH = "PyTorch DataLoader, 2 workers"
FILES = "files"
SHARDS = "shards"
DEVICE_FILES = "files, log-mel on the device"
DEVICE = "shards, log-mel on the device"
REMEMBERED = "shards, remembered"
DEVICE_REMEMBERED = "shards, remembered, log-mel on the device"
CONTENDERS = (
    LIBROSA,
    TORCH,
    FILES,
    SHARDS,
    DEVICE_FILES,
    DEVICE,
    REMEMBERED,
    DEVICE_REMEMBERED,
)
MEMORY_MB = 2048  # of what remembers, which is the default of training


def paths(manifest: Path) -> list[Path]:
    """The audio files of the training split."""
    table = pd.read_csv(manifest)
    return [manifest.parent / path for path in table[table["split"] == "train"]["path"]]


def librosa_loop(manifest: Path) -> Iterator[int]:
    """What every tutorial shows."""
    import librosa

    files = paths(manifest)
    # The first call compiles and imports.
    librosa.feature.melspectrogram(y=librosa.load(files[0], duration=1.0)[0], sr=RATE)
    for file in itertools.cycle(files):
        waveform, rate = librosa.load(file)
        librosa.feature.melspectrogram(y=waveform, sr=rate)
        yield 1


def torch_loader(manifest: Path) -> Iterator[int]:
    """soundfile, soxr and `torch.stft` in the workers of a DataLoader."""
    import soundfile
    import soxr
    import torch
    from librosa.filters import mel

    bank = torch.from_numpy(mel(sr=RATE, n_fft=N_FFT, n_mels=BANDS))
    window = torch.hann_window(N_FFT)
    frames = SEGMENTS * RATE // HOP + 1
    files = paths(manifest)

    class Clips(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> torch.Tensor:
            samples, rate = soundfile.read(files[index], dtype="float32", always_2d=True)
            waveform = soxr.resample(samples.mean(axis=1), rate, RATE)[: SEGMENTS * RATE]
            spectrum = torch.stft(
                torch.from_numpy(waveform),
                N_FFT,
                HOP,
                window=window,
                pad_mode="constant",
                return_complex=True,
            )
            values = torch.log(bank @ (spectrum.real**2 + spectrum.imag**2) + FLOOR)
            missing = frames - values.shape[1]
            return torch.nn.functional.pad(values, (0, missing), value=float(np.log(FLOOR)))

    loader = torch.utils.data.DataLoader(
        Clips(), BATCH, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True
    )
    next(iter(loader))  # starts the workers
    while True:
        yield from map(len, loader)


def pipeline(manifest: Path, carried: str, memory_mb: int = 0) -> Iterator[int]:
    """Ours, with buckets."""
    from atbert_jax.configs import defaults
    from atbert_jax.input_pipeline import dataset
    from atbert_jax.input_pipeline.audio.allocation import keep_freed_memory
    from atbert_jax.input_pipeline.batching.bad_records import BadRecords
    from atbert_jax.input_pipeline.batching.batches import Batches

    keep_freed_memory()
    config = defaults.get_config("tiny")
    config.data.update({"manifest": str(manifest), "memory_mb": memory_mb, "bucketing": 32})
    config.data.input = carried
    config.spectrogram.update(
        {"sample_rate": RATE, "n_fft": N_FFT, "hop_length": HOP, "n_mels": BANDS}
    )
    config.segmenting.segments, config.normalization = SEGMENTS, "none"
    data = dataset.load(config, manifest.parent)
    stream = Batches(config, data, BadRecords(None)).train("train", BATCH)
    next(stream)  # builds the graph
    return (len(batch["record"]) for batch in stream)


WORK: dict[str, Callable[[Path, Path], Iterator[int]]] = {
    LIBROSA: lambda files, shards: librosa_loop(files),
    TORCH: lambda files, shards: torch_loader(files),
    FILES: lambda files, shards: pipeline(files, "log_mel"),
    SHARDS: lambda files, shards: pipeline(shards, "log_mel"),
    DEVICE_FILES: lambda files, shards: pipeline(files, "waveform"),
    DEVICE: lambda files, shards: pipeline(shards, "waveform"),
    REMEMBERED: lambda files, shards: pipeline(shards, "log_mel", MEMORY_MB),
    DEVICE_REMEMBERED: lambda files, shards: pipeline(shards, "waveform", MEMORY_MB),
}


def rates(counts: Iterator[int], epoch: int, seconds: float) -> tuple[float, float]:
    """Clips per second in the first epoch, and in later ones for so many seconds."""
    found = []
    for clips, limit in ((epoch, 0.0), (1, seconds)):
        done, began = 0, time.perf_counter()
        while done < clips or time.perf_counter() - began < limit:
            done += next(counts)
        found.append(done / (time.perf_counter() - began))
    return tuple(found)


def main() -> None:
    """Prints a table for people; or, as one contender, rates for `main`."""
    parser = argparse.ArgumentParser(prog="python benchmarks/reading.py")
    parser.add_argument("--manifest", type=Path, required=True, help="CSV table with splits")
    parser.add_argument("--folder", type=Path, required=True, help="for shards and results")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="in later epochs, each round")
    parser.add_argument("--as_contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    shards = given.folder / "shards"
    if given.as_contender:
        counts = WORK[given.as_contender](given.manifest, shards / "manifest.parquet")
        # A batch was read before the clock starts.
        epoch = max(BATCH, len(paths(given.manifest)) - BATCH)
        print(json.dumps(rates(counts, epoch, given.seconds)))
        return
    prepare = ["-m", "atbert_jax.prepare", "manifest", f"--root={given.manifest}"]
    where = [f"--output={shards}", "--shards", f"--sample_rate={RATE}"]
    subprocess.run([sys.executable, *prepare, *where], check=True)
    console, measured = Console(), {name: [] for name in CONTENDERS}
    for number in range(given.rounds):
        for name in [name for name, found in measured.items() if len(found) == number]:
            command = [sys.executable, *sys.argv, "--as_contender", name]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if "No module named 'torch'" in result.stderr:
                console.print("PyTorch is not installed, and left out")
            elif result.returncode:
                sys.exit(f"error: {name}: {result.stderr}")
            else:
                measured[name].append(json.loads(result.stdout.splitlines()[-1]))
        console.print(f"round {number + 1} of {given.rounds}", highlight=False)
    write(measured, given.folder, console)


def write(measured: dict[str, list[list[float]]], folder: Path, console: Console) -> None:
    """The medians over the rounds with their spread, and ratios of later epochs."""
    from atbert_jax.reporting.tables import Table, markdown, print_table

    there = {name: np.array(found) for name, found in measured.items() if found}
    # The ratio within each round, so that it stands whatever else the machine did meanwhile.
    later = {name: found[:, 1] for name, found in there.items()}

    def spread(values: np.ndarray) -> str:
        return f"{np.median(values):.1f} ({values.min():.1f} to {values.max():.1f})"

    def ratio(name: str, to: str) -> str:
        return spread(later[name] / later[to]) if to in later else ""

    host = {DEVICE: SHARDS, DEVICE_FILES: FILES, DEVICE_REMEMBERED: REMEMBERED}
    rows = [
        [
            name,
            spread(found[:, 0]),
            spread(later[name]),
            ratio(name, LIBROSA),
            ratio(name, TORCH),
            ratio(name, host[name]) if name in host else "",
        ]
        for name, found in there.items()
    ]
    columns = ("reader", "first epoch", "later epochs", "x librosa", "x PyTorch", "x on the host")
    note = "Clips per second and their ratios in later epochs: medians of the rounds (from, to)."
    found = Table("Reading", columns, rows, note)
    print_table(found, console)
    (folder / "reading.md").write_text(markdown(found), encoding="utf-8")
    text = json.dumps({name: values.tolist() for name, values in there.items()}, indent=1)
    (folder / "reading.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

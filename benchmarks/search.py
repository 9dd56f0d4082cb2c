"""What an index takes: embedding, a kill in the middle, opening, and a query.

PYTHONPATH=. python benchmarks/search.py --checkpoint runs/pretrain --windows 10000
PYTHONPATH=. python benchmarks/search.py --synthetic 1000000

The first makes short files of noise, indexes them by the command, kills it when half of them should
be done, lets it go on, and searches. The second searches vectors of noise, which nothing embedded.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.library import index_folder, vector_shards
from atbert_jax.library.embedding_index import Index
from atbert_jax.library.index_folder import Files, Made
from atbert_jax.library.vector_shards import Heard, Seen, Shard
from atbert_jax.reporting.tables import Table, print_table
from atbert_jax.training import trained

QUERIES = 50
WINDOWS_A_FILE = 4
SHARD = 4096


def command(checkpoint: Path, music: Path, folder: Path, stop_after: int = 0) -> tuple[float, str]:
    """Seconds of an indexing, and what it said; it is killed when it has so many shards."""
    words = ["-m", "atbert_jax", "index", music, f"--checkpoint={checkpoint}", f"--output={folder}"]
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True
    )
    while stop_after and process.poll() is None:
        if len(vector_shards.paths(folder)) >= stop_after:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.1)
    said, _ = process.communicate()
    if process.returncode and not stop_after:
        sys.exit(f"error: indexing ended with {process.returncode}")
    return time.monotonic() - began, said.strip().splitlines()[-1] if said else ""


def embed(checkpoint: Path, windows: int, folder: Path) -> list[list]:
    """Rows of what it took to index files of noise."""
    contract = trained.load(checkpoint).contract
    rate, seconds = contract.spectrogram.sample_rate, contract.segmenting.length
    music, rng = folder / "music", np.random.default_rng(0)
    music.mkdir()
    for number in range(windows // WINDOWS_A_FILE):
        sound = rng.uniform(-0.5, 0.5, round(WINDOWS_A_FILE * seconds * rate))
        soundfile.write(music / f"{number:06d}.wav", sound.astype(np.float32), rate)
    first, _ = command(checkpoint, music, folder / "lib", max(1, windows // SHARD // 2))
    kept = sum(
        each.windows
        for path in vector_shards.paths(folder / "lib")
        for each in vector_shards.read_heard(path)
    )
    rest, said = command(checkpoint, music, folder / "lib")
    again, _ = command(checkpoint, music, folder / "lib")
    print(said)
    return [
        ["until the kill, s", first],
        ["windows that were kept", kept],
        ["going on, s", rest],
        ["windows a second, going on, start included", (windows - kept) / rest],
        ["the same command again, s", again],
    ]


def made_up(windows: int, width: int, folder: Path) -> list[list]:
    """An index of random vectors, 100 windows in each recording."""
    made = Made("/nothing", 0, "nothing", None, 3.0)
    made.save(folder / "lib")
    rng, records, seen = np.random.default_rng(0), [], []
    for begin in range(0, windows, 100_000):
        count = min(100_000, windows - begin)
        files = [Seen(f"/{begin + n}.wav", 1, 1, str(begin + n)) for n in range(0, count, 100)]
        heard = [Heard(file, 0.0, None, 300.0, 100, made.mark) for file in files]
        vectors = rng.normal(size=(count, width)).astype(np.float32)
        starts = np.tile(3.0 * np.arange(100), count // 100)
        vector_shards.write(folder / "lib", Shard(heard, starts, vectors))
        seen += files
        records += [Record(file.digest, Path(file.path)) for file in files]
    index_folder.write_files(folder / "lib", Files(records, seen, {}))
    return []


def peak() -> float:
    """MiB of resident memory, at most so far."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)


def query(folder: Path) -> list[list]:
    """Rows of what it takes to open an index and to search it."""
    before, began = peak(), time.monotonic()
    index = Index(folder)
    opened = time.monotonic() - began
    queries = np.random.default_rng(1).normal(size=(QUERIES, index.vectors.shape[1]))
    index.search(queries[0])  # compiles
    times = []
    for each in queries:
        began = time.monotonic()
        index.search(each)
        times.append(1000 * (time.monotonic() - began))
    return [
        ["windows", len(index)],
        ["width", index.vectors.shape[1]],
        ["opening, s", opened],
        ["a query, ms, median", float(np.median(times))],
        ["a query, ms, slowest", max(times)],
        ["MiB more at the peak", peak() - before],
    ]


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--windows", type=int, default=10_000)
    parser.add_argument("--synthetic", type=int, default=0)
    parser.add_argument("--width", type=int, default=128)
    given = parser.parse_args()
    if not given.synthetic and not given.checkpoint:
        parser.error("give --checkpoint, or --synthetic")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        if given.synthetic:
            rows = made_up(given.synthetic, given.width, folder)
        else:
            rows = embed(given.checkpoint, given.windows, folder)
        rows += query(folder / "lib")
    print_table(Table("An index", ["what", "value"], rows))


if __name__ == "__main__":
    main()

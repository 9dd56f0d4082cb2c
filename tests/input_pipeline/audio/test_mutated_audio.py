"""Mutated audio files: each gives finite samples, or is refused by its name with a reason."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from atbert_jax.input_pipeline.audio.decoding import AudioError, file_duration, read
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.manifest.records import Record
from tests import trial
from tests.audio_files import RATE, encoded, originals

MUTANTS_OF_EACH = 30
# Files that are joined of others, which the reader takes apart.
JOINED = ("short.mp3", "short.ogg", "short.opus", "short.flac", "pcm16.wav")


def files_to_damage() -> dict[str, bytes]:
    """Valid files by name."""
    single = originals()
    joined = {f"joined_{name}": 2 * single[name] for name in JOINED}
    return single | joined | {"gsm.wav": encoded("WAV", "GSM610")}


def flip(data: bytes, rng: np.random.Generator, begin: int, end: int, count: int) -> bytes:
    """Flips bits between two places."""
    changed = bytearray(data)
    for place in rng.integers(begin, min(end, len(data)), count):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def overwrite(data: bytes, rng: np.random.Generator) -> bytes:
    """Writes an extreme number over one of the header, as of frames, channels or a rate."""
    size = int(rng.choice([1, 2, 4, 8]))
    number = [b"\xff" * size, b"\0" * size, b"\x7f" + b"\xff" * (size - 1)][int(rng.integers(3))]
    place = int(rng.integers(4, 80))
    return data[:place] + (number if rng.random() < 0.5 else number[::-1]) + data[place + size :]


def repeat(data: bytes, rng: np.random.Generator) -> bytes:
    """Repeats a part behind itself, so that headers and frames stand where none should."""
    begin, end = sorted(rng.integers(0, len(data), 2))
    return data[:end] + data[begin:end] * int(rng.integers(1, 4)) + data[end:]


def sync(data: bytes, rng: np.random.Generator) -> bytes:
    """Writes what headers begin with over other places."""
    changed = bytearray(data)
    for place in rng.integers(0, len(data) - 4, 20):
        changed[place : place + 4] = SIGNATURES[int(rng.integers(len(SIGNATURES)))]
    return bytes(changed)


SIGNATURES = (
    *(b"OggS", b"fLaC", b"RIFF", b"data", b"ID3\4", b"Xing"),
    *(b"\xff\xfb\x90\0", b"\xff\xf8\xc9\x18"),
)
MUTATIONS: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "header": lambda data, rng: flip(data, rng, 0, 128, 1 + int(rng.integers(8))),
    "number": overwrite,
    "body": lambda data, rng: flip(data, rng, 0, len(data), 1 + int(rng.integers(200))),
    "cut": lambda data, rng: data[: int(rng.integers(len(data)))],
    "beheaded": lambda data, rng: data[int(rng.integers(1, len(data))) :],
    "hole": lambda data, rng: data[: len(data) // 3] + data[-int(rng.integers(len(data) // 2)) :],
    "before": lambda data, rng: rng.bytes(int(rng.integers(1, 3000))) + data,
    "repeat": repeat,
    "sync": sync,
    "behind": lambda data, rng: data + rng.bytes(int(rng.integers(1, 3000))),
    "name": lambda data, rng: data,
}
EXTENSIONS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".au", ".npy", ".WAV")


def mutants(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of `count` mutants of every original."""
    rng = np.random.default_rng(seed)
    for name, data in files_to_damage().items():
        for number in range(count):
            mutation = list(MUTATIONS)[number % len(MUTATIONS)]
            extension = Path(name).suffix
            if mutation == "name":
                extension = EXTENSIONS[int(rng.integers(len(EXTENSIONS)))]
            mutant = f"{name.replace('.', '_')}_{mutation}_{number}{extension}"
            yield mutant, MUTATIONS[mutation](data, rng)


def attempts(path: Path) -> Iterator[Callable[[], np.ndarray | float]]:
    """The ways in which the pipeline reads a file."""
    record = Record(path.name, path)
    reader = Reader(RATE, Segmenting(3, 0.25), memory_mb=1)
    spaced = Reader(2 * RATE, Segmenting(3, 0.25, "spaced"))

    def last_chunk() -> np.ndarray:
        chunks = reader.segmenting.count(reader.duration(record), RATE)
        return reader.segments(record, chunks - 1)[0]

    yield lambda: file_duration(path, RATE)
    yield lambda: read(path, RATE)
    yield lambda: read(path, RATE, 0.0, 30.0)
    yield lambda: reader.segments(record)[0]
    yield last_chunk
    yield lambda: reader.segments(record, position=0.7)[0]
    yield lambda: spaced.segments(record)[0]
    yield lambda: reader.segments(Record("part", path, start=0.1, duration=0.2))[0]


def outcomes(path: Path) -> list[str]:
    """For each attempt 'read', the refusal, or what is wrong with the answer or the exception."""

    def checked(attempt: Callable[[], np.ndarray | float]) -> str:
        found = attempt()
        if isinstance(found, float):
            return "read" if 0 < found < np.inf else f"duration {found}"
        good = found.dtype == np.float32 and found.size and np.isfinite(found).all()
        return "read" if good else f"{found.dtype} {found.shape} {found}"

    return [trial.outcome(lambda a=a: checked(a), AudioError) for a in attempts(path)]


def test_every_mutant_is_read_or_refused(tmp_path):
    files = dict(mutants(0, MUTANTS_OF_EACH))
    assert len(files) >= 300
    found = trial.run(__name__, files_to_damage(), files, tmp_path)
    assert found.keys() == files.keys()
    kinds = Counter()
    for name, answers in found.items():
        path = re.escape(str(tmp_path / "mutants" / name))
        for answer in answers:
            assert re.fullmatch(rf"read|refused: {path}: .*\w.*", answer), (name, answer)
            kinds[answer[:4]] += 1
    # The mutations are neither all harmless nor all fatal.
    assert min(kinds["read"], kinds["refu"]) > sum(kinds.values()) / 4

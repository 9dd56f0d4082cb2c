"""Clips of noise at one rate, and records of them."""

from pathlib import Path

import numpy as np

from atbert_jax.input_pipeline.manifest.records import Record

RATE = 16_000


def noise(seconds: float, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(1).uniform(-0.9, 0.9, round(seconds * rate)).astype(np.float32)


def record(path: Path, **times: float) -> Record:
    return Record(path.name, path, **times)

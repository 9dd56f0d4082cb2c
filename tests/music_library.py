"""A small model, and what tests do with an index of its vectors."""

import io
from pathlib import Path

import numpy as np
from rich.console import Console

import atbert_jax
from atbert_jax.library import indexing, listing
from atbert_jax.library.indexing import Counts
from tests import tiny, tones


def make_run(folder: Path, seed: int = 0, **objectives: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    manifest = tones.write_manifest(folder, 4, 2, 2, seconds=(0.5, 0.8, 1.3))
    changes = {f"objectives.{key}": value for key, value in objectives.items()}
    views = {"classification.views": ("audio",)} if "classification" in objectives else {}
    config = tones.make_config(manifest, normalization="none", **tiny.MODEL, **changes, **views)
    tiny.save_run(folder / "run", config, seed)
    return folder / "run"


def update(model, folder, *arguments, **more) -> Counts:
    listed = listing.read([str(each) for each in arguments])
    return indexing.update(
        model, folder, listed, console=Console(file=io.StringIO()), shard_windows=3, **more
    )


def vectors_by_name(index: atbert_jax.Index) -> dict[str, np.ndarray]:
    vectors, found = np.asarray(index.vectors), {}
    for recording, content in enumerate(index.content):
        begin, end = index.windows[content : content + 2]
        found[index.records[recording].path.name] = vectors[begin:end]
    return found

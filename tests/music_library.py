"""A small model, and what tests do with an index of its vectors."""

import io
from pathlib import Path

import numpy as np
from rich.console import Console

import atbert_jax
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.library import index_folder, indexing, listing, vector_shards
from atbert_jax.library.index_folder import Files, Made
from atbert_jax.library.indexing import Counts
from atbert_jax.library.vector_shards import Heard, Shard
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


def index_vectors(folder: Path, vectors: dict[str, np.ndarray], **columns) -> atbert_jax.Index:
    """An index of files, made here, that a model is said to have given these vectors (K, D).

    Each window is a second long; what is behind half a second of the last one is padding.
    """
    made = Made("/runs/one", 1, "digest", None, 1.0)
    made.save(folder / "lib")
    heard, records = [], []
    for name, windows in vectors.items():
        path = folder / name
        path.write_bytes(name.encode(errors="surrogateescape"))
        records.append(Record(name, path))
        count = len(windows)
        heard.append(Heard(vector_shards.see(path), 0.0, None, count - 0.5, count, made.mark))
    starts = np.concatenate([np.arange(each.windows, dtype=float) for each in heard])
    found = np.concatenate(list(vectors.values())).astype(np.float32)
    vector_shards.write(folder / "lib", Shard(heard, starts, found))
    files = Files(records, [each.seen for each in heard], columns)
    index_folder.write_files(folder / "lib", files)
    return atbert_jax.Index(folder / "lib")

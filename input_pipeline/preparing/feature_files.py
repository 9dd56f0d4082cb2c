"""Audio -> files of musical features, which take too long to compute while a model waits."""

import concurrent.futures
import hashlib
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from atbert_jax.input_pipeline.audio.decoding import AudioError, read_clip
from atbert_jax.input_pipeline.audio.music_features import MusicFeatures, extract
from atbert_jax.input_pipeline.manifest.records import Record, read_manifest
from atbert_jax.input_pipeline.manifest.table_file import ManifestError, Table
from atbert_jax.input_pipeline.progress import Meter, Terminal

MANIFEST = "manifest.csv"
# Where in its file a record lies; its features are of this part alone.
PLACE = ("start", "end", "duration")


def file_of(record: Record) -> str:
    """The name of a record's features: readable, and no other record's."""
    digest = hashlib.blake2b(f"{record.path}\0{record.id}".encode(), digest_size=6).hexdigest()
    return f"{record.path.stem[:60]}-{digest}.npy"


def write_features(record: Record, file: Path, settings: MusicFeatures) -> str:
    """Writes the features of a record, whole or not at all.

    Returns:
        Why it could not be read, or ''.
    """
    try:
        frames = extract(read_clip(record, settings.sample_rate), settings)
    except AudioError as error:
        return str(error)
    except Exception as error:  # of libraries, on sound as they have not met it
        return f"{record.path}: {type(error).__name__}: {error}"
    part = file.with_name(f".{os.getpid()}.part")
    with part.open("wb") as opened:
        np.save(opened, frames)
    part.replace(file)
    return ""


def _prepared(
    jobs: Sequence[tuple[Record, Path]], settings: MusicFeatures, processes: int
) -> Iterator[tuple[Record, str]]:
    """Prepares records in several processes; gives each, as it is done, with its error."""
    if not jobs:
        return
    # New ones, since threads of this one may hold locks.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(min(processes, len(jobs)), context) as pool:
        waiting = {pool.submit(write_features, *job, settings): job[0] for job in jobs}
        try:
            for future in concurrent.futures.as_completed(waiting):
                yield waiting[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def write_all_features(
    manifest: Path,
    folder: Path,
    *,
    root: Path | None = None,
    allow_outside: bool = False,
    processes: int | None = None,
    settings: MusicFeatures | None = None,
    console: Console | None = None,
) -> int:
    """Prepares the features of all records of a manifest.

    Args:
        manifest: Of audio files.
        folder: Gets the `.npy` files and `manifest.csv`, whose other columns are the manifest's.
        root: Folder that its paths are relative to; by default its own.
        allow_outside: Allow paths that lead out of it.
        processes: How many; by default one for each core.
        settings: Of the features.
        console: Where to talk.

    Returns:
        How many records could not be read.

    Raises:
        ManifestError: if the manifest is not as it should be, or lies where the new one would.
    """
    console, settings = console or Terminal(), settings or MusicFeatures()
    if manifest.resolve() == (folder / MANIFEST).resolve():
        raise ManifestError(f"{manifest}: the new manifest would replace it; name another folder")
    records = read_manifest(manifest, root=root, text_column="", allow_outside=allow_outside)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / file_of(record) for record in records]
    jobs = [job for job in zip(records, files, strict=True) if not job[1].exists()]
    meter = Meter("features", len(records), "clips", done=len(records) - len(jobs), console=console)
    with meter:
        for record, error in _prepared(jobs, settings, processes or os.cpu_count() or 1):
            if error:
                console.print(
                    f"left out: {record.id}: {error}", highlight=False, markup=False, soft_wrap=True
                )
            meter.advance()
    kept = [number for number, file in enumerate(files) if file.exists()]
    if not kept:
        raise ManifestError(f"{manifest}: none of its {len(records)} clips could be read")
    table = Table(manifest)
    table.rename("file_path", "path")
    changed = {"id": [r.id for r in records], "path": [file.name for file in files]}
    table.write(folder / MANIFEST, kept, changed, without=PLACE)
    console.print(
        f"{len(kept)} of {len(records)} clips are in {folder / MANIFEST}",
        highlight=False,
        markup=False,
    )
    return len(records) - len(kept)

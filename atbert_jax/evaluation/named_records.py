"""The records that a command line names: files, folders and manifests."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from atbert_jax.input_pipeline.audio import formats
from atbert_jax.input_pipeline.corpora.clips import audio_files
from atbert_jax.input_pipeline.manifest.records import Record, read_manifest

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")


def is_manifest(path: Path) -> bool:
    """Whether it is a table, and not audio or a folder."""
    return path.suffix.lower() in TABLES and path.is_file()


def named(
    arguments: Sequence[str], text: str = "", *, allow_outside: bool = False
) -> Iterator[Record]:
    """The records that arguments name.

    Args:
        arguments: Audio files, folders and manifests.
        text: That goes with the files and folders, or stands alone.
        allow_outside: Accept paths of manifests that lead out of their folders.

    Raises:
        ValueError: if there is neither a file nor a text, or a folder holds no audio.
    """
    if not arguments:
        if not text:
            raise ValueError("nothing to predict; name audio files, folders, manifests or a --text")
        yield Record(id="text", path=Path(), text=text)
    for argument in arguments:
        path = Path(argument)
        if is_manifest(path):
            yield from read_manifest(path, allow_outside=allow_outside)
        elif path.is_dir():
            left_out: dict[str, str] = {}
            files = in_folder(path, left_out)
            if left_out:
                logging.getLogger(__name__).warning(
                    "%s: %s (%s)", path, formats.described(left_out), ", ".join(left_out)
                )
            yield from (Record(id=str(path / f), path=path / f, text=text) for f in files)
        else:
            yield Record(id=argument, path=path, text=text)


def in_folder(folder: Path, left_out: dict[str, str]) -> list[str]:
    """The audio files below a folder; `left_out` gets why others are not among them.

    Raises:
        ValueError: if there are none.
    """
    files = audio_files(folder, left_out)
    if not files:
        raise ValueError(f"{folder}: no audio files here ({formats.described(left_out)})")
    return files

"""A deterministic synthetic music set: clips, captions and a manifest, made without any download.

atbert synthesize --output data/synthetic
"""

import argparse
import csv
import functools
import json
import math
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from atbert_jax.input_pipeline.manifest.places import from_home
from atbert_jax.input_pipeline.progress import Terminal
from atbert_jax.input_pipeline.synthetic_music.captions import caption
from atbert_jax.input_pipeline.synthetic_music.composition import Piece, compose, render
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.input_pipeline.text.visible import visible

COLUMNS = (
    *("path", "text", "label", "split", "group"),
    *("tempo", "key", "lead", "register", "accompaniment", "bass", "drums", "mood"),
)
MANIFEST = "manifest.csv"
PARAMETERS = "synthetic.json"
# Raised whenever the same parameters would give another set.
VERSION = 1

# Whole artists go to a split, so that no studio is heard in two of them; the first three artists of
# every genre cover the three splits.
_SPLIT_OF_ARTIST = tuple(
    {"T": "train", "v": "val", "e": "test"}[letter] for letter in "TveTTeTTTvTTeTTTvTTT"
)


def generate(output: Path, clips: int, seconds: float, sample_rate: int, seed: int) -> Path:
    """Write a synthetic music set, or leave it where it is there already.

    Clip i depends on (i, seconds, sample_rate, seed) only, so a smaller set is the beginning of a
    larger one. From 48 clips on, every genre is in every split. The same bytes are promised for the
    same versions of numpy, scipy and libsndfile on the same kind of processor.

    Args:
        output: folder for `audio/*.flac` (mono, 16 bit), `manifest.csv` and `synthetic.json`; a set
            with the same parameters that was interrupted is completed.
        clips: number of clips.
        seconds: length of a clip.
        sample_rate: in Hz.
        seed: not negative.

    Returns:
        Path of the manifest, whose columns are `COLUMNS`.

    Raises:
        ValueError: a parameter is out of range.
        FileExistsError: the folder holds something else.
    """
    parameters = {
        "version": VERSION,
        "clips": clips,
        "seconds": float(seconds),
        "sample_rate": sample_rate,
        "seed": seed,
    }
    _check(parameters)
    output = Path(output)
    console = Terminal(stderr=True)
    manifest = output / MANIFEST
    _claim(output, parameters)
    pieces = [compose(seed, index) for index in range(clips)]
    if manifest.exists() and all((output / _path(piece)).exists() for piece in pieces):
        console.print(f"{output} already holds these {clips} clips; left as it is", highlight=False)
        return manifest
    (output / "audio").mkdir(exist_ok=True)
    write = functools.partial(_write_clip, output, seconds=seconds, sample_rate=sample_rate)
    # New processes: a fork of one that runs JAX's threads may hang.
    context = multiprocessing.get_context("spawn")
    with _progress(console) as progress, ProcessPoolExecutor(mp_context=context) as workers:
        written = workers.map(write, pieces, chunksize=8)
        for _ in progress.track(written, total=clips, description="Synthesizing"):
            pass
    _write_manifest(manifest, pieces)
    console.print(f"{clips} clips and {manifest} written", highlight=False)
    return manifest


def _check(parameters: dict[str, float]) -> None:
    for name, least in (("clips", 1), ("seconds", 0.5), ("sample_rate", 8000), ("seed", 0)):
        if not least <= parameters[name] < math.inf:
            raise ValueError(f"{name} is {parameters[name]}; give a number from {least} up")


def _claim(output: Path, parameters: dict[str, float]) -> None:
    """Put the parameters into an empty or new folder; refuse a folder that holds something else."""
    record = output / PARAMETERS
    way_out = "choose another --output or remove it first"
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output} is a file, not a folder; {way_out}")
    if record.exists():
        try:
            present = json.loads(record.read_text(encoding="utf-8"))
        except ValueError:
            present = "unreadable parameters"
        if present != parameters:
            raise FileExistsError(
                f"{output} holds another synthetic set ({present}, wanted {parameters}); {way_out}"
            )
        return
    if output.exists() and any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty and holds no synthetic set; {way_out}")
    whole_file.write(record, json.dumps(parameters, indent=2) + "\n")


def _path(piece: Piece) -> str:
    return f"audio/{piece.index:05d}.flac"


def _write_clip(output: Path, piece: Piece, *, seconds: float, sample_rate: int) -> None:
    # Rounded here, so that the file does not depend on how the encoder rounds.
    samples = np.round(render(piece, seconds, sample_rate) * 32767).astype(np.int16)
    path = output / _path(piece)
    soundfile.write(path, samples, sample_rate, format="FLAC", subtype="PCM_16")


def _write_manifest(path: Path, pieces: list[Piece]) -> None:
    # Moved into place as a whole: a manifest that is there is complete.
    draft = path.with_suffix(".part")
    with draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_row(piece) for piece in pieces)
    draft.replace(path)


def _row(piece: Piece) -> tuple[str | int, ...]:
    return (
        _path(piece),
        caption(piece),
        piece.genre,
        _SPLIT_OF_ARTIST[piece.artist % len(_SPLIT_OF_ARTIST)],
        f"{piece.genre} artist {piece.artist}",
        piece.tempo,
        piece.key,
        piece.lead,
        piece.register,
        piece.accompaniment,
        piece.bass,
        piece.drums,
        piece.mood,
    )


class _Rate(ProgressColumn):
    """Clips per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} clips/s" if task.speed else "- clips/s")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command; errors end it with one line and status 1."""
    parser = argparse.ArgumentParser(
        prog="atbert synthesize",
        description="Make a synthetic music set with captions, genres and splits.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output", type=from_home, required=True, help="folder to write")
    parser.add_argument("--clips", type=int, default=720, help="number of clips")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a clip")
    parser.add_argument("--sample_rate", type=int, default=16000, help="in Hz")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other music")
    try:
        generate(**vars(parser.parse_args(arguments)))
    except (ValueError, OSError, soundfile.SoundFileError) as error:
        sys.exit(f"error: {visible(str(error))}")


if __name__ == "__main__":
    main()
